"""DAgger: ask the expert about the states that the learner itself comes to."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import unwrap_vec_normalize

from genrl.data import Demonstrations, Episode
from genrl.errors import require
from genrl.policies._left_as_found import left_as_found
from genrl.policies.cloning import check_cloning, clone
from genrl.sb3.predict import AS_FUNCTION
from genrl.spaces import FLATTENED, as_action, brief

__all__ = ["dagger", "longest_episode"]

LONGEST_EPISODE = 10_000
"""Steps after which an episode is left, of a task without a longer time limit."""


Act = Callable[[Any], Any]


def dagger(
    model: BaseAlgorithm,
    expert: Act,
    env: gymnasium.Env[Any, Any],
    *,
    rounds: int = 10,
    episodes: int = 2,
    demonstrations: Demonstrations | None = None,
    any_task: bool = False,
    seed: int = 0,
    **cloning: Any,
) -> Demonstrations:
    r"""Clone, act, let the expert say what it would have done there, and clone again from all that it has ever said.

    In the first round without ``demonstrations`` the expert acts (:math:`\beta_1 = 1`), afterwards the learner alone (:math:`\beta_i = 0`),
    deterministically, and with the environment's ``action_masks`` if it takes them.

    Args:
        model: the learner; its policy changes in place after every round, and nothing else does (see :func:`clone`).
        expert: gives its action at an observation of the task, which is not normalised; for a trained SB3 model
            ``lambda obs: model.predict(obs, deterministic=True)[0]``.
        env: one environment of the task, not one of the learner's own.
        rounds: number of times that the learner acts.
        episodes: number of episodes in each round.
        demonstrations: what is known of the expert before.
        any_task: take demonstrations that were recorded on another task of the same sizes.
        seed: seed of the first episode (each later one has the next number) and of the cloning.
        cloning: keywords of :func:`clone`.

    Returns:
        All episodes, with the expert's actions instead of those that were executed: successors and returns are not theirs. Their
        metadata say so, as those of ``genrl record --disturb`` do, so that a critic or a dream that would learn from them is warned of.

    Raises:
        ValueError: no rounds or episodes; an environment with several arrays of observations (Dict); an action of the expert's that the
            environment doesn't have; or what :func:`clone` refuses.

    References:
        Ross, Gordon, Bagnell, "A Reduction of Imitation Learning and Structured Prediction to No-Regret Online Learning", 2011,
        arXiv:1011.0686.

    Example:
        >>> from stable_baselines3 import PPO
        >>> from genrl.policies import dagger
        >>> env = gymnasium.make("CartPole-v1", max_episode_steps=50)
        >>> model = PPO("MlpPolicy", "CartPole-v1")
        >>> demos = dagger(model, lambda obs: int(obs[2] + obs[3] > 0), env, rounds=2, episodes=1, epochs=10)
        >>> demos.n_episodes  # the expert's, and one of the cloned policy with what the expert would have done
        2
    """
    if rounds < 1 or episodes < 1:
        raise ValueError(f"dagger needs at least one round and one episode, but was given rounds={rounds} and episodes={episodes}")
    require(dagger, ("expert", type(expert).__name__, callable(expert), f"a function of an observation, such as {AS_FUNCTION}"))
    _refuse(model, env, cloning)
    known: list[Episode] = []
    if demonstrations is not None:
        clone(model, demonstrations, any_task=any_task, seed=seed, **cloning)
        known.extend(_fitted(demonstrations, env))
    about = _about(env, demonstrations is not None or rounds > 1)
    for k in range(rounds):
        acts = _policy(model, env) if known else expert
        with left_as_found(model):
            new = [_episode(env, acts, expert, seed + k * episodes + i) for i in range(episodes)]
        known.extend(_fitted(Demonstrations.from_episodes(new), env))
        clone(model, Demonstrations.from_episodes(known, metadata=about), any_task=any_task, seed=seed, **cloning)
    return Demonstrations.from_episodes(known, metadata=about)


def _fitted(demonstrations: Demonstrations, env: gymnasium.Env[Any, Any]) -> tuple[Episode, ...]:
    """Their episodes in the dtypes of the task's spaces, which what a task gives need not have."""
    return demonstrations.fitted(env.observation_space, env.action_space)[0].episodes


