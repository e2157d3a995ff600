"""Behaviour cloning into the policy of any learner."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecNormalize, unwrap_vec_normalize
from torch import Tensor
from torch.nn import functional as F

from genrl.data import Demonstrations
from genrl.data.demonstrations import check_demonstrations
from genrl.errors import callers_line, positive, require
from genrl.models.nn import gradient_step, minibatches, trainable
from genrl.policies._left_as_found import left_as_found
from genrl.sb3.actions import refuse_spaces, to_environment, to_policy
from genrl.transitions import lost_differences

__all__ = ["check_cloning", "clone", "normalize_like"]

SETTLED = 2.0**200
"""A number of observations so large that no later one moves their mean and variance (float64 has 53 bits)."""


def clone(
    model: BaseAlgorithm,
    demonstrations: Demonstrations,
    *,
    epochs: int = 100,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    held_out: float = 0.3,
    patience: int = 10,
    any_task: bool = False,
    seed: int = 0,
) -> dict[str, float]:
    r"""Fit a learner's policy to demonstrated actions: a baseline, and a warm start for what it learns next.

    .. math:: \min_\theta \; -\mathbb{E}_E[\log \pi_\theta(a \mid s)]

    for policies with a density (PPO, A2C, TRPO, MaskablePPO), :math:`\lVert \mu_\theta(s) - a \rVert^2` for the mean action of SAC, TQC,
    TD3, DDPG and CrossQ, and the cross entropy of the action values for DQN and QRDQN. The fit stops when the held-out loss has not
    improved for ``patience`` epochs, and the best parameters are kept.

    Only the policy changes, and target networks that follow it. The learner's own optimiser keeps its state; so do the modes, gradients
    and ``requires_grad`` of all networks, and every generator. A ``VecNormalize`` of the learner that has seen nothing takes the
    demonstrations' statistics of observations and keeps them from then on, because the policy knows no others; rewards go on being
    normalised as before.

    Args:
        model: the learner; its policy changes in place.
        demonstrations: demonstrations of its task.
        epochs: most passes over the training part.
        batch_size: pairs per gradient step; 128 in the GAIL paper.
        learning_rate: step size of Adam; 1e-3 in the GAIL paper.
        held_out: share of the pairs that decides when to stop, in (0, 1); 0.3 in the GAIL paper.
        patience: epochs without improvement after which the fit stops.
        any_task: take demonstrations that were recorded on another task of the same sizes, such as another version.
        seed: seed of the split and of the shuffles.

    Returns:
        ``loss`` on the training part and ``held_out_loss``, both of the parameters that are kept, and ``epochs``, the epoch they are from.

    Raises:
        ValueError: the demonstrations are of another task or of other sizes; the policy is recurrent, or has no part that can be fitted;
            the learner can't execute the task's actions as they are named (a ``Discrete`` that starts at 1); a number out of its range.
        FloatingPointError: the loss is not finite.

    References:
        Pomerleau, "Efficient Training of Artificial Neural Networks for Autonomous Navigation", 1991.

    Example:
        >>> from stable_baselines3 import PPO
        >>> from genrl.data import Episode
        >>> from genrl.policies import clone
        >>> obs, last = np.random.default_rng(0).normal(size=(101, 3)), np.arange(100) == 99
        >>> pushes = Episode(obs, np.full((100, 1), 1.5), np.zeros(100), last & False, last)  # an expert that always does the same
        >>> model = PPO("MlpPolicy", "Pendulum-v1")
        >>> fit = clone(model, Demonstrations.from_episodes([pushes]), epochs=60, learning_rate=1e-2)
        >>> sorted(fit)
        ['epochs', 'held_out_loss', 'loss']
        >>> bool(model.predict(obs[0], deterministic=True)[0] > 1.0)
        True
    """
    check_demonstrations(clone, demonstrations)
    check_cloning(model, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, held_out=held_out, patience=patience)
    demonstrations, _ = demonstrations.fitted(model.observation_space, model.action_space)
    if not any_task:
        demonstrations.check_task(_env_id(model))
    train, rest = demonstrations.split(held_out, seed)
    normalize = unwrap_vec_normalize(model.env) if model.env is not None else None
    if normalize is not None:
        normalize_like(normalize, demonstrations)
    (obs, action), others = (_pairs(model, part, normalize) for part in (train, rest))
    loss_of, module = _objective(model)
    optimizer = torch.optim.Adam(trainable(module), learning_rate)
    generator = torch.Generator().manual_seed(seed)

    def learn() -> None:
        model.policy.set_training_mode(True)
        for index in minibatches(len(obs), batch_size, 1, generator):
            gradient_step(optimizer, loss_of(obs[index], action[index]))
        model.policy.set_training_mode(False)

    @torch.no_grad()
    def measure() -> float:
        return float(loss_of(*others))

    with left_as_found(model):
        best, best_epoch = _best(module, learn, measure, epochs, patience)
        with torch.no_grad():
            loss = float(loss_of(obs, action))
        _warn_of_a_miss(model, obs, to_environment(model, action.cpu().numpy()))
    _follow(model.policy)
    return {"loss": loss, "held_out_loss": best, "epochs": float(best_epoch)}


def check_cloning(model: BaseAlgorithm, **numbers: float) -> None:
    """Refuse a learner that can't be cloned into, and numbers out of their ranges.

    Args:
        model: the learner.
        numbers: keywords of :func:`clone`, by their names.

    Raises:
        ValueError: see :func:`clone`.
    """
    refuse_spaces(model)
    learner, policy = type(model).__name__, type(model.policy).__name__
    if "Lstm" in policy or "Recurrent" in policy:
        raise ValueError(f"{learner} has a memory, which single pairs can't teach; clone into PPO instead")
    if not any(hasattr(model.policy, name) for name in ("evaluate_actions", "actor", "q_net", "quantile_net")):
        raise ValueError(f"{learner} has no policy that a gradient could fit; clone into PPO, SAC, DQN or another learner that has one")
    held_out = numbers.pop("held_out")
    require(clone, *positive(**numbers), ("held_out", held_out, 0 < held_out < 1, "a share in (0, 1)"))


def normalize_like(normalize: VecNormalize, demonstrations: Demonstrations) -> None:
    """Give a ``VecNormalize`` that has seen nothing the statistics of the demonstrated observations, for good.

    Example:
        >>> from stable_baselines3.common.env_util import make_vec_env
        >>> from genrl.data import Episode
        >>> from genrl.policies import normalize_like
        >>> last = np.arange(8) == 7
        >>> demos = Demonstrations.from_episodes([Episode(np.full((9, 3), 0.5), np.zeros((8, 1)), np.zeros(8), last & False, last)])
        >>> env = VecNormalize(make_vec_env("Pendulum-v1"))
        >>> normalize_like(env, demos)
        >>> env.obs_rms.mean.tolist()
        [0.5, 0.5, 0.5]
    """
    check_demonstrations(normalize_like, demonstrations)
    rms: Any = normalize.obs_rms if normalize.norm_obs else None
    if rms is not None and rms.count < 1:
        obs = demonstrations.transitions(successors=False).obs.numpy().astype(np.float64)
        # Not `update`: a part in a million of where it starts, at 0, would stay, which is thousands of seconds of a time stamp.
        rms.mean = obs.mean(axis=0)
        rms.var = np.maximum(obs.var(axis=0), 1e-4)  # a number that hardly varies there would put every other state at the clip
        rms.count = SETTLED


def _best(
    module: torch.nn.Module, learn: Callable[[], None], measure: Callable[[], float], epochs: int, patience: int
) -> tuple[float, int]:
    """Leave the parameters of the epoch with the least loss in ``module``, and after an error those of before; the loss and the epoch."""
    best, best_epoch, epoch = math.inf, 0, 0
    before = kept = _copy(module)
    try:
        while epoch < min(epochs, best_epoch + patience):
            epoch += 1
            learn()
            if not math.isfinite(loss := measure()):
                raise FloatingPointError(f"the loss of cloning is {loss} after epoch {epoch}; lower learning_rate")
            if loss < best:
                best, best_epoch, kept = loss, epoch, _copy(module)
    except BaseException:
        kept = before
        raise
    finally:
        module.load_state_dict(kept)
    return best, best_epoch


def _copy(module: torch.nn.Module) -> dict[str, Any]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def _follow(policy: Any) -> None:
    """Target networks begin where what they follow is: TD3's and DDPG's actor, DQN's and QRDQN's values, the features that a critic shares
    with its actor."""
    for name in ("actor", "q_net", "quantile_net"):
        if (target := getattr(policy, f"{name}_target", None)) is not None:
            target.load_state_dict(getattr(policy, name).state_dict())
    if getattr(policy, "share_features_extractor", False) and (target := getattr(policy, "critic_target", None)) is not None:
        target.features_extractor.load_state_dict(policy.critic.features_extractor.state_dict())


def _env_id(model: BaseAlgorithm) -> str | None:
    """Id of the learner's task, where its environments are in this process and know it."""
    envs = getattr(model.env.unwrapped, "envs", []) if model.env is not None else []
    spec = envs[0].spec if envs else None
    return spec.id if spec is not None else None


