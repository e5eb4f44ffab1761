"""Images with a mask each: the class of every pixel, for segmentation.

A mask is a PNG of class numbers, in grey or by palette, or of colours that `classes.txt` names.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from byol.data.decode import read_file
from byol.data.file_index import index_files
from byol.data.image_folder import ListedImages
from byol.data.named import PREFIX
from byol.data.spec import DataSpec
from byol.data.splits import find_parts
from byol.errors import DataError
from byol.runtime.locks import one_at_a_time
from byol.runtime.paths import cache_folder, user_path

IGNORED = 255
"""Label of pixels that count neither in training nor in a result."""
IMAGES, MASKS, CLASSES = "images", "masks", "classes.txt"
HELD_OUT = 0.2
"""Fraction of the images that is held out as the test part, if the data has none."""
VOC = "voc2012-segmentation"
VOC_CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
ORIENTATION = 0x0112
"""Number of the EXIF tag that states how to turn the image."""
TURNED = (5, 6, 7, 8)
"""EXIF orientations that swap height and width."""


@dataclass(frozen=True)
class Classes:
    """Classes of pixels."""

    names: list[str]
    colours: dict[tuple[int, int, int], int]
    """Class by colour (red, green, blue) of masks in colour; empty if `classes.txt` has no colours."""
    ignored: int
    """Label that counts as `IGNORED`; negative: none."""


class MaskedImages(ListedImages):
    """Image files below `root`, each with a mask file."""

    class_names: list[str] | None

    def __init__(
        self, root: Path, paths: list[str], masks: list[str], classes: Classes | None, ignored: int, description: str
    ) -> None:
        super().__init__(root, paths, None, [], description)
        self.masks = masks
        self.ignored = ignored
        self.pixel_classes = classes or Classes([], {}, ignored)
        if not classes:
            highest = max(int(labels[labels != IGNORED].max(initial=0)) for labels in map(self._labels, range(len(self))))  # fmt: skip
            self.pixel_classes = Classes([str(number) for number in range(highest + 1)], {}, ignored)
        self.class_names = self.pixel_classes.names

    def part(self, indices: NDArray[np.int64], description: str) -> "MaskedImages":
        """The images at `indices`."""
        paths, masks = ([names[int(index)] for index in indices] for names in (self.paths, self.masks))
        return MaskedImages(self.root, paths, masks, self.pixel_classes, self.ignored, description)

    def mask(self, index: int) -> NDArray[np.uint8]:
        """(H, W) class of every pixel of the upright image, or `IGNORED`.

        Raises DataError if the mask cannot be read, has another size than its image, or holds an unknown label or colour.
        """
        labels, size = self._labels(index), self._size(index)
        where = self.root / self.masks[index]
        if labels.shape != size:
            raise DataError(
                f"{where} has {labels.shape[1]} x {labels.shape[0]} px, its image {size[1]} x {size[0]}. A mask must have a pixel for "
                "each of the image's."
            )
        highest, count = int(labels[labels != IGNORED].max(initial=0)), len(self.pixel_classes.names)
        if highest >= count:
            raise DataError(
                f"{where} holds the label {highest}, and there are {count} classes, 0 to {count - 1}. Name all classes in {CLASSES}, a line "
                f"each, or leave one label out with --segment.ignore."
            )
        return labels

    def stored(self, index: int) -> bytes:
        """The bytes of the image file, or a sample of them, and those of its mask."""
        return super().stored(index) + read_file(self.root / self.masks[index])

    def _size(self, index: int) -> tuple[int, int]:
        with self.stream(index) as stream, PillowImage.open(stream) as opened:
            size = opened.height, opened.width
            return (opened.width, opened.height) if opened.getexif().get(ORIENTATION) in TURNED else size

    def _labels(self, index: int) -> NDArray[np.uint8]:
        where = self.root / self.masks[index]
        try:
            with PillowImage.open(where) as opened:
                pixels = np.asarray(opened)
                mode = opened.mode
        except Exception as error:  # whatever Pillow's plugins raise
            raise DataError(f"The mask {where} cannot be read ({error or type(error).__name__}).") from error
        if pixels.ndim == 3:
            pixels = self._by_colour(pixels, where, mode)
        if pixels.max(initial=0) > IGNORED or pixels.min(initial=0) < 0:
            raise DataError(f"{where} holds the label {int(pixels.max())}; labels go from 0 to 254, and 255 is ignored.")  # fmt: skip
        labels = pixels.astype(np.uint8)
        return np.where(labels == self.ignored, np.uint8(IGNORED), labels) if self.ignored >= 0 else labels

    def _by_colour(self, pixels: NDArray[np.uint8], where: Path, mode: str) -> NDArray[np.uint8]:
        table = self.pixel_classes.colours
        if not table:
            raise DataError(
                f"{where} holds colours ({mode}), not class numbers. Write {CLASSES} beside {IMAGES} and {MASKS}, a line `NAME R G B` for "
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


@dataclass(frozen=True)
class MaskSplits:
    """The parts of a data set of images and masks."""

    train: MaskedImages
    """Training images, including the validation images."""
    test: MaskedImages
    validation: NDArray[np.int64] | None = None
    """Indices in `train` of the data's own validation part; None if there is none beside a test part."""


