"""Page about a classifier: its errors in cross-validation, the hardest images, and how far its probabilities hold."""

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from byol.data.source import Image, ImageSource
from byol.encoder.classifier import ClassifierDescription
from byol.errors import BrokenImageError
from byol.evaluate.certainty import choose_threshold, guesses
from byol.evaluate.head import HeldOut
from byol.evaluate.metrics import calibration_curve
from byol.evaluate.scores import Score, wilson
from byol.report.classes import MOST_CLASSES
from byol.report.page import render_classifier
from byol.report.tile import SMALL_SIDE, sheet, tile
from byol.runtime.files import write_atomically

PAGE = "classifier.html"
LEVELS = (1.0, 2.0, 5.0, 10.0, 20.0)
"""Largest expected percentages of wrong names that are compared."""
MOST_HARD, SIDE = 48, 112
"""Largest number of hardest images, at most half of all, and the side of their thumbnails in pixels."""


def write_classifier_page(
    folder: Path, title: str, about: ClassifierDescription, held_out: HeldOut, images: ImageSource, channels: int
) -> None:
    """Writes classifier.html into `folder`. `images`: the labelled images that `held_out` counts, in the encoder's `channels`."""
    rows, labels, found = per_image(held_out)
    hard = _hardest(rows, labels, found, about, images, channels)
    page = render_classifier(
        title=title,
        about=about,
        facts=about.fit,
        accuracy=Score(**about.fit["held_out"]["accuracy"]),
        wrong=Score(**about.fit["wrong"]) if about.fit["wrong"] else None,
        levels=_levels(held_out, about.fit["most_wrong"]),
        confusion=None if about.several else _confusion(labels, found, about.classes),
        classes=_several(labels, found, about) if about.several else _classes(labels, found, about.classes),
        curves={
            name: [
                (round(100 * x, 2), round(100 * y, 2), share)
                for x, y, share in calibration_curve(g.probability, g.correct, g.bins)
            ]
            for name, g in (("before", guesses(held_out, calibrated=False)), ("after", guesses(held_out)))
        },
        hard=hard,
        written=time.strftime("%Y-%m-%d %H:%M"),
    )
    write_atomically(folder / PAGE, page.encode(errors="backslashreplace"))


def per_image(held_out: HeldOut) -> tuple[Tensor, Tensor, Tensor]:
    """((I,) indices of the held-out images, (I,) or (I, C) labels, (I, C) mean probabilities over their predictions)."""
    rows, place, counts = held_out.rows.unique(return_inverse=True, return_counts=True)
    found = held_out.probabilities().double()
    mean = torch.zeros(len(rows), found.shape[1], dtype=found.dtype).index_add_(0, place, found) / counts[:, None]
    labels = held_out.labels.new_empty(len(rows), *held_out.labels.shape[1:])
    labels[place] = held_out.labels
    return rows, labels, mean


def _levels(held_out: HeldOut, chosen: float) -> list[dict[str, Any]]:
    """Named images and wrong names at several levels of caution."""
    rows = []
    for level in sorted({*LEVELS, chosen}):
        found = choose_threshold(held_out, level)
        rows.append({"most_wrong": level, "named": found.named, "wrong": found.wrong, "chosen": level == chosen})
    return rows


def _confusion(labels: Tensor, found: Tensor, classes: tuple[str, ...]) -> dict[str, Any]:
    """Names and rows of the confusion matrix; of more than MOST_CLASSES classes, those with most images."""
    count = len(classes)
    counts = torch.bincount(labels * count + found.argmax(dim=1), minlength=count**2).view(count, count)
    shown = labels.bincount(minlength=count).argsort(descending=True, stable=True)[:MOST_CLASSES].sort().values
    cells = counts[shown][:, shown]
    shares = cells / counts[shown].sum(dim=1, keepdim=True).clamp_min(1)
    return {
        "names": [classes[number] for number in shown.tolist()],
        "rows": [list(zip(*row, strict=True)) for row in zip(cells.tolist(), shares.tolist(), strict=True)],
        "left_out": count - len(shown),
    }


def _classes(labels: Tensor, found: Tensor, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """Recall and precision of each class."""
    predicted, rows = found.argmax(dim=1), []
    for number, name in enumerate(classes):
        inside, named = labels == number, predicted == number
        right = int((inside & named).sum())
        rows.append(_row(name, right, int(inside.sum()), int(named.sum())))
    return rows


def _several(labels: Tensor, found: Tensor, about: ClassifierDescription) -> list[dict[str, Any]]:
    """Recall and precision of each label at the threshold, on the images where it is known."""
    rows = []
    for number, name in enumerate(about.classes):
        inside, known = labels[:, number] > 0, labels[:, number] != 0
        named = (found[:, number] > about.threshold) & known
        rows.append(_row(name, int((inside & named).sum()), int(inside.sum()), int(named.sum())))
    return rows


def _row(name: str, right: int, images: int, named: int) -> dict[str, Any]:
    recall = wilson(right / images, images) if images else None
    return {"name": name, "images": images, "recall": recall, "precision": 100 * right / named if named else None}


def _hardest(
    rows: Tensor, labels: Tensor, found: Tensor, about: ClassifierDescription, images: ImageSource, channels: int
) -> dict[str, Any]:
    """The images with the least probability for their own label, with thumbnails; broken ones are left out."""
    if about.several:
        own, labelled = torch.where(labels > 0, found, 1 - found).masked_fill(labels == 0, 2).min(dim=1)
        guessed = labelled
        wrong = own < 0.5
    else:
        own, labelled, guessed = found.gather(1, labels[:, None])[:, 0], labels, found.argmax(dim=1)
        wrong = guessed != labels
    tiles: list[Image] = []
    cards: list[dict[str, Any]] = []
    side, most = 0, min(MOST_HARD, -(-len(rows) // 2))
    for place in own.argsort(stable=True).tolist():
        try:
            pixels = images.read(int(rows[place]), channels)
        except BrokenImageError:
            continue
        side = side or min(SIDE, max(pixels.shape[:2]))
        tiles.append(tile(pixels, side))
        label, guess = about.classes[int(labelled[place])], int(guessed[place])
        lacks = about.several and labels[place, guess] < 0
        cards.append(
            {
                "name": images.name(int(rows[place])),
                "label": f"not {label}" if lacks else label,
                "guess": f"{about.classes[guess]} {found[place, guess]:.2f}",
                "wrong": bool(wrong[place]),
            }
        )
        if len(tiles) == most:
            break
    drawn = sheet(tiles) if tiles else None
    shown = side if side > SMALL_SIDE else side * max(1, round(SIDE / max(side, 1)))
    for number, card in enumerate(cards):
        assert drawn is not None
        card["place"] = f"{-(number % drawn.columns) * shown}px {-(number // drawn.columns) * shown}px"
    return {"cards": cards, "sheet": drawn, "side": shown}
