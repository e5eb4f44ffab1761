"""Segmentation by fine-tuning all weights with an FCN head, as the paper does (BYOL appendix D.4)."""

import math
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from byol.data.masks import IGNORED, MaskedImages
from byol.encoder.encoder import Encoder
from byol.errors import ConfigError, EncoderError, NonFiniteError
from byol.evaluate.fcn import SegmentationNetwork, Trunk, dilated_trunk, fit_to
from byol.evaluate.mask_crops import MaskCrops
from byol.evaluate.protocols import training
from byol.evaluate.protocols.dense import VALIDATION_SHARE, count_by_image, held_out, sources
from byol.evaluate.protocols.finetune import log_spaced
from byol.evaluate.protocols.options import MapOptions
from byol.evaluate.protocols.protocol import Job, Outcome
from byol.evaluate.segmentation import class_ious, segmentation_scores
from byol.nets.compiled.fused_operators import use_fused_operators
from byol.runtime.hardware import choose_channels_last, keep_freed_memory
from byol.runtime.normalize import normalize
from byol.runtime.threads import tuned_threads

RATES = {"paper": log_spaced(-3, -1, 5), "default": (0.003, 0.01, 0.03), "smoke": (0.01,)}
"""Learning rates to try, by budget."""
STEPS = {"paper": 30_000, "default": 300, "smoke": 10}
BATCH_SIZE, MOMENTUM, WEIGHT_DECAY = 16, 0.9, 1e-4
PAPER_CROP = 513
"""Side of the paper's crops, in px, of images at their own size."""
PAPER_VALIDATION_SHARE = 2_119 / 10_582
"""Fraction of VOC2012's training images on which the paper chooses its settings."""
DECAYS_AT = (0.7, 0.9)
"""Fractions of the steps at which the rate falls to a tenth."""


@dataclass(frozen=True)
class _Plan:
    """Settings of the trainings."""

    side: int
    """Side of the crops in px."""
    short_side: int
    """Short side of images at scale 1, in px; 0: their own."""
    steps: int
    stride: int
    dilated: bool


def segment_finetune(job: Job) -> Outcome:
    """Mean IoU of an encoder that is fine-tuned with an FCN head on random crops.

    SGD with momentum 0.9, batches of 16, a rate that falls to a tenth at 70 % and at 90 % of the steps, weight decay 1e-4. The
    rate is chosen by mean IoU on the data's validation images, or on held-out training images; then all are trained on. The
    paper's budget takes crops of 513 px of images at their own size, the others crops of `segment.size`.
    """
    train, test = sources(job, MaskedImages)
    plan = _plan(job)
    rates = RATES[job.budget]
    best, tried = rates[0], []
    share = PAPER_VALIDATION_SHARE if job.budget == "paper" else VALIDATION_SHARE
    validation = np.arange(0)
    if len(rates) > 1:
        fitted, validation = held_out(job, len(train), share)
        parts = train.part(fitted, train.description), train.part(validation, train.description)
        best, tried = _best_rate(job, *parts, rates, plan)
    network = _train(job, train, best, plan, "training on all images")
    tested = _count(job, network, test, plan, "segmenting")
    return Outcome(
        metrics=segmentation_scores(tested, train.pixel_classes.names, job.seed),
        settings={
            "rate": best,
            "batch_size": BATCH_SIZE,
            **asdict(plan),
            "weight_decay": WEIGHT_DECAY,
            "rates": list(rates),
            "train_images": len(train),
            "validation_images": len(validation),
            "precision": training.precision(job),
            "ignored_label": job.options.segment.ignore,
        },
        differs=job.differs("whole test images, where the paper takes their central 513 px"),
        caution=_caution(plan, tried),
        extras={"validation": tried},
    )


