"""Training on labelled images, shared by several protocols: classifier, training loop and grid search."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from byol.data.loader import BatchPlan, DecodingFeed, ResidentFeed
from byol.data.resident import load_resident
from byol.data.source import ImageSource
from byol.data.subset import Subset, share_of_each
from byol.errors import ConfigError, EncoderError, NonFiniteError
from byol.evaluate.features import Features, extract, labels_of
from byol.evaluate.protocols.protocol import TRAINING_IMAGES, Job
from byol.nets.compiled.fused_operators import use_fused_operators
from byol.runtime.hardware import choose_channels_last, choose_kernels, choose_precision, keep_freed_memory
from byol.runtime.threads import tuned_threads
from byol.views.evaluation import centre_view
from byol.views.policy import CROP_AND_FLIP, ViewPolicy
from byol.views.views import Views, single

MOMENTUM = 0.9
PAPER_VALIDATION_IMAGES = 10_009
"""Number of ImageNet training images that the paper holds out for validation."""


@dataclass(frozen=True)
class Cell:
    """One combination of settings in a grid."""

    rate: float
    """Initial learning rate for a batch of 256; it is multiplied by batch / 256."""
    steps: int
    batch_size: int
    weight_decay: float = 0.0
    """Weight decay of the optimizer."""


class Classifier(nn.Module):
    """An encoder with a linear layer, initialised with 0: (N, C, S, S) views in [0, 1] -> (N, num_classes) logits.

    Differs from the paper: DeepMind's released code starts the layer from Haiku's truncated normal, with bias 0.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: nn.Module, num_features: int, num_classes: int, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(num_features, num_classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("mean", mean.clone())
        self.register_buffer("std", std.clone())

    def forward(self, views: Tensor) -> Tensor:
        return self.head(self.encoder((views - self.mean) / self.std))


def split(job: Job) -> tuple[Subset, Subset]:
    """(training, validation) images: the data set's own validation part, or a tenth of every class up to 10,009 images.

    If the budget has a limit, a tenth of it are validation images, and each class gives the same fraction of its images.
    """
    fitted, out = job.held_out(min(0.1, PAPER_VALIDATION_IMAGES / len(job.train)))
    limit, labels = TRAINING_IMAGES[job.budget], job.train.labels
    assert labels is not None
    if limit:
        fitted = _at_most(limit - limit // 10, fitted, labels, job.seed)
        out = _at_most(limit // 10, out, labels, job.seed)
    return (
        Subset(job.train, fitted, f"{job.train.description}, {len(fitted)} to train on"),
        Subset(job.train, out, f"{job.train.description}, {len(out)} for validation"),
    )


def _at_most(limit: int, indices: NDArray[np.int64], labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    if len(indices) <= limit:
        return indices
    return indices[share_of_each(labels[indices], limit / len(indices), seed)]


def steps_for(epochs: float, num_images: int, batch_size: int) -> int:
    """Number of steps in `epochs` passes over the images, at least one."""
    return max(1, round(epochs * num_images / batch_size))


def batches(
    job: Job, source: ImageSource, batch_size: int, steps: int, policy: ViewPolicy = CROP_AND_FLIP
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches ((B, C, S, S) views in [0, 1], (B,) labels) of all steps, on the device; the seed determines them."""
    description = job.encoder.description
    views = Views(
        single(policy, description.image_size), batch_size, job.seed, job.semantics, description.antialias,
        kernels="fused", channels_last=choose_channels_last(True, job.device),
    )  # fmt: skip
    plan = BatchPlan(batch_size, batch_size)
    resident = load_resident(source, description.in_channels, job.skipped)
    if resident is None or len(resident[0]) < batch_size:
        pins = job.device.type == "cuda"
        feed = DecodingFeed(source, description.in_channels, plan, job.seed, job.workers, job.skipped, pins=pins)
    else:
        assert source.labels is not None
        images, places = resident
        labels = torch.from_numpy(source.labels)[places].to(job.device)
        feed = ResidentFeed(images.to(job.device), labels, plan, job.seed)
    with tuned_threads(job.device) as tuner:
        for batch in feed.batches(0, steps, views.crop):
            make = views.finish if batch.cropped else views
            assert batch.labels is not None
            view_batch = make(batch.images.to(job.device), batch.step, batch.first_row)
            yield view_batch.view1, batch.labels.to(job.device)
            tuner.check()


def train_classifier(
    job: Job,
    encoder: nn.Module,
    source: ImageSource,
    cell: Cell,
    what: str,
    head: tuple[Tensor, Tensor] | None = None,
) -> Classifier:
    """Trains `encoder` with a new linear layer: SGD with Nesterov momentum, cosine decay to 0, crops and flips.

    `what` names the training in progress and errors. `head`: (C, D) weights and (C,) biases that the layer starts from,
    else 0. Raises NonFiniteError if loss or weights are not finite.
    """
    original = job.encoder
    classifier = Classifier(encoder, original.num_features, job.num_classes, original.mean, original.std)
    if head is not None:
        for parameter, value in zip((classifier.head.weight, classifier.head.bias), head, strict=True):
            parameter.data.copy_(value)
    classifier = classifier.to(job.device)
    if choose_channels_last(True, job.device):
        classifier = classifier.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    if has_fused_operators(job):
        use_fused_operators(classifier)
        keep_freed_memory(job.device)
    classifier.train()
    optimizer = torch.optim.SGD(
        classifier.parameters(), lr=1.0, momentum=MOMENTUM, nesterov=True, weight_decay=cell.weight_decay
    )
    bf16 = precision(job) == "bf16"
    for step, (views, labels) in enumerate(batches(job, source, cell.batch_size, cell.steps)):
        set_rate(optimizer, cell.rate * cell.batch_size / 256, step, cell.steps)
        with torch.autocast(job.device.type, torch.bfloat16) if bf16 else nullcontext():
            logits = classifier(views)
        loss = functional.cross_entropy(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step % 10 == 0 or step + 1 == cell.steps:
            if not math.isfinite(float(loss.detach())):
                raise NonFiniteError(f"The loss of {what} is not finite at step {step}: its rate is too high.", step)
            job.listener.work(what, step + 1, cell.steps)
    if not all(bool(t.isfinite().all()) for t in classifier.state_dict().values()):
        raise NonFiniteError(f"The weights of {what} are not finite at the end: its rate is too high.", cell.steps)
    return classifier.eval()


def pretraining_view(job: Job) -> ViewPolicy:
    """View distribution T of the pretraining. Raises ConfigError if it is unknown."""
    if job.pretraining_view is None:
        raise ConfigError(
            "linear.pretraining_views needs a run directory: the augmentations of this encoder's training are not recorded."
        )
    return job.pretraining_view


def has_fused_operators(job: Job) -> bool:
    """Whether the compiled operators of this package compute views and networks."""
    return choose_kernels("auto", job.device).kind == "fused"


def precision(job: Job) -> str:
    """Precision of a training: bf16 if the device has hardware for it, else fp32."""
    return choose_precision("auto", job.device)


def set_rate(optimizer: torch.optim.Optimizer, peak: float, step: int, steps: int) -> None:
    """Sets the learning rate of a step: cosine decay from `peak` to 0, without warm-up."""
    for group in optimizer.param_groups:
        group["lr"] = peak * 0.5 * (1 + math.cos(math.pi * step / steps))


def scores(job: Job, classifier: Callable[[Tensor], Tensor], source: ImageSource) -> Features:
    """(N, num_classes) logits of the centre views of all images, as `Features.vectors`, with the labels."""
    description = job.encoder.description

    @torch.no_grad()
    def logits(images: Tensor) -> Tensor:
        return classifier(centre_view(images, description.image_size, antialias=description.antialias))

    return extract(logits, source, description.in_channels, job.device, skipped=job.skipped)


def percent_correct(logits: Features) -> float:
    """Top-1 accuracy of logits with labels, in percent."""
    return 100 * float((logits.vectors.argmax(dim=1) == labels_of(logits)).float().mean())


def end_of_grid(results: Sequence[tuple[float, float]]) -> str:
    """Warning if the best of three or more rates is the lowest or highest one, else empty; `results`: (rate, accuracy)."""
    rates = sorted({rate for rate, _ in results})
    highest = max(accuracy for _, accuracy in results)
    best = {rate for rate, accuracy in results if accuracy == highest}
    if len(rates) < 3 or best & set(rates[1:-1]):
        return ""
    end = "highest" if rates[-1] in best else "lowest"
    return f"the {end} of {len(rates)} rates, {max(best):g}, did best on the validation images: rates beyond it may do better"


def search(
    job: Job,
    start: Callable[[], nn.Module],
    train: ImageSource,
    validation: ImageSource,
    cells: Sequence[Cell],
    head: tuple[Tensor, Tensor] | None = None,
) -> tuple[Cell, Classifier, list[dict[str, Any]]]:
    """(best cell, its classifier, settings and validation accuracy of every cell). `head`: as for `train_classifier`.

    A cell with a non-finite loss or logits counts as accuracy 0. Raises NonFiniteError or EncoderError if all cells do.
    """
    best: tuple[float, Cell, Classifier] | None = None
    results: list[dict[str, Any]] = []
    for number, cell in enumerate(cells, start=1):
        what = f"training {number} of {len(cells)}"
        encoder = start()
        try:
            classifier = train_classifier(job, encoder, train, cell, what, head)
            accuracy = percent_correct(scores(job, classifier, validation))
        except (NonFiniteError, EncoderError) as error:
            results.append({**asdict(cell), "accuracy": 0.0, "failed": str(error)})
            if len(results) == len(cells) and best is None:
                raise
            continue
        results.append({**asdict(cell), "accuracy": accuracy})
        if best is None or accuracy > best[0]:
            best = (accuracy, cell, classifier)
    assert best is not None
    return best[1], best[2], results
