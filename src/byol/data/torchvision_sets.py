"""Labelled data sets in their published parts, as torchvision stores and downloads them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from byol.data.image_folder import ListedImages
from byol.data.public import open_public
from byol.data.source import ImageSource
from byol.data.spec import DataSpec
from byol.data.subset import Subset, per_class
from byol.errors import DataError


@dataclass(frozen=True)
class Splits:
    """The parts of a labelled data set."""

    train: ImageSource
    """Training images, including the validation images."""
    test: ImageSource
    validation: NDArray[np.int64] | None = None
    """Indices in `train` of the published validation part; None if there is none."""
    label_sets: tuple[NDArray[np.int8], NDArray[np.int8]] | None = None
    """(N, C) labels of train and test if an image has several: 1 yes, -1 no, 0 too difficult to tell. None for one label per image."""


def open_torchvision(spec: DataSpec, seed: int = 0) -> Splits:
    """Opens the parts of one of `TORCHVISION_SETS` below `spec.folder`. `seed` draws the parts that are not published.

    Raises DataError if the files are missing and `spec.download` is off, or if torchvision cannot download them.
    """
    name, root, download = spec.data, spec.folder, spec.download
    try:
        return TORCHVISION_SETS[name](root, download, seed)
    except (RuntimeError, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [""])[0].partition(". ")[0].rstrip(".")
        advice = (
            "Get its files by hand, as torchvision's page on it says." if download else "Add --download, or name the folder that holds it with --data-root."
        )  # fmt: skip
        raise DataError(f"{name} was not found in {root} ({reason}). {advice}") from error
    except ImportError as error:
        raise DataError(f"{name} needs {error.name}, which is not installed: pip install {error.name}.") from error


def _cifar(name: str) -> Callable[[Path, bool, int], Splits]:
    def opened(root: Path, download: bool, seed: int) -> Splits:
        spec = DataSpec(name, str(root), download)
        return Splits(open_public(spec, "train"), open_public(spec, "test"))

    return opened


def _by_split(
    kind: str, train: tuple[str, ...], files: str = "_image_files", **settings: Any
) -> Callable[[Path, bool, int], Splits]:
    """Opener of torchvision's class `kind`. Its split `test` is the test part; two splits in `train` are train and validation."""

    def opened(root: Path, download: bool, seed: int) -> Splits:
        from torchvision import datasets

        def read(split: str) -> Any:
            return getattr(datasets, kind)(str(root), split=split, download=download, **settings)

        parts = [read(split) for split in train]
        counts = [len(part) for part in parts]
        validation = None if len(parts) == 1 else np.arange(counts[0], sum(counts))
        return Splits(_listed(parts, files, f"{kind} train", root), _listed([read("test")], files, f"{kind} test", root), validation)  # fmt: skip

    return opened


def _listed(parts: list[Any], files: str, description: str, root: Path) -> ListedImages:
    paths = [Path(file).relative_to(root).as_posix() for part in parts for file in getattr(part, files)]
    labels = [label for part in parts for label in part._labels]
    names = [str(name) for name in getattr(parts[0], "classes", ())] or [str(n) for n in range(max(labels) + 1)]
    return ListedImages(root, paths, labels, names, description)


def _cars(root: Path, download: bool, seed: int) -> Splits:
    from torchvision import datasets

    def part(split: str) -> ListedImages:
        dataset: Any = datasets.StanfordCars(str(root), split=split, download=download)
        paths = [Path(file).relative_to(root).as_posix() for file, _ in dataset._samples]
        return ListedImages(
            root, paths, [n for _, n in dataset._samples], list(dataset.classes), f"StanfordCars {split}"
        )

    return Splits(part("train"), part("test"))


def _caltech(root: Path, download: bool, seed: int) -> Splits:
    """Draws 30 training images per class; the rest are test images. torchvision drops the background class."""
    from torchvision import datasets

    dataset: Any = datasets.Caltech101(str(root), download=download)
    folder = "caltech101/101_ObjectCategories"
    paths = [
        f"{folder}/{dataset.categories[y]}/image_{i:04d}.jpg" for y, i in zip(dataset.y, dataset.index, strict=True)
    ]
    everything = ListedImages(root, paths, dataset.y, list(dataset.categories), "Caltech101")
    train = per_class(np.asarray(dataset.y), 30, seed)
    test = np.setdiff1d(np.arange(len(paths)), train)
    return Splits(Subset(everything, train, "Caltech101, 30 per class"), Subset(everything, test, "Caltech101, the rest"))  # fmt: skip


def _voc(root: Path, download: bool, seed: int) -> Splits:
    """Opens VOC2007 with a label for each of 20 kinds of object, from its lists of images per kind."""
    from torchvision import datasets

    parts = {}
    for split in ("train", "val", "test"):
        dataset: Any = datasets.VOCDetection(str(root), year="2007", image_set=split, download=download)
        files = [Path(file) for file in dataset.images]
        lists = files[0].parent.parent / "ImageSets" / "Main"
        names = sorted(file.name.removesuffix(f"_{split}.txt") for file in lists.glob(f"*_{split}.txt"))
        columns = [_voc_list(lists / f"{name}_{split}.txt") for name in names]
        sets = np.array([[column[file.stem] for column in columns] for file in files], dtype=np.int8)
        parts[split] = ([file.relative_to(root).as_posix() for file in files], sets, names)
    (train, train_sets, names), (validation, validation_sets, _) = parts["train"], parts["val"]
    test, test_sets, _ = parts["test"]
    trainval = ListedImages(root, train + validation, None, names, "VOC2007 trainval")
    trainval.unlabelled = "its images have several classes each, which only byol transfer reads"
    return Splits(
        trainval,
        ListedImages(root, test, None, names, "VOC2007 test"),
        np.arange(len(train), len(train) + len(validation)),
        (np.concatenate((train_sets, validation_sets)), test_sets),
    )


def _voc_list(file: Path) -> dict[str, int]:
    return {name: int(value) for name, value in (line.split() for line in file.read_text().splitlines())}


TORCHVISION_SETS: dict[str, Callable[[Path, bool, int], Splits]] = {
    "food101": _by_split("Food101", ("train",)),
    "cifar10": _cifar("cifar10"),
    "cifar100": _cifar("cifar100"),
    "cars": _cars,
    "aircraft": _by_split("FGVCAircraft", ("train", "val")),
    "dtd": _by_split("DTD", ("train", "val"), partition=1),
    "pets": _by_split("OxfordIIITPet", ("trainval",), files="_images"),
    "caltech101": _caltech,
    "voc2007": _voc,
    "flowers": _by_split("Flowers102", ("train", "val")),
}
