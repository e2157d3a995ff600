"""The whole state of a learner, its normalisation and the global generators, as tensors and plain numbers; and back."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.vec_env import VecNormalize

from genrl.files import as_state, from_state
from genrl.generators import forked_generators, set_torch_generators, torch_generators

__all__ = [
    "KeptStatistics",
    "cut_running",
    "generator_state",
    "go_on",
    "learner_state",
    "load_learner_state",
    "load_vecnormalize_state",
    "own_draws",
    "restore_sde",
    "set_generator_state",
    "vecnormalize_state",
]


_COUNTERS = ("num_timesteps", "_n_updates", "_episode_num", "_n_calls", "exploration_rate", "_current_progress_remaining")
"""Plain numbers that decide what a learner does next: TD3's and CrossQ's policy delay reads ``_n_updates`` (td3/td3.py, crossq/crossq.py),
DQN's target update ``_n_calls`` and its ε ``exploration_rate`` (dqn/dqn.py), logs and schedules the others (common/base_class.py)."""
_LAST = ("_last_obs", "_last_original_obs", "_last_episode_starts", "_last_lstm_states")
_SDE = ("exploration_mat", "exploration_matrices")
_REPLAY_ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def learner_state(learner: BaseAlgorithm) -> dict[str, Any]:
    """Everything that the learner needs to go on from a rollout's boundary with new episodes: tensors and plain numbers."""
    # `_get_torch_save_params` names what `save` stores (common/base_class.py): state dicts, and tensors such as SAC's log_ent_coef.
    variables = {name: getattr(learner, name) for name in learner._get_torch_save_params()[1]}
    return {
        "parameters": learner.get_parameters(),
        "variables": {name: value.detach() for name, value in variables.items() if value is not None},
        "counters": {name: _plain(getattr(learner, name)) for name in _COUNTERS if hasattr(learner, name)},
        # rollout/ep_rew_mean is the mean over this queue (common/on_policy_algorithm.py, dump_logs).
        "ep_info": [dict(info) for info in learner.ep_info_buffer or ()],
        "ep_success": [float(value) for value in learner.ep_success_buffer or ()],
        "replay": _replay_state(learner),
        # Warm-up actions are drawn from the learner's action space (common/off_policy_algorithm.py, _sample_action).
        "action_space": _space_generator(learner),
        # Where a `learn` that keeps its environments goes on (common/base_class.py, _setup_learn); RecurrentPPO's memory
        # (sb3_contrib/ppo_recurrent/ppo_recurrent.py); gSDE's noise, which is drawn before `on_rollout_start` (common/distributions.py).
        "last": {name: as_state(getattr(learner, name)) for name in _LAST if getattr(learner, name, None) is not None},
        "sde": {name: value for name, value in vars(_action_dist(learner)).items() if name in _SDE},
    }


def load_learner_state(learner: BaseAlgorithm, state: dict[str, Any]) -> None:
    """The inverse of :func:`learner_state`, on a learner that was just built and has not learnt; it begins new episodes."""
    learner.set_parameters(state["parameters"], exact_match=True, device=learner.device)
    for name, value in state["variables"].items():
        # As `load` does (common/base_class.py): the optimiser holds this very tensor, so only its data changes.
        getattr(learner, name).data = value.to(learner.device)
    for name, value in state["counters"].items():
        setattr(learner, name, value)
    learner.ep_info_buffer = deque(state["ep_info"], maxlen=learner._stats_window_size)
    learner.ep_success_buffer = deque(state["ep_success"], maxlen=learner._stats_window_size)
    if state["replay"] is not None:
        _load_replay_state(learner, state["replay"])
    if state["action_space"] is not None:
        learner.action_space.np_random.bit_generator.state = state["action_space"]


def go_on(learner: BaseAlgorithm, state: dict[str, Any]) -> None:
    """Let a learner go on in the middle of its episodes, after :func:`load_learner_state`; its environments have been put back there."""
    for name, value in state["last"].items():
        is_lstm = isinstance(value, list)
        setattr(learner, name, _lstm_states(value, getattr(learner, name), learner.device) if is_lstm else from_state(value))
    if state["replay"] is not None:
        buffer: Any = learner.replay_buffer  # type: ignore[attr-defined]
        _fill(buffer.timeouts, state["replay"]["arrays"]["timeouts"])  # undoes the cut


