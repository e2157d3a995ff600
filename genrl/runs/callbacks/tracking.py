"""A tracker of experiments for a run that asks for one."""

from __future__ import annotations

import hashlib
from typing import Any

from genrl.errors import extra
from genrl.reading import read_json
from genrl.runs.config.run import RunConfig
from genrl.runs.directory import RunDirectory
from genrl.sb3.tracking import Tracker

__all__ = ["check_tracker", "trackers"]

PROJECT = "genrl"


def check_tracker(config: RunConfig) -> Any:
    """The tracker's module, or none.

    Raises:
        RunError: it is not installed.
    """
    return None if config.track is None else extra(config.track, config.track, f"--track {config.track}")


def trackers(config: RunConfig, run: RunDirectory) -> list[Tracker]:
    """What the log is also written to. A resumed run goes on in the tracker's run that it began."""
    module = check_tracker(config)
    if module is None:
        return []
    begun = str(read_json(run.config).get("about", {}).get("started"))
    about = {"project": PROJECT, "name": run.path.name, "config": config.to_dict(), "resume": "allow"}
    if config.track == "wandb":  # trackio knows a run by its name
        about["id"] = hashlib.sha256(f"{run.path.resolve()} {begun}".encode()).hexdigest()[:16]
        about["dir"] = str(run.path)
    return [Tracker(module, about)]
