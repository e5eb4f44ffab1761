"""Findings about a set of images: what is wrong, by their vectors, labels, and pixel measures (`byol audit`)."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from byol.data.pixel_measures import Measures, faults
from byol.evaluate.duplicates import Surroundings, near_groups
from byol.evaluate.label_errors import LabelErrors, class_pairs, cross_validated, find_label_errors
from byol.evaluate.shortcuts import Shortcut, name_pattern, shortcuts
from byol.runtime.words import counted

KINDS = {
    "wrong label": "The encoder's vectors, with a classifier that was fitted to other images, speak for another class (confident learning).",
    "leak": "Test images that a training image repeats: accuracy on them is no test.",
    "conflict": "The same picture with different labels.",
    "copy": "Images with equal pixels.",
    "near-duplicate": "Images whose vectors are nearly equal: other sizes and qualities of one picture, or shots of one scene.",
    "outlier": "Images far from even their nearest ones: rare motifs, or pictures that do not belong here.",
    "blank": "Pictures of one colour.",
    "dark": "Pictures with hardly any light.",
    "blurred": "Pictures without sharp edges.",
    "tiny": "Pictures much smaller than the others.",
    "odd shape": "Pictures much longer than wide, or the other way round, beside the others.",
    "broken": "Files that cannot be decoded.",
    "alike classes": "Pairs of classes that the vectors do not tell apart.",
    "imbalance": "Classes of very different size.",
    "shortcut": "Properties that predict the class without looking at what a picture shows.",
}
"""Every kind of finding in words, in the order of the page."""
FOLDS = 5
FEWEST_OF_CLASS = FOLDS
"""Smallest number of images of a class whose labels are checked."""
FEWEST_IMAGES = 30
"""Smallest number of images in which outliers are looked for."""
OUTLYING = 2.5
"""Distance of an outlier's `crowding` below the median, in median absolute deviations scaled to a standard deviation."""
TO_DEVIATION = 1.4826
IMBALANCED = 10
"""Ratio of the sizes of the largest and the smallest class from which classes are called imbalanced."""


@dataclass(frozen=True)
class Finding:
    """One finding about an image or, without one, about the data."""

    kind: str
    """One of `KINDS`."""
    image: int | None
    detail: str
    others: tuple[int, ...] = ()
    """Images to show beside it."""
    caption: str = ""
    """A few words below the picture; empty: the detail."""


@dataclass(frozen=True)
class AuditedImages:
    """N images with what is known of them. Test images follow the training images."""

    names: Sequence[str]
    vectors: Tensor
    """(N, D)"""
    measures: Measures
    labels: Tensor | None = None
    """(N,) class numbers; None without labels."""
    classes: Sequence[str] = ()
    num_test: int = 0
    """Number of test images, the last ones."""

    def __len__(self) -> int:
        return len(self.names)