def _plan(job: Job) -> _Plan:
    options = job.options.segment
    if options.size < 0:
        raise ConfigError(f"--segment.size must be 0 or more, in px; found {options.size}.")
    trunk = _trunk(job)
    paper = job.budget == "paper"
    side = PAPER_CROP if paper else options.size or job.encoder.description.image_size
    side = max(trunk.multiple, side // trunk.multiple * trunk.multiple)
    return _Plan(side, options.size if paper else side, STEPS[job.budget], trunk.stride, trunk.dilated)


def _trunk(job: Job) -> Trunk:
    return dilated_trunk(job.trainable(), job.encoder.description, job.options.segment.stage)


def _caution(plan: _Plan, tried: list[dict[str, Any]]) -> str:
    notes = [training.end_of_grid([(entry["rate"], entry["miou"]) for entry in tried])] if tried else []
    if plan.stride > 16:
        notes.append(
            f"the last map has a stride of {plan.stride} px: this encoder cannot be built with dilation in place of it"
        )
    return "; ".join(filter(None, notes))


def _best_rate(
    job: Job, fitted: MaskedImages, validation: MaskedImages, rates: tuple[float, ...], plan: _Plan
) -> tuple[float, list[dict[str, Any]]]:
    """(rate with the highest mean IoU on the validation images, rate and mean IoU of each). Raises NonFiniteError if none is finite."""
    tried: list[dict[str, Any]] = []
    for number, rate in enumerate(rates, start=1):
        try:
            network = _train(job, fitted, rate, plan, f"training {number} of {len(rates)}")
            counts = _count(job, network, validation, plan, "choosing the rate")
        except (NonFiniteError, EncoderError) as error:
            tried.append({"rate": rate, "miou": 0.0, "failed": str(error)})
            if len(tried) == len(rates) and all("failed" in entry for entry in tried):
                raise
            continue
        tried.append({"rate": rate, "miou": 100 * float(np.nanmean(class_ious(counts[0].sum(axis=0))))})
    return max(tried, key=lambda entry: entry["miou"])["rate"], tried


def _train(job: Job, source: MaskedImages, rate: float, plan: _Plan, what: str) -> SegmentationNetwork:
    """The trained network. `what` names the training in progress and errors. Raises NonFiniteError if loss or weights are not finite."""
    description = job.encoder.description
    crops = MaskCrops(source, description.in_channels, job.encoder.mean.flatten().cpu(), plan.side, plan.short_side, job.seed, job.skipped)  # fmt: skip
    mean, std = job.encoder.mean.to(job.device), job.encoder.std.to(job.device)
    with torch.random.fork_rng([job.device] if job.device.type == "cuda" else []), tuned_threads(job.device) as tuner:
        torch.manual_seed(job.seed)
        network = _network(job, plan, len(source.pixel_classes.names))
        optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
        milestones = [round(share * plan.steps) for share in DECAYS_AT]
        decay = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, 0.1)
        bf16 = training.precision(job) == "bf16"
        for step, (images, classes) in enumerate(crops.batches(BATCH_SIZE, plan.steps, job.workers)):
            views, truth = normalize(images.to(job.device), mean, std), classes.to(job.device)
            with torch.autocast(job.device.type, torch.bfloat16) if bf16 else nullcontext():
                scores = network(views)
            scores = functional.interpolate(scores.float(), truth.shape[1:], mode="bilinear", align_corners=False)
            known = (truth != IGNORED).sum().clamp_min(1)
            loss = functional.cross_entropy(scores, truth, ignore_index=IGNORED, reduction="sum") / known
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            decay.step()
            if step % 10 == 0 or step + 1 == plan.steps:
                if not math.isfinite(float(loss.detach())):
                    raise NonFiniteError(f"The loss of {what} is not finite at step {step}: its rate, {rate:g}, is too high.", step)  # fmt: skip
                job.listener.work(what, step + 1, plan.steps)
            tuner.check()
    if not all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values()):
        raise NonFiniteError(f"The weights of {what} are not finite at the end: its rate, {rate:g}, is too high.", plan.steps)  # fmt: skip
    return network.eval()


def _network(job: Job, plan: _Plan, num_classes: int) -> SegmentationNetwork:
    """The network before its training, on the device."""
    trunk = _trunk(job)
    trunk.module.to(job.device)
    fit_to(trunk, plan.side)
    network = SegmentationNetwork(trunk, job.encoder.description.in_channels, plan.side, num_classes).to(job.device)
    if choose_channels_last(True, job.device):
        network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    if training.has_fused_operators(job):
        use_fused_operators(network)
    keep_freed_memory(job.device)
    return network.train()


def _count(job: Job, network: SegmentationNetwork, source: MaskedImages, plan: _Plan, work: str) -> np.ndarray:
    """(1, N, 3, C) pixels of each image, as `count_pixels` counts them, of whole images."""
    encoder = Encoder(network, job.encoder.description).to(job.device)
    options = MapOptions(size=plan.short_side)
    return count_by_image(
        replace(job, encoder=encoder), source, [lambda cells: cells], options, work, own_size=not plan.short_side
    )
