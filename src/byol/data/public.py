"""Public data sets for pretraining by name, as torchvision stores and downloads them."""

import contextlib
from pathlib import Path
from typing import Any, Literal

import numpy as np

from byol.data.arrays import ArrayImages
from byol.data.image_folder import ListedImages
from byol.data.source import ImageSource
from byol.data.spec import DataSpec
from byol.errors import DataError
from byol.runtime.locks import one_at_a_time

Split = Literal["train", "test"]
PUBLIC: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "cifar10": ("CIFAR10", {"train": True}, {"train": False}),
    "cifar100": ("CIFAR100", {"train": True}, {"train": False}),
    "stl10": ("STL10", {"split": "unlabeled"}, {"split": "test"}),
    "fashion-mnist": ("FashionMNIST", {"train": True}, {"train": False}),
    "imagenette": ("Imagenette", {"split": "train", "size": "160px"}, {"split": "val", "size": "160px"}),
    "imagenet": ("ImageNet", {"split": "train"}, {"split": "val"}),
}
"""torchvision's class and its arguments for train and for test, by name of the data set."""


def open_public(spec: DataSpec, split: Split, *, labelled: bool = False) -> ImageSource:
    """A split of the data set called `spec.data`, one of `PUBLIC`, below `spec.folder`.

    `labelled` matters only for stl10, which has separate unlabelled images for pretraining. Raises DataError if the
    files are missing and `spec.download` is off, or if torchvision cannot download them.
    """
    with one_at_a_time(spec.folder) if spec.download else contextlib.nullcontext():
        dataset = _dataset(spec, split, labelled)
    return _as_source(spec.data, dataset, f"{spec.data} {split}", spec.folder)


def _dataset(spec: DataSpec, split: Split, labelled: bool) -> Any:
    """The data set as torchvision opens or downloads it. Raises DataError as `open_public` does."""
    from torchvision import datasets

    name, root, download = spec.data, spec.folder, spec.download
    kind, train_arguments, test_arguments = PUBLIC[name]
    arguments = dict(train_arguments if split == "train" else test_arguments)
    if name == "stl10" and split == "train" and labelled:
        arguments["split"] = "train"
    if name != "imagenet":
        arguments["download"] = download and not (name == "imagenette" and (root / "imagenette2-160").exists())
    elif download:
        raise DataError(
            "imagenet cannot be downloaded by name: get its archives from image-net.org and name their folder with --data-root."
        )
    try:
        return getattr(datasets, kind)(str(root), **arguments)
    except (RuntimeError, OSError) as error:
        reason = str(error).splitlines()[0].partition(". ")[0].rstrip(".")
        advice = (
            "Check the connection."
            if download
            else "Add --download, or name the folder that holds it with --data-root."
        )
        raise DataError(f"{name} was not found in {root} ({reason}). {advice}") from error


def _as_source(name: str, dataset: Any, description: str, root: Path) -> ImageSource:
    if name in ("imagenette", "imagenet"):
        samples = dataset._samples if name == "imagenette" else dataset.samples
        paths = [Path(path).relative_to(root).as_posix() for path, _ in samples]
        names = [entry if isinstance(entry, str) else entry[0] for entry in dataset.classes]
        return ListedImages(root, paths, [label for _, label in samples], names, description)
    pixels = np.asarray(dataset.data)
    if name == "stl10":
        pixels = pixels.transpose(0, 2, 3, 1)
    labels = np.asarray(dataset.labels if name == "stl10" else dataset.targets)
    known = None if (labels < 0).any() else labels
    return ArrayImages(pixels, known, list(dataset.classes), description)
