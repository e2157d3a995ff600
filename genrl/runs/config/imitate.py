"""What an imitation is, beyond what every run has. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from genrl.errors import RunError
from genrl.roles import NONE, REWARDS, plain_name
from genrl.runs.config.run import RunConfig, is_off_policy

__all__ = ["ImitateConfig"]

ON_POLICY = {"steps": 300_000, "n_envs": 16, "clone": 500, "critic_warmup": 0, "expert_fraction": 0.0, "weight": 0.05}
OFF_POLICY = {"steps": 50_000, "n_envs": 1, "clone": 0, "critic_warmup": 0, "expert_fraction": 0.5, "weight": 0.1}
"""What does well in an imitation, by the kind of learner."""
FILES = (".hdf5", ".h5", ".npz")
"""Endings of demonstrations in one file."""


@dataclass(frozen=True)
class ImitateConfig(RunConfig):
    """Train a Stable-Baselines3 learner to do as demonstrations do, by the reward of a discriminator, and keep everything about it in a
    run directory. With `--reward none` it is paid by the task, and the demonstrations help it."""

    command: ClassVar[str] = "imitate"
    fewest_steps: ClassVar[int] = 0

    demos: Path | None = None
    """Demonstrations: a Minari data set or its HDF5 file, or an npz file. `genrl record` makes them."""
    env: str = ""
    """The task. By default the one that the demonstrations name."""
    learner: str = "ppo"
    """Any learner of `genrl list learners`, or `module:Class` for another. ppo takes the fewest minutes, sac by far the fewest steps."""
    reward: str = "gail"
    """gail, gaifo (states alone), airl, vail, diffail, pwil (optimal transport), sqil, constant (the control), `module:Class` for your own
    RewardModel, or none: the task's own reward, with demonstrations in the batches (RLPD), or on a cloned policy."""
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
    demonstrated_starts: float = 0.0
    """Share of the training's steps that are made in episodes from a demonstrated state, so that late parts of what an expert does are
    practised early. It takes a MuJoCo task whose observations begin with positions and speeds, or demonstrations with their seeds, which
    are lived again. Returns in training are then of both kinds of episode; evaluation begins where the task does."""
    average: float = 0.0
    """Share of the steps, at the end, over whose policies the parameters are averaged. The average is evaluated too, and kept as
    average.safetensors. By default there is none."""
    weight: float | Literal["auto"] | None = None  # type: ignore[assignment]
    """Weight of the reward. By default 0.05, so that the sums of rewards that a fresh critic must learn are small numbers, or 0.1 for a
    learner with a replay buffer. `auto` holds it at half of what the learner is paid, beside the task's own reward
    (`--extrinsic-weight`)."""
    memory_size: int = 20_000
    """Number of recent transitions that the reward can learn from, for a learner without a replay buffer: ten rollouts, since an agent
    that is long past teaches nothing of how it differs from the expert now."""
    extrinsic_weight: float | None = None  # type: ignore[assignment]
    """Weight of the environment's own reward. By default 0, so that the learner learns from the demonstrations alone, or 1 with
    `--reward none`."""
    n_envs: int | None = None  # type: ignore[assignment]
    """Number of environments that are stepped together. By default 16, or 1 for a learner with a replay buffer."""
    normalize_obs: bool = True
    """Normalise the observations that the learner sees (VecNormalize), by the demonstrations' statistics where a policy is cloned or
    demonstrations are in the batches. Images and discrete observations stay as they are."""
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

    @property
    def labels(self) -> dict[str, str]:
        """What stands for each part in the run's name: `cloned` for the reward of cloning alone, and `demos` for none."""
        return super().labels | ({"reward": "cloned"} if not self.steps else {"reward": "demos"} if self.reward.lower() == NONE else {})

    @property
    def directory(self) -> Path:
        """Where the run is kept. The folder of a Minari data set is often named by its version alone, so the one above it is named too."""
        folder = super().directory
        if self.out is not None or self.env or self.demos is None or self.demos.suffix in FILES:
            return folder
        return folder.with_name(f"{self.demos.absolute().parent.name}-{folder.name}")

    def __post_init__(self) -> None:
        for name, value in self._by_default().items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        super().__post_init__()
        self.check_least(episodes=1, every=1, clone=0, critic_warmup=0, demos_seed=0)
        self.check_most(demos_seed=2**32 - 1)
        if not 0 <= self.average <= 1:
            raise RunError(f"--average is {self.average}, but must be a share of the steps, such as 0.2")
        if not 0 <= self.demonstrated_starts <= 1:
            raise RunError(f"--demonstrated-starts is {self.demonstrated_starts}, but must be a share of the steps, such as 0.5")
        if self.reward.lower() == NONE and self.extrinsic_weight == 0 and self.steps:
            raise RunError(
                "--reward is none and --extrinsic-weight is 0, so nothing pays; leave --extrinsic-weight out, or type --steps 0 for "
                "cloning alone"
            )
        if self._sees_no_demonstrations and self.extrinsic_weight == 0 and self.steps:
            raise RunError(
                f"--reward {self.reward} sees nothing of the demonstrations and --extrinsic-weight is 0, so novelty alone pays; "
                "add --extrinsic-weight 1 for the task's own reward, or type --reward gail"
            )
        if not self.steps and not self.clone:
            raise RunError("--steps is 0 and --clone is 0, so there is nothing to do; leave --clone out for behaviour cloning alone")
        if not 0 <= self.expert_fraction < 1:  # type: ignore[operator]  # it has its default now
            raise RunError(f"--expert-fraction is {self.expert_fraction}, but must be at least 0 and below 1")

    @property
    def _sees_no_demonstrations(self) -> bool:
        """Whether the reward is a bonus of exploration. A constant one is the control, and nobody knows of a user's own."""
        part = REWARDS.find(self.reward)
        return part is not None and part.name != "constant" and "demonstrations" not in part.needs

    def _by_default(self) -> dict[str, Any]:
        """What does well with the chosen learner and reward. The control, a constant reward, sees nothing of the demonstrations."""
        values = dict(OFF_POLICY if is_off_policy(self.learner) else ON_POLICY)
        values["extrinsic_weight"] = float(self.reward.lower() == NONE)
        if self.steps == 0:
            values["clone"] = ON_POLICY["clone"]
            return values
        if self.reward.lower() == "constant":
            values |= {"clone": 0, "expert_fraction": 0.0}
        elif plain_name(self.learner) == "recurrentppo":
            values["clone"] = 0  # single pairs can't teach a memory
        cloned = values["clone"] if self.clone is None else self.clone
        if cloned and plain_name(self.learner) in ("ppo", "maskableppo", "a2c"):
            values["critic_warmup"] = 20_480
        return values
