"""A study's directory: how it is begun, and which study it holds."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from genrl.errors import RunError, did_you_mean
from genrl.files import write_whole
from genrl.reading import FileError, read_json, read_text
from genrl.studies.matrix import STUDY, Study

__all__ = ["FORMAT", "holds", "open_directory", "open_study", "read_about"]


FORMAT = 1
"""Version of what is in a study's directory; a change that old readers would misread increases it."""
LOCK = ".lock"


def open_directory(study: Study) -> str:
    """Make the directory, or check that it is a study's, and keep the TOML in it; the token tells a worker that it is the same one.

    Raises:
        RunError: it holds something else, or a study of another version.
    """
    folder, foreign = study.directory, RunError(f"{study.directory} holds something that is no study; choose another --out")
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if names and names.isdisjoint({LOCK, "study.json"}):
        raise foreign  # without leaving a lock in it; a study's own is there before anything else
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK):  # two studies that begin at the same moment must agree on a token
            known = read_about(folder)
            if known is None and any(path.name != LOCK for path in folder.iterdir()):
                raise foreign
            about = known or {"format": FORMAT, "token": uuid.uuid4().hex, "name": study.name}
            file = Path(study.source).name if Path(study.source).is_absolute() else study.source
            told = {"file": file, "demos": {**about.get("demos", {}), **study.digests}}  # `genrl report` knows the cells without them
            write_whole(folder / "study.json", (json.dumps(about | told) + "\n").encode())
            write_whole(folder / "study.toml", study.text.encode())
    except OSError as error:
        raise RunError(f"{folder} can't be written ({error.strerror}); choose another --out") from error
    return str(about["token"])


def read_about(directory: Path) -> dict[str, Any] | None:
    """What study.json says; ``None`` where there is none.

    Raises:
        RunError: a study of another version.
    """
    path = directory / "study.json"
    if not path.is_file():
        return None
    try:
        about = read_json(path)
        version = about["format"]
        if version == FORMAT:  # another version may name other things
            _check_name(about["name"])
            _check_name(about["token"])
            if not all(isinstance(digest, str) for digest in about.setdefault("demos", {}).values()):
                raise ValueError("a checksum of demonstrations is none")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise RunError(f"{path} is not what genrl wrote; restore it from a copy, or choose another --out") from error
    if version != FORMAT:
        raise RunError(f"{directory} holds a study of format {version}, this version of genrl has format {FORMAT}; choose another --out")
    return about


def _check_name(name: Any) -> None:
    """Refuse a study's name that is no name of a file: results are written under it."""
    if not isinstance(name, str) or not name.isprintable() or name.startswith(".") or not 0 < len(name) <= 150 or {"/", "\\"} & set(name):
        raise ValueError(f"{name!r} is no name")


def holds(study: Study) -> bool:
    """Whether the study's directory still holds this study, and not another one that was begun there since."""
    try:
        return read_text(study.directory / "study.toml", STUDY) == study.text
    except FileError:
        return False


def open_study(directory: str | Path) -> Study:
    """The study whose runs are in ``directory``.

    Raises:
        RunError: there is no study, or one of another version.
    """
    directory = Path(directory)
    about = read_about(directory)
    if about is None:
        if directory.is_file():
            raise RunError(f"{directory} is a file; give the directory of the study, by default runs/{directory.stem}")
        others = [str(path.parent) for path in directory.parent.glob("*/study.json")] if directory.parent.is_dir() else []
        raise RunError(f"{directory} holds no study{did_you_mean(str(directory), others) or '; train one with `genrl study FILE.toml`'}")
    path = directory / "study.toml"
    try:
        study = Study.parse(read_text(path, STUDY), about["name"], directory, str(path), about["demos"])
    except FileError as error:
        raise RunError(f"{error}; or run `genrl study` again") from error
    return replace(study, source=str(about.get("file", "")))
