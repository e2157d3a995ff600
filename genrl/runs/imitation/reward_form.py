"""How a task's episodes end, and what follows from it for the reward of an imitation."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import gymnasium
import numpy as np

from genrl.data import Demonstrations
from genrl.errors import RunError
from genrl.runs.config.dream import DreamConfig
from genrl.runs.config.hyperparameters import hyperparameters
from genrl.runs.config.imitate import ImitateConfig

__all__ = ["Ends", "check_units", "choose_reward", "observe_ends", "with_suitable_reward"]

RANDOM_STEPS = 1000
"""Steps of random actions that show how soon a task ends an episode by itself."""
FAR = 10.0
"""Standard deviations from the demonstrations' mean at which a first observation is of other units."""
TELL = " (terminations in the file of the demonstrations would tell)"


@dataclass(frozen=True)
class Ends:
    """How often a task ends an episode by itself; a time limit is no end."""

    demonstrated: float
    """Ends per step of the demonstrations."""
    share: float
    """Share of the demonstrated episodes that ended by themselves."""
    random: float | None
    """Ends per step of random actions; ``None`` if none could be tried."""
    unsaid: bool = False
    """Whether the demonstrations do not say why some of their episodes ended."""

    @property
    def kind(self) -> Literal["never", "survival", "goal"]:
        """``goal`` if most demonstrations end, and sooner than random actions do; ``never`` if nothing ends; else ``survival``.

        Example:
            >>> Ends(1 / 100, 1.0, 0.0).kind, Ends(1 / 400, 0.8, 1 / 20).kind, Ends(0.0, 0.0, 0.0).kind  # mountain car, cart-pole, cheetah
            ('goal', 'survival', 'never')
        """
        if self.share >= 0.5 and self.demonstrated > (self.random or 0.0):
            return "goal"
        return "survival" if self.demonstrated or self.random or self.random is None else "never"

    @property
    def words(self) -> str:
        """Why, for a person."""
        if self.kind == "never":
            return f"no episode {'is known' if self.unsaid else 'was seen'} to end by itself{TELL if self.unsaid else ''}"
        if self.kind == "goal":
            return "the demonstrations end by themselves, sooner than random actions do"
        if self.share >= 0.5:
            return "episodes can end, and the demonstrations do so no sooner than random actions"
        silent = self.unsaid and not self.demonstrated
        return (
            f"episodes can end, and {'it is not known whether the demonstrated ones did' + TELL if silent else 'the demonstrations go on'}"
        )


def with_suitable_reward(
    config: ImitateConfig,
    classes: Mapping[str, type[Any]],
    given: Mapping[str, Any],
    demonstrations: Demonstrations,
    env: gymnasium.Env[Any, Any],
) -> tuple[ImitateConfig, str]:
    """The configuration with a reward that suits the task and its demonstrations, and what was chosen in one line.

    Args:
        config: resolved: every keyword has its value.
        classes: class of each part by role.
        given: keywords of the reward that were asked for.
        demonstrations: what is learnt from.
        env: one environment of the task; it is stepped.

    Raises:
        RunError: demonstrations whose statistics can't normalise the task's observations.
    """
    kept = _kept(demonstrations)
    if config.normalize_obs and not config.any_task:
        check_units(config, demonstrations, env, "these can't normalise them", ", or insist by --any-task")
    cls = classes.get("reward")
    has_form = cls is not None and {"form", "absorbing"} <= set(hyperparameters(cls))
    if not config.steps:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is for a run that goes on from here: cloning alone asks no reward
            return choose_reward(config, given, observe_ends(demonstrations, env, config.seed))[0] if has_form else config, kept
    if cls is None:
        _warn_of_no_use(config)
        kept = f"{kept}; paid by the task alone"
    else:
        _warn_of_constant(config, demonstrations)
    if config.clone and config.critic_warmup and config.steps <= config.critic_warmup:
        warnings.warn(
            f"in the first {config.critic_warmup:,} steps only the critic learns, so after {config.steps:,} the policy is as it was "
            "cloned; take more --steps, or --critic-warmup 0",
            stacklevel=2,
        )
    if has_form:
        config, words = choose_reward(config, given, observe_ends(demonstrations, env, config.seed))
        return config, f"{kept}; {words}"
    if cls is not None and cls.pays_for_going_on and observe_ends(demonstrations, env, config.seed).kind == "goal":
        warnings.warn(
            f"the demonstrations of {config.demos} end by themselves, and the reward {config.reward} pays for each further step; "
            "if the end is the goal, type --reward gail",
            stacklevel=2,
        )
    return config, kept


