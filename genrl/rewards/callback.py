"""The callback that plugs any reward into any Stable-Baselines3 learner."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, EventCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from torch import Tensor

from genrl.data import Demonstrations
from genrl.errors import at_least, require
from genrl.rewards.base import Memory, RewardModel
from genrl.rewards.memory import TransitionPool
from genrl.sb3.actions import refuse_actions
from genrl.sb3.batches import ExpertBatches
from genrl.sb3.hooks import OffPolicyPart, OnPolicyPart, attach, detach
from genrl.sb3.observations import RawObservations
from genrl.sb3.replay import ReplayMemory, as_transitions
from genrl.transitions import Transitions, check_finite

__all__ = ["RewardCallback"]


class RewardCallback(BaseCallback):
    r"""Lets a learner train on another reward, for the ``learn`` that it is given to.

    .. math:: r = w_{\text{ext}} \, r_{\text{env}} + w \, r_{\text{model}}(s, a, s'),

    :math:`r_{\text{env}}` what the learner would have used by itself, after ``VecNormalize`` if there is one; the model's part is not
    rescaled by it. On-policy, each rollout is scored in one call before advantages are computed. Off-policy, the buffer keeps the
    environment's reward and a batch is scored when it is drawn, so no bonus is ever stale. Several callbacks add up, and their extrinsic
    weights multiply. With ``weight=0`` and ``extrinsic_weight=1`` when ``learn`` starts, the callback does nothing at all.

    The bonus is logged under ``reward/``; the environment's own return stays ``rollout/ep_rew_mean``.

    Args:
        reward: the model that scores transitions.
        weight: w.
        extrinsic_weight: of the environment's reward; 0 trains on the model's reward alone.
        update_every: environment steps between two updates of the reward, off-policy; on-policy it is a rollout.
        memory_size: transitions that the reward can learn from, on-policy; off-policy it is the replay buffer.
        demonstrations: of the task, for ``expert_fraction``.
        expert_fraction: share of demonstrated transitions in each batch that an off-policy learner draws, in [0, 1), rewarded like its
            own (HyPER's trick).
        name: first part of the names in the log.
        seed: of what the reward draws from its memory.

    Raises:
        ValueError: at construction, a weight that is not finite; when it is given to another callback than a list; when ``learn`` starts,
            before the first environment step, a learner, buffer, wrapper or space that the reward can't serve.
        FloatingPointError: an observation, reward or bonus is NaN or infinite; names the environment and the step.

    Example:
        >>> from stable_baselines3 import PPO
        >>> from genrl.rewards import VIME, RewardCallback
        >>> model = PPO("MlpPolicy", "Pendulum-v1", n_steps=64)
        >>> vime = VIME(model.observation_space, model.action_space)
        >>> _ = model.learn(64, callback=RewardCallback(vime, weight=1e-3))
    """

    def __init__(
        self,
        reward: RewardModel,
        weight: float = 1.0,
        extrinsic_weight: float = 1.0,
        update_every: int = 1000,
        memory_size: int = 100_000,
        demonstrations: Demonstrations | None = None,
        expert_fraction: float = 0.0,
        name: str = "reward",
        seed: int = 0,
    ) -> None:
        super().__init__()
        require(
            RewardCallback,
            ("weight", weight, math.isfinite(weight), "finite"),
            ("extrinsic_weight", extrinsic_weight, math.isfinite(extrinsic_weight), "finite"),
            *at_least(1, update_every=update_every),
        )
        if not 0 <= expert_fraction < 1 or (expert_fraction and demonstrations is None):
            raise ValueError(
                f"RewardCallback needs expert_fraction in [0, 1) and, above 0, demonstrations, but was given {expert_fraction} and "
                f"{'some' if demonstrations is not None else 'none'}"
            )
        self.reward, self.weight, self.extrinsic_weight = reward, weight, extrinsic_weight
        self.update_every, self.name = update_every, name
        self.demonstrations, self.expert_fraction = demonstrations, expert_fraction
        self.pool = TransitionPool(memory_size, seed)
        self.last_bonus = np.zeros((0, 0), dtype=np.float32)
        """Unweighted bonus of the newest transitions, ``(time, env)``."""
        self._generator = torch.Generator().manual_seed(seed)
        self._steps: list[tuple[np.ndarray, ...]] = []
        self._part: OnPolicyPart | OffPolicyPart | None = None
        self._raw: RawObservations | None = None
        self._replay: ReplayMemory | None = None
        self._restored: dict[str, Any] | None = None

    @property
    def parent(self) -> BaseCallback | None:
        """The callback that this one is given to, if it isn't given to ``learn``."""
        return self._parent

    @parent.setter
    def parent(self, parent: BaseCallback | None) -> None:
        # callbacks.py: EventCallback sets itself when it is made, and CallbackList passes its own on before the first step.
        if isinstance(parent, EventCallback):
            raise ValueError(
                f"RewardCallback is inside {type(parent).__name__} and would miss steps; give it to learn() itself, or in a list beside it"
            )
        self._parent = parent

    @property
    def active(self) -> bool:
        """Whether the callback changes anything."""
        return self.weight != 0 or self.extrinsic_weight != 1 or self.expert_fraction > 0

    def state_dict(self) -> dict[str, Any]:
        """State of the reward and of its memory, for :func:`genrl.files.save_state`."""
        return {
            "reward": self.reward.state_dict(),
            "pool": self.pool.state_dict(),
            "generator": self._generator.get_state(),
            "replay": self._restored if self._replay is None else self._replay.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` gave; the off-policy memory is the learner's replay buffer and is saved with it."""
        self.reward.load_state_dict(state["reward"])
        self.pool.load_state_dict(state["pool"])
        self._generator.set_state(state["generator"])
        self._replay, self._restored = None, state["replay"]

    # --- Stable-Baselines3's events ---

    def _init_callback(self) -> None:
        self._part, self._raw = None, None  # of a learn that crashed

    def _on_training_start(self) -> None:
        if not self.active:
            return
        _refuse_model(self.model, self.reward)
        self.check_mixing(self.model)
        self._probe()
        self._raw = RawObservations(self.model)
        if isinstance(self.model, OffPolicyAlgorithm):
            self._replay = self._memory_of_replay(self.model, self._raw)
            self._part = OffPolicyPart(
                self._score_cells, self._replay.stored, self.extrinsic_weight, self._score_expert, self._expert_batches(self.model)
            )
        else:
            self._replay = None
            self._part = OnPolicyPart(self._rollout_env_rewards, self._score_rollout, self.extrinsic_weight)
        attach(self.model, self._buffer, self._part)

    def _on_rollout_start(self) -> None:
        self._steps.clear()

    def _on_step(self) -> bool:
        if self._part is None or self._raw is None:
            if self.active:
                raise RuntimeError(
                    "RewardCallback was not active when the training started; give it, with its weight, to learn() itself, or in a list"
                )
            return True
        new_obs, rewards, dones, infos = (self.locals[key] for key in ("new_obs", "rewards", "dones", "infos"))
        obs, next_obs = self._raw.step(new_obs, dones, infos)
        check_finite(next_obs, self._raw.rewards(rewards), self.num_timesteps)
        terminated = np.array(dones, dtype=bool)
        if next_obs is not self._raw.obs:  # somewhere an episode has ended and another begun
            check_finite(self._raw.obs, rewards, self.num_timesteps)
            terminated &= [not info.get("TimeLimit.truncated", False) for info in infos]
        if self._replay is None:
            # on_policy_algorithm.py, collect_rollouts: the environment got `clipped_actions`; ppo_mask.py has only discrete `actions`.
            action = self.locals.get("clipped_actions", self.locals["actions"])
            # `rewards` is changed in place by the bootstrap of truncated episodes, after this.
            self._steps.append((obs, np.array(action), next_obs, terminated, np.array(rewards, dtype=np.float32)))
        return True

    def _on_rollout_end(self) -> None:
        # Off-policy the step's row is stored only after `on_step`.
        if self._part is not None and self._replay is not None and self._replay.unseen * self._replay.buffer.n_envs >= self.update_every:
            bonus = self._learn_and_score(self._replay.latest, self._replay)
            self.last_bonus = bonus.reshape(-1, self._replay.buffer.n_envs)
            self._replay.unseen = 0

    def _on_training_end(self) -> None:
        if self._part is not None and self._raw is not None:
            detach(self._buffer, self._part)
            self._raw.close()
        self._part, self._raw = None, None

    # --- scoring ---

    def _memory_of_replay(self, model: OffPolicyAlgorithm, raw: RawObservations) -> ReplayMemory:
        """The learner's replay buffer; what is known of its rows from a learn before, or from a saved state, stays known."""
        memory = ReplayMemory(model, raw, self._generator, self._dtype)
        if self._restored is not None:
            memory.load_state_dict(self._restored)
        elif self._replay is not None and self._replay.buffer is memory.buffer:
            memory.load_state_dict(self._replay.state_dict())
        self._restored = None
        return memory

    @property
    def _buffer(self) -> Any:
        return self.model.replay_buffer if isinstance(self.model, OffPolicyAlgorithm) else self.model.rollout_buffer  # type: ignore[attr-defined]

    @property
    def _dtype(self) -> torch.dtype:
        return next((parameter.dtype for parameter in self.reward.parameters()), torch.float32)

    def _rollout_env_rewards(self) -> np.ndarray:
        return np.stack([step[-1] for step in self._steps])

    def _score_rollout(self) -> np.ndarray:
        n_steps = self._buffer.rewards.shape[0]
        if len(self._steps) != n_steps:
            raise RuntimeError(
                f"RewardCallback saw {len(self._steps)} of the rollout's {n_steps} steps; give it to learn() itself, or in a list"
            )
        obs, action, next_obs, terminated, _ = (np.concatenate(field) for field in zip(*self._steps, strict=True))
        rollout = as_transitions(obs, action, next_obs, terminated, self._dtype)
        self.pool.add(rollout)
        self.last_bonus = self._learn_and_score(rollout, self.pool).reshape(n_steps, -1)
        return self.weight * self.last_bonus

    def _score_cells(self, rows: np.ndarray, envs: np.ndarray) -> np.ndarray:
        assert self._replay is not None
        self.reward.eval()
        steps = self.num_timesteps - self._replay.age(rows) * self._replay.buffer.n_envs
        return self.weight * self._score(self._replay.cells(rows, envs), envs, steps)

    def _score_expert(self, transitions: Transitions) -> np.ndarray:
        self.reward.eval()
        with torch.no_grad():
            scores: np.ndarray = self.reward.of_expert(transitions).cpu().numpy().astype(np.float32)
        return self.weight * scores

    def check_mixing(self, model: BaseAlgorithm) -> None:
        """Refuse a learner whose batches can't hold the demonstrations that they should; ``learn`` does so too.

        Raises:
            ValueError: a reward that needs them, or an ``expert_fraction``, for a learner without a replay buffer.
        """
        off_policy, mixed = isinstance(model, OffPolicyAlgorithm), self.demonstrations is not None and self.expert_fraction > 0
        learner, name = type(model).__name__, type(self.reward).__name__
        if self.reward.needs_expert_batches and not (off_policy and mixed):
            raise ValueError(
                f"{name} needs demonstrations in the batches of an off-policy learner; use SAC or another one with a replay buffer, and "
                "RewardCallback(…, demonstrations=demos, expert_fraction=0.5)"
            )
        if mixed and not off_policy and self.expert_fraction:
            raise ValueError(f"{learner} has no replay buffer into whose batches demonstrations could go; use expert_fraction=0")

    def _expert_batches(self, model: OffPolicyAlgorithm) -> ExpertBatches | None:
        if self.demonstrations is None or self.expert_fraction == 0:
            return None
        return ExpertBatches(self.demonstrations, model, self.expert_fraction, self._generator)

    def _learn_and_score(self, latest: Transitions, memory: Memory) -> np.ndarray:
        """Score new transitions and update the reward, in the order that it asks for."""
        self.reward.train()
        n_envs = self.model.n_envs
        n_steps = latest.batch_size // n_envs
        envs, steps = np.tile(np.arange(n_envs), n_steps), self.num_timesteps - np.repeat(np.arange(n_steps)[::-1] * n_envs, n_envs)
        if self.reward.learns_first:
            metrics = self.reward.update(memory)
            bonus = self._score(latest, envs, steps)
        else:
            bonus = self._score(latest, envs, steps)
            metrics = self.reward.update(memory)
        for key, value in {"bonus_mean": bonus.mean(), "bonus_std": bonus.std(), "bonus_max": bonus.max(), **metrics}.items():
            self.logger.record(f"{self.name}/{key}", float(value))
        return bonus

    @torch.no_grad()
    def _score(self, transitions: Transitions, envs: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Unweighted bonus ``(batch,)`` of transitions that these environments made at these steps."""
        scores: np.ndarray = self._forward(transitions).cpu().numpy().astype(np.float32)
        if not np.isfinite(scores).all():
            row = int(np.flatnonzero(~np.isfinite(scores))[0])
            raise FloatingPointError(
                f"{type(self.reward).__name__} gave the reward {scores[row]} to what environment {envs[row]} did at step {steps[row]}; "
                "lower its learning rate or look at the observations"
            )
        return scores

    def _forward(self, transitions: Transitions) -> Tensor:
        bonus = self.reward(transitions)
        if not isinstance(bonus, Tensor) or bonus.shape != (transitions.batch_size,):
            given = f"shape {tuple(bonus.shape)}" if isinstance(bonus, Tensor) else f"a {type(bonus).__name__}"
            raise ValueError(
                f"{type(self.reward).__name__}.forward gave {given} for {transitions.batch_size} transitions; "
                f"it needs ({transitions.batch_size},), one reward each: squeeze or sum the rest"
            )
        return bonus

    @torch.no_grad()
    def _probe(self) -> None:
        """Give ``forward`` a made-up batch, so that a wrong shape shows before the first step; nothing is kept of it."""
        n = 64  # more than a neighbour-based reward has neighbours
        spaces_ = (self.model.observation_space, self.model.action_space, self.model.observation_space)
        obs, action, next_obs = (np.zeros((n, *space.shape), dtype=space.dtype) for space in spaces_)  # type: ignore[misc]
        if isinstance(self.model.action_space, spaces.Discrete):
            action += self.model.action_space.start
        generators = self.reward.get_extra_state()["generators"]
        self.reward.eval()
        self._forward(as_transitions(obs, action, next_obs, np.zeros(n, dtype=bool), self._dtype))
        for name, state in generators.items():
            getattr(self.reward, name).set_state(state)


def _refuse_model(model: Any, reward: RewardModel) -> None:
    """What can't be right is refused, with the way out."""
    learner, name = type(model).__name__, type(reward).__name__
    if not isinstance(model, OnPolicyAlgorithm | OffPolicyAlgorithm):
        raise ValueError(
            f"{learner} keeps no rollout or replay buffer that a reward could enter; use PPO, TRPO, SAC or another learner that has one"
        )
    refuse_actions(model)
    if isinstance(model, OffPolicyAlgorithm):
        buffer = model.replay_buffer
        if isinstance(buffer, HerReplayBuffer):
            raise ValueError(
                "HerReplayBuffer relabels goals, and with them the rewards, past the reward socket; use replay_buffer_class=None"
            )
        if buffer is None or buffer.optimize_memory_usage:
            raise ValueError(
                "optimize_memory_usage=True overwrites the true next observation at an episode's end; use optimize_memory_usage=False"
            )
        if not buffer.handle_timeout_termination:
            raise ValueError(
                "this replay buffer does not tell a time limit from a termination; "
                "drop handle_timeout_termination=False from replay_buffer_kwargs"
            )
    for kind, own, given in (
        ("observation", reward.observation_space, model.observation_space),
        ("action", reward.action_space, model.action_space),
    ):
        # The bounds of a Box are no matter to a reward, and wrappers change them.
        fits = own.shape == given.shape if isinstance(own, spaces.Box) and isinstance(given, spaces.Box) else own == given
        if not fits:
            raise ValueError(
                f"{name} was made for {kind} space {own} but {learner} has {given}; "
                f"make it with the learner's: {name}(model.observation_space, model.action_space)"
            )
