"""What one run is: a frozen dataclass that is the configuration, its help and its flags. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from genrl.errors import RunError, did_you_mean
from genrl.roles import LEARNERS, ROLES, is_own, plain_name
from genrl.runs.options import Config

__all__ = ["ExploreConfig", "ImitateConfig", "RunConfig", "is_off_policy"]

AUTO = -1
"""Of a field: what does well with the chosen learner."""
ON_POLICY = {"steps": 300_000, "n_envs": 16, "clone": 500, "critic_warmup": 0, "expert_fraction": 0.0}
OFF_POLICY = {"steps": 50_000, "n_envs": 1, "clone": 0, "critic_warmup": 0, "expert_fraction": 0.5}
"""What an imitation takes for `AUTO`."""


@dataclass(frozen=True)
class RunConfig(Config):
    """What every run of a learner is made of; a command's own is a subclass."""

    roles = ("learner", "reward")
    kwargs_help = "Keywords of the task itself"
    fewest_steps: ClassVar[int] = 1

    env: str = "genrl/SparseMountainCar-v0"
    """Any registered Gymnasium task; `module:Id-v0` imports the module that registers it first."""
    learner: str = "trpo"
    """Any learner of stable-baselines3 or sb3-contrib (ppo, a2c, trpo, recurrentppo, maskableppo, sac, td3, ddpg, tqc, crossq, dqn, qrdqn),
    or `module:Class`."""
    reward: str = "vime"
    """`none`, any reward of genrl.rewards (vime, prediction-error, icm, rnd, disagreement, state-entropy, counts), or `module:Class`,
    your own RewardModel."""
    steps: int = 100_000
    """Environment steps, counted over all environments; a learner that collects rollouts finishes its last one."""
    seed: int = 0
    """One seed for the learner, the reward and the environments; the same seed and threads repeat a run bit for bit."""
    weight: float = 1e-3
    """Weight of the bonus (η in VIME's paper); a typical bonus of every reward is about 1 a step."""
    extrinsic_weight: float = 1.0
    """Weight of the environment's own reward."""
    update_every: int = 1000
    """Environment steps between two updates of the reward of an off-policy learner; the others update it after each rollout."""
    memory_size: int = 100_000
    """Newest transitions that the reward of a learner without a replay buffer may learn from."""
    n_envs: int = 1
    """Environments that are stepped together."""
    subproc: bool = False
    """One process for each environment; pays off when a step of the environment is slow."""
    normalize_obs: bool = False
    """Normalise the observations that the learner sees (VecNormalize)."""
    normalize_reward: bool = False
    """Normalise the environment's reward (VecNormalize); the bonus is never rescaled by it."""
    held_noise: int = 0
    """Hold the exploration noise for this many steps, the baseline of every exploration bonus; 0 draws it anew at every step."""
    held_noise_std: float | None = None
    """Standard deviation of the held noise: in units of the task for a learner that collects rollouts, by default its policy's own; in
    actions scaled to [-1, 1] for one with a replay buffer, by default 0.5."""
    policy: str = "auto"
    """Policy of the learner, such as MlpPolicy; `auto` takes the one that fits the observations."""
    coverage: tuple[str, str] | None = None
    """The two things whose visited area is counted: names of observations, indices, or keys of `info`; by default the task's own."""
    eval_episodes: int = 10
    """Deterministic episodes at the end, on a fresh environment with other seeds."""
    checkpoint_every: float = 60.0
    """Seconds between checkpoints, or 20 times what the last one took to write if that is more (a large replay buffer); 0 saves at every
    rollout, whatever it takes."""
    out: Path | None = None
    """The run directory; by default runs/<env>-<learner>-<reward>-seed<seed>."""
    pictures: bool = True
    """Draw learning_curve, bonus and coverage at the end."""
    tensorboard: bool = False
    """Also write TensorBoard event files into the run directory."""
    threads: int = 1
    """Threads of torch; one is often fastest for small networks."""
    device: str = "cpu"
    """Device of the learner."""
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Keywords of gymnasium.make: `--env.NAME VALUE`."""
    learner_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Keywords of the learner's constructor: `--learner.NAME VALUE`."""
    reward_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Keywords of the reward's constructor: `--reward.NAME VALUE`."""

    def __post_init__(self) -> None:
        self.check_least(steps=self.fewest_steps, n_envs=1, threads=1, update_every=1, memory_size=1)
        self.check_least(eval_episodes=0, held_noise=0, checkpoint_every=0, seed=0)
        if self.held_noise_std is not None:
            if not 0 < self.held_noise_std < math.inf:
                raise RunError(f"--held-noise-std is {self.held_noise_std}, but must be positive and finite")
            if not self.held_noise:
                raise RunError("--held-noise-std was given, but --held-noise is 0; add --held-noise 8 to hold the noise for 8 steps")

    def check_imports(self, allowed: Collection[str] = ()) -> None:
        """Refuse a configuration that would import a module of its own choice: a file that somebody sent must not decide what is imported.

        Raises:
            RunError: a `module:Name` whose module is not among ``allowed``.
        """
        for name in (self.env, *(getattr(self, role) for role in self.roles)):
            module = name.rpartition(":")[0] if is_own(name) else ""
            if module and module not in (*allowed, "genrl_envs"):
                raise RunError(f"{name} would import {module}; if you trust it, add --imports {module}")

    @property
    def subject(self) -> str:
        """What the run is about."""
        return self.env

    @property
    def name(self) -> str:
        """The run in words that a file name can hold."""
        chosen = {role: getattr(self, role) for role in self.roles}
        parts = [_short(name) for role, name in chosen.items() if role == "reward" or not ROLES[role].is_empty(name)]
        return "-".join([self.subject.split(":")[-1].split("/")[-1], *parts, f"seed{self.seed}"])

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> RunConfig:
        """The inverse of :meth:`to_dict`: the configuration of the command that ``values`` name, by default explore.

        Raises:
            RunError: a name that no configuration has, or a value of the wrong type.
        """
        values = dict(values)
        commands = {kind.command: kind for kind in (ExploreConfig, ImitateConfig)}
        command = values.pop("command", ExploreConfig.command)
        if command not in commands:
            raise RunError(f"there is no command {command!r}{did_you_mean(str(command), commands) or '; write explore or imitate'}")
        return commands[command].read(values)


