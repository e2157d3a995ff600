"""What enters a run beside its learner: the reward, the exploration noise, the critic's warm-up, and whatever another role brings.

A socket is one function from a :class:`Setting` to a :class:`Plug`, or to ``None`` where the run has no use for it. A role names its
function in :mod:`genrl.roles` (``Role.plug``), and :func:`plugs` calls those of a run in order; nothing else in this package knows which
sockets there are.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from genrl.data import DemonstrationError
from genrl.errors import RunError, command, one_line
from genrl.policies import CriticWarmUp, DemonstratedStarts, HeldNoise, Mixing, PinkNoise, PolicyAverage
from genrl.rewards import RewardCallback
from genrl.roles import ROLES, attribute
from genrl.runs.config.dream import DreamConfig
from genrl.runs.config.imitate import ImitateConfig
from genrl.runs.config.run import RunConfig
from genrl.runs.imitation.demonstrations import Loaded
from genrl.sb3.observations import seen_by_learner

__all__ = ["AVERAGE", "Plug", "Setting", "learns_from_demonstrations", "plugs"]


AVERAGE = "average"
"""Name of the plug that averages policies."""


@dataclass(frozen=True)
class Setting:
    """What is known of a run before its environments and its learner are built."""

    config: RunConfig
    """Resolved: every hyperparameter has its value."""
    classes: Mapping[str, type[Any]]
    """The class of each part by role, without the roles that are empty."""
    env: gymnasium.Env[Any, Any]
    """One environment as the learner will see it: ``task`` behind the run's encoder or stack of frames."""
    observation_space: spaces.Space[Any]
    """What the learner will see, after the sockets before this one."""
    action_space: spaces.Space[Any]
    loaded: Loaded | None
    """The demonstrations of an imitation, in the observations of ``env``."""
    task: gymnasium.Env[Any, Any]
    """The same environment as it was made, without encoder or stack."""
    recorded: Loaded | None
    """The demonstrations as they were recorded on ``task``, before any encoder."""


class HasState(Protocol):
    """What a checkpoint can hold."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class Plug:
    """What one socket brings into a run."""

    name: str
    """Its key in a checkpoint."""
    callbacks: Sequence[BaseCallback] = ()
    """What ``learn`` is given, in the order of the sockets."""
    state: HasState | None = None
    """What must be kept so that a resumed run goes on exactly."""
    wrap: Callable[[VecEnv], VecEnv] | None = None
    """Puts a wrapper around the environments, inside the running normalisation."""
    wrap_each: Callable[[gymnasium.Env[Any, Any]], gymnasium.Env[Any, Any]] | None = None
    """Puts a wrapper around every single environment, next to the task; it must pickle, for processes of their own."""
    task: Callable[[], VecEnv] | None = None
    """Makes what takes the place of the environments."""
    observation_space: spaces.Space[Any] | None = None
    """What comes out of the wrapper, if it changes observations."""
    check: Callable[[BaseAlgorithm], None] | None = None
    """Raises a ValueError for a learner that does not fit, before anything is trained."""
    files: Callable[[], Mapping[str, Mapping[str, Any] | None]] = dict
    """States that the run directory keeps beside the checkpoint, by file name, for use without genrl's resume; ``None`` takes away what a
    shorter run has left."""
    words: Callable[[], str] = str
    """A few words for the line of progress."""


def plugs(setting: Setting) -> list[Plug]:
    """What every socket brings into this run, each built on what those before it leave of the observations.

    Raises:
        RunError: parts that don't go together.
    """
    roles = [attribute(role.plug) for name, role in ROLES.items() if role.plug and name in setting.config.roles]
    found = []
    for socket in (exploration_noise, critic_warm_up, starts, mixing, averaging, *roles):
        plug = socket(setting)
        if plug is not None:
            found.append(plug)
            setting = replace(setting, observation_space=plug.observation_space or setting.observation_space)
    return found


def exploration_noise(setting: Setting) -> Plug | None:
    """Noise that is correlated over time, in place of the learner's own."""
    config = setting.config
    if config.noise == "own":
        return None
    pink = config.noise == "pink"
    noise = PinkNoise(std=config.noise_std) if pink else HeldNoise(int(config.noise.removeprefix("held-")), config.noise_std)
    return Plug("noise", [noise], noise, check=noise.check)


def critic_warm_up(setting: Setting) -> Plug | None:
    """Steps in which only the critic of a cloned policy learns."""
    config = setting.config
    if not isinstance(config, ImitateConfig) or not config.critic_warmup:
        return None
    return Plug("warm-up", [CriticWarmUp(config.critic_warmup)], check=CriticWarmUp.check)


def starts(setting: Setting) -> Plug | None:
    """Episodes that begin where a demonstration was."""
    config = setting.config
    if not isinstance(config, ImitateConfig) or not config.demonstrated_starts or setting.recorded is None:
        return None
    demonstrations = setting.recorded.demonstrations  # it is put next to the task, beneath what makes codes of images
    ways: list[Any] = [demonstrations.transitions(successors=False).obs.numpy()]
    if all(episode.seed is not None and episode.ordered for episode in demonstrations.episodes):
        # what is hidden decides what a task pays; to be put at an observation is faster
        ways.insert(0 if config.extrinsic_weight else 1, demonstrations.episodes)
    refused = []
    for demonstrated in ways:
        wrap = partial(DemonstratedStarts, demonstrated=demonstrated, share=config.demonstrated_starts)
        try:
            begun = wrap(setting.task)
            begun.reset(seed=config.seed)
            begun.check()
            return Plug("starts", wrap_each=wrap)
        except ValueError as error:
            refused.append(error)
    raise RunError(f"--demonstrated-starts: {refused[0]}") from refused[0]


