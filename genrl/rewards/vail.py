"""GAIL through a variational bottleneck."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from genrl.data import Demonstrations
from genrl.errors import positive, require
from genrl.models.nn import mlp
from genrl.rewards.adversarial import AdversarialReward, RewardForm

__all__ = ["VAIL"]


class VAIL(AdversarialReward):
    r"""GAIL whose discriminator sees a code :math:`z \sim \mathcal{N}(\mu(x), \sigma(x)^2)` that may tell only so much about its input.

    .. math:: \min_{D, \mu, \sigma} \max_{\beta \ge 0} \; \mathcal{L}(D(z)) + \beta\,\left(\mathbb{E}[\mathrm{KL}(q(z \mid x) \,\|\,
              \mathcal{N}(0, I))] - I_c\right),

    the expectation over expert and agent alike; :math:`\beta \leftarrow \max(0, \beta + \alpha_\beta (\mathrm{KL} - I_c))`. Rewards are of
    the mean code.

    Args:
        demonstrations: of the task.
        observation_space, action_space, seed: see :class:`RewardModel`.
        information: :math:`I_c`, in nats; the paper has 0.5.
        latent: size of the code.
        beta_step: :math:`\alpha_\beta`; the paper has 1e-5 with many more steps.
        hidden: widths of the encoder's hidden layers, tanh units; the discriminator of the code is linear.
        form, learning_rate, batch_size, updates, gradient_penalty, entropy, label_smoothing, on_latest, normalize, absorbing, gamma,
            std_floor, clip, held_out: see :class:`AdversarialReward`.

    Raises:
        ValueError: a space it can't take, demonstrations of other sizes, a value out of its range.

    References:
        Peng et al., "Variational Discriminator Bottleneck", 2019, arXiv:1810.00821.
    """

    beta: Tensor

    def __init__(
        self,
        demonstrations: Demonstrations,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *,
        information: float = 0.5,
        latent: int = 32,
        beta_step: float = 1e-3,
        form: RewardForm = "softplus",
        hidden: Sequence[int] = (128, 128),
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
        require(VAIL, *positive(information=information, latent=latent, beta_step=beta_step, hidden=hidden))
        self.information, self.latent, self.beta_step = information, latent, beta_step
        self.register_buffer("beta", torch.zeros(()))
        with self.own_randomness():
            self.encoder = mlp([self.stats.mean.numel(), *hidden, 2 * latent], nn.Tanh)
            self.head = nn.Linear(latent, 1)
        self._kl: Tensor | float = 0.0
        self._finish()

    def _step(self, expert: Tensor, agent: Tensor) -> dict[str, Tensor]:
        metrics = super()._step(expert, agent)
        self._kl = 0.0  # its graph must not outlive the step
        return metrics

    def logits(self, inputs: Tensor) -> Tensor:
        """Logits ``(batch,)`` of standardised inputs; of a drawn code where gradients are kept, of the mean code elsewhere."""
        mean, log_std = self.encoder(inputs).chunk(2, dim=1)
        code = mean
        if torch.is_grad_enabled():
            log_std = log_std.clamp(-5, 2)
            code = mean + log_std.exp() * torch.randn(mean.shape, generator=self.generator)
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
