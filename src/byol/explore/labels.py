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
from byol.evaluate.linear import fit_linear
from byol.runtime.files import write_atomically

COLUMNS = ("file", "class")
LEAST_OF_CLASS = 5
"""Smallest number of labelled images of each class with which the classifier's strength is chosen among several."""
MOST_FITTED = 5000
"""Largest number of labelled images to which the classifier is fitted."""


@dataclass
class Labels:
    """Labels of the images of a library. Several threads may use it. Raises RunError if its file cannot be read or written."""

    path: Path
    """CSV file with the columns file and class. It is read at the start and written after every change."""
    names: list[str]
    """Name of each image."""
    unit: Tensor
    """(N, D) centred vectors of length 1."""
    of_image: dict[int, str] = field(default_factory=dict, init=False)
    """Class of each labelled image."""
    _elsewhere: dict[str, str] = field(default_factory=dict, init=False)
    """Rows of the file for images that the library does not have. They stay in the file."""
    _past: list[dict[int, str]] = field(default_factory=list, init=False)
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
        classes, numbers, _ = guesses
        new = {image: classes[int(numbers[image])] for image in images if image not in self.of_image}
        self.change({**self.of_image, **new})

    def change(self, labels: dict[int, str]) -> None:
        """Replaces all labels, after the present ones were kept for `undo`. An empty class means none."""
        with self._lock:
            before = self.of_image
            self.of_image = {image: label for image, label in labels.items() if label}
            self._save(before)
            self._past.append(before)

    def undo(self) -> None:
        """Takes the last change since the start back. Raises DataError if there is none."""
        with self._lock:
            if not self._past:
                raise DataError("There is nothing to undo since the start.")
            before, self.of_image = self.of_image, self._past[-1]
            self._save(before)
            self._past.pop()

    def guesses(self) -> tuple[list[str], Tensor, Tensor] | None:
        """(class names, (N,) number of the likeliest class, (N,) its probability) of all images; None with fewer than two classes."""
        given = self.of_image
        classes = sorted(set(given.values()))
        if len(classes) < 2:
            return None
        probabilities = self._probabilities(given, classes)
        highest = probabilities.max(dim=1)
        return classes, highest.indices, highest.values

    def uncertainty(self) -> Tensor | None:
        """(N,) one minus the margin between the two likeliest classes; None with fewer than two classes."""
        classes = sorted(set(self.of_image.values()))
        if len(classes) < 2:
            return None
        top = self._probabilities(self.of_image, classes).topk(2, dim=1).values
        return 1 - (top[:, 0] - top[:, 1])

    def entries(self) -> dict[str, Any]:
        """The labels and guesses for the page: class names, and for each image the number of its class or -1."""
        guesses = self.guesses()
        classes = guesses[0] if guesses else sorted(set(self.of_image.values()))
        number = {name: place for place, name in enumerate(classes)}
        label = [-1] * len(self.names)
        for image, name in self.of_image.items():
            label[image] = number[name]
        content: dict[str, Any] = {"classes": classes, "label": label, "file": str(self.path)}
        if guesses:
            content |= {"guess": guesses[1].tolist(), "probability": [round(p, 3) for p in guesses[2].tolist()]}
        return content | {"undo": bool(self._past)}