@dataclass(frozen=True)
class ExploreConfig(RunConfig):
    """Train a Stable-Baselines3 learner on a task, with an exploration bonus, and keep everything about it in a run directory."""

    command: ClassVar[str] = "explore"


@dataclass(frozen=True)
class ImitateConfig(RunConfig):
    """Train a Stable-Baselines3 learner to do as demonstrations do, by the reward of a discriminator, and keep everything about it in a
    run directory."""

    command: ClassVar[str] = "imitate"
    fewest_steps: ClassVar[int] = 0

    demos: Path | None = None
    """Demonstrations: a Minari data set or its HDF5, or npz (`genrl record` makes them)."""
    env: str = ""
    """The task; by default the one that the demonstrations name."""
    learner: str = "ppo"
    """Any learner of stable-baselines3 or sb3-contrib, or `module:Class`; ppo takes the fewest minutes, sac by far the fewest steps."""
    reward: str = "gail"
    """gail, gaifo (states alone), airl, vail, sqil, constant (the control), or `module:Class`, your own RewardModel."""
    steps: int = AUTO
    """Environment steps, counted over all environments; 0 is behaviour cloning alone, -1 takes 300,000, or 50,000 for a learner with a
    replay buffer."""
    episodes: int | None = None
    """Take the first so many episodes of the demonstrations; by default all."""
    every: int = 1
    """Of each, take every so many-th step, from a random offset; 20 in the GAIL paper."""
    clone: int = AUTO
    """First fit the policy to the demonstrations, for at most this many epochs (behaviour cloning); 0 starts from nothing, -1 takes 500, or
    0 for a learner with a replay buffer, whose fresh critic would undo it."""
    critic_warmup: int = AUTO
    """Environment steps in which the policy stays as it is and only its critic learns; -1 takes 20,480 for ppo, maskableppo and a2c where
    they clone, and 0 otherwise."""
    expert_fraction: float = AUTO
    """Share of demonstrated transitions in each batch of a learner with a replay buffer (HyPER); -1 takes a half, and 0 for the others."""
    weight: float = 1.0
    """Weight of the reward."""
    extrinsic_weight: float = 0.0
    """Weight of the environment's own reward; 0 learns from the demonstrations alone."""
    n_envs: int = AUTO
    """Environments that are stepped together; -1 takes 16, or 1 for a learner with a replay buffer."""
    normalize_obs: bool = True
    """Normalise the observations that the learner sees (VecNormalize), with the demonstrations' statistics where it clones."""
    update_every: int = 250
    """Environment steps between two updates of the discriminator with an off-policy learner; the others update it after each rollout."""

    @property
    def subject(self) -> str:
        """The task or, where the demonstrations will tell it, their file."""
        return self.env or (self.demos.stem if self.demos is not None else "")

    def __post_init__(self) -> None:
        for name, value in self._by_default().items():
            if getattr(self, name) == AUTO:
                object.__setattr__(self, name, value)
        super().__post_init__()
        if self.episodes is not None and self.episodes < 1:
            raise RunError(f"--episodes is {self.episodes}, but must be at least 1")
        self.check_least(every=1, clone=0, critic_warmup=0)
        if self.reward.lower() == "none":
            raise RunError("--reward is none, but an imitation has its reward from the demonstrations; for cloning alone type --steps 0")
        if not self.steps and not self.clone:
            raise RunError("--steps is 0 and --clone is 0, so there is nothing to do; leave --clone out for behaviour cloning alone")
        if not 0 <= self.expert_fraction < 1:
            raise RunError(f"--expert-fraction is {self.expert_fraction}, but must be at least 0 and below 1")

    def _by_default(self) -> dict[str, Any]:
        """What does well with the chosen learner and reward; the control sees nothing of the demonstrations."""
        values = dict(OFF_POLICY if is_off_policy(self.learner) else ON_POLICY)
        if self.steps == 0:
            values["clone"] = ON_POLICY["clone"]
        elif self.reward.lower() == "constant":
            values |= {"clone": 0, "expert_fraction": 0.0}
        elif plain_name(self.learner) == "recurrentppo":
            values["clone"] = 0  # single pairs can't teach a memory
        elif plain_name(self.learner) in ("ppo", "maskableppo", "a2c") and self.clone:
            values["critic_warmup"] = 20_480
        return values


def is_off_policy(learner: str) -> bool:
    """Whether a name is one of a learner with a replay buffer; a `module:Class` is taken for one without.

    Example:
        >>> is_off_policy("QR-DQN"), is_off_policy("ppo")
        (True, False)
    """
    part = LEARNERS.find(learner)
    return part is not None and part.off_policy


def _short(name: str) -> str:
    return name.split(":")[-1].lower()
