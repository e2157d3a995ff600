"""The training of a generative model in its run directory: fitted, measured and drawn."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from genrl.data import Images
from genrl.errors import one_line
from genrl.files import save_state, write_json
from genrl.generation.balance import trouble
from genrl.generation.config import GenerateConfig, settled
from genrl.generation.directory import GenerationDirectory
from genrl.generation.images import RunImages
from genrl.generation.judging import SEED, accuracy, balance_of, distances, judged_images, likelihood, no_distances, verdict
from genrl.generation.kept_encoder import encodes, keep_encoder
from genrl.generation.pictures import SamplesOverTime, draw
from genrl.generation.recipes import recipe_of
from genrl.models.base import ImageModel, save_model
from genrl.models.capabilities import Density, Sampler
from genrl.models.training import fit
from genrl.runs.config.base import device_of
from genrl.runs.directory import peak_rss_mb
from genrl.runs.interrupt import Interrupt, terminable

__all__ = ["Training"]


@dataclass(frozen=True)
class Training:
    """A model, the images that it learns from, and the run directory that keeps what comes of it."""

    config: GenerateConfig
    run: GenerationDirectory
    source: RunImages
    model: ImageModel
    quiet: bool

    def go(self, stop: bool = False) -> dict[str, Any]:
        """Fit the epochs that are left, then measure and draw; returns the result. With ``stop`` it is interrupted at once."""
        status, error = "finished", None
        if not self.quiet:
            print("\n".join([f"{self.config.data}: {self.source}", *self.source.notes]), file=sys.stderr)
        with terminable():
            try:
                if stop:
                    raise KeyboardInterrupt
                self._fit()
            except FloatingPointError as failure:
                status, error = "failed", str(failure)
            except KeyboardInterrupt:
                status = "interrupted"
            with Interrupt():  # an impatient second Ctrl-C
                result = self._unmeasured(status, error)
                write_json(self.run.result, result)
            if status == "finished":
                result = self._measured(result)
        with Interrupt():
            write_json(self.run.result, result)
        return result

    def check_checkpoint(self) -> None:
        """Load all that the rest of a run goes on from, so that a file that does not fit is refused before anything is written.

        Raises:
            ValueError: the checkpoint is of another model, as where a default has changed since, or the samples over time are broken.
        """
        self._film().read()
        if self.run.checkpoint.is_file() and not recipe_of(self.config.model).counts:
            fit(**self._of_fit() | {"epochs": len(self.run.rows()), "progress": False})

    def _fit(self) -> None:
        """Fit, from the checkpoint on if there is one; after every epoch the log, the model and the samples over time are written anew."""
        if recipe_of(self.config.model).counts:
            self._count()
            return
        rows, film = self.run.rows(), self._film()
        balance = balance_of(self.config, self.source, self.model, rows, self._say)

        def on_epoch(model: Any, row: dict[str, float]) -> None:
            with Interrupt() as interrupt:  # what belongs to an epoch is there with it
                if balance is not None:
                    balance(model, row)
                rows.append(row)
                self.run.write_log(rows)
                save_model(self.run.model, model)
                if self.config.pictures:
                    film.add(model, int(row["epoch"]))
            if interrupt.requested:
                raise KeyboardInterrupt
            if not sys.stderr.isatty():
                losses = ", ".join(f"{name} {value:.5g}" for name, value in row.items() if name not in ("epoch", "step", "seconds"))
                self._say(f"epoch {row['epoch']} of {self.config.epochs}: {losses}, {row['seconds']:.0f} s")

        self.model.to(device_of(self.config.device))
        try:
            fit(**self._of_fit(), on_epoch=on_epoch, progress=not self.quiet and sys.stderr.isatty())
        finally:
            self.model.cpu()
        save_model(self.run.model, self.model)

    def _of_fit(self) -> dict[str, Any]:
        """What :func:`genrl.models.training.fit` is given, whether it goes on from a checkpoint or not."""
        config, source, model = self.config, self.source, self.model
        least = model.fewest_in_a_batch if model.adversarial else 1  # a discriminator compares images within a batch in evaluation too
        enough = min(config.judge_images, len(source.data.test)) >= least
        return {
            "model": model,
            "images": source.to_learn(source.data.train, model.pairs),
            "held_out": source.to_learn(self._held_out(), model.pairs) if enough else None,
            "transform": source.levelled_pairs if model.pairs else source.transform,
            "epochs": settled(config.epochs),
            "batch_size": settled(config.batch_size),
            "learning_rate": settled(config.learning_rate),
            "precision": config.precision,
            "seed": config.seed,
            "checkpoint": self.run.checkpoint,
            **self.run.begun_with().get("fit", recipe_of(config.model).fit),
        }

    def _held_out(self) -> Images:
        """Test images whose loss is measured; all of them where it takes frames in a row."""
        whole = self.model.pairs or self.config.moving
        return self.source.data.test if whole else judged_images(self.source, self.config.judge_images)

    def _film(self) -> SamplesOverTime:
        return SamplesOverTime(self.run.film, settled(self.config.epochs), self.config.seed)

    def _say(self, words: str) -> None:
        if not self.quiet:
            print(words, file=sys.stderr, flush=True)

    def _count(self) -> None:
        """Fit a model that counts, in one pass."""
        config, source = self.config, self.source
        model: Any = self.model
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
        self.run.write_log(rows)
        save_model(self.run.model, model)
        save_state(self.run.checkpoint, {"fit": {"rows": rows}})

    def _unmeasured(self, status: str, error: str | None) -> dict[str, Any]:
        """The result before anything is measured; it is written first, so that no later failure loses what was trained."""
        config, source, model = self.config, self.source, self.model
        rows, counted = self.run.rows(), recipe_of(config.model).counts
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

    def _measured(self, result: dict[str, Any]) -> dict[str, Any]:
        """``result`` with all numbers; the pictures are drawn too. A failure is its ``judging_error``, and `genrl resume` tries again."""
        found, problems, start = dict(result), [], time.perf_counter()
        for name, step in self._steps(found).items():
            self._say(f"{'drawing' if name == 'pictures' else 'measuring'} the {name} ...")
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

    def _steps(self, found: dict[str, Any]) -> dict[str, Callable[[], Any]]:
        """What is measured and drawn of this model, in order; the pictures show what has been ``found`` by then."""
        config, run, source, model = self.config, self.run, self.source, self.model
        steps: dict[str, Callable[[], Any]] = {}
        if config.judge_images and isinstance(model, Density):
            steps["likelihood"] = lambda: likelihood(config, source, model)
        if config.judge_images and isinstance(model, Sampler) and not no_distances(config, source, model):
            steps["distances"] = lambda: distances(config, source, model)
        if config.judge_images and source.labelled is not None:
            steps["accuracy"] = lambda: accuracy(config, source, model)
        if encodes(model):
            steps["encoder"] = lambda: keep_encoder(config, run, source, model)
        if config.pictures:
            steps["pictures"] = lambda: draw(config, run, source, model, found)
        return steps
