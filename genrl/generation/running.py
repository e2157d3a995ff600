"""One run of a generative model from its configuration to its result, and the rest of a run that was stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from genrl.errors import RunError, command
from genrl.files import write_json
from genrl.generation.building import build, check_takes
from genrl.generation.config import GenerateConfig, settled
from genrl.generation.directory import GenerationDirectory
from genrl.generation.frames_file import save_frames
from genrl.generation.images import images_of
from genrl.generation.recipes import recipe_of
from genrl.generation.training import Training
from genrl.runs.config.base import FRAMES, check_device
from genrl.runs.directory import about
from genrl.runs.interrupt import Interrupt

__all__ = ["generate", "resume_generation"]


def generate(config: GenerateConfig, *, quiet: bool = False) -> dict[str, Any]:
    """Train ``config`` from its beginning in a new run directory, measure the model, and draw.

    A loss that is not finite and an interrupt are no exceptions: ``status`` in the result says so. A failure in measuring or drawing, which
    come last, is no exception either: ``judging_error`` says so.

    Args:
        config: the run; ``config.threads`` becomes torch's number of threads in this process.
        quiet: show no progress on stderr.

    Returns:
        The content of result.json.

    Raises:
        RunError: the run is not possible; nothing was trained and nothing was written.

    Example:
        >>> from genrl.generation import GenerateConfig, generate
        >>> result = generate(GenerateConfig(model="vae", data="mnist", epochs=5))  # doctest: +SKIP
    """
    run = GenerationDirectory(config.directory)
    run.check_new()
    check_takes(config)
    check_device(config.device)
    torch.set_num_threads(config.threads)
    source, config = images_of(config, quiet=quiet)
    model, config = build(config, source)
    config.to_dict()  # refuses what no file brings back
    with run.writing():
        run.check_new()  # another process may have begun one in the meantime
        run.discard()
        with Interrupt() as interrupt:  # so that a Ctrl-C leaves nothing behind or a run that goes on
            if source.recorded is not None:
                save_frames(run.frames, source.recorded)
            begun_with = {"images": source.checksum(), "fit": dict(recipe_of(config.model).fit)}
            write_json(run.config, config.to_dict() | {"about": about() | begun_with})
        try:
            return Training(config, run, source, model, quiet).go(stop=interrupt.requested)
        except ValueError as error:  # images or settings that the fit refuses
            if not run.checkpoint.is_file():
                run.discard()
            raise error if isinstance(error, RunError) else RunError(f"--model {config.model} on {config.data}: {error}") from error


def resume_generation(
    path: str | Path,
    *,
    epochs: int | None = None,
    data: str | Path | None = None,
    data_root: str | Path | None = None,
    device: str | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Go on with a run from its last epoch to the end, as if it had never stopped.

    With more ``epochs`` than it began with, the learning rate rises again where it had fallen, since it falls to zero at their end. A run
    that has all its epochs but no complete result, because measuring failed or was stopped, is measured and drawn again.

    Args:
        path: the run directory.
        epochs: go on until there are this many passes over the images.
        data: new place of an npz or a folder of images, if it moved.
        data_root: new folder of the named data sets, if they moved.
        device: where the model learns from now on; by default as before.
        quiet: show no progress on stderr.

    Raises:
        RunError: there is no run, nothing left to do, another process that writes to it, a checkpoint that does not fit, or other images
            than those that the run began with.
    """
    run = GenerationDirectory.open(path)
    with run.writing():
        config = _as_asked(run, epochs, data, data_root, device)
        _check_unfinished(run, config)
        torch.set_num_threads(config.threads)
        source, config = images_of(config, run.frames if config.task is not None else None, quiet=quiet)
        about_run = run.begun_with()
        if about_run.get("images") not in (None, source.checksum()):
            raise RunError(f"{config.data} holds other images than {run.path} began with; say where those are now by --data or --data-root")
        model, config = build(config, source)
        training = Training(config, run, source, model, quiet)
        try:
            training.check_checkpoint()
            write_json(run.config, config.to_dict() | {"about": about_run})
            return training.go()
        except ValueError as error:
            raise RunError(f"{run.path} can't go on: {error}") from error


def _as_asked(
    run: GenerationDirectory, epochs: int | None, data: str | Path | None, data_root: str | Path | None, device: str | None
) -> GenerateConfig:
    """The configuration of the rest of a run."""
    config, done = run.read_config(), len(run.rows())
    if device is not None:
        config = replace(config, device=device)
    check_device(config.device)
    if epochs is not None:
        if epochs < done:
            raise RunError(f"--epochs is {epochs}, but {run.path} has {done} already; give more, or leave it out")
        config = replace(config, epochs=epochs)
    if config.epochs is None:
        raise RunError(f"{run.config} has no epochs, which `genrl generate` writes down; restore it from a copy, or give --epochs")
    if data is not None:
        if str(data).startswith(FRAMES):
            raise RunError(f"--data is {data}, but says where an npz or a folder of images is now; a run keeps its frames itself")
        config = replace(config, data=str(data))
    return config if data_root is None else replace(config, data_root=Path(data_root))


def _check_unfinished(run: GenerationDirectory, config: GenerateConfig) -> None:
    """Refuse a run with nothing left to do, or without its frames."""
    done = len(run.rows())
    if done >= settled(config.epochs) and run.is_complete():
        if recipe_of(config.model).counts:
            raise RunError(f"{run.path} has counted all images, and is measured; there is nothing left to do")
        again = command("resume", run.path, "--epochs", 2 * done)
        raise RunError(f"{run.path} has all its epochs, {done}; go further with `{again}`")
    if config.task is not None and not run.frames.is_file():
        raise RunError(f"{run.path} has lost its frames, {run.frames.name}; restore it from a copy, or start again")
