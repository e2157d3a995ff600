"""What one run is: a frozen dataclass that is the configuration, its help and its flags. Imports no torch."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from genrl.errors import RunError, command, did_you_mean, flags
from genrl.roles import LEARNERS, NONE, ROLES, is_own, plain_name
from genrl.runs.options import Config, check_step_timeout

__all__ = ["DreamConfig", "ExploreConfig", "ImitateConfig", "RunConfig", "foreign", "is_off_policy"]

NOISE = re.compile(r"own|pink|held-[1-9]\d*")
"""Names of the exploration noise."""
ON_POLICY = {"steps": 300_000, "n_envs": 16, "clone": 500, "critic_warmup": 0, "expert_fraction": 0.0, "weight": 0.05}
OFF_POLICY = {"steps": 50_000, "n_envs": 1, "clone": 0, "critic_warmup": 0, "expert_fraction": 0.5, "weight": 1.0}
"""What does well in an imitation, by the kind of learner."""


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
    """Any reward of `genrl list rewards`, `module:Class` for your own RewardModel, or `none`."""
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
        self.check_least(eval_episodes=0, eval_every=1, checkpoint_every=0, seed=0)
        self.check_most(n_envs=4096, threads=1024, history=256, seed=2**32 - 1)
        check_step_timeout(self.step_timeout)
        if self.eval_every is not None and not self.eval_episodes:
            raise RunError("--eval-every was given, but --eval-episodes is 0; type --eval-episodes 10, or leave --eval-every out")
        self._check_noise()
        self._check_eyes()
        if self.weight_half_life is not None and not 0 < self.weight_half_life < math.inf:
            raise RunError(f"--weight-half-life is {self.weight_half_life}, but must be positive and finite")

    def _check_noise(self) -> None:
        if not NOISE.fullmatch(self.noise):
            raise RunError(f"--noise is {self.noise}, but must be own, pink, or held-N, such as held-8")
        if self.noise_std is not None:
            if not 0 < self.noise_std < math.inf:
                raise RunError(f"--noise-std is {self.noise_std}, but must be positive and finite")
            if self.noise == "own":
                raise RunError("--noise-std was given, but --noise is own; add --noise pink or --noise held-8")

    def _check_eyes(self) -> None:
        if self.history is not None:
            self.check_least(history=1)
        for flag, given in (("--finetune", self.finetune), ("--past-actions", self.past_actions)):
            if given and self.encoder is None:
                raise RunError(f"{flag} was given, but there is no --encoder; add --encoder RUN, a run of `genrl generate`")
        if self.past_actions and self.finetune:
            raise RunError("--past-actions was given, but with --finetune the learner sees images alone; leave one of them out")
        if self.past_actions and self.frames < 2:
            raise RunError(f"--past-actions was given, but --history is {self.history}, with no action between; type --history 3")

    def check_imports(self, allowed: Collection[str] = ()) -> None:
        """Refuse a configuration that would import a module that nobody asked for: a file must not decide what is imported.

        Raises:
            RunError: a `module:Name` whose module is not among ``allowed``.
        """
        for said, word in self._foreign():
            if word not in allowed and (word.rpartition(":")[0] or word) not in allowed:
                raise RunError(f"{said}; if you trust it, add --imports {shlex.quote(word)}, or imports=[{word!r}] in Python")

    def _foreign(self) -> Iterator[tuple[str, str]]:
        """What this configuration would import or read that is not genrl's, in words, and the word of `--imports` that allows it."""
        for name in (self.env, *(getattr(self, role) for role in self.roles)):
            module = name.rpartition(":")[0] if is_own(name) else ""
            if module and module != "genrl_envs":
                yield f"{name} would import {module}", module
        for name, value in foreign(self.env_kwargs):
            yield f"--env.{name} {value} could import or read what is not in this run", value

    @property
    def imports(self) -> tuple[str, ...]:
        """What `--imports` must name before a run of this configuration, in a directory that somebody may have sent, is used again."""
        return tuple(dict.fromkeys(word for _, word in self._foreign()))

    def typed(self, verb: str, *words: object) -> str:
        """`genrl VERB` with this run's directory, as it can be pasted into a shell by whoever has started the run, or trusts it."""
        return command(verb, self.directory, *words, *flags(imports=self.imports))

    @property
    def frames(self) -> int:
        """Number of frames that an observation has."""
        return (1 if self.encoder is None else 3) if self.history is None else self.history

    @property
    def observes_codes(self) -> bool:
        """Whether the learner sees codes in place of images."""
        return self.encoder is not None and not self.finetune

    @classmethod
    def kind(cls, demos: object = None) -> str:
        """Whose defaults the parts of a run have, with or without demonstrations: those of the command."""
        return cls.command

    @property
    def subject(self) -> str:
        """What the run is about: the task."""
        return self.env

    @property
    def name(self) -> str:
        """The run in words that a file name can hold."""
        chosen = {role: getattr(self, role) for role in self.roles}
        parts = [name.split(":")[-1].lower() for role, name in chosen.items() if role == "reward" or not ROLES[role].is_empty(name)]
        return "-".join([self.subject.split(":")[-1].split("/")[-1], *parts, f"seed{self.seed}"])

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> RunConfig:
        """The inverse of :meth:`to_dict`. The key ``command`` says which command's configuration it is, by default explore.

        Raises:
            RunError: an unknown command or field, or a value of the wrong type.
        """
        values = dict(values)
        commands = {kind.command: kind for kind in (ExploreConfig, ImitateConfig, DreamConfig)}
        name = values.pop("command", ExploreConfig.command)
        if not isinstance(name, str) or name not in commands:
            raise RunError(f"there is no command {name!r}{did_you_mean(str(name), commands) or '; write explore, imitate or dream'}")
        return commands[name].read(values)


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
    """Demonstrations: a Minari data set or its HDF5 file, or an npz file. `genrl record` makes them."""
    env: str = ""
    """The task. By default the one that the demonstrations name."""
    learner: str = "ppo"
    """Any learner of `genrl list learners`, or `module:Class` for another. ppo takes the fewest minutes, sac by far the fewest steps."""
    reward: str = "gail"
    """gail, gaifo (states alone), airl, vail, diffail, pwil (optimal transport), sqil, constant (the control), or `module:Class` for your
    own RewardModel."""
    steps: int | None = None  # type: ignore[assignment]
    """Environment steps, counted over all environments. By default 300,000, or 50,000 for a learner with a replay buffer; 0 is behaviour
    cloning alone."""
    episodes: int | None = None
    """Use only this many episodes of the demonstrations, drawn at random. By default all."""
    every: int = 1
    """Use every n-th step of each episode, from a random offset; the GAIL paper has 20."""
    demos_seed: int | None = None
    """Seed of the draw of episodes and of the offsets. By default the run's seed, so that a spread over seeds holds that of the
    demonstrations too."""
    any_task: bool = False
    """Take demonstrations that were recorded on another task of the same sizes, such as another version of it."""
    clone: int | None = None
    """First fit the policy to the demonstrations (behaviour cloning), for at most this many epochs; 0 starts from nothing. By default 500,
    or 0 for a learner with a replay buffer, whose fresh critic would undo it."""
    critic_warmup: int | None = None
    """Environment steps at the start in which only the critic learns and the policy stays as it is. By default 20,480 for ppo, maskableppo
    and a2c after cloning, and 0 otherwise."""
    expert_fraction: float | None = None
    """Share of demonstrated transitions in each batch of a learner with a replay buffer (HyPER). By default 0.5, and 0 for other
    learners."""
    average: float = 0.0
    """Share of the steps, at the end, over whose policies the parameters are averaged. The average is evaluated too, and kept as
    average.safetensors. By default there is none."""
    weight: float | None = None  # type: ignore[assignment]
    """Weight of the reward. By default 0.05, so that the sums of rewards that a fresh critic must learn are small numbers, or 1 for a
    learner with a replay buffer."""
    memory_size: int = 20_000
    """Number of recent transitions that the reward can learn from, for a learner without a replay buffer: ten rollouts, since an agent
    that is long past teaches nothing of how it differs from the expert now."""
    extrinsic_weight: float = 0.0
    """Weight of the environment's own reward. With 0 the learner learns from the demonstrations alone."""
    n_envs: int | None = None  # type: ignore[assignment]
    """Number of environments that are stepped together. By default 16, or 1 for a learner with a replay buffer."""
    normalize_obs: bool = True
    """Normalise the observations that the learner sees (VecNormalize), by the demonstrations' statistics where a policy is cloned or
    demonstrations are in the batches. Images stay as they are."""
    update_every: int = 250
    """Environment steps between two updates of the discriminator, for a learner with a replay buffer. Other learners update it after each
    rollout."""

    @property
    def seed_of_demos(self) -> int:
        """Seed that decides which pairs of the demonstrations are kept."""
        return self.seed if self.demos_seed is None else self.demos_seed

    @property
    def subject(self) -> str:
        """The task; where only the demonstrations will tell it, the name of their file."""
        return self.env or (self.demos.stem if self.demos is not None else "")

    def __post_init__(self) -> None:
        for name, value in self._by_default().items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        super().__post_init__()
        if self.episodes is not None:
            self.check_least(episodes=1)
        self.check_least(every=1, clone=0, critic_warmup=0, demos_seed=0)
        self.check_most(demos_seed=2**32 - 1)
        if not 0 <= self.average <= 1:
            raise RunError(f"--average is {self.average}, but must be a share of the steps, such as 0.2")
        if self.reward.lower() == NONE:
            raise RunError("--reward is none, but an imitation has its reward from the demonstrations; for cloning alone type --steps 0")
        if not self.steps and not self.clone:
            raise RunError("--steps is 0 and --clone is 0, so there is nothing to do; leave --clone out for behaviour cloning alone")
        if not 0 <= self.expert_fraction < 1:  # type: ignore[operator]  # it has its default now
            raise RunError(f"--expert-fraction is {self.expert_fraction}, but must be at least 0 and below 1")

    def _by_default(self) -> dict[str, Any]:
        """What does well with the chosen learner and reward. The control, a constant reward, sees nothing of the demonstrations."""
        values = dict(OFF_POLICY if is_off_policy(self.learner) else ON_POLICY)
        if self.steps == 0:
            values["clone"] = ON_POLICY["clone"]
        elif self.reward.lower() == "constant":
            values |= {"clone": 0, "expert_fraction": 0.0}
        elif plain_name(self.learner) == "recurrentppo":
            values["clone"] = 0  # single pairs can't teach a memory
        elif plain_name(self.learner) in ("ppo", "maskableppo", "a2c") and self.clone != 0:
            values["critic_warmup"] = 20_480
        return values


