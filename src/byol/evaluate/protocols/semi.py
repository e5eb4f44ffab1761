"""Semi-supervised evaluation: fine-tuning of all weights on a part of the labels (BYOL section 4, appendix C.1)."""

import codecs
from pathlib import Path

import numpy as np
from torch import nn

from byol.data.source import ImageSource
from byol.data.subset import Subset, held_out, per_class, share_of_each
from byol.errors import ConfigError, DataError
from byol.evaluate.features import labels_of
from byol.evaluate.metrics import top_5, top_k
from byol.evaluate.protocols import training
from byol.evaluate.protocols.options import SemiOptions
from byol.evaluate.protocols.protocol import TRAINING_IMAGES, Job, Outcome
from byol.runtime.paths import user_path

RATES = {"paper": (0.01, 0.02, 0.05, 0.1, 0.005), "default": (0.02, 0.1, 0.5), "smoke": (0.05,)}
EPOCHS = {"paper": (30, 50), "default": (10,), "smoke": (1,)}
BATCH_SIZE = {"paper": 1024, "default": 32, "smoke": 32}


def semi(job: Job) -> Outcome:
    """Accuracy after fine-tuning on the labelled images; rate and epochs are chosen on validation images.

    Validation images come from the training images whose labels are not used, as in the paper. A batch holds all labelled
    images if they are fewer than the batch size. The optimizer is SGD with Nesterov momentum 0.9, cosine decay and no
    weight decay.

    Differs from the paper: rates are multiplied by batch / 256, as the released code does for linear evaluation; the paper
    does not mention it for this protocol.
    """
    options = job.options.semi
    labelled = labelled_part(job.train, options, job.seed)
    limit = TRAINING_IMAGES[job.budget]
    if limit and len(labelled) > limit:
        raise ConfigError(
            f"{len(labelled)} labelled images are more than the {limit:,} of budget {job.budget}: take fewer, or --budget paper."
        )
    labelled, validation = _with_validation(job, labelled)
    batch_size = min(BATCH_SIZE[job.budget], len(labelled))
    cells = [
        training.Cell(rate, training.steps_for(epochs, len(labelled), batch_size), batch_size)
        for epochs in EPOCHS[job.budget]
        for rate in RATES[job.budget]
    ]

    def start() -> nn.Module:
        return job.untrained(job.seed) if options.from_scratch else job.trainable()

    best, classifier, tried = training.search(job, start, labelled, validation, cells)
    predictions = training.scores(job, classifier, job.test)
    labels = labels_of(predictions)
    return Outcome(
        metrics={"top-1": top_k(predictions.vectors, labels, 1), **top_5(predictions.vectors, labels)},
        settings={
            "labelled_images": len(labelled),
            "labels": _words(options),
            "from_scratch": options.from_scratch,
            "rate": best.rate,
            "steps": best.steps,
            "batch_size": best.batch_size,
            "validation_images": len(validation),
            "precision": training.precision(job),
        },
        differs=job.differs("rates times batch / 256"),
        caution=training.end_of_grid([(cell["rate"], cell["accuracy"]) for cell in tried]),
        variant=("from-scratch-" if options.from_scratch else "")
        + _words(options).replace(" ", "-").replace("%", "-percent"),
        extras={"validation": tried},
    )


def _with_validation(job: Job, labelled: Subset) -> tuple[Subset, Subset]:
    """(labelled, validation) images: validation images are a tenth of the unlabelled images, or of the labelled if all are.

    Raises DataError if all images are labelled and no class has a second one.
    """
    assert job.train.labels is not None
    indices = np.setdiff1d(np.arange(len(job.train)), labelled.indices)
    all_labelled = not len(indices)
    if all_labelled:
        indices = labelled.indices
    share = min(0.1, training.PAPER_VALIDATION_IMAGES / len(indices))
    if limit := TRAINING_IMAGES[job.budget]:
        share = min(share, limit / 5 / len(indices))
    labels = job.train.labels[indices]
    if all_labelled:
        trained_on, held = (indices[part] for part in held_out(labels, share, job.seed))
        labelled = Subset(job.train, trained_on, labelled.description)
    else:
        held = indices[share_of_each(labels, share, job.seed)]
    if not len(held):
        raise DataError(
            f"{job.train.description} has one image of each class, all of them labelled, so that none is left to choose the "
            f"rate on. Give at least two images of a class."
        )
    return labelled, Subset(job.train, held, f"{job.train.description}, {len(held)} for validation")


def labelled_part(source: ImageSource, options: SemiOptions, seed: int) -> Subset:
    """Images whose labels are used: the same fraction or number of every class, or the images listed in a file.

    Raises ConfigError for an impossible fraction or number, DataError if the file lists unknown images or if fewer than
    two classes are left.
    """
    labels = source.labels
    assert labels is not None
    if options.subset:
        indices = _named(source, user_path(options.subset))
    elif options.per_class < 0:
        raise ConfigError(f"semi.per_class must be 0 (semi.fraction instead) or more; found {options.per_class}.")
    elif options.per_class:
        indices = per_class(labels, options.per_class, seed)
    else:
        if not 0 < options.fraction <= 1:
            raise ConfigError(f"semi.fraction must be above 0 and at most 1; found {options.fraction:g}.")
        indices = share_of_each(labels, options.fraction, seed)
    part = Subset(source, indices, f"{source.description}, {len(indices)} labelled")
    if len(np.unique(labels[indices])) < 2:
        raise DataError(f"The {len(indices)} labelled images are of one class; fine-tuning needs at least two.")
    return part


def _named(source: ImageSource, file: Path) -> np.ndarray:
    """Indices of the images listed in a file, one per line, by path or by a file name that only one image has.

    Published lists hold file names, which are unique in ImageNet.
    """
    wanted = {line for line in map(str.strip, _lines(file)) if line}
    places: dict[str, list[int]] = {}
    for index in range(len(source)):
        for name in {source.name(index).strip(), Path(source.name(index)).name.strip()} & wanted:
            places.setdefault(name, []).append(index)
    if doubled := next((name for name in sorted(places) if len(places[name]) > 1), ""):
        raise DataError(
            f"{doubled} in {file} is the name of {len(places[doubled])} images of {source.description}. List paths, such as {source.name(places[doubled][0])}."
        )
    if missing := sorted(wanted - set(places)):
        raise DataError(
            f"{len(missing)} of the {len(wanted)} names in {file} are no image of {source.description}: {', '.join(missing[:3])}."
        )
    return np.unique([index for found in places.values() for index in found])


def _lines(file: Path) -> list[str]:
    """The lines of a list, in UTF-8 or (with its mark) UTF-16; bytes that are neither stand for themselves, as in names of files."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"The list of labelled images {file} cannot be read ({error.strerror}).") from None
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = content.decode("utf-16", "replace")
    else:
        text = content.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")
    return text.split("\n")


def _words(options: SemiOptions) -> str:
    if options.subset:
        return Path(options.subset).stem
    return f"{options.per_class} per class" if options.per_class else f"{100 * options.fraction:g}%"
