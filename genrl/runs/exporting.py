"""A run's policy in forms that need no genrl: for Stable-Baselines3 alone, and for torch alone."""

from __future__ import annotations

import copy
import io
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor, nn

from genrl.errors import RunError
from genrl.files import write_whole
from genrl.runs.loading import LoadedRun
from genrl.sb3.learner import deterministic_action

__all__ = ["export_sb3", "export_torchscript"]


def export_sb3(run: LoadedRun, folder: str | Path) -> list[Path]:
    """What Stable-Baselines3 alone can use: model.zip and, where observations are normalised, vecnormalize.pkl.

    ``SB3Learner.load("model.zip")`` and ``VecNormalize.load("vecnormalize.pkl", venv)`` read them. Both are SB3's own formats, which
    hold pickles: load only files that you trust.

    Args:
        run: what :func:`genrl.load` gave.
        folder: a new or empty folder.

    Returns:
        The files.

    Raises:
        RunError: the folder holds something, or the policy sees images through an encoder of genrl.
    """
    if run.encoder is not None:
        raise RunError(f"the policy of {run.path} sees codes of an encoder, which Stable-Baselines3 has not; export it by --torchscript")
    target = Path(folder)
    if target.exists() and any(target.iterdir()):
        raise RunError(f"{target} is not empty; choose another folder")
    target.mkdir(parents=True, exist_ok=True)
    paths = [Path(shutil.copyfile(run.path / "model.zip", target / "model.zip"))]
    if run.normalize is not None:
        run.normalize.training = False  # a policy that is used does not move its statistics
        run.normalize.save(str(target / "vecnormalize.pkl"))
        paths.append(target / "vecnormalize.pkl")
    return paths


def export_torchscript(run: LoadedRun, file: str | Path) -> Path:
    """The deterministic policy as one TorchScript file: a batch of observations in, actions in the environment's units out.

    Normalisation and action scaling are part of it, so ``torch.jit.load(file)(obs)`` needs neither genrl nor Stable-Baselines3. A policy
    that sees images through an encoder takes codes.

    Args:
        run: what :func:`genrl.load` gave.
        file: where to write it.

    Raises:
        RunError: a recurrent policy, which has a state of its own, or observations that are no Box.
    """
    space = run.observation_space
    if not isinstance(space, spaces.Box):
        raise RunError(f"TorchScript takes one tensor of observations, but {run.path} observes a {type(space).__name__}; use --sb3 DIR")
    if type(run.learner).__name__ == "RecurrentPPO":
        raise RunError(f"the policy of {run.path} has a memory, which TorchScript would freeze; use --sb3 DIR")
    module = _Policy(run).eval()
    example = torch.zeros((2, *space.shape), dtype=torch.as_tensor(np.zeros(0, space.dtype)).dtype)
    buffer = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of every Python branch on a shape, and shapes are fixed but for the batch
        torch.jit.save(torch.jit.trace(module, example, check_trace=False), buffer)
    write_whole(file, buffer.getvalue())
    return Path(file)


class _Policy(nn.Module):
    """Observations to deterministic actions, with the running normalisation as it was saved."""

    mean: Tensor
    std: Tensor

    def __init__(self, run: LoadedRun) -> None:
        super().__init__()
        self.policy: Any = copy.deepcopy(run.learner.policy).requires_grad_(False).cpu()
        self.space = run.learner.action_space
        normalize: VecNormalize | None = run.normalize if run.normalize is not None and run.normalize.norm_obs else None
        self.clip = None if normalize is None else float(normalize.clip_obs)
        if normalize is not None:
            rms: Any = normalize.obs_rms
            self.register_buffer("mean", torch.as_tensor(rms.mean))
            self.register_buffer("std", torch.as_tensor(np.sqrt(rms.var + normalize.epsilon)))

    def forward(self, obs: Tensor) -> Tensor:
        if self.clip is not None:
            obs = ((obs - self.mean) / self.std).clamp(-self.clip, self.clip).float()
        return deterministic_action(self.policy, obs, self.space)
