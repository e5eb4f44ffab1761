"""A check of every image before training: which are broken, how large they are, which are duplicates."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from byol.data.image_folder import ImageFolder, others_left_out
from byol.data.profile import format_words
from byol.data.source import ImageSource
from byol.errors import BrokenImageError, DataError, RunError
from byol.runtime.files import write_json
from byol.runtime.hardware import num_cores
from byol.runtime.listener import SILENT, Listener
from byol.runtime.paths import user_path
from byol.runtime.words import counted

BLOCK = 512


@dataclass(frozen=True)
class DataReport:
    """Result of a check of all images of a source."""

    description: str
    num_images: int
    num_labelled_classes: int
    broken: dict[str, str]
    """Reason by name of the broken image."""
    channels: dict[int, int]
    """Number of images by number of stored channels."""
    short_side: tuple[int, int, int]
    """Smallest, median and largest short side, in pixels."""
    duplicates: list[list[str]]
    """Names of images with equal pixels, one list per group of two or more."""
    unreadable_folders: dict[str, str] = field(default_factory=dict)
    """Reason by name of the folder. The number of images in these folders is unknown."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Number of files that are not images, by ending or other kind."""
    number_format: str = ""
    """Rule by which deep grey values become 8 bits; empty if there are no such values."""

    def lines(self) -> list[str]:
        """The report as text."""
        low, median, high = self.short_side
        kinds = ", ".join(f"{count} with {counted(n, 'channel')}" for n, count in self.channels.items())
        readable = sum(self.channels.values())
        lines = [
            f"{self.description}: {self.num_images} images, {self.num_labelled_classes or 'no'} labelled classes",
            f"  readable: {readable} ({kinds}), short side {low} to {high} px, median {median}",
            f"  broken: {self.num_images - readable}",
            *_some([f"    {name}: {reason}" for name, reason in self.broken.items()]),
            f"  duplicates: {self._duplicates()}",
            *_some([f"    {' = '.join(group[:4])}{' = ...' if len(group) > 4 else ''}" for group in self.duplicates]),
        ]
        if self.unreadable_folders:
            lines.append(f"  folders that cannot be read: {len(self.unreadable_folders)}")
            lines += _some([f"    {name}: {reason}" for name, reason in self.unreadable_folders.items()])
        if others := others_left_out(self.left_out):
            lines.append(f"  left out, not images: {others}")
        if self.number_format:
            lines.append(f"  {self.number_format}")
        if len(self.channels) > 1:
            lines.append("  grey and colour are mixed: training reads all as colour")
        return lines

    def _duplicates(self) -> str:
        copies = sum(len(group) - 1 for group in self.duplicates)
        if copies < 2:
            return "1 copy of another image" if copies else "none"
        return f"{copies} copies of {counted(len(self.duplicates), 'image')}"


def check_data(source: ImageSource, *, out: str | Path | None = None, listener: Listener = SILENT) -> DataReport:
    """Reads all images of `source` in parallel. `out`: JSON file to write the whole report to.

    Raises DataError if no image can be read; RunError if the folder of `out` does not exist.
    """
    file = None if out is None else user_path(out)
    if file is not None and not file.absolute().parent.is_dir():
        raise RunError(f"There is no folder {file.parent} for the report; make it, or choose another --out.")
    total = len(source)
    if not total:
        raise DataError(f"{source.description} holds 0 images; name a folder or file with images.")
    digests = np.zeros((total, 2), np.uint64)
    sides, counts = np.zeros(total, np.int32), np.zeros(total, np.int16)
    broken: dict[str, str] = {}
    for index, result in enumerate(_look_at_all(source, listener)):
        if isinstance(result, str):
            broken[source.name(index)] = result
        else:
            sides[index], counts[index], digests[index] = result
    readable = np.flatnonzero(counts)
    if not len(readable):
        name, reason = next(iter(broken.items()))
        raise DataError(f"None of the {total} images of {source.description} can be read; {name}: {reason}.")
    kinds, numbers = np.unique(counts[readable], return_counts=True)
    short_sides = sides[readable]
    report = DataReport(
        source.description,
        total,
        0 if source.labels is None else len(np.unique(source.labels)),
        broken,
        dict(zip(kinds.tolist(), numbers.tolist(), strict=True)),
        (int(short_sides.min()), int(np.median(short_sides)), int(short_sides.max())),
        [[source.name(int(i)) for i in group] for group in _equal_groups(digests, readable)],
        dict(source.unreadable) if isinstance(source, ImageFolder) else {},
        dict(getattr(source, "left_out", {})),
        format_words(source),
    )
    if file is not None:
        write_json(file, vars(report))
    return report


def _look_at_all(source: ImageSource, listener: Listener) -> Iterator[str | tuple[int, int, NDArray[np.uint64]]]:
    def look(index: int) -> str | tuple[int, int, NDArray[np.uint64]]:
        try:
            channels = source.channels(index)
            pixels = source.read(index, channels)
        except BrokenImageError as error:
            return str(error)
        digest = hashlib.blake2b(repr(pixels.shape).encode() + pixels.tobytes(), digest_size=16).digest()
        return min(pixels.shape[:2]), channels, np.frombuffer(digest, np.uint64)

    with ThreadPoolExecutor(num_cores()) as pool:
        for start in range(0, len(source), BLOCK):
            block = range(start, min(start + BLOCK, len(source)))
            yield from pool.map(look, block)
            listener.work("reading", block.stop, len(source))


def _equal_groups(digests: NDArray[np.uint64], readable: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    order = readable[np.lexsort((digests[readable, 1], digests[readable, 0]))]
    same = (digests[order[1:]] == digests[order[:-1]]).all(axis=1)
    groups = np.split(order, np.flatnonzero(~same) + 1)
    return sorted((np.sort(group) for group in groups if len(group) > 1), key=lambda group: int(group[0]))


def _some(lines: list[str], most: int = 10) -> list[str]:
    return lines if len(lines) <= most else [*lines[:most], f"    and {len(lines) - most} more"]
