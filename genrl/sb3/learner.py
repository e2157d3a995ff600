"""A learner of a run: keywords for its constructor, the tensors of a saved one, how far it is, and the end of its environments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvWrapper
from torch import nn
from torch.nn import functional as F

from genrl.arrays import check_zip
from genrl.files import load_state
from genrl.reading import FileError, open_regular
from genrl.sb3.predict import renew_noise

__all__ = ["NormedReLU", "close", "constructor_kwargs", "load_parameters", "parameters_are_finite", "remaining"]

SECONDS_TO_END = 1.0
"""How long a worker that is told to end may take."""


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
    """Keywords for a learner's constructor out of the plain values of a configuration.

    Keywords of the policy become SB3's ``policy_kwargs``, a standard deviation ``action_noise`` becomes Gaussian noise, and ``lin_X`` a
    schedule.

    Args:
        values: hyperparameters by name.
        action_space: the environment's, for the shape of the noise.
    """
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


def load_parameters(learner: BaseAlgorithm, path: Path) -> None:
    """Load the tensors of a saved model, which is SB3's zip or a safetensors file with the networks of its policy; nothing is unpickled.

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


def remaining(learner: BaseAlgorithm) -> float:
    """Share of the run's steps that is left, from which schedules take their values: 1 before the first step, 0 after the last one."""
    # common/base_class.py, _update_current_progress_remaining; SB3 has no public name for it.
    return float(learner._current_progress_remaining)


def parameters_are_finite(learner: BaseAlgorithm) -> bool:
    """Whether every parameter of the learner's networks is a finite number."""
    return all(bool(torch.isfinite(parameter).all()) for parameter in learner.policy.parameters())


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