def _kept(demonstrations: Demonstrations) -> str:
    """How many pairs, of how many episodes with which returns."""
    least, most = float(demonstrations.returns.min()), float(demonstrations.returns.max())
    returns = f"returns from {least:,.4g} to {most:,.4g}" if np.isfinite(least) else "returns unknown"
    episodes = f"{demonstrations.n_episodes} episode{'' if demonstrations.n_episodes == 1 else 's'}"
    if not all(episode.ordered for episode in demonstrations.episodes):
        episodes = "episodes that are not marked"
    return f"{demonstrations.n_steps:,} pairs of {episodes}, {returns}"


def observe_ends(demonstrations: Demonstrations, env: gymnasium.Env[Any, Any], seed: int = 0) -> Ends:
    """How the demonstrations end, and how a thousand random actions in ``env`` do.

    Args:
        demonstrations: the episodes, whole.
        env: one environment of the task; it is stepped.
        seed: seed of the actions and of the episodes.
    """
    ended = sum(episode.terminated for episode in demonstrations.episodes)
    by_chance = None if env.has_wrapper_attr("action_masks") else _random_ends(env, seed)
    unsaid = not all(episode.terminated or episode.truncated for episode in demonstrations.episodes)
    return Ends(ended / int(demonstrations.lengths.sum()), ended / demonstrations.n_episodes, by_chance, unsaid)


def _random_ends(env: gymnasium.Env[Any, Any], seed: int) -> float:
    env.reset(seed=seed)
    env.action_space.seed(seed)
    ends = steps = length = longest = 0
    for _ in range(RANDOM_STEPS):
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        length += 1
        if terminated or truncated:
            ends += bool(terminated)
            steps, longest, length = steps + length, max(longest, length), 0
            env.reset()
    # The last episode was cut: that it has not ended tells something only once it is longer than those that have.
    return ends / (steps + (length if length > longest else 0))


def choose_reward(config: ImitateConfig, given: Mapping[str, Any], ends: Ends) -> tuple[ImitateConfig, str]:
    """The configuration with the form of an adversarial reward that suits how the task ends, and the choice in one line.

    Where the end is the goal, each step costs (``log-d``). Elsewhere the form is the learner's default; if that is ``logit``, which is
    negative while the agent is told apart and would make it end soon, an ended episode goes on in an absorbing state. What was given
    stays, with a warning and the flag that cures it where it pays for the wrong thing.

    Args:
        config: resolved: every keyword of the reward has its value.
        given: keywords of the reward that were asked for.
        ends: how the task ends.
    """
    chosen = dict(config.reward_kwargs)
    if "form" not in given and ends.kind == "goal":
        chosen["form"] = "log-d"
    if "absorbing" not in given:
        chosen["absorbing"] = chosen["form"] == "logit"  # also where no end was seen: an ant hardly ever falls by random actions
    elif given["absorbing"] and chosen["form"] != "logit" and ends.kind == "never":  # nor of what was chosen here, where a run goes on
        warnings.warn(
            f"--reward.absorbing was given, but {ends.words} on {config.env}; it changes nothing but the sign of rewards", stacklevel=3
        )
    _warn_of_form(config, chosen, ends)
    absorbing = ", where an ended episode earns nothing more (absorbing states)" if chosen["absorbing"] else ""
    return replace(config, reward_kwargs=chosen), f"{config.reward} of form {chosen['form']}{absorbing}, because {ends.words}"


