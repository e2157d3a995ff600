"""The on-policy road: between two rollouts of the real task, the policy learns inside a dream of it."""

from __future__ import annotations

import inspect
import time
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from sb3_contrib import MaskablePPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from genrl.errors import at_least, require
from genrl.models.dynamics import Dynamics, FitReport
from genrl.sb3.hooks import OnPolicyPart, attached, buffer_of
from genrl.sb3.learner import remaining
from genrl.sb3.observations import RawObservations
from genrl.sb3.plugged import companions, refuse_events
from genrl.sb3.rollout import executed_actions
from genrl.sb3.running import lent
from genrl.sb3.state import generator_state, set_generator_state
from genrl.transitions import terminations
from genrl.worlds.dream import DreamVecEnv
from genrl.worlds.real import Record, check_fit, check_world

__all__ = ["Practice"]

OWN = {"policy", "env", "n_steps", "batch_size", "seed", "device", "verbose", "tensorboard_log", "policy_kwargs", "_init_setup_model"}
"""Keywords of a learner that its practice has values of its own for."""
CHOSEN = {"rollout_buffer_class"}
"""Keywords that the learner fills in by its observations (on_policy_algorithm.py, _setup_model)."""


class Practice(BaseCallback):
    r"""Lets an on-policy learner practise in a dream after every rollout of the real task.

    Before a rollout, once there are ``every`` new real steps, and after the last one, the model is fitted to all real transitions so far;
    then a second learner of the same class and settings, which shares the policy, learns for ``dreamed_steps`` in a
    :class:`~genrl.worlds.DreamVecEnv`. The learner itself is untouched: it collects with the practised policy, and learns from its real
    rollouts as it always does.

    A ``VecNormalize`` of the task normalises the dream too, by the statistics of the real steps.

    Differences from the paper: there a practice ends when the policy no longer improves in most of the models, here after
    ``dreamed_steps``; there each step asks another model, here a row asks the same one throughout; and any on-policy learner practises.

    Args:
        dynamics: the model, made with the spaces of the task.
        dreamed_steps: dreamed steps of each practice.
        every: new real steps from one practice to the next; at least 50, which a model needs to be fitted.
        n_envs, horizon, eta, stop_quantile, stop_scale, margin: see :class:`~genrl.worlds.DreamVecEnv`.
        n_steps: steps of each dreamed rollout, for every row.
        batch_size: minibatch size in the dream, for a learner that has minibatches.
        fit: keywords of the model's ``fit``, such as ``max_steps``.
        name: its name in the log; two of one ``learn`` need two names.
        seed: of all draws.

    Raises:
        ValueError: a value out of its range, or a keyword that the model's ``fit`` does not take; when it is given to another callback than
            a list; when ``learn`` starts, before the first environment step, a learner with a replay buffer, of another task than the
            model's or with another number of environments than in a ``learn`` before, another one of its name, or a ``RewardCallback``
            beside it, which its dreams would not pay.

    References:
        Kurutach, Clavera, Duan, Tamar, Abbeel, "Model-Ensemble Trust-Region Policy Optimization", 2018, arXiv:1802.10592.

    Example:
        >>> from stable_baselines3 import PPO
        >>> from genrl.worlds import Ensemble
        >>> model = PPO("MlpPolicy", "Pendulum-v1", n_steps=64)
        >>> world = Ensemble(model.observation_space, model.action_space, members=2, hidden=(8,))
        >>> practice = Practice(world, dreamed_steps=64, every=64, n_envs=4, n_steps=8, batch_size=16, fit={"max_steps": 5})
        >>> _ = model.learn(128, callback=practice)
    """

    trains_policy: ClassVar[bool] = True
    """It trains the learner's policy between the learner's own updates."""

    def __init__(
        self,
        dynamics: Dynamics,
        dreamed_steps: int = 150_000,
        *,
        every: int = 500,
        n_envs: int = 256,
        horizon: int = 50,
        n_steps: int = 32,
        batch_size: int = 1024,
        eta: float = 0.0,
        stop_quantile: float | None = None,
        stop_scale: float = 1.0,
        margin: float = 0.25,
        fit: Mapping[str, Any] | None = None,
        name: str = "practice",
        seed: int = 0,
    ) -> None:
        super().__init__()
        require(Practice, *at_least(1, dreamed_steps=dreamed_steps, n_steps=n_steps, batch_size=batch_size), *at_least(50, every=every))
        check_fit(dynamics, fit or {})
        self.dynamics, self.dreamed_steps, self.every, self.n_steps, self.batch_size = dynamics, dreamed_steps, every, n_steps, batch_size
        self.fit, self.name, self.seed = dict(fit or {}), name, seed
        self.generator = torch.Generator().manual_seed(seed)
        stop: dict[str, Any] = {"stop_quantile": stop_quantile, "stop_scale": stop_scale}
        self.dream = DreamVecEnv(dynamics, None, n_envs, horizon, eta=eta, margin=margin, seed=seed, **stop)
        self.record = Record()
        self.report: FitReport | None = None
        """Report of the last fit."""
        self._practised_on, self._remaining = 0, 1.0
        self._raw: RawObservations | None = None

    def __repr__(self) -> str:
        return f"Practice({type(self.dynamics).__name__}, dreamed_steps={self.dreamed_steps}, every={self.every})"

    def check(self, model: BaseAlgorithm) -> None:
        """Refuse a learner that can't practise; ``learn`` does so too.

        Raises:
            ValueError: a learner with a replay buffer, or of another task than the model's.
        """
        if not isinstance(model, OnPolicyAlgorithm):
            raise ValueError(
                f"{type(model).__name__} has a replay buffer, into whose batches dreams can go; use Imagination in place of Practice"
            )
        if isinstance(model, MaskablePPO):
            raise ValueError("MaskablePPO needs the masks of the task, which a model does not know; use PPO")
        check_world(self.dynamics, model)

    def state_dict(self) -> dict[str, Any]:
        """The model, the real transitions and the generators, for :func:`genrl.files.save_state`."""
        return {
            "dynamics": self.dynamics.state_dict(),
            "record": self.record.state_dict(),
            "generator": self.generator.get_state(),
            "dream": self.dream.generator.get_state(),
            "practised_on": self._practised_on,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        self.dynamics.load_state_dict(state["dynamics"])
        self.record.load_state_dict(state["record"])
        self.generator.set_state(state["generator"])
        self.dream.generator.set_state(state["dream"])
        self._practised_on = state["practised_on"]

    # --- Stable-Baselines3's events ---

    def _on_training_start(self) -> None:
        refuse_events(self, self.parent)
        self.check(self.model)
        namesakes = [other for other in companions(self) if isinstance(other, Practice) and other.name == self.name]
        if namesakes.count(self) > 1:
            raise ValueError("the same Practice is twice in the list, and would record every step twice; leave one of them out")
        if len(namesakes) > 1:
            raise ValueError(f"two callbacks are named {self.name!r} and would log over each other; give one of them another name")
        if self.record.n_envs not in (0, self.model.n_envs):
            raise ValueError(
                f"this Practice has recorded steps of {self.record.n_envs} environments, but {type(self.model).__name__} has "
                f"{self.model.n_envs}; make a new one for it, with the same model of the task: Practice(practice.dynamics)"
            )
        self._raw = RawObservations(self.model)
        model: Any = self.model
        rollout = model.n_steps * model.n_envs  # of which the last one is finished
        left, least = -(-(self.locals["total_timesteps"] - self.num_timesteps) // rollout) * rollout, max(50, self.every // 2)
        if not self._practised_on and len(self.record) + left < least:
            warnings.warn(
                f"Practice needs {least} real steps, half of every={self.every} and at least 50, but there are {left}, so nothing is "
                "practised; lower every, or make more steps",
                stacklevel=2,
            )

    def _on_step(self) -> bool:
        assert self._raw is not None
        new_obs, rewards, dones, infos = (self.locals[key] for key in ("new_obs", "rewards", "dones", "infos"))
        obs, next_obs = self._raw.step(new_obs, dones, infos)
        reward = np.array(self._raw.rewards(rewards), dtype=np.float32)
        self._raw.check_finite(next_obs, reward)
        self.record.add(obs, executed_actions(self.locals), next_obs, terminations(dones, infos), reward)
        return True

    def _on_rollout_start(self) -> None:
        if any(isinstance(part, OnPolicyPart) for part in attached(buffer_of(self.model))):  # every callback of the list has started
            raise ValueError(
                "a RewardCallback pays in real rollouts alone, not in the dreams of Practice; give Practice eta=1 to explore by the "
                "model's uncertainty, or let SAC learn from Imagination, whose rows are paid by every reward"
            )
        self._remaining = remaining(self.model)
        if len(self.record) - self._practised_on >= self.every:  # and so not twice after a resume
            self._practise()

    def _on_training_end(self) -> None:
        if len(self.record) - self._practised_on >= max(50, self.every // 2):  # but not for the few steps before an interrupt
            self._practise()
        if self._raw is not None:
            self._raw.close()
        self._raw = None

    def _practise(self) -> None:
        """Fit the model, and learn in the dream with the learner's own policy."""
        self._practised_on = len(self.record)
        transitions, reward = self.record.transitions()
        began = time.perf_counter()
        self.report = self.dynamics.fit(transitions, reward, **self.fit)
        fitted = time.perf_counter()
        self.dream.set_starts(transitions)
        before, generators, model = dict(self.dream.counters), generator_state(), self.model
        try:  # the learner's own draws stay as they are
            inner = self._second(int(torch.randint(2**31, (), generator=self.generator)))
            inner.policy = model.policy
            with lent(model.policy):
                inner.learn(self.dreamed_steps)
        finally:
            set_generator_state(generators)
        # on_policy_algorithm.py, collect_rollouts: sets this, and draws gSDE's noise, before `on_rollout_start`.
        model.policy.set_training_mode(False)
        if getattr(model, "use_sde", False):
            model.policy.reset_noise(model.n_envs)  # type: ignore[operator]
        spent = {"fit_seconds": fitted - began, "dream_seconds": time.perf_counter() - fitted}
        counted = {name: value - before[name] for name, value in self.dream.counters.items()}
        said = {"held_out_loss": self.report.held_out_loss, "skill": self.report.skill, "fit_steps": self.report.steps}
        for key, value in (said | spent | counted).items():
            self.logger.record(f"{self.name}/{key}", value)

    def _second(self, seed: int) -> Any:
        """A learner of the same class and settings, in the dream."""
        model: Any = self.model
        names = inspect.signature(type(model)).parameters
        kwargs = {name: self._now(getattr(model, name)) for name in names if name not in OWN | CHOSEN and hasattr(model, name)}
        kwargs |= {"batch_size": min(self.batch_size, self.n_steps * self.dream.num_envs)} if "batch_size" in names else {}
        return type(model)(
            model.policy_class,
            self._normalized(),
            n_steps=self.n_steps,
            policy_kwargs=model.policy_kwargs,
            seed=seed,
            device=model.device,
            **kwargs,
        )

    def _now(self, value: Any) -> Any:
        """A schedule as its number at the last real rollout: it falls over the real steps, not within each practice."""
        return float(value(self._remaining)) if callable(value) else value

    def _normalized(self) -> VecEnv:
        """The dream, normalised by the statistics of the real task where that is normalised."""
        own = self.model.get_vec_normalize_env()
        if own is None:
            return self.dream
        settings = {name: getattr(own, name) for name in ("norm_obs", "norm_reward", "clip_obs", "clip_reward", "gamma", "epsilon")}
        env = VecNormalize(self.dream, training=False, **settings)
        env.ret_rms = own.ret_rms
        if own.norm_obs:
            env.obs_rms = own.obs_rms
        return env
