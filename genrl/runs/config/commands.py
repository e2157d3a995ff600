"""The commands that train a learner, and the configuration of each. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genrl.errors import RunError, did_you_mean
from genrl.runs.config.dream import DreamConfig
from genrl.runs.config.imitate import ImitateConfig
from genrl.runs.config.run import ExploreConfig, RunConfig

__all__ = ["COMMANDS", "config_from"]

COMMANDS: dict[str, type[RunConfig]] = {kind.command: kind for kind in (ExploreConfig, ImitateConfig, DreamConfig)}


def config_from(values: Mapping[str, Any]) -> RunConfig:
    """The inverse of ``to_dict``. The key ``command`` says which command's configuration it is, by default explore.

    Raises:
        RunError: an unknown command or field, or a value of the wrong type.
    """
    values = dict(values)
    name = values.pop("command", ExploreConfig.command)
    if not isinstance(name, str) or name not in COMMANDS:
        raise RunError(f"there is no command {name!r}{did_you_mean(str(name), COMMANDS) or '; write explore, imitate or dream'}")
    return COMMANDS[name].read(values)
