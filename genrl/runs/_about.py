"""Versions, machine and command, so that a run can be repeated."""

from __future__ import annotations

import os
import platform
import shlex
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

__all__ = ["about"]


def about() -> dict[str, Any]:
    """What config.json says of how a run came about."""
    packages = ("genrl-toolkit", "torch", "stable-baselines3", "sb3-contrib", "gymnasium", "mujoco", "numpy")
    words = [Path(sys.argv[0]).name, *sys.argv[1:]]
    return {
        "command": shlex.join(words),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "versions": {name: metadata.version(name) for name in packages} | {"python": platform.python_version()},
        "machine": {"system": platform.platform(), "cpus": os.cpu_count(), "threads": torch.get_num_threads()},
    }
