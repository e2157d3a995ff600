"""The environments of a run, made and checked before anything is trained."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import genrl_envs  # noqa: F401  (registers the tasks, also in the process of an environment)
import gymnasium
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecNormalize

from genrl.errors import RunError, did_you_mean, one_line
from genrl.roles import import_module_of_user
from genrl.runs.config.run import RunConfig, is_off_policy
from genrl.runs.environments.detached import Detached
from genrl.runs.environments.image_checks import with_checked_images
from genrl.runs.environments.rewind import Rewindable
from genrl.runs.environments.step_limit import marks_path, share_marks, watched
from genrl.sb3.observations import channels_first
from genrl.spaces import brief, is_image, leaves

__all__ = [
    "MakeEnv",
    "can_be_normalized",
    "check_observations",
    "column",
    "coverage_names",
    "getattr_or",
    "make_env",
    "make_vec_env",
    "shows_image",
]


EXTRAS = {"gymnasium_robotics": "mazes", "minigrid": "grids", "vizdoom": "doom"}
"""Extras of this package that bring a module of tasks."""


def make_env(env_id: str, env_kwargs: Mapping[str, Any], number: int | None = None, **render: Any) -> gymnasium.Env[Any, Any]:
    """``gymnasium.make`` whose refusals are one sentence, under the limit of steps in force; ``number`` tells it from those beside it.

    Raises:
        RunError: no such task, a module that can't be imported, or keywords that the task refuses.
    """
    module, _, name = env_id.rpartition(":")
    if module:
        try:
            import_module_of_user(module)
        except ImportError as error:
            bringing = EXTRAS.get(module.partition(".")[0])
            advice = f"type: pip install 'genrl-toolkit[{bringing}]'" if bringing else "run genrl from the folder that holds it"
            raise RunError(f"the module of --env {env_id} could not be imported ({error}); {advice}") from error
    if name not in gymnasium.registry:
        latest = {re.sub(r"-v\d+$", "", known): known for known in gymnasium.registry}
        close = did_you_mean(name, gymnasium.registry) or did_you_mean(name.split("/")[-1], latest.values())
        listing = (
            f"; type --env genrl/MiniGrid-v0 --env.grid {name}"
            if name.startswith("MiniGrid-")
            else "; `genrl list tasks` has those of genrl, and my_module:Id imports the module that registers one of your own"
        )
        raise RunError(f"there is no task {name!r}{close or listing}")
    _hear_mujoco_once()
    try:
        return with_checked_images(watched(gymnasium.make(name, **env_kwargs, **render), number))
    except gymnasium.error.DependencyNotInstalled as error:
        extra = re.search(r"gymnasium\[([\w-]+)\]", str(error))  # its own advice also asks for compilers that wheels do not need
        advice = f"type: pip install 'gymnasium[{extra[1]}]'" if extra else one_line(error)
        raise RunError(f"{name} needs a package that is not installed; {advice}") from error
    except Exception as error:  # whatever a task's constructor refuses
        given = " ".join(f"--env.{key} {value}" for key, value in env_kwargs.items())
        said = one_line(error).split(" was raised from")[0]  # which gymnasium.make adds (gymnasium/envs/registration.py)
        raise RunError(f"{name} could not be made{f' with {given}' if given else ''}: {said}") from error


def _hear_mujoco_once() -> None:
    """Turn MuJoCo's warnings into Python's, which come once: MuJoCo repeats them for each environment, and writes a MUJOCO_LOG.TXT.

    A deprecated attribute in an XML of Gymnasium is left out: a user of genrl can do nothing about it.
    """
    try:
        import mujoco
    except ImportError:  # a task without it
        return

    def hear(message: str) -> None:
        if "is deprecated" not in message:
            warnings.warn(f"MuJoCo: {message.strip()}", stacklevel=1)

    mujoco.set_mju_user_warning(hear)


@dataclass(frozen=True)
class MakeEnv:
    """Makes one environment, in any process: a task of genrl registers itself when this module is imported there."""

    env_id: str
    env_kwargs: Mapping[str, Any]
    own_process: bool = False
    """Whether it will live in a process of its own. A terminal sends Ctrl-C to every process; only the one that saves must obey."""
    frames: int = 1
    """Number of frames that its images have in their channels."""
    number: int = 0
    """Its number among the environments that are stepped together."""
    wraps: Sequence[Callable[[gymnasium.Env[Any, Any]], gymnasium.Env[Any, Any]]] = ()
    """Wrappers around the task itself, the innermost first."""
    marks: str | None = field(default_factory=marks_path)
    """Where its steps are watched."""

    def __call__(self) -> gymnasium.Env[Any, Any]:
        if self.own_process:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            threading.Thread(target=_end_with_parent, daemon=True).start()
            share_marks(self.marks)
        env = make_env(self.env_id, self.env_kwargs, self.number)
        for wrap in self.wraps:
            env = wrap(env)
        if self.frames > 1:
            from genrl.encoders import StackedFrames  # here: the process of most environments needs no encoder

            env = StackedFrames(env, self.frames)
        return Rewindable(Monitor(Detached(env)))


def _end_with_parent() -> None:
    """A step that hangs does not see that the run was killed."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def make_vec_env(
    config: RunConfig,
    wraps: Iterable[Callable[[VecEnv], VecEnv]] = (),
    task: Callable[[], VecEnv] | None = None,
    each: Sequence[Callable[[gymnasium.Env[Any, Any]], gymnasium.Env[Any, Any]]] = (),
) -> VecEnv:
    """The environments of a run, each in a Monitor (which keeps the raw return), then ``wraps``, then VecNormalize if asked for.

    Args:
        config: the run; VecNormalize scales rewards by returns over its learner's discount.
        wraps: wrappers around all environments together, the innermost first.
        task: makes what takes the place of the environments, as in an offline dream.
        each: wrappers around every single environment, inside its Monitor.

    Raises:
        RunError: observations that can't be normalised, though that was asked for, or that fail in Stable-Baselines3.
    """
    frames = 1 if config.observes_codes else config.frames
    makers: list[Callable[[], gymnasium.Env[Any, Any]]] = [
        MakeEnv(config.env, dict(config.env_kwargs), config.subproc, frames, number, each) for number in range(config.n_envs)
    ]
    env: VecEnv = task() if task is not None else SubprocVecEnv(makers) if config.subproc else DummyVecEnv(makers)
    try:
        for wrap in wraps:
            env = wrap(env)
        if config.normalize_obs and shows_image(env.observation_space):
            raise ValueError("it would normalise images; type --no-normalize-obs, or see them as codes, by --encoder")
        if config.normalize_obs and not can_be_normalized(env.observation_space):
            raise ValueError(f"there is no mean of {brief(env.observation_space)}; type --no-normalize-obs")
        _check_single_numbers(config, env.observation_space)
        if config.normalize_obs or config.normalize_reward:
            gamma = config.learner_kwargs.get("gamma", 0.99)
            env = channels_first(env)  # a learner would do so outside of the normalisation, beneath which raw observations are read
            return VecNormalize(env, norm_obs=config.normalize_obs, norm_reward=config.normalize_reward, gamma=gamma)
    except RunError:
        env.close()
        raise
    except ValueError as error:
        env.close()
        raise RunError(f"--normalize-obs can't take the observations of {config.env}: {one_line(error)}") from error
    return env


