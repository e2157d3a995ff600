"""SB3's log, sent to a tracker of experiments."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from stable_baselines3.common.logger import KVWriter, filter_excluded_keys

from genrl.errors import one_line
from genrl.sb3.state import generator_state, set_generator_state

__all__ = ["Tracker"]


class Tracker(KVWriter):
    """Writes each row of the log to a tracker with the interface of wandb, which trackio has too: ``init``, ``log`` and ``finish``.

    A tracker that fails, as without a network or an account, is told of once and then left alone: the training goes on, and its rows are
    in the CSV file. What a tracker draws from Python's, numpy's or torch's generator changes no number of the training.

    Args:
        module: the tracker, an imported module.
        about: keywords of its ``init``, such as ``project``, ``name`` and ``config``.

    Example:
        >>> from types import SimpleNamespace
        >>> rows = []
        >>> module = SimpleNamespace(__name__="wandb", init=lambda **about: None, log=lambda row, step: rows.append((step, row)))
        >>> Tracker(module, {"project": "genrl"}).write({"rollout/ep_rew_mean": 3.5, "note": "words"}, {}, step=64)
        >>> rows
        [(64, {'rollout/ep_rew_mean': 3.5})]
    """

    def __init__(self, module: Any, about: Mapping[str, Any]) -> None:
        self.module, self.alive = module, True
        self._name = str(module.__name__)
        self._try(lambda: module.init(**about))

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        row = filter_excluded_keys(key_values, key_excluded, self._name)
        numbers = {key: float(value) for key, value in row.items() if isinstance(value, int | float | np.number) and np.isfinite(value)}
        self._try(lambda: self.module.log(numbers, step=step))

    def close(self) -> None:
        self._try(self.module.finish)

    def _try(self, call: Callable[[], object]) -> None:
        if not self.alive:
            return
        before = generator_state()
        try:
            call()
        except Exception as error:  # a network, an account, a server, a library
            self.alive = False
            said = f"{self._name} has failed ({one_line(error)[:200]})"
            warnings.warn(f"{said}; the run goes on without it, its log is progress.csv", stacklevel=2)
        finally:
            set_generator_state(before)
