"""Demonstrated transitions as a share of each batch that an off-policy learner draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from genrl.data import Demonstrations
from genrl.sb3.actions import to_policy

__all__ = ["ExpertBatches"]


class ExpertBatches:
    """Demonstrations in the form of a replay buffer's samples.

    Args:
        demonstrations: of the learner's task.
        model: the learner.
        fraction: of each batch, in (0, 1).
        generator: what rows are drawn from, so that the learner's own draws stay as they are.
    """

    def __init__(self, demonstrations: Demonstrations, model: OffPolicyAlgorithm, fraction: float, generator: torch.Generator) -> None:
        self.fraction, self.generator, self.gamma = fraction, generator, model.gamma
        demonstrations, _ = demonstrations.fitted(model.observation_space, model.action_space)
        self.transitions = demonstrations.transitions()
        self.rewards = np.concatenate([episode.rewards[episode.steps] for episode in demonstrations.episodes]).astype(np.float32)
        self.actions = to_policy(model, self.transitions.action.numpy())

    def size(self, batch_size: int) -> int:
        """Rows of a batch that are demonstrated; at least one is not."""
        return min(round(self.fraction * batch_size), batch_size - 1)

    def join(self, own: Any, buffer: Any, parts: list[Any], n: int, env: Any) -> Any:
        """The learner's samples with ``n`` demonstrated ones behind them, rewarded by the same models."""
        rows = torch.randint(len(self.rewards), (n,), generator=self.generator)
        chosen, index = self.transitions.rows(rows), rows.numpy()
        extrinsic = float(np.prod([part.extrinsic_weight for part in parts])) * buffer._plain_reward(self.rewards[index], env)
        rewards = extrinsic + sum(part.score_expert(chosen) for part in parts)
        # buffers.py, ReplayBuffer._get_samples: normalised by VecNormalize when they are drawn, columns for rewards and dones.
        fields = {
            "observations": buffer._normalize_obs(chosen.obs.numpy(), env),
            "actions": self.actions[index],
            "next_observations": buffer._normalize_obs(chosen.next_obs.numpy(), env),
            "dones": chosen.terminated.numpy().astype(np.float32)[:, None],
            "rewards": np.asarray(rewards, dtype=np.float32)[:, None],
            "discounts": np.full((n, 1), self.gamma, dtype=np.float32),
        }
        joined = {
            name: torch.cat([value, buffer.to_torch(fields[name]).to(value.dtype)])
            for name, value in own._asdict().items()
            if value is not None
        }
        return own._replace(**joined)
