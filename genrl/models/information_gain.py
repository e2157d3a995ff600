"""The information that a transition gives about the weights of a Bayesian network with factorised Gaussian weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Layer", "Sweep", "expected_information_gain", "information_gain", "sweep"]

Layer = tuple[Tensor, Tensor, Tensor, Tensor]
"""Posterior of one layer: ``(weight_mean [in, out], weight_rho [in, out], bias_mean [out], bias_rho [out])``; σ = softplus(ρ)."""


ROWS_AT_ONCE = 512  # of the information gain: about what a processor's cache holds at K = 10


class Sweep(NamedTuple):
    """What one forward and backward sweep leaves at a layer, everything before any product with the layer's own σ or λ."""

    activation: Tensor  # a, the layer's input, [batch, in] if all draws share it, else [sample, batch, in]
    delta: Tensor  # δ = ∂loss/∂z at the pre-activation, [sample, batch, out]
    tau: Tensor  # τ = δ ε / √v, so that ∂loss/∂σ_w = σ_w a²ᵀτ and ∂loss/∂σ_b = σ_b τ, [sample, batch, out]


def sweep(
    moments: Sequence[Layer], inputs: Tensor, targets: Tensor, noise: Sequence[Tensor], likelihood_std: float | Tensor
) -> tuple[list[Sweep], Tensor]:
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
        sweeps.append(Sweep(activations[index], delta, tau))
        if index:
            weight_mean, weight_var, _, _ = moments[index]
            below = torch.addcmul(delta @ weight_mean.T, activations[index], tau @ weight_var.T)
            delta = torch.ops.aten.threshold_backward(below, activations[index], 0)  # relu's derivative, in one pass
    return sweeps[::-1], residual


def _affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``x @ weight + bias`` over any leading axes, as one matrix product."""
    return torch.addmm(bias, x.flatten(0, -2), weight).unflatten(0, x.shape[:-1])


def _weighted_square(activation: Tensor, delta: Tensor, factor: Tensor) -> Tensor:
    r"""Weighted square of every row, :math:`\sum_{ij} f_{ij} \left(\frac1K \sum_k a_{ki} \delta_{kj}\right)^2`, ``[batch]``.

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
        sweeps, _ = sweep(moments, inputs[rows], targets[rows], [draws[:, rows] for draws in noise], likelihood_std)
        gain = torch.zeros_like(inputs[rows, 0])
        for (_, weight_var, _, bias_var), layer in zip(moments, sweeps, strict=True):
            gain += _weighted_square(layer.activation, layer.delta, weight_var)
            gain += 0.5 * _weighted_square(layer.activation * layer.activation, layer.tau, weight_var.square())
            gain += layer.delta.mean(0).square() @ bias_var + 0.5 * (layer.tau.mean(0).square() @ bias_var.square())
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
