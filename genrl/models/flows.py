"""Inverse autoregressive flows: invertible maps of vectors whose log determinant is known."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["AutoregressiveNet", "InverseAutoregressiveFlow", "MaskedLinear"]


class MaskedLinear(nn.Linear):
    """A linear layer in which some weights count as zero; the mask is applied at every call, whatever an optimiser did to them.

    Args:
        mask: ``(outputs, inputs)``, 0 where an input must not reach an output.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask.to(self.weight.dtype), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)


class AutoregressiveNet(nn.Module):
    r"""An autoregressive network (MADE): the i-th output depends on the inputs before the i-th, and on all of a context.

    Args:
        size: size of the vector, at least 2.
        context: size of a context that every output sees; 0 for none.
        hidden: widths of the hidden layers.
        outputs: number of outputs for each component.
        reverse: order the components from the last to the first.

    References:
        Germain et al., "MADE: Masked Autoencoder for Distribution Estimation", 2015, arXiv:1502.03509.
    """

    def __init__(self, size: int, context: int, hidden: Sequence[int] = (320,), outputs: int = 2, reverse: bool = False) -> None:
        super().__init__()
        self.size, self.outputs = size, outputs
        place = torch.arange(size).flip(0) if reverse else torch.arange(size)
        degrees = [place, *(torch.arange(width) % max(size - 1, 1) for width in hidden)]
        self.first = MaskedLinear(degrees[1][:, None] >= degrees[0][None])
        self.context = nn.Linear(context, hidden[0], bias=False) if context else None
        self.rest = nn.ModuleList(MaskedLinear(after[:, None] >= before[None]) for before, after in pairwise(degrees[1:]))
        self.last = MaskedLinear((place[:, None] > degrees[-1][None]).repeat(outputs, 1))

    def forward(
        self, z: Float[Tensor, "batch latent"], context: Float[Tensor, "batch context"] | None = None
    ) -> Float[Tensor, "batch output latent"]:
        """Outputs for each component."""
        h = self.first(z)  # (batch, hidden)
        if self.context is not None:
            h = h + self.context(context)
        for layer in self.rest:
            h = layer(F.elu(h))
        out: Tensor = self.last(F.elu(h))
        return out.unflatten(-1, (self.outputs, self.size))


class InverseAutoregressiveFlow(nn.Module):
    r"""An inverse autoregressive flow: steps :math:`z \leftarrow (z - m(z, c)) / e^{s(z, c)}` in which m and s are autoregressive.

    The order of the components is reversed after each step. A step is one pass of its network, and its inverse is one pass for each
    component. The log density of the result is that of the input plus :math:`\sum s`.

    Args:
        size: size of the vector z.
        context: size of the context c.
        steps: number of steps.
        hidden: widths of the hidden layers in each step's network.

    References:
        Kingma et al., "Improving Variational Inference with Inverse Autoregressive Flow", 2016, arXiv:1606.04934.

    Example:
        >>> flow = InverseAutoregressiveFlow(3, 5)
        >>> z, gained = flow(torch.randn(7, 3), torch.randn(7, 5))
        >>> z.shape, gained.shape
        (torch.Size([7, 3]), torch.Size([7, 3]))
    """

    SCALE = 0.1
    """Factor of m and s, which makes a fresh flow nearly the identity."""

    def __init__(self, size: int, context: int, steps: int = 2, hidden: Sequence[int] = (320,)) -> None:
        super().__init__()
        self.steps = nn.ModuleList(AutoregressiveNet(size, context, hidden, reverse=bool(i % 2)) for i in range(steps))

    def forward(
        self, z: Float[Tensor, "batch latent"], context: Float[Tensor, "batch context"]
    ) -> tuple[Float[Tensor, "batch latent"], Float[Tensor, "batch latent"]]:
        """The result, and for each component a share of the gain in log density, in nats.

        The sum of the shares is exact. With a single step, a share is the gain of one component given those before; with several steps,
        whose orders differ, it is not.
        """
        gained = torch.zeros_like(z)
        for step in self.steps:
            m, s = (self.SCALE * step(z, context).to(z.dtype)).unbind(-2)
            z = (z - m) * torch.exp(-s)
            gained = gained + s
        return z, gained

    @torch.no_grad()
    def inverse(self, z: Float[Tensor, "batch latent"], context: Float[Tensor, "batch context"]) -> Float[Tensor, "batch latent"]:
        """The input from which ``forward`` made ``z``."""
        for step in reversed(self.steps):
            before = torch.zeros_like(z)
            for _ in range(z.shape[-1]):  # each pass makes one more component right
                m, s = (self.SCALE * step(before, context)).unbind(-2)
                before = z * torch.exp(s) + m
            z = before
        return z
