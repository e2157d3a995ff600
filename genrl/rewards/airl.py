"""Adversarial inverse reinforcement learning: a reward, and the shaping that comes with it, kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from genrl.data import Demonstrations
from genrl.errors import positive, require
from genrl.models.nn import mlp
from genrl.rewards.adversarial import AdversarialReward, RewardForm, spectrally_normalized
from genrl.transitions import Transitions

__all__ = ["AIRL"]


class AIRL(AdversarialReward):
    r"""Pays the logit of a discriminator that is a reward plus potential-based shaping,

    .. math:: h(s, a, s') = g(s, a) + \gamma\,(1 - d)\,\phi(s') - \phi(s),

    d whether the episode terminated. :meth:`recovered` is g alone, which does not depend on where the agent comes from.

    Difference from the paper: its discriminator is :math:`e^h / (e^h + \pi(a \mid s))` and its reward :math:`h - \log \pi`; here both go
    without :math:`\log \pi`, which a reward model does not know, off-policy would be of an older policy, and made no difference in the
    study of Orsini et al. Inputs, penalty and replay are those of :class:`AdversarialReward`.

    Args:
        demonstrations: of the task.
        observation_space, action_space, seed: see :class:`RewardModel`.
        state_only: g sees s alone, which is what transfers to other dynamics.
        hidden: widths of the hidden layers of both networks, tanh units.
        spectral_norm: divide their weights by their largest singular value.
        form, learning_rate, batch_size, updates, gradient_penalty, entropy, label_smoothing, on_latest, normalize, absorbing, gamma,
            std_floor, clip, held_out: see :class:`AdversarialReward`.

    Raises:
        ValueError: a space it can't take, demonstrations of other sizes, a value out of its range.

    References:
        Fu, Luo, Levine, "Learning Robust Rewards with Adversarial Inverse Reinforcement Learning", 2018, arXiv:1710.11248.
        Orsini et al., "What Matters for Adversarial Imitation Learning?", 2021, arXiv:2106.00672.
    """

    def __init__(
        self,
        demonstrations: Demonstrations,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *,
        state_only: bool = False,
        form: RewardForm = "logit",
        hidden: Sequence[int] = (128, 128),
        spectral_norm: bool = False,
        learning_rate: float = 3e-4,
        batch_size: int = 256,
        updates: int = 20,
        gradient_penalty: float = 1.0,
        entropy: float = 0.0,
        label_smoothing: float = 0.0,
        on_latest: bool = False,
        normalize: bool = True,
        absorbing: bool = False,
        gamma: float = 0.99,
        std_floor: float = 1e-2,
        clip: float = 10.0,
        held_out: Demonstrations | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            demonstrations, observation_space, action_space, form=form, learning_rate=learning_rate, batch_size=batch_size,
            updates=updates, gradient_penalty=gradient_penalty, entropy=entropy, label_smoothing=label_smoothing, on_latest=on_latest,
            normalize=normalize, absorbing=absorbing, gamma=gamma, std_floor=std_floor, clip=clip, held_out=held_out, seed=seed,
        )  # fmt: skip
        require(type(self), *positive(hidden=hidden))
        self.state_only = state_only
        with self.own_randomness():
            # Each sees the flag of the absorbing state too, the last column.
            self.reward_network = mlp([self.obs_dim + (0 if state_only else self.action_dim) + 1, *hidden, 1], nn.Tanh)
            self.potential = mlp([self.obs_dim + 1, *hidden, 1], nn.Tanh)
            if spectral_norm:
                spectrally_normalized(self.reward_network)
                spectrally_normalized(self.potential)
        self._finish()

    def _columns(self, transitions: Transitions) -> list[Tensor]:
        action, ended = self.flat_action(transitions.action), transitions.terminated[:, None].float()
        return [transitions.obs, action, transitions.next_obs, ended]

    def _set_statistics(self, raw: Tensor) -> None:
        """A successor has the statistics of its state: one potential sees both."""
        super()._set_statistics(raw)
        n, first = self.obs_dim, self.obs_dim + self.action_dim
        for values in (self.stats.mean, self.stats.var):
            values[first : first + n] = values[:n]

    def _split(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Inputs of g, of φ(s) and of φ(s'), and whether the episode terminated."""
        obs, action, next_obs, ended, absorbed = inputs.split([self.obs_dim, self.action_dim, self.obs_dim, 1, 1], dim=1)
        seen = [obs, absorbed] if self.state_only else [obs, action, absorbed]
        return torch.cat(seen, dim=1), torch.cat([obs, absorbed], dim=1), torch.cat([next_obs, absorbed], dim=1), ended

    def logits(self, inputs: Tensor) -> Tensor:
        """Logits ``(batch,)`` of standardised inputs."""
        seen, here, there, ended = self._split(inputs)
        potential: Tensor = self.potential(there)
        # An ended episode goes on in the absorbing state, whose potential is then that of the successor; else it has none.
        after = self.potential(self._absorbing_inputs(1)[:, -self.obs_dim - 1 :]) if self.absorbing else torch.zeros(1, 1)
        logits: Tensor = self.reward_network(seen) + self.gamma * torch.where(ended > 0, after, potential) - self.potential(here)
        return logits.squeeze(1)

    @torch.no_grad()
    def recovered(self, transitions: Transitions) -> Tensor:
        """The reward without its shaping, :math:`g`, ``(batch,)``."""
        values: Tensor = self.reward_network(self._split(self.inputs(transitions))[0]).squeeze(1)
        return values
