"""Classes that the user gives to explored images: kept in a CSV file after every change, with undo and guesses for the others."""

import csv
import io
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from byol.errors import DataError, RunError
from byol.evaluate.head import fit_head, fit_layer
from byol.evaluate.selection import DEFAULT, STRENGTH, Known, choose
from byol.runtime.files import write_atomically

COLUMNS = ("file", "label")


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
    of_image: dict[int, str] = field(default_factory=dict, init=False)
    """Class of each labelled image."""
    _elsewhere: dict[str, str] = field(default_factory=dict, init=False)
    """Rows of the file for images that the library does not have. They stay in the file."""
    _past: list[dict[int, str]] = field(default_factory=list, init=False)
    _guesses: "tuple[dict[int, str], Guesses | None] | None" = field(default=None, init=False)
    """The labels that the last guesses are by, and the guesses."""
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        numbers = {name: image for image, name in enumerate(self.names)}
        for name, label in _read(self.path):
            if name in numbers:
                self.of_image[numbers[name]] = label
            else:
                self._elsewhere[name] = label

    def give(self, images: list[int], label: str) -> None:
        """Gives the images a class, or takes theirs away if `label` is empty. Raises DataError if there is no such image."""
        if not images or min(images) < 0 or max(images) >= len(self.names):
            raise DataError("There is no image to label.")
        label = " ".join(label.split())[:100]
        self.change({**self.of_image, **dict.fromkeys(images, label)})

    def accept(self, images: list[int]) -> None:
        """Gives those of the images that have no class the class that is guessed for them."""
        guesses = self.guesses()
        if guesses is None:
            raise DataError("There is no guess yet: label images of two classes first.")
        new = {image: guesses.classes[int(guesses.number[image])] for image in images if image not in self.of_image}
        self.change({**self.of_image, **new})

    def change(self, labels: dict[int, str]) -> None:
        """Replaces all labels, after the present ones were kept for `undo`. An empty class means none."""
        with self._lock:
            before = self.of_image
            self.of_image = {image: label for image, label in labels.items() if label}
            self._save_or_return(before)
            self._past.append(before)

    def undo(self) -> None:
        """Takes the last change since the start back. Raises DataError if there is none."""
        with self._lock:
            if not self._past:
                raise DataError("There is nothing to undo since the start.")
            before, self.of_image = self.of_image, self._past[-1]
            self._save_or_return(before)
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
        """Up to `count` images without a label, the most useful first, by the default of `byol select`."""
        given = self.of_image
        free = torch.tensor([image for image in range(len(self.names)) if image not in given])
        if len(free) < 2:
            return free.tolist()
        images = torch.tensor(sorted(given), dtype=torch.long)
        classes = sorted(set(given.values()))
        numbers = torch.tensor([classes.index(given[image]) for image in images.tolist()], dtype=torch.long)
        known = Known(self.unit[images], numbers, classes)
        choice = choose(self.unit[free], known, min(count, len(free)), DEFAULT)
        return free[choice.images].tolist()

    def _guess(self, given: dict[int, str], classes: list[str]) -> Guesses:
        number = {name: place for place, name in enumerate(classes)}
        images = sorted(given)
        labels = torch.tensor([number[given[image]] for image in images])
        vectors, strengths = self.unit[images], (STRENGTH,)
        if int(labels.bincount().max()) > 1:
            head = fit_head(vectors, labels, len(classes), strengths=strengths)
            weight, bias = head.weight, head.bias
        else:  # no image can be held out to calibrate
            weight, bias = fit_layer(vectors, labels, len(classes), strengths)
        highest = (self.unit @ weight.T + bias).softmax(dim=1).max(dim=1)
        return Guesses(classes, highest.indices, highest.values)

    def entries(self) -> dict[str, Any]:
        """The labels and guesses for the page: class names, and for each image the number of its class or -1."""
        guesses = self.guesses()
        classes = guesses.classes if guesses else sorted(set(self.of_image.values()))
        number = {name: place for place, name in enumerate(classes)}
        label = [-1] * len(self.names)
        for image, name in self.of_image.items():
            label[image] = number[name]
        content: dict[str, Any] = {"classes": classes, "label": label, "file": str(self.path)}
        if guesses:
            content |= {
                "guess": guesses.number.tolist(),
                "probability": guesses.probability.mul(1000).round().div(1000).tolist(),
            }
        return content | {"undo": bool(self._past)}

    def _save_or_return(self, before: dict[int, str]) -> None:
        """Writes the file; if that fails the labels are those of `before` again."""
        rows = self._elsewhere | {self.names[image]: label for image, label in sorted(self.of_image.items())}
        stream = io.StringIO()
        writer = csv.writer(stream)
        writer.writerows([COLUMNS, *rows.items()])
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, stream.getvalue().encode("utf-8", "surrogateescape"))
        except (OSError, RunError) as error:
            self.of_image = before
            reason = getattr(error, "strerror", None) or error
            raise RunError(f"{self.path} cannot be written ({reason}): the label was not given.") from error


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