@dataclass(frozen=True)
class DreamConfig(RunConfig):
    """Train a Stable-Baselines3 learner that also learns in a model of the task, which is fitted to its real steps, and keep everything
    about it in a run directory. A learner that collects rollouts practises in a dream between them; one with a replay buffer has imagined
    transitions in its batches."""

    command: ClassVar[str] = "dream"
    roles = ("learner", "reward", "world")  # type: ignore[assignment]

    env: str = "Pendulum-v1"
    """Any registered Gymnasium task (`genrl list tasks`), or `module:Id-v0` to import first the module that registers it."""
    learner: str = "ppo"
    """Any learner of `genrl list learners`, or `module:Class` for another. ppo takes the fewest minutes."""
    reward: str = "none"
    """Any reward of `genrl list rewards`, for a learner with a replay buffer; or `none`."""
    world: str = "ensemble"
    """The model of the task: any of `genrl list worlds`, `module:Class` for your own Dynamics, or `none`, the control."""
    demos: Path | None = None
    """Recorded steps of any quality, with rewards, as `genrl record` makes them: the learner then learns in a dream of these alone, and
    never touches the task before it is evaluated."""
    steps: int | None = None  # type: ignore[assignment]
    """Real environment steps, by default 3,000; with --demos, dreamed ones, by default 500,000. A learner that collects rollouts finishes
    its last one."""
    n_envs: int | None = None  # type: ignore[assignment]
    """Number of environments that are stepped together, by default 1; with --demos, of rows of the dream, by default 256."""
    normalize_reward: bool | None = None  # type: ignore[assignment]
    """Normalise the environment's reward (VecNormalize). By default only for a learner that collects rollouts."""
    dream_every: int | None = None
    """Real steps from one fit of the model, and the dreams that follow, to the next. By default 500, or 250 for a learner with a replay
    buffer."""
    horizon: int | None = None
    """Steps of a dream. By default 50, or 1 for a learner with a replay buffer."""
    dreamed_steps: int | None = None
    """Dreamed steps after each fit. By default 150,000, or 10,000 for a learner with a replay buffer."""
    rows: int | None = None
    """Dreams that go on side by side, for a learner that collects rollouts from real steps, by default 256."""
    dream_batch: int | None = None
    """Minibatch of that learner's updates in a dream, by default 1,024. Wide dreams with large minibatches, such as 512 and 2,048, take
    fewer updates for as many steps."""
    margin: float | None = None
    """How far a dream that is learned in may leave what was seen, as a share of its range, before it is cut, by default 0.25. A task whose
    first steps show little of what it can do, such as a cart that hardly moved, asks for 1."""
    share: float = 0.9
    """Share of imagined transitions in each batch, for a learner with a replay buffer."""
    eta: float | None = None
    """Weight of the model's uncertainty in the dreamed reward: above 0 explores, below 0 is cautious. By default 0, with --demos -10."""
    stop_quantile: float | None = None
    """Stop a dream where the model is less certain than at this quantile of first steps, such as 0.95. By default it never stops."""
    fit_steps: int | None = None
    """Most gradient steps of each fit of the model. By default 500, and 3,000 for the one fit with --demos."""
    world_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Keywords of the model's constructor: `--world.NAME VALUE`."""

    def __post_init__(self) -> None:
        off_policy = is_off_policy(self.learner)
        for name, value in self._by_default(off_policy).items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        super().__post_init__()
        self.check_least(dream_every=50, horizon=1, dreamed_steps=1, fit_steps=1, rows=1, dream_batch=2, margin=0)
        self.check_most(rows=65_536)
        if self.margin is not None and not math.isfinite(self.margin):
            raise RunError(f"--margin is {self.margin}, but must be finite and at least 0")
        self._check_dream(off_policy)
        if self.demos is not None:
            self._check_offline(off_policy)
        first = max(self.dream_every, 250) + 1 if off_policy else self.dream_every  # type: ignore[operator, type-var]
        if self.demos is None and not ROLES["world"].is_empty(self.world) and self.steps < first:  # type: ignore[operator]
            raise RunError(
                f"--steps is {self.steps}, but the model is fitted after {first} real steps for the first time; give more, "
                "or leave the model out by --world none"
            )
        if not 0 < self.share < 1:
            raise RunError(f"--share is {self.share}, but must be above 0 and below 1")
        if self.stop_quantile is not None and not 0 < self.stop_quantile <= 1:
            raise RunError(f"--stop-quantile is {self.stop_quantile}, but must be above 0 and at most 1")
        if not off_policy and not ROLES["reward"].is_empty(self.reward):
            raise RunError(
                f"--reward {self.reward} was given, but {self.learner} learns in dreams, where no reward but the model's is paid; "
                "type --eta 1 to explore by the model's uncertainty, or --learner sac"
            )

    @classmethod
    def kind(cls, demos: object = None) -> str:
        """Whose defaults the parts of a run have: those of the command, or of an offline dream."""
        return cls.command if demos is None else "offline dream"

    def _by_default(self, off_policy: bool) -> dict[str, Any]:
        values: dict[str, Any] = {"dream_every": 250, "horizon": 1, "dreamed_steps": 10_000, "normalize_reward": False}
        if not off_policy:
            values = {"dream_every": 500, "horizon": 50, "dreamed_steps": 150_000, "normalize_reward": True, "margin": 0.25}
        if self.demos is None:
            wide = {} if off_policy else {"rows": 256, "dream_batch": 1024}
            return values | wide | {"steps": 3000, "n_envs": 1, "eta": 0.0, "fit_steps": 500}
        return values | {"steps": 500_000, "n_envs": 256, "eta": -10.0, "fit_steps": 3000}

    def _check_dream(self, off_policy: bool) -> None:
        """Refuse flags of a dream that the learner does not have."""
        for name in ("rows", "dream_batch", "margin"):
            value, flag = getattr(self, name), f"--{name.replace('_', '-')}"
            if value is None:
                continue
            if off_policy:
                raise RunError(f"{flag} is {value}, but {self.learner} has imagined transitions in its batches; leave it out")
            if self.demos is not None and name != "margin":
                cure = "--n-envs" if name == "rows" else "--learner.batch-size"
                raise RunError(f"{flag} is {value}, but with --demos the dream is the task; type {cure} {value}")

    def _check_offline(self, off_policy: bool) -> None:
        """Refuse what has no meaning where the dream is the task."""
        if off_policy:
            raise RunError(
                f"--demos was given, but {self.learner} has a replay buffer; a dream alone needs rollouts, so type --learner ppo"
            )
        if ROLES["world"].is_empty(self.world):
            raise RunError("--demos was given, but --world is none, and there would be nothing to learn in; leave --world out")
        if self.encoder is not None or self.subproc:
            raise RunError("--demos was given, but a dream has neither images nor processes; leave --encoder and --subproc out")


NAMES_CODE = re.compile(r"(.*_)?(id|entry_point|import|imports|module|plugin|class|cls|file|path|dir|folder)")
"""Keywords of tasks that name another task, code or a file."""


def foreign(env_kwargs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Keywords of a task, and their values, that could make it import a module or read a file: a `module:Name`, a path, or `env_id`.

    Example:
        >>> list(foreign({"threshold": 0.5, "maze": ["large", 3], "xml_file": "ant.xml", "inner": {"make": "evil:Task-v0"}}))
        [('xml_file', 'ant.xml'), ('inner', 'evil:Task-v0')]
    """
    for name, value in env_kwargs.items():
        for word in _strings(value):
            if NAMES_CODE.fullmatch(name) or {":", "/", "\\"} & set(word):
                yield name, word


def _strings(value: Any) -> Iterator[str]:
    """All strings in nested plain values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from (*_strings(key), *_strings(item))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)


def is_off_policy(learner: str) -> bool:
    """Whether the learner of this name has a replay buffer; a `module:Class` is taken to have none.

    Example:
        >>> is_off_policy("QR-DQN"), is_off_policy("ppo")
        (True, False)
    """
    part = LEARNERS.find(learner)
    return part is not None and part.off_policy
