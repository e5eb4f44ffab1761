"""Classes of images by a kept classifier: a table, and on request a folder for each class."""

import contextlib
import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from byol.commands.vectors import vectors_by
from byol.data.classes import labels_of
from byol.data.known_labels import KnownLabels, read_known
from byol.data.number_format import follow
from byol.data.open import open_source
from byol.data.source import ImageSource, SkippedImages, files_of, require_channels
from byol.data.spec import DataSpec, as_spec
from byol.encoder.classifier import LABELLED, UNSURE, ClassifierDescription, load_classifier
from byol.errors import ConfigError, DataError, RunError
from byol.evaluate.scores import Score, wilson
from byol.runtime.files import new_folder, put_file, require_new_file, require_new_folder, write_atomically
from byol.runtime.hardware import choose_device
from byol.runtime.listener import SILENT, Listener
from byol.runtime.paths import require_outside, user_path
from byol.runtime.words import shortened


@dataclass(frozen=True)
class Classified:
    """The images that were classified."""

    table: Path
    folder: Path | None
    """Folder with a folder for each class; None without copies and links."""
    counts: dict[str, int]
    """Number of images by class, and by `unsure`; an image with several labels counts for each."""
    skipped: list[tuple[str, str]]
    """(name, reason) of each image that could not be decoded."""
    wrong: Score | None = None
    """Percentage of wrong names among those that the classifier gave, if the images lie in folders of these classes."""
    labelled: int = 0
    """Number of images that keep the label by which the classifier was fitted."""
    denied: int = 0
    """Number of these in which the classifier sees a class, with a probability above the threshold and 0.5, that their label denies."""
    promise: str = ""
    """Sentence about the errors to expect; empty if they are not known."""


@dataclass(frozen=True)
class _Named:
    """The classes of N images."""

    classes: list[list[int]]
    """Numbers of the classes of each image; none for an unsure one."""
    is_labelled: list[bool]
    """Whether each image has its classes from the user."""
    denied: int = 0
    """Number of the images with `is_labelled` in which the classifier sees a class that their label denies."""


def classify(
    classifier: str | Path,
    data: str | DataSpec,
    out: str | Path,
    *,
    copy_to: str | Path = "",
    link_to: str | Path = "",
    threshold: float | None = None,
    device: str = "auto",
    say: Callable[[str], None] = lambda line: None,
    show: Callable[[str, int, int], None] = SILENT.work,
) -> Classified:
    """Writes the classes of all images to the new CSV file `out`.

    `classifier`: the folder that `fit_classifier` wrote. Columns: file, class (or `unsure`), labelled (`yes` for a picture that the classifier was fitted to, which keeps its label,
    wherever it lies now), guess (the most probable class), probability, second_guess, second_probability; of a classifier with several labels: file, classes (separated by `;`), labelled, then
    the probability of each. `copy_to` or `link_to`: new folder with a folder for each class, in which image files are copied or
    linked under their names; where two have one name, the later one gets -2, -3 and so on. No original is moved or changed.
    `threshold`: probability above which a class is named, in place of the classifier's own. Raises ConfigError, DataError,
    EncoderError or RunError for what the user can correct.
    """
    path, folder, spec, listener = user_path(out), _folder(copy_to, link_to), as_spec(data), Listener(say, show)
    for place in filter(None, (path, folder)):
        require_outside(place, spec.data)
    require_new_file(path, ".csv")
    if folder is not None:
        require_new_folder(folder, "--copy-to or --link-to")
    if threshold is not None and not 0 <= threshold <= 1:
        raise ConfigError(f"--threshold must be a probability, from 0 to 1; found {threshold:g}.")
    loaded = load_classifier(classifier)
    known = _known(user_path(classifier) / LABELLED, loaded.about, listener)
    about = loaded.about if threshold is None else replace(loaded.about, threshold=threshold)
    source = open_source(spec, listener=listener)
    follow(source, loaded.description.number_format)
    require_channels(source, loaded.description.in_channels)
    if folder is not None:
        files_of(source, range(1))  # refused before the work
    with contextlib.ExitStack() as stack:
        writing = None if folder is None else stack.enter_context(new_folder(folder))
        torch_device, skipped = choose_device(device), SkippedImages()
        features = vectors_by(loaded, user_path(classifier), source, spec, torch_device, skipped, listener)
        indices, found = features.indices.tolist(), loaded.cpu().of_features(features.vectors)
        named = _named(about, found, known, source, indices, listener)
        sorted_to: list[str] | None = None
        if writing is not None:
            sorted_to = _sort(writing, files_of(source, indices), named.classes, about.classes, linked=bool(link_to))
        names = [source.name(index) for index in indices]
        write_atomically(path, _table(names, found, named, about, sorted_to).encode("utf-8", "surrogateescape"))
    counts = {name: sum(number in row for row in named.classes) for number, name in enumerate(about.classes)}
    counts[UNSURE] = sum(not row for row in named.classes)
    wrong = _wrong(source, indices, named, about, listener)
    promise = "" if threshold is not None else _promise(about)
    return Classified(path, folder, counts, skipped.reasons, wrong, sum(named.is_labelled), named.denied, promise)


