"""The one loop that fits a generative model to images."""

from __future__ import annotations

import json
import math
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from genrl.generators import forked_generators, set_torch_generators, torch_generators
from genrl.models.capabilities import Player, Source, Transform
from genrl.models.fit_checkpoint import Checkpoint
from genrl.models.losses import (
    arguments,
    averaged,
    check_labels,
    copied,
    follow,
    held_out_loss,
    measured,
    own_transform,
    players_of,
)
from genrl.models.nn import device_of, dtype_of, minibatches
from genrl.models.sources import as_source, parts

__all__ = ["FitSettings", "Precision", "averaged", "faster_precision", "fit", "held_out_loss"]


Precision = Literal["auto", "float32", "bfloat16"]
ImageSource = Source | Tensor | np.ndarray | Dataset[Any] | DataLoader[Any]
"""What a fit can learn from."""


@dataclass(frozen=True)
class FitSettings:
    """The numbers that decide a fit, beside its model and its images; :func:`fit` explains each.

    Raises:
        ValueError: a value out of its range.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    anneal: bool
    warmup: int
    max_grad_norm: float | None
    average: float
    precision: Precision
    seed: int

    def __post_init__(self) -> None:
        for name, fine, need in (
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
            ("learning_rate", 0 < self.learning_rate < math.inf, "positive and finite"),
            ("average", 0 <= self.average < 1, "in [0, 1)"),
            ("warmup", self.warmup >= 0, "at least 0"),
            ("max_grad_norm", self.max_grad_norm is None or self.max_grad_norm > 0, "positive, or None"),
            ("precision", self.precision in get_args(Precision), "auto, float32 or bfloat16"),
        ):
            if not fine:
                raise ValueError(f"fit needs {name} {need}, but was given {getattr(self, name)}")

    def steps(self, images: int) -> int:
        """All steps of the fit."""
        return self.epochs * math.ceil(images / self.batch_size)

    def rate(self, step: int, steps: int) -> float:
        """Share of the learning rate in the step after ``step`` others, of ``steps`` in all."""
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        return rise * (0.5 * (1 + math.cos(math.pi * step / steps)) if self.anneal else 1.0)

    def decay(self, step: int) -> float:
        """Decay of the averaged weights after ``step`` steps: smaller in the first ones, so that the average forgets where they began."""
        return min(self.average, (1 + step) / (10 + step)) if self.average else 0.0

    def fixed(self) -> dict[str, Any]:
        """What may not change when a fit goes on from its checkpoint."""
        return {name: value for name, value in asdict(self).items() if name not in ("epochs", "precision")}


def fit(
    model: nn.Module,
    images: ImageSource,
    *,
    held_out: ImageSource | None = None,
    transform: Transform | None = None,
    epochs: int = 20,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    anneal: bool = False,
    warmup: int = 0,
    max_grad_norm: float | None = None,
    average: float = 0.999,
    precision: Precision = "float32",
    seed: int = 0,
    checkpoint: str | Path | None = None,
    on_epoch: Callable[[nn.Module, dict[str, float]], None] | None = None,
    progress: bool = True,
) -> list[dict[str, float]]:
    """Fit ``model`` to ``images`` by Adam, on the device of its weights; at the end the model has its averaged weights.

    The same seed, threads and machine repeat a fit bit for bit, stopped and resumed or not (an InfoGAN's on a GPU to rounding errors); the
    caller's random numbers stay as they are.

    Args:
        model: a :class:`~genrl.models.capabilities.Model`; it changes in place.
        images: what the model learns from: :class:`genrl.data.Images`, any other :class:`~genrl.models.capabilities.Source`, an array
            ``(image, channel, height, width)`` of bytes (uint8) or of floats in [0, 1], or a torch ``Dataset`` or ``DataLoader`` of such
            images, of which a fit draws its own batches.
        held_out: images whose loss is measured after every epoch, with the averaged weights.
        transform: what is done to each batch before the model learns it, drawn anew every time; by default the model's own
            (:meth:`genrl.models.base.ImageModel.transform`), or nothing where a model has none.
        epochs: passes over ``images``.
        batch_size: most images in a step.
        learning_rate: learning rate of Adam.
        anneal: let the learning rate fall to zero along half a cosine.
        warmup: number of first steps in which the learning rate rises evenly from zero.
        max_grad_norm: the gradient is clipped to this norm; ``None`` leaves it as it is.
        average: decay of the exponential average of the weights (smaller in the first steps); 0 keeps the last weights.
        precision: ``bfloat16`` computes the products of training in half the bits (not those of evaluation, nor the weights), which is
            faster for convolutions on processors that are made for it, and much slower on others; ``auto`` takes the faster one.
        seed: seed of the shuffles, the transforms and the model's own draws.
        checkpoint: a file that is written after every epoch; where it exists already, the fit goes on from it. Only ``epochs`` and
            ``precision`` may differ from before.
        on_epoch: called after every epoch with the model, its averaged weights in place, and the row of the log; what it draws at random
            changes nothing.
        progress: show a bar on stderr.

    Returns:
        A row for each epoch: ``epoch``, ``step``, ``loss`` (where there are several players, the loss of each by its name, and the norm of
        its gradient), whatever the losses measured, ``held_out_loss``, ``seconds``.

    Raises:
        FloatingPointError: a loss, or a weight after an epoch, is NaN or infinite; the last checkpoint is as it was.
        TypeError: ``images`` is neither a source nor an array; the model has no loss.
        ValueError: a value out of its range; a checkpoint of another fit, or of more epochs; the model is conditional, and the images have
            no labels.
    """
    settings = FitSettings(epochs, batch_size, learning_rate, anneal, warmup, max_grad_norm, average, precision, seed)
    run = _Fit(model, images, held_out, transform, settings)
    file = None if checkpoint is None else Checkpoint(Path(checkpoint), run)
    with forked_generators(), _repeatable_convolutions():
        torch.manual_seed(seed)
        if file is not None:
            file.load(epochs)
        with _bar(run.steps, run.step, progress) as advance:
            while len(run.rows) < epochs:
                row = run.learn(advance)
                interrupted = _told(on_epoch, model, run, row)
                if file is not None:
                    file.save()  # even if on_epoch was interrupted, but not if it failed: then the epoch is done again
                if interrupted is not None:
                    raise interrupted
    run.finish()
    return run.rows


def _told(on_epoch: Callable[..., None] | None, model: nn.Module, run: _Fit, row: dict[str, float]) -> KeyboardInterrupt | None:
    """Call ``on_epoch``; the interrupt that ended it, if one did."""
    try:
        if on_epoch is not None:
            with averaged(model, run.average), forked_generators():
                on_epoch(model, row)
    except KeyboardInterrupt as interrupt:
        return interrupt
    return None


class _Fit:
    """A fit under way: the model, its averaged weights, the optimisers, the generator, and the log so far."""

    def __init__(self, model: nn.Module, images: Any, held_out: Any, transform: Transform | None, settings: FitSettings) -> None:
        self.model, self.settings, dtype = model, settings, dtype_of(model)
        self.images = as_source(images, dtype)
        self.held_out = None if held_out is None else as_source(held_out, dtype)
        self.players, self.transform = players_of(model), own_transform(model, transform)
        check_labels(model, self.images, "the images")
        if self.held_out is not None:
            check_labels(model, self.held_out, "held_out")
        self._check_batches()
        self.device = device_of(model)
        self.half = faster_precision(settings.precision, self.device.type) == "bfloat16"
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # in which convolutions are fast
        self.optimizers = [
            torch.optim.Adam(player.parameters, player.pace * settings.learning_rate, betas=player.betas, fused=True)
            for player in self.players
        ]
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.average = copied(model)
        self.rows: list[dict[str, float]] = []
        self.step, self.steps = 0, settings.steps(len(self.images))

    def _check_batches(self) -> None:
        """Refuse equal parts of the images that are too small for a step."""
        images, asked, least = len(self.images), self.settings.batch_size, getattr(self.model, "fewest_in_a_batch", 1)
        if (made := images // math.ceil(images / asked)) < least:
            given = f"batch_size {asked} makes batches of {made} of {images} images"
            raise ValueError(f"{type(self.model).__name__} needs at least {least} images in a batch, but {given}; give another batch_size")

    def learn(self, advance: Callable[[Mapping[str, float], int], None]) -> dict[str, float]:
        """One epoch; its row of the log."""
        start = time.perf_counter()
        self.model.train()
        batches = list(minibatches(len(self.images), self.settings.batch_size, 1, self.generator))
        sums: dict[str, float] = {}
        for index in batches:
            for name, value in self._step(index).items():
                sums[name] = sums.get(name, 0.0) + value
            advance(sums, len(batches))
        row: dict[str, float] = {"epoch": self.epoch, "step": self.step}
        row |= {name: value / len(batches) for name, value in sums.items()}
        self._check_weights()
        if self.held_out is not None:
            with averaged(self.model, self.average):
                most = max(self.settings.batch_size, 4)  # so that equal parts never have one image alone
                unseen = held_out_loss(self.model, self.held_out, self.transform, most, self.settings.seed)
            row["held_out_loss"] = self._finite(unseen, "held-out loss")
        row["seconds"] = round(time.perf_counter() - start, 3)
        self.rows.append(row)
        return row

    def _step(self, index: Tensor) -> dict[str, float]:
        """One step of every player in turn on one batch; what was measured."""
        batch = arguments(self.images, index, self.transform, self.generator, self.model)
        share, seen = self.settings.rate(self.step, self.steps), {}
        for player, optimizer in zip(self.players, self.optimizers, strict=True):
            optimizer.param_groups[0]["lr"] = share * player.pace * self.settings.learning_rate
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
                loss, numbers = measured(player.loss(*batch))
            seen[player.name] = self._finite(float(loss.detach()), f"{player.name} of a batch")
            seen |= {name: float(value) for name, value in numbers.items()}
            norm = self._descend(loss, player, optimizer)
            if norm is not None and len(self.players) > 1:
                seen[f"{player.name}_grad_norm"] = norm
        self.step += 1
        follow(self.average, self.model, self.settings.decay(self.step))
        return seen

    def _descend(self, loss: Tensor, player: Player, optimizer: torch.optim.Optimizer) -> float | None:
        """One step of Adam; the norm of the gradient before it was clipped, where it is clipped or there are several players."""
        optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=list(player.parameters))
        most = self.settings.max_grad_norm
        if most is None and len(self.players) > 1:
            most = math.inf
        norm = None if most is None else float(nn.utils.clip_grad_norm_(player.parameters, most))
        optimizer.step()
        return norm

    def finish(self) -> None:
        """Leave the model with its averaged weights, in evaluation mode, and in the layout of a loaded one: the same last bits."""
        self.model.load_state_dict(self.average)
        self.model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.model.eval()

    @property
    def epoch(self) -> int:
        """The epoch that is under way, from 1."""
        return len(self.rows) + 1

    def _finite(self, value: float, what: str) -> float:
        if not math.isfinite(value):
            raise FloatingPointError(f"the {what} is {value} in epoch {self.epoch}, step {self.step}; lower the learning rate")
        return value

    def _check_weights(self) -> None:
        """A gradient that is not finite shows in the next loss only, which after an epoch's last step is too late for the checkpoint."""
        for name, value in self.model.named_parameters():
            self._finite(float(value.detach().sum(dtype=torch.float64)), f"sum of {name}")

    def about(self) -> dict[str, Any]:
        """What a checkpoint says of its fit: it goes on only where all of this is the same."""
        first = 0
        for part in parts(self.images.batch(torch.arange(min(len(self.images), 64)))):
            first = zlib.crc32(part.contiguous().cpu().numpy().tobytes(), first)
        model = json.dumps([type(self.model).__name__, getattr(self.model, "settings", {})])  # where lists and tuples are the same
        images = {"images": len(self.images), "first_images": first}
        return {"model": model, **images, **self.settings.fixed(), "players": [player.name for player in self.players]}

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "average": self.average,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "generator": self.generator.get_state(),
            "generators": torch_generators(),
            "rows": self.rows,
            "step": self.step,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["average"])  # refused here, if it is another model's
        self.average = copied(self.model)
        self.model.load_state_dict(state["model"])
        for optimizer, values in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(values)
            _as_parameters(optimizer)
        self.generator.set_state(state["generator"])
        set_torch_generators(state["generators"])
        self.rows, self.step = list(state["rows"]), state["step"]


