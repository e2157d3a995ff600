"""GAIL through a variational bottleneck."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genrl.errors import Check, positive
from genrl.models.nn import mlp
from genrl.rewards.adversarial import AdversarialReward

__all__ = ["VAIL"]


@dataclass(eq=False, repr=False, kw_only=True)
class VAIL(AdversarialReward):
    r"""GAIL whose discriminator sees a code :math:`z \sim \mathcal{N}(\mu(x), \sigma(x)^2)` that may tell only so much about its input.

    .. math:: \min_{D, \mu, \sigma} \max_{\beta \ge 0} \; \mathcal{L}(D(z)) + \beta\,\left(\mathbb{E}[\mathrm{KL}(q(z \mid x) \,\|\,
              \mathcal{N}(0, I))] - I_c\right),

    with the expectation over expert and agent alike, and :math:`\beta \leftarrow \max(0, \beta + \alpha_\beta (\mathrm{KL} - I_c))`.
    Rewards are those of the mean code. The encoder has the hidden layers, and the discriminator of its codes is linear.

    Differences from the paper are those of :class:`GAIL`, a smaller encoder, and larger steps of β. Args and errors are those of
    :class:`AdversarialReward`, and:

    Args:
        information: bound I_c on what a code tells about its input, in nats; the paper has 0.5.
        latent: size of the code.
        beta_step: step size of β; the paper has 1e-5 with many more steps.

    References:
        Peng et al., "Variational Discriminator Bottleneck", 2019, arXiv:1810.00821.

    Example:
        >>> import numpy as np
        >>> from stable_baselines3 import PPO
        >>> from genrl.data import Demonstrations, Episode
        >>> from genrl.rewards import VAIL, RewardCallback
        >>> last = np.arange(8) == 7
        >>> demos = Demonstrations.from_episodes([Episode(np.zeros((9, 3)), np.zeros((8, 1)), np.zeros(8), last & False, last)])
        >>> model = PPO("MlpPolicy", "Pendulum-v1", n_steps=64)
        >>> vail = VAIL(demos, model.observation_space, model.action_space, information=0.5)
        >>> _ = model.learn(64, callback=RewardCallback(vail, extrinsic_weight=0.0))
    """

    information: float = 0.5
    latent: int = 32
    beta_step: float = 1e-3

    def _checks(self) -> Iterator[Check]:
        yield from super()._checks()
        yield from positive(information=self.information, latent=self.latent, beta_step=self.beta_step)

    def _build(self) -> None:
        self.beta = nn.Buffer(torch.zeros(()))
        self.encoder = mlp([self.stats.mean.numel(), *self.hidden, 2 * self.latent], nn.Tanh)
        self.head = nn.Linear(self.latent, 1)
        self._kl: Tensor | float = 0.0

    def _step(self, expert: Tensor, agent: Tensor) -> dict[str, Tensor]:
        metrics = super()._step(expert, agent)
        self._kl = 0.0  # its graph must not outlive the step
        return metrics

    def logits(self, inputs: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch"]:
        """Logits ``(batch,)`` of standardised inputs; of a drawn code where gradients are kept, of the mean code elsewhere."""
        mean, log_std = self.encoder(inputs).chunk(2, dim=1)
        code = mean
        if torch.is_grad_enabled():
            log_std = log_std.clamp(-5, 2)
            code = mean + log_std.exp() * torch.randn(mean.shape, generator=self.generator).to(mean)
            self._kl = 0.5 * (mean.square() + (2 * log_std).exp() - 2 * log_std - 1).sum(1).mean()
        logits: Tensor = self.head(code).squeeze(1)
        return logits

    def regularizer(self) -> Tensor | float:
        """β (KL − I_c), and then the step of β."""
        assert isinstance(self._kl, Tensor)
        excess = self._kl - self.information
        loss = self.beta.clone() * excess
        self.beta.copy_((self.beta + self.beta_step * excess.detach()).clamp_min(0))
        return loss
