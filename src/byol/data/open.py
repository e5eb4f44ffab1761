"""From what `--data` names to a source of images, and what a look at some of them shows."""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from byol.data.arrays import ArrayImages
from byol.data.arrow import is_saved_dataset, open_saved_dataset
from byol.data.classes import relabel, union
from byol.data.dataset import DatasetImages
from byol.data.file_index import CONTAINERS, FileIndex, index_files
from byol.data.image_folder import DEFAULT_CACHE, ImageFolder, unread
from byol.data.parquet import open_parquet, parquet_classes, parquet_files
from byol.data.public import PUBLIC, Split, is_public, open_public
from byol.data.remote import fetch_shards, is_remote
from byol.data.sample import open_sample
from byol.data.source import ImageSource, SkippedImages
from byol.data.spec import DataSpec, as_spec
from byol.data.splits import (
    Kind,
    Part,
    find_parts,
    lone_part,
    require_no_inner_parts,
    require_no_parts,
    require_one_part,
    unwrap,
)
from byol.data.table import TableImages
from byol.data.tar_shards import TarImages
from byol.errors import BrokenImageError, DataError, nearest
from byol.runtime.listener import SILENT, Listener

PROBED_IMAGES = 256
PROFILED_ROWS = 256
MIN_IMAGES = 16


def open_source(
    data: "str | Path | DataSpec",
    split: Split = "train",
    *,
    labelled: bool = False,
    classes: Sequence[str] = (),
    listener: Listener = SILENT,
) -> ImageSource:
    """The images that `data` names: `sample`, a public set, a folder of images, or files of other kinds.

    Other kinds: parquet (a file or a folder), tar (a file, a folder, an http address), .npy, a Hugging Face data set
    saved to disk. `listener` is told of what is fetched or left out (of several ranks the first one's).

    `classes`: names of known classes, by which a single folder is told to be a class.

    Of a folder with parts (`data.splits`) the one that `split` asks for is taken; its classes are numbered over all parts.
    Parquet and tar files that no split names are read where no image lies in the folder or below; else the images are,
    and the other files are left out. What was taken is said. Raises DataError where there is nothing, or where it is not clear what the parts are.
    """
    spec = as_spec(data)
    listener = SILENT if int(os.environ.get("RANK", "0")) else listener
    source = _open(spec, split, labelled, classes, listener)
    if (spec.image_column or spec.label_column) and split == "train" and not isinstance(source, TableImages):
        raise DataError(
            f"{source.description} is no table: --data.image-column and --data.label-column do not apply to it."
        )
    tell_choices(source, labelled, listener)
    return source


def tell_choices(source: ImageSource, labelled: bool, listener: Listener) -> None:
    """Says what was decided about a source's images and, where these matter, its labels."""
    for note in [*getattr(source, "notes", ()), *(getattr(source, "label_notes", ()) if labelled else ())]:
        listener.say(note)


def _open(spec: DataSpec, split: Split, labelled: bool, classes: Sequence[str], listener: Listener) -> ImageSource:
    data = spec.data
    if data == "sample":
        return open_sample(split)
    if is_public(data):
        return open_public(spec, split, labelled=labelled)
    if is_remote(data):
        return TarImages(fetch_shards(data, listener=listener), f"tar {data}")
    path = Path(data).expanduser()
    if not path.exists():
        raise DataError(
            f"{data!r} is no folder or file here, and no data set by name (sample, {', '.join(PUBLIC)})."
            f"{nearest(data, ('sample', *PUBLIC))}"
        )
    if path.is_file():
        if path.suffix not in FILES:
            raise DataError(
                f"{path} is a file of no known kind ({', '.join(FILES)}). Name a folder of images, such a file, or a data set."
            )
        return ArrayImages.open(path) if path.suffix == ".npy" else _open_files([path], spec)
    parts = find_parts(path)
    if parts is None:
        return _open_folder(path, spec, classes, listener)
    part = parts.train if split == "train" else parts.tests[0]
    others = [other for other in parts.all if other is not part]
    left_out = f"; left out: {', '.join(parts.left_out)}" if parts.left_out else ""
    listener.say(f"{split} part: {part} (other parts: {', '.join(str(other) for other in others)}{left_out})")
    shared = [names for other in others if (names := _part_classes(other, spec))]
    source = open_part(part, spec, [*classes, *(name for names in shared for name in names)], listener)
    if source.class_names is not None:
        relabel(source, union([source.class_names, *shared]))
    return source


def open_part(part: Part, spec: DataSpec, classes: Sequence[str], listener: Listener) -> ImageSource:
    """The images of one part of a data set whose other parts have `classes`. Raises DataError where there are none."""
    first = part.paths[0]
    return _open_files(part.paths, spec) if first.is_file() else _open_folder(first, spec, classes, listener)


def _part_classes(part: Part, spec: DataSpec) -> tuple[str, ...]:
    """The classes of a part, without what only its images need; none where it cannot be read."""
    with contextlib.suppress(DataError):
        if part.paths[0].suffix == ".parquet" and part.paths[0].is_file():
            return parquet_classes(part.paths, spec)
        return tuple(open_part(part, spec, (), SILENT).class_names or ())
    return ()


def has_splits(path: Path) -> bool:
    """Whether a folder has a training part and a test part."""
    return find_parts(path) is not None


