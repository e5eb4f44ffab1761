"""Images with a mask each: the class of every pixel, for segmentation.

A mask is a PNG of class numbers, in grey or by palette, or of colours that `classes.txt` names.
"""

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from byol.data.named import PREFIX
from byol.data.paired import (
    IMAGES,
    PairedImages,
    PairedSplits,
    Pairs,
    Values,
    find_pairs,
    held_out_fifth,
    pairs_of_files,
)
from byol.data.spec import DataSpec
from byol.errors import DataError
from byol.runtime.locks import one_at_a_time
from byol.runtime.paths import user_path

IGNORED = 255
"""Label of pixels that count neither in training nor in a result."""
MASKS = Values("masks", "mask", ("mask", "masks", "annotation", "annotations", "segmentation", "label", "labels"))
CLASSES = "classes.txt"
VOC = "voc2012-segmentation"
VOC_CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
PETS = "pets-trimaps"
PETS_CLASSES, PETS_LABELS = ("pet", "background"), {1: 0, 2: 1, 3: IGNORED}
"""Classes of the pets' trimaps, and the class by label: 3, the border that the data set calls not classified, is ignored."""


@dataclass(frozen=True)
class Classes:
    """Classes of pixels."""

    names: list[str]
    colours: dict[tuple[int, int, int], int]
    """Class by colour (red, green, blue) of masks in colour; empty if `classes.txt` has no colours."""
    ignored: int
    """Label that counts as `IGNORED`; negative: none."""
    numbers: dict[int, int] = field(default_factory=dict)
    """Class by label, where the labels in the masks are not the classes; empty where they are."""


class MaskedImages(PairedImages):
    """Images with a mask each."""

    form = MASKS
    class_names: list[str] | None

    def __init__(
        self,
        pairs: Pairs,
        classes: Classes | None,
        ignored: int,
        indices: NDArray[np.int64] | None = None,
        description: str = "",
    ) -> None:
        super().__init__(pairs, indices, description)
        self.ignored = ignored
        self.pixel_classes = classes or Classes([], {}, ignored)
        if not classes:
            highest = max(int(labels[labels != IGNORED].max(initial=0)) for labels in map(self._labels, range(len(self))))  # fmt: skip
            self.pixel_classes = Classes([str(number) for number in range(highest + 1)], {}, ignored)
        self.class_names = self.pixel_classes.names

    def _with(self, pairs: Pairs, indices: NDArray[np.int64], description: str) -> "MaskedImages":
        return MaskedImages(pairs, self.pixel_classes, self.ignored, indices, description)

    def mask(self, index: int) -> NDArray[np.uint8]:
        """(H, W) class of every pixel of the upright image, or `IGNORED`.

        Raises DataError if the mask cannot be read, has another size than its image, or holds an unknown label or colour.
        """
        labels = self._labels(index)
        self.require_size(index, labels.shape)
        highest, count = int(labels[labels != IGNORED].max(initial=0)), len(self.pixel_classes.names)
        if highest >= count:
            raise DataError(
                f"{self.place_of_values(index)} holds the label {highest}, and there are {count} classes, 0 to {count - 1}. Name all classes "
                f"in {CLASSES}, a line each, or leave one label out with --segment.ignore."
            )
        return labels

    def _labels(self, index: int) -> NDArray[np.uint8]:
        where = self.place_of_values(index)
        content = self.values(index)
        try:
            with PillowImage.open(io.BytesIO(content)) as opened:
                pixels = np.asarray(opened)
                mode = opened.mode
        except Exception as error:  # whatever Pillow's plugins raise
            raise DataError(f"The mask {where} cannot be read ({error or type(error).__name__}).") from error
        if pixels.ndim == 3:
            pixels = self._by_colour(pixels, where, mode)
        if pixels.max(initial=0) > IGNORED or pixels.min(initial=0) < 0:
            raise DataError(f"{where} holds the label {int(pixels.max())}; labels go from 0 to 254, and 255 is ignored.")  # fmt: skip
        labels = pixels.astype(np.uint8)
        if numbers := self.pixel_classes.numbers:
            if unknown := sorted(set(np.unique(labels).tolist()) - {*numbers, IGNORED}):
                raise DataError(
                    f"{where} holds the label {unknown[0]}; its data set has {', '.join(map(str, numbers))}."
                )
            table = np.full(IGNORED + 1, IGNORED, np.uint8)
            table[list(numbers)] = list(numbers.values())
            labels = table[labels]
        return np.where(labels == self.ignored, np.uint8(IGNORED), labels) if self.ignored >= 0 else labels

    def _by_colour(self, pixels: NDArray[np.uint8], where: str, mode: str) -> NDArray[np.uint8]:
        table = self.pixel_classes.colours
        if not table:
            raise DataError(
                f"{where} holds colours ({mode}), not class numbers. Write {CLASSES} beside {IMAGES} and {MASKS.folder}, a line `NAME R G B` for "
                "each class, or save the masks as grey or palette PNG of class numbers."
            )
        codes = pixels[..., :3].astype(np.int64) @ (1 << 16, 1 << 8, 1)
        known = np.array([red << 16 | green << 8 | blue for red, green, blue in table])
        order = known.argsort()
        place = order[known[order].searchsorted(codes).clip(max=len(known) - 1)]
        if (unknown := known[place] != codes).any():
            colour = pixels[unknown][0][:3].tolist()
            raise DataError(f"{where} has the colour {colour}, which {CLASSES} does not name.")
        return np.array(list(table.values()), np.uint8)[place]