def restore_sde(learner: BaseAlgorithm, state: dict[str, Any]) -> None:
    """Put back the noise of gSDE, which a rollout draws before any callback can restore the generators."""
    vars(_action_dist(learner)).update({name: value.to(learner.device) for name, value in state["sde"].items()})


def _action_dist(learner: BaseAlgorithm) -> Any:
    # Of the policy of those that collect rollouts (common/policies.py), of the actor of SAC and TQC (sac/policies.py).
    return getattr(getattr(learner, "actor", None) or learner.policy, "action_dist", learner)


def _lstm_states(pairs: list[list[torch.Tensor]], like: Any, device: torch.device) -> Any:
    """RecurrentPPO's states, which a file has as lists, as the named tuple of pairs that they were."""
    return type(like)(*(tuple(each.to(device) for each in pair) for pair in pairs))


def _plain(value: Any) -> int | float:
    return value.item() if isinstance(value, np.generic) else value


def _space_generator(learner: BaseAlgorithm) -> Any:
    state = learner.action_space.np_random.bit_generator.state
    return state if state.get("bit_generator") == "PCG64" else None


def _replay_state(learner: BaseAlgorithm) -> dict[str, Any] | None:
    buffer = getattr(learner, "replay_buffer", None)
    if not isinstance(buffer, ReplayBuffer):
        return None
    rows = buffer.size()
    arrays = {name: _rows(getattr(buffer, name), rows) for name in _REPLAY_ARRAYS if hasattr(buffer, name)}
    return {"pos": buffer.pos, "full": buffer.full, "arrays": arrays}


def _rows(array: Any, rows: int) -> Any:
    if isinstance(array, dict):
        return {key: _rows(value, rows) for key, value in array.items()}
    return torch.from_numpy(array[:rows])


def _load_replay_state(learner: BaseAlgorithm, state: dict[str, Any]) -> None:
    buffer: Any = learner.replay_buffer  # type: ignore[attr-defined]
    buffer.pos, buffer.full = state["pos"], state["full"]
    for name, rows in state["arrays"].items():
        _fill(getattr(buffer, name), rows)
    cut_running(buffer, np.ones(buffer.n_envs, dtype=bool))


def cut_running(buffer: Any, envs: np.ndarray) -> None:
    """End the episodes that run in these environments, ``(env,)``, with the newest row of a replay buffer.

    NStepReplayBuffer (common/buffers.py) would otherwise sum rewards across a reset.
    """
    if buffer.size():
        newest = buffer.pos - 1
        buffer.timeouts[newest] = np.where(envs & (buffer.dones[newest] == 0), 1, buffer.timeouts[newest])


def _fill(array: Any, rows: Any) -> None:
    if isinstance(array, dict):
        for key, value in rows.items():
            _fill(array[key], value)
    else:
        array[: len(rows)] = rows.numpy()


def vecnormalize_state(env: VecNormalize) -> dict[str, Any]:
    """Running statistics of observations and returns (common/vec_env/vec_normalize.py); ``save`` would pickle them."""
    obs = getattr(env, "obs_rms", None) if env.norm_obs else None
    statistics: dict[str, Any] = {"ret": _rms(env.ret_rms), "returns": torch.as_tensor(env.returns), "training": env.training}
    old_obs: Any = getattr(env, "old_obs", None)  # not there before the first reset
    if old_obs is not None:
        statistics["old_obs"] = as_state(old_obs)
    if isinstance(obs, dict):
        statistics["obs"] = {key: _rms(value) for key, value in obs.items()}
    elif obs is not None:
        statistics["obs"] = _rms(obs)
    return statistics