def _open_files(files: list[Path], spec: DataSpec) -> ImageSource:
    name = f"{files[0]} and {len(files) - 1} more" if len(files) > 1 else str(files[0])
    if files[0].suffix == ".tar":
        return TarImages(files, f"tar {name}")
    return open_parquet(files if len(files) > 1 else files[0], description=f"parquet {name}", spec=spec)


def _open_folder(folder: Path, spec: DataSpec, classes: Sequence[str], listener: Listener) -> ImageSource:
    if not any(folder.iterdir()):
        raise DataError(f"The folder {folder} is empty. Name a folder that holds images.")
    inner = unwrap(folder)
    _tell_lone_part(folder, lone_part(inner.relative_to(folder).parts[:1]), listener)
    if is_saved_dataset(inner):
        return open_saved_dataset(inner, spec)
    if (inner / "dataset_dict.json").is_file():
        places = sorted(str(file.parent) for file in inner.glob("*/state.json"))
        raise DataError(
            f"{inner} is a saved DatasetDict without parts for training and testing. Name one of {', '.join(places)}."
        )
    found = index_files(folder, DEFAULT_CACHE)
    if found.paths:
        _tell_left_out(folder, found, listener)
    elif shards := sorted(inner.glob("[!.]*.tar")):
        _tell_lone_part(inner, require_one_part(shards, inner), listener)
        return TarImages(inner)
    elif ".parquet" in found.left_out:
        _tell_lone_part(folder, require_one_part(parquet_files(folder), folder), listener)
        return open_parquet(folder, spec=spec)
    source = ImageFolder(folder, found=found, classes=classes)
    place, inside = folder / source.classes.wrapping, source.classes.inside
    require_no_parts(source.classes.folders, place, [name for name in inside if inside[name]])
    require_no_inner_parts(inside, place)
    return source


def _tell_lone_part(folder: Path, kind: Kind | None, listener: Listener) -> None:
    if kind is not None:
        listener.say(f"{folder} holds a {kind} part alone")


def _tell_left_out(folder: Path, found: FileIndex, listener: Listener) -> None:
    if counted := unread(found):
        listener.say(f"{folder} is read without its {counted}. Convert them to JPEG.")
    others = [f"{found.left_out[ending]} {ending}" for ending in CONTAINERS if ending in found.left_out]
    if others:
        listener.say(
            f"{folder} holds images: its {' and '.join(others)} files are left out. To read one, name the file."
        )


FILES = (".parquet", ".tar", ".npy")


@dataclass(frozen=True)
class DataProfile:
    """What a look at some of the images shows."""

    channels: int
    short_side: int
    """Median over the images looked at, in pixels."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """Of all pixels per channel, in [0, 1]."""


def profile(source: ImageSource, skipped: SkippedImages) -> DataProfile:
    """Looks at up to 256 images, evenly spread. Raises DataError where none can be decoded or there are too few."""
    if isinstance(source, ImageFolder):
        for name, reason in source.unreadable.items():
            skipped.add_folder(source, name, reason)
    if not len(source):
        raise DataError(f"{source.description} holds 0 images; name a folder or file with images.")
    indices = np.unique(np.linspace(0, len(source) - 1, PROBED_IMAGES).astype(int))
    channels: list[int] = []
    readable: list[int] = []
    for index in indices:
        try:
            channels.append(source.channels(int(index)))
            readable.append(int(index))
        except BrokenImageError as error:
            skipped.add(source, int(index), str(error))
    count = max(channels, default=0)
    sides: list[int] = []
    sums, squares, pixels = np.zeros(count), np.zeros(count), 0
    for index in readable:
        try:
            image = source.read(index, count)
        except BrokenImageError as error:
            skipped.add(source, index, str(error))
            continue
        sides.append(min(image.shape[:2]))
        for start in range(0, len(image), PROFILED_ROWS):  # a large image whole would be many times its size in memory
            rows = image[start : start + PROFILED_ROWS] / 255
            sums += rows.sum(axis=(0, 1))
            squares += np.square(rows).sum(axis=(0, 1))
        pixels += image.shape[0] * image.shape[1]
    if not sides:
        name, reason = skipped.reasons[0]
        raise DataError(
            f"None of the {len(indices)} images looked at in {source.description} can be decoded ({name}: {reason}); "
            "name a folder or file with images."
        )
    if len(source) < MIN_IMAGES:
        raise DataError(f"{source.description} holds {len(source)} images; pretraining needs at least {MIN_IMAGES}.")
    mean = sums / pixels
    std = np.sqrt(np.maximum(squares / pixels - mean**2, 1e-6))
    return DataProfile(count, int(np.median(sides)), tuple(mean.round(4).tolist()), tuple(std.round(4).tolist()))


def as_source(data: Any) -> ImageSource:
    """Images from Python: an (N, H, W[, C]) uint8 array, an (N, C, H, W) uint8 tensor, a torch data set, a source."""
    if hasattr(data, "read"):
        return data
    if isinstance(data, torch.Tensor):
        return ArrayImages(data.permute(0, 2, 3, 1).numpy() if data.dim() == 4 else data.numpy())
    return ArrayImages(data) if isinstance(data, np.ndarray) else DatasetImages(data)
