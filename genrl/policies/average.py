"""The mean of a learner's last policies, for a training whose last one is a draw from many."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor

from genrl.errors import at_least, require
from genrl.sb3.plugged import refuse_events

__all__ = ["PolicyAverage"]


class PolicyAverage(BaseCallback):
    r"""Averages the parameters of a learner's policies from a step on; the learner itself is untouched.

    .. math:: \bar\theta_n = \bar\theta_{n-1} + (\theta_n - \bar\theta_{n-1}) / n

    A reward that is learnt beside the policy keeps it moving, so that one policy imitates well and the next one does not. Their average
    moves less. It is a good policy only where the averaged ones are close to each other, so compare its return with that of the last one.

    A new average begins with a ``learn`` that counts its steps from 0 again, as SB3's does by default, or that is of another learner, and
    where the old one holds policies from before ``since``, such as after a run that was to be shorter.

    Args:
        since: environment steps after which policies count.
        every: environment steps between two of them; on-policy it is at least a rollout.

    Raises:
        ValueError: ``since`` below 0 or ``every`` below 1; when it is given to another callback than a list.

    References:
        Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", 2018, arXiv:1803.05407.

    Example:
        >>> from stable_baselines3 import PPO
        >>> model, average = PPO("MlpPolicy", "Pendulum-v1", n_steps=64), PolicyAverage(since=64, every=1)
        >>> _ = model.learn(192, callback=average)
        >>> average.count  # after 64, 128 and 192 steps
        3
        >>> with average.applied(model):
        ...     action, _ = model.predict(model.observation_space.sample())
    """

    def __init__(self, since: int, every: int = 100) -> None:
        super().__init__()
        require(PolicyAverage, *at_least(0, since=since), *at_least(1, every=every))
        self.since, self.every = since, every
        self.count = 0
        """Number of policies that were averaged."""
        self.mean: dict[str, Tensor] = {}
        """The averaged ``state_dict`` of the policy; empty before the first."""
        self._first = self._last = -1
        """Environment steps of the first and the last of them."""
        self._learner: BaseAlgorithm | None = None
        """Whose policies are averaged, where it is known."""

    def __repr__(self) -> str:
        return f"PolicyAverage({self.count} policies, since={self.since}, every={self.every})"

    def _on_training_start(self) -> None:
        refuse_events(self, self.parent)
        if self._learner not in (None, self.model) or self._first < self.since or self.num_timesteps < self._last:
            self.count, self.mean, self._first, self._last = 0, {}, -1, -1

    def _on_rollout_start(self) -> None:
        if self.num_timesteps >= max(self.since, self._last + self.every if self.count else 0):
            self._add()

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        if self.num_timesteps >= self.since and self.num_timesteps > self._last:
            self._add()

    @torch.no_grad()
    def _add(self) -> None:
        self._first = self._first if self.count else self.num_timesteps
        self.count, self._last, self._learner = self.count + 1, self.num_timesteps, self.model
        for name, value in self.model.policy.state_dict().items():
            if name in self.mean and value.is_floating_point():
                before = self.mean[name].to(value.device)  # a restored one is on the CPU
                self.mean[name] = before + (value - before) / self.count
            else:  # the first one, or a count of batches
                self.mean[name] = value.clone()

    @contextmanager
    def applied(self, model: BaseAlgorithm) -> Iterator[None]:
        """Within it, the average is the policy of ``model``.

        Raises:
            ValueError: no policy was averaged yet.
        """
        if not self.count:
            raise ValueError(f"PolicyAverage has averaged no policy yet, but begins after {self.since:,} steps; lower since, or go on")
        kept = {name: value.clone() for name, value in model.policy.state_dict().items()}
        model.policy.load_state_dict({**kept, **self.mean})
        try:
            yield
        finally:
            model.policy.load_state_dict(kept)

    def state_dict(self) -> dict[str, Any]:
        """The average so far, for :func:`genrl.files.save_state`."""
        return {"count": self.count, "first": self._first, "last": self._last, "mean": dict(self.mean)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        self.count, self._first, self._last, self._learner = state["count"], state["first"], state["last"], None
        self.mean = {name: value.clone() for name, value in state["mean"].items()}
