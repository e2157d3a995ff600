"""Hand-made episodes whose numbers say where they come from."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from gymnasium import spaces

from genrl.data import Demonstrations, Episode


def walk(k: int, steps: int = 5, terminated: bool = False, discrete: bool = False, **fields: Any) -> Episode:
    """Episode ``k``: observation t is (k, t), action t is t + 0.25 (or t mod 3), every reward is k + 1."""
    t = np.arange(steps + 1)
    last = t[:-1] == steps - 1
    return dataclasses.replace(
        Episode(
            observations=np.stack([np.full(steps + 1, k), t], axis=1).astype(np.float32),
            actions=t[:-1] % 3 if discrete else t[:-1, None].astype(np.float32) + 0.25,
            rewards=np.full(steps, k + 1.0),
            terminations=last & terminated,
            truncations=last & (not terminated),
            seed=1000 + k,
        ),
        **fields,
    )


def walks(n: int = 3, steps: int = 5, **keywords: Any) -> Demonstrations:
    """``n`` walks of one length, of which the odd ones terminate."""
    episodes = [walk(k, steps, terminated=k % 2 == 1, **keywords) for k in range(n)]
    return Demonstrations.from_episodes(episodes, env_id="Walk-v0", env_kwargs={"slow": True})


def fit(demos: Demonstrations, obs: tuple[int, ...], action: tuple[int, ...] | int) -> Demonstrations:
    """Refused, or as a task takes them that has observations of this shape, and actions of that shape or so many discrete ones."""
    takes = spaces.Discrete(action) if isinstance(action, int) else spaces.Box(-np.inf, np.inf, action)
    return demos.fitted(spaces.Box(-np.inf, np.inf, obs), takes)[0]


def assert_same(a: Demonstrations, b: Demonstrations) -> None:
    """Equal to the last bit and in dtype; the source may differ."""
    assert a.n_episodes == b.n_episodes
    for one, other in zip(a.episodes, b.episodes, strict=True):
        for field in ("observations", "actions", "rewards", "terminations", "truncations", "steps"):
            x, y = getattr(one, field), getattr(other, field)
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(x, y)
        assert (one.seed, one.last_successor) == (other.seed, other.last_successor)
    assert (a.env_id, a.env_kwargs) == (b.env_id, b.env_kwargs)
