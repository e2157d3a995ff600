"""Bayesian networks with factorised Gaussian weights, and the information that a transition gives about them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal
from torch.nn import functional as F

__all__ = ["BayesianNetwork", "Layer", "expected_information_gain", "information_gain"]

Layer = tuple[Tensor, Tensor, Tensor, Tensor]
"""Posterior of one layer: ``(weight_mean [in, out], weight_rho [in, out], bias_mean [out], bias_rho [out])``; σ = softplus(ρ)."""


ROWS_AT_ONCE = 512  # of the information gain: about what a processor's cache holds at K = 10


class _Sweep(NamedTuple):
    """What one forward and backward sweep leaves at a layer, everything before any product with the layer's own σ or λ."""

    activation: Tensor  # a, the layer's input, [batch, in] if all draws share it, else [sample, batch, in]
    delta: Tensor  # δ = ∂loss/∂z at the pre-activation, [sample, batch, out]
    tau: Tensor  # τ = δ ε / √v, so that ∂loss/∂σ_w = σ_w a²ᵀτ and ∂loss/∂σ_b = σ_b τ, [sample, batch, out]


def _sweep(
    moments: Sequence[Layer], inputs: Tensor, targets: Tensor, noise: Sequence[Tensor], likelihood_std: float | Tensor
) -> tuple[list[_Sweep], Tensor]:
    r"""One pass of every noise draw, and its backward pass written out.

    Local reparametrisation (Kingma, Salimans, Welling, 2015): a layer's pre-activation is sampled instead of its weights,
    :math:`z = aM + b + \sqrt{v}\,\epsilon` with :math:`v = a^2 \sigma_w^2 + \sigma_b^2`. The loss of one draw of one row is
    :math:`\sum_j (y_j - \hat y_j)^2 / 2 s_j^2`, the negative log-likelihood up to a constant.

    Args:
        moments: as :func:`information_gain`'s ``layers``, but variances σ² in the place of ρ.

    Returns:
        The sweep of every layer, and the residual ŷ − y ``[sample, batch, out]``.
    """
    activation, activations, roots = inputs, [], []
    for index, (weight_mean, weight_var, bias_mean, bias_var) in enumerate(moments):
        root = _affine(activation * activation, weight_var, bias_var).sqrt()
        preactivation = torch.addcmul(_affine(activation, weight_mean, bias_mean), root, noise[index])
        activations.append(activation)
        roots.append(root)
        activation = preactivation.relu() if index + 1 < len(moments) else preactivation

    residual = activation - targets
    delta = residual * likelihood_std**-2
    sweeps = []
    for index in reversed(range(len(moments))):
        tau = (delta * noise[index]).div_(roots[index])
        sweeps.append(_Sweep(activations[index], delta, tau))
        if index:
            weight_mean, weight_var, _, _ = moments[index]
            below = torch.addcmul(delta @ weight_mean.T, activations[index], tau @ weight_var.T)
            delta = torch.ops.aten.threshold_backward(below, activations[index], 0)  # relu's derivative, in one pass
    return sweeps[::-1], residual


