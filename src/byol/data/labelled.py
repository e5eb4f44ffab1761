"""Training and test images with labels."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from byol.data.open import has_splits, open_source
from byol.data.public import named_set
from byol.data.source import ImageSource
from byol.data.spec import DataSpec, as_spec
from byol.data.subset import Subset, held_out, renumbered
from byol.errors import DataError
from byol.runtime.listener import SILENT, Listener

HELD_OUT = 0.2
"""Share of every class that is the test part of images without one."""


def labelled_splits(
    data: str | DataSpec,
    test_data: str = "",
    *,
    seed: int = 0,
    listener: Listener = SILENT,
) -> tuple[ImageSource, ImageSource]:
    """(train, test) images with labels. A source without a test part of its own has a fifth of every class held out.

    Classes are numbered from 0 without gaps. Raises DataError where labels are missing, there is one class alone, no class
    has two images to hold one out, or both parts do not have the same classes.
    """
    spec = as_spec(data)
    train, data = open_source(spec, "train", labelled=True, listener=listener), spec.data
    own_test = bool(named_set(data)) or has_splits(Path(data).expanduser())
    if test_data and not own_test and Path(test_data).expanduser().resolve() == Path(data).expanduser().resolve():
        raise DataError(
            f"Training and test images are the same, {data}, which would count as right what was learned by heart. Leave "
            "--test-data out to have a fifth held out, or name other images."
        )
    if test_data or own_test:
        test = open_source(replace(spec, data=test_data or data), "test", labelled=True, listener=listener)
        _labels(test)
    else:
        kept, out = held_out(_labels(train), HELD_OUT, seed)
        if not len(out):
            raise DataError(
                f"{train.description} has one image of each class, so that none can be held out as a test; name labelled "
                f"--test-data, or give at least two images of a class."
            )
        test = Subset(train, out, f"{train.description}, a held-out fifth")
        train = Subset(train, kept, f"{train.description}, the other four fifths")
    _same_classes(train, test)
    classes = np.unique(_labels(train))
    return renumbered(train, classes), renumbered(test, classes)


def _labels(source: ImageSource) -> Any:
    if source.labels is None:
        if "without labels" in source.description:  # which says why
            raise DataError(f"Labels are needed: {source.description}.")
        raise DataError(
            f"{source.description} has no labels; put the images of each class into a sub-folder of its own, or, in a table, classes into a column `label`."
        )
    return source.labels


def _same_classes(train: ImageSource, test: ImageSource) -> None:
    seen, asked = set(_labels(train).tolist()), set(_labels(test).tolist())
    if train.class_names is not None and test.class_names is not None and train.class_names != test.class_names:
        only = sorted(set(train.class_names) ^ set(test.class_names))
        raise DataError(
            f"{train.description} and {test.description} do not have the same classes; these are in one alone: {', '.join(only[:10])}."
        )
    if asked - seen:
        raise DataError(
            f"{test.description} has labels that {train.description} has not: {', '.join(map(str, sorted(asked - seen)[:10]))}."
        )
    if len(seen) < 2:
        raise DataError(f"{train.description} has one class only; evaluation needs at least two.")
