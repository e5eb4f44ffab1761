"""Linear classification from a few labels of each class, on cached features."""

from byol.errors import ConfigError
from byol.evaluate.features import labels_of
from byol.evaluate.probes import FEW_LABEL_DRAWS, FEW_LABELS, few_labels_correct
from byol.evaluate.protocols.protocol import Job, Outcome
from byol.evaluate.scores import accuracy


def few_labels(job: Job) -> Outcome:
    """Accuracy of logistic regression on `few_labels.per_class` random training images of each class, mean over five draws.

    Cross-validation within the drawn images chooses the L2 strength; the smoke budget makes one draw. The interval is over
    the test images. Raises ConfigError if fewer than 2 images of each class are asked for.
    """
    per_class = job.options.few_labels.per_class
    if per_class < 2:
        raise ConfigError(f"few-labels.per-class must be at least 2, so that one can be held out; found {per_class}.")
    bank, queries = job.features("train"), job.features("test")
    draws = 1 if job.budget == "smoke" else FEW_LABEL_DRAWS
    labels = labels_of(bank)
    correct = few_labels_correct(bank.vectors, labels, queries.vectors, labels_of(queries), per_class, draws)
    counts = labels.bincount()
    smaller = int(((counts > 0) & (counts < per_class)).sum())
    return Outcome(
        metrics={"top-1": accuracy(correct)},
        settings={"per_class": per_class, "draws": draws, "interval": "over the test images"},
        differs="the paper fine-tunes all weights with few labels (protocol semi); here the encoder is frozen",
        caution=f"fewer than {per_class} training images, all of them used, in {smaller} of {int((counts > 0).sum())} classes"
        if smaller
        else "",
        variant="" if per_class == FEW_LABELS else f"{per_class}-per-class",
    )
