"""A classifier fitted to labelled images: a head on an encoder, kept with it in one folder."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from byol.assembly.subject import Subject, open_subject, subject_of, with_trained_columns
from byol.commands.evaluate import make_job
from byol.commands.provenance import provenance_of_run
from byol.commands.vectors import vectors_of
from byol.data.classes import labels_of
from byol.data.known_labels import KnownLabels, write_known
from byol.data.labelled import open_labelled, require_labels
from byol.data.source import ImageSource, SkippedImages, fingerprint, require_channels
from byol.data.spec import DataSpec
from byol.data.subset import Subset
from byol.encoder.classifier import LABELLED, UNSURE, Classifier, ClassifierDescription, save_classifier
from byol.encoder.encoder import Encoder
from byol.encoder.encoder_file import load_encoder
from byol.encoder.onnx_encoder import OnnxEncoder
from byol.errors import ConfigError, DataError, EncoderError
from byol.evaluate.certainty import Certainty, choose_threshold, guesses
from byol.evaluate.finetuned_head import finetune_head
from byol.evaluate.head import Head, fit_head, folds_of
from byol.evaluate.metrics import calibration_error
from byol.evaluate.protocols.options import WITHOUT_WEIGHTS, ProtocolOptions
from byol.evaluate.scores import Score, wilson
from byol.report.classifier import write_classifier_page
from byol.runtime.files import finite, new_folder
from byol.runtime.hardware import choose_device, describe_machine
from byol.runtime.listener import SILENT, Listener
from byol.runtime.paths import require_outside, user_path
from byol.runtime.words import counted, shortened

MOST_WRONG = 5.0
"""Default of the largest expected percentage of wrong classes among those that are named."""


@dataclass(frozen=True)
class FittedClassifier:
    """A classifier on disk, and how good it was in cross-validation."""

    path: Path
    """Folder for `byol.load_classifier`, with the page classifier.html."""
    accuracy: Score
    """Percentage of the held-out images whose most probable class was right; with several labels, of the yes and no."""
    certainty: Certainty
    words: tuple[str, ...]
    """The result in sentences."""


@dataclass(frozen=True)
class _Labelled:
    """Labelled images, and what is fitted to."""

    images: ImageSource
    targets: Tensor
    """(N,) classes, or (N, C) labels of 1, -1 and 0 (unknown)."""
    classes: tuple[str, ...]

    def counts(self) -> dict[str, int]:
        """Number of images by class."""
        several = self.targets.dim() == 2
        counts = (self.targets > 0).sum(dim=0) if several else self.targets.bincount(minlength=len(self.classes))
        return dict(zip(self.classes, counts.tolist(), strict=True))

    def part(self, rows: np.ndarray) -> "_Labelled":
        """The images at `rows`."""
        images = Subset(self.images, rows, self.images.description)
        return _Labelled(images, self.targets[torch.from_numpy(rows)], self.classes)


def fit_classifier(
    encoder: str | Path,
    data: str | DataSpec,
    out: str | Path,
    *,
    labels: str | Path = "",
    finetune: bool = False,
    most_wrong: float = MOST_WRONG,
    module: nn.Module | None = None,
    seed: int = 0,
    device: str = "auto",
    workers: int = -1,
    say: Callable[[str], None] = lambda line: None,
    show: Callable[[str, int, int], None] = SILENT.work,
) -> FittedClassifier:
    """Fits a classifier to labelled images and writes it to the new folder `out`, with its page classifier.html.

    `encoder`: a run directory, an encoder folder, a checkpoint, or `timm:MODEL:pretrained`. `data`: images with a folder for each
    class, or any other labelled data; with `labels`, a CSV file of their classes (`data.label_table`). `finetune` trains the encoder,
    too. A class is named only where at most `most_wrong` percent of the named ones are expected to be wrong. `module`: as
    for `byol.load`. Raises ConfigError, DataError, EncoderError or RunError for what the user can correct.
    """
    if not 0 <= most_wrong <= 100:
        raise ConfigError(f"--most-wrong must be a percentage, from 0 to 100; found {most_wrong:g}.")
    listener, path, name = Listener(say, show), user_path(out), str(user_path(encoder))
    spec = with_trained_columns(name, data)
    require_outside(path, spec.data)
    labelled = _open(spec, labels, listener)
    if finetune and labelled.targets.dim() == 2:
        raise ConfigError("--finetune takes one class per image; leave it out where images have several labels.")
    subject = _subject(name, labelled.images, module)
    with new_folder(path) as writing:
        fit = _fit(subject, labelled, spec, finetune, seed, device, workers, listener)
        certainty = choose_threshold(fit.head.held_out, most_wrong)
        accuracy, facts = _facts(fit, certainty, most_wrong, seed)
        weights = "" if finetune else fit.encoder.fingerprint()
        vectors = "" if finetune else subject.encoder.fingerprint()
        about = ClassifierDescription(
            fit.labelled.classes,
            fit.labelled.targets.dim() == 2,
            certainty.threshold,
            fit.encoder.fingerprint(),
            finite({**facts, "encoder": name, "vectors": vectors, "machine": describe_machine(choose_device(device))}),
            {**fit.encoder.description.provenance, **provenance_of_run(user_path(name), weights)},
        )
        kept, head = fit.encoder, fit.head
        save_classifier(writing, Classifier(kept.module, kept.description, head.weight, head.bias, about))
        known = KnownLabels.of(fit.labelled.images, fit.labelled.targets.numpy(), listener)
        write_known(writing / LABELLED, known, fit.labelled.classes)
        write_classifier_page(
            writing, path.name, about, head.held_out, fit.labelled.images, kept.description.in_channels
        )
    if twice := known.contradictory():
        listener.say(
            f"{counted(len(twice), 'picture')} {'is' if len(twice) == 1 else 'are'} there twice with different labels ({shortened(twice)}), so that neither stands: "
            f"{'it' if len(twice) == 1 else 'they'} will be named like pictures without a label"
        )
    return FittedClassifier(path, accuracy, certainty, _words(fit, accuracy, certainty, most_wrong))


@dataclass(frozen=True)
class _Fit:
    """A head, its encoder and the images that both were fitted to."""

    encoder: Encoder
    head: Head
    labelled: _Labelled
    frozen: Score | None = None
    """Accuracy of the head on the frozen encoder on the same held-out images, if the encoder was trained."""

    @property
    def held_out(self) -> str:
        """The held-out images, in words."""
        return "cross-validation" if self.frozen is None else "a held-out fifth"


def _fit(
    subject: Subject,
    labelled: _Labelled,
    spec: DataSpec,
    finetune: bool,
    seed: int,
    device: str,
    workers: int,
    listener: Listener,
) -> _Fit:
    """The head fitted to the images that can be decoded."""
    torch_device, encoder, skipped = choose_device(device), subject.encoder, SkippedImages()
    about = encoder.description
    require_channels(labelled.images, about.in_channels)
    features = vectors_of(subject, labelled.images, spec, torch_device, skipped, listener, makes=finetune)
    for broken, reason in skipped.reasons:
        listener.say(f"left out: {broken}: {reason}")
    labelled = _present(labelled.part(features.indices.numpy()))
    head, module, frozen = fit_head(features.vectors, labelled.targets, len(labelled.classes), seed=seed), None, None
    if finetune:
        images, options = labelled.images, ProtocolOptions()
        job = make_job(subject, images, images, spec, "default", options, seed, device, workers, listener)
        module, head, frozen = finetune_head(job, features.vectors, head)
    settings = about.settings  # those of timm:MODEL:pretrained would download the weights again
    about = replace(about, settings={**settings, "pretrained": False}) if settings.get("pretrained") else about
    return _Fit(Encoder(encoder.module if module is None else module, about), head, labelled, frozen)


def _open(spec: DataSpec, labels: str | Path, listener: Listener) -> _Labelled:
    """The labelled images. Raises DataError if there are no labels, or nothing to distinguish."""
    source, sets = open_labelled(spec, labels, listener)
    if sets is not None:
        labelled = _Labelled(source, torch.from_numpy(sets.astype(np.int64)), tuple(source.class_names or ()))
    else:
        require_labels(source)
        found = labels_of(source)
        assert found is not None
        labelled = _Labelled(source, torch.from_numpy(found.codes), found.names)
    if UNSURE in labelled.classes:
        raise DataError(
            f"{source.description} has a class called {UNSURE}, the name of images that get no class. Rename the class."
        )
    return _present(labelled)


def _present(labelled: _Labelled) -> _Labelled:
    """The images with those classes that have one. Raises DataError if there are not two, or nothing can be held out."""
    targets, names, what = labelled.targets, labelled.classes, labelled.images.description
    if targets.dim() == 2:
        for number, name in enumerate(names):
            if len({1, -1} & set(targets[:, number].tolist())) < 2:
                where = "on every image" if 1 in targets[:, number] else "on no image"
                raise DataError(
                    f"The label {name} is {where} of {what}, so that nothing distinguishes it. Leave it out."
                )
    else:
        present, codes = np.unique(targets.numpy(), return_inverse=True)
        if len(present) < 2:
            raise DataError(f"{what} has one class only, {names[present[0]]}; a classifier needs two at least.")
        images = Subset(labelled.images, np.arange(len(labelled.images)), what)
        images.labels, images.class_names = codes, [names[number] for number in present]
        labelled = _Labelled(images, torch.from_numpy(codes), tuple(images.class_names))
    if not folds_of(labelled.targets, 0):
        raise DataError(
            f"{what} has no class with two images, so that none can be held out to know how probable a class is. Give at "
            "least two images of a class."
        )
    return labelled


def _subject(name: str, images: ImageSource, module: nn.Module | None) -> Subject:
    """The encoder with its trainable copy. Raises EncoderError if it cannot be kept in a folder."""
    if name in WITHOUT_WEIGHTS:
        raise EncoderError(f"{name} has no network to keep in a folder. Name an encoder with weights.")
    subject = open_subject(name, images) if module is None else subject_of(name, load_encoder(name, module))
    if isinstance(subject.encoder, OnnxEncoder):
        raise EncoderError(f"{name} is an ONNX export, which takes no head. Name the run that it was exported from.")
    return subject


def _facts(fit: _Fit, certainty: Certainty, most_wrong: float, seed: int) -> tuple[Score, dict[str, Any]]:
    """(accuracy on held-out images, facts for classifier.json)."""
    held_out = fit.head.held_out
    after, before = (guesses(held_out, calibrated=calibrated) for calibrated in (True, False))
    right = after.correct if held_out.labels.dim() == 1 else after.correct == (after.probability > 0.5)
    accuracy = wilson(float(right.float().mean()), len(right) / after.repeats)
    return accuracy, {
        "finetuned": fit.frozen is not None,
        "strength": fit.head.strength,
        "temperature": held_out.temperature,
        "seed": seed,
        "held_out": {
            "images": len(held_out.rows.unique()),
            "accuracy": asdict(accuracy),
            "calibration_error": calibration_error(after.probability, after.correct, after.bins),
            "calibration_error_before": calibration_error(before.probability, before.correct, before.bins),
        },
        "most_wrong": most_wrong,
        "named": certainty.named,
        "wrong": None if certainty.wrong is None else asdict(certainty.wrong),
        "data": _about(fit.labelled),
    }


def _about(labelled: _Labelled) -> dict[str, Any]:
    """The labelled images, for classifier.json."""
    return {
        "images": labelled.images.description,
        "num_images": len(labelled.images),
        "fingerprint": fingerprint(labelled.images),
        "per_class": labelled.counts(),
    }


def _words(fit: _Fit, accuracy: Score, certainty: Certainty, most_wrong: float) -> tuple[str, ...]:
    """The result in sentences."""
    several, counts = fit.labelled.targets.dim() == 2, fit.labelled.counts()
    kind = f"{len(counts)} labels, yes or no" if several else f"{len(counts)} classes"
    lines = [f"{len(fit.labelled.images):,} images, {kind}: {accuracy} % right in {fit.held_out}"]
    if fit.frozen is not None:
        better = (
            "" if accuracy.value > fit.frozen.value else ": no better with the encoder trained, leave --finetune out"
        )
        lines.append(f"with the frozen encoder {fit.frozen} % of the same images{better}")
    if single := [name for name, count in counts.items() if count == 1]:
        lines.append(
            f"fitted but never held out, since they have one image, so that nothing is known of their errors: {shortened(single)}"
        )
    if certainty.wrong is None:
        lines.append(
            f"nothing is named: for at most {most_wrong:g} % wrong there are too few labelled images or too many errors. Label more, "
            f"train the encoder longer, or allow more with --most-wrong; --threshold 0 of predict names every image, about {accuracy.value:.0f} % right"
        )
    else:
        named = f"{certainty.named:.0f} % of the {'labels found' if several else 'images named'}"
        lines.append(
            f"{named}, at most {most_wrong:g} % of the names expected to be wrong (in {fit.held_out} {certainty.wrong} %); "
            f"the rest {UNSURE}"
        )
    return tuple(lines)
