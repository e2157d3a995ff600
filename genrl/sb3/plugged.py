"""A callback that takes part in what its learner reads from its buffer."""

from __future__ import annotations

from collections.abc import Iterator

from stable_baselines3.common.callbacks import BaseCallback, CallbackList, EventCallback

from genrl.sb3.hooks import Part, attach, detach
from genrl.sb3.running import finish

__all__ = ["PluggedCallback", "companions", "refuse_events"]


def refuse_events(callback: BaseCallback, parent: BaseCallback | None) -> None:
    """Refuse a callback that would not hear of every step and rollout, when ``learn`` starts: a list passes its parent on just before.

    Raises:
        ValueError: it is given to one of SB3's callbacks for events.
    """
    if isinstance(parent, EventCallback):  # callbacks.py: it passes on the start of a `learn` and some steps, nothing else
        name = type(callback).__name__
        raise ValueError(
            f"{name} is inside {type(parent).__name__} and would miss steps; give it to learn() itself, or in a list beside it"
        )


def companions(callback: BaseCallback) -> Iterator[BaseCallback]:
    """All callbacks of the ``learn`` that ``callback`` was given to, itself too, once for each time that they were given."""
    # on_policy_algorithm.py and off_policy_algorithm.py, learn: its locals, with all callbacks as one, are those of each.
    yield from _flat(callback.locals.get("callback", callback))


def _flat(callback: BaseCallback) -> Iterator[BaseCallback]:
    if isinstance(callback, CallbackList):
        for each in callback.callbacks:
            yield from _flat(each)
    else:
        yield callback


class PluggedCallback(BaseCallback):
    """Takes part in what a learner reads from its buffer, for the ``learn`` that it is given to.

    A subclass says in ``_part`` what its part is. It is plugged in before the first step and taken out when ``learn`` ends; where an
    exception ends it, the buffer is its plain self from then on too.
    """

    _plugged: Part | None = None

    @property
    def parent(self) -> BaseCallback | None:
        """The callback that this one is given to, if it isn't given to ``learn``."""
        return self._parent

    @parent.setter
    def parent(self, parent: BaseCallback | None) -> None:
        # callbacks.py: EventCallback sets itself when it is made, and CallbackList passes its own on before the first step.
        refuse_events(self, parent)
        self._parent = parent

    def _part(self) -> Part | None:
        """What takes part, for the learner ``self.model``; nothing if ``None``. What can't be served is refused here."""
        raise NotImplementedError

    def _init_callback(self) -> None:
        self._plugged = None  # of a learn that an exception ended

    def _on_training_start(self) -> None:
        try:
            self._plugged = self._part()
            if self._plugged is not None:
                attach(self.model, self._plugged)
        except BaseException:  # refused: those before it shall leave nothing either
            finish(self.model)
            raise

    def _on_training_end(self) -> None:
        if self._plugged is not None:
            detach(self.model, self._plugged)
        self._plugged = None

    def _on_step(self) -> bool:
        return True
