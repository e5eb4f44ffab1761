"""Labelled training and test images for evaluation."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from byol.data.classes import labels_of, ordered
from byol.data.label_table import read_label_table
from byol.data.named import named_set
from byol.data.open import open_part, open_source, tell_choices
from byol.data.source import ImageSource
from byol.data.spec import DataSpec, as_spec
from byol.data.splits import Parts, find_parts
from byol.data.subset import Subset, held_out, renumbered
from byol.errors import DataError
from byol.runtime.listener import SILENT, Listener
from byol.runtime.words import shortened

MAX_NAMES = 12
"""Largest number of classes in a message."""
ADVICE = (
    "Put the images of each class into a sub-folder of its own, or, in a table, classes into a column `label` or one that "
    "--data.label-column names."
)
HELD_OUT = 0.2
"""Fraction of every class that is held out as the test part, if the data has no test part."""


def open_labelled(
    spec: DataSpec, labels: str | Path = "", listener: Listener = SILENT
) -> tuple[ImageSource, NDArray[np.int8] | None]:
    """(images with the labels of folders, tables, or the CSV file `labels`, (N, C) labels of 1, -1 and 0 if each image may have several).

    Images without a row in `labels` are left out, and the listener receives their number. Raises DataError if the file cannot be used.
    """
    if not labels:
        return open_source(spec, labelled=True, listener=listener), None
    whole = open_source(replace(spec, label_column=""), listener=listener)
    source, several = read_label_table(labels, spec.label_column).of(whole)
    kind = "one class" if several is None else "several labels"
    listener.say(f"{labels}: {kind} per image, {len(source):,} of {len(whole):,} images labelled")
    return source, several


def labelled_splits(
    data: str | DataSpec,
    test_data: str = "",
    *,
    seed: int = 0,
    listener: Listener = SILENT,
) -> tuple[ImageSource, ImageSource]:
    """(train, test) images with labels. A fifth of every class is held out for the test if there is no test part.

    Both have the same classes, joined by name (by number if all names are numbers), and numbered without gaps in the
    order of `data.classes`. Raises DataError if labels are missing, there is only one class, no class has the two images
    needed to hold one out, or the test images have a class that is not among the training images.
    """
    spec = as_spec(data)
    train, data = open_source(spec, "train", labelled=True, listener=listener), spec.data
    require_labels(train)
    if len(np.unique(_labels(train))) < 2:
        raise DataError(f"{train.description} has one class only; evaluation needs at least two.")
    own_test = has_test_part(data)
    if test_data and not own_test and Path(test_data).expanduser().resolve() == Path(data).expanduser().resolve():
        raise DataError(
            f"Training and test images are both {data}, so the test would reward memorised images. Leave "
            "--test-data out to hold out a fifth, or name other images."
        )
    if test_data or own_test:
        test = _open_test(replace(spec, data=test_data or data), train.class_names or (), listener)
        _join(train, test, listener)
    else:
        train_indices, test_indices = held_out(_labels(train), HELD_OUT, seed)
        if not len(test_indices):
            raise DataError(
                f"{train.description} has one image of each class, so none can be held out as a test; name labelled "
                f"--test-data, or give at least two images of a class."
            )
        if spec.pages == "images":
            listener.say(
                "Pages of one file are both among the training images and held out: as they are alike, results are too good. Give "
                "--test-data of other files."
            )
        test = Subset(train, test_indices, f"{train.description}, a held-out fifth")
        train = Subset(train, train_indices, f"{train.description}, the other four fifths")
    classes = np.unique(_labels(train))
    return renumbered(train, classes), renumbered(test, classes)


def has_test_part(data: str) -> bool:
    """Whether the data have a part for testing of their own."""
    return bool(named_set(data)) or _parts(data) is not None


def _parts(data: str) -> Parts | None:
    path = Path(data).expanduser()
    return find_parts(path) if path.is_dir() and not named_set(data) else None


def _open_test(spec: DataSpec, classes: Sequence[str], listener: Listener) -> ImageSource:
    """The labelled test images; if there are several test parts, the first one with labels.

    `classes`: names of the training classes. Raises DataError if no part has labels; its message gives the reason of each.
    """
    if (parts := _parts(spec.data)) is None:
        test = open_source(spec, "test", labelled=True, classes=classes, listener=listener)
        require_labels(test)
        return test
    reasons: list[str] = []
    for part in parts.tests:
        try:
            test = open_part(part, spec, classes, listener)
        except DataError as error:
            reasons.append(str(error).rstrip("."))
            continue
        if test.labels is None:
            reasons.append(_without_labels(test))
            continue
        why = f" ({'; '.join(reasons)})" if reasons else ""
        listener.say(f"test images: {part}{why}")
        tell_choices(test, True, listener)
        return test
    raise DataError(f"No part for testing can be used: {'; '.join(reasons)}. {ADVICE}")


def require_labels(source: ImageSource) -> None:
    """Raises DataError with the reason if a source has no labels."""
    if source.labels is None:
        raise DataError(f"{_without_labels(source)}. {ADVICE}")


def _without_labels(source: ImageSource) -> str:
    if "without labels" in source.description:  # the description gives the reason
        return f"labels are needed, found {source.description}"
    return f"{source.description} has no labels" + (f" ({source.unlabelled})" if source.unlabelled else "")


def _labels(source: ImageSource) -> NDArray[np.int64]:
    assert source.labels is not None
    return source.labels


def _join(train: ImageSource, test: ImageSource, listener: Listener) -> None:
    """Gives the test images the class numbers of the training images, joined by the names of the classes.

    Raises DataError if a test image has a class that no training image has. The listener gets the classes without test images.
    """
    ours, theirs = labels_of(train), labels_of(test)
    assert ours is not None and theirs is not None
    codes = theirs.over(ours.names)
    present = [{names[code] for code in np.unique(side.codes)} for side in (ours, theirs) for names in (side.names,)]
    train_codes = np.unique(ours.codes)
    unknown = [theirs.names[code] for code in np.unique(theirs.codes[~np.isin(codes, train_codes)])]
    if unknown:
        lists = [
            f"{source.description}: {shortened(ordered(names), MAX_NAMES)}"
            for source, names in zip((train, test), present, strict=True)
        ]
        raise DataError(
            f"{test.description} has classes that {train.description} has not: {shortened(unknown, MAX_NAMES)}. Classes are joined "
            f"by name; these are the classes of {'; of '.join(lists)}."
        )
    if missing := [ours.names[code] for code in np.setdiff1d(train_codes, codes)]:
        listener.say(
            f"{test.description} has no image of {len(missing)} of the {len(train_codes)} classes: {shortened(missing, MAX_NAMES)}"
        )
    train.labels, train.class_names = ours.codes, list(ours.names)
    test.labels, test.class_names = codes, list(ours.names)
