"""Names of the pages of files with several: `scan.tif#3` is the third page. The numbers are counted once and kept in the cache folder."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from byol.data.decode import EncodedImages, open_file
from byol.data.deep_files import PAGED_ENDINGS, page_numbers
from byol.data.file_index import Names
from byol.errors import RunError
from byol.runtime.files import make_folder, write_json
from byol.runtime.hardware import num_cores
from byol.runtime.listener import SILENT, Listener
from byol.runtime.words import counted

MARK = "#"
KEPT_FROM = 64
"""Smallest number of files for which the numbers are kept; fewer are counted quickly."""
BLOCK = 512
"""Number of files that are counted between two reports of the progress."""
SAMPLED_NAMES, SAMPLED_FILES = 4096, 256
"""Largest numbers of images whose names, and of files whose headers, are looked at for pages that are left out."""

Counted = tuple[int, int, tuple[int, ...]]
"""(size in bytes, modification time in ns, numbers of the pages) of a file."""


def file_and_page(name: str) -> tuple[str, int]:
    """(path of the file, number of its page from 0) of an image whose name may end in # and the page from 1."""
    path, _, number = name.rpartition(MARK)
    return (path, int(number) - 1) if number.isdecimal() and is_paged(path) else (name, 0)


def is_paged(name: str) -> bool:
    """Whether a file of this name may have several pages or frames."""
    return name.lower().endswith(PAGED_ENDINGS)


def with_pages(root: Path, paths: Iterable[str], cache: Path | None, listener: Listener = SILENT) -> Names:
    """The paths below `root`, in their order, with a name for each page of a file that has several.

    Pages are counted in files that are new or changed since the numbers were kept in the folder `cache`.
    """
    names = list(paths)
    files = [name for name in names if is_paged(name)]
    place = (
        None if cache is None else cache / f"{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:32]}.pages.json"
    )
    known = {} if place is None else _read(place)
    numbers = dict(_counted(root, files, known, listener))
    if place is not None and len(files) >= KEPT_FROM and numbers != known:
        with contextlib.suppress(OSError, RunError):  # it is only a cache
            make_folder(place.parent)
            write_json(place, numbers)
    return Names.of(page for name in names for page in _pages(name, numbers[name][2] if name in numbers else (0,)))


def left_out_pages(source: EncodedImages) -> str:
    """A note on further pages where the first alone is read, from the headers of a sample of files; empty if there are none."""
    sample = np.random.default_rng(0).permutation(len(source))[:SAMPLED_NAMES].tolist()
    paged = [index for index in sample if is_paged(source.name(index))]

    def count(index: int) -> int:
        with contextlib.suppress(Exception), source.stream(index) as stream:
            numbers = page_numbers(stream)
            return len(numbers) - (0 in numbers)
        return 0

    with ThreadPoolExecutor(num_cores()) as pool:
        further = [number for number in pool.map(count, paged[:SAMPLED_FILES]) if number]
    if not further:
        return ""
    looked_at = " looked at" if len(paged) > SAMPLED_FILES or len(source) > SAMPLED_NAMES else ""
    return (
        f"{len(further)} of {counted(min(len(paged), SAMPLED_FILES), 'file')}{looked_at} of the kinds TIFF and DICOM have further pages or "
        f"frames, {sum(further)} in all, which are left out; --data.pages images takes each as an image of its own, --data.pages "
        f"bands all as bands of one"
    )


def _pages(name: str, numbers: tuple[int, ...]) -> list[str]:
    return [name] if numbers == (0,) else [f"{name}{MARK}{number + 1}" for number in numbers]


def _counted(
    root: Path, files: list[str], known: dict[str, Counted], listener: Listener
) -> Iterator[tuple[str, Counted]]:
    def count(name: str) -> Counted:
        try:
            status = os.stat(root / name)
            before = known.get(name)
            if before is not None and before[:2] == (status.st_size, status.st_mtime_ns):
                return before
            with open_file(root / name) as stream:
                return status.st_size, status.st_mtime_ns, page_numbers(stream)
        except Exception:  # a broken file is one image, which is reported as broken when it is read
            return 0, 0, (0,)

    with ThreadPoolExecutor(num_cores()) as pool:
        for start in range(0, len(files), BLOCK):
            block = files[start : start + BLOCK]
            yield from zip(block, pool.map(count, block), strict=True)
            listener.work("counting pages", start + len(block), len(files))


def _read(place: Path) -> dict[str, Counted]:
    """The kept numbers; none if there are none or they are damaged, so that all pages are counted again."""
    try:
        content = json.loads(place.read_text())
        return {name: (int(size), int(time), tuple(map(int, pages))) for name, (size, time, pages) in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
