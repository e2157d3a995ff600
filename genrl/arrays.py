"""Zip files and the arrays in an npz that somebody else may have written: bounded before they are unpacked, and never unpickled."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from genrl.errors import one_line
from genrl.reading import MEGABYTE, FileError, check_decoded, in_bytes, open_regular

__all__ = ["Arrays", "check_zip", "open_arrays"]

DIRECTORY = MEGABYTE
"""Bytes of a zip's list of files, at most: about 20,000 files."""


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