def mixing(setting: Setting) -> Plug | None:
    """Demonstrations that take the place of a share of each batch."""
    config = setting.config
    if setting.loaded is None or not _expert_fraction(config):
        return None
    demonstrations = setting.loaded.demonstrations
    if config.steps and demonstrations.metadata.get("disturb"):  # cloning alone has no critic
        warnings.warn(
            f"{demonstrations.source} has the actions that a policy meant, not those that its task executed, and the critic learns what "
            "came of others; type --expert-fraction 0, or record without --disturb",
            stacklevel=2,
        )
    if config.steps:
        try:
            demonstrations.transitions()
        except DemonstrationError as error:  # as Mixing would, but before the policy is cloned
            raise RunError(str(error)) from error
    if not all(episode.has_rewards for episode in demonstrations.episodes):
        if config.extrinsic_weight:
            asked = f"--extrinsic-weight {config.extrinsic_weight} needs; leave it out"
            asked = asked if "reward" in setting.classes else "--reward none needs; type --reward gail"
            raise RunError(f"{demonstrations.source} has no rewards, which {asked}, or type --expert-fraction 0")
        demonstrations = demonstrations.paid(0.0)  # which count for nothing
    callback = Mixing(demonstrations, _expert_fraction(config), seed=config.seed)
    return Plug("mixing", [callback], callback, check=Mixing.check)


def averaging(setting: Setting) -> Plug | None:
    """The mean of the last policies."""
    config = setting.config
    if not isinstance(config, ImitateConfig) or not config.average:
        return None
    average = PolicyAverage(since=int((1 - config.average) * (config.steps or 0)))
    return Plug(AVERAGE, [average], average, files=lambda: {"average.safetensors": {"policy": average.mean} if average.count else None})


def _expert_fraction(config: RunConfig) -> float:
    return (config.expert_fraction or 0.0) if isinstance(config, ImitateConfig) else 0.0


def reward(setting: Setting) -> Plug | None:
    """The model that scores transitions, by its callback."""
    config, cls = setting.config, setting.classes.get("reward")
    if cls is None:
        return None
    if cls.needs_expert_batches and not _expert_fraction(config):
        raise RunError(
            f"{cls.__name__} needs demonstrations in the batches of an off-policy learner; "
            f"type: {command('imitate', '--reward', config.reward, '--demos', 'FILE', '--learner', 'sac', '--expert-fraction', 0.5)}"
        )
    _check_lent(config, cls)
    try:
        callback = RewardCallback(
            cls(
                observation_space=seen_by_learner(setting.observation_space),
                action_space=setting.action_space,
                **_reward_kwargs(setting, cls),
            ),
            config.weight,
            config.extrinsic_weight,
            update_every=config.update_every,
            memory_size=config.memory_size,
            seed=config.seed,
            half_life=config.weight_half_life,
        )
    except RunError:
        raise
    except (ValueError, TypeError) as error:
        if not config.steps:  # cloning alone asks no reward
            return None
        raise RunError(f"--reward {config.reward} on {config.env}: {one_line(error)}") from error
    return Plug(
        "reward",
        [callback],
        callback,
        files=lambda: {"reward.safetensors": callback.reward.state_dict()},
        words=lambda: _bonus(callback.last_bonus),
        check=callback.check if config.steps else None,  # cloning alone asks no reward
    )


def _check_lent(config: RunConfig, cls: type[Any]) -> None:
    """Refuse a reward that can't pay the transitions that come into a learner's batches without their episodes.

    Raises:
        RunError: it is one, and there are such transitions.
    """
    imagined = isinstance(config, DreamConfig) and not ROLES["world"].is_empty(config.world)
    demonstrated = bool(_expert_fraction(config))
    if (imagined and not cls.pays_lent(False)) or (demonstrated and not cls.pays_lent(True)):
        kind, cure = ("imagined", "--world none") if imagined else ("demonstrated", "--expert-fraction 0")
        raise RunError(
            f"--reward {config.reward} pays a step by those before it in its episode, and would pay each {kind} transition as an episode's "
            f"first; type --reward rnd, or leave them out by {cure}"
        )


def _bonus(newest: np.ndarray) -> str:
    """The mean of the newest transitions; a reward that scores before it learns gives the first ones none."""
    if not newest.size:
        return ""
    return f"bonus {newest.mean():.3g}" if newest.any() else "no bonus yet"


def learns_from_demonstrations(reward: type[Any]) -> bool:
    """Whether a reward is made with demonstrations, which a run without them does not have."""
    return "demonstrations" in inspect.signature(reward.__init__).parameters


def _reward_kwargs(setting: Setting, cls: type[Any]) -> dict[str, Any]:
    """Keywords of the configuration, with what only the run knows: its seed and its demonstrations."""
    config, names = setting.config, inspect.signature(cls.__init__).parameters
    kwargs = dict(config.reward_kwargs) | ({"seed": config.seed} if "seed" in names else {})
    if not learns_from_demonstrations(cls):
        return kwargs
    if setting.loaded is None:
        needed = command("imitate", "--reward", config.reward, "--env", config.env, "--demos", "FILE")
        raise RunError(f"--reward {config.reward} learns from demonstrations; type: {needed}")
    kwargs["demonstrations"] = setting.loaded.demonstrations
    return kwargs | ({"held_out": setting.loaded.held_out} if "held_out" in names else {})
