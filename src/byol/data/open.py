"""Opening of the images that `--data` names, or that Python code gives, as a source."""

import contextlib
import glob
import json
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from byol.data.array_files import ENDINGS as ARRAYS
from byol.data.arrays import ArrayImages
from byol.data.arrow import is_saved_dataset, open_saved_dataset
from byol.data.classes import relabel, union
from byol.data.dataset import DatasetImages
from byol.data.decode import EncodedImages, extensions
from byol.data.deep_files import Reading
from byol.data.file_index import CONTAINERS, FileIndex, Names, index_files
from byol.data.image_folder import ImageFolder, ListedImages, advice, others_left_out, unread
from byol.data.named import NAMES, PREFIX, named_set, open_named
from byol.data.number_format import OneFormat
from byol.data.page_index import is_paged, left_out_pages, with_pages
from byol.data.parquet import open_parquet, parquet_classes, parquet_files
from byol.data.public import Split
from byol.data.remote import expand, fetch_shards, is_remote
from byol.data.source import ImageSource, whole
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
from byol.data.subset import Subset
from byol.data.table import TableImages
from byol.data.tar_shards import TarImages
from byol.errors import DataError, nearest
from byol.runtime.listener import SILENT, Listener
from byol.runtime.paths import cache_folder, user_path

FILES = (".parquet", ".tar", ".npy")


def open_source(
    data: "str | Path | DataSpec",
    split: Split = "train",
    *,
    labelled: bool = False,
    classes: Sequence[str] = (),
    listener: Listener = SILENT,
) -> ImageSource:
    """Opens the images that `data` names: a data set by name, a folder of images, or files of other kinds.

    Other kinds are parquet (a file or a folder), tar (a file, a folder, an http address), .npy, a Hugging Face data set
    saved to disk, and files by a pattern with `*` or braces. `set:NAME` is a data set, `./NAME` a folder.

    If a folder has parts (`data.splits`), the part for `split` is opened; its classes are numbered over all parts. Parquet
    and tar files outside of any part are read only if the folder holds no images; otherwise they are left out.

    `classes`: names of known classes, which let a single folder count as a class. `listener`: gets a message on each choice,
    and on what is fetched or left out; with several ranks only that of the first. Raises DataError if there are no
    images, or if it is not clear what the parts are.
    """
    spec = as_spec(data)
    listener = SILENT if int(os.environ.get("RANK", "0")) else listener
    source = _open(spec, split, labelled, classes, listener)
    if (spec.image_column or spec.label_column) and split == "train" and not isinstance(source, TableImages):
        raise DataError(
            f"{source.description} is not a table: --data.image-column and --data.label-column do not apply to it."
        )
    source = _limited(source, spec, listener)
    tell_choices(source, labelled, listener)
    return source


def _limited(source: ImageSource, spec: DataSpec, listener: Listener) -> ImageSource:
    """The source with the options for reading its files, without the images that an earlier check found broken."""
    inner = whole(source)[0]
    if spec.pages not in ("", "first") and not isinstance(inner, ImageFolder):
        raise DataError(f"{source.description} is no folder of files, whose pages --data.pages {spec.pages} takes.")
    if isinstance(inner, EncodedImages):
        inner.max_pixels = int(spec.max_megapixels * 1e6)
        inner.reading = Reading(spec.layout, spec.pages or "first")
        if not spec.pages and (note := left_out_pages(inner)):
            listener.say(f"{source.description}: {note}.")
    if isinstance(inner, OneFormat):
        inner.wanted_range = spec.range
    if isinstance(inner, TarImages) and (counted := others_left_out(inner.left_out)):
        listener.say(f"{inner.description}: left out, not images: {counted}.")
    return _without_broken(source, user_path(spec.checked), listener) if spec.checked else source


def tell_choices(source: ImageSource, labelled: bool, listener: Listener) -> None:
    """Tells the listener which choices were made about the images and, if `labelled`, about the labels."""
    for note in [*source.notes, *(source.label_notes if labelled else ())]:
        listener.say(note)


