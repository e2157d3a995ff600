"""Flat layouts: each field is one array in which the episodes follow each other, one row a step."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from itertools import pairwise

import numpy as np

from genrl.data._episode import DemonstrationError, Episode

__all__ = ["from_arrays", "is_known"]

Fields = Mapping[str, np.ndarray]

SPELLINGS: dict[str, tuple[str, ...]] = {
    "observations": ("observations", "obs", "observation", "states"),
    "actions": ("actions", "acts", "action"),
    "rewards": ("rewards", "rews", "reward"),
    "next_observations": ("next_observations", "next_obs", "next_states"),
    "terminations": ("terminations", "terminals", "terminated"),
    "truncations": ("truncations", "timeouts", "truncated"),
    "dones": ("dones", "done"),
    "episode_starts": ("episode_starts",),
}
"""What each field is called: in Gymnasium's and Minari's words, D4RL's, Stable-Baselines 2's and the `imitation` library's."""
_IMITATION = ("obs", "acts", "rews", "indices", "terminal")


def is_known(names: Collection[str]) -> bool:
    """Whether ``names`` has observations and actions."""
    return all(set(SPELLINGS[field]) & set(names) for field in ("observations", "actions"))


def from_arrays(where: str, names: Collection[str], read: Callable[[str], np.ndarray]) -> list[Episode]:
    """Read the episodes; no array is read that is no field.

    Raises:
        DemonstrationError: there are no observations or no actions, a field has two names, or the fields contradict each other.
    """
    if set(_IMITATION) <= set(names):
        return _imitation(where, {name: _numbers(where, name, read(name)) for name in _IMITATION})
    named = {field: [name for name in spellings if name in names] for field, spellings in SPELLINGS.items()}
    if missing := [field for field in ("observations", "actions") if not named[field]]:
        needed = " and ".join(f"{field} ({', '.join(SPELLINGS[field][1:])})" for field in missing)
        raise DemonstrationError(f"{where} has the keys {', '.join(names) or '(none)'}, but needs {needed}; rename them")
    if twice := next((found for found in named.values() if len(found) > 1), None):
        raise DemonstrationError(f"{where} has both {' and '.join(twice)}, which mean the same; leave one out")
    by_name = {found[0]: _numbers(where, found[0], read(found[0])) for found in named.values() if found}
    if len({len(values) for values in by_name.values()}) > 1:
        given = ", ".join(f"{len(values)} {name}" for name, values in by_name.items())
        raise DemonstrationError(f"{where} has {given}, but needs as many of each; save it again")
    if not any(named[mark] for mark in _MARKS):
        _warn_of_other_names(where, [name for name in names if name not in by_name])
    return _flat(where, {field: by_name[found[0]] for field, found in named.items() if found})


def _warn_of_other_names(where: str, others: list[str]) -> None:
    """Warn of arrays that may be marks of episodes under a name that is not read."""
    if others:
        warnings.warn(
            f"{where} marks no end of an episode, and {', '.join(others)} {'is' if len(others) == 1 else 'are'} not read; the names of "
            f"ends are {', '.join(_MARKS)}",
            stacklevel=2,
        )


def _flat(where: str, fields: Fields) -> list[Episode]:
    """Cut at the ends that are marked; rows after the last mark are an unfinished episode.

    ``dones`` and ``episode_starts`` cut, but do not tell a termination from a time limit; ``dones`` beside one of the two tell the other.
    Without any mark, ``next_observations`` show where an episode ends; without those, the rows are single pairs.
    """
    obs, actions = fields["observations"], _actions(fields["actions"])
    steps, following = len(obs), fields.get("next_observations")
    rewards = _one_a_step(where, "rewards", fields["rewards"]) if "rewards" in fields else np.full(steps, np.nan, np.float32)
    marks = {name: _mark(where, name, fields[name]) for name in _MARKS if name in fields}
    terminations, truncations = _ends(marks, steps)
    cuts = _cuts(fields, marks)
    if cuts is None:
        return [Episode(obs, actions, rewards, terminations, truncations, id=0, last_successor=False, ordered=False)] if steps else []
    episodes: list[Episode] = []
    for k, (first, end) in enumerate(pairwise(np.unique([0, *cuts.tolist(), steps]).tolist())):
        s, rows = slice(first, end), obs[first:end]
        if following is not None:
            if not _follow(following[s][:-1], rows[1:]).all():
                given = f"{where}, episode {k} has next_observations that are not the observations that follow"
                raise DemonstrationError(f"{given}; mark where its episodes end in timeouts")
            rows = np.concatenate([rows, following[s][-1:]])
        flags = terminations[s], truncations[s]
        episodes.append(Episode(rows, actions[s], rewards[s], *flags, id=k, last_successor=following is not None))
    return episodes


