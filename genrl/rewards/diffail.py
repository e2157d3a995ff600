"""GAIL whose discriminator is how well a diffusion model removes noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genrl.errors import Check, positive
from genrl.models.nn import mlp
from genrl.rewards.adversarial import AdversarialReward

__all__ = ["DiffAIL"]


@dataclass(eq=False, repr=False, kw_only=True)
class DiffAIL(AdversarialReward):
    r"""GAIL that takes a pair for the expert's if a diffusion model of the expert's pairs removes noise from it well.

    With the noised input :math:`x_t = \sqrt{\bar\alpha_t} x + \sqrt{1 - \bar\alpha_t} \epsilon`, the discriminator is

    .. math:: D(x) = e^{-L(x)}, \qquad L(x) = \tfrac{1}{\dim x} \mathbb{E}_{t, \epsilon}\lVert \epsilon - \epsilon_\theta(x_t, t) \rVert^2,
              \qquad h = \log D - \log(1 - D) = -\log(e^L - 1),

    so that its loss of the expert's pairs is L, that of a diffusion model. The noise level of a pair is drawn while it learns; a reward is
    the mean over all levels, each with one noise that was drawn once.

    Differences from the paper are those of :class:`GAIL`; args and errors are those of :class:`AdversarialReward`, and:

    Args:
        noise_levels: number T of levels; 10 in the paper. Scoring costs as many passes of the network.

    References:
        Wang, Wu, Pang, Zhang, Yin, "DiffAIL: Diffusion Adversarial Imitation Learning", 2024, arXiv:2312.06348.
        Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models", 2020, arXiv:2006.11239.

    Example:
        >>> import numpy as np
        >>> from stable_baselines3 import PPO
        >>> from genrl.data import Demonstrations, Episode
        >>> from genrl.rewards import DiffAIL, RewardCallback
        >>> last = np.arange(8) == 7
        >>> demos = Demonstrations.from_episodes([Episode(np.zeros((9, 3)), np.zeros((8, 1)), np.zeros(8), last & False, last)])
        >>> model = PPO("MlpPolicy", "Pendulum-v1", n_steps=64)
        >>> diffail = DiffAIL(demos, model.observation_space, model.action_space, noise_levels=10)
        >>> _ = model.learn(64, callback=RewardCallback(diffail, extrinsic_weight=0.0))
    """

    noise_levels: int = 10

    def _checks(self) -> Iterator[Check]:
        yield from super()._checks()
        yield from positive(noise_levels=self.noise_levels)

    def _build(self) -> None:
        n, size = self.noise_levels, self.stats.mean.numel()
        level = torch.arange(1.0, n + 1, device=self.stats.mean.device)
        # The variance preserving schedule for few levels (Xiao et al., 2022, arXiv:2112.07804, to 20), from 0.1 to 10 as Diffusion-QL's is.
        alpha = torch.exp(-0.1 / n - 0.5 * (10 - 0.1) * (2 * level - 1) / n**2)
        self.kept = nn.Buffer(alpha.cumprod(0))
        self.noise = nn.Buffer(torch.randn(n, size))
        self.network = mlp([size + n, *self.hidden, size], nn.SiLU)

    def _error(self, inputs: Tensor, level: Tensor, noise: Tensor) -> Tensor:
        """Mean squared error of the predicted noise, ``(batch,)``."""
        kept = self.kept[level][:, None]
        noised = kept.sqrt() * inputs + (1 - kept).sqrt() * noise
        where = nn.functional.one_hot(level, self.noise_levels).to(inputs.dtype)
        predicted: Tensor = self.network(torch.cat([noised, where], dim=1))
        return (noise - predicted).square().mean(1)

    def logits(self, inputs: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch"]:
        """Logits ``(batch,)`` of standardised inputs; of a drawn noise where gradients are kept, the mean over all levels elsewhere."""
        n = len(inputs)
        if torch.is_grad_enabled():
            level = torch.randint(self.noise_levels, (n,), generator=self.generator).to(inputs.device)
            error = self._error(inputs, level, torch.randn(inputs.shape, generator=self.generator).to(inputs))
        else:
            level = torch.arange(self.noise_levels, device=inputs.device).repeat_interleave(n)
            error = self._error(inputs.repeat(self.noise_levels, 1), level, self.noise[level]).view(-1, n).mean(0)
        return -torch.expm1(error.clamp(1e-4, 50)).log()
