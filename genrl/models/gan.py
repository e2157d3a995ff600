"""Generative adversarial networks, plain and conditional, and the techniques that steady them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from genrl.errors import require
from genrl.models.base import ImageModel, evaluating, shape_check
from genrl.models.capabilities import Player
from genrl.models.gan_networks import REFERENCE, Discriminator, Generator, Networks, Norm
from genrl.models.infogan import Codes, distorted
from genrl.models.labels import Labels, checked_labels
from genrl.models.latents import walk
from genrl.models.nn import trainable

__all__ = ["GAN", "HistoricalAverage", "Objective", "fooling", "real_or_fake", "shares_right"]

Objective = Literal["non-saturating", "minimax"]


def real_or_fake(real: Float[Tensor, "real"], fake: Float[Tensor, "fake"], smoothing: float = 0.0) -> Float[Tensor, ""]:
    r"""The discriminator's loss from its logits, a cross-entropy with real = 1:

    .. math:: -\mathbb{E}[(1 - s) \log D(x) + s \log(1 - D(x))] - \mathbb{E} \log(1 - D(G(z)))

    With both kinds equally often, the best logit is the log density ratio of real to fake. ``smoothing`` is s, and applies to real images
    only: applied to fakes too, the best logit would depend on the generator where there are no data.
    """
    return F.softplus(-real).mean() + smoothing * real.mean() + F.softplus(fake).mean()


def fooling(fake: Float[Tensor, "fake"], objective: Objective) -> Float[Tensor, ""]:
    r"""The generator's loss, from the logits of its images: the mean of :math:`-\log D(G(z))` (non-saturating) or of
    :math:`\log(1 - D(G(z)))` (minimax)."""
    return F.softplus(-fake).mean() if objective == "non-saturating" else -F.softplus(fake).mean()


def shares_right(real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """The shares of real and of generated images that a discriminator names right, from its logits (real above 0)."""
    return {"accuracy_real": (real > 0).double().mean(), "accuracy_fake": (fake < 0).double().mean()}


def _check_together(
    image_shape: tuple[int, int, int],
    networks: Networks,
    dense: int | None,
    objective: Objective,
    feature_matching: bool,
    categories: tuple[int, ...],
    distortion: float,
) -> None:
    """Refuse arguments that do not go together."""
    halves = min(image_shape[1:]) >= 8 and not (image_shape[1] % 2 or image_shape[2] % 2)
    if networks == "convolutional" and not halves:
        raise ValueError(f"convolutional networks need even sizes from 8 pixels on, but were given {image_shape}; choose dense ones")
    if feature_matching and objective == "minimax":
        raise ValueError("feature_matching is the generator's loss instead of the minimax objective; leave one of them out")
    if networks == "dense" and dense:
        raise ValueError(f"dense networks have no grid to put {dense} units before; leave dense out, or choose convolutional ones")
    if distortion and not categories:
        raise ValueError("distortion is of the images in which categories are read, but there are none; give categories, or leave it out")


class HistoricalAverage(nn.Module):
    r"""A penalty that keeps parameters near the mean of all their values so far.

    .. math:: \| \theta - \tfrac{1}{t} \textstyle\sum_{i \le t} \theta_i \|^2

    References:
        Salimans et al., "Improved Techniques for Training GANs", 2016, arXiv:1606.03498, section 3.3.
    """

    steps: Tensor

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        super().__init__()
        self._now = tuple(parameters)  # in a tuple: they are another module's
        self.register_buffer("steps", torch.tensor(0))
        for i, parameter in enumerate(self._now):
            self.register_buffer(f"mean_{i}", parameter.detach().clone())

    def forward(self) -> Tensor:
        """The squared distance; in training mode the mean takes in the present values."""
        means = [self.get_buffer(f"mean_{i}") for i in range(len(self._now))]
        if self.training:
            self.steps += 1
            with torch.no_grad():
                torch._foreach_lerp_(means, [item.detach() for item in self._now], 1 / float(self.steps))
                means = [mean.clone() for mean in means]  # the next step moves them before the gradient is taken
        return sum(
            ((now - mean).square().sum() for now, mean in zip(self._now, means, strict=True)), torch.zeros((), device=means[0].device)
        )


class GAN(ImageModel):
    r"""A generator that makes images of uniform numbers, trained against a discriminator that tells real images from generated ones.

    .. math:: \min_G \max_D \; \mathbb{E} \log D(x) + \mathbb{E} \log(1 - D(G(z))), \quad z \sim U(-1, 1)^{noise}

    Convolutional networks make it a DCGAN. With classes it is a conditional GAN, and both networks are given the label. With codes it is an
    InfoGAN: a recogniser on the discriminator's last hidden layer reads them, and the bound of the information counts in the losses of both
    players. In each step the discriminator learns first, then the generator. Each technique of the third paper is one keyword.

    Args:
        image_shape: channels, height, width.
        networks: ``convolutional`` (both sizes are halved as long as they are even, down to 4 to 7 pixels) or ``dense``.
        noise: size of z.
        width: channels of the thinnest layers, see :class:`genrl.models.gan_networks.Generator`.
        dense: units of two dense layers in convolutional networks, one before the generator's smallest grid and one after the
            discriminator's, as InfoGAN has; by default 16 times ``width``. 0 leaves them out, as in the DCGAN's paper; small networks then
            draw sharp strokes, too few of which make a digit.
        n_classes: number of classes whose label is given with each image; 0 for images without labels.
        categories: sizes of InfoGAN's categorical codes, such as ``(10,)``, see :class:`genrl.models.infogan.Codes`.
        continuous: number of InfoGAN's continuous codes.
        information: weight of the bound of the categorical codes' information; that of the continuous codes has a tenth of it.
        distortion: strength of :func:`genrl.models.infogan.distorted` on the images in which the recogniser reads categorical codes, so
            that they name what an image shows and not how it stands; 0 reads the images as they are, as in the paper.
        objective: the generator's loss: ``non-saturating``, which has a gradient also where D is sure, or ``minimax``.
        feature_matching: take as the generator's loss instead the squared distance between the means of D's last hidden layer over
            generated and over real images.
        minibatch_discrimination: number of kernels that tell D how alike the images of a batch are; 0 leaves them out.
        historical_averaging: weight of the squared distance of both networks' parameters from their mean over time; 0 leaves it out.
        label_smoothing: D should name real images with a probability of one minus this, in [0, 0.5).
        virtual_batch_norm: use virtual batch norm in the generator instead of batch norm, as in the paper.
        generator_pace: the generator's learning rate as a multiple of the discriminator's; 5 in InfoGAN's experiments.

    Raises:
        ValueError: a value out of its range, a technique that does not fit; images of another shape; labels that are missing, or not asked
            for, or out of range.

    References:
        Goodfellow et al., "Generative Adversarial Nets", 2014, arXiv:1406.2661.
        Radford, Metz, Chintala, "Unsupervised Representation Learning with Deep Convolutional GANs", 2016, arXiv:1511.06434.
        Salimans et al., "Improved Techniques for Training GANs", 2016, arXiv:1606.03498 (the techniques).
        Mirza, Osindero, "Conditional Generative Adversarial Nets", 2014, arXiv:1411.1784.
        Chen et al., "InfoGAN", 2016, arXiv:1606.03657.

    Example:
        >>> gan = GAN((1, 28, 28), width=4)
        >>> gan.sample(3).shape, gan.encode(torch.rand(3, 1, 28, 28)).shape
        (torch.Size([3, 1, 28, 28]), torch.Size([3, 256]))
    """

    BETAS = (0.5, 0.999)
    """Decay rates of Adam, as in the second paper."""
    adversarial = True
    fewest_in_a_batch = 2

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        *,
        networks: Networks = "convolutional",
        noise: int = 100,
        width: int = 32,
        dense: int | None = None,
        n_classes: int = 0,
        categories: tuple[int, ...] = (),
        continuous: int = 0,
        information: float = 1.0,
        distortion: float = 0.0,
        objective: Objective = "non-saturating",
        feature_matching: bool = False,
        minibatch_discrimination: int = 0,
        historical_averaging: float = 0.0,
        label_smoothing: float = 0.0,
        virtual_batch_norm: bool = False,
        generator_pace: float = 1.0,
    ) -> None:
        super().__init__()
        require(type(self), shape_check(image_shape))
        require(
            type(self),
            ("networks", networks, networks in get_args(Networks), "dense or convolutional"),
            ("noise", noise, noise >= 1, "at least 1"),
            ("width", width, width >= 1, "at least 1"),
            ("dense", dense, dense is None or dense >= 0, "at least 0"),
            ("n_classes", n_classes, n_classes == 0 or n_classes >= 2, "0 or at least 2"),
            ("categories", categories, isinstance(categories, tuple | list), "a tuple of sizes, such as (10,)"),
            ("information", information, 0 <= information < float("inf"), "at least 0"),
            ("distortion", distortion, 0 <= distortion < float("inf"), "at least 0"),
            ("generator_pace", generator_pace, 0 < generator_pace < float("inf"), "positive and finite"),
            ("objective", objective, objective in get_args(Objective), "non-saturating or minimax"),
            ("minibatch_discrimination", minibatch_discrimination, minibatch_discrimination >= 0, "at least 0"),
            ("historical_averaging", historical_averaging, 0 <= historical_averaging < float("inf"), "at least 0"),
            ("label_smoothing", label_smoothing, 0 <= label_smoothing < 0.5, "in [0, 0.5)"),
        )
        _check_together(image_shape, networks, dense, objective, feature_matching, categories, distortion)
        self.image_shape, self.n_classes, self.noise = image_shape, n_classes, noise
        self._dense = (16 * width if networks == "convolutional" else 0) if dense is None else dense
        self.conditional = n_classes > 0
        self.objective, self.feature_matching, self.label_smoothing = objective, feature_matching, label_smoothing
        self.discriminator = self._discriminator(networks, width, minibatch_discrimination)
        self.codes = Codes(self.discriminator.features, categories, continuous) if categories or continuous else None
        self.information, self.distortion, self.generator_pace = information, distortion, generator_pace
        self.generator = self._generator(networks, width, "virtual" if virtual_batch_norm else "batch")
        self._keep_history(historical_averaging)

    def _keep_history(self, weight: float) -> None:
        self.history = weight
        if weight:
            self.generator_history = HistoricalAverage(self.generator.parameters())
            self.discriminator_history = HistoricalAverage(self._of_discriminator())

    def _discriminator(self, networks: Networks, width: int, kernels: int) -> Discriminator:
        norm: Norm = "none" if networks == "dense" else "batch"
        return Discriminator(self.image_shape, networks, width, norm, n_classes=self.n_classes, dense=self._dense, kernels=kernels)

    def _generator(self, networks: Networks, width: int, norm: Norm) -> Generator:
        return Generator(self.image_shape, networks, width, norm, self._reference(), n_classes=self.n_classes, dense=self._dense)

    def _reference(self) -> Tensor:
        """Latent numbers for the generator's virtual batch norm, with all classes in turn, ``(REFERENCE, latent)``."""
        labels = torch.arange(REFERENCE, device=self._device()) % self.n_classes if self.conditional else None
        return self.latent(REFERENCE, labels)

    # --- the two players ---

    def players(self) -> list[Player]:
        """The discriminator with its recogniser, then the generator."""
        return [
            Player("discriminator", self._of_discriminator(), self.discriminator_loss, betas=self.BETAS),
            Player("generator", trainable(self.generator), self.generator_loss, pace=self.generator_pace, betas=self.BETAS),
        ]

    def _of_discriminator(self) -> list[nn.Parameter]:
        return [*trainable(self.discriminator), *(self.codes.parameters() if self.codes is not None else ())]

    def discriminator_loss(
        self, x: Float[Tensor, "batch channel height width"], labels: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The discriminator's loss in nats, and the shares of real and of generated images that it names right."""
        self._require_batch(x)
        self._check(x, labels)
        self.discriminator.begin(x, labels)
        latent = self.latent(len(x), labels)
        with torch.no_grad():
            made = self.generator(latent)
        (real, _), (fake, features) = self._judged(x, labels), self._judged(made, labels)
        told, bound = self._told(made, features, latent, labels)
        loss = real_or_fake(real, fake, self.label_smoothing) - told + self._from_history("discriminator")
        return loss, shares_right(real, fake) | bound

    def generator_loss(self, x: Float[Tensor, "batch channel height width"], labels: Tensor | None = None) -> Tensor:
        """The generator's loss, on as many generated images as there are real ones."""
        latent = self.latent(len(x), labels)
        made = self.generator(latent)
        if self.feature_matching:  # in one batch, as batch norm of each would give both the same mean
            both = None if labels is None else torch.cat([labels, labels])
            features, real = self._judged(torch.cat([made, x]), both)[1].split(len(x))
            loss = (features.mean(0) - real.mean(0)).square().sum()
        else:
            fake, features = self._judged(made, labels)
            loss = fooling(fake, self.objective)
        return loss - self._told(made, features, latent, labels)[0] + self._from_history("generator")

    def _judged(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The logit of being real, ``(batch,)``, and the last hidden layer, ``(batch, feature)``."""
        logits, features = self.discriminator(x, labels)
        return logits.squeeze(1), features

    def _told(self, made: Tensor, features: Tensor, latent: Tensor, labels: Tensor | None) -> tuple[Tensor | float, dict[str, Tensor]]:
        """The weighted bound of the information that images carry about their codes, and the bound itself for the log."""
        if self.codes is None:
            return 0.0, {}
        codes = latent[:, self.noise : self.noise + self.codes.size]
        bound, density = self.codes.information(features, codes)
        if self.distortion:
            bound = self.codes.information(self._judged(distorted(made, self.distortion), labels)[1], codes)[0]
        return self.information * (bound + 0.1 * density), {"information": bound.detach()}

    def _from_history(self, player: str) -> Tensor | float:
        return self.history * self.get_submodule(f"{player}_history")() if self.history else 0.0

    def latent(
        self,
        n: int,
        labels: Int[Tensor, "{n}"] | None = None,
        codes: Float[Tensor, "{n} code"] | None = None,
        noise: Float[Tensor, "{n} noise"] | None = None,
    ) -> Float[Tensor, "{n} latent"]:
        """The generator's input: uniform numbers in [-1, 1), codes, and one-hot labels, side by side."""
        parts = [2 * torch.rand(n, self.noise, dtype=self._dtype(), device=self._device()) - 1 if noise is None else noise]
        if self.codes is not None:
            parts.append(self.codes.draw(n) if codes is None else codes)
        if labels is not None:
            parts.append(F.one_hot(labels, self.n_classes).to(parts[0].dtype))
        return torch.cat(parts, dim=1)

    # --- use ---

    @torch.no_grad()
    def sample(
        self, n: int, labels: Labels | None = None, codes: Tensor | None = None, noise: Tensor | None = None
    ) -> Float[Tensor, "{n} channel height width"]:
        """Draw images in [0, 1]; what is not given is drawn at random.

        Args:
            n: number of images.
            labels: classes for a conditional GAN: int64, ``(n,)``, or one class for all images.
            codes: codes for an InfoGAN, ``(n, codes.size)``, see :meth:`genrl.models.infogan.Codes.draw` and ``replaced``.
            noise: z, ``(n, noise)``, such as a walk from one image's numbers to another's, see :func:`genrl.models.latents.walk`.
        """
        if labels is None and self.conditional:
            labels = torch.randint(self.n_classes, (n,), device=self._device())
        labels = self._labels(n, labels)
        if codes is not None and (self.codes is None or codes.shape != (n, self.codes.size)):
            need = "was built without codes" if self.codes is None else f"needs codes of shape {(n, self.codes.size)}"
            raise ValueError(f"this GAN {need}, but was given codes of shape {tuple(codes.shape)}")
        if noise is not None and noise.shape != (n, self.noise):
            raise ValueError(f"this GAN needs noise of shape {(n, self.noise)}, but was given {tuple(noise.shape)}")
        with evaluating(self):
            return torch.cat([self.generator(latent) for latent in self.latent(n, labels, codes, noise).split(500)])

    @torch.no_grad()
    def walks(self, rows: int, steps: int) -> Float[Tensor, "{rows}*{steps} channel height width"]:
        """Rows of images whose noise walks in equal steps from one draw to another, while class and codes stay."""
        start, end = 2 * torch.rand(2, rows, self.noise, dtype=self._dtype(), device=self._device()) - 1
        noise = walk(start, end, steps).transpose(0, 1).flatten(0, 1)  # (row * step, noise)
        labels = torch.randint(self.n_classes, (rows,), device=self._device()).repeat_interleave(steps) if self.conditional else None
        codes = None if self.codes is None else self.codes.draw(rows).repeat_interleave(steps, dim=0)
        return self.sample(len(noise), labels, codes, noise)

    @torch.no_grad()
    def sweeps(self, rows: int, steps: int) -> dict[str, Tensor]:
        """Rows of images in which one code alone changes, through all its classes or from -2 to 2; by the name of the code."""
        if self.codes is None:
            return {}
        found = {}
        for name, columns, given in self.codes.sweeps(rows, steps):
            labels = torch.randint(self.n_classes, (rows,), device=self._device()) if self.conditional else None
            latent = self.latent(rows, labels).repeat_interleave(columns, dim=0)
            place = slice(self.noise, self.noise + self.codes.size)
            latent[:, place] = self.codes.replaced(latent[:, place], **given)
            with evaluating(self):
                found[name] = self.generator(latent)
        return found

    def recognise(self, x: Float[Tensor, "batch channel height width"], labels: Tensor | None = None) -> list[Tensor]:
        """The codes that an InfoGAN reads in images, see :meth:`genrl.models.infogan.Codes.read`."""
        if self.codes is None:
            raise ValueError("this GAN was built without codes, so there is nothing to read; build it with categories or continuous")
        self._check(x, labels)
        with evaluating(self):
            return self.codes.read(self._judged(x, labels)[1])

    def encode(self, x: Float[Tensor, "batch channel height width"], labels: Tensor | None = None) -> Float[Tensor, "batch feature"]:
        """Features of images: all layers of the discriminator, and the hidden layer of InfoGAN's recogniser.

        Of a convolution's maps the features are the largest values in each of 4 × 4 parts. After a fit, batch norm has statistics of real,
        generated and distorted images together; :func:`genrl.models.nn.recompute_batch_norm` with real images helps.
        """
        self._check(x, labels)
        with evaluating(self):
            layers = self.discriminator.hidden(x, labels)
            if self.codes is not None:
                layers.append(self.codes.recogniser[:-1](layers[-1].flatten(1)))
        return torch.cat([F.adaptive_max_pool2d(h, 4).flatten(1) if h.ndim == 4 else h for h in layers], dim=1)

    def _check(self, x: Tensor, labels: Tensor | None) -> None:
        self._labels(len(self.checked(x)), labels)

    def _labels(self, n: int, labels: Labels | None) -> Tensor | None:
        """Labels of ``n`` images, needed just where the GAN is conditional."""
        name = type(self).__name__
        if self.conditional and labels is None:
            raise ValueError(f"this {name} is conditional on {self.n_classes} classes; give the images' labels")
        if labels is not None and not self.conditional:
            raise ValueError(f"this {name} was built without classes, but was given labels; build it with n_classes")
        return None if labels is None else checked_labels(labels, n, self.n_classes, name, self._device())
