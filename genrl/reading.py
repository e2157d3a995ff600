"""Reading what somebody else may have written: regular files only, bounded in size before they are read, and nothing in them is code."""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import Any

from genrl.errors import RunError, one_line

__all__ = [
    "DECODED",
    "MEGABYTE",
    "RATIO",
    "ROOM",
    "TABLE",
    "TEXT",
    "FileError",
    "check_decoded",
    "find_demonstrations",
    "in_bytes",
    "is_minari_id",
    "minari_root",
    "open_appending",
    "open_regular",
    "parse_json",
    "parse_toml",
    "read_bytes",
    "read_json",
    "read_text",
]

MEGABYTE = 2**20
TEXT = 8 * MEGABYTE
"""Bytes of a JSON file, at most."""
TABLE = 64 * MEGABYTE
"""Bytes of a CSV file, at most."""
DECODED = 2048 * MEGABYTE
"""Bytes of what a compressed or hollow file holds, at most."""
ROOM = 256 * MEGABYTE
"""Bytes that even a small file may hold; beyond, at most ``RATIO`` times its own."""
RATIO = 100
DEEPEST = 64
"""Levels of nesting in JSON, at most."""


class FileError(RunError):
    """A file that is not read. The message is one sentence that names it."""


def open_regular(path: str | Path) -> BufferedReader:
    """Open a regular file for reading; a pipe or a device, which could wait or give bytes for ever, is not opened.

    Raises:
        FileError: there is no such file, it is something else, or it can't be opened.
    """
    try:
        if stat.S_ISREG(Path(path).stat().st_mode):
            number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            if stat.S_ISREG(os.fstat(number).st_mode):
                return os.fdopen(number, "rb")
            os.close(number)
    except (OSError, ValueError) as error:
        raise FileError(f"{path} can't be read ({getattr(error, 'strerror', None) or error}); give a file that can") from error
    raise FileError(f"{path} is a folder, a pipe or a device; give a regular file")


def open_appending(path: str | Path) -> BufferedWriter:
    """Open a file for appending, but never through a link, which would decide that something is written elsewhere.

    Raises:
        FileError: it is a link, or can't be opened.
    """
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644), "ab")
    except OSError as error:
        why = "it is a link" if Path(path).is_symlink() else error.strerror
        raise FileError(f"{path} can't be written ({why}); move it elsewhere") from error


def minari_root() -> Path:
    """The folder of Minari's data sets on this machine (minari/storage/datasets_root_dir.py)."""
    return Path(os.environ.get("MINARI_DATASETS_PATH", Path.home() / ".minari" / "datasets")).resolve()


def is_minari_id(path: Path) -> bool:
    """Whether ``path`` could be the id of a Minari data set.

    Example:
        >>> is_minari_id(Path("D4RL/door/human-v2")), is_minari_id(Path("../door-v2"))
        (True, False)
    """
    return re.fullmatch(r"([-\w]+/)*[-\w]+-v\d+", path.as_posix()) is not None


def find_demonstrations(path: Path) -> Path:
    """Where demonstrations are: ``path``, or if nothing is there the Minari data set of this id, if it is on this machine."""
    installed = minari_root() / path if is_minari_id(path) else path
    return installed if installed.is_dir() and not path.exists() else path


def read_bytes(path: str | Path, most: int) -> bytes:
    """The whole content of a regular file of at most ``most`` bytes.

    Raises:
        FileError: it is larger, no regular file, or can't be read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            content = file.read(most + 1) if size <= most else b""
        except OSError as error:
            raise FileError(f"{path} can't be read ({error.strerror}); give a file that can") from error
    if size > most or len(content) > most:
        raise FileError(f"{path} has {in_bytes(max(size, len(content)))}, but at most {in_bytes(most)} are read; restore it from a copy")
    return content


def read_text(path: str | Path, most: int = TEXT) -> str:
    """A text file of at most ``most`` bytes, in UTF-8.

    Raises:
        FileError: it is larger, no regular file, no text, or can't be read.
    """
    try:
        return read_bytes(path, most).decode()
    except UnicodeDecodeError as error:
        raise FileError(f"{path} is no text; restore it from a copy") from error


def read_json(path: str | Path) -> dict[str, Any]:
    """The object in a JSON file of at most 8 MiB.

    Raises:
        FileError: as :func:`read_text`; or it is no JSON, too deep, or no object.
    """
    content = parse_json(read_text(path), str(path))
    if not isinstance(content, dict):
        raise FileError(f"{path} holds a JSON {type(content).__name__} where an object is needed; restore it from a copy")
    return content


def parse_json(text: str | bytes, where: str) -> Any:
    """JSON of at most 64 levels; ``where`` names it in a refusal.

    Raises:
        FileError: it is no JSON, or deeper.

    Example:
        >>> parse_json("[" * 100 + "]" * 100, "config.json")
        Traceback (most recent call last):
        genrl.reading.FileError: config.json is nested more than 64 levels deep; restore it from a copy
    """
    try:
        content = json.loads(text, object_pairs_hook=_no_key_twice)
    except ValueError as error:
        raise FileError(f"{where} is not valid JSON ({one_line(error)}); restore it from a copy") from error
    except RecursionError as error:
        raise FileError(f"{where} is nested more than {DEEPEST} levels deep; restore it from a copy") from error
    level = [content]
    for _ in range(DEEPEST + 1):
        level = [item for node in level if isinstance(node, dict | list) for item in (node.values() if isinstance(node, dict) else node)]
        if not level:
            return content
    raise FileError(f"{where} is nested more than {DEEPEST} levels deep; restore it from a copy")


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """TOML; ``where`` names it in a refusal.

    Raises:
        FileError: it is no TOML.

    Example:
        >>> parse_toml("seeds = ", "mine.toml")
        Traceback (most recent call last):
        genrl.reading.FileError: mine.toml is not TOML (Invalid value (at end of document)); mend it
    """
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # nested too deep, or a number of thousands of digits
        raise FileError(f"{where} is not TOML ({one_line(error)}); mend it") from error


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; of two values of one key, nobody knows which is meant."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it has {next(name for name in names if names.count(name) > 1)!r} twice")
    return content


def in_bytes(number: int) -> str:
    """A size in words.

    Example:
        >>> in_bytes(999), in_bytes(3_500_000)
        ('999 bytes', '3.3 MiB')
    """
    return f"{number:,} bytes" if number < MEGABYTE else f"{number / MEGABYTE:,.1f} MiB"


def check_decoded(path: str | Path, decoded: int, stored: int) -> None:
    """Refuse a file that holds far more than its own size, or more than is ever read.

    Args:
        path: names it in the refusal.
        decoded: bytes that it declares.
        stored: bytes that it has on the disk.

    Raises:
        FileError: it is a bomb, or too large.
    """
    if decoded > min(DECODED, max(ROOM, RATIO * stored)):
        raise FileError(f"{path} declares {in_bytes(decoded)} of data in {in_bytes(stored)}, which is not read; give a smaller part of it")
