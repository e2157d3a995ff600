"""Adversarial inverse reinforcement learning: a reward, and the shaping that comes with it, kept apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genrl.errors import Check
from genrl.models.nn import mlp
from genrl.rewards.adversarial import AdversarialReward, RewardForm
from genrl.transitions import Transitions

__all__ = ["AIRL"]


@dataclass(eq=False, repr=False, kw_only=True)
class AIRL(AdversarialReward):
    r"""Pays the logit of a discriminator that is a reward plus potential-based shaping,

    .. math:: h(s, a, s') = g(s, a) + \gamma\,(1 - d)\,\phi(s') - \phi(s),

    where d is 1 if the episode terminated. :meth:`recovered` is g alone, which does not depend on where the agent comes from.

    Difference from the paper: its discriminator is :math:`e^h / (e^h + \pi(a \mid s))` and its reward :math:`h - \log \pi`. Here both
    leave out :math:`\log \pi`: a reward model does not know it, off-policy it would be that of an older policy, and it made no difference
    in the study of Orsini et al. Inputs, penalty and replay are those of :class:`AdversarialReward`, and so are args and errors, but for:

    Args:
        gamma: discount γ of the shaping; use the learner's.
        state_only: let g see the state alone, which is what transfers to other dynamics.

    References:
        Fu, Luo, Levine, "Learning Robust Rewards with Adversarial Inverse Reinforcement Learning", 2018, arXiv:1710.11248.
        Orsini et al., "What Matters for Adversarial Imitation Learning?", 2021, arXiv:2106.00672.

    Example:
        >>> import numpy as np
        >>> from stable_baselines3 import PPO
        >>> from genrl.data import Demonstrations, Episode
        >>> from genrl.rewards import AIRL, RewardCallback
        >>> last = np.arange(8) == 7
        >>> demos = Demonstrations.from_episodes([Episode(np.zeros((9, 3)), np.zeros((8, 1)), np.zeros(8), last & False, last)])
        >>> model = PPO("MlpPolicy", "Pendulum-v1", n_steps=64)
        >>> airl = AIRL(demos, model.observation_space, model.action_space, gamma=model.gamma)
        >>> _ = model.learn(64, callback=RewardCallback(airl, extrinsic_weight=0.0))
        >>> airl.recovered(demos.transitions()).shape  # g of each demonstrated pair
        torch.Size([8])
    """

    form: RewardForm = "logit"
    gamma: float = 0.99
    state_only: bool = False

    def _checks(self) -> Iterator[Check]:
        yield from super()._checks()
        yield "gamma", self.gamma, 0 <= self.gamma <= 1, "in [0, 1]"

    def _build(self) -> None:
        self.reward_network = mlp([self.obs_dim + (0 if self.state_only else self.action_dim), *self.hidden, 1], nn.Tanh)
        self.potential = mlp([self.obs_dim, *self.hidden, 1], nn.Tanh)

    def _columns(self, transitions: Transitions) -> list[Tensor]:
        action, ended = self.flat_action(transitions.action), transitions.terminated[:, None].float()
        return [self.flat_obs(transitions.obs), action, self.flat_obs(transitions.next_obs), ended]

    def _set_statistics(self, raw: Tensor) -> None:
        """A successor has the statistics of its state: one potential sees both."""
        super()._set_statistics(raw)
        n, first = self.obs_dim, self.obs_dim + self.action_dim
        for values in (self.stats.mean, self.stats.var):
            values[first : first + n] = values[:n]

    def _split(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Inputs of g, of φ(s) and of φ(s'), and whether the episode terminated."""
        obs, action, next_obs, ended = inputs.split([self.obs_dim, self.action_dim, self.obs_dim, 1], dim=1)
        return obs if self.state_only else torch.cat([obs, action], dim=1), obs, next_obs, ended

    def logits(self, inputs: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch"]:
        """Logits ``(batch,)`` of standardised inputs."""
        seen, here, there, ended = self._split(inputs)
        after = torch.where(ended > 0, 0.0, self.potential(there))  # an absorbing state has no potential
        logits: Tensor = self.reward_network(seen) + self.gamma * after - self.potential(here)
        return logits.squeeze(1)

    @torch.no_grad()
    def recovered(self, transitions: Transitions) -> Float[Tensor, "batch"]:
        """The reward without its shaping, :math:`g`, ``(batch,)``."""
        values: Tensor = self.reward_network(self._split(self.inputs(transitions))[0]).squeeze(1)
        return values
