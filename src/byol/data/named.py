"""All data sets that can be given by name: the bundled sample and torchvision's."""

import contextlib
from dataclasses import replace
from pathlib import Path

from byol.data.public import PUBLIC, Split, open_public
from byol.data.sample import open_sample
from byol.data.source import ImageSource
from byol.data.spec import DataSpec
from byol.data.torchvision_sets import TORCHVISION_SETS, open_torchvision
from byol.errors import AmbiguousDataError, DataError
from byol.runtime.locks import one_at_a_time

SAMPLE = "sample"
NAMES = tuple(dict.fromkeys((SAMPLE, *PUBLIC, *TORCHVISION_SETS)))
PREFIX = "set:"
"""Prefix of a name that stands for a data set, never for a folder."""


def named_set(data: str) -> str:
    """The name, one of `NAMES`, of the data set that `data` stands for; empty if it stands for something else.

    Raises AmbiguousDataError if a file or folder here has the same name, DataError if no data set has the name after PREFIX.
    """
    name = data.removeprefix(PREFIX)
    if name not in NAMES:
        if data.startswith(PREFIX):
            raise DataError(f"There is no data set {name!r}; there are {', '.join(NAMES)}.")
        return ""
    if name == data and Path(name).exists():
        folder, data_set = f"./{name}", f"{PREFIX}{name}"
        raise AmbiguousDataError(
            f"{name} is the name of a data set and of {Path(name).resolve()}. Write {folder} for the folder or file, {data_set} "
            f"for the data set.",
            name,
            (folder, data_set),
        )
    return name


def open_named(spec: DataSpec, split: Split, *, labelled: bool = False) -> ImageSource:
    """A split of the data set called `spec.data`, one of `NAMES`. `labelled`, errors: as in `open_public`."""
    name = named_set(spec.data)
    spec = replace(spec, data=name)
    if name == SAMPLE:
        return open_sample(split)
    if name in PUBLIC:
        return open_public(spec, split, labelled=labelled)
    with one_at_a_time(spec.folder) if spec.download else contextlib.nullcontext():
        splits = open_torchvision(spec)
    return splits.train if split == "train" else splits.test
