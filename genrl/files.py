"""State files: nested dictionaries of tensors and plain values as one safetensors file, written whole or not at all."""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrl.errors import RunError, one_line
from genrl.reading import RATIO, ROOM, FileError, open_regular, parse_json

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "LEFT_OVER",
    "as_state",
    "check_new",
    "check_writable",
    "finite_or_none",
    "from_state",
    "load_state",
    "new_folder",
    "save_state",
    "sweep",
    "write_json",
    "write_together",
    "write_whole",
]

LEFT_OVER = re.compile(r"\..+\.\w+\.[a-z0-9_]{8}(\.mp4)?")
"""Names of the temporary files of :func:`write_whole`: a dot, the name of the file, and eight letters of ``tempfile.mkstemp``. Those of a
film end in its ending."""

_TENSOR = "__tensor__"
_PAIRS = "__pairs__"
_CHECKSUM = "__crc32__"
HEADER = 32 * 2**20
"""Bytes of the names, shapes and plain values of a state, at most."""


def write_whole(path: str | Path, content: bytes) -> None:
    """Write ``content`` to a temporary name beside ``path``, flush it to the disk, read it back, rename.

    A reader sees the old file or the new one, and the old one is there until the new one has been read back. A process that is killed
    leaves its temporary file behind, for :func:`sweep`.

    Raises:
        OSError: the disk is full, can't be written, or gives back something else than was written.
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w+b") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            if file.read() != content:
                raise OSError(f"{path} was read back as something else than was written; the disk may be full or broken")
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole; numbers that are not finite become null."""
    write_whole(path, (json.dumps(finite_or_none(content), indent=2) + "\n").encode())


def write_together(files: Mapping[Path, bytes]) -> None:
    """Write new files that belong together; if one of them can't be written, none of them stays.

    Raises:
        RunError: one of them exists.
        OSError: as :func:`write_whole`.
    """
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        check_new(path)
    written: list[Path] = []
    try:
        for path, content in files.items():
            write_whole(path, content)
            written.append(path)
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise


@contextmanager
def new_folder(folder: str | Path) -> Iterator[Path]:
    """A folder to be filled, which gets its name when everything is in it; after an exception nothing is left.

    Raises:
        OSError: the disk is full or can't be written, or a folder of that name has something in it.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        inside = Path(temporary) / folder.name
        inside.mkdir()
        yield inside
        inside.rename(folder)


def check_new(path: str | Path, flag: str = "--out") -> None:
    """Refuse a place that is taken or can't be written, before work is done whose outcome would be lost.

    Args:
        path: the file or folder that will be written.
        flag: the flag that names it.

    Raises:
        RunError: something is there already, or nothing can be written there.
    """
    if os.path.lexists(path):
        raise RunError(f"{path} exists; choose another {flag}, or delete it first")
    check_writable(path, flag)


def check_writable(path: str | Path, flag: str = "--out") -> None:
    """Refuse a place in which no file can be made: the folder itself, or the nearest one above it that exists.

    Raises:
        RunError: the folder can't be written.
    """
    try:
        parent = next(folder for folder in (Path(path), *Path(path).absolute().parents) if folder.exists())
        tempfile.TemporaryFile(dir=parent).close()
    except OSError as error:
        raise RunError(f"{path} can't be written ({error.strerror}); choose another {flag}") from error


def sweep(folder: str | Path) -> None:
    """Remove the temporary files that killed processes left in ``folder``; call it only where nobody else writes."""
    for path in Path(folder).glob(".*"):
        if LEFT_OVER.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def save_state(path: str | Path, state: Mapping[str, Any]) -> None:
    """Save a ``state_dict``: nested dicts, lists, tensors, numbers, strings, booleans and ``None``.

    Tensors are safetensors; the nesting and the plain values are JSON in the file's metadata. Nothing is pickled; tuples become lists. A
    checksum of all of it goes with it, so that a byte that changes on a disk is noticed.

    Raises:
        TypeError: a value or key of another type.
    """
    from safetensors.torch import save  # here, since most commands need no torch, which takes a second to be imported

    tensors: dict[str, Tensor] = {}
    structure = _pack(state, tensors, "")
    seen: set[int] = set()
    for name, tensor in tensors.items():  # safetensors takes no two tensors in one storage
        storage = tensor.untyped_storage()
        if storage.nbytes() != tensor.nbytes or storage.data_ptr() in seen:
            tensors[name] = tensor.clone()
        seen.add(storage.data_ptr())
    write_whole(path, save(tensors, metadata={"state": json.dumps(structure | {_CHECKSUM: _checksum(structure, tensors)})}))


def load_state(path: str | Path) -> dict[str, Any]:
    """Load what :func:`save_state` saved; no code runs.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is truncated, was changed since it was written, or was not written by ``save_state``.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no state file {path}")
    _check_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            structure = (file.metadata() or {}).get("state")
            if structure is None:
                raise ValueError(f"{path} is a safetensors file but holds no genrl state; it needs one that save_state wrote")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}); restore it from a copy") from error
    except MemoryError as error:
        raise ValueError(f"{path} does not fit into the memory that is left; end other programs, or go on elsewhere") from error
    try:
        packed = parse_json(structure, str(path))
        whole = packed.pop(_CHECKSUM) == _checksum(packed, tensors)
        state = dict(_unpack(packed, tensors))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        given = f"{path} is a safetensors file but save_state did not write it ({one_line(error)})"
        raise ValueError(f"{given}; it needs one that save_state wrote") from error
    if not whole:
        raise ValueError(f"{path} was changed since it was written (its checksum is another one); restore it from a copy")
    return state