def faster_precision(wanted: Precision = "auto", device: str = "cpu") -> Literal["float32", "bfloat16"]:
    """What ``auto`` is here: ``bfloat16`` where Linux says that the processor is made for it; any other wish is itself.

    Args:
        wanted: the wish.
        device: kind of the device that computes; on any but the CPU, ``auto`` is ``float32``.
    """
    if wanted != "auto":
        return wanted
    if device != "cpu":
        return "float32"
    try:
        words = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return "float32"
    return "bfloat16" if {"avx512_bf16", "amx_bf16", "bf16"} & words else "float32"


@contextmanager
def _repeatable_convolutions() -> Iterator[None]:
    """On a GPU cuDNN takes the algorithms that give the same bits every time; on a CPU nothing changes."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before


def _as_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Bring loaded averages into the memory layout of their parameters: fused Adam walks both without looking at strides."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter).copy_(value)
            elif isinstance(value, Tensor) and value.ndim:  # fused Adam would read beside it
                raise ValueError(f"an optimiser's {name} has shape {tuple(value.shape)} where {tuple(parameter.shape)} is needed")


@contextmanager
def _bar(steps: int, done: int, show: bool) -> Iterator[Callable[[Mapping[str, float], int], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("steps"), TimeRemainingColumn(), TextColumn("{task.fields[words]}"))
    from rich.console import Console

    console = Console(stderr=True)
    seen_now = console.is_terminal or console.is_jupyter  # elsewhere a bar that goes away leaves an empty line
    with Progress(*columns, console=console, disable=not (show and seen_now), transient=True) as bar:
        task = bar.add_task("", total=steps, completed=done, words="")
        seen = 0

        def advance(sums: Mapping[str, float], batches: int) -> None:
            nonlocal seen
            seen = seen % batches + 1
            bar.update(task, advance=1, words=" ".join(f"{name} {value / seen:.4g}" for name, value in sums.items()))

        yield advance
