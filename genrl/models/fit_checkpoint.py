"""The file from which a fit goes on after a stop."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from genrl.files import load_state, save_state

__all__ = ["Checkpoint"]


class _Resumable(Protocol):
    """A fit, as its checkpoint sees it."""

    model: nn.Module
    rows: list[dict[str, float]]

    def about(self) -> dict[str, Any]:
        """What has to be the same for the fit to go on."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class Checkpoint:
    """The file from which a fit goes on.

    Args:
        path: a file in a folder that exists.
        run: the fit.

    Raises:
        ValueError: there is no such folder.
    """

    def __init__(self, path: Path, run: _Resumable) -> None:
        if not path.parent.is_dir():
            raise ValueError(f"there is no folder {path.parent} for the checkpoint; make it first")
        self.path, self.run, self.about = path, run, run.about()

    def save(self) -> None:
        """Write the file, whole or not at all."""
        save_state(self.path, self.about | {"fit": self.run.state_dict()})

    def load(self, epochs: int) -> None:
        """Bring the fit to where the file is, if there is one.

        Raises:
            ValueError: the file is of another fit, or of more than ``epochs``.
        """
        if not self.path.is_file():
            return
        saved = load_state(self.path)
        for name, value in self.about.items():
            if saved.get(name) != value:
                given = f"another {name} ({saved.get(name)} instead of {value})"
                raise ValueError(f"{self.path} is of a fit with {given}; give another file, or delete it")
        try:
            done = len(saved["fit"]["rows"])
            if done <= epochs:
                self.run.load_state_dict(copy.deepcopy(saved["fit"]))
        except (
            RuntimeError,
            LookupError,
            TypeError,
            AttributeError,
            ValueError,
        ) as error:  # other weights, or parts missing
            name = type(self.run.model).__name__
            raise ValueError(f"{self.path} is of another version of {name}; give another file, or delete it") from error
        if done > epochs:
            raise ValueError(f"{self.path} has {done} epochs, but was asked for {epochs}; give more, or another file")
