"""Behaviour cloning into the policy of any learner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecNormalize, unwrap_vec_normalize
from torch import Tensor
from torch.nn import functional as F

from genrl.data import Demonstrations
from genrl.models.nn import gradient_step, minibatches

__all__ = ["clone", "normalize_like"]


def clone(
    model: BaseAlgorithm,
    demonstrations: Demonstrations,
    *,
    epochs: int = 100,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    held_out: float = 0.3,
    patience: int = 10,
    seed: int = 0,
) -> dict[str, float]:
    r"""Fit a learner's policy to demonstrated actions: a baseline, and a warm start for what it learns next.

    .. math:: \min_\theta \; -\mathbb{E}_E[\log \pi_\theta(a \mid s)]

    for policies with a density (PPO, A2C, TRPO; discrete actions too), :math:`\lVert \mu_\theta(s) - a \rVert^2` for the mean action of
    SAC, TQC, TD3, DDPG and CrossQ, cross entropy of the action values for DQN and QRDQN. Stops when the held-out loss has not improved for
    ``patience`` epochs, and keeps the best parameters. A ``VecNormalize`` of the learner that has seen nothing takes the demonstrations'
    statistics first, and keeps them (``training = False``): if they went on moving, the policy would be given other inputs than it knows.

    Args:
        model: the learner; its policy changes in place.
        demonstrations: of its task.
        epochs: passes over the training part, at most.
        batch_size: pairs per gradient step; 128 in the GAIL paper.
        learning_rate: of Adam; 1e-3 in the GAIL paper.
        held_out: share of the pairs that stops the fit; 0.3 in the GAIL paper.
        patience: epochs.
        seed: of the split and the shuffles.

    Returns:
        ``loss`` on the training part and ``held_out_loss``, of the parameters that are kept, and ``epochs``.

    Raises:
        ValueError: demonstrations of other sizes, or a recurrent policy.

    References:
        Pomerleau, "Efficient Training of Artificial Neural Networks for Autonomous Navigation", 1991.
    """
    demonstrations = _fitted(model, demonstrations)
    normalize = unwrap_vec_normalize(model.env) if model.env is not None else None
    if normalize is not None:
        normalize_like(normalize, demonstrations)
    train, rest = demonstrations.split(held_out, seed)
    (obs, action), (other_obs, other_action) = (_pairs(model, part, normalize) for part in (train, rest))
    loss_of, module = _objective(model)
    optimizer = torch.optim.Adam([parameter for parameter in module.parameters() if parameter.requires_grad], learning_rate)
    generator = torch.Generator().manual_seed(seed)
    best, best_epoch, epoch = float("inf"), 0, 0
    kept = _copy(module)
    while epoch < min(epochs, best_epoch + patience):
        epoch += 1
        model.policy.set_training_mode(True)
        for index in minibatches(len(obs), batch_size, 1, generator):
            gradient_step(optimizer, loss_of(obs[index], action[index]))
        model.policy.set_training_mode(False)
        with torch.no_grad():
            loss = float(loss_of(other_obs, other_action))
        if loss < best:
            best, best_epoch, kept = loss, epoch, _copy(module)
    module.load_state_dict(kept)
    _follow(model.policy)
    model.policy.set_training_mode(False)
    with torch.no_grad():
        return {"loss": float(loss_of(obs, action)), "held_out_loss": best, "epochs": float(best_epoch)}


def _copy(module: torch.nn.Module) -> dict[str, Any]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def _follow(policy: Any) -> None:
    """Target networks begin where what they follow is: TD3's and DDPG's actor, DQN's and QRDQN's values."""
    for name in ("actor", "q_net", "quantile_net"):
        if (target := getattr(policy, f"{name}_target", None)) is not None:
            target.load_state_dict(getattr(policy, name).state_dict())


def normalize_like(normalize: VecNormalize, demonstrations: Demonstrations) -> None:
    """Give a ``VecNormalize`` that has seen nothing the statistics of the demonstrated observations, for good."""
    rms: Any = normalize.obs_rms if normalize.norm_obs else None
    if rms is not None and rms.count < 1:
        rms.update(demonstrations.transitions().obs.numpy().astype(np.float64))
        rms.var = np.maximum(rms.var, 1e-4)  # a number that hardly varies there would put every other state at the clip
        normalize.training = False


def _fitted(model: BaseAlgorithm, demonstrations: Demonstrations) -> Demonstrations:
    demonstrations, _ = demonstrations.fitted(model.observation_space, model.action_space)
    if "Lstm" in type(model.policy).__name__ or "Recurrent" in type(model.policy).__name__:
        raise ValueError(f"{type(model).__name__} has a memory, which single pairs can't teach; clone into PPO instead")
    return demonstrations


def _pairs(model: BaseAlgorithm, demonstrations: Demonstrations, normalize: VecNormalize | None) -> tuple[Tensor, Tensor]:
    """Observations as the policy sees them, and actions in the units of its loss."""
    space = model.action_space
    pairs = demonstrations.transitions()
    obs = pairs.obs if normalize is None else torch.as_tensor(normalize.normalize_obs(pairs.obs.numpy()), dtype=torch.float32)
    action = pairs.action
    if isinstance(space, spaces.Discrete):
        action = action - int(space.start)
    elif isinstance(model, OffPolicyAlgorithm):
        action = torch.as_tensor(model.policy.scale_action(action.numpy()), dtype=torch.float32)
    return obs.to(model.device), action.to(model.device)


def _objective(model: Any) -> tuple[Callable[[Tensor, Tensor], Tensor], torch.nn.Module]:
    """The loss of a batch, and the module whose parameters it is a function of."""
    policy = model.policy
    if hasattr(policy, "evaluate_actions"):  # also sb3-contrib's, which are no ActorCriticPolicy of SB3
        return lambda obs, action: -policy.evaluate_actions(obs, action)[1].mean(), policy
    if hasattr(policy, "actor"):
        mean = {"deterministic": True} if hasattr(policy.actor, "get_action_dist_params") else {}
        return lambda obs, action: F.mse_loss(policy.actor(obs, **mean), action), policy.actor
    net = policy.quantile_net if hasattr(policy, "quantile_net") else policy.q_net
    return lambda obs, action: F.cross_entropy(_values(net(obs)), action.reshape(-1)), net


def _values(values: Tensor) -> Tensor:
    return values.mean(dim=1) if values.ndim == 3 else values
