"""Demonstrations in a few lines, with what a user should know about their file."""

from __future__ import annotations

from typing import Any

import numpy as np

from genrl.data._episode import is_discrete
from genrl.data._fit import flags

__all__ = ["summary"]


def summary(demos: Any) -> str:
    """File, task, episodes, steps, sizes and returns; ± is the population standard deviation over full episodes.

    Args:
        demos: :class:`genrl.data.Demonstrations`, whose module imports this one.
    """
    episodes, returns = demos.episodes, demos.returns
    ends = {"terminated": sum(episode.terminated for episode in episodes), "truncated": sum(episode.truncated for episode in episodes)}
    if unknown := len(episodes) - sum(ends.values()):
        ends["of unknown end"] = unknown
    ordered, known = all(episode.ordered for episode in episodes), np.isfinite(returns).all()
    rows = {
        "task": f"{demos.env_id or 'unknown'} {flags(demos.env_kwargs)}".strip(),
        "episodes": f"{len(episodes)} ({', '.join(f'{count} {end}' for end, count in ends.items())})" if ordered else "not marked",
        "steps": f"{demos.lengths.sum():,} recorded, {demos.n_steps:,} kept as pairs",
        "observations": _kind(episodes[0].observations),
        "actions": "discrete" if demos.discrete else _kind(episodes[0].actions),
        "return": f"{returns.mean():.1f} ± {returns.std():.1f} [{returns.min():.1f}, {returns.max():.1f}]" if known else "unknown",
    }
    if demos.metadata.get("disturb"):
        rows["return"] += ", of disturbed steps"
    if note := _note(demos):
        rows["note"] = note
    return "\n".join([demos.source or "recording in memory", *(f"  {name:<13} {value}" for name, value in rows.items())])


def _note(demos: Any) -> str:
    if not all(episode.ordered for episode in demos.episodes):
        return "the file does not tell what followed an action: each step is a pair by itself"
    if not all(episode.last_successor for episode in demos.episodes):
        return "the file lacks what the last action of an episode led to: that step is no pair, but counts in the return"
    longest = int(demos.lengths.max())
    full = sum(episode.terminated and len(episode) == longest for episode in demos.episodes)
    if full > 1 and full > demos.n_episodes / 5:
        steps = f"{longest} step{'' if longest == 1 else 's'}"
        return f"{full} episodes terminate after exactly {steps}; if that is a time limit, load with time_limit={longest}"
    return ""


def _kind(values: np.ndarray) -> str:
    shape = values.shape[1:]
    size = "integer" if is_discrete(values) else str(shape[0]) if len(shape) == 1 else str(shape)
    return f"{size}, {values.dtype}"
