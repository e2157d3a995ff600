"""One recorded episode, and what makes it usable."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

__all__ = ["FIELDS", "DemonstrationError", "Episode", "checked", "is_discrete", "one_line", "read_only", "with_time_limit"]

FIELDS = ("observations", "actions", "rewards", "terminations", "truncations")


class DemonstrationError(ValueError):
    """Demonstrations that can't be used. The message is one sentence: which file, episode and field, what is wrong, what to do."""


@dataclass(frozen=True, eq=False)
class Episode:
    """One recorded episode of T steps, in the environment's units and the recorder's dtypes.

    An end is a termination or a truncation of the last step. With neither it is unknown: the file doesn't tell, or the recording stopped.
    """

    observations: np.ndarray
    """``(T + 1, *obs_shape)``, the last row being what the last action led to; ``(T, *obs_shape)`` without a ``last_successor``."""
    actions: np.ndarray
    """``(T, *action_shape)``, as the environment executed them; ``(T,)`` and integer if discrete."""
    rewards: np.ndarray
    """``(T,)``, the environment's own."""
    terminations: np.ndarray
    """Boolean ``(T,)``."""
    truncations: np.ndarray
    """Boolean ``(T,)``."""
    id: int | None = None
    """Its number in the file."""
    seed: int | None = None
    """What ``reset`` was given."""
    last_successor: bool = True
    """False where the file doesn't have what the last action led to."""
    kept: np.ndarray | None = None
    """Which steps are used: ascending indices ``(n,)``; ``None`` for every step whose successor is known."""

    def __len__(self) -> int:
        """T: the steps that were recorded, kept or not."""
        return len(self.actions)

    @property
    def steps(self) -> np.ndarray:
        """Indices of the steps that are used, ``(n,)``; each has its true successor at the next index of ``observations``."""
        return np.arange(len(self.observations) - 1) if self.kept is None else self.kept

    @property
    def terminated(self) -> bool:
        """Whether the task ended it."""
        return bool(self.terminations[-1])

    @property
    def truncated(self) -> bool:
        """Whether only something outside the task, such as a time limit, ended it."""
        return bool(self.truncations[-1]) and not self.terminated


def checked(episode: Episode, where: str) -> Episode:
    """The episode as read-only arrays that fit together.

    Args:
        episode: as somebody made it.
        where: its name in messages.

    Raises:
        DemonstrationError: no numbers, no finite numbers, no steps, lengths that don't agree, steps after the end.
    """
    observations, actions, rewards, terminations, truncations = (_numbers(getattr(episode, name), name, where) for name in FIELDS)
    lengths = [len(values) for values in (observations, actions, rewards, terminations, truncations)]
    steps, rows = len(actions), len(actions) + episode.last_successor
    if lengths != [rows, steps, steps, steps, steps]:
        given = ", ".join(f"{length} {name}" for length, name in zip(lengths, FIELDS, strict=True))
        rule = f"{steps} steps need {rows} observations and {steps} of each other field"
        raise DemonstrationError(f"{where} has {given}, but {rule}; record it again")
    if steps == 0:
        raise DemonstrationError(f"{where} has no steps; leave it out")
    for name, values in (("rewards", rewards), ("terminations", terminations), ("truncations", truncations)):
        if values.ndim != 1:
            raise DemonstrationError(f"{where} has {name} of shape {values.shape}, but needs one number a step, ({steps},); reshape them")
    terminations, truncations = read_only(terminations.astype(bool)), read_only(truncations.astype(bool))
    if (early := np.flatnonzero((terminations | truncations)[:-1])).size:
        raise DemonstrationError(f"{where} ends at step {early[0]} of {steps} in terminations or truncations, but goes on; split it there")
    kept = None if episode.kept is None else _indices(episode.kept, rows - 1, where)
    return replace(
        episode,
        observations=observations,
        actions=actions,
        rewards=rewards,
        terminations=terminations,
        truncations=truncations,
        kept=kept,
    )


def read_only(array: np.ndarray) -> np.ndarray:
    """A view that can't be written."""
    view = array.view()
    view.flags.writeable = False
    return view


def with_time_limit(episode: Episode, steps: int, where: str) -> Episode:
    """The episode with its end as a truncation if it has this many steps.

    Raises:
        DemonstrationError: it has more.
    """
    if len(episode) > steps:
        advice = "give the limit of the task that was recorded"
        raise DemonstrationError(f"{where} has {len(episode)} steps, more than the time limit of {steps}; {advice}")
    if len(episode) < steps:
        return episode
    return replace(episode, terminations=read_only(np.zeros(steps, dtype=bool)), truncations=read_only(np.arange(steps) == steps - 1))


def is_discrete(actions: np.ndarray) -> bool:
    """Whether ``(T, …)`` actions are one integer each."""
    return actions.ndim == 1 and actions.dtype.kind in "iu"


def one_line(error: BaseException) -> str:
    """An error of a library as a part of a sentence."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _numbers(values: np.ndarray, name: str, where: str) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim == 0 or array.dtype.kind not in "biuf":
        raise DemonstrationError(f"{where} has {name} of dtype {array.dtype} and shape {array.shape}; save them as rows of numbers")
    if array.dtype.kind == "f":
        largest = min(float(np.finfo(array.dtype).max), float(np.finfo(np.float32).max))  # tensors are float32: 1e300 is infinite there
        good = np.abs(array) <= largest
        if not good.all():
            place = tuple(np.argwhere(~good)[0].tolist())
            advice = "leave the episode out or record it again"
            raise DemonstrationError(f"{where} has {array[place]} in {name} at step {place[0]}, which is not a finite float32; {advice}")
    return read_only(array)


def _indices(values: np.ndarray, known: int, where: str) -> np.ndarray:
    array = np.asarray(values)
    bounded = np.concatenate([[-1], array.ravel(), [known]])  # ascending from -1 to known: inside, in order, none twice
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu") or (np.diff(bounded) <= 0).any():
        raise DemonstrationError(f"{where} keeps steps that it doesn't have, or not in order; it needs ascending indices below {known}")
    return read_only(array.astype(np.int64))