def open_masks(spec: DataSpec, test_data: str = "", *, ignored: int = -1, seed: int = 0) -> MaskSplits:
    """Opens images and masks in their parts: folders `images` and `masks` with the same names, in each part or around the parts.

    Without a test part a fifth of the images is held out by the seed. `classes.txt` beside them names the classes, a line each:
    `NAME`, or `NAME R G B` with the colour in the masks. Without it there are as many as the highest label of the training
    masks says. Pixels of the label `ignored`, and of 255, count nowhere. VOC2012 is `voc2012-segmentation`.

    Raises DataError if folders, images or masks are missing, or a mask cannot be used.
    """
    if spec.data.removeprefix(PREFIX) == VOC:
        return _open_voc(spec, ignored)
    root = user_path(spec.data)
    if not root.is_dir():
        raise DataError(f"There is no folder {root}. Segmentation takes a folder with {IMAGES} and {MASKS}, or {VOC}.")
    classes = _read_classes(root, ignored)
    parts = find_parts(root)
    if parts is None or test_data:
        train = _open_part([root] if parts is None else parts.train.paths, classes, ignored, None)
        if test_data:
            test = user_path(test_data)
            return MaskSplits(train, _open_part([test], train.pixel_classes, ignored, None))
        order = np.random.default_rng(seed).permutation(len(train))
        if len(train) < 2:
            raise DataError(f"{train.description} has one image; give at least two, one of them to test on.")
        held_out = np.sort(order[: max(1, round(HELD_OUT * len(train)))])
        rest = np.setdiff1d(np.arange(len(train)), held_out)
        return MaskSplits(
            train.part(rest, f"{train.description}, the other four fifths"),
            train.part(held_out, f"{train.description}, a held-out fifth"),
        )
    others = [part for part in parts.tests[1:] if part.kind == "validation" and parts.tests[0].kind == "test"]
    folders = [parts.train, *others]
    opened = [_open_part(part.paths, classes, ignored, root) for part in folders]
    train = opened[0] if len(opened) == 1 else _joined(opened, classes, ignored)
    test = _open_part(parts.tests[0].paths, train.pixel_classes, ignored, root)
    validation = np.arange(len(opened[0]), len(train)) if others else None
    return MaskSplits(train, test, validation)


def _joined(parts: Sequence[MaskedImages], classes: Classes | None, ignored: int) -> MaskedImages:
    """The images of several parts with the same root."""
    paths, masks = ([name for part in parts for name in getattr(part, names)] for names in ("paths", "masks"))
    description = " and ".join(part.description for part in parts)
    return MaskedImages(parts[0].root, paths, masks, classes, ignored, description)


def _open_part(places: Sequence[Path], classes: Classes | None, ignored: int, root: Path | None) -> MaskedImages:
    """The images of one part: a folder with `images` and `masks`, or one folder in each of these."""
    if len(places) > 1:
        found = {place.parent.name: place for place in places}
        images, masks = found.get(IMAGES), found.get(MASKS)
    else:
        images, masks = places[0] / IMAGES, places[0] / MASKS
    if images is None or masks is None or not images.is_dir() or not masks.is_dir():
        inside = ", ".join(sorted(path.name for path in places[0].iterdir())[:8]) if places[0].is_dir() else "nothing"
        raise DataError(
            f"{places[0]} has no folders {IMAGES} and {MASKS}; found {inside}. Put the masks into {MASKS}, with the names of their images."
        )
    root = root or images.parent
    by_stem = {_stem(path): path for path in index_files(masks, cache_folder("folders")).paths}
    paths = list(index_files(images, cache_folder("folders")).paths)
    if not paths:
        raise DataError(f"{images} holds no images.")
    if missing := [path for path in paths if _stem(path) not in by_stem]:
        raise DataError(
            f"{len(missing)} of {len(paths)} images in {images} have no mask of the same name in {masks}, such as {missing[0]}."
        )
    inner, outer = (folder.relative_to(root).as_posix() for folder in (images, masks))
    return MaskedImages(
        root,
        [f"{inner}/{path}" for path in paths],
        [f"{outer}/{by_stem[_stem(path)]}" for path in paths],
        classes,
        ignored,
        f"folder {images.parent if images.name == IMAGES else images}",
    )


def _stem(path: str) -> str:
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{name.rpartition('.')[0]}"


def _read_classes(root: Path, ignored: int) -> Classes | None:
    """The classes in `classes.txt`; None if there is no such file. Raises DataError for a line that is neither name nor name and colour."""
    file = root / CLASSES
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


def _open_voc(spec: DataSpec, ignored: int) -> MaskSplits:
    from torchvision.datasets import VOCSegmentation

    root = spec.folder

    def opened(part: str) -> MaskedImages:
        dataset = VOCSegmentation(str(root), year="2012", image_set=part, download=spec.download)
        images, masks = ([Path(file).relative_to(root).as_posix() for file in files] for files in (dataset.images, dataset.masks))  # fmt: skip
        return MaskedImages(root, images, masks, Classes(list(VOC_CLASSES), {}, ignored), ignored, f"VOC2012 {part}")

    try:
        with one_at_a_time(root) if spec.download else contextlib.nullcontext():
            return MaskSplits(opened("train"), opened("val"))
    except (RuntimeError, OSError) as error:
        advice = "Check the connection." if spec.download else "Add --download, or name the folder that holds VOCdevkit with --data-root."  # fmt: skip
        raise DataError(
            f"{VOC} was not found in {root} ({str(error).splitlines()[0].rstrip('.')}). {advice}"
        ) from error