def _pairs(model: BaseAlgorithm, demonstrations: Demonstrations, normalize: VecNormalize | None) -> tuple[Tensor, Tensor]:
    """Observations as the policy sees them, and actions as it outputs them."""
    space, pairs = model.action_space, demonstrations.transitions(successors=False)
    obs: Any = pairs.obs.numpy()
    if normalize is not None:
        obs = normalize.normalize_obs(obs)
    elif isinstance(model.observation_space, spaces.Box) and (lost := lost_differences(obs)):
        learner = type(model).__name__
        warnings.warn(
            f"{learner} reads observations as float32: {lost}; put VecNormalize around the environments", stacklevel=callers_line()
        )
    action = torch.as_tensor(to_policy(model, pairs.action.numpy())).to(model.device)
    if isinstance(space, spaces.Discrete):
        action = action.reshape(-1)
    elif not isinstance(space, spaces.MultiDiscrete):
        action = action.float()
    return torch.as_tensor(obs).float().to(model.device), action


def _warn_of_a_miss(model: BaseAlgorithm, obs: Tensor, right: np.ndarray) -> None:
    """Tell of a fit that ended before the policy came near the demonstrated actions, as in a Box that is wide beside the steps of Adam."""
    space = model.action_space
    if not isinstance(space, spaces.Box):
        return
    done = model.policy.predict(obs.cpu().numpy(), deterministic=True)[0].astype(np.float64)
    miss = np.sqrt(np.square(done - right).mean(axis=0))
    if (miss > right.std(axis=0, dtype=np.float64) + 0.02 * (space.high - space.low)).any():
        warnings.warn(
            f"{type(model).__name__} is {miss.max():.3g} away from the demonstrated actions, further than their mean is; give clone more "
            "epochs or a larger learning_rate (genrl imitate: --clone EPOCHS), or the environment "
            "gymnasium.wrappers.RescaleAction(env, -1, 1)",
            stacklevel=callers_line(),
        )


def _objective(model: Any) -> tuple[Callable[[Tensor, Tensor], Tensor], torch.nn.Module]:
    """The loss of a batch, and the module whose parameters it is a function of."""
    policy = model.policy
    if hasattr(policy, "evaluate_actions"):  # also sb3-contrib's, which are no ActorCriticPolicy of SB3
        return lambda obs, action: -policy.evaluate_actions(obs, action)[1].mean(), policy
    if hasattr(policy, "actor"):
        mean = {"deterministic": True} if hasattr(policy.actor, "get_action_dist_params") else {}
        return lambda obs, action: F.mse_loss(policy.actor(obs, **mean), action), policy.actor
    net = policy.quantile_net if hasattr(policy, "quantile_net") else policy.q_net
    return lambda obs, action: F.cross_entropy(_values(net(obs)), action), net


def _values(values: Tensor) -> Tensor:
    return values.mean(dim=1) if values.ndim == 3 else values
