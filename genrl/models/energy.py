"""An energy-based model: the energy is low for images, and is learned against chains of Langevin dynamics that descend it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from genrl.errors import require
from genrl.models.base import ImageModel
from genrl.models.capabilities import Player
from genrl.models.nn import trainable

__all__ = ["EnergyModel", "Start", "langevin"]

Start = Literal["replay", "noise"]
"""Start of a chain: ``replay`` is where a chain of training ended, ``noise`` is uniform noise."""


def langevin(
    energy: Callable[[Tensor], Tensor],
    x: Tensor,
    steps: int,
    step_size: float,
    noise: float,
    generator: torch.Generator | None = None,
    low: float | None = 0.0,
    high: float | None = 1.0,
    clip: float | None = None,
) -> Tensor:
    r"""Run chains of Langevin dynamics, and return where they end.

    .. math:: x \leftarrow x - s \nabla E(x) + \nu \xi, \quad \xi \sim \mathcal{N}(0, 1)

    With :math:`\nu = \sqrt{2 s}`, no range, no clip and s towards 0, long chains end in draws from exp(-E). (For a standard normal the
    variance of a chain is 1 / (1 - s / 2).) Chains with less noise are colder and soon end in a valley; networks are trained with these.
    Only ``x`` gets gradients: those of parameters stay as they are, and the result carries none.

    Args:
        energy: a function from chains ``(batch, …)`` to their energies ``(batch,)``.
        x: starts of the chains, ``(batch, …)``; they are not changed.
        steps: number of steps in each chain.
        step_size: s.
        noise: ν.
        generator: generator of the noise; by default torch's own.
        low: lower bound to which every step is clamped; ``None`` for no bound.
        high: upper bound to which every step is clamped; ``None`` for no bound.
        clip: largest absolute value of each element of the gradient; ``None`` for no bound.

    Raises:
        ValueError: a value out of its range.

    References:
        Welling, Teh, "Bayesian Learning via Stochastic Gradient Langevin Dynamics", 2011, ICML.

    Example:
        >>> langevin(lambda x: x.square().sum(1) / 2, torch.ones(1, 2), steps=2, step_size=0.5, noise=0.0)
        tensor([[0.2500, 0.2500]])
    """
    require(
        langevin,
        ("steps", steps, steps >= 0, "at least 0"),
        ("step_size", step_size, 0 < step_size < math.inf, "positive and finite"),
        ("noise", noise, 0 <= noise < math.inf, "at least 0 and finite"),
        ("low", low, low is None or high is None or low < high, f"below high, {high}"),
        ("clip", clip, clip is None or clip > 0, "positive, or None"),
    )
    x = x.detach()
    for _ in range(steps):
        with torch.enable_grad():
            at = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(energy(at).sum(), at)
        if clip is not None:
            gradient = gradient.clamp(-clip, clip)
        x = x - step_size * gradient
        if noise:
            x = x + noise * torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        if low is not None or high is not None:
            x = x.clamp(low, high)
    return x


class EnergyModel(ImageModel):
    r"""An energy-based model of images, which knows log p up to a constant.

    .. math:: p(x) = e^{-E(x)} / Z, \quad
        L = \overline{E(x)} - \overline{E(\tilde x)} + \alpha (\overline{E(x)^2} + \overline{E(\tilde x)^2}) + \beta \overline{E(x)^2}

    Where the chains :math:`\tilde x` are draws from the model, the first two terms have the gradient of minus log p. Chains are kept in a
    replay in whole grey levels; each time that some are drawn, they go on by a few steps of :func:`langevin`, and a share of them starts
    again. α keeps energies from drifting, as in the first paper. β, which is not in the paper, pulls the energies of images together: with
    likelihood alone, rare kinds of images have as much energy as images of another kind altogether.

    An energy says which of two images is more usual, so it is a score of novelty *within one model*. It is no density: Z is unknown, so
    energies are not nats, cannot be compared between fits, and give no ``log_prob``. Knowing Z would not help: chains have less noise than
    their steps ask for, so they come from a colder distribution and have not mixed, and β changes the energies. The loss says nothing about
    quality: it is near 0 whenever chains and images have equal energies, good or bad.

    Args:
        image_shape: channels, height, width; both at least 8.
        width: channels of the first convolution; the next two have twice and four times as many.
        features: size of the last hidden layer, which ``encode`` returns and of which the energy is a linear function.
        chains: number of chains in the replay.
        restart: share of the chains that start again each time that they are drawn.
        shapes: share of the restarts that begin with smooth light and dark shapes, or with lines along the edges of such shapes, of random
            size and contrast; the others begin with uniform noise, as in the first paper. Chains from noise alone descend on one side only,
            and images that lie on none of their paths, such as black ones, keep whatever energy the network happens to give them.
        langevin_steps: steps of each chain in one step of training.
        step_size: step size of :func:`langevin`, for grey levels in [0, 1].
        noise: standard deviation of the noise in each step of :func:`langevin`.
        clip: largest absolute value of each element of the gradient in :func:`langevin`.
        sigma: standard deviation of the noise on training images, which smooths them as their noise smooths the chains.
        penalty: α, weight of the squares of energies, which keeps them small.
        tie: β; 0 is contrastive divergence as in the papers, for samples; about 2 is good for a score of novelty.

    Raises:
        ValueError: a value out of its range; when it is called, images of another shape.

    References:
        Du, Mordatch, "Implicit Generation and Generalization in Energy-Based Models", 2019, arXiv:1903.08689.
        Nijkamp, Hill, Zhu, Wu, "Learning Non-Convergent Non-Persistent Short-Run MCMC Toward Energy-Based Model", 2019, arXiv:1904.09770.
        Nijkamp, Hill, Han, Zhu, Wu, "On the Anatomy of MCMC-Based Maximum Likelihood Learning of Energy-Based Models", 2020,
        arXiv:1903.12370.
        Hinton, "Training Products of Experts by Minimizing Contrastive Divergence", 2002, Neural Computation 14(8).
        Tieleman, "Training Restricted Boltzmann Machines using Approximations to the Likelihood Gradient", 2008, ICML (chains that go on).

    Example:
        >>> model = EnergyModel((1, 8, 8), width=4, features=6, chains=10)
        >>> x = torch.rand(3, 1, 8, 8)
        >>> model.energy(x).shape, model.encode(x).shape, model.sample(2, steps=3).shape
        (torch.Size([3]), torch.Size([3, 6]), torch.Size([2, 1, 8, 8]))
    """

    replay: Tensor

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        *,
        width: int = 32,
        features: int = 128,
        chains: int = 2048,
        restart: float = 0.5,
        shapes: float = 0.8,
        langevin_steps: int = 20,
        step_size: float = 5.0,
        noise: float = 0.005,
        clip: float = 0.03,
        sigma: float = 0.03,
        penalty: float = 0.01,
        tie: float = 2.0,
    ) -> None:
        super().__init__()
        large = len(image_shape) == 3 and image_shape[0] >= 1 and min(image_shape[1:]) >= 8
        require(
            type(self),
            ("image_shape", image_shape, large, "channels, and a height and width of at least 8"),
            ("width", width, width >= 1, "at least 1"),
            ("features", features, features >= 1, "at least 1"),
            ("chains", chains, chains >= 1, "at least 1"),
            ("restart", restart, 0 <= restart <= 1, "in [0, 1]"),
            ("shapes", shapes, 0 <= shapes <= 1, "in [0, 1]"),
            ("langevin_steps", langevin_steps, langevin_steps >= 1, "at least 1"),
            ("step_size", step_size, 0 < step_size < math.inf, "positive and finite"),
            ("noise", noise, 0 <= noise < math.inf, "at least 0 and finite"),
            ("clip", clip, clip > 0, "positive"),
            ("sigma", sigma, 0 <= sigma < math.inf, "at least 0 and finite"),
            ("penalty", penalty, 0 <= penalty < math.inf, "at least 0 and finite"),
            ("tie", tie, 0 <= tie < math.inf, "at least 0 and finite"),
        )
        self.image_shape, self.langevin_steps, self.restart, self.shapes = image_shape, langevin_steps, restart, shapes
        self.step_size, self.noise, self.clip, self.sigma = step_size, noise, clip, sigma
        self.penalty, self.tie = penalty, tie
        self.body = _body(image_shape, width, features)
        self.head = nn.Linear(features, 1)
        # Whole levels: the averaged weights of a fit copy what has no fraction, where a mean of chains would be no chain.
        self.register_buffer("replay", torch.randint(256, (chains, *image_shape), dtype=torch.uint8))

    def players(self) -> list[Player]:
        """The network, which learns by Adam without momentum, since the energy that chains descend changes with every step."""
        return [Player("loss", trainable(self), self.loss, betas=(0.0, 0.999))]

    def energy(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch"]:
        """E(x), without a unit: small for usual images."""
        return self._energy(self.checked(x))

    def encode(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch feature"]:
        """Features of images: the last hidden layer before the energy."""
        return self._features(self.checked(x))

    def loss(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, ""]:
        """The difference in energy between images and chains, plus the penalties.

        In training mode the chains move on. In evaluation mode the loss is the difference alone, to the first chains of the replay as they
        are, so that nothing is drawn.
        """
        x = self.checked(x)
        if not self.training:
            return self._energy(x).mean() - self._energy(self._images(self.replay[: len(x)], x.dtype)).mean()
        noisy = (x + self.sigma * torch.randn_like(x)).clamp(0, 1)
        made = self._move(len(x), x.dtype)
        real, drawn = self._energy(torch.cat([noisy, made])).split([len(x), len(made)])
        far = (self.penalty + self.tie) * real.square().mean() + self.penalty * drawn.square().mean()
        return real.mean() - drawn.mean() + far

    @torch.no_grad()
    def sample(
        self, n: int, steps: int | None = None, start: Start = "replay", generator: torch.Generator | None = None
    ) -> Float[Tensor, "{n} channel height width"]:
        """Draw images in [0, 1] by running chains further; the chains of the replay stay where they were.

        Args:
            n: number of images; where it is larger than the replay, some chains are continued several times.
            steps: steps of Langevin dynamics; by default as many as in training.
            start: ``replay`` goes on from the chains of training, ``noise`` begins anew and takes hundreds of steps.
            generator: generator of all draws; by default torch's own.
        """
        if n < 0 or start not in get_args(Start):
            raise ValueError(f"EnergyModel samples at least 0 images from the replay or from noise, but was given {n} from {start!r}")
        dtype = self.head.weight.dtype
        if start == "noise":
            x = torch.rand(n, *self.image_shape, generator=generator, dtype=dtype).to(self.replay.device)
        else:
            order = torch.randperm(len(self.replay), generator=generator).to(self.replay.device).repeat(math.ceil(n / len(self.replay)))
            x = self._images(self.replay[order[:n]], dtype)
        steps = self.langevin_steps if steps is None else steps
        return torch.cat([self._descend(part, steps, generator) for part in x.split(500)])

    # --- parts ---

    @torch.no_grad()
    def _move(self, n: int, dtype: torch.dtype) -> Tensor:
        """Move ``n`` chains of the replay on (at most all), write them back as whole grey levels, and return them."""
        index = torch.randperm(len(self.replay), device=self.replay.device)[:n]
        x = self._images(self.replay[index], dtype)
        again = torch.rand(len(x), device=x.device) < self.restart
        x[again] = self._fresh(int(again.sum()), dtype)
        x = self._descend(x, self.langevin_steps)
        self.replay[index] = (255 * x).round().to(torch.uint8)
        return x

    def _fresh(self, n: int, dtype: torch.dtype) -> Tensor:
        """Fresh starts of chains, ``(n, channel, height, width)``: noise, shapes of random size, light on dark or dark on light, and as
        many lines along the edges of such shapes."""
        (channels, height, across), here = self.image_shape, self.replay.device
        x = torch.rand(n, channels, height, across, dtype=dtype, device=here)
        shaped = torch.rand(n, device=here) < self.shapes
        size = [int(torch.randint(2, side // 2 + 1, ())) for side in (height, across)]
        coarse = torch.randn(n, channels, *size, dtype=dtype, device=here)
        contrast = 10 ** torch.rand(n, 1, 1, 1, dtype=dtype, device=here)
        level = 3 * torch.rand(n, 1, 1, 1, dtype=dtype, device=here) - 1
        fields = contrast * (F.interpolate(coarse, size=(height, across), mode="bilinear") - level)
        fields = torch.where(torch.rand(n, 1, 1, 1, device=here) < 0.5, 1 - fields.abs(), fields)
        return torch.where(shaped.view(-1, 1, 1, 1), fields.clamp(0, 1), x)

    def _descend(self, x: Tensor, steps: int, generator: torch.Generator | None = None) -> Tensor:
        return langevin(self._energy, x, steps, self.step_size, self.noise, generator, clip=self.clip)

    def _images(self, levels: Tensor, dtype: torch.dtype) -> Tensor:
        return levels.to(dtype) / 255

    def _features(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(2 * x - 1)
        return out.to(x.dtype)

    def _energy(self, x: Tensor) -> Tensor:
        features = self._features(x)
        with torch.autocast(x.device.type, enabled=False):  # near energies are one in half the bits
            out: Tensor = self.head(features)
        return out.squeeze(1)

    def extra_repr(self) -> str:
        return f"image_shape={self.image_shape}, chains={len(self.replay)}, langevin_steps={self.langevin_steps}"


def _body(image_shape: tuple[int, int, int], width: int, features: int) -> nn.Sequential:
    """Smooth activations, since chains follow the gradient of x; no batch norm, since an image's energy is its own."""
    channels, height, across = image_shape
    rows, columns = -(-height // 8), -(-across // 8)
    return nn.Sequential(
        nn.Conv2d(channels, width, 5, stride=2, padding=2),
        nn.SiLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
        nn.SiLU(),
        nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(4 * width * rows * columns, features),
        nn.SiLU(),
    )
