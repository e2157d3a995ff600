"""What a run with a model of its task is, beyond what every run has. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from genrl.errors import RunError, flag_of
from genrl.roles import ROLES
from genrl.runs.config.run import RunConfig, is_off_policy

__all__ = ["DreamConfig"]

LARGEST = 1e6
"""Weight of the uncertainty from which on the task's own reward would be lost in a float32."""


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
    """Any reward of `genrl list rewards` that asks for no demonstrations, for a learner with a replay buffer; or `none`."""
    world: str = "ensemble"
    """The model of the task: any of `genrl list worlds`, `module:Class` for your own Dynamics, or `none`, the control."""
    demos: Path | None = None
    """Recorded steps of any quality, with rewards, as `genrl record` makes them: the learner then learns in a dream of these alone, and
    never touches the task, made with the keywords that they were recorded with, before it is evaluated."""
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
        if not abs(self.eta) < LARGEST:  # type: ignore[arg-type]  # also of NaN
            raise RunError(f"--eta is {self.eta}, but must be between -{LARGEST:g} and {LARGEST:g}")
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
        self._check_used(off_policy)
        if not off_policy and not ROLES["reward"].is_empty(self.reward):
            raise RunError(
                f"--reward {self.reward} was given, but {self.learner} learns in dreams, where no reward but the model's is paid; "
                "type --eta 1 to explore by the model's uncertainty, or --learner sac"
            )

    @classmethod
    def kind(cls, demos: object = None) -> str:
        """Key of the parts' defaults: the command, or `offline dream` with demonstrations."""
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
        """Refuse flags of a dream that the learner does not have, and a branch that is longer than all that is dreamed."""
        if off_policy and self.horizon > self.dreamed_steps:  # type: ignore[operator]
            raise RunError(
                f"--horizon is {self.horizon}, but --dreamed-steps is {self.dreamed_steps}, less than a single dream; "
                "shorten the one or raise the other"
            )
        for name in ("rows", "dream_batch", "margin"):
            value, flag = getattr(self, name), flag_of(name)
            if value is None:
                continue
            if off_policy:
                raise RunError(f"{flag} is {value}, but {self.learner} has imagined transitions in its batches; leave it out")
            if self.demos is not None and name != "margin":
                cure = "--n-envs" if name == "rows" else "--learner.batch-size"
                raise RunError(f"{flag} is {value}, but with --demos the dream is the task; type {cure} {value}")

    def _check_used(self, off_policy: bool) -> None:
        """Refuse flags that would change nothing."""
        if self.stop_quantile is not None and self.horizon == 1:
            raise RunError(
                f"--stop-quantile is {self.stop_quantile}, but in a dream of one step there is nothing to stop; give more by --horizon, "
                "or leave it out"
            )
        if not off_policy and self.share != DreamConfig.share:
            raise RunError(f"--share is {self.share}, but {self.learner} practises in dreams, and has no batches to share; leave it out")
        for name in ("dream_every", "dreamed_steps"):
            value, usual = getattr(self, name), self._by_default(off_policy)[name]
            if self.demos is not None and value != usual:
                raise RunError(f"{flag_of(name)} is {value}, but with --demos the dream is the task, of --steps steps; leave it out")

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