def load_vecnormalize_state(env: VecNormalize, state: dict[str, Any]) -> None:
    """The inverse of :func:`vecnormalize_state`."""
    _set_rms(env.ret_rms, state["ret"])
    env.training = state.get("training", True)
    if "returns" in state:
        env.returns = state["returns"].numpy().copy()
    if "old_obs" in state:
        env.old_obs = from_state(state["old_obs"])
    if "obs" in state and isinstance(env.obs_rms, dict):
        for key, value in state["obs"].items():
            _set_rms(env.obs_rms[key], value)
    elif "obs" in state:
        _set_rms(env.obs_rms, state["obs"])


class KeptStatistics:
    """The statistics of a ``VecNormalize``, if there is one, as they were at the last step that was fine, or fresh before one was.

    A NaN that has entered a running mean never leaves it (common/vec_env/vec_normalize.py, _update_reward).
    """

    def __init__(self, normalize: VecNormalize | None) -> None:
        self._owners: list[tuple[Any, tuple[str, ...]]] = []
        if normalize is not None:
            obs = getattr(normalize, "obs_rms", {})
            running = [normalize.ret_rms, *(obs.values() if isinstance(obs, dict) else [obs])]
            # Their arrays are replaced, never changed (common/running_mean_std.py); `returns` is changed at once where an episode ended.
            self._owners = [(normalize, ("returns", "old_obs")), *((rms, ("mean", "var", "count")) for rms in running)]
        self.keep()
        for kept, (owner, names) in zip(self._kept, self._owners, strict=True):
            if "mean" in names and not np.isfinite(owner.mean).all():  # the first reset was not fine (common/running_mean_std.py, __init__)
                kept[:] = np.zeros_like(owner.mean), np.ones_like(owner.var), 1e-4

    def keep(self) -> None:
        """Remember them."""
        self._kept = [[getattr(owner, name, None) for name in names] for owner, names in self._owners]

    def restore(self) -> None:
        """Put back what was remembered."""
        for (owner, names), values in zip(self._owners, self._kept, strict=True):
            vars(owner).update(zip(names, values, strict=True))


def _rms(rms: Any) -> dict[str, Any]:
    return {"mean": torch.as_tensor(rms.mean), "var": torch.as_tensor(rms.var), "count": float(rms.count)}


def _set_rms(rms: Any, state: dict[str, Any]) -> None:
    rms.mean, rms.var, rms.count = state["mean"].numpy().copy(), state["var"].numpy().copy(), state["count"]


def generator_state() -> dict[str, Any]:
    """The global generators that SB3 seeds and draws from: Python's, numpy's and torch's (common/utils.py, set_random_seed)."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 (it is the one that SB3 uses)
    return {
        **torch_generators(),
        "python": {"version": version, "words": torch.tensor(words, dtype=torch.int64), "gauss": gauss},
        "numpy": {
            "kind": kind,
            "keys": torch.from_numpy(np.asarray(keys, dtype=np.int64)),
            "rest": [int(position), int(has_gauss), float(cached)],
        },
    }


@contextmanager
def own_draws(learner: BaseAlgorithm, seed: int) -> Iterator[None]:
    """Within it all that ``learner.predict`` draws comes from ``seed``; afterwards the learner's own draws go on where they were.

    Policies draw from torch; DQN and QRDQN decide by numpy whether to explore, and draw from the action space (dqn/dqn.py, predict).
    """
    before, space = np.random.get_state(), learner.action_space.np_random.bit_generator.state  # noqa: NPY002 (it is the one that SB3 uses)
    try:
        with forked_generators():
            torch.manual_seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            learner.action_space.seed(seed)
            yield
    finally:
        np.random.set_state(before)  # noqa: NPY002
        learner.action_space.np_random.bit_generator.state = space


def set_generator_state(state: dict[str, Any]) -> None:
    """The inverse of :func:`generator_state`."""
    set_torch_generators(state)
    random.setstate((state["python"]["version"], tuple(state["python"]["words"].tolist()), state["python"]["gauss"]))
    position, has_gauss, cached = state["numpy"]["rest"]
    keys = state["numpy"]["keys"].numpy().astype(np.uint32)
    np.random.set_state((state["numpy"]["kind"], keys, position, has_gauss, cached))  # noqa: NPY002
