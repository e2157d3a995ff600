"""Whether a ``learn`` still runs, and what is done when it ends, also by an exception; whether another learner acts with a policy."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from stable_baselines3.common.base_class import BaseAlgorithm

__all__ = ["Running", "finish", "is_lent", "lent"]

# on_policy_algorithm.py and off_policy_algorithm.py, learn: all that it does between callbacks, so all that an exception can come from.
PHASES = ("collect_rollouts", "train")
# base_class.py, save: names what it leaves out of the learner's attributes.
LEFT_OUT = "_excluded_save_params"


class Running:
    """True as long as the ``learn`` in which it was made runs, and false from then on, also where an exception ended it.

    SB3 tells a callback of the end of a ``learn`` only if nothing was raised. So the two phases of ``learn``, ``collect_rollouts`` and
    ``train``, are called through functions that call ``ended`` when a phase raises. They are attributes of the learner, which are taken
    away before a phase begins and are never saved. What raises elsewhere, such as the start of another callback, is noticed later: the
    frame of ``learn`` is no longer on the stack.

    Args:
        model: the learner.
        ended: called once when the learner's ``learn`` has ended: by :func:`finish`, or where an exception leaves one of its phases.

    Raises:
        RuntimeError: it is not learning.
    """

    def __init__(self, model: BaseAlgorithm, ended: Callable[[], object]) -> None:
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and not (frame.f_code.co_name == "learn" and frame.f_locals.get("self") is model):
            frame = frame.f_back
        if frame is None:
            raise RuntimeError(f"{type(model).__name__} is not learning; give the callback to its learn()")
        self.frame, self.ended, self.over = frame, ended, False
        if any(not other for other in _OF_LEARNERS.get(model, ())):  # of a learn before
            finish(model)
        _OF_LEARNERS.setdefault(model, []).append(self)
        _watch(model)

    def __bool__(self) -> bool:
        frame: FrameType | None = None if self.over else sys._getframe(1)
        while frame is not None and frame is not self.frame:
            frame = frame.f_back
        return frame is not None


_OF_LEARNERS: WeakKeyDictionary[BaseAlgorithm, list[Running]] = WeakKeyDictionary()


def finish(model: BaseAlgorithm) -> None:
    """Take every hook out of a learner, its buffer and its environments; its ``learn`` has ended, or was refused before its first step."""
    _forget(model)
    for running in _OF_LEARNERS.pop(model, []):
        running.over = True
        running.ended()


def _watch(model: BaseAlgorithm) -> None:
    own = vars(model)
    if LEFT_OUT in own:
        return
    for name in PHASES:
        if (phase := getattr(model, name, None)) is not None:  # the learner's own, or what another callback has put there
            own[name] = _watched(model, phase)
    left_out = type(model)._excluded_save_params
    own[LEFT_OUT] = lambda: [*left_out(model), *PHASES, LEFT_OUT]


def _watched(model: BaseAlgorithm, phase: Callable[..., Any]) -> Callable[..., Any]:
    def watched(*arguments: Any, **keywords: Any) -> Any:
        _forget(model)
        try:
            result = phase(*arguments, **keywords)
        except BaseException:
            finish(model)
            raise
        _watch(model)
        return result

    return watched


def _forget(model: BaseAlgorithm) -> None:
    for name in (*PHASES, LEFT_OUT):
        vars(model).pop(name, None)


_LENT: WeakSet[Any] = WeakSet()


@contextmanager
def lent(policy: Any) -> Iterator[None]:
    """Within it another learner acts with this policy, so whatever changes the rollouts of its own learner, such as pink noise, rests."""
    _LENT.add(policy)
    try:
        yield
    finally:
        _LENT.discard(policy)


def is_lent(policy: Any) -> bool:
    """Whether another learner acts with this policy now."""
    return policy in _LENT
