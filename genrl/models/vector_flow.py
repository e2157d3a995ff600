"""Normalising flows of vectors, such as observations: zuko's flows under the names of genrl's models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import zuko
from jaxtyping import Float
from torch import Tensor, nn

from genrl.errors import require

__all__ = ["VectorFlow"]


class VectorFlow(nn.Module):
    r"""An exact density of vectors, which may depend on a context.

    Vectors are standardised by the mean and standard deviation of those that :meth:`standardise` saw; splines bend between -5 and 5 of
    these units.

    Args:
        features: size of a vector.
        context: size of the context; 0 for none.
        kind: steps of the flow, autoregressive rational splines (``spline``) or affine steps (``affine``).
        transforms: number of steps.
        hidden: widths of the hidden layers in each step's network.

    Raises:
        ValueError: a value out of its range; vectors of another size.

    References:
        Durkan et al., "Neural Spline Flows", 2019, arXiv:1906.04032.
        Papamakarios, Pavlakou, Murray, "Masked Autoregressive Flow for Density Estimation", 2017, arXiv:1705.07057.
        Rozet et al., "Zuko: Normalizing flows in PyTorch", 2022.

    Example:
        >>> flow = VectorFlow(3, hidden=(16,)).standardise(torch.randn(100, 3))
        >>> flow.log_prob(torch.randn(5, 3)).shape, flow.sample(2).shape
        (torch.Size([5]), torch.Size([2, 3]))
    """

    likelihood = "exact"
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        features: int,
        *,
        context: int = 0,
        kind: Literal["spline", "affine"] = "spline",
        transforms: int = 3,
        hidden: Sequence[int] = (64, 64),
    ) -> None:
        super().__init__()
        require(
            type(self),
            ("features", features, features >= 1, "at least 1"),
            ("context", context, context >= 0, "at least 0"),
            ("kind", kind, kind in ("spline", "affine"), "spline or affine"),
            ("transforms", transforms, transforms >= 1, "at least 1"),
        )
        family = zuko.flows.NSF if kind == "spline" else zuko.flows.MAF
        self.features, self.context = features, context
        self.flow = family(features, context, transforms=transforms, hidden_features=tuple(hidden))
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))

    def _given(self, context: Tensor | None) -> Any:
        """The distribution given a context."""
        size = 0 if context is None else context.shape[-1]
        if size != self.context:
            raise ValueError(f"this VectorFlow has a context of {self.context} numbers, but was given {size}")
        return self.flow(None if context is None else context.to(self.mean.dtype))

    @torch.no_grad()
    def standardise(self, x: Tensor) -> VectorFlow:
        """Take mean and standard deviation from vectors; a feature that never changes keeps a standard deviation of one."""
        varies = (self._checked(x) != x[0]).any(0)  # not by the standard deviation, which rounding leaves above 0
        self.mean.copy_(x.mean(0))
        self.std.copy_(torch.where(varies, x.std(0, correction=min(1, len(x) - 1)), 1.0))
        return self

    def _standardised(self, x: Tensor) -> Tensor:
        """Vectors in the units of the flow, and in its dtype once they are centred."""
        return ((self._checked(x) - self.mean) / self.std).to(self.mean.dtype)

    def log_prob(self, x: Float[Tensor, "batch feature"], context: Float[Tensor, "*batch context"] | None = None) -> Float[Tensor, "batch"]:
        """log p(x | context), in nats."""
        inside: Tensor = self._given(context).log_prob(self._standardised(x))
        return inside - self.std.log().sum()

    def loss(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Minus the mean log density, in nats per vector."""
        return -self.log_prob(x, context).mean()

    @torch.no_grad()
    def sample(self, n: int, context: Tensor | None = None) -> Tensor:
        """Draw ``n`` vectors, ``(n, feature)``; with contexts ``(batch, context)``, ``n`` for each, ``(n, batch, feature)``."""
        drawn: Tensor = self._given(context).sample((n,))
        return drawn * self.std + self.mean

    def encode(
        self, x: Float[Tensor, "batch feature"], context: Float[Tensor, "*batch context"] | None = None
    ) -> Float[Tensor, "batch feature"]:
        """The Gaussian noise of which each vector is made."""
        noise: Tensor = self._given(context).transform(self._standardised(x))
        return noise

    def decode(
        self, z: Float[Tensor, "batch feature"], context: Float[Tensor, "*batch context"] | None = None
    ) -> Float[Tensor, "batch feature"]:
        """The vectors made of noise, the inverse of :meth:`encode`."""
        inside: Tensor = self._given(context).transform.inv(z)
        return inside * self.std + self.mean

    def _checked(self, x: Tensor) -> Tensor:
        if x.ndim != 2 or x.shape[1] != self.features:
            raise ValueError(f"VectorFlow models vectors of shape (batch, {self.features}), but was given {tuple(x.shape)}")
        return x