def _warn_of_form(config: ImitateConfig, chosen: Mapping[str, Any], ends: Ends) -> None:
    form = chosen["form"]
    if ends.kind == "goal" and form == "softplus" and not chosen["absorbing"]:
        warnings.warn(
            f"the demonstrations of {config.demos} end by themselves, and the reward's form softplus pays for each further step; "
            "if the end is the goal, type --reward.form log-d",
            stacklevel=4,
        )
    if ends.kind == "survival" and form != "softplus" and not chosen["absorbing"]:
        warnings.warn(
            f"the reward's form {form} pays for an end while the agent is told apart, and the demonstrations of {config.demos} go on; "
            "type --reward.absorbing, or --reward.form softplus",
            stacklevel=4,
        )


def _warn_of_no_use(config: ImitateConfig) -> None:
    """Tell of demonstrations from which nothing is learnt, in a run without a reward of their own."""
    if not (config.clone or config.expert_fraction or config.demonstrated_starts):
        warnings.warn(
            f"{config.learner} is paid by the task alone, and nothing is learnt from {config.demos}; type --clone 500, or --learner "
            "sac, which has demonstrations in its batches",
            stacklevel=3,
        )


def _warn_of_constant(config: ImitateConfig, demonstrations: Demonstrations) -> None:
    """Tell of a task that pays the same for every step: there the control that sees no demonstration does as well."""
    paid = np.concatenate([episode.rewards[:-1] for episode in demonstrations.episodes])  # the last step may be the goal
    if config.reward.lower() != "constant" and paid.size and paid[0] and (paid == paid[0]).all():
        value = "" if paid[0] > 0 else " --reward.value -1"
        warnings.warn(
            f"{config.env} pays {paid[0]:g} for every demonstrated step, so a reward that sees no demonstration may do as well; "
            f"compare with --reward constant{value}",
            stacklevel=3,
        )


def check_units(
    config: ImitateConfig | DreamConfig, demonstrations: Demonstrations, env: gymnasium.Env[Any, Any], therefore: str, cure: str = ""
) -> None:
    """Refuse demonstrations in other units than the task's observations, such as ones that were normalised before.

    Args:
        config: names the file and the task.
        demonstrations: what is learnt from.
        env: one environment of the task; it is reset.
        therefore: what they can't do.
        cure: what can be typed, beside other demonstrations.

    Raises:
        RunError: most numbers of the task's first observation are more than ten standard deviations from the demonstrations' mean, or most
            demonstrated observations lie outside of the task's box by more than its width.
    """
    space = env.observation_space
    if not isinstance(space, gymnasium.spaces.Box) or len(demonstrations.obs_shape) != 1:
        return
    obs = demonstrations.transitions(successors=False).obs.double()
    first = np.asarray(env.reset(seed=config.seed)[0], dtype=np.float64)
    mean, std = obs.mean(0).numpy(), obs.std(0, correction=0).clamp_min(1e-2).numpy()
    far = np.abs(first - mean) > FAR * std
    if far.mean() > 0.5:
        raise RunError(
            f"{int(far.sum())} of the {len(far)} numbers that {config.env} begins with are more than {FAR:g} standard deviations from the "
            f"mean of {config.demos}, so {therefore}; give demonstrations in the task's own units{cure}"
        )
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    seen: np.ndarray = obs.numpy()
    outside = np.any((seen < low - (high - low)) | (seen > high + (high - low)), axis=1)  # nothing is where a bound is infinite
    if outside.mean() > 0.5:
        raise RunError(
            f"{int(outside.sum()):,} of the {len(outside):,} observations of {config.demos} are far outside of the box of {config.env}, so "
            f"{therefore}; give demonstrations in the task's own units{cure}"
        )
