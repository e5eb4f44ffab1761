"""The choice of images to label next, written as a list; the chosen files are copied or linked on request."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from byol.assembly.subject import open_subject, with_trained_columns
from byol.commands.vectors import vectors_of
from byol.data.classes import Labels, labels_of
from byol.data.image_list import is_list, read_list
from byol.data.open import open_source
from byol.data.source import ImageSource, SkippedImages, files_of
from byol.data.spec import DataSpec
from byol.errors import ConfigError, nearest
from byol.evaluate.features import Features
from byol.evaluate.selection import DEFAULT, METHODS, Known, Method, choose
from byol.runtime.files import new_folder, put_file, require_new_file, require_new_folder, write_atomically
from byol.runtime.hardware import choose_device
from byol.runtime.listener import SILENT, Listener
from byol.runtime.paths import require_outside, user_path
from byol.runtime.words import counted


@dataclass(frozen=True)
class Chosen:
    """An image of a selection."""

    rank: int
    """Place in the order of choice, from 1."""
    file: str
    """Name of the image in its data, such as its path below the folder."""
    score: float
    reason: str


@dataclass(frozen=True)
class Selection:
    """The chosen images, best first, and the list that was written."""

    images: list[Chosen]
    path: Path
    skipped: list[tuple[str, str]]
    """(name, reason) of each image that could not be decoded."""


def select(
    encoder: str | Path,
    data: str | DataSpec,
    out: str | Path,
    *,
    count: int = 100,
    by: Method = DEFAULT,
    labelled: str | Path = "",
    copy_to: str | Path = "",
    link_to: str | Path = "",
    seed: int = 0,
    device: str = "auto",
    say: Callable[[str], None] = lambda line: None,
    show: Callable[[str, int, int], None] = SILENT.work,
) -> Selection:
    """Chooses `count` images of `data` to label next and writes the list `out`, a CSV with rank, file, score and reason.

    `encoder`: as for `open_subject`. `labelled`: images that are labelled already, as a folder of class folders, another kind of data, or a list (`data.image_list`) of images of
    `data`; they and images too like them are not chosen, and no two chosen ones are too alike (`evaluate.duplicates.ALIKE`). `copy_to`, `link_to`: new folder for copies of the chosen files, or for links to them, named by rank.
    The same images, labels and seed give the same choice. Raises ConfigError for an unknown method, DataError if there are too few images or labels, RunError if something cannot be written.
    """
    listener, name, torch_device = Listener(say, show), str(user_path(encoder)), choose_device(device)
    path, folder = user_path(out), user_path(copy_to or link_to or "")
    _check(by, count, path, copy_to, link_to)
    spec = with_trained_columns(name, data)
    for place in (path, *([folder] if copy_to or link_to else [])):
        require_outside(place, spec.data)
    source = open_source(spec, listener=listener)
    if copy_to or link_to:
        files_of(source, range(1))  # refused before the work
    subject, skipped = open_subject(name, source), SkippedImages()

    def vectors(images: ImageSource) -> Features:
        return vectors_of(subject, images, spec, torch_device, skipped, listener)

    features = vectors(source)
    known = (
        _labelled(spec, str(labelled), source, features, vectors, listener) if labelled else Known(features.vectors[:0])
    )
    choice = choose(features.vectors, known, count, by, seed=seed)
    if len(choice.images) < count:
        say(
            f"{counted(len(choice.images), 'image')} chosen: all others are too like one of them, or like a labelled one"
        )
    indices = features.indices[choice.images].tolist()
    rows = zip(map(source.name, indices), choice.scores.tolist(), choice.reasons, strict=True)
    images = [Chosen(rank, *row) for rank, row in enumerate(rows, start=1)]
    if copy_to or link_to:
        _place_files(files_of(source, indices), folder, linked=bool(link_to))
    write_atomically(path, _csv(images).encode("utf-8", "surrogateescape"))
    return Selection(images, path, skipped.reasons)


def _check(by: str, count: int, path: Path, copy_to: str | Path, link_to: str | Path) -> None:
    """Raises an error for a request that cannot be met, before any image is read."""
    if by not in METHODS:
        raise ConfigError(f"There is no method {by!r}.{nearest(by, METHODS)} There are {', '.join(METHODS)}.")
    if count < 1:
        raise ConfigError(f"--count must be at least 1; found {count}.")
    if copy_to and link_to:
        raise ConfigError("Give --copy-to or --link-to, not both.")
    require_new_file(path, ".csv")
    if copy_to or link_to:
        require_new_folder(user_path(copy_to or link_to), "--copy-to or --link-to")


def _labelled(
    spec: DataSpec,
    labelled: str,
    source: ImageSource,
    features: Features,
    vectors: Callable[[ImageSource], Features],
    listener: Listener,
) -> Known:
    """Vectors and labels of the labelled images: those of a list, which `source` holds, or of other data."""
    path = user_path(labelled)
    if is_list(path):
        images = read_list(path, source)
        listener.say(f"{path}: {counted(len(images.indices), 'image')} labelled already")
        row_of = {index: row for row, index in enumerate(features.indices.tolist())}
        places = [place for place, index in enumerate(images.indices) if index in row_of]
        found = features.vectors[[row_of[images.indices[place]] for place in places]]
        return Known(found, *_classes(images.labels, torch.tensor(places, dtype=torch.int64)))
    others = open_source(replace(spec, data=labelled), labelled=True, listener=listener)
    found = vectors(others)
    return Known(found.vectors, *_classes(labels_of(others), found.indices))


def _classes(labels: Labels | None, places: Tensor) -> tuple[Tensor | None, tuple[str, ...]]:
    """((M,) class numbers without gaps of the images at `places`, names by number)."""
    if labels is None:
        return None, ()
    classes, codes = torch.from_numpy(labels.codes)[places].unique(return_inverse=True)
    return codes, tuple(labels.names[number] for number in classes.tolist())


def _place_files(files: list[Path], folder: Path, *, linked: bool) -> None:
    """Copies or links the files into a new folder, each name after its rank."""
    width = len(str(len(files)))
    with new_folder(folder) as place:
        for rank, file in enumerate(files, start=1):
            put_file(file, place, f"{rank:0{width}d}-{file.name}", linked=linked)


def _csv(images: list[Chosen]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("rank", "file", "score", "reason"))
    writer.writerows((image.rank, image.file, f"{image.score:.4g}", image.reason) for image in images)
    return text.getvalue()
