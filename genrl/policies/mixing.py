"""Demonstrated transitions as a share of each batch of an off-policy learner."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from torch import Tensor

from genrl.data import DemonstrationError, Demonstrations
from genrl.data.demonstrations import check_demonstrations
from genrl.errors import require
from genrl.sb3.actions import refuse_spaces
from genrl.sb3.batches import Rows
from genrl.sb3.hooks import LendingPart
from genrl.sb3.plugged import PluggedCallback
from genrl.transitions import Transitions

__all__ = ["Mixing"]


class Mixing(PluggedCallback):
    """Lets demonstrations take the place of a share of each batch that an off-policy learner draws.

    They are paid as the learner's own transitions are: by the environment's reward that was recorded with them, and by the rewards in force
    (:class:`~genrl.rewards.RewardCallback`). The learner's own draws stay as they are. With an imitation reward this is HyPER's trick, with
    the task's own RLPD's.

    Args:
        demonstrations: demonstrations of the learner's task.
        share: share of each batch, in (0, 1); at least one row of a batch is always the learner's own.
        name: its name among the callbacks of one ``learn``.
        seed: seed of the generator that rows are drawn from.

    Raises:
        ValueError: a share outside (0, 1); when ``learn`` starts, before the first environment step, a learner without a replay buffer, or
            shares of several callbacks that leave it no experience of its own.
        DemonstrationError: when ``learn`` starts, demonstrations of another task.

    References:
        Ball, Smith, Kostrikov, Levine, "Efficient Online Reinforcement Learning with Offline Data", 2023, arXiv:2302.02948.

    Example:
        >>> from stable_baselines3 import SAC
        >>> from genrl.data import Episode
        >>> from genrl.policies import Mixing
        >>> last = np.arange(8) == 7
        >>> demos = Demonstrations.from_episodes([Episode(np.zeros((9, 3)), np.zeros((8, 1)), np.zeros(8), last & False, last)])
        >>> model = SAC("MlpPolicy", "Pendulum-v1", learning_starts=8, batch_size=4)
        >>> _ = model.learn(9, callback=Mixing(demos, share=0.5))
    """

    def __init__(self, demonstrations: Demonstrations, share: float = 0.5, *, name: str = "mixing", seed: int = 0) -> None:
        super().__init__()
        check_demonstrations(Mixing, demonstrations)
        require(Mixing, ("share", share, 0 < share < 1, "in (0, 1)"))
        self.demonstrations, self.share, self.name = demonstrations, share, name
        self.generator = torch.Generator().manual_seed(seed)
        self._kept: tuple[Transitions, Tensor] | None = None

    def __repr__(self) -> str:
        return f"Mixing({self.demonstrations.n_steps:,} pairs, share={self.share})"

    def state_dict(self) -> dict[str, Any]:
        """State of the generator, for :func:`genrl.files.save_state`."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        self.generator.set_state(state["generator"])

    @staticmethod
    def check(model: BaseAlgorithm) -> None:
        """Refuse a learner whose batches can't hold demonstrations; ``learn`` does so too.

        Raises:
            ValueError: a learner without a replay buffer, or with one that makes its rewards anew when a batch is drawn; actions that it
                executes or stores as others.
        """
        if not isinstance(model, OffPolicyAlgorithm):
            raise ValueError(
                f"{type(model).__name__} has no replay buffer into whose batches demonstrations could go; use SAC, TD3, TQC, CrossQ or DQN"
            )
        if isinstance(model.replay_buffer, HerReplayBuffer):
            raise ValueError("HerReplayBuffer relabels goals, which demonstrations can't follow; use replay_buffer_class=None")
        refuse_spaces(model)

    def _part(self) -> LendingPart:
        self.check(self.model)
        fitted, _ = self.demonstrations.fitted(self.model.observation_space, self.model.action_space)
        if not all(episode.has_rewards for episode in fitted.episodes):
            raise DemonstrationError(
                f"{fitted.source} has no rewards, which the batches hold; give demonstrations.paid(0.0) if a reward model takes their place"
            )
        rewards = np.concatenate([episode.rewards[episode.steps] for episode in fitted.episodes]).astype(np.float32)
        self._kept = fitted.transitions(), torch.from_numpy(rewards)
        return LendingPart(self.name, self.share, self._draw, demonstrated=True)

    def _draw(self, n: int) -> Rows:
        assert self._kept is not None
        transitions, rewards = self._kept
        rows = torch.randint(len(rewards), (n,), generator=self.generator)
        return Rows(transitions.rows(rows), rewards[rows], demonstrated=True)
