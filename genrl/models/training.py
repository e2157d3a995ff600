"""The one loop that fits a generative model to images."""

from __future__ import annotations

import copy
import json
import math
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from genrl.files import load_state, save_state
from genrl.models.capabilities import Measured, Model, Player, Source, Transform
from genrl.models.nn import minibatches, trainable

__all__ = ["Precision", "averaged", "faster_precision", "fit", "held_out_loss"]


Precision = Literal["auto", "float32", "bfloat16"]


@dataclass
class _State:
    """All that a fit needs to go on."""

    model: nn.Module
    average: dict[str, Tensor]
    optimizers: Sequence[torch.optim.Optimizer]
    generator: torch.Generator
    rows: list[dict[str, float]] = field(default_factory=list)
    step: int = 0

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "average": self.average,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "generator": self.generator.get_state(),
            "torch": torch.get_rng_state(),
            "rows": self.rows,
            "step": self.step,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.average = dict(state["average"])
        for optimizer, values in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(values)
            _as_parameters(optimizer)
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["torch"])
        self.rows, self.step = list(state["rows"]), state["step"]


def fit(
    model: nn.Module,
    images: Source,
    *,
    held_out: Source | None = None,
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
    """Fit ``model`` to ``images`` by Adam; it keeps its averaged weights.

    The same seed, threads and machine repeat a fit bit for bit, stopped and resumed or not; the caller's random numbers stay as they are.

    Args:
        model: a :class:`Model`; changes in place.
        images: to learn from.
        held_out: images whose loss is measured, with the averaged weights, after every epoch.
        transform: of each batch, drawn anew every time; by default the model's own (:meth:`genrl.models.base.ImageModel.transform`), or
            none, which leaves grey levels in [0, 1].
        epochs: passes over ``images``.
        batch_size: images a step.
        learning_rate: of Adam.
        anneal: let the learning rate fall to zero, as half a cosine.
        warmup: steps in which the learning rate rises evenly from nothing.
        max_grad_norm: clip the norm of the gradient.
        average: decay of the exponential average of the weights (smaller in the first steps, so that it forgets where they began); 0 keeps
            the last weights.
        precision: ``bfloat16`` computes the products of training (not of evaluation, nor the weights) in half the bits, which
            is faster for convolutions on processors that are made for it, and much slower on others; ``auto`` takes the faster one.
        seed: of shuffles, transforms and the model's own draws.
        checkpoint: a file; written after every epoch, and where it is there, the fit goes on from it. Only ``epochs`` and ``precision`` may
            be others than before.
        on_epoch: called with the model, its averaged weights in place, and the row of the log; what it draws at random changes nothing.
        progress: a bar on stderr.

    Returns:
        A row an epoch: ``epoch``, ``step``, ``loss`` (of each player by its name, and of several the norm of each one's gradient), what
        they measured, ``held_out_loss``, ``seconds``.

    Raises:
        FloatingPointError: a loss, or a weight after an epoch, is NaN or infinite; the last checkpoint is as it was.
        TypeError: no images with ``len`` and ``batch``.
        ValueError: a checkpoint of another fit, or of more epochs; the model is conditional, and the images have no labels.
    """
    _check_images(images)
    _check(epochs, batch_size, learning_rate, average, precision, warmup, max_grad_norm)
    if checkpoint is not None and not Path(checkpoint).parent.is_dir():
        raise ValueError(f"there is no folder {Path(checkpoint).parent} for the checkpoint; make it first")
    players, transform = _players(model), _transform(model, transform)
    if _conditional(model):
        _ = images.needed_labels, None if held_out is None else held_out.needed_labels
    half = faster_precision(precision) == "bfloat16"
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # in which convolutions are fast
    optimizers = [torch.optim.Adam(player.parameters, player.pace * learning_rate, betas=player.betas, fused=True) for player in players]
    generator = torch.Generator().manual_seed(seed)
    state = _State(model, _copied(model), optimizers, generator)
    steps = epochs * math.ceil(len(images) / batch_size)
    about = {
        "model": json.dumps([type(model).__name__, getattr(model, "settings", {})]),  # whose lists and tuples are the same
        "images": len(images),
        "first_images": zlib.crc32(images.batch(torch.arange(min(len(images), 64))).contiguous().numpy().tobytes()),
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "anneal": anneal,
        "warmup": warmup,
        "max_grad_norm": max_grad_norm,
        "average": average,
        "seed": seed,
        "players": [player.name for player in players],
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if checkpoint is not None and Path(checkpoint).is_file():
            _resume(Path(checkpoint), state, about, epochs)
        with _bar(steps, state.step, progress) as advance:
            for epoch in range(len(state.rows) + 1, epochs + 1):
                start = time.perf_counter()
                model.train()
                sums: dict[str, float] = {}
                batches = list(minibatches(len(images), batch_size, 1, generator))
                for index in batches:
                    batch = _batch(images, index, transform, generator, model)
                    rate = min(1.0, (state.step + 1) / warmup) if warmup else 1.0
                    rate *= 0.5 * (1 + math.cos(math.pi * state.step / steps)) if anneal else 1.0
                    for player, optimizer in zip(players, optimizers, strict=True):
                        optimizer.param_groups[0]["lr"] = rate * player.pace * learning_rate
                        with torch.autocast("cpu", torch.bfloat16, enabled=half):
                            loss, measured = _measured(player.loss(*batch))
                        seen = {player.name: _finite(float(loss.detach()), f"{player.name} of a batch", epoch, state.step)} | {
                            key: float(x) for key, x in measured.items()
                        }
                        norm = _descend(loss, player, optimizer, math.inf if max_grad_norm is None and len(players) > 1 else max_grad_norm)
                        if norm is not None and len(players) > 1:
                            seen[f"{player.name}_grad_norm"] = norm
                        for name, value in seen.items():
                            sums[name] = sums.get(name, 0.0) + value
                    state.step += 1
                    _follow(state.average, model, min(average, (1 + state.step) / (10 + state.step)) if average else 0.0)
                    advance(sums, len(batches))
                row: dict[str, float] = {"epoch": epoch, "step": state.step}
                row |= {name: value / len(batches) for name, value in sums.items()}
                _check_weights(model, epoch, state.step)
                if held_out is not None:
                    with averaged(model, state.average):  # 4, so that equal parts are never of one image alone
                        unseen = held_out_loss(model, held_out, transform, max(batch_size, 4), seed)
                    row["held_out_loss"] = _finite(unseen, "held-out loss", epoch, state.step)
                row["seconds"] = round(time.perf_counter() - start, 3)
                state.rows.append(row)
                try:
                    if on_epoch is not None:
                        with averaged(model, state.average), torch.random.fork_rng(devices=[]):  # who looks changes nothing
                            on_epoch(model, row)
                finally:  # an interrupt of what looks does not cost the epoch
                    if checkpoint is not None:
                        save_state(checkpoint, about | {"fit": state.state_dict()})
    model.load_state_dict(state.average)
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload] # as a loaded one is: the same last bits
    model.eval()
    return state.rows


def faster_precision(wanted: Precision = "auto") -> Literal["float32", "bfloat16"]:
    """What ``auto`` is on this machine: ``bfloat16`` where Linux says that the processor is made for it; any other wish is itself."""
    if wanted != "auto":
        return wanted
    try:
        words = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return "float32"
    return "bfloat16" if {"avx512_bf16", "amx_bf16", "bf16"} & words else "float32"


def _as_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Bring loaded averages into the memory layout of their parameters: fused Adam walks both without looking at strides."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter).copy_(value)


@torch.no_grad()
def held_out_loss(model: nn.Module, images: Source, transform: Transform | None = None, batch_size: int = 250, seed: int = 0) -> float:
    """Mean loss over images, the first player's where there are several; the same draws for every call with one seed."""
    generator = torch.Generator().manual_seed(seed)
    loss, transform = _players(model)[0].loss, _transform(model, transform)
    was_training = model.training
    model.eval()
    total = 0.0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for index in torch.arange(len(images)).tensor_split(math.ceil(len(images) / batch_size)):  # equal parts
            total += float(_measured(loss(*_batch(images, index, transform, generator, model)))[0]) * len(index)
    model.train(was_training)
    return total / len(images)


@contextmanager
def averaged(model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """The model with other weights, its own again afterwards."""
    own, was_training = _copied(model), model.training
    model.load_state_dict(weights)
    model.eval()
    try:
        yield
    finally:
        model.load_state_dict(own)
        model.train(was_training)


def _check_images(images: Any) -> None:
    if hasattr(images, "batch") and hasattr(images, "__len__"):
        return
    cure = "give its .train" if hasattr(images, "train") else "wrap bytes in genrl.data.Images(pixels, labels)"
    raise TypeError(f"fit learns from images with len and batch, but was given {type(images).__name__}; {cure}")


def _check(
    epochs: int, batch_size: int, learning_rate: float, average: float, precision: str, warmup: int, max_grad_norm: float | None
) -> None:
    for name, value, fine, need in (
        ("epochs", epochs, epochs >= 1, "at least 1"),
        ("batch_size", batch_size, batch_size >= 1, "at least 1"),
        ("learning_rate", learning_rate, 0 < learning_rate < math.inf, "positive and finite"),
        ("average", average, 0 <= average < 1, "in [0, 1)"),
        ("warmup", warmup, warmup >= 0, "at least 0"),
        ("max_grad_norm", max_grad_norm, max_grad_norm is None or max_grad_norm > 0, "positive, or None"),
        ("precision", precision, precision in get_args(Precision), "auto, float32 or bfloat16"),
    ):
        if not fine:
            raise ValueError(f"fit needs {name} {need}, but was given {value}")


def _players(model: nn.Module) -> list[Player]:
    if hasattr(model, "players"):
        return list(model.players())  # type: ignore[operator]
    if not isinstance(model, Model):
        raise TypeError(f"{type(model).__name__} has no loss(x), which fit needs")
    return [Player("loss", trainable(model), model.loss)]


def _transform(model: nn.Module, given: Transform | None) -> Transform | None:
    own: Transform | None = getattr(model, "transform", None)
    return own if given is None else given


def _conditional(model: nn.Module) -> bool:
    return bool(getattr(model, "conditional", False))


def _batch(
    images: Source,
    index: Tensor,
    transform: Transform | None,
    generator: torch.Generator,
    model: nn.Module,
) -> tuple[Tensor, ...]:
    """The arguments of a loss."""
    x = images.batch(index)
    made = x if transform is None else transform(x, generator)
    parts = (made,) if isinstance(made, Tensor) else made
    labels = (images.needed_labels[index],) if _conditional(model) else ()
    return (*(part.contiguous(memory_format=torch.channels_last) if part.ndim == 4 else part for part in parts), *labels)


def _finite(value: float, what: str, epoch: int, step: int) -> float:
    if not math.isfinite(value):
        raise FloatingPointError(f"the {what} is {value} in epoch {epoch}, step {step}; lower the learning rate")
    return value


def _check_weights(model: nn.Module, epoch: int, step: int) -> None:
    """A gradient that is not finite shows in the next loss only, which after an epoch's last step is too late for the checkpoint."""
    for name, value in model.named_parameters():
        _finite(float(value.detach().sum(dtype=torch.float64)), f"sum of {name}", epoch, step)


def _measured(loss: Measured) -> tuple[Tensor, Mapping[str, Tensor]]:
    return (loss, {}) if isinstance(loss, Tensor) else loss


def _descend(loss: Tensor, player: Player, optimizer: torch.optim.Optimizer, max_grad_norm: float | None) -> float | None:
    """The norm of the gradient before it is clipped, if it is."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward(inputs=list(player.parameters))
    norm = None if max_grad_norm is None else float(nn.utils.clip_grad_norm_(player.parameters, max_grad_norm))
    optimizer.step()
    return norm


def _copied(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


@torch.no_grad()
def _follow(average: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    """Exponential average of everything with a fraction; counters and masks are copied."""
    now = model.state_dict()
    smooth = [name for name, value in now.items() if value.is_floating_point()]
    torch._foreach_lerp_([average[name] for name in smooth], [now[name] for name in smooth], 1 - decay)
    for name in now.keys() - set(smooth):
        average[name].copy_(now[name])


def _resume(path: Path, state: _State, about: Mapping[str, Any], epochs: int) -> None:
    saved = load_state(path)
    other = [name for name, value in about.items() if saved.get(name) != value]
    if other:
        raise ValueError(
            f"{path} is of a fit with another {other[0]} ({saved.get(other[0])} instead of {about[other[0]]}); give another file, or "
            "delete it"
        )
    if len(saved["fit"]["rows"]) > epochs:
        raise ValueError(f"{path} has {len(saved['fit']['rows'])} epochs, but was asked for {epochs}; give more, or another file")
    try:
        state.load_state_dict(copy.deepcopy(saved["fit"]))
    except RuntimeError as error:  # other names or shapes of weights
        raise ValueError(f"{path} is of another version of {type(state.model).__name__}; give another file, or delete it") from error


@contextmanager
def _bar(steps: int, done: int, show: bool) -> Iterator[Callable[[Mapping[str, float], int], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("steps"), TimeRemainingColumn(), TextColumn("{task.fields[words]}"))
    from rich.console import Console

    with Progress(*columns, console=Console(stderr=True), disable=not show, transient=True) as bar:
        task = bar.add_task("", total=steps, completed=done, words="")
        seen = 0

        def advance(sums: Mapping[str, float], batches: int) -> None:
            nonlocal seen
            seen = seen % batches + 1
            bar.update(task, advance=1, words=" ".join(f"{name} {value / seen:.4g}" for name, value in sums.items()))

        yield advance
