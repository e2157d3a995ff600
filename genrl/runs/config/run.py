"""What every run of a learner has: a frozen dataclass that is the configuration, its help and its flags. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from genrl.errors import RunError, command, flags
from genrl.roles import LEARNERS, ROLES
from genrl.runs.config import trust
from genrl.runs.config.base import Config, check_positive

__all__ = ["ExploreConfig", "RunConfig", "is_off_policy"]

NOISE = re.compile(r"own|pink|held-[1-9]\d*")
"""Names of the exploration noise."""


@dataclass(frozen=True)
class RunConfig(Config):
    """What every run of a learner has in common; each command has a subclass."""

    roles = ("learner", "reward")
    kwargs_help = "Keywords of the task itself"
    fewest_steps: ClassVar[int] = 1

    env: str = "genrl/SparseMountainCar-v0"
    """Any registered Gymnasium task (`genrl list tasks`), or `module:Id-v0` to import first the module that registers it."""
    learner: str = "trpo"
    """Any learner of `genrl list learners`, or `module:Class` for another one."""
    reward: str = "vime"
    """Any reward of `genrl list rewards` that asks for no demonstrations, `module:Class` for your own RewardModel, or `none`."""
    steps: int = 100_000
    """Environment steps, counted over all environments. A learner that collects rollouts finishes its last one."""
    encoder: Path | None = None
    """A run of `genrl generate`, through which the learner, and every reward, sees images as codes; `{seed}` in it is this run's seed."""
    history: int | None = None
    """Number of frames that an observation has: their codes with an encoder, else images stacked in the channels. By default 3 with an
    encoder, and 1 without."""
    past_actions: bool = False
    """Observe the actions between the codes, too."""
    finetune: bool = False
    """Train the encoder inside the learner's networks, which then see images themselves, instead of learning on its codes."""
    seed: int = 0
    """Seed of the learner, the reward and the environments. The same seed and number of threads repeat a run bit for bit."""
    weight: float | Literal["auto"] = 1e-3
    """Weight of the bonus (η in VIME's paper). The typical bonus of every reward is about 1 per step. `auto` tunes it so that the bonus is
    half of what the learner is paid, from the first reward of the task on."""
    weight_half_life: float | None = None
    """Environment steps after which the weight, or the share that `--weight auto` holds, has halved. By default it stays."""
    extrinsic_weight: float = 1.0
    """Weight of the environment's own reward."""
    update_every: int = 1000
    """Environment steps between two updates of the reward, for a learner with a replay buffer. Other learners update it after each
    rollout."""
    memory_size: int = 100_000
    """Number of recent transitions that the reward can learn from, for a learner without a replay buffer."""
    n_envs: int = 1
    """Number of environments that are stepped together."""
    subproc: bool = False
    """Run each environment in its own process. This pays off when a step of the environment is slow."""
    normalize_obs: bool = False
    """Normalise the observations that the learner sees (VecNormalize)."""
    normalize_reward: bool = False
    """Normalise the environment's reward (VecNormalize). The bonus is not rescaled."""
    noise: str = "own"
    """Exploration noise, a baseline without a model for every bonus: `own` is what the learner draws at every step, `held-8` holds Gaussian
    noise for 8 steps (or any other number), `pink` is a sequence of pink noise for each episode."""
    noise_std: float | None = None
    """Standard deviation of held or pink noise. For a learner that collects rollouts it is in the task's units, by default the policy's
    own; for one with a replay buffer it is for actions scaled to [-1, 1], by default 0.5."""
    policy: str = "auto"
    """Policy of the learner, such as MlpPolicy. `auto` takes the one that fits the observations."""
    coverage: tuple[str, str] | None = None
    """Two quantities whose visited area is counted: names of observations, indices, or keys of `info`. By default the task chooses."""
    eval_episodes: int = 10
    """Number of deterministic episodes at the end, in a fresh environment with other seeds."""
    eval_every: int | None = None
    """Also evaluate after every so many environment steps, in an environment of its own, and keep the best model as best.zip: that of the
    largest return, or of an imitation, which sees no return, that whose episodes are nearest to the demonstrations. It changes no number of
    the training. By default the last model alone is evaluated."""
    checkpoint_every: float = 60.0
    """Seconds between checkpoints, or 20 times what the last one took to write if that is longer (a large replay buffer). With 0 every
    rollout is saved, however long it takes."""
    step_timeout: float | None = None
    """Seconds that a step or a reset of an environment may take; a longer one ends the run, which can go on from its last checkpoint. By
    default it is waited for."""
    out: Path | None = None
    """The run directory. By default runs/<env>-<learner>-<reward>-seed<seed>."""
    pictures: bool = True
    """Draw learning_curve, bonus and coverage at the end."""
    tensorboard: bool = False
    """Also write TensorBoard event files into the run directory."""
    track: Literal["wandb", "trackio"] | None = None
    """Also send the log to this tracker (an extra), in the project genrl. A tracker that fails stops no run."""
    threads: int = 1
    """Number of torch threads. One is often fastest for small networks."""
    device: str = "cpu"
    """Device of the learner, such as cpu, cuda or cuda:1. A device that is not there is refused."""
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Keywords of gymnasium.make: `--env.NAME VALUE`."""
    learner_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Keywords of the learner's constructor: `--learner.NAME VALUE`."""
    reward_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Keywords of the reward's constructor: `--reward.NAME VALUE`."""

    def __post_init__(self) -> None:
        self.check_least(steps=self.fewest_steps, n_envs=1, threads=1, update_every=1, memory_size=1)
        self.check_least(eval_episodes=0, eval_every=1, checkpoint_every=0, seed=0, history=1)
        self.check_most(n_envs=4096, threads=1024, history=256, seed=2**32 - 1)
        check_positive(step_timeout=self.step_timeout, noise_std=self.noise_std, weight_half_life=self.weight_half_life)
        if self.eval_every is not None and not self.eval_episodes:
            raise RunError("--eval-every was given, but --eval-episodes is 0; type --eval-episodes 10, or leave --eval-every out")
        self._check_noise()
        self._check_eyes()
        if self.weight == "auto" and self.extrinsic_weight == 0:
            cure = "leave --weight out, or type --extrinsic-weight 1"
            raise RunError(f"--weight auto weighs the bonus against the task's own reward, but --extrinsic-weight is 0; {cure}")

    def _check_noise(self) -> None:
        if not NOISE.fullmatch(self.noise):
            raise RunError(f"--noise is {self.noise}, but must be own, pink, or held-N, such as held-8")
        if self.noise_std is not None and self.noise == "own":
            raise RunError("--noise-std was given, but --noise is own; add --noise pink or --noise held-8")

    def _check_eyes(self) -> None:
        for flag, given in (("--finetune", self.finetune), ("--past-actions", self.past_actions)):
            if given and self.encoder is None:
                raise RunError(f"{flag} was given, but there is no --encoder; add --encoder RUN, a run of `genrl generate`")
        if self.past_actions and self.finetune:
            raise RunError("--past-actions was given, but with --finetune the learner sees images alone; leave one of them out")
        if self.past_actions and self.frames < 2:
            raise RunError(f"--past-actions was given, but --history is {self.history}, with no action between; type --history 3")

    def check_imports(self, allowed: Collection[str] = ()) -> None:
        """Refuse a configuration that would import or read something that nobody asked for: a file must not decide what is imported.

        Raises:
            RunError: a `module:Name`, or a keyword of the task, that is not among ``allowed``.
        """
        trust.check_imports(vars(self), self.roles, allowed)

    @property
    def imports(self) -> tuple[str, ...]:
        """What `--imports` must name before a run of this configuration, in a directory that somebody may have sent, is used again."""
        return trust.foreign_words(vars(self), self.roles)

    def typed(self, verb: str, *words: object) -> str:
        """`genrl VERB` with this run's directory, as it can be pasted into a shell by whoever has started the run, or trusts it."""
        return command(verb, self.directory, *words, *flags(imports=self.imports))

    @property
    def frames(self) -> int:
        """Number of frames that an observation has."""
        return (1 if self.encoder is None else 3) if self.history is None else self.history

    @property
    def own_encoder(self) -> Path | None:
        """The encoder's path, with this run's seed in place of `{seed}`."""
        return None if self.encoder is None else Path(str(self.encoder).replace("{seed}", str(self.seed)))

    @property
    def observes_codes(self) -> bool:
        """Whether the learner sees codes in place of images."""
        return self.encoder is not None and not self.finetune

    @classmethod
    def kind(cls, demos: object = None) -> str:
        """Key of the parts' defaults (:attr:`genrl.roles.Part.defaults`), with or without demonstrations: the command."""
        return cls.command

    @property
    def subject(self) -> str:
        """What the run is about: the task."""
        return self.env

    @property
    def labels(self) -> dict[str, str]:
        """What stands for each part, by role, in the run's name."""
        return {role: getattr(self, role) for role in self.roles}

    @property
    def name(self) -> str:
        """The run in words that a file name can hold."""
        return self.named(self.labels)

    def named(self, labels: Mapping[str, str]) -> str:
        """The run in words, with these for its parts."""
        parts = [name.split(":")[-1].lower() for role, name in labels.items() if role == "reward" or not ROLES[role].is_empty(name)]
        return "-".join([self.subject.split(":")[-1].split("/")[-1], *parts, f"seed{self.seed}"])


@dataclass(frozen=True)
class ExploreConfig(RunConfig):
    """Train a Stable-Baselines3 learner on a task, with an exploration bonus, and keep everything about it in a run directory."""

    command: ClassVar[str] = "explore"


def is_off_policy(learner: str) -> bool:
    """Whether the learner of this name has a replay buffer; a `module:Class` is taken to have none.

    Example:
        >>> is_off_policy("QR-DQN"), is_off_policy("ppo")
        (True, False)
    """
    part = LEARNERS.find(learner)
    return part is not None and part.off_policy