def open_masks(spec: DataSpec, test_data: str = "", *, ignored: int = -1, seed: int = 0) -> PairedSplits[MaskedImages]:
    """Opens images and masks in their parts: folders `images` and `masks` with the same names, in each part or around the parts, or
    parquet with a column of either.

    Without a test part a fifth of the images is held out by the seed. `classes.txt` beside them names the classes, a line each:
    `NAME`, or `NAME R G B` with the colour in the masks. Without it there are as many as the highest label of the training
    masks says. Pixels of the label `ignored`, and of 255, count nowhere. VOC2012 is `voc2012-segmentation`, and the masks of
    Oxford's pets are `pets-trimaps`.

    Raises DataError if folders, images or masks are missing, or a mask cannot be used.
    """
    if opener := NAMED.get(spec.data.removeprefix(PREFIX)):
        return _open_named(spec, ignored, opener)
    found = find_pairs(spec, MASKS, test_data, f", or {' or '.join(NAMED)}")
    train = MaskedImages(found.train, _read_classes(user_path(spec.data), ignored), ignored)
    if found.test is None:
        return held_out_fifth(train, seed)
    return PairedSplits(train, MaskedImages(found.test, train.pixel_classes, ignored), found.validation)


def _read_classes(root: Path, ignored: int) -> Classes | None:
    """The classes in `classes.txt`; None if there is no such file. Raises DataError for a line that is neither name nor name and colour."""
    file = (root.parent if root.is_file() else root) / CLASSES
    with contextlib.suppress(FileNotFoundError):
        names, colours = [], {}
        for line in filter(None, map(str.strip, file.read_text().splitlines())):
            words = line.split()
            if len(words) > 3 and all(word.isdecimal() and int(word) < 256 for word in words[-3:]):
                red, green, blue = map(int, words[-3:])
                colours[red, green, blue] = len(names)
                line = " ".join(words[:-3])
            names.append(line)
        if colours and len(colours) < len(names):
            raise DataError(f"{file} names {len(names)} classes and {len(colours)} colours; each class needs one of its own.")  # fmt: skip
        if not 1 < len(names) <= IGNORED:
            raise DataError(f"{file} names {len(names)} classes; there must be 2 to {IGNORED}, a line each.")
        return Classes(names, colours, ignored)
    return None


def _open_voc(root: Path, download: bool, ignored: int) -> PairedSplits[MaskedImages]:
    from torchvision.datasets import VOCSegmentation

    def opened(part: str) -> MaskedImages:
        dataset = VOCSegmentation(str(root), year="2012", image_set=part, download=download)
        return _below(root, dataset.images, dataset.masks, Classes(list(VOC_CLASSES), {}, ignored), f"VOC2012 {part}")

    return PairedSplits(opened("train"), opened("val"))


def _open_pets(root: Path, download: bool, ignored: int) -> PairedSplits[MaskedImages]:
    from torchvision.datasets import OxfordIIITPet

    def opened(part: str) -> MaskedImages:
        dataset = OxfordIIITPet(str(root), split=part, target_types="segmentation", download=download)
        classes = Classes(list(PETS_CLASSES), {}, ignored, PETS_LABELS)
        return _below(root, dataset._images, dataset._segs, classes, f"OxfordIIITPet {part}, trimaps")

    return PairedSplits(opened("trainval"), opened("test"))


NAMED: dict[str, Callable[[Path, bool, int], PairedSplits[MaskedImages]]] = {VOC: _open_voc, PETS: _open_pets}
"""Functions that open the data sets with masks that torchvision knows, by name, from (root, download, ignored label)."""


def _below(root: Path, images: list, masks: list, classes: Classes, description: str) -> MaskedImages:
    one, other = ([Path(file).relative_to(root).as_posix() for file in files] for files in (images, masks))
    return MaskedImages(pairs_of_files(root, one, other, description), classes, classes.ignored)


def _open_named(
    spec: DataSpec, ignored: int, opener: Callable[[Path, bool, int], PairedSplits[MaskedImages]]
) -> PairedSplits[MaskedImages]:
    root = spec.folder
    try:
        with one_at_a_time(root) if spec.download else contextlib.nullcontext():
            return opener(root, spec.download, ignored)
    except (RuntimeError, OSError) as error:
        advice = "Check the connection." if spec.download else "Add --download, or name the folder that holds its files with --data-root."  # fmt: skip
        raise DataError(
            f"{spec.data} was not found in {root} ({str(error).splitlines()[0].rstrip('.')}). {advice}"
        ) from error