def _check_single_numbers(config: RunConfig, space: spaces.Space[Any]) -> None:
    """Refuse what fails where the first episode ends (common/off_policy_algorithm.py, _store_transition: ``next_obs[i, :]``)."""
    if config.normalize_reward and isinstance(space, spaces.Discrete) and is_off_policy(config.learner):
        raise RunError(
            f"--normalize-reward fails in Stable-Baselines3 where a learner with a replay buffer observes a Discrete, as {config.learner} "
            f"does on {config.env}; leave it out, or use --learner ppo"
        )


def shows_image(space: spaces.Space[Any]) -> bool:
    """Whether ``space`` is an image, or a Dict with one among its entries."""
    return any(map(is_image, leaves(space)))


def can_be_normalized(space: spaces.Space[Any]) -> bool:
    """Whether observations have a mean that VecNormalize should keep: numbers have one, images and discrete observations do not."""
    return not shows_image(space) and all(isinstance(leaf, spaces.Box) for leaf in leaves(space))


def check_observations(env_id: str, space: spaces.Space[Any]) -> None:
    """Refuse observations that no learner of Stable-Baselines3 takes (common/preprocessing.py, get_obs_shape).

    Raises:
        RunError: a space inside a space inside another one, one whose items have no shape, or a number that is not in an array.
    """
    items = space.spaces.items() if isinstance(space, spaces.Dict) else [("", space)]
    for key, item in items:
        where = f"{env_id} observes {brief(item)}{f' as {key!r}' if key else ''}"
        if isinstance(item, spaces.Box) and item.shape == ():
            raise RunError(f"{where}, a number by itself; give it as a Box of shape (1,)")
        if not isinstance(item, _TAKEN):
            raise RunError(f"{where}, which no learner takes; wrap the task in gymnasium.wrappers.FlattenObservation")


_TAKEN = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


def coverage_names(env: gymnasium.Env[Any, Any], asked: tuple[str, str] | None) -> tuple[str, ...]:
    """The one or two names whose visited area is counted; empty if the observations have no columns.

    Raises:
        RunError: an asked name that is no observation, index or, after a step, key of ``info``.
    """
    space = env.observation_space
    columns = spaces.flatdim(space) if isinstance(space, spaces.Box) else 0
    if asked is None:
        from genrl.encoders.view import picture_in  # here, as above

        own = getattr_or(env, "coverage_names", ())
        numbers = 0 if is_image(space) or picture_in(space) is not None else min(2, columns)
        return tuple(own) if own else tuple(str(i) for i in range(numbers))
    known = [*getattr_or(env, "observation_names", ()), *(str(i) for i in range(columns))]
    keys: list[str] = []
    for name in asked:
        if name not in known:
            keys = keys or _info_keys(env)
            if name not in keys:
                there = ", ".join([*getattr_or(env, "observation_names", ()), *keys])
                options = f"; it has {f'{there} and ' if there else ''}the indices below {columns}"
                raise RunError(f"--coverage {name} is no observation and no key of info{did_you_mean(name, [*known, *keys]) or options}")
    return asked


def column(name: str, observation_names: tuple[str, ...]) -> int | str:
    """The index of an observation's column, or the key of ``info`` that ``name`` is."""
    if name in observation_names:
        return observation_names.index(name)
    return int(name) if name.isdigit() else name


def getattr_or(env: gymnasium.Env[Any, Any], name: str, default: Any) -> Any:
    """An attribute of the environment or of a wrapper inside."""
    return env.get_wrapper_attr(name) if env.has_wrapper_attr(name) else default


def _info_keys(env: gymnasium.Env[Any, Any]) -> list[str]:
    env.reset(seed=0)
    env.action_space.seed(0)
    return list(env.step(env.action_space.sample())[4])
