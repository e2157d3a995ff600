"""The parts of a run, built from its configuration and from nothing else."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import gymnasium
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from genrl.errors import RunError, one_line
from genrl.roles import LEARNERS, ROLES
from genrl.runs.config.base import check_device
from genrl.runs.config.hyperparameters import hyperparameters, resolve_kwargs
from genrl.runs.config.imitate import ImitateConfig
from genrl.runs.config.run import RunConfig, is_off_policy
from genrl.runs.environments.make import can_be_normalized, check_observations, coverage_names, getattr_or, make_env, make_vec_env
from genrl.runs.imitation.demonstrations import Loaded, load
from genrl.runs.imitation.reward_form import with_suitable_reward
from genrl.runs.session import Session
from genrl.runs.sockets import Plug, Setting, plugs
from genrl.runs.vision import Eyes, open_eyes
from genrl.sb3.actions import refuse_spaces
from genrl.sb3.learner import close, constructor_kwargs
from genrl.sb3.predict import draws_actions
from genrl.spaces import brief, is_image

__all__ = ["build", "resolve", "warn_of_idleness"]


def resolve(config: RunConfig) -> tuple[RunConfig, dict[str, type[Any]]]:
    """``config`` with every hyperparameter of its parts, and the class of each part by role, without the roles that are empty.

    Raises:
        RunError: a name that no part has, or a keyword that the part does not take.
    """
    off_policy = is_off_policy(config.learner)
    found: dict[str, type[Any]] = {}
    resolved: dict[str, dict[str, Any]] = {}
    for role in (ROLES[name] for name in config.roles):
        name, given = getattr(config, role.name), getattr(config, f"{role.name}_kwargs")
        part, cls = role.find(name), role.load(name)
        if cls is None and given:
            raise RunError(f"--{role.name}.{next(iter(given))} was given, but --{role.name} is none; name a {role.name}")
        if cls is not None:
            default = part.defaults_of(config.kind(getattr(config, "demos", None)), off_policy) if part is not None else {}
            found[role.name], resolved[role.name] = cls, resolve_kwargs(cls, {**default, **given}, role.name)
    if "reward" in found:
        own, discount = hyperparameters(found["reward"]).get("gamma"), resolved["learner"].get("gamma")
        if own is not None and discount is not None and "gamma" not in config.reward_kwargs:
            resolved["reward"]["gamma"] = discount  # one discount, unless another one is asked for
    kwargs: dict[str, Any] = {f"{role}_kwargs": resolved.get(role, {}) for role in config.roles}
    return replace(config, **kwargs), found


def build(config: RunConfig) -> Session:
    """The parts of ``config``, or one sentence why they can't be built.

    Raises:
        RunError: names, keywords or spaces that don't go together.
    """
    given = config.reward_kwargs
    config, classes = resolve(config)
    check_device(config.device)
    eyes = open_eyes(config)
    probe = make_env(config.env, config.env_kwargs)
    try:
        parts = _parts(config, classes, given, eyes, probe)
    finally:
        probe.close()
    env = _environments(parts.config, parts.plugs)
    try:
        learner = _learner(parts.config, classes["learner"], env, eyes)
        for plug in parts.plugs:
            _check(plug, learner)
    except BaseException:
        close(env)
        raise
    names, observation_names = parts.coverage_names, parts.observation_names
    return Session(parts.config, env, learner, parts.plugs, eyes, names, observation_names, parts.loaded, parts.choice)


class _Parts(NamedTuple):
    """What is decided by a look at one environment; the fields are those of :class:`Session`."""

    config: RunConfig
    plugs: list[Plug]
    coverage_names: tuple[str, ...]
    observation_names: tuple[str, ...]
    loaded: Loaded | None
    choice: str


def _parts(
    config: RunConfig, classes: Mapping[str, type[Any]], given: Mapping[str, Any], eyes: Eyes, probe: gymnasium.Env[Any, Any]
) -> _Parts:
    """The parts beside the learner.

    Args:
        config: resolved.
        classes: class of each part by role.
        given: keywords of the reward that were asked for.
        eyes: how the learner sees images.
        probe: one environment of the task.
    """
    check_observations(config.env, probe.observation_space)
    seen = eyes.wrap_one(probe)
    if isinstance(config, ImitateConfig) and not can_be_normalized(seen.observation_space):
        config = replace(config, normalize_obs=False)
    eyes.look_first(probe)
    names = coverage_names(probe if config.coverage is None else seen, config.coverage)  # an index counts what the learner sees
    observation_names = () if config.observes_codes else tuple(getattr_or(probe, "observation_names", ()))
    _check_masks(config, probe)
    recorded, loaded, choice = None, None, ""
    if isinstance(config, ImitateConfig):
        recorded = load(config, probe.observation_space, probe.action_space, getattr(probe.spec, "max_episode_steps", None))
        config, choice = with_suitable_reward(config, classes, given, recorded.demonstrations, probe)
        loaded = eyes.demonstrations(recorded, probe)
    setting = Setting(config, classes, seen, seen.observation_space, seen.action_space, loaded, probe, recorded)
    brought = [*eyes.plugs, *plugs(setting)]
    if config.policy == "auto":
        spaces_seen = (plug.observation_space for plug in reversed(brought) if plug.observation_space is not None)
        config = replace(config, policy=_policy(classes["learner"], next(spaces_seen, seen.observation_space), config.finetune))
    return _Parts(config, brought, names, observation_names, loaded, choice)


def _environments(config: RunConfig, brought: Sequence[Plug]) -> VecEnv:
    """The environments of a run, with what the sockets put around or in place of them."""
    task = next((plug.task for plug in brought if plug.task is not None), None)
    each = [plug.wrap_each for plug in brought if plug.wrap_each is not None]
    return make_vec_env(config, [plug.wrap for plug in brought if plug.wrap is not None], task, each)


def warn_of_idleness(session: Session) -> None:
    """Tell of a run that is over before its learner has learned for the first time, and of a learner that explores by nothing."""
    config, learner = session.config, session.learner  # resolved: every hyperparameter has its value
    if not is_off_policy(config.learner) or not config.steps:
        return
    begin = config.learner_kwargs.get("learning_starts", 0)
    if config.steps <= begin:  # off_policy_algorithm.py, learn: it trains at later steps alone
        warnings.warn(
            f"--learner.learning-starts is {begin}, but --steps is {config.steps}, so {config.learner} learns nothing; "
            f"type --learner.learning-starts {config.steps // 10}, or more --steps",
            stacklevel=2,
        )
    elif config.noise == "own" and not draws_actions(learner) and config.learner_kwargs.get("action_noise") is None:
        warnings.warn(
            f"{config.learner} draws no noise of its own, so after {begin:,} random steps it explores by nothing; "
            "type --learner.action-noise 0.1, as in the paper on TD3, or --noise pink",
            stacklevel=2,
        )


def _policy(learner: type[Any], space: spaces.Space[Any], finetuned: bool) -> str:
    kind = "MultiInput" if isinstance(space, spaces.Dict) else "Cnn" if is_image(space) else "Mlp"
    aliases = getattr(learner, "policy_aliases", {})
    names = [f"{kind}Policy", f"{kind}LstmPolicy", *(["MlpPolicy"] if finetuned else [])]  # an encoder's features need no CNN
    return next((name for name in names if name in aliases), f"{kind}Policy")


def _check_masks(config: RunConfig, env: Any) -> None:
    part = LEARNERS.find(config.learner)
    if part is not None and "an action mask" in part.needs and not env.has_wrapper_attr("action_masks"):
        raise RunError(f"MaskablePPO needs a task with a method action_masks(), which {config.env} has not; use --learner ppo")


def _learner(config: RunConfig, cls: type[BaseAlgorithm], env: VecEnv, eyes: Eyes) -> BaseAlgorithm:
    kwargs = constructor_kwargs(config.learner_kwargs, env.action_space)
    if own := eyes.policy_kwargs():
        kwargs["policy_kwargs"] = kwargs.get("policy_kwargs", {}) | own
    names = inspect.signature(cls.__init__).parameters
    kwargs |= {name: value for name, value in {"seed": config.seed, "device": config.device}.items() if name in names}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="You have specified a mini-batch size", category=UserWarning)
            learner: BaseAlgorithm = cls(config.policy, env, **kwargs)
    except (AssertionError, ValueError, TypeError, NotImplementedError, RuntimeError, MemoryError, OverflowError) as error:
        raise RunError(_why_not(config, cls, env, error)) from error
    try:
        refuse_spaces(learner)
    except ValueError as error:
        raise RunError(str(error)) from error
    return learner


def _why_not(config: RunConfig, cls: type[BaseAlgorithm], env: VecEnv, error: Exception) -> str:
    """What to type where a learner can't be built."""
    said = one_line(error)
    if isinstance(error, AssertionError) and "action spaces" in said:  # common/base_class.py, __init__
        kind = type(env.action_space).__name__
        *fits, last = [part.name for part in LEARNERS.parts if kind in part.actions and not part.needs]
        return f"{cls.__name__} can't take the actions of {config.env}, {env.action_space}; use --learner {', '.join(fits)} or {last}"
    if "Kernel size can't be greater" in said:  # torch_layers.py, NatureCNN: three convolutions without padding, of 8, 4 and 3 pixels
        return (
            f"the convolutions of {cls.__name__}'s own {config.policy} need images of at least 36 pixels a side, but {config.env} gives "
            f"{brief(env.observation_space)}; see them as codes, by --encoder RUN, or make them larger, such as by --env.size 64"
        )
    if said == "Policy CnnPolicy unknown":  # common/base_class.py, _get_policy_from_name: CrossQ has no policy for images
        return f"{cls.__name__} has no CnnPolicy to look at images with; let it see codes, by --encoder RUN, or use --learner sac"
    return f"{cls.__name__} can't be built for {config.env}: {said}"


def _check(plug: Plug, learner: BaseAlgorithm) -> None:
    try:
        if plug.check is not None:
            plug.check(learner)
    except ValueError as error:
        raise RunError(str(error)) from error