_MARKS = ("terminations", "truncations", "dones", "episode_starts")


def _mark(where: str, name: str, values: np.ndarray) -> np.ndarray:
    return _one_a_step(where, name, values).astype(bool)


def _one_a_step(where: str, name: str, values: np.ndarray) -> np.ndarray:
    """Numbers ``(T,)``, also of a column.

    Raises:
        DemonstrationError: a row has several numbers, as where rows are episodes or the steps of several environments.
    """
    if values.size != len(values):
        given = f"{where} has {name} of shape {values.shape}, but needs one a step, ({len(values)},)"
        episodes = "join rows that are episodes by reshape(-1, *field.shape[2:])"
        steps = "rows that are a step of several environments after swapaxes(0, 1)"
        ends = "mark each episode's last step in terminations or truncations"
        raise DemonstrationError(f"{given}; {episodes}, {steps}, and {ends}")
    return values.reshape(-1)


def _ends(marks: Fields, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the task, and where a time limit ended an episode; what is done for the one reason is not for the other."""
    never = np.zeros(steps, bool)
    terminations, truncations, dones = (marks.get(name) for name in _MARKS[:3])
    if dones is not None and terminations is None and truncations is not None:
        terminations = dones & ~truncations
    if dones is not None and truncations is None and "terminations" in marks:
        truncations = dones & ~marks["terminations"]
    return never if terminations is None else terminations, never if truncations is None else truncations


def _cuts(fields: Fields, marks: Fields) -> np.ndarray | None:
    """First rows of the episodes but the first, as they are marked; ``None`` if nothing marks them."""
    if not marks:
        if (following := fields.get("next_observations")) is None:
            return None
        marks = {"dones": np.append(~_follow(following[:-1], fields["observations"][1:]), False)}
    return np.concatenate([np.flatnonzero(mark) + (name != "episode_starts") for name, mark in marks.items()])


def _follow(following: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Whether each row is what the one before says that follows, ``(n,)``; doubles are compared with singles as singles."""
    if following.dtype.kind == rows.dtype.kind == "f":
        coarser = min(following.dtype, rows.dtype, key=lambda dtype: dtype.itemsize)
        following, rows = following.astype(coarser, copy=False), rows.astype(coarser, copy=False)
    same: np.ndarray = (following == rows) | ((following != following) & (rows != rows))  # NaN is what differs from itself
    return np.asarray(same.reshape(len(rows), -1).all(axis=1))


def _imitation(where: str, fields: Fields) -> list[Episode]:
    """Split at ``indices``; each episode has one row more in ``obs`` than in the other fields.

    The library also sets ``terminal`` where a time limit ended the episode.
    """
    obs, actions, rewards, terminal = fields["obs"], _actions(fields["acts"]), fields["rews"], fields["terminal"].astype(bool)
    bounds = [0, *fields["indices"].ravel().astype(int).tolist(), len(actions)]
    n = len(bounds) - 1
    lengths = len(obs), len(rewards), len(terminal)
    if sorted(set(bounds)) != bounds or lengths != (len(actions) + n, len(actions), n):
        given = f"{lengths[0]} obs, {len(actions)} acts, {lengths[1]} rews, {lengths[2]} terminal and {n - 1} indices"
        rule = "n episodes have n - 1 ascending indices, n terminal, and n more obs than acts and rews"
        raise DemonstrationError(f"{where} has {given}, but {rule}; save it again")
    episodes: list[Episode] = []
    for k, (first, end) in enumerate(pairwise(bounds)):
        last = np.arange(first, end) == end - 1
        flags = last & terminal[k], last & ~terminal[k]
        episodes.append(Episode(obs[first + k : end + k + 1], actions[first:end], rewards[first:end], *flags, id=k))
    return episodes


def _numbers(where: str, name: str, values: np.ndarray) -> np.ndarray:
    if values.ndim == 0 or values.dtype.kind not in "biuf":
        raise DemonstrationError(f"{where} has {name} of dtype {values.dtype} and shape {values.shape}; save it as an array of numbers")
    return values


def _actions(actions: np.ndarray) -> np.ndarray:
    """Reshape discrete actions to ``(T,)``, since some recorders store them as ``(T, 1)``."""
    return actions[:, 0] if actions.dtype.kind in "iu" and actions.shape[1:] == (1,) else actions
