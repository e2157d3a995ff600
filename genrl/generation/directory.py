"""The run directory of a generative model: config, log, weights, checkpoint, frames and pictures, each written whole."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from genrl.errors import RunError
from genrl.files import load_state, write_whole
from genrl.generation.config import GenerateConfig
from genrl.reading import read_json
from genrl.runs.directory import RunDirectory

__all__ = ["GenerationDirectory"]

FIT = ("anneal", "warmup", "max_grad_norm", "average")
"""Settings of a fit that a recipe may choose, and a run writes down."""


class GenerationDirectory(RunDirectory):
    """Paths and files of one run of a generative model.

    Args:
        path: the directory; it may not exist yet.
    """

    FIRST_FILES = ("config.json", "progress.csv", "frames.npz")

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self.model = self.path / "model.safetensors"
        self.frames = self.path / "frames.npz"
        self.film = self.path / "samples_over_time.npz"

    @classmethod
    def open(cls, path: str | Path) -> GenerationDirectory:
        """The directory of an existing run.

        Raises:
            RunError: there is no run.
        """
        return cls(super().open(path).path)

    def read_config(self) -> GenerateConfig:
        """The resolved configuration, wherever the directory is now."""
        values = read_json(self.config)
        values.pop("about", None)
        return replace(GenerateConfig.from_dict(values), out=self.path)

    def begun_with(self) -> dict[str, Any]:
        """What was written down when the run began: ``images``, a checksum, and ``fit``, the settings of the fit.

        Raises:
            RunError: something else is written there.
        """
        about = read_json(self.config).get("about")
        settings = about.get("fit", {}) if isinstance(about, dict) else None
        numbers = isinstance(settings, dict) and all(value is None or isinstance(value, int | float) for value in settings.values())
        if not numbers or not set(settings or ()) <= set(FIT):
            raise RunError(f"{self.config} does not say what its run began with, as `genrl generate` writes it; restore it from a copy")
        return dict(about or {})

    def rows(self) -> list[dict[str, float]]:
        """Rows of the log, one for each epoch that the checkpoint has.

        Raises:
            RunError: the checkpoint is broken.
        """
        if not self.checkpoint.is_file():
            return []
        try:
            rows = list(load_state(self.checkpoint)["fit"]["rows"])
            return [{str(name): float(value) if isinstance(value, float) else int(value) for name, value in row.items()} for row in rows]
        except OSError as error:
            raise RunError(f"{self.checkpoint} can't be opened ({error.strerror}); see whose file it is and what it permits") from error
        except ValueError as error:
            raise RunError(str(error)) from error
        except (KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{self.checkpoint} is not the checkpoint of an image model; restore it from a copy") from error

    def write_log(self, rows: Sequence[dict[str, float]]) -> None:
        """Write progress.csv anew."""
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, list(rows[0]) if rows else ["epoch"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_whole(self.progress, buffer.getvalue().encode())

    def is_complete(self) -> bool:
        """Whether everything that was trained has been measured and drawn."""
        result = read_json(self.result) if self.result.is_file() else {}
        done = (result.get("status"), result.get("epochs"), result.get("judging_error"))
        return done == ("finished", len(self.rows()), None)
