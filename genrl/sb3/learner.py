"""What a run needs of a learner beyond its public constructor, learn, predict, save and load."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import KVWriter, Logger, TensorBoardOutputFormat, filter_excluded_keys
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.type_aliases import TrainFrequencyUnit
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvWrapper
from torch import nn
from torch.nn import functional as F

from genrl.arrays import check_zip
from genrl.files import load_state, write_whole
from genrl.reading import FileError, open_appending, open_regular

__all__ = [
    "NormedReLU",
    "ProgressCSV",
    "RunLogger",
    "close",
    "constructor_kwargs",
    "deterministic_action",
    "draws_actions",
    "load_parameters",
    "log_the_rest",
    "parameters_are_finite",
    "remaining",
    "renew_noise",
]

SECONDS_TO_END = 1.0
"""How long a worker that is told to end may take."""


class ProgressCSV(KVWriter):
    """SB3's log as a CSV file with sorted columns.

    SB3's own ``CSVOutputFormat`` (common/logger.py) truncates the file when it opens it, so a resumed run would lose its log, and takes the
    order of columns from a set, so two equal runs differ.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last_step = -1
        text = path.read_text() if path.is_file() else ""
        header, *rows = csv.reader(io.StringIO(text)) if text else [[]]
        self.columns, self.rows = header, len(rows)
        if not self.columns and path.is_file():
            path.unlink()

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        self.last_step = step
        row = filter_excluded_keys(key_values, key_excluded, "csv")
        if not row.keys() <= set(self.columns):
            self._widen(sorted({*self.columns, *row}))
        text = io.StringIO()
        csv.DictWriter(text, self.columns, lineterminator="\n").writerow(row)
        with open_appending(self.path) as file:
            file.write(text.getvalue().encode())
        self.rows += 1

    def _widen(self, columns: list[str]) -> None:
        rows = list(csv.DictReader(io.StringIO(self.path.read_text()))) if self.columns else []
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_whole(self.path, buffer.getvalue().encode())
        self.columns = columns

    def close(self) -> None:
        pass


def close(env: VecEnv, at_once: bool = False) -> None:
    """Close the environments, also when a worker has died: ``SubprocVecEnv.close`` (common/vec_env/subproc_vec_env.py) would wait.

    Args:
        env: the environments.
        at_once: end their workers whatever they do, as where one hangs.
    """
    inner: Any = env
    while isinstance(inner, VecEnvWrapper):
        inner = inner.venv
    if isinstance(inner, SubprocVecEnv) and (at_once or not all(process.is_alive() for process in inner.processes)):
        _abandon(inner)
    try:
        env.close()
    except (EOFError, BrokenPipeError, ConnectionResetError):  # a worker that is dying, and still counted as alive
        _abandon(inner)


def _abandon(env: SubprocVecEnv) -> None:
    for process in env.processes:
        process.terminate()
    for process in env.processes:
        process.join(SECONDS_TO_END)
        if process.is_alive():  # one that does not listen
            process.kill()
            process.join()
    env.closed = True


class NormedReLU(nn.Module):
    r"""The positive part of the standardised layer, :math:`\max(0, (x - \operatorname{mean} x) / \operatorname{std} x)`, over the units.

    As a policy's ``activation_fn`` it keeps the values of an off-policy critic from running away on actions that no batch has, such as
    beside demonstrations. It has no parameters, so that SB3 can make it without knowing the width of a layer.

    References:
        Ball et al., "Efficient Online Reinforcement Learning with Offline Data", 2023, arXiv:2302.02948.

    Example:
        >>> NormedReLU()(torch.tensor([[1.0, 3.0], [10.0, 30.0]])).round()
        tensor([[0., 1.],
                [0., 1.]])
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(F.layer_norm(x, x.shape[-1:]))


ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "elu": nn.ELU, "silu": nn.SiLU, "normed-relu": NormedReLU}


def constructor_kwargs(values: dict[str, Any] | Any, action_space: spaces.Space[Any]) -> dict[str, Any]:
    """Keywords for a learner's constructor: the policy's as SB3's ``policy_kwargs``, ``action_noise`` and ``lin_X`` as SB3's objects."""
    kwargs = {name: _schedule(value) for name, value in dict(values).items()}
    net_arch, activation, noise = kwargs.pop("net_arch", None), kwargs.pop("activation", None), kwargs.pop("action_noise", None)
    policy = {
        "net_arch": list(net_arch) if net_arch is not None else None,
        "activation_fn": ACTIVATIONS[activation] if activation else None,
        "log_std_init": kwargs.pop("log_std_init", None),
        "ortho_init": kwargs.pop("ortho_init", None),
    }
    policy = {name: value for name, value in policy.items() if value is not None}
    if policy:
        kwargs["policy_kwargs"] = policy
    if noise is not None:
        size = action_space.shape or ()
        kwargs["action_noise"] = NormalActionNoise(np.zeros(size), np.full(size, noise))
    # A JSON list of a resumed configuration: `train_freq` must be a tuple (common/off_policy_algorithm.py, _convert_train_freq).
    return {name: tuple(value) if isinstance(value, list) else value for name, value in kwargs.items()}


def _schedule(value: Any) -> Any:
    """``lin_X`` as SB3's schedule (common/utils.py, LinearSchedule): X at the start of ``learn``, 0 at its end."""
    falls = isinstance(value, str) and value.startswith("lin_")
    return LinearSchedule(float(value.removeprefix("lin_")), 0.0, 1.0) if falls else value


