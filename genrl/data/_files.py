"""Read demonstrations from a path; the content decides which format it is, not the name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py

from genrl.data import _minari, _npz
from genrl.data._episode import DemonstrationError, Episode
from genrl.reading import FileError, find_demonstrations, is_minari_id, open_regular

__all__ = ["read"]


def read(path: Path) -> tuple[list[Episode], dict[str, Any]]:
    """Read the episodes and the metadata, not yet checked, from a file or from the folder of a Minari data set.

    Raises:
        FileNotFoundError: the path does not exist.
        DemonstrationError: the file is neither HDF5 nor npz, or it can't be read.
    """
    path = find_demonstrations(path)
    if not path.exists():
        advice = f"; or get the data set by `minari download {path}`" if is_minari_id(path) else ""
        raise FileNotFoundError(
            f"there are no demonstrations at {path}; give an HDF5 or npz file, or the folder of a Minari data set{advice}"
        )
    file = _minari.find_file(path) if path.is_dir() else path
    try:
        with open_regular(file) as opened:
            start = opened.read(4)
    except FileError as error:
        raise DemonstrationError(str(error)) from error
    if start == b"\x89HDF" or h5py.is_hdf5(file):
        return _minari.read(file)
    if start == b"PK\x03\x04":
        return _npz.read(file)
    if start[:1] == b"\x80":
        advice = "save its arrays as npz or HDF5 where you trust it"
        raise DemonstrationError(f"{file} is a pickle, which can run code and is never loaded; {advice}")
    raise DemonstrationError(f"{file} is neither HDF5 nor npz; give a Minari data set, or an npz of plain arrays")
