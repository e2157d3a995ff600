"""A run's policy in forms that need no genrl: for Stable-Baselines3 alone, for torch alone, and for ONNX."""

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

from genrl.errors import RunError, extra
from genrl.files import check_new, check_writable, new_folder, write_together
from genrl.runs.uses.load import LoadedRun
from genrl.sb3.predict import deterministic_action

__all__ = ["export_onnx", "export_sb3", "export_torchscript"]


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
        instead = "export it by --torchscript" if _obstacle(run, "--torchscript") is None else _in_python(run)
        raise RunError(f"the policy of {run.path} sees codes of an encoder, which Stable-Baselines3 has not; {instead}")
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise RunError(f"{target} is not an empty folder; choose another folder")
    check_writable(target, "--sb3")
    with new_folder(target) as whole:
        if run.model_file.suffix == ".zip":
            shutil.copyfile(run.model_file, whole / "model.zip")
        else:  # of a run from the hub, or the mean of the last policies
            run.learner.save(whole / "model.zip")
        if run.normalize is not None:
            run.normalize.training = False  # a policy that is used does not move its statistics
            run.normalize.save(str(whole / "vecnormalize.pkl"))
    return [target / name for name in ("model.zip", "vecnormalize.pkl") if (target / name).exists()]


def export_torchscript(run: LoadedRun, file: str | Path) -> Path:
    """The deterministic policy as one TorchScript file: a batch of observations in, actions in the environment's units out.

    Normalisation and action scaling are part of it, so ``torch.jit.load(file)(obs)`` needs neither genrl nor Stable-Baselines3. Images have
    their channels first; a policy that sees images through an encoder takes codes; one of MaskablePPO also takes the masks of valid
    actions, ``(batch, choices)``.

    Args:
        run: what :func:`genrl.load` gave.
        file: where to write it.

    Raises:
        RunError: a recurrent policy, which has a state of its own; observations that are not a Box; or a file that exists.
    """
    check_new(file, "--torchscript")
    buffer = io.BytesIO()
    torch.jit.save(_traced(run, "--torchscript"), buffer)
    write_together({Path(file): buffer.getvalue()})
    return Path(file)


def export_onnx(run: LoadedRun, file: str | Path) -> Path:
    """The deterministic policy as one ONNX file: ``obs``, and for MaskablePPO ``action_masks``, in; ``action`` out.

    It takes and gives what that of :func:`export_torchscript` does, for any number of rows. Before it is written, onnxruntime computes the
    actions of random observations with it, which have to be the policy's.

    Args:
        run: what :func:`genrl.load` gave.
        file: where to write it.

    Raises:
        RunError: as :func:`export_torchscript`; or onnx and onnxruntime are not installed; or what onnxruntime computes differs.
    """
    check_new(file, "--onnx")
    extra("onnx", "onnx", "--onnx")
    runtime = extra("onnxruntime", "onnx", "--onnx")
    traced, buffer = _traced(run, "--onnx"), io.BytesIO()
    names = [*_inputs(run, 1), "action"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch advises its newer exporter, which fails on the policies of SAC
        torch.onnx.export(
            traced,
            tuple(_inputs(run, 2).values()),
            buffer,  # type: ignore[arg-type]  # its signature leaves files in memory out, its documentation has them
            dynamo=False,
            input_names=names[:-1],
            output_names=names[-1:],
            dynamic_axes={name: {0: "batch"} for name in names},
        )
    session = runtime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
    inputs = _inputs(run, 33)
    (action,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    if not np.allclose(action, traced(*inputs.values()).numpy(), rtol=1e-4, atol=1e-4):
        raise RunError(f"the actions of {run.path} come out differently in ONNX; export the policy by --torchscript FILE")
    write_together({Path(file): buffer.getvalue()})
    return Path(file)


def _traced(run: LoadedRun, flag: str) -> Any:
    """The policy as one graph of tensors."""
    if (why := _obstacle(run, flag)) is not None:
        raise RunError(f"{why}; {'use --sb3 DIR' if run.encoder is None else _in_python(run)}")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of every Python branch on a shape, and shapes are fixed but for the batch
        return torch.jit.trace(_Policy(run).eval(), tuple(_inputs(run, 2).values()), check_trace=False)


def _obstacle(run: LoadedRun, flag: str) -> str | None:
    """Why a policy is no graph of one tensor, if it is none."""
    if not isinstance(run.observation_space, spaces.Box):
        kind = type(run.observation_space).__name__
        return f"{flag} needs observations that are one tensor, but {run.path} observes a {kind}"
    if type(run.learner).__name__ == "RecurrentPPO":
        return f"the policy of {run.path} has a memory, which {flag} would freeze"
    return None


def _in_python(run: LoadedRun) -> str:
    return f"it acts in Python alone, by genrl.load({str(run.path)!r}).predict"


def _inputs(run: LoadedRun, batch: int) -> dict[str, Tensor]:
    """What the policy could be given, by name: random observations, and every action allowed."""
    space = copy.deepcopy(run.observation_space)
    space.seed(0)
    inputs = {"obs": torch.as_tensor(np.stack([space.sample() for _ in range(batch)]))}
    if type(run.learner).__name__ == "MaskablePPO":
        choices = spaces.flatdim(run.learner.action_space) * (1 + isinstance(run.learner.action_space, spaces.MultiBinary))
        inputs["action_masks"] = torch.ones((batch, choices), dtype=torch.bool)
    return inputs


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

    def forward(self, obs: Tensor, action_masks: Tensor | None = None) -> Tensor:
        if self.clip is not None:
            obs = ((obs - self.mean) / self.std).clamp(-self.clip, self.clip).float()
        masks = {} if action_masks is None else {"action_masks": action_masks}
        return deterministic_action(self.policy, obs, self.space, **masks)