def _about(env: gymnasium.Env[Any, Any], learner_acts: bool) -> dict[str, Any]:
    """Metadata of what is recorded: the task with its keywords, and that others than the expert's actions were executed, if they were."""
    about: dict[str, Any] = {"disturb": "by the learner"} if learner_acts else {}
    if env.spec is None:
        return about
    kwargs = {name: value for name, value in env.spec.kwargs.items() if name != "render_mode"}
    try:
        json.dumps(kwargs)
    except (TypeError, ValueError):  # objects, which no file could hold
        kwargs = {}
    return about | {"env_spec": {"id": env.spec.id, "kwargs": kwargs}}


def _refuse(model: BaseAlgorithm, env: gymnasium.Env[Any, Any], cloning: dict[str, Any]) -> None:
    """Refuse what :func:`clone` would refuse after the first episodes, and an environment in which nothing can be recorded."""
    settings = inspect.signature(clone).bind(model, None, **cloning)
    settings.apply_defaults()
    check_cloning(model, **{name: settings.arguments[name] for name in settings.arguments if name in NUMBERS})
    if env.observation_space.shape is None:
        raise ValueError(
            f"dagger records one array of observations, but the task gives {brief(env.observation_space)}; "
            f"wrap the environments, the learner's too, in {FLATTENED}"
        )
    own = getattr(model.env.unwrapped, "envs", []) if model.env is not None else []
    if model.num_timesteps and any(other.unwrapped is env.unwrapped for other in own):
        raise ValueError("this env is one of the learner's own, which is in the middle of an episode; make another for dagger")


NUMBERS = ("epochs", "batch_size", "learning_rate", "held_out", "patience")


def _policy(model: BaseAlgorithm, env: gymnasium.Env[Any, Any]) -> Act:
    """The learner's deterministic action at an observation of the task."""
    normalize = unwrap_vec_normalize(model.env) if model.env is not None else None
    masked = "action_masks" in inspect.signature(model.predict).parameters and env.has_wrapper_attr("action_masks")

    def act(obs: Any) -> Any:
        seen: Any = obs if normalize is None else normalize.normalize_obs(obs)
        masks = {"action_masks": env.get_wrapper_attr("action_masks")()} if masked else {}
        return model.predict(seen, deterministic=True, **masks)[0]

    return act


def _episode(env: gymnasium.Env[Any, Any], acts: Act, expert: Act, seed: int) -> Episode:
    """One episode by ``acts``, with what ``expert`` would have done in place of its actions."""
    obs, _ = env.reset(seed=seed)
    observations, terminated, truncated = [np.array(obs)], False, False
    said: list[Any] = []
    rewards: list[float] = []
    longest = longest_episode(env)
    while not (terminated or truncated) and len(said) < longest:
        said.append(as_action(expert(obs), env.action_space, "the expert"))
        action = said[-1] if acts is expert else as_action(acts(obs), env.action_space, "the learner")
        obs, reward, terminated, truncated, _ = env.step(action)
        observations.append(np.array(obs))
        rewards.append(float(reward))
    last = np.arange(len(said)) == len(said) - 1
    return Episode(
        np.stack(observations),
        np.array(said),
        np.array(rewards, np.float32),
        last & terminated,
        last & (not terminated),
        seed=seed,
    )


def longest_episode(env: gymnasium.Env[Any, Any]) -> int:
    """Steps after which an episode of this task is left at the latest."""
    return max(getattr(env.spec, "max_episode_steps", None) or 0, LONGEST_EPISODE)
