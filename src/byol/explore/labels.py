"""Classes that the user gives to explored images: kept in a CSV file after every change, with undo and guesses for the others."""

import csv
import io
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from byol.errors import DataError, RunError
from byol.evaluate.head import fit_head, fit_layer
from byol.evaluate.selection import DEFAULT, STRENGTH, Known, choose
from byol.runtime.files import write_atomically

COLUMNS = ("file", "label")
MOST_FITTED = 2000
"""Largest number of labelled images that the classifier is fitted to; of more, about this many, and at least `FEWEST_OF_CLASS` of each class."""
FEWEST_OF_CLASS = 20
MOST_FREE = 2048
"""Largest number of unlabelled images among which the next ones are chosen; of more, this many random ones."""
BLOCK = 8192


@dataclass(frozen=True)
class Guesses:
    """Classes of all images by a classifier of the labelled ones."""

    classes: list[str]
    number: Tensor
    """(N,) number of each image's likeliest class."""
    probability: Tensor
    """(N,) its calibrated probability."""


@dataclass
class Labels:
    """Labels of the images of a library. Several threads may use it. Raises RunError if its file cannot be read or written."""

    path: Path
    """CSV file with the columns file and label. It is read at the start and written after every change."""
    names: list[str]
    """Name of each image."""
    unit: Tensor
    """(N, D) centred vectors of length 1."""
    first: Sequence[int] = ()
    """Images to label before all others, in this order."""
    of_image: dict[int, str] = field(default_factory=dict, init=False)
    """Class of each labelled image."""
    _elsewhere: dict[str, str] = field(default_factory=dict, init=False)
    """Rows of the file for images that the library does not have. They stay in the file."""
    _past: list[dict[int, str]] = field(default_factory=list, init=False)
    """For each change since the start the classes before it of the images that it changed; an empty class means none."""
    _guesses: "tuple[dict[int, str], Guesses | None] | None" = field(default=None, init=False)
    """The labels that the last guesses are by, and the guesses."""
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    _seen: tuple[int, ...] = field(default=(), init=False)
    """State of the file when it was last read or written."""
    changed_elsewhere: bool = field(default=False, init=False)
    """Whether the last change found that something else had written the file, and read it first."""

    def __post_init__(self) -> None:
        self._read()

    def read_again(self) -> None:
        """Reads the file if something else changed it. Nothing can be undone then."""
        with self._lock:
            self._follow()

    def give(self, images: list[int], label: str, keep: bool = False) -> None:
        """Gives the images a class, or takes theirs away if `label` is empty; with `keep` a label that is there stays. Raises DataError if there is no such image."""
        if not images or min(images) < 0 or max(images) >= len(self.names):
            raise DataError("There is no image to label.")
        self.change(dict.fromkeys(images, " ".join(label.split())[:100]), keep)

    def accept(self, images: list[int]) -> None:
        """Gives those of the images that have no class the class that is guessed for them."""
        guesses = self.guesses()
        if guesses is None:
            raise DataError("There is no guess yet: label images of two classes first.")
        self.change({image: guesses.classes[int(guesses.number[image])] for image in images}, keep=True)

    def change(self, labels: dict[int, str], keep: bool = False) -> None:
        """Gives images these classes, which `undo` takes back; an empty class means none. With `keep` a label that is there stays."""
        with self._lock:
            self._follow()
            before = self.of_image
            new = {image: label for image, label in labels.items() if not (keep and image in before)}
            after = {image: label for image, label in (before | new).items() if label}
            changed = {image for image, _ in before.items() ^ after.items()}
            self._save(after)
            self._past.append({image: before.get(image, "") for image in changed})

    def undo(self) -> None:
        """Takes the last change since the start back. Raises DataError if there is none."""
        with self._lock:
            self._follow()
            if not self._past:
                what = f"{self.path} was changed elsewhere and read again" if self.changed_elsewhere else "the start"
                raise DataError(f"There is nothing to undo since {what}.")
            labels = self.of_image | self._past[-1]
            self._save({image: label for image, label in sorted(labels.items()) if label})
            self._past.pop()

    def guesses(self) -> Guesses | None:
        """The guesses for all images; None with labels of fewer than two classes."""
        with self._lock:
            given = self.of_image
            if self._guesses is None or self._guesses[0] is not given:
                classes = sorted(set(given.values()))
                self._guesses = given, self._guess(given, classes) if len(classes) > 1 else None
            return self._guesses[1]

    def next(self, count: int) -> list[int]:
        """Up to `count` images without a label: those of `first`, then the most useful ones by the default of `byol select`."""
        given = self.of_image
        if waiting := [image for image in self.first if image not in given]:
            return waiting[:count]
        is_free = torch.ones(len(self.names), dtype=torch.bool)
        is_free[list(given)] = False
        free = is_free.nonzero()[:, 0]
        if len(free) < 2:
            return free.tolist()
        free = free[_some(len(free), MOST_FREE, seed=len(given))]
        classes = sorted(set(given.values()))
        images, numbers = _fitted(given, classes)
        known = Known(self.unit[images], numbers, classes)
        choice = choose(self.unit[free], known, min(count, len(free)), DEFAULT)
        return free[choice.images].tolist()

    def asked(self, count: int) -> dict[str, Any]:
        """The `next` images for the page; `listed`, the number in `first`; `done` of these have a label; `left`, the number of all images without one."""
        given = self.of_image
        done = sum(image in given for image in self.first)
        return {
            "images": self.next(count), "listed": len(self.first), "done": done, "left": len(self.names) - len(given),
        }  # fmt: skip

    def _guess(self, given: dict[int, str], classes: list[str]) -> Guesses:
        images, labels = _fitted(given, classes)
        vectors, strengths = self.unit[images], (STRENGTH,)
        if int(labels.bincount().max()) > 1:
            head = fit_head(vectors, labels, len(classes), strengths=strengths)
            weight, bias = head.weight, head.bias
        else:  # no image can be held out to calibrate
            weight, bias = fit_layer(vectors, labels, len(classes), strengths)
        highest = [(part @ weight.T + bias).softmax(dim=1).max(dim=1) for part in self.unit.split(BLOCK)]
        return Guesses(
            classes, torch.cat([part.indices for part in highest]), torch.cat([part.values for part in highest])
        )

    def entries(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """The labels and guesses for the page: classes, file and whether there is something to undo; for each image the number of its class or -1, of the class that is
        guessed, and that one's probability in percent.
        """
        guesses, given = self.guesses(), self.of_image
        classes = guesses.classes if guesses else sorted(set(given.values()))
        number = {name: place for place, name in enumerate(classes)}
        label = np.full(len(self.names), -1, np.int32)
        label[list(given)] = [number.get(name, -1) for name in given.values()]
        arrays: dict[str, NDArray[Any]] = {"label": label}
        if guesses:
            percent = (100 * guesses.probability).round().to(torch.uint8)
            arrays |= {"guess": guesses.number.int().numpy(), "percent": percent.numpy()}
        about = {"classes": classes, "file": str(self.path), "undo": bool(self._past)}
        return {**about, "changed_elsewhere": self.changed_elsewhere}, arrays

    def _save(self, labels: dict[int, str]) -> None:
        """Writes the file; then the labels are these."""
        rows = self._elsewhere | {self.names[image]: label for image, label in sorted(labels.items())}
        stream = io.StringIO()
        writer = csv.writer(stream)
        writer.writerows([COLUMNS, *rows.items()])
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, stream.getvalue().encode("utf-8", "surrogateescape"))
        except (OSError, RunError) as error:
            reason = getattr(error, "strerror", None) or error
            raise RunError(f"{self.path} cannot be written ({reason}): the label was not given.") from error
        self.of_image, self._seen = labels, _state(self.path)

    def _read(self) -> None:
        self._seen = _state(self.path)
        numbers = {name: image for image, name in enumerate(self.names)}
        rows = dict(_read(self.path))
        self.of_image = {numbers[name]: label for name, label in rows.items() if name in numbers}
        self._elsewhere = {name: label for name, label in rows.items() if name not in numbers}

    def _follow(self) -> None:
        """Reads the file if something else has written it since; one that was deleted is written again by the next change."""
        self.changed_elsewhere = _state(self.path) not in ((), self._seen)
        if self.changed_elsewhere:
            try:
                self._read()
            except RunError as error:
                raise RunError(f"{str(error).removesuffix('.')}: the label was not given.") from error
            self._past.clear()