def remaining(learner: BaseAlgorithm) -> float:
    """Share of the run's steps that is left, from which schedules take their values: 1 before the first step, 0 after the last one."""
    # common/base_class.py, _update_current_progress_remaining; SB3 has no public name for it.
    return float(learner._current_progress_remaining)


def parameters_are_finite(learner: BaseAlgorithm) -> bool:
    """Whether every parameter of the learner's networks is a finite number."""
    return all(bool(torch.isfinite(parameter).all()) for parameter in learner.policy.parameters())


def log_the_rest(learner: BaseAlgorithm) -> None:
    """Log what came after the last row: SB3 logs every fourth episode or every so many rollouts, but not at the end of ``learn``."""
    if all(writer.last_step < learner.num_timesteps for writer in learner.logger.output_formats if isinstance(writer, ProgressCSV)):
        learner.dump_logs()


class RunLogger(Logger):
    """SB3's logger, writing the CSV file and, if asked for, TensorBoard events; what it has not written yet can be kept and restored.

    ``learn`` of an on-policy learner counts its iterations from 1 (common/on_policy_algorithm.py); here they go on where they were.
    """

    def __init__(self, folder: Path, progress: Path, tensorboard: bool = False, trackers: Sequence[KVWriter] = ()) -> None:
        self.csv = ProgressCSV(progress)
        events = [TensorBoardOutputFormat(str(folder / "tensorboard"))] if tensorboard else []
        super().__init__(str(folder), [self.csv, *events, *trackers])
        self._iterations = self._iterations_before = 0

    def record(self, key: str, value: Any, exclude: str | tuple[str, ...] | None = None) -> None:
        if key == "time/iterations":
            self._iterations = value = value + self._iterations_before
        super().record(key, value, exclude)

    def state_dict(self) -> dict[str, Any]:
        """The pending values that are numbers or words, and the counts of iterations and of rows in the CSV file."""
        values = {key: _kept(value) for key, value in self.name_to_value.items() if isinstance(value, _LOGGED)}
        excluded = {key: list(names) for key, names in self.name_to_excluded.items()}
        counts = dict(self.name_to_count)
        return {"values": values, "counts": counts, "excluded": excluded, "iterations": self._iterations, "rows": self.csv.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse, but for the rows, which are in the file; call it before the first value is written."""
        # logger.py, dump: what is pending is in these three, and empty after each row.
        for pending in (self.name_to_value, self.name_to_count, self.name_to_excluded):
            pending.clear()
        self.name_to_value.update({key: _logged(value) for key, value in state["values"].items()})
        self.name_to_count.update(state["counts"])
        self.name_to_excluded.update({key: tuple(names) for key, names in state["excluded"].items()})
        self._iterations = self._iterations_before = state["iterations"]


_LOGGED = (bool, int, float, str, np.generic, np.ndarray, torch.Tensor)


def _kept(value: Any) -> Any:
    """A float32 prints other digits than a float, so numpy's numbers are kept with their type; a tensor is told from them by a list."""
    if isinstance(value, torch.Tensor):
        return [value]
    return torch.as_tensor(np.array(value)) if isinstance(value, np.generic | np.ndarray) else value


def _logged(value: Any) -> Any:
    if isinstance(value, list):
        return value[0]
    return value.numpy()[()] if isinstance(value, torch.Tensor) else value


def load_parameters(learner: BaseAlgorithm, path: Path) -> None:
    """The tensors of a saved model: SB3's zip, or safetensors with the networks of its policy.

    Raises:
        FileError: the file is broken, too large, or of another learner.
    """
    if path.suffix == ".safetensors":
        try:
            learner.policy.load_state_dict(load_state(path)["policy"])
        except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
            name, advice = type(learner).__name__, "restore it from a copy, or pull it again"
            raise FileError(f"{path} is not a whole policy of this {name} and its task; {advice}") from error
    else:
        _load_zip_parameters(learner, path)
    renew_noise(learner)  # which was drawn as wide as that of an untrained policy (common/base_class.py, load, draws it anew, too)
    if (rate := getattr(learner, "exploration_final_eps", None)) is not None:  # DQN's last one: a zip's own is in its pickled part
        learner.exploration_rate = rate  # type: ignore[attr-defined]


def draws_actions(learner: BaseAlgorithm) -> bool:
    """Whether ``predict`` with ``deterministic=False`` draws: TD3 and DDPG take the same action either way (td3/policies.py, _predict)."""
    return not isinstance(learner, TD3)  # DDPG is one


def renew_noise(learner: BaseAlgorithm, step: int = 0) -> None:
    """Draw gSDE's noise anew for a policy that has it, where its training does: before an episode's first step, every so many steps, and
    where a rollout would begin, which is at each step for SAC, TQC and CrossQ unless ``train_freq`` says otherwise.

    Args:
        learner: acts in one environment.
        step: steps that the episode has had.
    """
    every = int(getattr(learner, "sde_sample_freq", -1))
    since = step % rollout if (rollout := _steps_of_rollout(learner)) else step
    # common/on_policy_algorithm.py and common/off_policy_algorithm.py, collect_rollouts
    if getattr(learner, "use_sde", False) and (since == 0 or (every > 0 and since % every == 0)):
        policy: Any = learner.policy
        policy.reset_noise()


def _steps_of_rollout(learner: Any) -> int:
    """Steps of an environment from one training to the next; 0 where that is whole episodes, or nobody knows."""
    freq = getattr(learner, "train_freq", None)  # of a learner with a replay buffer, whose `n_steps` is something else
    if freq is None:
        return int(getattr(learner, "n_steps", 0))
    return int(freq.frequency) if freq.unit is TrainFrequencyUnit.STEP else 0


def _load_zip_parameters(learner: BaseAlgorithm, path: Path) -> None:
    """``load`` would unpickle the zip's ``data`` (common/save_util.py); ``load_data=False`` leaves it unread, and tensors are read with
    ``weights_only=True``.
    """
    own = learner._get_torch_save_params()[1]  # what `save` stores beside the parameters (common/base_class.py)
    with open_regular(path) as file:
        check_zip(path, file)
        try:
            _, parameters, variables = load_from_zip_file(file, load_data=False, device=learner.device)
            learner.set_parameters(parameters, exact_match=True, device=learner.device)
            for name in own:
                if (value := (variables or {}).get(name)) is not None:
                    getattr(learner, name).data = value.data
        except Exception as error:  # whatever a foreign zip brings; without the reason, which may be the advice to load it as a pickle
            name = type(learner).__name__
            raise FileError(f"{path} is not a whole model of this {name} and its task; restore it from a copy, or train again") from error


def deterministic_action(policy: Any, obs: torch.Tensor, space: spaces.Space[Any], **masks: torch.Tensor) -> torch.Tensor:
    """What ``predict`` does without leaving torch: actions in the environment's units, ``(batch, *action)``.

    A policy of MaskablePPO also takes ``action_masks``.

    common/policies.py, BasePolicy.predict: ``_predict``, then squashed actions are scaled to the space and others clipped to it.
    """
    action: torch.Tensor = policy._predict(obs, deterministic=True, **masks)
    action = action.reshape(-1, *(space.shape or ()))
    if not isinstance(space, spaces.Box):
        return action
    low, high = (torch.as_tensor(bound).to(action) for bound in (space.low, space.high))
    return low + 0.5 * (action + 1) * (high - low) if policy.squash_output else action.clamp(low, high)


def exploring_action(learner: BaseAlgorithm, obs: Any) -> np.ndarray:
    """What the learner does at a batch of observations while it explores, ``(batch, *action)``, each row for itself.

    ``predict`` draws it, and the learner's ``action_noise``, if it has any, is added.

    common/distributions.py, StateDependentNoiseDistribution.get_noise: gSDE has one function of the state for all rows, unless they are as
    many as the environments, so that each state would be tried with one action.
    dqn/dqn.py and qrdqn/qrdqn.py, predict: they toss one coin for all rows, so that either all explore or none does.
    common/off_policy_algorithm.py, _sample_action: noise is added to actions scaled to [-1, 1], by one call for all environments. Here by a
    copy of it, as that of Ornstein and Uhlenbeck walks on.
    """
    rate, noise = getattr(learner, "exploration_rate", None), deepcopy(getattr(learner, "action_noise", None))
    with _noise_of_each_row(learner, len(obs)):
        action, _ = learner.predict(obs, deterministic=rate is not None)
    if rate is not None:
        for row in np.flatnonzero(np.random.random(len(action)) < rate):  # noqa: NPY002 (it is the one that SB3 uses)
            action[row] = learner.action_space.sample()
    if noise is not None:
        drawn = np.concatenate([noise().reshape(-1, *action.shape[1:]) for _ in action])[: len(action)]
        policy: Any = learner.policy
        action = policy.unscale_action(np.clip(policy.scale_action(action) + drawn, -1, 1)).astype(action.dtype)
    return action


@contextmanager
def _noise_of_each_row(learner: Any, rows: int) -> Iterator[None]:
    """Within it each of so many rows has noise of its own by gSDE; afterwards the learner's own is as it was."""
    if not getattr(learner, "use_sde", False):
        yield
        return
    own = vars(learner.policy.actor.action_dist)
    kept = dict(own)
    try:
        with torch.no_grad():
            learner.policy.reset_noise(rows)
        yield
    finally:
        own.update(kept)