def _checksum(structure: Any, tensors: Mapping[str, Tensor]) -> str:
    """CRC-32 of the plain values, and of each tensor with its name, type and shape."""
    import torch

    found = zlib.crc32(json.dumps(structure).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        found = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(errors="surrogatepass"), found)
        flat = tensor.as_strided((tensor.numel(),), (1,))  # it is contiguous, but one number alone may have any stride
        found = zlib.crc32(flat.view(torch.uint8).numpy(), found)  # type: ignore[arg-type]  # an array is a buffer
    return f"{found:08x}"


def _check_header(path: Path) -> None:
    """Refuse a header that is too long to be parsed, and a file with holes in place of its tensors."""
    with open_regular(path) as file:
        length, about = int.from_bytes(file.read(8), "little"), os.fstat(file.fileno())
    if HEADER < length < about.st_size:
        raise FileError(f"{path} has a header of {length:,} bytes, which save_state does not write; restore it from a copy")
    if about.st_size > ROOM and about.st_size > RATIO * 512 * about.st_blocks:
        raise FileError(f"{path} has {about.st_size:,} bytes, almost all of them holes; restore it from a copy")


def _pack(value: Any, tensors: dict[str, Tensor], name: str) -> Any:
    from torch import Tensor

    if isinstance(value, Tensor):
        while name in tensors:  # {"a/b": …, "a": {"b": …}}
            name += "'"
        tensors[name] = value.detach().cpu().contiguous()
        return {_TENSOR: name}
    if isinstance(value, Mapping):
        if wrong := [key for key in value if not (key is None or isinstance(key, bool | int | float | str))]:
            raise TypeError(f"state entry {name!r} has the key {wrong[0]!r}; a state file takes strings and numbers for keys")
        # JSON keys are strings, an optimiser's are integers: keys of other types go as pairs, and so do those that have a meaning here.
        packed = [[key, _pack(item, tensors, f"{name}/{key}" if name else str(key))] for key, item in value.items()]
        plain = all(isinstance(key, str) for key in value) and not {_TENSOR, _PAIRS, _CHECKSUM} & set(value)
        return dict(packed) if plain else {_PAIRS: packed}
    if isinstance(value, list | tuple):
        return [_pack(item, tensors, f"{name}/{i}") for i, item in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"state entry {name!r} is a {type(value).__name__}; a state file takes tensors, numbers, strings, lists and dicts")


def _unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if _TENSOR in value:
            return tensors[value[_TENSOR]]
        if _PAIRS in value:
            return {key: _unpack(item, tensors) for key, item in value[_PAIRS]}
        return {key: _unpack(item, tensors) for key, item in value.items()}
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    return value


def as_state(value: Any) -> Any:
    """``value`` as a state holds it: NumPy's arrays as tensors of their own, its numbers as Python's, tuples as lists.

    Example:
        >>> import numpy as np
        >>> as_state({"obs": np.zeros(2), "count": np.int64(3)})
        {'obs': tensor([0., 0.], dtype=torch.float64), 'count': 3}
    """
    import numpy as np  # here, as in save_state
    import torch

    if isinstance(value, dict):
        return {key: as_state(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_state(item) for item in value]
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    return value.item() if isinstance(value, np.generic) else value


def from_state(value: Any) -> Any:
    """The inverse of :func:`as_state`: arrays that their reader may change."""
    import torch

    if isinstance(value, dict):
        return {key: from_state(item) for key, item in value.items()}
    if isinstance(value, list):
        return [from_state(item) for item in value]
    return value.numpy().copy() if isinstance(value, torch.Tensor) else value


def finite_or_none(value: Any) -> Any:
    """Plain values as JSON can hold them: ``None`` in place of NaN and the infinities, a list in place of a tuple.

    Example:
        >>> finite_or_none({"returns": (1.5, float("nan"))})
        {'returns': [1.5, None]}
    """
    if isinstance(value, Mapping):
        return {key: finite_or_none(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite_or_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
