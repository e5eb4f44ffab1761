"""From what `--data` names to a source of images, and what a look at some of them shows."""

import glob
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from byol.data.arrays import ArrayImages
from byol.data.arrow import is_saved_dataset, open_saved_dataset
from byol.data.dataset import DatasetImages
from byol.data.decode import EncodedImages, extensions
from byol.data.file_index import CONTAINERS, FileIndex, index_files
from byol.data.image_folder import ImageFolder, ListedImages, advice, others_left_out, unread
from byol.data.parquet import open_parquet
from byol.data.public import PREFIX, PUBLIC, SAMPLE, Split, named_set, open_public
from byol.data.remote import expand, fetch_shards, is_remote
from byol.data.sample import open_sample
from byol.data.source import ImageSource, whole
from byol.data.spec import DataSpec, as_spec
from byol.data.subset import Subset
from byol.data.tar_shards import TarImages
from byol.errors import DataError, nearest
from byol.runtime.listener import SILENT, Listener
from byol.runtime.paths import cache_folder, user_path

PARTS = ("train", "test", "val", "valid", "validation")
"""How folders and files of a split are called. All but `train` are names of the test part; the first that is there is taken."""
FILES = (".parquet", ".tar", ".npy")


def open_source(
    data: "str | Path | DataSpec",
    split: Split = "train",
    *,
    labelled: bool = False,
    listener: Listener = SILENT,
) -> ImageSource:
    """The images that `data` names: `sample`, a public set, a folder of images, or files of other kinds.

    Other kinds: parquet (a file or a folder), tar (a file, a folder, an http address), .npy, a Hugging Face data set
    saved to disk; files by a pattern with `*` or braces. `set:NAME` is a set, `./NAME` a folder. `listener` is told of what is
    fetched or left out (of several ranks the first one's).

    A folder is taken by split where `has_splits`. Parquet and tar files that no split names are read where no image lies
    in the folder or below; else the images are, and the other files are left out. Raises DataError where there is nothing.
    """
    spec = as_spec(data)
    listener = SILENT if int(os.environ.get("RANK", "0")) else listener
    source = _open(spec, split, labelled, listener)
    inner = whole(source)[0]
    if isinstance(inner, EncodedImages):
        inner.max_pixels = int(spec.max_megapixels * 1e6)
    if isinstance(inner, TarImages) and (counted := others_left_out(inner.left_out)):
        listener.say(f"{inner.description}: left out as no images: {counted}.")
    return _without_broken(source, user_path(spec.checked), listener) if spec.checked else source


def _open(spec: DataSpec, split: Split, labelled: bool, listener: Listener) -> ImageSource:
    name = named_set(spec.data)
    if name == SAMPLE:
        return open_sample(split)
    if name:
        return open_public(replace(spec, data=name), split, labelled=labelled)
    if is_remote(spec.data):
        return TarImages(fetch_shards(spec.data, listener=listener), f"tar {spec.data}")
    path = user_path(spec.data.removeprefix("file://"))
    if not path.exists():
        return _open_pattern(spec, path)
    if path.is_file():
        return _open_file(path, spec)
    part, *more = _splits(path).get(split, [path])
    if part.is_file():
        name = f"{part} and {len(more)} more" if more else str(part)
        return _open_files([part, *more], name)
    return _open_folder(part, listener)


def unambiguous(data: str) -> str:
    """`data` as it can be given from any folder: `set:NAME`, an address, or an absolute path."""
    if not data or is_remote(data):
        return data
    name = named_set(data)
    return f"{PREFIX}{name}" if name else str(user_path(data.removeprefix("file://")).absolute())


def _open_pattern(spec: DataSpec, path: Path) -> ImageSource:
    """The files that a pattern stands for. Raises DataError where there are none, or they are of several kinds."""
    if not re.search(r"[*?\[{]", spec.data):
        raise DataError(
            f"{spec.data!r} is no folder or file here, and no data set by name (sample, {', '.join(PUBLIC)})."
            f"{nearest(spec.data, ('sample', *PUBLIC))}"
        )
    files: list[Path] = []
    for pattern in expand(str(path)):
        matches = sorted(Path(match) for match in glob.glob(pattern, recursive=True))
        if not matches:
            raise DataError(f"No file here is called {pattern}.")
        files += [file for file in matches if file not in files] if len(files) < 1000 else matches
    endings = sorted({file.suffix.lower() for file in files})
    if any(file.is_dir() for file in files):
        if len(files) == 1:
            return _open(replace(spec, data=str(files[0])), "train", False, SILENT)
        raise DataError(
            f"{spec.data} stands for {len(files)} folders and files. Name one folder, or files ({spec.data}/*)."
        )
    if endings == [".npy"] and len(files) == 1:
        return _open_file(files[0], spec)
    if endings in ([".tar"], [".parquet"]):
        return _open_files(files, spec.data)
    images = [str(file) for file in files if file.suffix.lower() in extensions()]
    if not images:
        raise DataError(f"{spec.data} stands for {len(files)} files of no known kind ({', '.join(endings)}).")
    return _listed(images, f"{len(images)} files {spec.data}")