def _open(spec: DataSpec, split: Split, labelled: bool, classes: Sequence[str], listener: Listener) -> ImageSource:
    if named_set(spec.data):
        return open_named(spec, split, labelled=labelled)
    if is_remote(spec.data):
        return TarImages(fetch_shards(spec.data, listener=listener), f"tar {spec.data}")
    path = user_path(spec.data.removeprefix("file://"))
    if not path.exists():
        return _open_pattern(spec, path)
    if path.is_file():
        return _open_file(path, spec)
    parts = find_parts(path)
    if parts is None:
        return _open_folder(path, spec, classes, listener)
    part = parts.train if split == "train" else parts.tests[0]
    others = [other for other in parts.all if other is not part]
    left_out = f"; left out: {', '.join(parts.left_out)}" if parts.left_out else ""
    listener.say(f"{split} part: {part} (other parts: {', '.join(str(other) for other in others)}{left_out})")
    shared = [names for other in others if (names := _part_classes(other, spec))]
    source = _open_part(part, spec, [*classes, *(name for names in shared for name in names)], listener)
    if source.class_names is not None:
        relabel(source, union([source.class_names, *shared]))
    return source


def open_part(part: Part, spec: DataSpec, classes: Sequence[str], listener: Listener) -> ImageSource:
    """Opens one part of a data set whose other parts have `classes`. Raises DataError if it holds no images."""
    return _limited(_open_part(part, spec, classes, listener), spec, listener)


def _open_part(part: Part, spec: DataSpec, classes: Sequence[str], listener: Listener) -> ImageSource:
    first = part.paths[0]
    if part.is_by_class:
        return _open_by_class(part, spec, classes, listener)
    return _open_files(part.paths, spec) if first.is_file() else _open_folder(first, spec, classes, listener)


def _open_by_class(part: Part, spec: DataSpec, classes: Sequence[str], listener: Listener) -> ImageFolder:
    """The images of a part that is one folder in each class folder."""
    place = part.paths[0].parent.parent
    index = index_files(place, cache_folder("folders"))
    _tell_left_out(place, index, listener)
    folders = tuple(f"{path.relative_to(place).as_posix()}/" for path in part.paths)
    paths = Names.of(path for path in index.paths if path.startswith(folders))
    index = _with_pages(place, replace(index, paths=paths), spec, listener)
    source = ImageFolder(place, index=index, classes=classes)
    source.description = f"folder {place}, {part.name} of each class"
    return source


def _with_pages(place: Path, index: FileIndex, spec: DataSpec, listener: Listener) -> FileIndex:
    """The index with a name for each page of a file, if `--data.pages` says so."""
    if spec.pages != "images":
        return index
    paths = with_pages(place, index.paths, cache_folder("folders"), listener)
    listener.say(
        f"{place}: {len(index.paths):,} files hold {len(paths):,} images (NAME#2 is the second page of a file)"
    )
    return replace(index, paths=paths)


def _part_classes(part: Part, spec: DataSpec) -> tuple[str, ...]:
    """The classes of a part, found without reading its images; empty if the part cannot be read."""
    with contextlib.suppress(DataError):
        if part.paths[0].suffix == ".parquet" and part.paths[0].is_file():
            return parquet_classes(part.paths, spec)
        return tuple(_open_part(part, spec, (), SILENT).class_names or ())
    return ()


def unambiguous(data: str) -> str:
    """`data` in a form that is valid from any working folder: `set:NAME`, an address, or an absolute path."""
    if not data or is_remote(data):
        return data
    name = named_set(data)
    return f"{PREFIX}{name}" if name else str(user_path(data.removeprefix("file://")).absolute())


def _open_pattern(spec: DataSpec, path: Path) -> ImageSource:
    """Opens the files that a pattern matches. Raises DataError if there are none, or if they are of several kinds."""
    if not re.search(r"[*?\[{]", spec.data):
        raise DataError(
            f"{spec.data!r} is not a folder or file here, and not the name of a data set ({', '.join(NAMES)}).{nearest(spec.data, NAMES)}"
        )
    files: list[Path] = []
    for pattern in expand(str(path)):
        matches = sorted(Path(match) for match in glob.glob(pattern, recursive=True))
        if not matches:
            raise DataError(f"No file matches {pattern}.")
        files += matches
    files = list(dict.fromkeys(files))
    endings = sorted({file.suffix.lower() for file in files})
    if any(file.is_dir() for file in files):
        if len(files) == 1:
            return _open(replace(spec, data=str(files[0])), "train", False, (), SILENT)
        raise DataError(
            f"{spec.data} matches {len(files)} folders and files. Name one folder, or files ({spec.data}/*)."
        )
    if endings == [".npy"] and len(files) == 1:
        return _open_file(files[0], spec)
    if endings in ([".tar"], [".parquet"]):
        return _open_files(files, spec, spec.data)
    images = [str(file) for file in files if file.suffix.lower() in extensions()]
    images = images or [str(file) for file in files if file.suffix.lower() in ARRAYS]
    if not images:
        raise DataError(f"{spec.data} matches {len(files)} files of no known kind ({', '.join(endings)}).")
    return _listed(images, f"{len(images)} files {spec.data}", spec.pages)


