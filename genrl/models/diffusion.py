"""Denoising diffusion: images that a network finds in noise, step by step; drawn, inverted, completed and enlarged with one network."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from numbers import Integral
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from genrl.models.base import ImageModel
from genrl.models.unet import UNet

__all__ = ["Diffusion", "Schedule", "betas"]

Schedule = Literal["linear", "cosine"]

_AT_ONCE = 64
"""Images that go through the network together in drawing: more are no faster on a processor, and fewer are slower."""


def betas(schedule: Schedule, steps: int) -> Tensor:
    r"""The variance that each step adds, :math:`\beta_1 \ldots \beta_T`, at most 0.999, ``(steps,)``, float64.

    ``linear`` rises from 0.0001 to 0.02 in 1000 steps, and by as much more in fewer; ``cosine`` lets :math:`\bar\alpha` fall as the square
    of a cosine.

    References:
        Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models", 2020, arXiv:2006.11239 (``linear``).
        Nichol, Dhariwal, "Improved Denoising Diffusion Probabilistic Models", 2021, arXiv:2102.09672, equation 17 (``cosine``).

    Example:
        >>> betas("linear", 1000)[[0, -1]].tolist()
        [0.0001, 0.02]
    """
    if schedule == "linear":
        rising = torch.linspace(1e-4, 0.02, steps, dtype=torch.float64) * (1000 / steps)
    else:
        place = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
        kept = torch.cos((place + 0.008) / 1.008 * math.pi / 2).square()
        rising = 1 - kept[1:] / kept[:-1]
    return rising.clamp_max(0.999)


class Diffusion(ImageModel):
    r"""A network that tells the noise in an image, trained at every level of noise; images are drawn by taking noise away bit by bit.

    .. math:: q(x_t \mid x_0) = \mathcal{N}(\sqrt{\bar\alpha_t}\, x_0, (1 - \bar\alpha_t) I), \quad
        L = \mathbb{E}_{t, x_0, \epsilon} (\epsilon - \epsilon_\theta(x_t, t))^2

    with :math:`\bar\alpha_t = \prod_{s \le t} (1 - \beta_s)`, t from 1 to ``steps``, and :math:`\bar\alpha_0 = 1`. Images are in [0, 1]
    outside, in [-1, 1] inside. The loss is a mean over pixels, no likelihood.

    With classes, the network learns with and without the label, and draws go beyond the class by ``guidance`` g:

    .. math:: \epsilon = \epsilon_\theta(x_t) + g\, (\epsilon_\theta(x_t, y) - \epsilon_\theta(x_t))

    so that 0 is without the class and 1 is with it. (The paper's w is g - 1.)

    Args:
        image_shape: channels, and a height and width that 4 divides, from 8 to 64.
        steps: T, from an image to noise.
        schedule: of the noise, linear or cosine, see :func:`betas`.
        width: channels at half the image's size, a multiple of 32; twice as many at a quarter of it.
        depth: residual blocks at half the size, on the way down and on the way up.
        n_classes: of labels, with which ``loss`` takes labels too; 0 is none.
        drop: share of the labels that training leaves out.

    Raises:
        ValueError: a value out of its range; when it is called, images or labels of another shape or range, or labels without classes.

    References:
        Sohl-Dickstein et al., "Deep Unsupervised Learning using Nonequilibrium Thermodynamics", 2015, arXiv:1503.03585.
        Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models", 2020, arXiv:2006.11239.
        Ho, Salimans, "Classifier-Free Diffusion Guidance", 2022, arXiv:2207.12598.
        Salimans, Ho, "Progressive Distillation for Fast Sampling of Diffusion Models", 2022, arXiv:2202.00512 (what the network gives).
        Kingma et al., "Variational Diffusion Models", 2021, arXiv:2107.00630 (the times of a batch, evenly spread).

    Example:
        >>> model = Diffusion((1, 8, 8), steps=20, width=32, n_classes=3)
        >>> model.sample(2).shape, model.sample(2, torch.tensor([0, 2]), steps=5, guidance=2.0).shape
        (torch.Size([2, 1, 8, 8]), torch.Size([2, 1, 8, 8]))
        >>> model.super_resolve(torch.rand(2, 1, 4, 4)).shape, model.encode(torch.rand(2, 1, 8, 8)).shape
        (torch.Size([2, 1, 8, 8]), torch.Size([2, 256]))
    """

    alpha_bar: Tensor

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        *,
        steps: int = 1000,
        schedule: Schedule = "linear",
        width: int = 64,
        depth: int = 1,
        n_classes: int = 0,
        drop: float = 0.1,
    ) -> None:
        super().__init__()
        fits = len(image_shape) == 3 and image_shape[0] > 0 and all(8 <= side <= 64 and side % 4 == 0 for side in image_shape[1:])
        self._refuse(
            ("image_shape", image_shape, fits, "channels, and a height and width from 8 to 64 that 4 divides"),
            ("steps", steps, isinstance(steps, Integral) and steps >= 1, "at least 1 and whole"),
            ("schedule", schedule, schedule in get_args(Schedule), "linear or cosine"),
            ("width", width, width >= 32 and width % 32 == 0, "a multiple of 32"),
            ("depth", depth, depth >= 1, "at least 1"),
            ("n_classes", n_classes, n_classes >= 0, "at least 0"),
            ("drop", drop, 0 <= drop < 1 and (drop > 0 or not n_classes), "in [0, 1), and above 0 with classes"),
        )
        self.image_shape, self.steps, self.n_classes, self.drop = image_shape, steps, n_classes, drop
        self.conditional = n_classes > 0
        kept = torch.cat([torch.ones(1, dtype=torch.float64), (1 - betas(schedule, steps)).cumprod(0)])
        self.register_buffer("alpha_bar", kept, persistent=False)
        self.net = UNet(image_shape[0], width=width, depth=depth, n_classes=n_classes)

    # --- learning ---

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """The noise in ``x``, of the size of ``x``.

        The network gives v = √ᾱ ε - √(1 - ᾱ) x_0, of which ε = √(1 - ᾱ) x_t + √ᾱ v, so that it need not copy noise where there is little
        else. It then learns in fewer steps than one that gives ε.

        Args:
            x: images with noise, ``(batch, channel, height, width)``.
            t: how much, from 1 to ``steps``, int64, ``(batch,)``.
            labels: int64, ``(batch,)``, of which ``n_classes`` stands for none.
        """
        signal, spread = self._scales(t, x)
        v: Tensor = self.net(x, self._time(t, x), self._known(labels, len(x)))
        return spread * x + signal * v.to(x.dtype)

    def noised(self, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Images in [-1, 1] after ``t`` steps, int64 from 0 to ``steps``, ``(batch,)``, with standard normal noise of their shape."""
        signal, spread = self._scales(t, x)
        return signal * x + spread * noise

    def loss(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Mean squared error of the noise, a pixel, over evenly spread times."""
        if self.conditional and labels is None:
            raise ValueError(f"Diffusion with n_classes={self.n_classes} learns from labels too; give loss(x, labels)")
        self._check_labels(len(x), labels, None)
        x = 2 * self.checked(x) - 1
        spread = (torch.rand(()) + torch.arange(len(x)) / len(x)) % 1
        t = 1 + (self.steps * spread).long().clamp_max(self.steps - 1)
        noise = torch.randn_like(x)
        return (self(self.noised(x, t, noise), t, self._dropped(labels)) - noise).square().mean()

    def _dropped(self, labels: Tensor | None) -> Tensor | None:
        """Labels as training sees them: some are left out."""
        if labels is None or not self.training:
            return labels
        return torch.where(torch.rand(len(labels)) < self.drop, self.n_classes, labels)

    # --- drawing ---

    @torch.no_grad()
    def sample(
        self,
        n: int,
        labels: Tensor | None = None,
        *,
        steps: int | None = None,
        eta: float = 0.0,
        guidance: float | None = None,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        r"""Draw images, in [0, 1], ``(n, channel, height, width)``.

        .. math:: x_s = \sqrt{\bar\alpha_s}\, x_0 + \sqrt{1 - \bar\alpha_s - \sigma^2}\, \epsilon + \sigma z, \quad
            \sigma^2 = \eta^2 \frac{1 - \bar\alpha_s}{1 - \bar\alpha_t} \left(1 - \frac{\bar\alpha_t}{\bar\alpha_s}\right)

        where the network's x_0 is clipped to [-1, 1], and ε is what then remains.

        Args:
            n: images.
            labels: their classes, int64, ``(n,)``; without, they are of any.
            steps: evenly spaced ones, of the model's; by default 50, or all of fewer.
            eta: 0 adds no noise on the way (DDIM); 1 with all steps is the ancestral sampling of DDPM.
            guidance: g, see the class; by default 1.
            noise: where it begins, standard normal, ``(n, channel, height, width)``; by default drawn.
            generator: of whatever is drawn.

        References:
            Song, Meng, Ermon, "Denoising Diffusion Implicit Models", 2020, arXiv:2010.02502, equations 12 and 16.
        """
        self._check_labels(n, labels, guidance)
        return self._drawn(n, labels, guidance, steps, eta, noise, generator).clamp(0, 1)

    @torch.no_grad()
    def invert(self, x: Tensor, labels: Tensor | None = None, *, steps: int | None = None, refine: int = 3) -> Tensor:
        """The noise from which ``sample``, with as many steps and eta=0, draws these images, as long as it clips nothing.

        Each step solves for the x_t from which the drawing's step gives x_s, beginning with the noise in x_s instead of that in x_t.

        Args:
            x: in [0, 1].
            labels: int64, ``(batch,)``.
            steps: as in :meth:`sample`.
            refine: how often the noise is asked for again, at the x_t found so far; 0 is the plain inversion of the paper.

        References:
            Song, Meng, Ermon, "Denoising Diffusion Implicit Models", 2020, arXiv:2010.02502, section 4.3.
            Pan et al., "Effective Real Image Editing with Accelerated Iterative Diffusion Inversion", 2023, arXiv:2309.04907 (``refine``).
        """
        self._check_labels(len(x), labels, None)
        if refine < 0:
            raise ValueError(f"invert needs refine to be at least 0, but was given {refine}")
        x = 2 * self.checked(x) - 1
        for t, s in reversed(list(pairwise(self._times(steps)))):
            (signal_t, spread_t), (signal_s, spread_s) = self._scales(torch.tensor([t]), x), self._scales(torch.tensor([s]), x)
            found = x
            for _ in range(1 + refine):
                eps = self._noise_in(found, t, labels, None)
                found = signal_t / signal_s * (x - spread_s * eps) + spread_t * eps
            x = found
        return x

    @torch.no_grad()
    def restore(
        self,
        given: Tensor,
        forward: Callable[[Tensor], Tensor],
        backward: Callable[[Tensor], Tensor],
        labels: Tensor | None = None,
        *,
        steps: int | None = None,
        eta: float = 1.0,
        guidance: float | None = None,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        r"""Images of which a linear map is given: in every step, what it says of x_0 is put in place of what the network says.

        .. math:: \hat x_0 = A^+ y + (I - A^+ A)\, x_0

        Args:
            given: y, what A makes of images in [0, 1], ``(batch, ...)``.
            forward: A, of images ``(batch, channel, height, width)``.
            backward: a pseudo-inverse of it, with A A⁺ A = A.
            labels, steps, eta, guidance, noise, generator: as in :meth:`sample`.

        Returns:
            ``(batch, channel, height, width)``, of which A makes what is given, up to rounding. They are not clipped: some may leave
            [0, 1] a little.

        Raises:
            ValueError: maps that give other shapes; else as in :meth:`sample`.

        References:
            Wang, Yu, Zhang, "Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model", 2022, arXiv:2212.00490.
        """
        self._check_labels(len(given), labels, guidance)
        known, shape = backward(given), (len(given), *self.image_shape)
        if tuple(known.shape) != shape:
            raise ValueError(f"restore needs backward to give images of shape {shape}, but it made {tuple(known.shape)} of what is given")
        if (again := forward(known)).shape != given.shape:
            raise ValueError(
                f"restore needs forward to give shape {tuple(given.shape)}, that of what is given, but it made {tuple(again.shape)}"
            )

        def project(x: Tensor) -> Tensor:
            return known + (x - backward(forward(x)))

        drawn = self._drawn(len(given), labels, guidance, steps, eta, noise, generator, lambda x: 2 * project((x + 1) / 2) - 1)
        return project(drawn)

    def inpaint(
        self,
        image: Tensor,
        known: Tensor,
        labels: Tensor | None = None,
        *,
        steps: int | None = None,
        guidance: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Images of which some pixels are known: those are as they were, bit for bit, the others drawn; in [0, 1].

        Args:
            image: ``(batch, channel, height, width)`` in [0, 1]; what is unknown of it changes nothing.
            known: boolean, ``(height, width)`` or ``(batch, 1 or channel, height, width)``.
            labels, steps, guidance, generator: as in :meth:`sample`.
        """
        n, channels, *size = self.checked(image).shape
        if known.dtype != torch.bool or tuple(known.shape) not in ((*size,), (n, 1, *size), (n, channels, *size)):
            was = f"{str(known.dtype).removeprefix('torch.')} of shape {tuple(known.shape)}"
            raise ValueError(f"inpaint needs known to be boolean of shape {(*size,)}, or that of the images, but was given {was}")
        mask = known.expand(image.shape).to(image.dtype)

        def masked(x: Tensor) -> Tensor:
            return x * mask

        drawn = self.restore(masked(image), masked, masked, labels, steps=steps, guidance=guidance, generator=generator)
        return drawn.clamp(0, 1)

    def super_resolve(
        self,
        small: Tensor,
        labels: Tensor | None = None,
        *,
        steps: int | None = None,
        guidance: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Images of which squares of 2, 3 or 4 pixels are given as their mean, in [0, 1].

        Args:
            small: in [0, 1], ``(batch, channel, height / factor, width / factor)``.
            labels, steps, guidance, generator: as in :meth:`sample`.
        """
        channels, height, width = self.image_shape
        factor = next((k for k in (2, 3, 4) if tuple(small.shape[1:]) == (channels, height / k, width / k)), 0)
        if not factor:
            raise ValueError(f"super_resolve needs a half, third or quarter of {self.image_shape}, but was given {tuple(small.shape)}")

        def shrink(x: Tensor) -> Tensor:
            return F.avg_pool2d(x, factor)

        def enlarge(x: Tensor) -> Tensor:
            return F.interpolate(x, scale_factor=factor)

        self.checked(enlarge(small))
        return self.restore(small, shrink, enlarge, labels, steps=steps, guidance=guidance, generator=generator).clamp(0, 1)

    # --- features ---

    def encode(self, x: Tensor, t: int | None = None) -> Tensor:
        """Features of images, ``(batch, 32 * width)``: the largest of the smallest maps in each of 4 × 4 parts, if there are as many.

        The network sees the images without noise, scaled and timed as after ``t`` steps.

        Args:
            x: in [0, 1].
            t: from 1 to ``steps``; by default a fifth of them.

        References:
            Baranchuk et al., "Label-Efficient Semantic Segmentation with Diffusion Models", 2021, arXiv:2112.03126.
        """
        t = max(self.steps // 5, 1) if t is None else t
        if not 1 <= t <= self.steps:
            raise ValueError(f"encode needs t to be from 1 to {self.steps}, but was given {t}")
        signal, _ = self._scales(torch.tensor([t]), x)
        x = signal * (2 * self.checked(x) - 1)
        when = self._time(torch.full((len(x),), t), x)
        maps: Tensor = self.net.middle(x, when, self._known(None, len(x)))
        return F.adaptive_max_pool2d(maps, (min(4, maps.shape[2]), min(4, maps.shape[3]))).flatten(1).to(x.dtype)

    # --- parts ---

    def _drawn(
        self,
        n: int,
        labels: Tensor | None,
        guidance: float | None,
        steps: int | None,
        eta: float,
        noise: Tensor | None,
        generator: torch.Generator | None,
        project: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Images in [0, 1], but for what ``project`` does to each x_0."""
        if not 0 <= eta <= 1:
            raise ValueError(f"sampling needs eta to be in [0, 1], but was given {eta}")
        times = self._times(steps)
        x = torch.randn(n, *self.image_shape, generator=generator) if noise is None else noise
        if tuple(x.shape) != (n, *self.image_shape):
            raise ValueError(f"sampling needs noise of shape {(n, *self.image_shape)}, but was given {tuple(x.shape)}")
        for t, s in pairwise(times):
            signal, spread = self._scales(torch.tensor([t]), x)
            x_0 = ((x - spread * self._noise_in(x, t, labels, guidance)) / signal).clamp(-1, 1)
            x_0 = x_0 if project is None else project(x_0)
            x = self._step(x_0, (x - signal * x_0) / spread, t, s, eta, generator)
        return (x + 1) / 2

    def _step(self, x_0: Tensor, eps: Tensor, t: int, s: int, eta: float, generator: torch.Generator | None) -> Tensor:
        """From time t to an earlier s, if x_0 and the noise are these."""
        kept_t, kept_s = self.alpha_bar[t].double(), self.alpha_bar[s].double()
        variance = eta**2 * (1 - kept_s) / (1 - kept_t) * (1 - kept_t / kept_s)
        x = float(kept_s.sqrt()) * x_0 + float((1 - kept_s - variance).clamp_min(0).sqrt()) * eps
        if not variance:
            return x
        return x + float(variance.sqrt()) * torch.randn(x.shape, generator=generator, dtype=x.dtype)

    def _noise_in(self, x: Tensor, t: int, labels: Tensor | None, guidance: float | None) -> Tensor:
        """The noise with guidance, a part of the batch at a time."""
        g = 1.0 if guidance is None else guidance
        made = []
        for rows in torch.arange(len(x)).split(_AT_ONCE) if len(x) else ():
            part, when = x[rows], torch.full((len(rows),), t)
            if labels is None or g == 0:
                made.append(self(part, when))
            elif g == 1:
                made.append(self(part, when, labels[rows]))
            else:
                without = self(part, when)
                made.append(without + g * (self(part, when, labels[rows]) - without))
        return torch.cat(made) if made else x

    def _times(self, steps: int | None) -> list[int]:
        """From T to 0, evenly spaced; by default 50 steps, or all of fewer."""
        steps = min(50, self.steps) if steps is None else steps
        if not 1 <= steps <= self.steps:
            raise ValueError(f"sampling needs steps to be from 1 to {self.steps}, those of the model, but was given {steps}")
        return [round(self.steps * index / steps) for index in range(steps, -1, -1)]

    def _scales(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """What is left of the signal, and the standard deviation of the noise, ``(batch, 1, 1, 1)``."""
        kept = self.alpha_bar[t].double().view(-1, 1, 1, 1)
        return kept.sqrt().to(x.dtype), (1 - kept).sqrt().to(x.dtype)

    def _time(self, t: Tensor, x: Tensor) -> Tensor:
        """As the network sees it: up to 1000 whatever the steps."""
        return t.to(x.dtype) * (1000 / self.steps)

    def _known(self, labels: Tensor | None, n: int) -> Tensor | None:
        """Labels as the network sees them: ``n_classes`` stands for none."""
        if not self.conditional or labels is not None:
            return labels
        return torch.full((n,), self.n_classes)

    def _check_labels(self, n: int, labels: Tensor | None, guidance: float | None) -> None:
        if labels is None:
            if guidance is not None:
                raise ValueError(f"guidance={guidance} is towards labels; give labels, or no guidance")
            return
        if not self.conditional:
            raise ValueError("this Diffusion knows no labels; build it with n_classes, or give none")
        if guidance is not None and not math.isfinite(guidance):
            raise ValueError(f"guidance must be finite, but is {guidance}")
        if labels.dtype != torch.int64 or tuple(labels.shape) != (n,):
            raise ValueError(f"labels must be int64 of shape {(n,)}, but are {labels.dtype} of shape {tuple(labels.shape)}")
        if n and (labels.min() < 0 or labels.max() >= self.n_classes):
            raise ValueError(f"labels must be from 0 to {self.n_classes - 1}, but are {int(labels.min())} to {int(labels.max())}")

    def extra_repr(self) -> str:
        return f"image_shape={self.image_shape}, steps={self.steps}, n_classes={self.n_classes}"