def _affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``x @ weight + bias`` over any leading axes, as one matrix product."""
    return torch.addmm(bias, x.flatten(0, -2), weight).unflatten(0, x.shape[:-1])


def _weighted_square(activation: Tensor, delta: Tensor, factor: Tensor) -> Tensor:
    r"""For every row, :math:`\sum_{ij} f_{ij} \left(\frac1K \sum_k a_{ki} \delta_{kj}\right)^2`, ``[batch]``.

    Where all draws share the input, the bracket factorises and nothing of the size of the weights is formed for a row. Elsewhere the sum
    over draws does not, and is one batched product of the rows at hand.
    """
    n_draws = delta.shape[0]
    if activation.dim() == 2:
        return ((activation.square() @ factor) * delta.sum(0).square()).sum(-1) / n_draws**2
    total = torch.bmm(activation.permute(1, 2, 0), delta.permute(1, 0, 2)).flatten(1)
    return total.mul_(total) @ factor.flatten() / n_draws**2


@torch.no_grad()
def information_gain(
    layers: Sequence[Layer],
    inputs: Tensor,
    targets: Tensor,
    noise: Sequence[Tensor],
    likelihood_std: float | Tensor,
    step_size: float,
) -> Tensor:
    r"""Information gain of every transition about the weights of a Bayesian network, to second order.

    The posterior that a transition would lead to is one natural-gradient step of size λ away, and the KL divergence from the present one is

    .. math:: \tfrac12 \lambda^2 \sum_\theta \sigma_\theta^2 g_\mu^2 + \tfrac12 \sigma_\theta^2 g_\sigma^2,

    g the gradient of the transition's negative log-likelihood, averaged over K noise draws. The second term is
    :math:`\sigma^2 g_\rho^2 / 2\,\mathrm{sigmoid}(\rho)^2`. Every row is a batch of its own, and there is no backward pass a row: one
    sweep of the whole batch leaves the factors of all gradients.

    Args:
        layers: a sequence of ``(weight_mean [in, out], weight_rho [in, out], bias_mean [out], bias_rho [out])``, ReLU between them; σ
            = softplus(ρ).
        inputs: ``[batch, in]``, the normalised observation and action.
        targets: ``[batch, out]``, the normalised next observation.
        noise: a standard normal tensor ``[K, batch, out]`` for each layer.
        likelihood_std: standard deviation of the Gaussian likelihood, in units of the targets; one number, or one for each output
            ``[out]``.
        step_size: λ, of the natural-gradient step.

    Returns:
        ``[batch]``, nats.

    References:
        Houthooft, Chen, Duan, Schulman, De Turck, Abbeel, "VIME: Variational Information Maximizing Exploration", 2016,
        arXiv:1605.09674, equations 13 to 16.
        Kingma, Salimans, Welling, "Variational Dropout and the Local Reparameterization Trick", 2015, arXiv:1506.02557.

    Example:
        >>> layer = (torch.zeros(3, 2), torch.zeros(3, 2), torch.zeros(2), torch.zeros(2))
        >>> information_gain([layer], torch.ones(5, 3), torch.ones(5, 2), [torch.zeros(10, 5, 2)], likelihood_std=1.0, step_size=0.1).shape
        torch.Size([5])
    """
    moments = [(wm, F.softplus(weight_rho).square(), bm, F.softplus(bias_rho).square()) for wm, weight_rho, bm, bias_rho in layers]
    parts = []
    for start in range(0, len(inputs), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        sweeps, _ = _sweep(moments, inputs[rows], targets[rows], [draws[:, rows] for draws in noise], likelihood_std)
        gain = torch.zeros_like(inputs[rows, 0])
        for (_, weight_var, _, bias_var), sweep in zip(moments, sweeps, strict=True):
            gain += _weighted_square(sweep.activation, sweep.delta, weight_var)
            gain += 0.5 * _weighted_square(sweep.activation * sweep.activation, sweep.tau, weight_var.square())
            gain += sweep.delta.mean(0).square() @ bias_var + 0.5 * (sweep.tau.mean(0).square() @ bias_var.square())
        parts.append(gain)
    return 0.5 * step_size**2 * torch.cat(parts)


@torch.no_grad()
def expected_information_gain(layers: Sequence[Layer], inputs: Tensor, noise: Sequence[Tensor], likelihood_std: float | Tensor) -> Tensor:
    r"""Information that an outcome is expected to give about the weights, before it is seen.

    .. math:: I(y; \theta \mid x) \approx \tfrac12 \sum_j \log\left(1 + v_j(x) / s_j^2\right),

    v_j the variance of output j under the posterior and s_j the likelihood's standard deviation. For one linear layer it is exact; with
    hidden layers the mean over weights is taken for Gaussian, and v_j is estimated from the noise draws by the law of total variance,
    exactly in the last layer. The outcome itself does not enter, so no error of the model, and no noise that it can't predict, is paid.

    Args:
        layers, inputs, likelihood_std: as for :func:`information_gain`.
        noise: a standard normal tensor ``[K, batch, out]`` for each layer, K ≥ 2; the last layer's is not used.

    Returns:
        ``[batch]``, nats.

    References:
        Houthooft, Chen, Duan, Schulman, De Turck, Abbeel, "VIME: Variational Information Maximizing Exploration", 2016,
        arXiv:1605.09674, equations 2 to 4. MacKay, "Information-Based Objective Functions for Active Data Selection", 1992.

    Example:
        >>> layer = (torch.zeros(1, 1), torch.full((1, 1), 1.0).expm1().log(), torch.zeros(1), torch.full((1,), -100.0))  # σ_w = 1, σ_b = 0
        >>> expected_information_gain([layer], torch.tensor([[3.0]]), [torch.zeros(2, 1, 1)], likelihood_std=1.0)  # ½ log(1 + 3²)
        tensor([1.1513])
    """
    activation = inputs
    for index, (weight_mean, weight_rho, bias_mean, bias_rho) in enumerate(layers):
        variance = _affine(activation.square(), F.softplus(weight_rho).square(), F.softplus(bias_rho).square())
        mean = _affine(activation, weight_mean, bias_mean)
        if index + 1 < len(layers):
            activation = torch.addcmul(mean, variance.sqrt(), noise[index]).relu()
    if mean.dim() == 3:  # [sample, batch, out]
        variance = variance.mean(0) + mean.var(0)
    return 0.5 * (variance / likelihood_std**2).log1p().sum(-1)


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
        means = [torch.randn(n_in, n_out) * n_in**-0.5 if fan_in else torch.randn(n_in, n_out) for n_in, n_out in pairwise(sizes)]
        biases = [torch.zeros(size) if fan_in else torch.randn(size) for size in sizes[1:]]
        # All layers in one vector each: what is done weight by weight (softplus, KL, Adam) is then done once.
        self.mean = nn.Parameter(torch.cat([part.reshape(-1) for pair in zip(means, biases, strict=True) for part in pair]))
        rho = math.log(math.expm1(initial_std))  # softplus(ρ) = initial_std
        self.rho = nn.Parameter(torch.full_like(self.mean, rho))

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
        return [torch.randn(n_draws, batch_size, size, generator=generator) for size in self.sizes[1:]]

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
        sweeps, residual = _sweep(self._by_layer(self.mean, std * std), inputs, targets, noise, self.likelihood_std)
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