def _listed(paths: list[str], description: str) -> ListedImages:
    return ListedImages(Path.cwd(), paths, None, [], description)


def _open_file(path: Path, spec: DataSpec) -> ImageSource:
    kind = path.suffix.lower()
    if kind == ".npy":
        return ArrayImages.open(path, spec.layout)
    if kind not in FILES:
        raise DataError(
            f"{path} is a file of no known kind ({', '.join(FILES)}). Name a folder of images, such a file, or a data set."
        )
    return TarImages(path) if kind == ".tar" else open_parquet(path)


def _open_files(files: list[Path], name: str) -> ImageSource:
    if files[0].suffix == ".tar":
        return TarImages(files, f"tar {name}")
    return open_parquet(files, description=f"parquet {name}")


def _open_folder(folder: Path, listener: Listener) -> ImageSource:
    if not any(folder.iterdir()):
        raise DataError(f"The folder {folder} is empty. Name a folder that holds images.")
    if is_saved_dataset(folder):
        return open_saved_dataset(folder)
    found = index_files(folder, cache_folder("folders"))
    if found.paths:
        _tell_left_out(folder, found, listener)
    elif any(folder.glob("[!.]*.tar")):
        return TarImages(folder)
    elif ".parquet" in found.left_out:
        return open_parquet(folder)
    return ImageFolder(folder, found=found)


def _tell_left_out(folder: Path, found: FileIndex, listener: Listener) -> None:
    if counted := unread(found):
        listener.say(f"{folder} is read without its {counted}. {advice(found)}")
    containers = [f"{found.left_out[ending]} {ending}" for ending in CONTAINERS if ending in found.left_out]
    if containers:
        listener.say(
            f"{folder} holds images: its {' and '.join(containers)} files are left out. To read one, name the file."
        )
    if counted := others_left_out(found.left_out):
        listener.say(f"{folder}: left out as no images: {counted}.")


def _without_broken(source: ImageSource, report: Path, listener: Listener) -> ImageSource:
    """The images that a report of `byol check-data --out` does not call broken. Raises DataError where it is no such report."""
    try:
        broken = set(json.loads(report.read_text())["broken"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{report} is no report of byol check-data --out ({error!r}).") from error
    sound = np.flatnonzero([source.name(index) not in broken for index in range(len(source))])
    listener.say(f"{source.description}: {len(source) - len(sound)} images that {report} calls broken are left out")
    return Subset(source, sound, source.description)


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


def as_source(data: Any, layout: str = "") -> ImageSource:
    """Images from Python: an (N, H, W[, C]) uint8 array, an (N, C, H, W) uint8 tensor, a torch data set, a list of images or of
    files, a source. `layout`: the order of the axes where type and shape leave it open.

    Raises DataError for anything else.
    """
    if all(hasattr(data, name) for name in ("read", "channels", "name", "description", "__len__")):
        return data
    if isinstance(data, np.ndarray) and data.dtype.kind in "US":
        data = data.ravel().tolist()
    if isinstance(data, torch.Tensor | np.ndarray):
        return ArrayImages(data, layout=layout)
    if isinstance(data, list | tuple):
        if not len(data):
            raise DataError("The list of images is empty.")
        paths = [isinstance(item, str | os.PathLike) for item in data]
        if all(paths):
            return _of_paths([user_path(os.fspath(item)) for item in data])
        if any(paths):
            raise DataError("The list holds paths and other things; give paths alone, or images alone.")
    return DatasetImages(data, layout=layout)


def _of_paths(paths: list[Path]) -> ImageSource:
    """A list of image files."""
    for path in paths:
        if not path.is_file():
            what = "a folder; give one folder by its name, not in a list" if path.is_dir() else "no file here"
            raise DataError(f"{path}, in the list of images, is {what}.")
        if path.suffix.lower() in FILES:
            raise DataError(
                f"{path}, in the list of images, is a file of many images: give it by its name, not in a list."
            )
    return _listed([str(path) for path in paths], f"list of {len(paths)} files")
