"""Images with a file of values for each of their pixels, a mask or a depth: the layouts on disk, and the parts of the data.

A folder holds `images` and a second folder with the same names, in each part or around the parts; or parquet holds two columns.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL.ExifTags import Base

from byol.data.decode import EncodedImages
from byol.data.file_index import index_files
from byol.data.image_folder import ListedImages
from byol.data.parquet import file_columns, open_parquet, parquet_files
from byol.data.spec import NO_DATA, DataSpec
from byol.data.splits import find_parts
from byol.data.table import TableImages
from byol.errors import BrokenImageError, DataError
from byol.runtime.paths import cache_folder, user_path

IMAGES = "images"
HELD_OUT = 0.2
"""Fraction of the images that is held out as the test part, if the data has none."""
TURNED = (5, 6, 7, 8)
"""EXIF orientations that swap height and width."""


@dataclass(frozen=True)
class Values:
    """Kind of the values of the pixels."""

    folder: str
    """Folder of the files, such as `masks`."""
    one: str
    """Word for one of them."""
    columns: tuple[str, ...]
    """Names of the column in a table, first the one that is taken before others."""


Files = ListedImages | TableImages


@dataclass(frozen=True)
class Pairs:
    """Images and their values, opened."""

    images: Files
    values: Files
    description: str


class PairedImages(EncodedImages):
    """The images of `pairs` at `indices`, each with a file of values for its pixels."""

    labels: NDArray[np.int64] | None = None
    class_names: list[str] | None = None
    form: Values

    def __init__(self, pairs: Pairs, indices: NDArray[np.int64] | None = None, description: str = "") -> None:
        self.pairs = pairs
        self.indices_of_pairs = np.arange(len(pairs.images)) if indices is None else indices
        self.description = description or pairs.description
        self.most_fingerprinted = pairs.images.most_fingerprinted

    def part(self, indices: NDArray[np.int64], description: str) -> Self:
        """The images at `indices`."""
        return self._with(self.pairs, self.indices_of_pairs[indices], description)

    def _with(self, pairs: Pairs, indices: NDArray[np.int64], description: str) -> Self:
        return type(self)(pairs, indices, description)

    def __len__(self) -> int:
        return len(self.indices_of_pairs)

    def name(self, index: int) -> str:
        return self.pairs.images.name(self._place(index))

    def file(self, index: int) -> Path | None:
        """Path of the image's file; None if it is in a table."""
        return self.pairs.images.file(self._place(index))

    def content(self, index: int) -> bytes:
        return self.pairs.images.content(self._place(index))

    def stream(self, index: int) -> BinaryIO:
        return self.pairs.images.stream(self._place(index))

    def sizes(self, indices: NDArray[np.int64]) -> list[int]:
        """Size in bytes of each image."""
        return self.pairs.images.sizes(self.indices_of_pairs[indices])

    def stored(self, index: int) -> bytes:
        """The bytes of the image file, or a sample of them, and those of its values."""
        return self.pairs.images.stored(self._place(index)) + self.values(index)

    def stamp(self, index: int) -> bytes:
        return self.pairs.images.stamp(self._place(index))

    def values(self, index: int) -> bytes:
        """The bytes of the file of values. Raises DataError if it cannot be read."""
        try:
            return self.pairs.values.content(self._place(index))
        except BrokenImageError as error:
            raise DataError(f"The {self.form.one} {self.place_of_values(index)} cannot be read ({error}).") from error

    def place_of_values(self, index: int) -> str:
        """Path or place of the file of values, for messages."""
        values, place = self.pairs.values, self._place(index)
        return str(values.file(place) or f"of {values.description}, row {place}")

    def require_size(self, index: int, shape: tuple[int, ...]) -> None:
        """Raises DataError if values of this (height, width) are not for each pixel of the upright image."""
        size = self._size(index)
        if shape != size:
            raise DataError(
                f"{self.place_of_values(index)} has {shape[1]} x {shape[0]} px, its image {size[1]} x {size[0]}. A {self.form.one} must have a "
                "pixel for each of the image's."
            )

    def _place(self, index: int) -> int:
        return int(self.indices_of_pairs[index])

    def _size(self, index: int) -> tuple[int, int]:
        """(height, width) of the upright image."""
        with contextlib.suppress(OSError), self.stream(index) as stream, PillowImage.open(stream) as opened:
            size = opened.height, opened.width
            return (opened.width, opened.height) if opened.getexif().get(Base.Orientation) in TURNED else size
        return self.dimensions(index)


T = TypeVar("T", bound=PairedImages)


@dataclass(frozen=True)
class PairParts:
    """The parts of a data set, opened."""

    train: Pairs
    """Training images, including the validation images."""
    test: Pairs | None
    """Test images; None if the data has no such part."""
    validation: NDArray[np.int64] | None = None
    """Indices in `train` of the data's own validation part; None if there is none beside a test part."""


@dataclass(frozen=True)
class PairedSplits(Generic[T]):
    """The parts of a data set: training images, including the validation images, test images, and indices of the validation images."""

    train: T
    test: T
    validation: NDArray[np.int64] | None = None


def held_out_fifth(source: T, seed: int) -> PairedSplits[T]:
    """Parts of data without a test part: a fifth of the images, by the seed, is for testing. Raises DataError for one image."""
    if len(source) < 2:
        raise DataError(f"{source.description} has one image; give at least two, one of them to test on.")
    order = np.random.default_rng(seed).permutation(len(source))
    held_out = np.sort(order[: max(1, round(HELD_OUT * len(source)))])
    rest = np.setdiff1d(np.arange(len(source)), held_out)
    return PairedSplits(
        source.part(rest, f"{source.description}, the other four fifths"),
        source.part(held_out, f"{source.description}, a held-out fifth"),
    )