def _promise(about: ClassifierDescription) -> str:
    """Sentence about the errors to expect; empty if the classifier does not keep what the fit found."""
    wrong = about.fit.get("wrong")
    if not wrong:
        return ""
    return (
        f"in cross-validation of the labelled images {Score(**wrong)} % of the names were wrong (--most-wrong {about.fit['most_wrong']:g}). "
        "Expect more if these images were chosen, not drawn at random"
    )


def _known(path: Path, about: ClassifierDescription, listener: Listener) -> KnownLabels | None:
    """The labels that the classifier was fitted to; None if it does not keep them. Raises RunError if their file is damaged."""
    if not path.exists():
        listener.say(
            f"{path.parent} keeps no labels (it is an export, or of an earlier version), so that labelled photos are named like all others. Fit again to keep them"
        )
        return None
    try:
        return read_known(path, about.classes, several=about.several)
    except DataError as error:
        raise RunError(f"{path} cannot be read ({str(error).rstrip('.')}). Fit again, or delete it.") from error


def _named(
    about: ClassifierDescription,
    found: Tensor,
    known: KnownLabels | None,
    source: ImageSource,
    indices: list[int],
    listener: Listener,
) -> _Named:
    """The classes by the labels that are known, and else by (N, C) probabilities."""
    named, denied = about.named(found), 0
    if known is None:
        return _Named(named, [False] * len(named))
    rows = known.of_images(source, indices, listener)
    for place in np.flatnonzero(rows >= 0).tolist():
        target = known.targets[rows[place]]
        says = target if about.several else 2 * (np.arange(len(about.classes)) == target) - 1
        denied += bool((found[place].numpy()[says < 0] > max(about.threshold, 0.5)).any())
        named[place] = [*np.flatnonzero(says > 0).tolist(), *(number for number in named[place] if says[number] == 0)]
    return _Named(named, (rows >= 0).tolist(), denied)


def _folder(copy_to: str | Path, link_to: str | Path) -> Path | None:
    if copy_to and link_to:
        raise ConfigError("Give --copy-to or --link-to, not both.")
    return user_path(copy_to or link_to) if copy_to or link_to else None


def _table(
    names: Sequence[str],
    found: Tensor,
    named: _Named,
    about: ClassifierDescription,
    sorted_to: list[str] | None,
) -> str:
    """Text of the CSV file; `sorted_to`: place of each image in the sorted folder."""
    stream, classes = io.StringIO(), about.classes
    writer = csv.writer(stream, lineterminator="\n")
    last = [] if sorted_to is None else ["sorted_to"]
    best, order = (part.tolist() for part in found.topk(min(2, found.shape[1]), dim=1))
    if about.several:
        writer.writerow(["file", "classes", "labelled", *classes, *last])
    else:
        guesses = "guess", "probability", "second_guess", "second_probability"
        writer.writerow(["file", "class", "labelled", *guesses, *last])
    for row, name in enumerate(names):
        label = ";".join(classes[number] for number in named.classes[row]) or UNSURE
        cells = [label, "yes" if named.is_labelled[row] else ""]
        if about.several:
            cells += [f"{value:.4f}" for value in found[row].tolist()]
        else:
            (first, second), (probability, other) = order[row], best[row]
            cells += [classes[first], f"{probability:.4f}", classes[second], f"{other:.4f}"]
        writer.writerow([name, *cells, *([] if sorted_to is None else [sorted_to[row]])])
    return stream.getvalue()


def _sort(
    folder: Path, files: list[Path], named: list[list[int]], classes: tuple[str, ...], *, linked: bool
) -> list[str]:
    """Copies or links each file into the folders of its classes; their places below `folder`, separated by `;`."""
    folders = _folder_names([*classes, UNSURE])
    places = []
    for file, row in zip(files, named, strict=True):
        inside = []
        for number in row or [len(classes)]:
            (place := folder / folders[number]).mkdir(exist_ok=True)
            inside.append(put_file(file, place, file.name, linked=linked))
        places.append(";".join(path.relative_to(folder).as_posix() for path in inside))
    return places


def _folder_names(classes: Sequence[str]) -> list[str]:
    """A different folder name for each class: its own, without what no file system takes."""
    names: list[str] = []
    for name in classes:
        plain = re.sub(r'[\x00-\x1f/\\\\<>:"|?*]', "_", name).strip(" .")[:100] or "_"
        taken, number, chosen = {other.lower() for other in names}, 1, plain
        while chosen.lower() in taken:
            number += 1
            chosen = f"{plain}-{number}"
        names.append(chosen)
    return names


def _wrong(
    source: ImageSource, indices: list[int], named: _Named, about: ClassifierDescription, listener: Listener
) -> Score | None:
    """Percentage of wrong names that the classifier gave, if the images lie in folders of the classifier's classes; None if they do not, or nothing is named."""
    labels = labels_of(source)
    if labels is None or about.several:
        return None
    present = [labels.names[code] for code in np.unique(labels.codes)]
    unknown = [name for name in present if name not in about.classes]
    if unknown:
        if len(unknown) < len(present):
            listener.say(f"the names are not compared with the folders: the classifier knows no {shortened(unknown)}")
        return None
    truth = labels.over(about.classes)[indices]
    rows = zip(named.classes, named.is_labelled, truth.tolist(), strict=True)
    right = torch.tensor([row[0] == code for row, is_labelled, code in rows if row and not is_labelled])
    return wilson(1 - float(right.float().mean()), len(right)) if len(right) else None