def _listed(paths: list[str], description: str, pages: str = "") -> ListedImages:
    if pages == "images":
        paths = list(with_pages(Path.cwd(), paths, None))
    return ListedImages(Path.cwd(), paths, None, [], description)


def _open_file(path: Path, spec: DataSpec) -> ImageSource:
    kind = path.suffix.lower()
    if kind == ".npy":
        return ArrayImages.open(path, spec.layout)
    if spec.pages == "images" and is_paged(path.name):
        return _listed([str(path)], f"pages of {path}", spec.pages)
    if kind not in FILES:
        raise DataError(
            f"{path} is a file of no known kind ({', '.join(FILES)}). Name a folder of images, such a file, or a data set."
        )
    return _open_files([path], spec)


def _open_files(files: list[Path], spec: DataSpec, name: str = "") -> ImageSource:
    name = name or (f"{files[0]} and {len(files) - 1} more" if len(files) > 1 else str(files[0]))
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
    index = _with_pages(folder, index_files(folder, cache_folder("folders")), spec, listener)
    if index.paths:
        _tell_left_out(folder, index, listener)
    elif shards := sorted(inner.glob("[!.]*.tar")):
        _tell_lone_part(inner, require_one_part(shards, inner), listener)
        return TarImages(inner)
    elif ".parquet" in index.left_out:
        _tell_lone_part(folder, require_one_part(parquet_files(folder), folder), listener)
        return open_parquet(folder, spec=spec)
    source = ImageFolder(folder, index=index, classes=classes)
    place, inside = folder / source.classes.wrapping, source.classes.inside
    require_no_parts(source.classes.folders, place, [name for name in inside if inside[name]])
    require_no_inner_parts(inside, place)
    return source


def _tell_lone_part(folder: Path, kind: Kind | None, listener: Listener) -> None:
    if kind is not None:
        listener.say(f"{folder} holds only a {kind} part")


def _tell_left_out(folder: Path, index: FileIndex, listener: Listener) -> None:
    if counted := unread(index):
        listener.say(f"{folder} is read without its {counted}. {advice(index)}")
    containers = [f"{index.left_out[ending]} {ending}" for ending in CONTAINERS if ending in index.left_out]
    if containers:
        listener.say(
            f"{folder} holds images: its {' and '.join(containers)} files are left out. To read one, name the file."
        )
    if arrays := [f"{index.left_out[ending]} {ending}" for ending in ARRAYS if ending in index.left_out]:
        listener.say(
            f"{folder} holds images of other kinds: its {' and '.join(arrays)} files are left out. To read them as images, put them "
            f"into a folder of their own."
        )
    if counted := others_left_out(index.left_out):
        listener.say(f"{folder}: left out, not images: {counted}.")


def _without_broken(source: ImageSource, report: Path, listener: Listener) -> ImageSource:
    """Leaves out the images that are broken by a report of `byol check-data --out`. Raises DataError if it is not such a report."""
    try:
        broken = set(json.loads(report.read_text())["broken"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{report} is not a report of byol check-data --out ({error!r}).") from error
    sound = np.flatnonzero([source.name(index) not in broken for index in range(len(source))])
    listener.say(f"{source.description}: {len(source) - len(sound)} images that {report} calls broken are left out")
    return Subset(source, sound, source.description)


def as_source(data: Any, layout: str = "") -> ImageSource:
    """A source of images given in Python.

    `data`: an (N, H, W[, C]) uint8 array, an (N, C, H, W) uint8 tensor, a torch data set, a list of images or of files, or a
    source. `layout`: order of the axes, needed if type and shape leave it open. Raises DataError for anything else.
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
    """A source of image files. Raises DataError if one is not a file, or is a file of many images."""
    for path in paths:
        if not path.is_file():
            what = "a folder; give one folder by its name, not in a list" if path.is_dir() else "no file here"
            raise DataError(f"{path}, in the list of images, is {what}.")
        if path.suffix.lower() in FILES:
            raise DataError(
                f"{path}, in the list of images, is a file of many images: give it by its name, not in a list."
            )
    return _listed([str(path) for path in paths], f"list of {len(paths)} files")
