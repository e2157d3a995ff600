"""One recorded episode, and the checks that it must pass."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from genrl.errors import printable

__all__ = ["FIELDS", "DemonstrationError", "Episode", "checked", "is_discrete", "read_only", "with_time_limit"]

FIELDS = ("observations", "actions", "rewards", "terminations", "truncations")


class DemonstrationError(ValueError):
    """Demonstrations can't be used. The message is one sentence: the file, the episode and the field; what is wrong; what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message).replace("\n", r"\n"))


@dataclass(frozen=True, eq=False)
class Episode:
    """One recorded episode of T steps, in the environment's units and the recorder's dtypes.

    The last step is a termination or a truncation. If it is neither, the end is unknown: the file doesn't tell, or the recording stopped.
    """

    observations: np.ndarray
    """``(T + 1, *obs_shape)``; the last row is what the last action led to. ``(T, *obs_shape)`` if ``last_successor`` is false."""
    actions: np.ndarray
    """``(T, *action_shape)``, as the environment executed them; discrete actions are integers ``(T,)``."""
    rewards: np.ndarray
    """``(T,)``, the task's own rewards; all NaN if the file has none."""
    terminations: np.ndarray
    """Boolean ``(T,)``."""
    truncations: np.ndarray
    """Boolean ``(T,)``."""
    id: int | None = None
    """The episode's number in the file."""
    seed: int | None = None
    """The seed that ``reset`` was given."""
    last_successor: bool = True
    """False if the file does not store the observation after the last action."""
    ordered: bool = True
    """False if the file does not tell what followed an action: each step is a pair (s, a) by itself, and ``last_successor`` is false."""
    kept: np.ndarray | None = None
    """Indices of the steps that are used, ascending, ``(n,)``; ``None`` uses every step whose successor is known, or every pair."""

    def __len__(self) -> int:
        """T, the number of recorded steps, used or not."""
        return len(self.actions)

    @property
    def steps(self) -> np.ndarray:
        """Indices of the steps that are used, ``(n,)``; if ``ordered``, the successor of each is at the next index of ``observations``."""
        return np.arange(len(self.observations) - self.ordered) if self.kept is None else self.kept

    @property
    def has_rewards(self) -> bool:
        """Whether the task's rewards are known."""
        return not bool(np.isnan(self.rewards[0]))

    @property
    def terminated(self) -> bool:
        """Whether the task ended the episode."""
        return bool(self.terminations[-1])

    @property
    def truncated(self) -> bool:
        """Whether only something outside the task, such as a time limit, ended the episode."""
        return bool(self.truncations[-1]) and not self.terminated


def checked(episode: Episode, where: str) -> Episode:
    """Check an episode, and return it with read-only arrays.

    Args:
        episode: the episode as it was read or built.
        where: names the episode in messages.

    Raises:
        DemonstrationError: values are not finite numbers, there are no steps, lengths contradict each other, steps follow the end, or
            single pairs claim to have a last successor.
    """
    observations, actions, rewards, terminations, truncations = (_numbers(getattr(episode, name), name, where) for name in FIELDS)
    if episode.last_successor and not episode.ordered:
        raise DemonstrationError(f"{where} does not tell what followed an action, but has last_successor=True; give False")
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
    kept = None if episode.kept is None else _indices(episode.kept, rows - episode.ordered, where)
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
    """A view of the array that can't be written."""
    view = array.view()
    view.flags.writeable = False
    return view


def with_time_limit(episode: Episode, steps: int, where: str) -> Episode:
    """Mark the last step as a truncation if the episode has exactly this many steps.

    Raises:
        DemonstrationError: the episode has more steps.
    """
    if len(episode) > steps:
        advice = "give the limit of the task that was recorded"
        raise DemonstrationError(f"{where} has {len(episode)} steps, more than the time limit of {steps}; {advice}")
    if len(episode) < steps:
        return episode
    return replace(episode, terminations=read_only(np.zeros(steps, dtype=bool)), truncations=read_only(np.arange(steps) == steps - 1))


def is_discrete(actions: np.ndarray) -> bool:
    """Whether actions ``(T, …)`` are one integer each."""
    return actions.ndim == 1 and actions.dtype.kind in "iu"


def _numbers(values: np.ndarray, name: str, where: str) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim == 0 or array.dtype.kind not in "biuf":
        raise DemonstrationError(f"{where} has {name} of dtype {array.dtype} and shape {array.shape}; save them as rows of numbers")
    unknown = name == "rewards" and array.dtype.kind == "f" and array.size > 0 and bool(np.isnan(array).all())
    if array.dtype.kind == "f" and not unknown:
        largest = min(float(np.finfo(array.dtype).max), float(np.finfo(np.float32).max))  # tensors are float32, where 1e300 is infinite
        good = np.abs(array) <= largest
        if not good.all():
            place = tuple(np.argwhere(~good)[0].tolist())
            advice = "leave the episode out or record it again"
            raise DemonstrationError(f"{where} has {array[place]} in {name} at step {place[0]}, which is not a finite float32; {advice}")
    return read_only(array)


def _indices(values: np.ndarray, known: int, where: str) -> np.ndarray:
    array = np.asarray(values)
    bounded = np.concatenate([[-1], array.ravel(), [known]])  # strictly ascending from -1 to known means inside, in order, none twice
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu") or (np.diff(bounded) <= 0).any():
        raise DemonstrationError(f"{where} keeps steps that it doesn't have, or not in order; it needs ascending indices below {known}")
    return read_only(array.astype(np.int64))