def _state(path: Path) -> tuple[int, ...]:
    """Numbers that differ after the file was written; none if it is missing."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _some(count: int, most: int, seed: int) -> Tensor:
    """Up to `most` random ones of the numbers from 0 to `count` - 1, rising."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:most].sort().values


def _fitted(given: dict[int, str], classes: list[str]) -> tuple[Tensor, Tensor]:
    """((M,) labelled images, (M,) numbers of their classes) that a classifier is fitted to; each class keeps its share of `MOST_FITTED`, and `FEWEST_OF_CLASS`."""
    number = {name: place for place, name in enumerate(classes)}
    images = torch.tensor(sorted(given), dtype=torch.int64)
    labels = torch.tensor([number[given[image]] for image in images.tolist()], dtype=torch.int64)
    if len(images) <= MOST_FITTED:
        return images, labels
    kept = []
    for place in range(len(classes)):
        inside = (labels == place).nonzero()[:, 0]
        share = max(FEWEST_OF_CLASS, MOST_FITTED * len(inside) // len(images))
        kept.append(inside[_some(len(inside), share, seed=0)])
    rows = torch.cat(kept).sort().values
    return images[rows], labels[rows]


def _read(path: Path) -> list[tuple[str, str]]:
    """(file, label) of every row. Raises RunError if the file is not one of labels."""
    try:
        content = path.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror}).") from error
    rows = list(csv.reader(io.StringIO(content)))
    if not rows or tuple(rows[0]) != COLUMNS or any(len(row) != 2 for row in rows):
        raise RunError(f"{path} is not a file of labels of byol explore (columns {', '.join(COLUMNS)}); move it away.")
    return [(name, label) for name, label in rows[1:]]
