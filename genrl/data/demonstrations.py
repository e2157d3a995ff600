"""Demonstrations: what an expert did, from a file to tensors."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genrl.data import _minari, _npz
from genrl.data._episode import DemonstrationError, Episode, checked, is_discrete, read_only, with_time_limit
from genrl.data._files import read
from genrl.data._fit import as_the_task_gives, as_the_task_takes, check_actions, check_shapes
from genrl.data._summary import summary
from genrl.errors import callers_line, one_line
from genrl.files import write_whole
from genrl.roles import without_module
from genrl.spaces import numbers
from genrl.transitions import Transitions, exact

__all__ = ["DemonstrationError", "Demonstrations", "Episode", "check_demonstrations"]


@dataclass(frozen=True, eq=False, repr=False)
class Demonstrations:
    r"""Recorded episodes of one task, and which of their steps are used as pairs (s, a).

    Nothing here changes in place: each method gives new demonstrations that share the arrays. Episodes stay whole however few of their
    steps are kept, so true successors and the returns of full episodes are always there. Make one with :meth:`load` or
    :meth:`from_episodes`, which check what they are given.

    References:
        Ho, Ermon, "Generative Adversarial Imitation Learning", 2016, arXiv:1606.03476 (its subsampling).

    Example:
        >>> x = np.arange(7.0)[:, None]  # an expert that walks along a line, one metre a step, until the time is up
        >>> no, yes = np.zeros(6, bool), np.arange(6) == 5
        >>> walk = Episode(observations=x, actions=np.ones((6, 1)), rewards=np.ones(6), terminations=no, truncations=yes)
        >>> demos = Demonstrations.from_episodes([walk, walk], env_id="Walk-v0")
        >>> print(demos.subsample(episodes=1, every=2, offset=1))
        recording in memory
          task          Walk-v0
          episodes      1 (0 terminated, 1 truncated)
          steps         6 recorded, 3 kept as pairs
          observations  1, float64
          actions       1, float64
          return        6.0 ± 0.0 [6.0, 6.0]
        >>> demos.subsample(every=2, offset=1).transitions().next_obs.flatten().tolist()
        [2.0, 4.0, 6.0, 2.0, 4.0, 6.0]
    """

    episodes: tuple[Episode, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Plain data in Minari's words: ``env_spec`` (with ``id`` and ``kwargs``), ``observation_space``, ``action_space``, ``author``, …"""
    source: str | None = None
    """The file, or ``None``."""

    def __post_init__(self) -> None:
        if not all(isinstance(episode, Episode) for episode in self.episodes):
            raise DemonstrationError(
                "Demonstrations are made of episodes, but were given other things; give Demonstrations.from_episodes([Episode(…), …]), or "
                "save arrays with numpy.savez(FILE, observations=…, actions=…, dones=…) and give Demonstrations.load(FILE)"
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str], time_limit: int | None = None) -> Demonstrations:
        """Read a file or a Minari data-set folder; what it is, is told by its content. Nothing in it is unpickled, evaluated or imported.

        - Minari's HDF5, as a file, ``<id>/`` or ``<id>/data/``, with metadata.json beside it or metadata as attributes of its root.
        - What :meth:`save` wrote.
        - Arrays of your own as npz or HDF5, in D4RL's, Stable-Baselines 2's or Gymnasium's spellings: ``observations`` (or obs, states) and
          ``actions`` (or acts), one row a step, and what there is of ``rewards``, ``next_observations``, ``terminations`` (or terminals),
          ``truncations`` (or timeouts), ``dones`` and ``episode_starts``. Without ``next_observations`` **the last step of each episode is
          not among the pairs**, but counts in returns and lengths. ``dones`` and ``episode_starts`` alone do not tell a time limit from a
          failure, so such ends are unknown; ``dones`` beside truncations or terminations do. A file with none of these marks is single
          pairs, which suffice for cloning and GAIL.
        - robomimic's HDF5, ``data/demo_0/…``; numbers under ``obs`` are joined in the order of their names, as Gymnasium flattens a Dict.
        - The old npz of the ``imitation`` library. **Its** ``terminal`` **is true for every episode, also where the time limit ended it**,
          and is believed unless ``time_limit`` is given (``genrl imitate`` and ``genrl dream`` know their task's). Its pickled ``infos``
          are not touched.

        Args:
            path: a file or folder, or the id of a Minari data set, such as ``D4RL/door/human-v2``, below ``MINARI_DATASETS_PATH`` or
                ~/.minari/datasets.
            time_limit: steps at which the task ends an episode; an end at exactly this length becomes a truncation.

        Raises:
            FileNotFoundError: nothing is there.
            DemonstrationError: it can't be used; one sentence says which file, episode and field, and what to do.
        """
        episodes, metadata = read(Path(path))
        demos = cls.from_episodes(episodes, metadata=metadata, source=str(path))
        if time_limit is None:
            return demos
        limited = (with_time_limit(episode, time_limit, f"{path}, episode {k}") for k, episode in enumerate(demos.episodes))
        return replace(demos, episodes=tuple(limited))

    @classmethod
    def from_episodes(
        cls,
        episodes: Iterable[Episode],
        env_id: str | None = None,
        env_kwargs: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        source: str | None = None,
    ) -> Demonstrations:
        """Demonstrations out of episodes in memory.

        Args:
            episodes: at least one; all of one task.
            env_id: the task's id, above what ``metadata`` says.
            env_kwargs: the keywords it was made with, above what ``metadata`` says.
            metadata: plain data in Minari's words; with ``{"env_spec": json.loads(env.spec.to_json())}`` Minari recovers the environment.
            source: what to call it in messages.

        Raises:
            DemonstrationError: no episodes, episodes of several sizes or dtypes, or one that can't be used.
        """
        name = _name(source)
        whole = tuple(checked(episode, f"{name}, episode {k if episode.id is None else episode.id}") for k, episode in enumerate(episodes))
        if not whole:
            raise DemonstrationError(f"{name}: there are no episodes; record at least one")
        for field_name in ("observations", "actions"):
            kinds = [f"shape {values.shape[1:]} and dtype {values.dtype}" for values in (getattr(episode, field_name) for episode in whole)]
            if (other := next((k for k, kind in enumerate(kinds) if kind != kinds[0]), None)) is not None:
                given = f"{name} has {field_name} of {kinds[0]} in episode 0 but of {kinds[other]} in episode {other}"
                raise DemonstrationError(f"{given}; give episodes of one task")
        return cls(whole, _described(name, metadata or {}, env_id, env_kwargs), source)

    @property
    def n_episodes(self) -> int:
        """Number of episodes."""
        return len(self.episodes)

    @property
    def n_steps(self) -> int:
        """Number of kept pairs, the batch size of :meth:`transitions`."""
        return sum(len(episode.steps) for episode in self.episodes)

    @property
    def lengths(self) -> np.ndarray:
        """Steps that were recorded, kept or not, ``(n_episodes,)``."""
        return np.array([len(episode) for episode in self.episodes])

    @property
    def returns(self) -> np.ndarray:
        """Sums of the recorded rewards over full episodes, ``(n_episodes,)``, float64; NaN where the file has no rewards, and of single
        pairs, which may be those of many episodes."""
        return np.array([episode.rewards.sum(dtype=np.float64) if episode.ordered else np.nan for episode in self.episodes])

    @property
    def env_id(self) -> str | None:
        """The task's id, where it is known."""
        return self.metadata.get("env_spec", {}).get("id")

    @property
    def env_kwargs(self) -> dict[str, Any]:
        """The keywords that the task was made with."""
        return dict(self.metadata.get("env_spec", {}).get("kwargs") or {})

    @property
    def obs_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        return self.episodes[0].observations.shape[1:]

    @property
    def action_shape(self) -> tuple[int, ...]:
        """Shape of one action; ``()`` if discrete."""
        return self.episodes[0].actions.shape[1:]

    @property
    def discrete(self) -> bool:
        """Whether an action is one integer."""
        return is_discrete(self.episodes[0].actions)

    def transitions(self, successors: bool = True) -> Transitions:
        """The kept pairs with their true successors; ``terminated`` is false for a time limit.

        Observations are float32, or float64 where they were recorded so; actions float32, or int64 for whole numbers.

        Args:
            successors: whether they are needed. Otherwise ``next_obs`` is NaN where the file does not tell what followed.

        Raises:
            DemonstrationError: successors are needed, and the file does not tell them.
        """
        if successors and not all(episode.ordered for episode in self.episodes):
            raise DemonstrationError(
                f"{self._name} does not tell what followed an action; add dones or next_observations to it, or use what needs neither: "
                "cloning (--steps 0), or gail, vail or diffail with --expert-fraction 0"
            )
        parts = [(episode, episode.steps) for episode in self.episodes]
        return Transitions(
            obs=exact(np.concatenate([episode.observations[steps] for episode, steps in parts])),
            action=_tensor([episode.actions[steps] for episode, steps in parts], None),
            next_obs=exact(np.concatenate([_following(episode, steps) for episode, steps in parts])),
            terminated=_tensor([episode.terminations[steps] for episode, steps in parts], torch.bool),
        )

    def subsample(self, episodes: int | None = None, every: int = 1, seed: int = 0, offset: int | None = None) -> Demonstrations:
        """The first ``episodes``, and of each every ``every``-th of its kept steps, from a random offset.

        As in the code of the GAIL paper, offsets are ``numpy.random.RandomState(seed).randint(0, every, size=episodes)``.

        Args:
            episodes: how many; all by default.
            every: 20 in the paper for MuJoCo, 10 for CartPole, 5 for MountainCar and Acrobot.
            seed: of the offsets.
            offset: one offset below ``every`` for all episodes instead.

        Raises:
            DemonstrationError: more episodes than there are, or no pair would be left.
            ValueError: a number out of its range.
        """
        n = self.n_episodes if episodes is None else episodes
        if n > (most := self.n_episodes):
            raise DemonstrationError(f"{self._name} has {most} episodes, but {n} are asked for; ask for at most {most}")
        if n < 1 or every < 1 or not 0 <= (offset or 0) < every:
            given = f"episodes={episodes}, every={every}, offset={offset}"
            raise ValueError(f"subsample needs episodes and every from 1 and an offset from 0 below every, but was given {given}")
        drawn = np.random.RandomState(seed).randint(0, every, size=n)  # the generator of the paper's code: the same pairs
        offsets = drawn if offset is None else np.full(n, offset)
        kept = tuple(replace(episode, kept=episode.steps[first::every]) for episode, first in zip(self.episodes, offsets, strict=False))
        advice = f"with every={every} no step is kept; take a smaller every"
        if not self.n_steps:
            advice = "there is no step of which it is known what followed; add next_observations, which each episode's last step needs"
        return self._with_some(kept, advice)

    def split(self, held_out: float = 0.3, seed: int = 0) -> tuple[Demonstrations, Demonstrations]:
        """Two disjoint parts of the kept pairs, drawn at random: to train on, and to hold out.

        Both hold all episodes whole, so their returns are the same. Neighbouring steps are alike: pairs that are held out tell whether a
        model remembers pairs, not whether it knows other episodes.

        Args:
            held_out: share of the second part; 0.3 is what behaviour cloning holds out in the GAIL paper.
            seed: of the draw.

        Raises:
            DemonstrationError: a part would be empty.
        """
        order = np.random.default_rng(seed).permutation(self.n_steps)
        second = np.zeros(self.n_steps, dtype=bool)
        second[order[: round(held_out * self.n_steps) if 0 < held_out < 1 else 0]] = True
        places = np.cumsum([len(episode.steps) for episode in self.episodes])[:-1]
        advice = f"held_out={held_out} of {self.n_steps} pairs leaves one part empty; hold out a share between 0 and 1, such as 0.3"

        def part(mask: np.ndarray) -> Demonstrations:
            own = zip(self.episodes, np.split(mask, places), strict=True)
            return self._with_some(tuple(replace(episode, kept=episode.steps[mine]) for episode, mine in own), advice)

        return part(~second), part(second)

    def paid(self, reward: float) -> Demonstrations:
        """These demonstrations with ``reward`` at every step, for a file without rewards where something needs numbers in their place."""
        same = (replace(episode, rewards=read_only(np.full(len(episode), reward, np.float32))) for episode in self.episodes)
        return replace(self, episodes=tuple(same))

    def clipped(self, low: Any, high: Any) -> tuple[Demonstrations, int]:
        """These demonstrations with all actions clipped to a box, and the number of action components that were outside.

        Args:
            low: bounds that broadcast to ``action_shape``.
            high: likewise.

        Raises:
            DemonstrationError: the actions are discrete.
        """
        if self.discrete:
            raise DemonstrationError(f"{self._name} has discrete actions, which no box can clip; leave them as they are")
        dtype = np.result_type(self.episodes[0].actions, np.float32)  # bounds of whole numbers would not be the task's
        bounds = np.asarray(low, dtype), np.asarray(high, dtype)
        inside = tuple(replace(episode, actions=read_only(np.clip(episode.actions, *bounds))) for episode in self.episodes)
        count = sum(int((new.actions != old.actions).sum()) for new, old in zip(inside, self.episodes, strict=True))
        return replace(self, episodes=inside), count

    def within(self, time_limit: int | None) -> Demonstrations:
        """The demonstrations of a task with this time limit, without terminations that were the limit's, with a warning.

        At its last step Gymnasium's ``TimeLimit`` truncates, whether the task ends there or not. So an episode of just so many steps that
        is marked as terminated and not as truncated is of a recorder that can't tell them apart, such as old versions of ``imitation``.
        A longer episode has a warning of its own: it may be several, whose ends at the limit nobody marked.

        Args:
            time_limit: ``env.spec.max_episode_steps``; ``None`` where a task has none.
        """
        longest = max((len(episode) for episode in self.episodes if episode.ordered), default=0)
        if time_limit is not None and longest > time_limit:
            warnings.warn(
                f"{self._name} has an episode of {longest:,} steps, but the task ends one after {time_limit:,}; if it is several, mark "
                "where each ends in truncations (timeouts), or the way from one to the next is taken for a step of the task",
                stacklevel=2,
            )
        wrong = [len(episode) == time_limit and episode.terminated and not episode.truncations[-1] for episode in self.episodes]
        if not any(wrong):
            return self
        warnings.warn(
            f"{self._name} has {sum(wrong)} of {self.n_episodes} episodes that end at the task's time limit, {time_limit:,} steps, and are "
            "marked as terminated there; they are taken for cut off by the limit",
            stacklevel=2,
        )
        each = zip(self.episodes, wrong, strict=True)
        return replace(self, episodes=tuple(with_time_limit(episode, len(episode), self._name) if w else episode for episode, w in each))

    def fitted(self, observation_space: Any, action_space: Any) -> tuple[Demonstrations, int]:
        """The demonstrations as a task with these spaces gives and takes them, and the number of action components that were clipped.

        Observations get the dtype of the task, and pictures the place of their channels; actions are moved into a ``Box``, with a warning,
        and a discrete task's are whole numbers.

        Args:
            observation_space: the task's or its learner's, of Gymnasium.
            action_space: likewise.

        Raises:
            DemonstrationError: the sizes differ, the task gives several arrays (Dict), it takes another kind of actions, or it never gives
                or takes what was recorded.
        """
        check_shapes(self._name, self.obs_shape, observation_space, self.env_kwargs)
        episodes = tuple(
            replace(
                episode,
                observations=as_the_task_gives(self._name, episode.observations, observation_space),
                actions=as_the_task_takes(self._name, episode.actions, action_space),
            )
            for episode in self.episodes
        )
        check_actions(self._name, episodes, tuple(action_space.shape), numbers(action_space))
        demos = replace(self, episodes=episodes)
        if numbers(action_space) is not None:
            return demos, 0
        demos, count = demos.clipped(action_space.low, action_space.high)
        if count:
            total = sum(episode.actions.size for episode in episodes)
            said = f"{self._name} has {count:,} of {total:,} components of actions outside the task's box, which are clipped"
            warnings.warn(said + "; are they in its units?" * (2 * count > total), stacklevel=callers_line())
        dtype = np.result_type(action_space.dtype, np.float16)
        cast = (replace(episode, actions=read_only(episode.actions.astype(dtype, copy=False))) for episode in demos.episodes)
        return replace(demos, episodes=tuple(cast)), count

    def check_task(self, env_id: str | None) -> None:
        """Refuse demonstrations that were recorded on a task of another name, where both names are known.

        Args:
            env_id: id of the task, with or without a module in front (``module:Name-v0``).

        Raises:
            DemonstrationError: the tasks have other names or versions.
        """
        given, needed = (without_module(str(name)) for name in (self.env_id, env_id))
        if self.env_id and env_id and given != needed:
            raise DemonstrationError(
                f"{self._name} was recorded on {given}, but the task is {needed}; give demonstrations of {needed}, or take these all the "
                "same by any_task=True (--any-task)"
            )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all episodes and which steps are kept; whole or not at all.

        - ``x.hdf5``, ``x.h5``: one self-contained file, Minari's groups with metadata as attributes, compressed.
        - ``x.npz``: flat arrays and a JSON header.
        - a name without such an ending, ``hopper/expert-v0``: the folder of a data set, for ``minari.load_dataset``.

        Raises:
            DemonstrationError: another ending, a folder that is there or whose name Minari doesn't take, or episodes without a last
                successor (Stable-Baselines 2's), which only npz can hold.
        """
        path, lost = Path(path), not all(episode.last_successor for episode in self.episodes)
        self.check_path(path)
        if lost and path.suffix != ".npz":
            instead = path.with_suffix(".npz")
            raise DemonstrationError(f"{self._name} lacks last successors, which Minari's layout needs; save it to {instead}")
        if path.suffix == "":
            return _minari.write_folder(path, self.episodes, self.metadata)
        path.parent.mkdir(parents=True, exist_ok=True)
        file_content = _npz.file_content if path.suffix == ".npz" else _minari.file_content
        return write_whole(path, file_content(self.episodes, self.metadata))

    @staticmethod
    def check_path(path: str | os.PathLike[str]) -> None:
        """Refuse a name that :meth:`save` would refuse whatever the episodes are.

        Raises:
            DemonstrationError: another ending, or a folder that is there or whose name Minari doesn't take.
        """
        suffix = Path(path).suffix
        if suffix not in ("", ".hdf5", ".h5", ".npz"):
            raise DemonstrationError(f"{path} ends in {suffix}; save to .hdf5, .h5, .npz, or for Minari to a folder such as expert-v0")
        if suffix == "":
            _minari.check_folder(Path(path))

    def __repr__(self) -> str:
        return summary(self)

    @property
    def _name(self) -> str:
        return _name(self.source)

    def _with_some(self, episodes: tuple[Episode, ...], advice: str) -> Demonstrations:
        demos = replace(self, episodes=episodes)
        if demos.n_steps == 0:
            raise DemonstrationError(f"{self._name}: {advice}")
        return demos


def check_demonstrations(owner: Callable[..., Any], given: object) -> None:
    """Refuse what is given to a class or function in place of demonstrations, such as the path of their file.

    Raises:
        DemonstrationError: says how to get them.
    """
    if not isinstance(given, Demonstrations):
        name = getattr(owner, "__name__", owner)
        what = type(given).__name__
        raise DemonstrationError(f"{name} was given {what} as its demonstrations; give Demonstrations, such as Demonstrations.load(FILE)")


def _described(name: str, metadata: Mapping[str, Any], env_id: str | None, env_kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    """Metadata with the task's id and keywords in their ``env_spec``."""
    spec = metadata.get("env_spec", {})
    if not (isinstance(spec, Mapping) and isinstance(spec.get("id") or "", str) and isinstance(spec.get("kwargs") or {}, Mapping)):
        raise DemonstrationError(f"{name} has an env_spec that is not an object with an id and kwargs; write them as Minari does")
    own = {"id": env_id, "kwargs": None if env_kwargs is None else dict(env_kwargs)}
    spec = {**spec, **{key: value for key, value in own.items() if value is not None}}
    known = {**metadata, "env_spec": spec} if spec else dict(metadata)
    try:
        json.dumps(known)
    except (TypeError, ValueError) as error:
        given = f"{name} has metadata that are no plain data ({one_line(error)})"
        raise DemonstrationError(f"{given}; give strings, numbers, lists and dictionaries") from error
    return known


def _name(source: str | None) -> str:
    return source or "recording in memory"


def _following(episode: Episode, steps: np.ndarray) -> np.ndarray:
    """What followed each step, NaN where it is unknown."""
    return (
        episode.observations[steps + 1] if episode.ordered else np.full((len(steps), *episode.observations.shape[1:]), np.nan, np.float32)
    )


def _tensor(parts: Sequence[np.ndarray], dtype: torch.dtype | None) -> torch.Tensor:
    values = np.concatenate(parts)
    return torch.from_numpy(values).to(dtype or (torch.float32 if values.dtype.kind == "f" else torch.int64))
