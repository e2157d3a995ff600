"""One run of a generative model from its configuration to its result, and the rest of a run that was stopped."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from genrl.data import Images
from genrl.errors import RunError, command, one_line
from genrl.files import save_state
from genrl.generation.balance import trouble
from genrl.generation.building import build, check_takes
from genrl.generation.config import GenerateConfig, known
from genrl.generation.directory import GenerationDirectory
from genrl.generation.frames_file import save_frames
from genrl.generation.images import RunImages, images_of
from genrl.generation.judging import SEED, accuracy, balance_of, distances, judged_images, likelihood, no_distances, verdict
from genrl.generation.kept_encoder import encodes, keep_encoder
from genrl.generation.pictures import SamplesOverTime, draw
from genrl.generation.recipes import recipe_of
from genrl.models.base import ImageModel, save_model
from genrl.models.capabilities import Density, Sampler
from genrl.models.training import fit
from genrl.runs.config.base import FRAMES, check_device, device_of
from genrl.runs.directory import about, peak_rss_mb
from genrl.runs.interrupt import Interrupt, terminable

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
            run.write_json(run.config, config.to_dict() | {"about": about() | begun_with})
        try:
            return _run(config, run, source, model, interrupt.requested, quiet)
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
        try:
            _check_checkpoint(config, run, source, model)
            run.write_json(run.config, config.to_dict() | {"about": about_run})
            return _run(config, run, source, model, False, quiet)
        except ValueError as error:
            raise RunError(f"{run.path} can't go on: {error}") from error


def _check_checkpoint(config: GenerateConfig, run: GenerationDirectory, source: RunImages, model: ImageModel) -> None:
    """Load all that the rest of a run goes on from, so that a file that does not fit is refused before anything is written.

    Raises:
        ValueError: the checkpoint is of another model, as where a default has changed since, or the samples over time are broken.
    """
    SamplesOverTime(run.film, known(config.epochs), config.seed).read()
    if run.checkpoint.is_file() and not recipe_of(config.model).counts:
        fit(**_of_fit(config, run, source, model) | {"epochs": len(run.rows()), "progress": False})


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
    if done >= known(config.epochs) and run.is_complete():
        if recipe_of(config.model).counts:
            raise RunError(f"{run.path} has counted all images, and is measured; there is nothing left to do")
        again = command("resume", run.path, "--epochs", 2 * done)
        raise RunError(f"{run.path} has all its epochs, {done}; go further with `{again}`")
    if config.task is not None and not run.frames.is_file():
        raise RunError(f"{run.path} has lost its frames, {run.frames.name}; restore it from a copy, or start again")


def _run(config: GenerateConfig, run: GenerationDirectory, source: RunImages, model: ImageModel, stop: bool, quiet: bool) -> dict[str, Any]:
    """Fit the epochs that are left, then measure and draw."""
    status, error = "finished", None
    if not quiet:
        print("\n".join([f"{config.data}: {source}", *source.notes]), file=sys.stderr)
    with terminable():
        try:
            if stop:
                raise KeyboardInterrupt
            _fit(config, run, source, model, quiet)
        except FloatingPointError as failure:
            status, error = "failed", str(failure)
        except KeyboardInterrupt:
            status = "interrupted"
        with Interrupt():  # an impatient second Ctrl-C
            result = _result(config, run, source, model, status, error)
            run.write_json(run.result, result)
        if status == "finished":
            result = _judge(config, run, source, model, result, quiet)
    with Interrupt():
        run.write_json(run.result, result)
    return result


def _fit(config: GenerateConfig, run: GenerationDirectory, source: RunImages, model: ImageModel, quiet: bool) -> None:
    """Fit, from the checkpoint on if there is one; after every epoch the log, the model and the samples over time are written anew."""
    if recipe_of(config.model).counts:
        _count(config, run, source, model)
        return
    rows, film = run.rows(), SamplesOverTime(run.film, known(config.epochs), config.seed)
    balance = balance_of(config, source, model, rows, lambda words: None if quiet else print(words, file=sys.stderr, flush=True))

    def on_epoch(model: Any, row: dict[str, float]) -> None:
        with Interrupt() as interrupt:  # what belongs to an epoch is there with it
            if balance is not None:
                balance(model, row)
            rows.append(row)
            run.write_log(rows)
            save_model(run.model, model)
            if config.pictures:
                film.add(model, int(row["epoch"]))
        if interrupt.requested:
            raise KeyboardInterrupt
        if not quiet and not sys.stderr.isatty():
            losses = ", ".join(f"{name} {value:.5g}" for name, value in row.items() if name not in ("epoch", "step", "seconds"))
            print(f"epoch {row['epoch']} of {config.epochs}: {losses}, {row['seconds']:.0f} s", file=sys.stderr, flush=True)

    model.to(device_of(config.device))
    try:
        fit(**_of_fit(config, run, source, model), on_epoch=on_epoch, progress=not quiet and sys.stderr.isatty())
    finally:
        model.cpu()
    save_model(run.model, model)


def _of_fit(config: GenerateConfig, run: GenerationDirectory, source: RunImages, model: ImageModel) -> dict[str, Any]:
    """What :func:`genrl.models.training.fit` is given, whether it goes on from a checkpoint or not."""
    least = model.fewest_in_a_batch if model.adversarial else 1  # a discriminator compares images within a batch in evaluation too
    enough = min(config.judge_images, len(source.data.test)) >= least
    return {
        "model": model,
        "images": source.to_learn(source.data.train, model.pairs),
        "held_out": source.to_learn(_held_out(config, source, model), model.pairs) if enough else None,
        "transform": source.levelled_pairs if model.pairs else source.transform,
        "epochs": known(config.epochs),
        "batch_size": known(config.batch_size),
        "learning_rate": known(config.learning_rate),
        "precision": config.precision,
        "seed": config.seed,
        "checkpoint": run.checkpoint,
        **run.begun_with().get("fit", recipe_of(config.model).fit),
    }


def _held_out(config: GenerateConfig, source: RunImages, model: ImageModel) -> Images:
    """Test images whose loss is measured; all of them where it takes frames in a row."""
    return source.data.test if model.pairs or config.moving else judged_images(source, config.judge_images)


def _count(config: GenerateConfig, run: GenerationDirectory, source: RunImages, model: Any) -> None:
    """Fit a model that counts, in one pass."""
    start, train, generator = time.perf_counter(), source.data.train, torch.Generator().manual_seed(config.seed)
    indices = torch.arange(len(train)).split(1000)
    grey = isinstance(model, Density)  # it counts what draws of black and white are expected to be
    images = (x if grey else source.levelled(x, generator) for x in map(train.batch, indices))
    labels = (None if train.labels is None else train.labels[index] for index in indices)
    model.count(zip(images, labels, strict=True))
    row: dict[str, float] = {"epoch": 1, "step": len(indices)}
    if config.judge_images and isinstance(model, Density):
        x = source.seen(judged_images(source, config.judge_images), SEED)
        row["held_out_loss"] = -float(model.log_prob(x).mean())
    rows = [row | {"seconds": round(time.perf_counter() - start, 3)}]
    run.write_log(rows)
    save_model(run.model, model)
    save_state(run.checkpoint, {"fit": {"rows": rows}})


def _result(
    config: GenerateConfig, run: GenerationDirectory, source: RunImages, model: ImageModel, status: str, error: str | None
) -> dict[str, Any]:
    """The result before anything is measured; it is written first, so that no later failure loses what was trained."""
    rows, counted = run.rows(), recipe_of(config.model).counts
    return {
        "status": status,
        "error": error,
        "model": config.model,
        "data": config.data,
        "seed": config.seed,
        "epochs": len(rows),
        "seconds": round(sum(row["seconds"] for row in rows), 3),
        "images": str(source),
        "shape": list(source.data.train.shape),
        "levels": config.levels,
        "counted": counted,
        "parameters": sum(item.numel() for item in (*model.parameters(), *(model.buffers() if counted else ()))),
        "trouble": trouble(rows),
        "likelihood": None,
        "verdict": None,
        "distances": None,
        "no_distances": no_distances(config, source, model),
        "accuracy": None,
        "encoder": None,
        "judging_seconds": None,
        "judging_error": "it is not measured yet" if status == "finished" else None,
        "peak_rss_mb": peak_rss_mb(),
    }


def _judge(
    config: GenerateConfig, run: GenerationDirectory, source: RunImages, model: ImageModel, result: dict[str, Any], quiet: bool
) -> dict[str, Any]:
    """``result`` with all numbers; the pictures are drawn too. A failure is its ``judging_error``, and `genrl resume` tries again."""
    found, problems, start = dict(result), [], time.perf_counter()
    measures: dict[str, Callable[..., Any]] = {"likelihood": likelihood, "distances": distances, "accuracy": accuracy}
    able = {
        "likelihood": isinstance(model, Density),
        "distances": isinstance(model, Sampler) and not no_distances(config, source, model),
        "accuracy": source.labelled is not None,
    }
    measures = {name: measure for name, measure in measures.items() if able[name] and config.judge_images}
    steps: dict[str, Callable[[], Any]] = {name: partial(measure, config, source, model) for name, measure in measures.items()}
    if encodes(model):
        steps["encoder"] = partial(keep_encoder, config, run, source, model)
    if config.pictures:
        steps["pictures"] = lambda: draw(config, run, source, model, found)
    for name, step in steps.items():
        if not quiet:
            print(f"{'drawing' if name == 'pictures' else 'measuring'} the {name} ...", file=sys.stderr, flush=True)
        try:
            made = step()
        except KeyboardInterrupt:
            found["status"] = "interrupted"
            problems.append(f"it was interrupted at the {name}")
            break
        except Exception as failure:  # whatever a model may do: the training is done and must be kept
            problems.append(f"the {name} failed ({type(failure).__name__}: {one_line(failure)})")
        else:
            found |= {name: made} if name in found else {}
    return found | {
        "verdict": verdict(found),
        "judging_seconds": round(time.perf_counter() - start, 3),
        "judging_error": "; ".join(problems) or None,
    }