def find_pairs(spec: DataSpec, kind: Values, test_data: str = "", others: str = "") -> PairParts:
    """Opens images and values in their parts. `others`: names of data sets that could be meant, for the message.

    Raises DataError if folders, files or columns are missing.
    """
    root = user_path(spec.data)
    if not root.exists() or (root.is_file() and root.suffix.lower() != ".parquet"):
        raise DataError(
            f"There is no folder {root}. Give a folder with {IMAGES} and {kind.folder}, or parquet with an image and a {kind.one} "
            f"column{others}."
        )
    parts = None if root.is_file() else find_parts(root)
    opened = partial(_open_part, kind=kind, spec=spec)
    if parts is None or test_data:
        whole = [root] if parts is None else parts.train.paths
        test = opened([user_path(test_data)], root=None) if test_data else None
        return PairParts(opened(whole, root=None), test)
    rest = [part for part in parts.tests[1:] if part.kind == "validation" and parts.tests[0].kind == "test"]
    pieces = [opened(part.paths, root=root) for part in (parts.train, *rest)]
    first = len(pieces[0].images)
    train = pieces[0] if len(pieces) == 1 else _joined(pieces, [path for part in (parts.train, *rest) for path in part.paths], kind, spec)  # fmt: skip
    validation = np.arange(first, len(train.images)) if rest else None
    return PairParts(train, opened(parts.tests[0].paths, root=root), validation)


def _joined(parts: Sequence[Pairs], files: list[Path], kind: Values, spec: DataSpec) -> Pairs:
    """The images of several parts: files below one root, or rows of parquet files."""
    description = " and ".join(part.description for part in parts)
    listed = [(part.images, part.values) for part in parts if isinstance(part.images, ListedImages) and isinstance(part.values, ListedImages)]  # fmt: skip
    if len(listed) < len(parts):
        return _open_parquet(files, kind, spec, description)
    images, values = ([path for part in column for path in part.paths] for column in zip(*listed, strict=True))
    return pairs_of_files(listed[0][0].root, images, values, description)


def pairs_of_files(root: Path, images: list[str], values: list[str], description: str) -> Pairs:
    """Image files and files of values, by their paths below `root`."""
    one, other = (ListedImages(root, paths, None, [], description) for paths in (images, values))
    return Pairs(one, other, description)


def _open_part(places: Sequence[Path], root: Path | None, kind: Values, spec: DataSpec) -> Pairs:
    """One part: a folder with both folders, one folder in each of these, or parquet files."""
    files = [file for place in places for file in (parquet_files(place) if place.is_dir() else [place])]
    if len(places) > 1 and all(place.is_dir() for place in places):
        found = {place.parent.name: place for place in places}
        images, values = found.get(IMAGES), found.get(kind.folder)
    else:
        images, values = places[0] / IMAGES, places[0] / kind.folder
    if images is None or values is None or not images.is_dir() or not values.is_dir():
        if files and all(file.suffix.lower() == ".parquet" for file in files):
            return _open_parquet(files, kind, spec, f"parquet {places[0]}")
        inside = ", ".join(sorted(path.name for path in places[0].iterdir())[:8]) if places[0].is_dir() else "nothing"
        raise DataError(
            f"{places[0]} has no folders {IMAGES} and {kind.folder}; found {inside}. Put the {kind.folder} into {kind.folder}, with the names of "
            "their images."
        )
    root = root or images.parent
    by_stem = {_stem(path): path for path in index_files(values, cache_folder("folders")).paths}
    paths = list(index_files(images, cache_folder("folders")).paths)
    if not paths:
        raise DataError(f"{images} holds no images.")
    if missing := [path for path in paths if _stem(path) not in by_stem]:
        raise DataError(
            f"{len(missing)} of {len(paths)} images in {images} have no {kind.one} of the same name in {values}, such as {missing[0]}."
        )
    inner, outer = (folder.relative_to(root).as_posix() for folder in (images, values))
    return pairs_of_files(
        root,
        [f"{inner}/{path}" for path in paths],
        [f"{outer}/{by_stem[_stem(path)]}" for path in paths],
        f"folder {images.parent if images.name == IMAGES else images}",
    )


def _open_parquet(files: list[Path], kind: Values, spec: DataSpec, description: str) -> Pairs:
    """Parquet with an image column and one of values: `--data.label-column`, or the first name of `kind.columns` that holds files."""
    images = _column(files, spec.image_column, description)
    columns = [name for name in file_columns(files[0]) if name != images.image_column]
    wanted = spec.label_column or next((name for name in kind.columns if name in columns), "")
    if not wanted or wanted == images.image_column:
        found = ", ".join(columns) or "none"
        raise DataError(
            f"{description} has no {kind.one} column beside {images.image_column!r}: of its columns with files, {found}, none is called "
            f"{', '.join(kind.columns)}. Name it with --data.label-column."
        )
    pairs = Pairs(images, _column(files, wanted, description), description)
    if len(pairs.values) != len(pairs.images):
        raise DataError(
            f"{description} has {len(pairs.images):,} images and {len(pairs.values):,} entries in {wanted!r}."
        )
    return pairs


def _column(files: list[Path], name: str, description: str) -> TableImages:
    return open_parquet(files, description=description, spec=replace(NO_DATA, image_column=name), labelled=False)


def _stem(path: str) -> str:
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{name.rpartition('.')[0]}"
