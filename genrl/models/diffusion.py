"""Denoising diffusion: one network that finds images in noise step by step draws, inverts, completes and enlarges them."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from numbers import Integral
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from genrl.errors import require
from genrl.models.base import ImageModel
from genrl.models.labels import Labels, checked_labels
from genrl.models.unet import UNet

__all__ = ["Diffusion", "Schedule", "betas"]

Schedule = Literal["linear", "cosine"]

_AT_ONCE = 64
"""Images that go through the network together when images are drawn: more are no faster on a processor, and fewer are slower."""


def betas(schedule: Schedule, steps: int) -> Float[Tensor, "{steps}"]:
    r"""Variances that the steps add, :math:`\beta_1 \ldots \beta_T`, at most 0.999 each, float64.

    ``linear`` rises from 0.0001 to 0.02 in 1000 steps, and in T steps to 1000 / T times as much; ``cosine`` lets :math:`\bar\alpha` fall
    as the square of a cosine.

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
    r"""A diffusion model: a network predicts the noise in an image, and images are drawn by removing noise bit by bit.

    .. math:: q(x_t \mid x_0) = \mathcal{N}(\sqrt{\bar\alpha_t}\, x_0, (1 - \bar\alpha_t) I), \quad
        L = \mathbb{E}_{t, x_0, \epsilon} (\epsilon - \epsilon_\theta(x_t, t))^2

    with :math:`\bar\alpha_t = \prod_{s \le t} (1 - \beta_s)`, t from 1 to ``steps``, and :math:`\bar\alpha_0 = 1`. Every public method
    takes and gives images in [0, 1]; inside they are in [-1, 1]. The loss is a mean over pixels and no likelihood.

    With classes, the network learns with and without the label, and ``guidance`` g draws images that are more typical of their class:

    .. math:: \epsilon = \epsilon_\theta(x_t) + g\, (\epsilon_\theta(x_t, y) - \epsilon_\theta(x_t))

    With g = 0 the class counts for nothing, with g = 1 it counts as it was learned. (The paper's w is g - 1.)

    Args:
        image_shape: channels, and a height and width that 4 divides, from 8 to 64.
        steps: T, number of steps from an image to noise.
        schedule: variances of the steps, ``linear`` or ``cosine``, see :func:`betas`.
        width: channels at half the image's size, a multiple of 32; there are twice as many at a quarter of it.
        depth: number of residual blocks at half the size, on the way down and again on the way up.
        n_classes: number of classes; with them ``loss`` takes labels too. 0 for images without labels.
        drop: share of the labels that training leaves out, so that the network also learns without them.

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
        require(
            type(self),
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
        left = (1 - betas(schedule, steps)).cumprod(0)
        self.register_buffer("alpha_bar", torch.cat([torch.ones(1, dtype=torch.float64), left]), persistent=False)
        self.net = UNet(image_shape[0], width=width, depth=depth, n_classes=n_classes)

    # --- learning ---

    def forward(
        self,
        x: Float[Tensor, "batch channel height width"],
        t: Int[Tensor, "batch"],
        labels: Int[Tensor, "batch"] | None = None,
    ) -> Float[Tensor, "batch channel height width"]:
        """The noise ε in images ``x`` in [-1, 1].

        The network predicts v = √ᾱ ε - √(1 - ᾱ) x_0, from which ε = √(1 - ᾱ) x + √ᾱ v, so that it need not copy the noise where there is
        little else. It learns in fewer steps than a network that predicts ε.

        Args:
            x: images with noise.
            t: number of steps of noise, from 1 to ``steps``.
            labels: classes of the images; ``n_classes`` stands for none.
        """
        signal, spread = self._scales(t, x)
        v: Tensor = self.net(x, self._time(t, x), self._network_labels(labels, len(x)))
        return spread * x + signal * v.to(x.dtype)

    def noised(self, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Images in [-1, 1] after ``t`` steps, int64 ``(batch,)`` from 0 to ``steps``, with standard normal noise of their shape."""
        signal, spread = self._scales(t, x)
        return signal * x + spread * noise

    def loss(self, x: Float[Tensor, "batch channel height width"], labels: Tensor | None = None) -> Float[Tensor, ""]:
        """Mean squared error of the predicted noise per pixel; the times of a batch are evenly spread."""
        if self.conditional and labels is None:
            raise ValueError(f"Diffusion with n_classes={self.n_classes} learns from labels too; give loss(x, labels)")
        labels = self._labels(len(x), labels)
        x = 2 * self.checked(x) - 1
        spread = (torch.rand((), device=x.device) + torch.arange(len(x), device=x.device) / len(x)) % 1
        t = 1 + (self.steps * spread).long().clamp_max(self.steps - 1)
        noise = torch.randn_like(x)
        return (self(self.noised(x, t, noise), t, self._dropped(labels)) - noise).square().mean()

    def _dropped(self, labels: Tensor | None) -> Tensor | None:
        """Labels for training, some of which are left out: ``n_classes`` stands for none."""
        if labels is None or not self.training:
            return labels
        return torch.where(torch.rand(len(labels), device=labels.device) < self.drop, self.n_classes, labels)

    # --- drawing ---

    @torch.no_grad()
    def sample(
        self,
        n: int,
        labels: Labels | None = None,
        *,
        steps: int | None = None,
        eta: float = 0.0,
        guidance: float | None = None,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        r"""Draw images in [0, 1].

        .. math:: x_s = \sqrt{\bar\alpha_s}\, x_0 + \sqrt{1 - \bar\alpha_s - \sigma^2}\, \epsilon + \sigma z, \quad
            \sigma^2 = \eta^2 \frac{1 - \bar\alpha_s}{1 - \bar\alpha_t} \left(1 - \frac{\bar\alpha_t}{\bar\alpha_s}\right)

        where the network's x_0 is clipped to [-1, 1], and ε is what then remains.

        Args:
            n: number of images.
            labels: classes of the images, int64 ``(n,)``, or one class for all; without labels the images are of any class.
            steps: number of steps taken, evenly spaced among the model's; by default 50, or all if there are fewer.
            eta: amount of noise added in each step: 0 adds none (DDIM); 1 with all steps is the ancestral sampling of DDPM.
            guidance: g, see the class; by default 1.
            noise: standard normal numbers to begin with, ``(n, channel, height, width)``; by default drawn.
            generator: generator of whatever is drawn; by default torch's own.

        References:
            Song, Meng, Ermon, "Denoising Diffusion Implicit Models", 2020, arXiv:2010.02502, equations 12 and 16.
        """
        labels = self._labels(n, labels, guidance)
        return self._drawn(n, labels, guidance, steps, eta, noise, generator).clamp(0, 1)

    @torch.no_grad()
    def invert(
        self, x: Float[Tensor, "batch channel height width"], labels: Labels | None = None, *, steps: int | None = None, refine: int = 3
    ) -> Float[Tensor, "batch channel height width"]:
        """The noise from which ``sample`` draws these images, with the same steps and ``eta=0``, as long as it clips nothing.

        Each step looks for the x_t from which a step of ``sample`` gives x_s. It begins with the network's noise for x_s instead of x_t,
        and asks again ``refine`` times at the x_t found so far.

        Args:
            x: images in [0, 1].
            labels: classes of the images, int64 ``(batch,)``, or one class for all.
            steps: number of steps, as in :meth:`sample`.
            refine: number of refinements in each step; 0 is the plain inversion of the paper.

        References:
            Song, Meng, Ermon, "Denoising Diffusion Implicit Models", 2020, arXiv:2010.02502, section 4.3.
            Pan et al., "Effective Real Image Editing with Accelerated Iterative Diffusion Inversion", 2023, arXiv:2309.04907 (``refine``).
        """
        labels = self._labels(len(x), labels)
        require(self.invert, ("refine", refine, refine >= 0, "at least 0"))
        x = 2 * self.checked(x) - 1
        for t, s in reversed(list(pairwise(self._times(steps)))):
            (signal_t, spread_t), (signal_s, spread_s) = self._scales_at(t, x), self._scales_at(s, x)
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
        labels: Labels | None = None,
        *,
        steps: int | None = None,
        eta: float = 1.0,
        guidance: float | None = None,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        r"""Restore images x from a linear measurement y = A x, such as a smaller version or some of their pixels.

        In every step, the part of the network's image x_0 that A measures is replaced by what was measured:

        .. math:: \hat x_0 = A^+ y + (I - A^+ A)\, x_0

        Args:
            given: y, the measurements of images in [0, 1], ``(batch, …)``.
            forward: A, a linear function from images ``(batch, channel, height, width)`` to measurements.
            backward: A⁺, a pseudo-inverse of A: a linear function from measurements to images with A A⁺ A = A.
            labels, steps, eta, guidance, noise, generator: as in :meth:`sample`.

        Returns:
            Images ``(batch, channel, height, width)`` whose measurements are ``given``, up to rounding. They are not clipped, so some
            values may be a little outside of [0, 1].

        Raises:
            ValueError: ``forward`` or ``backward`` returns another shape; otherwise as in :meth:`sample`.

        References:
            Wang, Yu, Zhang, "Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model", 2022, arXiv:2212.00490.
        """
        labels = self._labels(len(given), labels, guidance)
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
        labels: Labels | None = None,
        *,
        steps: int | None = None,
        guidance: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw the unknown pixels of images; the known ones stay as they are, bit for bit.

        Args:
            image: images in [0, 1], ``(batch, channel, height, width)``; the values of unknown pixels do not matter.
            known: which pixels are known, boolean, ``(height, width)`` or ``(batch, 1 or channel, height, width)``.
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
        labels: Labels | None = None,
        *,
        steps: int | None = None,
        guidance: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Enlarge images by a factor of 2, 3 or 4: each pixel of ``small`` is the mean of a square of the result.

        Args:
            small: images in [0, 1], ``(batch, channel, height / factor, width / factor)``.
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

    def encode(self, x: Float[Tensor, "batch channel height width"], t: int | None = None) -> Float[Tensor, "batch feature"]:
        """Features of images: the largest values of the network's smallest maps in each of 4 × 4 parts (fewer for small images).

        The network sees the images without noise, but scaled and timed as after ``t`` steps.

        Args:
            x: images in [0, 1].
            t: a time from 1 to ``steps``; by default a fifth of them.

        References:
            Baranchuk et al., "Label-Efficient Semantic Segmentation with Diffusion Models", 2021, arXiv:2112.03126.
        """
        t = max(self.steps // 5, 1) if t is None else t
        require(self.encode, ("t", t, 1 <= t <= self.steps, f"from 1 to {self.steps}"))
        signal, _ = self._scales_at(t, x)
        x = signal * (2 * self.checked(x) - 1)
        when = self._time(torch.full((len(x),), t, device=x.device), x)
        maps: Tensor = self.net.middle(x, when, self._network_labels(None, len(x)))
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
        """Images drawn; ``project`` may change each x_0, and with it take values a little out of [0, 1]."""
        if not 0 <= eta <= 1:
            raise ValueError(f"sampling needs eta to be in [0, 1], but was given {eta}")
        times = self._times(steps)
        x = torch.randn(n, *self.image_shape, generator=generator, dtype=self._dtype()).to(self._device()) if noise is None else noise
        if tuple(x.shape) != (n, *self.image_shape):
            raise ValueError(f"sampling needs noise of shape {(n, *self.image_shape)}, but was given {tuple(x.shape)}")
        for t, s in pairwise(times):
            signal, spread = self._scales_at(t, x)
            x_0 = ((x - spread * self._noise_in(x, t, labels, guidance)) / signal).clamp(-1, 1)
            x_0 = x_0 if project is None else project(x_0)
            x = self._step(x_0, (x - signal * x_0) / spread, t, s, eta, generator)
        return (x + 1) / 2

    def _step(self, x_0: Tensor, eps: Tensor, t: int, s: int, eta: float, generator: torch.Generator | None) -> Tensor:
        """One step from time t to an earlier time s, given x_0 and the noise in x_t."""
        kept_t, kept_s = self.alpha_bar[t].double(), self.alpha_bar[s].double()
        variance = eta**2 * (1 - kept_s) / (1 - kept_t) * (1 - kept_t / kept_s)
        x = float(kept_s.sqrt()) * x_0 + float((1 - kept_s - variance).clamp_min(0).sqrt()) * eps
        if not variance:
            return x
        return x + float(variance.sqrt()) * torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)

    def _noise_in(self, x: Tensor, t: int, labels: Tensor | None, guidance: float | None) -> Tensor:
        """The predicted noise with guidance, computed for a part of the batch at a time."""
        g = 1.0 if guidance is None else guidance
        made = []
        for rows in torch.arange(len(x)).split(_AT_ONCE) if len(x) else ():
            part, when = x[rows], torch.full((len(rows),), t, device=x.device)
            if labels is None or g == 0:
                made.append(self(part, when))
            elif g == 1:
                made.append(self(part, when, labels[rows]))
            else:
                without = self(part, when)
                made.append(without + g * (self(part, when, labels[rows]) - without))
        return torch.cat(made) if made else x

    def _times(self, steps: int | None) -> list[int]:
        """Times from T to 0, evenly spaced; by default 50 steps, or all if there are fewer."""
        steps = min(50, self.steps) if steps is None else steps
        if not 1 <= steps <= self.steps:
            raise ValueError(f"sampling needs steps to be from 1 to {self.steps}, those of the model, but was given {steps}")
        return [round(self.steps * index / steps) for index in range(steps, -1, -1)]

    def _scales(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scale of the signal and standard deviation of the noise at time t, ``(batch, 1, 1, 1)`` each."""
        kept = self.alpha_bar[t].double().view(-1, 1, 1, 1)
        return kept.sqrt().to(x.dtype), (1 - kept).sqrt().to(x.dtype)

    def _scales_at(self, t: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and standard deviation of :meth:`_scales` at one time for all images, ``(1, 1, 1, 1)`` each."""
        return self._scales(torch.full((1,), t, device=x.device), x)

    def _time(self, t: Tensor, x: Tensor) -> Tensor:
        """The time as the network sees it: up to 1000, whatever the number of steps."""
        return t.to(x.dtype) * (1000 / self.steps)

    def _network_labels(self, labels: Tensor | None, n: int) -> Tensor | None:
        """Labels for the network: ``n_classes`` stands for none."""
        if not self.conditional or labels is not None:
            return labels
        return torch.full((n,), self.n_classes, device=self._device())

    def _labels(self, n: int, labels: Labels | None, guidance: float | None = None) -> Tensor | None:
        """Labels of ``n`` images, or none; guidance needs them."""
        if labels is None:
            if guidance is not None:
                raise ValueError(f"guidance={guidance} is towards labels; give labels, or no guidance")
            return None
        if not self.conditional:
            raise ValueError("this Diffusion knows no labels; build it with n_classes, or give none")
        if guidance is not None and not math.isfinite(guidance):
            raise ValueError(f"guidance must be finite, but is {guidance}")
        return checked_labels(labels, n, self.n_classes, "Diffusion", self._device())

    def extra_repr(self) -> str:
        return f"image_shape={self.image_shape}, steps={self.steps}, n_classes={self.n_classes}"
