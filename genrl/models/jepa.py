"""A joint-embedding predictive architecture: codes that predict the next code, with no pixel to draw."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genrl.errors import require
from genrl.models.base import ImageModel, shape_check
from genrl.models.capabilities import Measured
from genrl.models.nn import mlp
from genrl.models.random_network import small_encoder

__all__ = ["JEPA", "sigreg"]

DIRECTIONS, KNOTS, LAST = 256, 17, 3.0


def sigreg(z: Tensor, directions: Tensor) -> Tensor:
    r"""How far codes are from a standard normal: the mean over directions u of Epps and Pulley's statistic of their projections.

    .. math:: \frac{1}{|U|} \sum_u n \int_{-3}^{3} \left| \frac{1}{n} \sum_i e^{i t u^\top z_i} - e^{-t^2/2} \right|^2 e^{-t^2/2} \, dt

    by the trapezoid rule with 17 knots on [0, 3], doubled, as the integrand is even. Of the two published normalisations this is the one
    with the factor n, the number of codes: of normal codes it is about 1 for any n, and it grows with n for others.

    Args:
        z: codes, ``(batch, latent)``.
        directions: unit vectors, ``(direction, latent)``.

    Returns:
        A number, at least 0.

    References:
        Balestriero, LeCun, "LeJEPA", 2025, arXiv:2511.08544.
        Maes et al., "LeWorldModel", 2026, arXiv:2603.19312.
        Epps, Pulley, "A Test for Normality Based on the Empirical Characteristic Function", 1983.

    Example:
        >>> z = torch.randn(1000, 4, generator=torch.Generator().manual_seed(0))
        >>> u = F.normalize(torch.randn(64, 4, generator=torch.Generator().manual_seed(1)))
        >>> bool(sigreg(z, u) < 2 < 100 < sigreg(0 * z, u))
        True
    """
    t = torch.linspace(0, LAST, KNOTS, device=z.device, dtype=z.dtype)
    weight = torch.exp(-0.5 * t.square())
    at = (z @ directions.T)[..., None] * t
    error = (at.cos().mean(0) - weight).square() + at.sin().mean(0).square()
    return 2 * len(z) * torch.trapezoid(error * weight, t, dim=-1).mean()


class JEPA(ImageModel):
    r"""A convolutional encoder whose code and the action predict the code of the next frame; what can't be predicted is left out of it.

    .. math:: L = \| g(f(x_t), a_t) - f(x_{t+1}) \|^2 / d + \lambda \, \mathrm{SIGReg}(f(x))

    The gradient flows through both codes; :func:`sigreg` alone keeps them from becoming one point. A background that is new in every frame
    is noise to it, while a model that draws images spends its code on it.

    Args:
        image_shape: channels, height, width.
        latent: d, numbers of a code.
        action: numbers of an action; 0 predicts without.
        width: channels of each convolution.
        hidden: widths of the predictor g.
        weight: λ.

    Raises:
        ValueError: a value out of its range.

    References:
        LeCun, "A Path Towards Autonomous Machine Intelligence", 2022.
        Balestriero, LeCun, "LeJEPA", 2025, arXiv:2511.08544.
        Maes et al., "LeWorldModel", 2026, arXiv:2603.19312 (the loss; there of longer histories).

    Example:
        >>> model = JEPA((3, 32, 32), latent=8, action=1)
        >>> x, action, next_x = torch.rand(5, 3, 32, 32), torch.zeros(5, 1), torch.rand(5, 3, 32, 32)
        >>> model.encode(x).shape, sorted(model.loss(x, action, next_x)[1])
        (torch.Size([5, 8]), ['prediction', 'sigreg'])
    """

    pairs = True

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        *,
        latent: int = 16,
        action: int = 0,
        width: int = 32,
        hidden: tuple[int, ...] = (128, 128),
        weight: float = 0.05,
    ) -> None:
        super().__init__()
        require(type(self), shape_check(image_shape))
        require(
            type(self),
            ("latent", latent, latent >= 1, "at least 1"),
            ("action", action, action >= 0, "at least 0"),
            ("width", width, width >= 1, "at least 1"),
            ("hidden", hidden, min(hidden, default=1) > 0, "at least 1 each"),
            ("weight", weight, 0 <= weight < math.inf, "at least 0"),
        )
        self.image_shape, self.latent, self.action, self.weight = image_shape, latent, action, weight
        self.encoder = small_encoder(image_shape, width, latent)
        self.predictor: nn.Module = mlp([latent + action, *hidden, latent], nn.ReLU)

    def encode(self, x: Tensor) -> Tensor:
        """Codes of images, ``(batch, latent)``."""
        code: Tensor = self.encoder(self.checked(x))
        return code

    def predict(self, code: Tensor, action: Tensor) -> Tensor:
        """The next codes, ``(batch, latent)``."""
        following: Tensor = self.predictor(torch.cat([code, action], dim=1))
        return following

    def loss(self, x: Tensor, action: Tensor, next_x: Tensor) -> Measured:
        """The loss of the class's equation, and its two parts by name.

        Args:
            x, next_x: frames, ``(batch, channel, height, width)``.
            action: ``(batch, action)``, between them.
        """
        if action.shape != (len(x), self.action):
            raise ValueError(f"this JEPA takes actions (batch, {self.action}), but was given {tuple(action.shape)}; build it with action=")
        code, following = self.encode(torch.cat([x, next_x])).to(x.dtype).chunk(2)
        prediction = F.mse_loss(self.predict(code, action).to(x.dtype), following)
        directions = F.normalize(torch.randn(DIRECTIONS, self.latent, dtype=x.dtype, device=x.device))
        spread = sigreg(torch.cat([code, following]), directions)
        return prediction + self.weight * spread, {"prediction": prediction.detach(), "sigreg": spread.detach()}

    def extra_repr(self) -> str:
        return f"image_shape={self.image_shape}, latent={self.latent}, action={self.action}, weight={self.weight}"
