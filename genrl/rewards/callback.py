"""The callback that plugs any reward into any Stable-Baselines3 learner."""

from __future__ import annotations

from collections.abc import Collection
from copy import copy
from typing import Any, Literal

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from genrl.errors import at_least, positive, require
from genrl.rewards.base import Memory, RewardModel
from genrl.rewards.memory import TransitionPool
from genrl.rewards.scoring import check_spaces, probe, scores, warn_of_idleness, warn_of_lost_differences, warn_of_small_memory
from genrl.rewards.weight import AutoWeight, FiniteWeight
from genrl.sb3.actions import refuse_spaces
from genrl.sb3.hooks import LendingPart, OffPolicyPart, OnPolicyPart, Part, attached, buffer_of, extrinsic_weight
from genrl.sb3.observations import RawObservations, all_begin, last_obs
from genrl.sb3.plugged import PluggedCallback
from genrl.sb3.replay import ReplayMemory, check_readable
from genrl.sb3.rollout import Rollout
from genrl.transitions import Transitions

__all__ = ["RewardCallback"]


class RewardCallback(PluggedCallback):
    r"""Lets a learner train on another reward, for the ``learn`` that it is given to.

    .. math:: r = w_{\text{ext}} \, r_{\text{env}} + w \, r_{\text{model}}(s, a, s'),

    where :math:`r_{\text{env}}` is what the learner would have used by itself, after ``VecNormalize`` if there is one; the model's part is
    not rescaled by it. On-policy, each rollout is scored in one call before advantages are computed. Off-policy, the buffer keeps the
    environment's reward and a batch is scored when it is drawn, so no bonus is ever stale. Several callbacks add up, and their extrinsic
    weights multiply. With ``weight=0`` and ``extrinsic_weight=1`` when ``learn`` starts, the callback does nothing at all. Both weights may
    change while it runs.

    The bonus of the newest update is logged under ``reward/``, in each row from the first update on; the environment's own return stays
    ``rollout/ep_rew_mean``.

    Args:
        reward: the model that scores transitions.
        weight: weight w of the model's reward; ``"auto"``, or an :class:`AutoWeight`, holds the bonus's share of the return.
        extrinsic_weight: weight of the environment's reward; 0 trains on the model's reward alone.
        update_every: environment steps between two updates of the reward, off-policy; on-policy it is a rollout.
        memory_size: transitions that the reward can learn from, on-policy; off-policy it is the replay buffer.
        name: first part of the names in the log; two callbacks of one ``learn`` need two names.
        seed: seed of what the reward draws from its memory.
        half_life: environment steps after which the weight, or the share that an :class:`AutoWeight` holds, is half of what it was; by
            default it does not decay. They are counted by the learner's ``num_timesteps``: a second ``learn`` counts from 0 again, unless
            it is given ``reset_num_timesteps=False``.

    Raises:
        ValueError: when it is made, and when a weight is set, one that is not finite; when it is given to another callback than a list;
            when ``learn`` starts, before the first environment step, a learner, buffer, wrapper or space that the reward can't serve.
        FloatingPointError: an observation, reward or bonus is NaN or infinite; names the environment and the step.

    Example:
        >>> from stable_baselines3 import PPO
        >>> from genrl.rewards import VIME, RewardCallback
        >>> model = PPO("MlpPolicy", "Pendulum-v1", n_steps=64)
        >>> vime = VIME(model.observation_space, model.action_space)
        >>> _ = model.learn(64, callback=RewardCallback(vime, weight=1e-3))
    """

    weight = FiniteWeight(tunable=True)
    extrinsic_weight = FiniteWeight()

    def __init__(
        self,
        reward: RewardModel,
        weight: float | Literal["auto"] | AutoWeight = 1.0,
        extrinsic_weight: float = 1.0,
        update_every: int = 1000,
        memory_size: int = 100_000,
        name: str = "reward",
        seed: int = 0,
        half_life: float | None = None,
    ) -> None:
        super().__init__()
        model = ("reward", reward, isinstance(reward, RewardModel), "a reward, such as RND(model.observation_space, model.action_space)")
        require(RewardCallback, model, *at_least(1, update_every=update_every))
        require(RewardCallback, *([] if half_life is None else positive(half_life=half_life)))
        self.auto = AutoWeight() if weight == "auto" else copy(weight) if isinstance(weight, AutoWeight) else None
        """What tunes the weight, if anything does: its own, so that two callbacks may be given the same."""
        self.reward, self.extrinsic_weight, self.half_life = reward, extrinsic_weight, half_life
        self.weight = self.auto.value if self.auto else weight  # type: ignore[assignment]  # "auto" and AutoWeight are behind `auto`
        self.update_every, self.name = update_every, name
        self.pool = TransitionPool(1 if reward.latest_only else memory_size, seed)
        self.last_bonus = np.zeros((0, 0), dtype=np.float32)
        """Unweighted bonus of the newest transitions, ``(time, env)``."""
        self._generator = torch.Generator().manual_seed(seed)
        self._rollout = Rollout()
        self._looked = self._met = False
        self._metrics: dict[str, float] = {}
        """What the newest update said."""
        self._raw: RawObservations | None = None
        self._replay: ReplayMemory | None = None
        self._restored: dict[str, Any] | None = None
        self._stood: Any = None
        """What the learner was to act on next when the last ``learn`` ended; ``None`` before the first, and of a restored state."""

    def __repr__(self) -> str:
        name = type(self.reward).__name__
        return f"RewardCallback({name}, weight={self.auto or self.weight}, extrinsic_weight={self.extrinsic_weight})"

    @property
    def active(self) -> bool:
        """Whether the callback changes anything."""
        return self.weight != 0 or self.extrinsic_weight != 1

    @property
    def decay(self) -> float:
        """What is left of the weight, or of the share that is held, after the steps so far; in (0, 1]."""
        return 1.0 if self.half_life is None else float(2.0 ** (-self.num_timesteps / self.half_life))

    @property
    def applied_weight(self) -> float:
        """The weight with which the bonus is paid now."""
        return self.weight if self.auto else self.weight * self.decay

    def state_dict(self) -> dict[str, Any]:
        """State of the reward, of its memory and of a weight that tunes itself, for :func:`genrl.files.save_state`."""
        return {
            "reward": self.reward.state_dict(),
            "pool": self.pool.state_dict(),
            "generator": self._generator.get_state(),
            "replay": self._restored if self._replay is None else self._replay.state_dict(),
            "metrics": dict(self._metrics),
            "weight": self.auto.state_dict() if self.auto else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` gave; the off-policy memory is the learner's replay buffer and is saved with it."""
        self.reward.load_state_dict(state["reward"])
        self.pool.load_state_dict(state["pool"])
        self._generator.set_state(state["generator"])
        self._replay, self._restored, self._metrics = None, state["replay"], dict(state["metrics"])
        self._stood = None
        if self.auto:
            self.auto.load_state_dict(state["weight"])
            self.weight = self.auto.value

    def go_on(self, model: BaseAlgorithm) -> None:
        """Say that the environments of ``model`` stand where they did when the state was saved; else they begin new episodes."""
        self._stood = last_obs(model)

    def check(self, model: BaseAlgorithm) -> None:
        """Refuse a learner that the reward can't serve, by a made-up batch too; ``learn`` does so as well, before its first step.

        Raises:
            ValueError: a learner, buffer, wrapper or space that does not fit, or a reward whose ``forward`` returns another shape.
        """
        if not self.active:
            return
        check_readable(model)
        refuse_spaces(model)
        check_spaces(self.reward, model)
        probe(self.reward, model, self.update_every)

    # --- Stable-Baselines3's events ---

    def _init_callback(self) -> None:
        super()._init_callback()
        self._raw = None

    def _part(self) -> OnPolicyPart | OffPolicyPart | None:
        if not self.active:
            return None
        self._met = False
        self.check(self.model)
        self._raw = RawObservations(self.model)
        # base_class.py, _setup_learn: has reset the environments, unless it goes on with the very observations of the learn before.
        before, self._stood = self._stood, ()  # no observation is (): so it stays if an exception ends this learn
        reset = last_obs(self.model) is not before
        if not isinstance(self.model, OffPolicyAlgorithm):
            self._replay = None
            if all_begin(self.model) if before is None else reset:  # another callback may have had this reward before
                self.reward.forget()
            warn_of_small_memory(self.reward, self.pool.capacity, "memory_size")
            return OnPolicyPart(self.name, lambda: self._rollout.rewards, self._score_rollout, lambda: self.extrinsic_weight)
        self._replay = memory = self._memory_of_replay(self.model, self._raw)
        warn_of_small_memory(self.reward, memory.buffer.buffer_size * self.model.n_envs, "buffer_size")
        if reset:
            memory.score_once(self._score_new)  # what a callback has cut off from the end of its rollout
            self.reward.forget()
        if not self._metrics:
            left = self.locals["total_timesteps"] - self.num_timesteps
            warn_of_idleness(self.reward, self.update_every, memory.unseen * self.model.n_envs, left)
        return OffPolicyPart(self.name, self._score_cells, memory.stored, self._score_lent, lambda: self.extrinsic_weight)

    def _on_rollout_start(self) -> None:
        self._rollout.clear()
        if self._plugged is not None and not self._met:
            self._meet(attached(buffer_of(self.model)))

    def _meet(self, parts: Collection[Part]) -> None:
        """Refuse what the reward can't stand beside, before the first step: every callback of the list has started."""
        self._met, name = True, type(self.reward).__name__
        lenders = [part for part in parts if isinstance(part, LendingPart)]
        if self.reward.needs_expert_batches and not any(part.demonstrated for part in lenders):
            raise ValueError(
                f"{name} needs demonstrations in the batches of an off-policy learner; use SAC or another one "
                "with a replay buffer, and callback=[RewardCallback(…), Mixing(demonstrations, share=0.5)]"
            )
        if self.auto and not extrinsic_weight(parts):
            where = " in another callback of this learn" if self.extrinsic_weight else ""
            raise ValueError(
                f"a weight that tunes itself weighs the bonus against the environment's reward, but extrinsic_weight is 0{where}; "
                "take weight=1.0"
            )
        if unpaid := [part.name for part in lenders if not self.reward.pays_lent(part.demonstrated)]:
            raise ValueError(
                f"{name} pays a step by those before it in its episode, which the rows that {unpaid[0]!r} lends have not, so that it would "
                "pay each as an episode's first; leave one of the two out, or take a reward of single transitions, such as RND"
            )
        if lenders and self.reward.fewest_at_once > 1:
            raise ValueError(
                f"{name} pays a step by how it differs from the others of its batch, but the rows that {lenders[0].name!r} lends and the "
                "learner's own are scored apart, so that the fewer of them are paid more; take StateEntropy with memory_size=1000 "
                "(--reward.memory-size 1000), which compares both with the same steps, or a reward of single transitions, such as RND"
            )

    def _on_step(self) -> bool:
        if self._plugged is None or self._raw is None:
            if self.active:
                raise RuntimeError(
                    "RewardCallback was not active when the training started; give it, with its weight, to learn() itself, or in a list"
                )
            return True
        new_obs, rewards, dones, infos = (self.locals[key] for key in ("new_obs", "rewards", "dones", "infos"))
        obs, next_obs = self._raw.step(new_obs, dones, infos)
        self._raw.check_finite(next_obs, self._raw.rewards(rewards))
        if self.auto and self._replay is not None:
            self._note_extrinsic(rewards)
        if self._replay is None:
            self._rollout.add(obs, next_obs, self.locals)
        elif dones.any():
            self._log()  # off_policy_algorithm.py, collect_rollouts: a row is written, and forgotten, where an episode ends
        return True

    def _on_rollout_end(self) -> None:
        # Off-policy the step's row is stored only after `on_step`.
        if self._plugged is None or self._replay is None:
            return
        self._replay.score_once(self._score_new)
        if self._replay.unseen * self._replay.buffer.n_envs < self.update_every:
            return
        once = None if self._replay.once is None else self._replay.once[self._replay.latest_cells]
        bonus = self._learn_and_score(self._replay.latest, self._replay, once=once)
        self.last_bonus = bonus.reshape(-1, self._replay.buffer.n_envs)
        self._replay.unseen = 0

    def _on_training_end(self) -> None:
        super()._on_training_end()
        self._stood = last_obs(self.model)
        if self._replay is not None:
            self._log()
        if self._raw is not None:
            self._raw.close()
        self._raw = None

    # --- what an on-policy learner asks ---

    def _score_rollout(self) -> np.ndarray:
        """Weighted bonus of the rollout that has just ended, ``(time, env)``; the reward learns from it too."""
        n_steps = buffer_of(self.model).rewards.shape[0]
        if len(self._rollout) != n_steps:
            raise RuntimeError(
                f"RewardCallback saw {len(self._rollout)} of the rollout's {n_steps} steps; give it to learn() itself, or in a list"
            )
        transitions = self._rollout.transitions(self.reward.floats)
        self.pool.add(transitions)
        if self.auto:
            self._note_extrinsic(self._rollout.rewards)
        self.last_bonus = self._learn_and_score(transitions, self.pool, self._rollout.ended).reshape(n_steps, -1)
        return self.applied_weight * self.last_bonus

    # --- what an off-policy learner asks ---

    def _memory_of_replay(self, model: OffPolicyAlgorithm, raw: RawObservations) -> ReplayMemory:
        """The learner's replay buffer; what is known of its rows from a learn before, or from a saved state, stays known."""
        memory = ReplayMemory(model, raw, self._generator, self.reward.floats)
        if self.reward.scored_once:
            memory.once = np.zeros((memory.buffer.buffer_size, memory.buffer.n_envs), dtype=np.float32)
        if not memory.take_over(self._restored, self._replay) and self.reward.scored_once and memory.buffer.size():
            raise ValueError(
                f"{type(self.reward).__name__} scores a transition when it is made, but the replay buffer holds {len(memory):,} that it "
                "has not seen; begin with an empty buffer"
            )
        self._restored = None
        return memory

    def _score_cells(self, rows: np.ndarray, envs: np.ndarray) -> np.ndarray:
        """Weighted bonus ``(batch,)`` of these cells of the replay buffer, which are part of a batch."""
        assert self._replay is not None
        if self._replay.once is not None:
            return self.applied_weight * self._replay.once[rows, envs]
        if len(rows) < self.reward.fewest_at_once:  # a batch that draws the few rows of a young buffer several times
            return np.zeros(len(rows), dtype=np.float32)
        self.reward.eval()
        steps = self.num_timesteps - self._replay.age(rows) * self._replay.buffer.n_envs
        return self.applied_weight * self._score(self._replay.cells(rows, envs), envs, steps)

    def _score_lent(self, transitions: Transitions, demonstrated: bool) -> np.ndarray:
        """Weighted bonus ``(batch,)`` of rows that are lent to a batch."""
        self.reward.eval()
        kind, floats = "demonstrated" if demonstrated else "lent", self.reward.floats
        transitions = transitions._replace(obs=floats(transitions.obs), next_obs=floats(transitions.next_obs))
        return self.applied_weight * scores(self.reward, transitions, lambda row: f"the {kind} transition {row} of a batch", demonstrated)

    def _score_new(self, latest: Transitions, ended: np.ndarray) -> np.ndarray:
        """Score what was just stored, by a reward that scores once."""
        n_envs, n_steps = self.model.n_envs, latest.batch_size // self.model.n_envs
        envs = np.tile(np.arange(n_envs), n_steps)
        self.reward.train()
        self.reward.tell(envs, ended)
        return self._score(latest, envs, np.full(latest.batch_size, self.num_timesteps))

    # --- scoring and learning, for either ---

    def _learn_and_score(
        self, latest: Transitions, memory: Memory, ended: np.ndarray | None = None, once: np.ndarray | None = None
    ) -> np.ndarray:
        """Score new transitions and update the reward, in the order that it asks for; their unweighted bonus ``(batch,)``.

        Args:
            latest: the new transitions, all environments of a step together.
            memory: what the reward learns from.
            ended: whether an episode ended at each of them, for a reward that is told before it scores.
            once: their scores, where they were scored when they were stored.
        """
        if not self._looked:
            warn_of_lost_differences(self.reward, latest.obs)
            self._looked = True
        self.reward.train()
        n_envs = self.model.n_envs
        n_steps = latest.batch_size // n_envs
        envs, steps = np.tile(np.arange(n_envs), n_steps), self.num_timesteps - np.repeat(np.arange(n_steps)[::-1] * n_envs, n_envs)
        if ended is not None:
            self.reward.tell(envs, ended)
        if self.reward.learns_first:
            metrics = self.reward.update(memory)
            bonus = self._score(latest, envs, steps)
        else:
            bonus = self._score(latest, envs, steps) if once is None else once
            metrics = self.reward.update(memory)
        values = {"bonus_mean": bonus.mean(), "bonus_std": bonus.std(), "bonus_max": bonus.max(), **metrics, **self._reweight(bonus)}
        self._metrics = {key: float(value) for key, value in values.items()}
        self._log()
        return bonus

    def _log(self) -> None:
        for key, value in self._metrics.items():
            self.logger.record(f"{self.name}/{key}", value)

    def _note_extrinsic(self, rewards: np.ndarray) -> None:
        """Tell a weight that tunes itself what the environment paid for the newest steps; ``_reweight`` is given their bonus."""
        assert self.auto is not None
        self.auto.paid(extrinsic_weight(attached(buffer_of(self.model))) * rewards)

    def _reweight(self, bonus: np.ndarray) -> dict[str, float]:
        """Let the weight tune itself; numbers for the log, if it does or decays."""
        if not self.auto:
            return {} if self.half_life is None else {"weight": self.applied_weight}
        self.auto.value = self.weight  # what someone may have set
        if self._replay is not None and (lost := self._replay.unseen / self._replay.buffer.size()) > 1:
            bonus = bonus * lost  # a buffer that holds fewer steps than were paid for since the last update
        share = self.auto.update(bonus, self.decay)
        if share and self._replay is None:  # the rollout is paid with the new weight; the batches since the last update were with the old
            intrinsic = share * self.auto.value / self.weight
            share = intrinsic / (1 - share + intrinsic)
        self.weight = self.auto.value
        return {"weight": self.weight, "share": share}

    def _score(self, transitions: Transitions, envs: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Unweighted bonus ``(batch,)`` of transitions that these environments made at these steps."""
        return scores(self.reward, transitions, lambda row: f"what environment {envs[row]} did at step {steps[row]}")
