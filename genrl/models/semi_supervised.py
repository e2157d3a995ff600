"""A GAN whose discriminator is a classifier, which learns from a few labels and from many images without."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from genrl.errors import require
from genrl.models.base import evaluating
from genrl.models.capabilities import ImageSource, Measured, Player, Transform
from genrl.models.gan import GAN, real_or_fake, shares_right
from genrl.models.gan_networks import Discriminator, Generator, Networks, Norm
from genrl.models.labels import checked_labels

__all__ = ["SemiSupervisedGAN", "with_labelled"]


class SemiSupervisedGAN(GAN):
    r"""A classifier of K classes that also tells real images from generated ones, and learns from both.

    .. math:: D(x) = \frac{\sum_k e^{l_k(x)}}{\sum_k e^{l_k(x)} + 1}, \quad
        L = -\mathbb{E} \log p(y \mid x) - \tfrac{1}{2} \mathbb{E} \log D(x) - \tfrac{1}{2} \mathbb{E} \log (1 - D(G(z)))
        + \lambda \mathbb{E}_x H[p(\cdot \mid x)]

    The logit of being generated is fixed at 0. Dense networks are those of the first paper: the discriminator has weight norm, whose scales
    come from the first batch, and Gaussian noise; the generator matches the means of its last hidden layer. Convolutional networks are a
    DCGAN's with the same noise. ``fit`` needs the transform :func:`with_labelled`.

    Args:
        image_shape: channels, height, width.
        n_classes: K, the number of classes.
        networks: ``dense``, as for the paper's MNIST, or ``convolutional``.
        jitter: standard deviation of the Gaussian noise in the discriminator.
        entropy: λ, weight of the entropy of the classes of unlabelled images, as in the second paper; 0 leaves it out, as in the first.
        feature_matching: the generator's loss is the squared distance of the means of D's features; by default with dense networks only.

    The other keywords are those of :class:`genrl.models.gan.GAN`.

    Raises:
        ValueError: a value out of its range.

    References:
        Salimans et al., "Improved Techniques for Training GANs", 2016, arXiv:1606.03498, section 5.
        Dai et al., "Good Semi-supervised Learning That Requires a Bad GAN", 2017, arXiv:1705.09783 (the entropy).

    Example:
        >>> gan = SemiSupervisedGAN((1, 28, 28), 10, width=2)
        >>> gan.classify(torch.rand(3, 1, 28, 28)).shape
        torch.Size([3, 10])
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        n_classes: int = 10,
        *,
        networks: Networks = "dense",
        noise: int = 100,
        width: int = 32,
        dense: int | None = None,
        jitter: float = 0.5,
        entropy: float = 0.0,
        feature_matching: bool | None = None,
        minibatch_discrimination: int = 0,
        historical_averaging: float = 0.0,
        label_smoothing: float = 0.0,
        virtual_batch_norm: bool = False,
        generator_pace: float = 1.0,
    ) -> None:
        require(
            type(self),
            ("n_classes", n_classes, n_classes >= 2, "at least 2"),
            ("jitter", jitter, jitter >= 0, "at least 0"),
            ("entropy", entropy, 0 <= entropy < float("inf"), "at least 0"),
        )
        self._outputs, self._jitter = n_classes, jitter  # read while the networks are built
        super().__init__(
            image_shape,
            networks=networks,
            noise=noise,
            width=width,
            dense=dense,
            feature_matching=networks == "dense" if feature_matching is None else feature_matching,
            minibatch_discrimination=minibatch_discrimination,
            historical_averaging=historical_averaging,
            label_smoothing=label_smoothing,
            virtual_batch_norm=virtual_batch_norm,
            generator_pace=generator_pace,
        )
        self.entropy, self.n_classes = entropy, n_classes  # not conditional: no network is told a class

    def _discriminator(self, networks: Networks, width: int, kernels: int) -> Discriminator:
        norm: Norm = "weight" if networks == "dense" else "batch"
        return Discriminator(
            self.image_shape, networks, width, norm, outputs=self._outputs, dense=self._dense, noise=self._jitter, kernels=kernels
        )

    def _generator(self, networks: Networks, width: int, norm: Norm) -> Generator:
        return Generator(self.image_shape, networks, width, norm, self._reference(), dense=self._dense, unit=networks == "dense")

    def _judged(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The logit of being real, which is the log of the sum of the exponentials of all class logits, and the last hidden layer."""
        logits, features = self.discriminator(x)
        return logits.logsumexp(1), features

    def players(self) -> list[Player]:
        """The classifier, then the generator."""
        discriminator, generator = super().players()
        return [replace(discriminator, loss=self.classifier_loss), replace(generator, loss=self.matching_loss)]

    def classifier_loss(
        self,
        x: Float[Tensor, "batch channel height width"],
        labelled: Float[Tensor, "few channel height width"] | None = None,
        labels: Int[Tensor, "few"] | None = None,
        *_: Tensor,
    ) -> Measured:
        """The discriminator's loss in nats, and the shares of images that it names right.

        Args:
            x: images without labels.
            labelled: images with labels.
            labels: the labels of ``labelled``, int64.
        """
        if labelled is None or labels is None:
            raise ValueError("SemiSupervisedGAN learns from images and labelled images; give fit transform=with_labelled(...)")
        self._require_batch(x)
        self._require_batch(labelled)
        checked_labels(labels, len(labelled), self.n_classes, "SemiSupervisedGAN")
        self.discriminator.begin(self.checked(x))
        with torch.no_grad():
            made = self.generator(self.latent(len(x)))
        unknown, known = self.discriminator(x)[0], self.discriminator(self.checked(labelled))[0]
        real, fake = unknown.logsumexp(1), self._judged(made)[0]
        loss = F.cross_entropy(known, labels) + 0.5 * real_or_fake(real, fake, self.label_smoothing) + self._from_history("discriminator")
        log_p = unknown.log_softmax(1)
        entropy = -(log_p.exp() * log_p).sum(1).mean()
        right = (known.argmax(1) == labels).double().mean()
        return loss + self.entropy * entropy, {**shares_right(real, fake), "accuracy_labelled": right, "entropy": entropy.detach()}

    def matching_loss(self, x: Tensor, labelled: Tensor, labels: Tensor, other: Tensor) -> Tensor:
        """The generator's loss on ``other`` images than those that the discriminator has just learnt from."""
        return self.generator_loss(other)

    @torch.no_grad()
    def classify(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch class"]:
        """Probabilities of the classes; see ``encode`` on batch norm."""
        with evaluating(self):
            return torch.cat([self.discriminator(part)[0] for part in self.checked(x).split(500)]).softmax(1)


def with_labelled(labelled: Tensor, labels: Tensor, images: ImageSource, batch_size: int = 100) -> Transform:
    """A transform for ``fit`` that adds to each batch labelled images, their labels, and as many other images as the batch has.

    The held-out loss contains the labelled images too, so only accuracy on a test set tells how good a classifier is.

    Args:
        labelled: images with labels, in [0, 1], ``(n, channel, height, width)``.
        labels: their labels, int64, ``(n,)``.
        images: the source of the other images.
        batch_size: number of labelled images in a batch, drawn with replacement; where there are just so many, each is drawn once.

    Raises:
        ValueError: no labelled images, or other than one label for each, from 0 on.
    """
    if not len(labelled) or labels.shape != (len(labelled),) or labels.dtype != torch.int64 or labels.min() < 0:
        raise ValueError(
            f"with_labelled needs images and a label from 0 on (int64) for each, but was given {len(labelled)} images and "
            f"{str(labels.dtype).removeprefix('torch.')} labels of shape {tuple(labels.shape)}"
        )

    def transform(x: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        some = torch.randperm(len(labelled), generator=generator).to(labelled.device)
        if len(labelled) != batch_size:
            some = torch.randint(len(labelled), (batch_size,), generator=generator).to(labelled.device)
        others = images.batch(torch.randint(len(images), (len(x),), generator=generator))
        return x, labelled[some], labels[some], others

    return transform
