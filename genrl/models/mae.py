"""A masked autoencoder: a small vision transformer that draws the patches which it was not shown."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genrl.errors import require
from genrl.models.base import ImageModel, evaluating, shape_check

__all__ = ["MAE"]


class MAE(ImageModel):
    r"""An image in patches, most of them hidden; the others are encoded, and the hidden ones drawn from what they tell.

    .. math:: L = \frac{1}{|M|} \sum_{i \in M} \frac{1}{p} \| \hat x_i - x_i \|^2

    over the masked patches M of p numbers each. ``encode`` shows every patch, and gives the mean of their last features.

    Args:
        image_shape: channels, height, width.
        patch: pixels of a patch's side.
        width: size of the vector of each patch in the encoder, a multiple of 16, the size of a head of its attention.
        depth: number of layers of the encoder.
        decoder_width: size of the vector of each patch in the decoder.
        decoder_depth: number of layers of the decoder.
        masked: share of patches that are hidden, in (0, 1).

    Raises:
        ValueError: a value out of its range.

    References:
        He et al., "Masked Autoencoders Are Scalable Vision Learners", 2022, arXiv:2111.06377 (there the patches are normalised, too).

    Example:
        >>> model = MAE((3, 32, 32))
        >>> model.encode(torch.rand(5, 3, 32, 32)).shape, sum(item.numel() for item in model.parameters()) < 500_000
        (torch.Size([5, 64]), True)
    """

    HEAD = 16

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        *,
        patch: int = 4,
        width: int = 64,
        depth: int = 3,
        decoder_width: int = 48,
        decoder_depth: int = 1,
        masked: float = 0.75,
    ) -> None:
        super().__init__()
        require(type(self), shape_check(image_shape))
        channels, height, across = image_shape
        fine = patch >= 1 and height % patch == 0 and across % patch == 0
        require(
            type(self),
            ("patch", patch, fine, f"a divisor of both sides, {height} and {across}"),
            ("width", width, width >= self.HEAD and width % self.HEAD == 0, f"a multiple of {self.HEAD}"),
            ("decoder_width", decoder_width, decoder_width >= self.HEAD and decoder_width % self.HEAD == 0, f"a multiple of {self.HEAD}"),
            ("depth", depth, depth >= 1, "at least 1"),
            ("decoder_depth", decoder_depth, decoder_depth >= 1, "at least 1"),
            ("masked", masked, 0 < masked < 1, "between 0 and 1"),
        )
        self.image_shape, self.patch = image_shape, patch
        n, numbers = (height // patch) * (across // patch), channels * patch**2
        self.patches, self.hidden = n, min(n - 1, max(1, round(masked * n)))
        require(type(self), ("patch", patch, n >= 2, "small enough for at least two patches"))
        self.embed, self.place = nn.Linear(numbers, width), nn.Parameter(0.02 * torch.randn(n, width))
        self.encoder = _transformer(width, depth)
        self.to_decoder, self.mask = nn.Linear(width, decoder_width), nn.Parameter(0.02 * torch.randn(decoder_width))
        self.decoder_place = nn.Parameter(0.02 * torch.randn(n, decoder_width))
        self.decoder = nn.Sequential(_transformer(decoder_width, decoder_depth), nn.Linear(decoder_width, numbers))

    def encode(self, x: Tensor) -> Tensor:
        """Features of images, ``(batch, width)``: the mean over patches, all of which are shown."""
        with evaluating(self):
            features: Tensor = self.encoder(self.embed(self.cut(self.checked(x))) + self.place)
        return features.mean(1).to(x.dtype)

    def loss(self, x: Tensor, order: Tensor | None = None) -> Tensor:
        """Mean squared error over the hidden patches.

        Args:
            x: images, ``(batch, channel, height, width)``.
            order: the patches of each image, ``(batch, patch)``, the shown ones first; by default drawn at random.
        """
        target = self.cut(self.checked(x))
        order = torch.rand(target.shape[:2], device=x.device).argsort(1) if order is None else order
        hidden = order[:, -self.hidden :]
        return F.mse_loss(_rows(self.drawn(target, order).to(x.dtype), hidden), _rows(target, hidden))

    def drawn(self, patches: Tensor, order: Tensor) -> Tensor:
        """All patches as the decoder draws them, of those that are first in ``order``, ``(batch, patch, number)``."""
        shown = order[:, : -self.hidden]
        seen = self.to_decoder(self.encoder(_rows(self.embed(patches) + self.place, shown)))
        whole = torch.cat([seen, self.mask.expand(len(seen), self.hidden, -1).to(seen.dtype)], dim=1)
        in_place = torch.empty_like(whole).scatter_(1, order[..., None].expand_as(whole), whole)
        out: Tensor = self.decoder(in_place + self.decoder_place)
        return out

    def cut(self, x: Tensor) -> Tensor:
        """Patches of images, rows of the image first, ``(batch, patch, number)``."""
        return F.unfold(x, self.patch, stride=self.patch).transpose(1, 2)

    def extra_repr(self) -> str:
        return f"image_shape={self.image_shape}, patch={self.patch}, hidden={self.hidden} of {self.patches} patches"


def _transformer(width: int, depth: int) -> nn.Sequential:
    return nn.Sequential(*[_Block(width) for _ in range(depth)], nn.LayerNorm(width))


class _Block(nn.Module):
    """Attention and a perceptron, each added to what came in, after a layer norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.to_heads, self.from_heads = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        heads = self.to_heads(self.norms[0](x)).unflatten(2, (3, -1, MAE.HEAD)).permute(2, 0, 3, 1, 4)
        x = x + self.from_heads(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))
        out: Tensor = x + self.perceptron(self.norms[1](x))
        return out


def _rows(patches: Tensor, index: Tensor) -> Tensor:
    """The patches at the given places, of each image its own."""
    return patches.gather(1, index[..., None].expand(-1, -1, patches.shape[2]))
