"""Whether a ``learn`` still runs, what is done at once when it ends, however it ends, and whether another learner acts by its policy."""

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

    A callback hears of the end of a ``learn`` only where nothing was raised. So the learner's own phases are called through functions that
    call ``ended`` when they raise. These are attributes of the learner, taken away before a phase begins and never saved with it. Of what
    raises elsewhere, in the start or end of another callback, the frame of ``learn`` tells, which is on the stack or is not.

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
    """Leave nothing in a learner, its buffer and its environments, whose ``learn`` has ended, or was refused before its first step."""
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
    """Within it another learner acts by this policy, and what changes the rollouts of the policy's own learner rests."""
    _LENT.add(policy)
    try:
        yield
    finally:
        _LENT.discard(policy)


def is_lent(policy: Any) -> bool:
    """Whether another learner acts by this policy now."""
    return policy in _LENT
