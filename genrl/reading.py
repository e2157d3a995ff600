"""Reading what somebody else may have written: regular files only, bounded in size before they are read, and nothing in them is code."""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader, BufferedWriter
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from genrl.errors import RunError, one_line

__all__ = [
    "DECODED",
    "RATIO",
    "ROOM",
    "TABLE",
    "TEXT",
    "Arrays",
    "FileError",
    "check_decoded",
    "check_zip",
    "find_demonstrations",
    "in_bytes",
    "is_minari_id",
    "minari_root",
    "open_appending",
    "open_arrays",
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
DIRECTORY = MEGABYTE
"""Bytes of a zip's list of files, at most: about 20,000 files."""


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


def read_json(path: str | Path, most: int = TEXT) -> dict[str, Any]:
    """An object of a JSON file.

    Raises:
        FileError: as :func:`read_text`; or it is no JSON, too deep, or no object.
    """
    content = parse_json(read_text(path, most), str(path))
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


def in_bytes(number: int) -> str:
    """A size in words.

    Example:
        >>> in_bytes(999), in_bytes(3_500_000)
        ('999 bytes', '3.3 MiB')
    """
    return f"{number:,} bytes" if number < MEGABYTE else f"{number / MEGABYTE:,.1f} MiB"


def check_zip(path: str | Path, file: BufferedReader, kind: str = "zip") -> None:
    """Refuse what is no zip, and one whose list of files is enormous or declares more than is read, before that list is built.

    ``zipfile`` makes an object of every entry; the length of the list is in the last record (APPNOTE.TXT, 4.3.16), or in one of 64 bits
    that only files above 4 GiB need.

    Raises:
        FileError: it is not read.
    """
    if file.read(2) != b"PK":
        raise FileError(f"{path} is no {kind} file, whatever its name; give one that is")
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 22 - 2**16))
    tail = file.read()
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) < end + 22:
        raise FileError(f"{path} is not a whole {kind} file; restore it from a copy")
    if int.from_bytes(tail[end + 12 : end + 16], "little") > DIRECTORY or tail[max(0, end - 20) : end].startswith(b"PK\x06\x07"):
        raise FileError(f"{path} lists more files than genrl reads; restore it from a copy")
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            check_decoded(path, sum(info.file_size for info in archive.infolist()), size)
    except FileError:
        raise
    except Exception as error:  # whatever zipfile says of broken bytes
        raise FileError(f"{path} is not a whole {kind} file ({one_line(error)}); restore it from a copy") from error
    file.seek(0)


@contextmanager
def open_arrays(path: str | Path) -> Iterator[Arrays]:
    """The arrays of an npz file, read when they are asked for.

    Raises:
        FileError: it is no npz, or declares more than is read.
    """
    with open_regular(path) as file:
        check_zip(path, file, "npz")
        with zipfile.ZipFile(file) as archive:
            yield Arrays(Path(path), archive)


class Arrays(Mapping[str, np.ndarray]):
    """Arrays by name, as in NumPy's npz; what is no array or is pickled is refused when it is asked for.

    Args:
        path: names the file in refusals.
        archive: the open zip.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path, self._archive = path, archive
        self._infos: dict[str, zipfile.ZipInfo] = {}
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if name in self._infos:  # which of them is meant, nobody knows
                raise FileError(f"{path} has two arrays of the name {name}; save it anew with numpy.savez_compressed")
            self._infos[name] = info

    def __iter__(self) -> Iterator[str]:
        return iter(self._infos)

    def __len__(self) -> int:
        return len(self._infos)

    def __contains__(self, name: object) -> bool:  # Mapping's own would read the array
        return name in self._infos

    def is_array(self, name: str) -> bool:
        """Whether ``name`` is an array by its ending."""
        return self._infos[name].filename.endswith(".npy")

    def __getitem__(self, name: str) -> np.ndarray:
        info = self._infos[name]
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & 1:
            raise FileError(f"{self.path} holds {name} encrypted or in an unusual compression; save it anew with numpy.savez_compressed")
        try:
            with self._archive.open(info) as member:
                return self._array(member, name, info.file_size)
        except FileError:
            raise
        except MemoryError as error:
            raise FileError(f"{self.path} holds {name} of {in_bytes(info.file_size)}, for which there is no memory") from error
        except Exception as error:  # whatever NumPy and zipfile say, without the reason: NumPy's advice is to load it as a pickle
            raise FileError(f"{self.path} is not a whole npz file, its {name} is broken; restore it from a copy") from error

    def _array(self, member: Any, name: str, size: int) -> np.ndarray:
        version = np.lib.format.read_magic(member)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = header(member)
        if dtype.hasobject:
            raise FileError(
                f"{self.path} has {name} as pickled objects, which can run code and are never loaded; save it as an array of numbers"
            )
        declared = dtype.itemsize * prod(shape)
        if min(shape, default=0) < 0 or declared != size - member.tell():
            raise FileError(f"{self.path} is not a whole npz file, its {name} is truncated; restore it from a copy")
        array = np.empty(declared, dtype=np.uint8)
        place = 0
        while part := member.read(min(MEGABYTE, declared - place)) if place < declared else b"":
            array[place : place + len(part)] = np.frombuffer(part, np.uint8)
            place += len(part)
        member.read(1)  # the end, where the checksum is compared
        if place < declared:
            raise FileError(f"{self.path} is not a whole npz file, its {name} is truncated; restore it from a copy")
        return array.view(dtype).reshape(shape, order="F" if fortran else "C") if dtype.itemsize else np.empty(shape, dtype)
