"""Flat layouts of other libraries: each field is one array in which the episodes follow each other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from genrl.data._episode import DemonstrationError, Episode

__all__ = ["from_arrays", "is_known"]

Fields = Mapping[str, np.ndarray]


def is_known(names: Collection[str]) -> bool:
    """Whether ``names`` contains every needed field of one of the layouts."""
    return any(set(layout.needed) <= set(names) for layout in _LAYOUTS)


def from_arrays(where: str, names: Collection[str], read: Callable[[str], np.ndarray]) -> list[Episode]:
    """Read the episodes by the first layout whose needed fields are all among ``names``; no other field is read.

    Raises:
        DemonstrationError: no layout fits, or the fields contradict each other.
    """
    layout = next((layout for layout in _LAYOUTS if set(layout.needed) <= set(names)), None)
    if layout is None:
        known = "; ".join(f"{layout.name} ({', '.join(layout.needed)})" for layout in _LAYOUTS)
        given = f"{where} has the keys {', '.join(names) or '(none)'}"
        raise DemonstrationError(f"{given}, but genrl reads its own layout and {known}; rename them")
    fields = {name: read(name) for name in (*layout.needed, *layout.optional) if name in names}
    for name, values in fields.items():
        if values.ndim == 0 or values.dtype.kind not in "biuf":
            raise DemonstrationError(f"{where} has {name} of dtype {values.dtype} and shape {values.shape}; save it as an array of numbers")
    return layout.episodes(where, fields)


def _d4rl(where: str, fields: Fields) -> list[Episode]:
    """Split at ``terminals`` and ``timeouts``; rows after the last of them are an unfinished episode.

    Without ``next_observations`` the last successor of every episode is unknown.
    """
    _same_length(where, fields)
    obs, actions, rewards = fields["observations"], _actions(fields["actions"]), fields["rewards"]
    terminations, truncations = fields["terminals"].astype(bool), fields["timeouts"].astype(bool)
    following = fields.get("next_observations")
    episodes: list[Episode] = []
    for k, s in enumerate(_episodes(np.flatnonzero(terminations | truncations) + 1, len(obs))):
        rows = obs[s]
        if following is not None:
            if not np.array_equal(following[s][:-1], rows[1:], equal_nan=rows.dtype.kind == "f"):
                given = f"{where}, episode {k} has next_observations that are not the observations that follow"
                raise DemonstrationError(f"{given}; mark where its episodes end in timeouts")
            rows = np.concatenate([rows, following[s][-1:]])
        flags = terminations[s], truncations[s]
        episodes.append(Episode(rows, actions[s], rewards[s], *flags, id=k, last_successor=following is not None))
    return episodes


def _stable_baselines(where: str, fields: Fields) -> list[Episode]:
    """Split at ``episode_starts``. The layout stores neither the last successor of an episode nor whether a time limit ended it."""
    _same_length(where, fields)
    obs, actions, rewards = fields["obs"], _actions(fields["actions"]), fields["rewards"]
    never = np.zeros(len(obs), dtype=bool)
    cuts = _episodes(np.flatnonzero(fields["episode_starts"]), len(obs))
    return [Episode(obs[s], actions[s], rewards[s], never[s], never[s], id=k, last_successor=False) for k, s in enumerate(cuts)]


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


class _Layout(NamedTuple):
    name: str
    needed: tuple[str, ...]
    optional: tuple[str, ...]
    episodes: Callable[[str, Fields], list[Episode]]


_LAYOUTS = (
    _Layout("D4RL's", ("observations", "actions", "rewards", "terminals", "timeouts"), ("next_observations",), _d4rl),
    _Layout("Stable-Baselines 2's", ("obs", "actions", "rewards", "episode_starts"), (), _stable_baselines),
    _Layout("imitation's old one", ("obs", "acts", "rews", "indices", "terminal"), (), _imitation),
)


def _episodes(inner: np.ndarray, steps: int) -> list[slice]:
    """The rows of each episode; ``inner`` holds the first row of every episode but the first."""
    return [slice(first, end) for first, end in pairwise(np.unique([0, *inner.tolist(), steps]).tolist())]


def _actions(actions: np.ndarray) -> np.ndarray:
    """Reshape discrete actions to ``(T,)``, since some recorders store them as ``(T, 1)``."""
    return actions[:, 0] if actions.dtype.kind in "iu" and actions.shape[1:] == (1,) else actions


def _same_length(where: str, fields: Fields) -> None:
    if len({len(values) for values in fields.values()}) > 1:
        given = ", ".join(f"{len(values)} {name}" for name, values in fields.items())
        raise DemonstrationError(f"{where} has {given}, but needs as many of each; save it again")
