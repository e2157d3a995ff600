"""Read HDF5 by h5py within bounds: nothing is read from another file, and no file may declare more than is allowed."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from genrl.data._episode import DemonstrationError
from genrl.reading import TEXT, FileError, check_decoded

__all__ = ["Bounded"]

MEMBERS = 10_000
"""Largest number of members of a group, and of attributes of an object."""
CHUNKS = 100_000
"""Largest number of chunks of all arrays together."""
FILTERS = {
    h5py.h5z.FILTER_DEFLATE,
    h5py.h5z.FILTER_SHUFFLE,
    h5py.h5z.FILTER_FLETCHER32,
    h5py.h5z.FILTER_SZIP,
    h5py.h5z.FILTER_NBIT,
    h5py.h5z.FILTER_SCALEOFFSET,
    h5py.h5z.FILTER_LZF,
}
"""Filters that HDF5 and h5py contain; HDF5 would load a plugin for any other."""


class Bounded:
    """Bounded access to one file; whatever exceeds a bound is refused as a :class:`DemonstrationError`.

    Args:
        file: the open file.
        path: names it in refusals.
    """

    def __init__(self, file: h5py.File, path: Path) -> None:
        self.path, self._stored = path, path.stat().st_size
        self._declared = self._chunks = 0
        self.members(file)

    def members(self, group: h5py.Group) -> list[str]:
        """Names in a group, at most ``MEMBERS``."""
        if len(group) > MEMBERS:
            raise DemonstrationError(f"{self.path} has {len(group):,} members in one group; give at most {MEMBERS:,} episodes a file")
        return list(group)

    def member(self, group: h5py.Group, name: str) -> Any:
        """A group or dataset that this file itself contains."""
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise DemonstrationError(f"{self.path} has {name} that is a link elsewhere; copy what it leads to into this file (h5repack)")
        return group[name]

    def attributes(self, owner: h5py.Group) -> dict[str, Any]:
        """All attributes of a group."""
        if len(owner.attrs) > MEMBERS:
            raise DemonstrationError(f"{self.path} has {len(owner.attrs):,} attributes of one group; give a data set of Minari's layout")
        return {name: self.attribute(owner, name) for name in owner.attrs}

    def attribute(self, owner: h5py.Group, name: str) -> Any:
        """One attribute, or ``None`` if there is none."""
        if name not in owner.attrs:
            return None
        found = owner.attrs.get_id(name)
        if prod(found.shape or ()) * found.dtype.itemsize > TEXT:
            raise DemonstrationError(f"{self.path} has an attribute {name} of more than {TEXT:,} bytes; give a data set of Minari's layout")
        return owner.attrs[name]

    def array(self, dataset: h5py.Dataset, where: str, name: str) -> np.ndarray:
        """All values of a dataset."""
        if dataset.is_virtual or dataset.external:  # missing files behind these would read as zeros
            raise DemonstrationError(f"{where} has {name} that lie in other files; copy them into this one (h5repack)")
        if dataset.dtype.hasobject:
            raise DemonstrationError(f"{where} has {name} of dtype {dataset.dtype}; save it as an array of numbers")
        settings = dataset.id.get_create_plist()
        if not {settings.get_filter(i)[0] for i in range(settings.get_nfilters())} <= FILTERS:
            raise DemonstrationError(f"{where} has {name} in an unusual compression; save it with gzip")
        chunk = prod(dataset.chunks or (0,)) * dataset.dtype.itemsize
        self._chunks += dataset.nbytes // chunk if chunk else 0
        self._declared += max(dataset.nbytes, chunk)
        if self._chunks > CHUNKS:
            raise DemonstrationError(f"{where} has {name} in {self._chunks:,} chunks; save it in larger ones (h5repack)")
        try:
            check_decoded(where, self._declared, self._stored)
        except FileError as error:
            raise DemonstrationError(str(error)) from error
        if chunk and not _has_all_chunks(dataset):  # HDF5 would fill in zeros
            raise DemonstrationError(f"{where} has {name} of which a part is missing; restore the file from a copy")
        values: np.ndarray = dataset[()]
        return values


def _has_all_chunks(dataset: h5py.Dataset) -> bool:
    places: set[tuple[int, ...]] = set()
    dataset.id.chunk_iter(lambda chunk: places.add(chunk.chunk_offset))
    inside = sum(all(0 <= at < size for at, size in zip(place, dataset.shape, strict=True)) for place in places)
    return inside == prod(-(-size // part) for size, part in zip(dataset.shape, dataset.chunks, strict=True))