@dataclass
class Findings:
    """All findings, and the numbers behind them."""

    found: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Lines on what could not be looked for, and why."""
    groups: list[list[int]] = field(default_factory=list)
    """Images that are copies or near-duplicates of each other."""
    accuracy: float | None = None
    """Percentage of labels that the classifier predicts for images it was not fitted to; None if labels are not checked."""
    errors: LabelErrors | None = None
    checked_classes: list[int] = field(default_factory=list)
    """Class number of each row of `errors.joint`."""
    shortcuts: list[Shortcut] = field(default_factory=list)

    def of(self, kind: str) -> list[Finding]:
        """The findings of one kind."""
        return [finding for finding in self.found if finding.kind == kind]

    @property
    def counts(self) -> dict[str, int]:
        """Number of findings by kind that has any, in the order of `KINDS`."""
        counts = Counter(finding.kind for finding in self.found)
        return {kind: counts[kind] for kind in KINDS if counts[kind]}


def audit_images(images: AuditedImages) -> Findings:
    """All findings about at least two images. Those that need labels are left out without them."""
    findings = Findings()
    unit = functional.normalize(images.vectors, dim=1)
    surroundings = Surroundings.of(unit)
    findings.groups = near_groups(surroundings, images.measures.small, images.measures.digest)
    group_of = np.arange(len(images))
    for group in findings.groups:
        group_of[group] = group[0]
    if images.labels is None:
        findings.notes.append("There are no labels: wrong labels, classes and shortcuts are not looked for.")
    else:
        _audit_labels(findings, images, images.labels, torch.from_numpy(group_of))
    findings.found += _leaks(images, unit, findings.groups)
    findings.found += _duplicates(images, unit, findings.groups)
    findings.found += _outliers(surroundings) if len(images) >= FEWEST_IMAGES else []
    findings.found += [Finding(kind, image, words) for image, kind, words in faults(images.measures)]
    findings.found.sort(key=lambda finding: list(KINDS).index(finding.kind))
    return findings


def _audit_labels(findings: Findings, images: AuditedImages, labels: Tensor, groups: Tensor) -> None:
    sizes = labels.bincount(minlength=len(images.classes))
    if small := [f"{images.classes[c]} ({sizes[c]})" for c in range(len(sizes)) if 0 < sizes[c] < FEWEST_OF_CLASS]:
        findings.notes.append(
            f"Labels of classes with fewer than {FEWEST_OF_CLASS} images are not checked: {', '.join(small)}."
        )
    checked = (sizes >= FEWEST_OF_CLASS)[labels].nonzero()[:, 0]
    classes, codes = labels[checked].unique(return_inverse=True)
    names = [images.classes[int(c)] for c in classes]
    if len(classes) < 2:
        findings.notes.append(f"Labels are not checked: that needs two classes with {FEWEST_OF_CLASS} images or more.")
        return
    log_probabilities = cross_validated(images.vectors[checked], codes, folds=FOLDS, groups=groups[checked])
    findings.accuracy = 100 * float((log_probabilities.argmax(dim=1) == codes).float().mean())
    probabilities = log_probabilities.exp()
    findings.checked_classes = classes.tolist()
    findings.errors = errors = find_label_errors(probabilities, codes)
    for row, likely in zip(errors.images.tolist(), errors.suggested.tolist(), strict=True):
        given = int(codes[row])
        words = f"labelled {names[given]}, likely {names[likely]} (probability {probabilities[row, likely]:.2f}, of {names[given]} {probabilities[row, given]:.2f})"
        caption = f"{names[given]}? likely {names[likely]}"
        findings.found.append(Finding("wrong label", int(checked[row]), words, caption=caption))
    for pair in class_pairs(probabilities, codes):
        if pair.is_alike:
            words = f"{names[pair.one]} and {names[pair.other]}: {pair.told_apart} % of their images are told apart; guessing gives 50 %"
            findings.found.append(Finding("alike classes", None, words))
    largest, smallest = int(sizes.argmax()), int(sizes.masked_fill(sizes == 0, len(labels) + 1).argmin())
    if sizes[largest] >= IMBALANCED * sizes[smallest]:
        words = f"{images.classes[largest]} has {counted(int(sizes[largest]), 'image')}, {images.classes[smallest]} has {int(sizes[smallest]):,}"
        findings.found.append(Finding("imbalance", None, words))
    findings.shortcuts = shortcuts(_properties(images, checked.numpy()), codes.numpy())
    for shortcut in findings.shortcuts:
        if shortcut.is_telling:
            findings.found.append(Finding("shortcut", None, _shortcut_words(shortcut, names)))


def _properties(images: AuditedImages, rows: np.ndarray) -> dict[str, np.ndarray | list[str]]:
    m = images.measures
    return {
        "brightness": m.brightness[rows],
        "contrast": m.contrast[rows],
        "short side in pixels": m.short_side[rows],
        "shape (long side to short side)": m.ratio[rows],
        "bytes per pixel": m.bytes_per_pixel[rows],
        "format (ending of the name)": [m.ending[row] for row in rows],
        "number of channels": m.channels[rows],
        "file name (numbers as 0)": [name_pattern(images.names[int(row)]) for row in rows],
    }


def _shortcut_words(shortcut: Shortcut, names: Sequence[str]) -> str:
    values = "; ".join(f"{value}: {share:.0f} % {names[label]}" for value, label, share in shortcut.examples)
    return f"{shortcut.name} alone predicts the class of {shortcut.accuracy} % of the images, where guessing is right for {shortcut.guessing:.0f} % ({values})"


def _leaks(images: AuditedImages, unit: Tensor, groups: list[list[int]]) -> Iterator[Finding]:
    """Test images in a group with training images; each names the training image that is nearest to it."""
    num_train = len(images) - images.num_test
    for group in groups:
        train = [image for image in group if image < num_train]
        for image in group[len(train) :] if train else []:
            place = train[int((unit[train] @ unit[image]).argmax())]
            equal = [other for other in train if images.measures.digest[other] == images.measures.digest[image]]
            place = equal[0] if equal else place
            likeness = _likeness(images, unit, image, place)
            words = f"{likeness} the training image {images.names[place]}"
            yield Finding("leak", image, words, (place,), likeness.rpartition(" ")[0])


def _duplicates(images: AuditedImages, unit: Tensor, groups: list[list[int]]) -> Iterator[Finding]:
    """Copies, near-duplicates and conflicting labels, group by group; each image names the one of its group that is nearest to it."""
    for group in groups:
        cosines = (unit[group] @ unit[group].T).fill_diagonal_(-2)
        digests = images.measures.digest[group]
        labels = [0] * len(group) if images.labels is None else images.labels[group].tolist()
        for row, image in enumerate(group):
            equal = [other for other in np.flatnonzero(digests == digests[row]).tolist() if other != row]
            nearest = group[equal[0] if equal else int(cosines[row].argmax())]
            words = f"{_likeness(images, unit, image, nearest)} {images.names[nearest]}"
            others = tuple(other for other in group if other != image)
            yield Finding("copy" if equal else "near-duplicate", image, words, others)
            if unlike := [other for other in range(len(group)) if labels[other] != labels[row]]:
                other = group[max(unlike, key=lambda place: float(cosines[row, place]))]
                words = f"labelled {_label(images, image)}; {images.names[other]} is labelled {_label(images, other)}"
                yield Finding("conflict", image, words, (other,), f"{_label(images, image)}, {_label(images, other)}")


def _likeness(images: AuditedImages, unit: Tensor, one: int, other: int) -> str:
    if images.measures.digest[one] == images.measures.digest[other]:
        return "same pixels as"
    return f"cosine {float(unit[one] @ unit[other]):.3f} with"


def _label(images: AuditedImages, image: int) -> str:
    assert images.labels is not None
    return images.classes[int(images.labels[image])]


def _outliers(surroundings: Surroundings) -> list[Finding]:
    crowding = surroundings.crowding
    median = crowding.median()
    deviation = TO_DEVIATION * (crowding - median).abs().median()
    far = (crowding < median - OUTLYING * deviation).nonzero()[:, 0]
    order = far[crowding[far].argsort(stable=True)]
    words = "mean cosine {:.2f} with its ten nearest images; the median is {:.2f}"
    return [Finding("outlier", image, words.format(float(crowding[image]), float(median))) for image in order.tolist()]
