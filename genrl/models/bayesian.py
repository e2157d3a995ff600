"""Bayesian networks with factorised Gaussian weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal
from torch.nn import functional as F

from genrl.models.information_gain import Layer, sweep

__all__ = ["BayesianNetwork"]


class BayesianNetwork(nn.Module):
    r"""Multilayer perceptron (ReLU, linear output) with an independent Gaussian over every weight and bias.

    Args:
        input_dim, output_dim: sizes.
        hidden: widths of the hidden layers; any number of them.
        likelihood_std: s of the Gaussian likelihood N(ŷ, s²), in units of the targets; a buffer ``[out]``, so that it can be set
            output by output.
        prior_std: of the zero-mean Gaussian prior.
        initial_std: of the posterior's start; the prior's if not given.
        fan_in: whether the means start as N(0, 1/in), rather than as draws from the unit normal that the released code of VIME uses.

    Raises:
        ValueError: a size or standard deviation that is not positive.

    References:
        Graves, "Practical Variational Inference for Neural Networks", 2011. Blundell et al., "Weight Uncertainty in Neural Networks",
        2015, arXiv:1505.05424.
    """

    likelihood_std: Tensor

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        hidden: Sequence[int] = (32,),
        likelihood_std: float = 5.0,
        prior_std: float = 0.5,
        initial_std: float | None = None,
        fan_in: bool = True,
    ) -> None:
        super().__init__()
        initial_std = prior_std if initial_std is None else initial_std
        sizes = (input_dim, *hidden, output_dim)
        if min(sizes) < 1:
            raise ValueError(f"a Bayesian network needs layer sizes of at least 1, but was given {sizes}")
        for name, value in {"likelihood_std": likelihood_std, "prior_std": prior_std, "initial_std": initial_std}.items():
            if not value > 0:
                raise ValueError(f"{name} is a standard deviation and needs to be above 0, but was given {value}")
        self.sizes, self.prior_std = sizes, prior_std
        self.register_buffer("likelihood_std", torch.full((output_dim,), likelihood_std))
        # All layers in one vector each: what is done weight by weight (softplus, KL, Adam) is then done once.
        self.mean = nn.Parameter(torch.zeros(sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))))
        self.rho = nn.Parameter(torch.full_like(self.mean, math.log(math.expm1(initial_std))))  # softplus(ρ) = initial_std
        self._draw_means(fan_in)

    @torch.no_grad()
    def _draw_means(self, fan_in: bool) -> None:
        """Weights first, layer by layer; then the biases, which are 0 with ``fan_in``."""
        for weight, _, _, _ in self.layers:
            weight.normal_().mul_(len(weight) ** -0.5 if fan_in else 1.0)
        for _, _, bias, _ in self.layers if not fan_in else ():
            bias.normal_()

    @property
    def layers(self) -> list[Layer]:
        """The posterior, as :func:`information_gain` takes it."""
        return self._by_layer(self.mean, self.rho)

    def _by_layer(self, mean: Tensor, spread: Tensor) -> list[Layer]:
        """Two vectors over all weights and biases as views, layer by layer."""
        shapes = [shape for n_in, n_out in pairwise(self.sizes) for shape in ((n_in, n_out), (n_out,))]
        lengths = [math.prod(shape) for shape in shapes]
        means = [part.view(shape) for part, shape in zip(mean.split(lengths), shapes, strict=True)]
        spreads = [part.view(shape) for part, shape in zip(spread.split(lengths), shapes, strict=True)]
        return [(means[i], spreads[i], means[i + 1], spreads[i + 1]) for i in range(0, len(shapes), 2)]

    def noise(self, n_draws: int, batch_size: int, generator: torch.Generator | None = None) -> list[Tensor]:
        """A standard normal draw for every pre-activation, ``[n_draws, batch, out]`` a layer."""
        return [torch.randn(n_draws, batch_size, size, generator=generator).to(self.mean) for size in self.sizes[1:]]

    def forward(self, inputs: Tensor, noise: Sequence[Tensor] | None = None) -> Independent:
        """p(target | input): N(:meth:`predict`, likelihood_std²), independent over outputs."""
        return Independent(Normal(self.predict(inputs, noise), self.likelihood_std), 1)

    def predict(self, inputs: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Mean prediction ``[sample, batch, out]`` under ``noise``; without it that of the mean weights, ``[batch, out]``."""
        activation = inputs
        for index, (weight_mean, weight_rho, bias_mean, bias_rho) in enumerate(self.layers):
            preactivation = activation @ weight_mean + bias_mean
            if noise is not None:
                variance = activation.square() @ F.softplus(weight_rho).square() + F.softplus(bias_rho).square()
                preactivation = preactivation + variance.sqrt() * noise[index]
            activation = preactivation.relu() if index + 2 < len(self.sizes) else preactivation
        return activation

    def kl(self) -> Tensor:
        """KL divergence of the posterior from the prior, nats."""
        std = F.softplus(self.rho)
        return ((self.mean.square() + std.square()) / (2 * self.prior_std**2) - (std / self.prior_std).log() - 0.5).sum()

    def loss(self, inputs: Tensor, targets: Tensor, noise: Sequence[Tensor], kl_weight: float) -> Tensor:
        """``kl_weight`` · KL − mean over draws and rows of log p(target | input), without the likelihood's constant; nats a row."""
        residual = (self.predict(inputs, noise) - targets) / self.likelihood_std
        return kl_weight * self.kl() + residual.square().sum(-1).mean() / 2

    @torch.no_grad()
    def loss_and_grad(self, inputs: Tensor, targets: Tensor, noise: Sequence[Tensor], kl_weight: float) -> Tensor:
        """Put the gradient of :meth:`loss` into ``.grad``, written out so that no graph is built; returns the likelihood's part of the
        loss."""
        std = F.softplus(self.rho)
        sweeps, residual = sweep(self._by_layer(self.mean, std * std), inputs, targets, noise, self.likelihood_std)
        rows = residual.shape[0] * residual.shape[1]
        grad_mean, grad_var = torch.empty_like(self.mean), torch.empty_like(self.rho)  # the latter is ∂loss/∂σ, over σ
        for (weight, weight_var, bias, bias_var), (activation, delta, tau) in zip(self._by_layer(grad_mean, grad_var), sweeps, strict=True):
            if activation.dim() == 2:
                delta, tau = delta.sum(0), tau.sum(0)
            activation, delta, tau = (x.reshape(-1, x.shape[-1]) for x in (activation, delta, tau))
            torch.mm(activation.T, delta, out=weight)
            torch.mm((activation * activation).T, tau, out=weight_var)
            torch.sum(delta, 0, out=bias)
            torch.sum(tau, 0, out=bias_var)
        precision = self.prior_std**-2
        self.mean.grad = (grad_mean / rows).add_(self.mean, alpha=kl_weight * precision)
        grad_std = (grad_var / rows + kl_weight * precision) * std - kl_weight / std
        self.rho.grad = grad_std * torch.sigmoid(self.rho)
        return (residual / self.likelihood_std).square().sum() / (2 * rows)

    def fit(
        self,
        optimizer: torch.optim.Optimizer,
        batches: Iterable[tuple[Tensor, Tensor]],
        n_draws: int,
        kl_weight: float,
        generator: torch.Generator,
    ) -> float:
        """Take one step down :meth:`loss` for each ``(inputs, targets)``; returns the likelihood's part of the loss, a mean over steps."""
        losses = []
        for inputs, targets in batches:
            noise = self.noise(n_draws, len(inputs), generator)
            losses.append(self.loss_and_grad(inputs, targets, noise, kl_weight))
            optimizer.step()
        return float(sum(losses)) / len(losses)

    @torch.no_grad()
    def squared_error(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Squared error of the mean weights, averaged over rows, ``[out]``."""
        return (self.predict(inputs) - targets).square().mean(0)

    def narrow_likelihood(self, squared_error: Tensor, least: float) -> None:
        """Move ``likelihood_std`` halfway to the maximum-likelihood value for ``squared_error`` ``[out]``, but not below ``least``.

        Halfway, so that one bad sample does not carry it away.
        """
        self.likelihood_std.copy_((self.likelihood_std + squared_error.sqrt()).div(2).clamp_min(least))

    def extra_repr(self) -> str:
        return f"sizes={'-'.join(map(str, self.sizes))}, prior_std={self.prior_std}"
