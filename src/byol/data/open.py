"""From what `--data` names to a source of images, and what a look at some of them shows."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from byol.data.arrays import ArrayImages
from byol.data.arrow import is_saved_dataset, open_saved_dataset
from byol.data.dataset import DatasetImages
from byol.data.file_index import CONTAINERS, FileIndex, index_files
from byol.data.image_folder import DEFAULT_CACHE, ImageFolder, unread
from byol.data.parquet import open_parquet
from byol.data.public import PUBLIC, Split, is_public, open_public
from byol.data.remote import fetch_shards, is_remote
from byol.data.sample import open_sample
from byol.data.source import ImageSource, SkippedImages
from byol.data.spec import DataSpec, as_spec
from byol.data.tar_shards import TarImages
from byol.errors import BrokenImageError, DataError, nearest
from byol.runtime.listener import SILENT, Listener

PROBED_IMAGES = 256
PROFILED_ROWS = 256
MIN_IMAGES = 16
PARTS = ("train", "test", "val", "valid", "validation")
"""How folders and files of a split are called. All but `train` are names of the test part; the first that is there is taken."""


def open_source(
    data: "str | Path | DataSpec",
    split: Split = "train",
    *,
    labelled: bool = False,
    listener: Listener = SILENT,
) -> ImageSource:
    """The images that `data` names: `sample`, a public set, a folder of images, or files of other kinds.

    Other kinds: parquet (a file or a folder), tar (a file, a folder, an http address), .npy, a Hugging Face data set
    saved to disk. `listener` is told of what is fetched or left out (of several ranks the first one's).

    A folder is taken by split where `has_splits`. Parquet and tar files that no split names are read where no image lies
    in the folder or below; else the images are, and the other files are left out. Raises DataError where there is nothing.
    """
    spec = as_spec(data)
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
        return FILES[path.suffix](path)
    part, *more = _splits(path).get(split, [path])
    if part.is_file():
        name = f"{part} and {len(more)} more" if more else str(part)
        return _open_files([part, *more], name)
    return _open_folder(part, listener)


def _open_files(files: list[Path], name: str) -> ImageSource:
    if files[0].suffix == ".tar":
        return TarImages(files, f"tar {name}")
    return open_parquet(files, description=f"parquet {name}")


def _open_folder(folder: Path, listener: Listener) -> ImageSource:
    if not any(folder.iterdir()):
        raise DataError(f"The folder {folder} is empty. Name a folder that holds images.")
    if is_saved_dataset(folder):
        return open_saved_dataset(folder)
    found = index_files(folder, DEFAULT_CACHE)
    if found.paths:
        if not int(os.environ.get("RANK", "0")):
            _tell_left_out(folder, found, listener)
    elif any(folder.glob("[!.]*.tar")):
        return TarImages(folder)
    elif ".parquet" in found.left_out:
        return open_parquet(folder)
    return ImageFolder(folder, found=found)


def _tell_left_out(folder: Path, found: FileIndex, listener: Listener) -> None:
    if counted := unread(found):
        listener.say(f"{folder} is read without its {counted}. Convert them to JPEG.")
    others = [f"{found.left_out[ending]} {ending}" for ending in CONTAINERS if ending in found.left_out]
    if others:
        listener.say(
            f"{folder} holds images: its {' and '.join(others)} files are left out. To read one, name the file."
        )


FILES: dict[str, Callable[[Path], ImageSource]] = {
    ".parquet": open_parquet,
    ".tar": TarImages,
    ".npy": ArrayImages.open,
}


def has_splits(path: Path) -> bool:
    """Whether a folder holds train and test: as folders of these names or other PARTS, or as parquet or tar files.

    The files' names begin with a part's (train.parquet, val-00000.tar); they lie in the folder or in `data` below it.
    """
    return bool(_splits(path))


def _splits(path: Path) -> dict[Split, list[Path]]:
    """The folder, or the files, of train and test; empty where there are not both."""
    parts = [{name: [path / name] for name in PARTS if (path / name).is_dir()}]
    parts += [_by_part(folder, suffix) for folder in (path, path / "data") for suffix in CONTAINERS]
    for found in parts:
        test = next((found[name] for name in PARTS[1:] if name in found), None)
        if test and "train" in found:
            return {"train": found["train"], "test": test}
    return {}


def _by_part(folder: Path, suffix: str) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for file in sorted(folder.glob(f"*{suffix}")):
        if match := re.match(rf"({'|'.join(PARTS)})(?![a-zA-Z])", file.name):
            found.setdefault(match[1], []).append(file)
    return found


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
