"""The parts of a run while it trains, and their state, which a checkpoint holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, unwrap_vec_normalize

from genrl.errors import RunError
from genrl.files import from_state
from genrl.policies import PolicyAverage, clone, normalize_like
from genrl.rewards import RewardCallback
from genrl.runs.config.imitate import ImitateConfig
from genrl.runs.config.run import RunConfig
from genrl.runs.environments.rewind import episodes, lasting, load_lasting, rewind
from genrl.runs.imitation.demonstrations import Loaded
from genrl.runs.sockets import AVERAGE, Plug
from genrl.runs.vision import Eyes
from genrl.sb3.state import (
    generator_state,
    go_on,
    learner_state,
    load_learner_state,
    load_vecnormalize_state,
    restore_sde,
    set_generator_state,
    vecnormalize_state,
)

__all__ = ["Session"]


CLONE_PATIENCE = 50
"""Epochs without a better held-out loss after which cloning stops; few demonstrations need many epochs."""


@dataclass
class Session:
    """A learner in its environments, with what its ``learn`` is given."""

    config: RunConfig
    """Resolved: every hyperparameter has its value."""
    env: VecEnv
    learner: BaseAlgorithm
    plugs: list[Plug]
    """What the sockets brought."""
    eyes: Eyes
    """How the learner sees images."""
    coverage_names: tuple[str, ...]
    observation_names: tuple[str, ...]
    loaded: Loaded | None = None
    """The demonstrations of an imitation."""
    choice: str = ""
    """What was chosen for the task in one line, and why."""

    @property
    def normalize(self) -> VecNormalize | None:
        """The running normalisation of observations or rewards, if there is one."""
        return unwrap_vec_normalize(self.env)

    @property
    def sees_returns(self) -> bool:
        """Whether the task's return may judge the learner: an imitation is not paid by the task, unless it was asked for."""
        return self.loaded is None or self.config.extrinsic_weight != 0

    @property
    def callbacks(self) -> list[BaseCallback]:
        """What ``learn`` must be given so that the sockets work."""
        return [callback for plug in self.plugs for callback in plug.callbacks]

    @property
    def average(self) -> PolicyAverage | None:
        """The mean of the last policies, if they are averaged and there was one."""
        found = next((plug.state for plug in self.plugs if plug.name == AVERAGE), None)
        return found if isinstance(found, PolicyAverage) and found.count else None

    def clone(self) -> dict[str, float]:
        """Warm-start the policy of an imitation that asks for it; losses and the number of epochs.

        Whether cloned or with demonstrations in its batches, a policy sees observations as the demonstrations' statistics normalise them.
        """
        if not isinstance(self.config, ImitateConfig) or self.loaded is None:
            return {}
        if self.normalize is not None and self.config.expert_fraction:
            normalize_like(self.normalize, self.loaded.demonstrations)
        if not self.config.clone:
            return {}
        settings = {"epochs": self.config.clone, "patience": CLONE_PATIENCE, "seed": self.config.seed}
        try:
            return clone(self.learner, self.loaded.demonstrations, any_task=self.config.any_task, **settings)
        except (ValueError, FloatingPointError) as error:
            raise RunError(f"{error}; or start without cloning, by --clone 0") from error

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on."""
        return {
            "learner": learner_state(self.learner),
            "plugs": {plug.name: plug.state.state_dict() for plug in self.plugs if plug.state is not None},
            "vecnormalize": vecnormalize_state(self.normalize) if self.normalize is not None else None,
            "generators": generator_state(),
            "episodes": episodes(self.env),
            "lasting": lasting(self.env),
        }

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """The inverse, on a session that was just built.

        Returns:
            Whether every environment is in the middle of its episode again, so that the run continues exactly. A task that does not repeat
            an episode from its seed and actions begins new ones, with new seeds.
        """
        load_learner_state(self.learner, state["learner"])
        for plug in self.plugs:
            if plug.state is not None:
                plug.state.load_state_dict(state["plugs"][plug.name])
        if self.normalize is not None:
            load_vecnormalize_state(self.normalize, state["vecnormalize"])
        exact = self._rewind(state)
        load_lasting(self.env, state["lasting"])
        rewards = [plug.state for plug in self.plugs if isinstance(plug.state, RewardCallback)]
        if exact:
            go_on(self.learner, state["learner"])
            for callback in rewards:
                callback.go_on(self.learner)
        else:
            seeds = np.random.SeedSequence([self.config.seed, self.learner.num_timesteps])
            self.env.seed(int(seeds.generate_state(1)[0]) // 2)
            for callback in rewards:
                callback.reward.forget()
        set_generator_state(state["generators"])
        return exact

    def restore_draws(self, state: dict[str, Any]) -> None:
        """Put the generators back, after all that was drawn since :meth:`load_state_dict` to set the training up."""
        set_generator_state(state["generators"])
        restore_sde(self.learner, state["learner"])

    def _rewind(self, state: dict[str, Any]) -> bool:
        seen = state["learner"]["last"].get("_last_obs") if self.normalize is None else state["vecnormalize"].get("old_obs")
        if self.config.observes_codes:
            seen = state["plugs"]["encoder"].get("seen")  # what the environments themselves gave
        if state["episodes"] is None or seen is None:
            return False
        return rewind(self.env, state["episodes"], from_state(seen))
