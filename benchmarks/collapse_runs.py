"""Small runs, healthy and collapsed, that the thresholds of the collapse verdict are fitted on.

    python -m benchmarks.collapse_runs WORK [PART PARTS]

Trains every trial below on 10,000 of the bundled training images, 3 epochs, a network of three convolutions, and
scores it on the other 2,000 beside its own random initialisation. Results go to WORK, one folder per trial; what is there is not repeated.
With PART of PARTS a process takes every PARTS-th trial.
"""

import copy
import dataclasses
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from byol.assembly.encoder import encoder_description
from byol.assembly.networks import build_method, seeded
from byol.assembly.settings import Asked, resolve
from byol.assembly.training import build_state
from byol.config import Config, replaced
from byol.data.profile import profile
from byol.data.sample import open_sample
from byol.data.source import ImageSource, SkippedImages
from byol.data.subset import Subset, held_out, per_class
from byol.encoder.encoder import Encoder
from byol.errors import NonFiniteError
from byol.evaluate.features import extract
from byol.evaluate.linear import fit_linear
from byol.evaluate.scores import paired_difference
from byol.methods.byol import BYOL
from byol.recipes import recipe
from byol.runtime.listener import SILENT
from byol.runtime.ranks import Ranks
from byol.runtime.run_directory import RunDirectory
from byol.training.trainer import Trainer

EPOCHS = 3
WIDTH, NUM_FEATURES = 16, 64
COMMON: dict[str, Any] = {
    "epochs": EPOCHS,
    "device": "cpu",
    "precision": "fp32",
    "views.size": 20,
    "heads.projector_depth": 2,
    "heads.projector_hidden": 256,
    "heads.projector_output": 64,
    "heads.predictor_hidden": 256,
    "optimizer.warmup_epochs": 0.25,
    "checkpoint_interval_minutes": 60.0,
}


@dataclass(frozen=True)
class Trial:
    """One run: settings beside the common ones, and what is taken out of the networks."""

    settings: dict[str, Any] = field(default_factory=dict)
    predictor: bool = True
    norm: str = "all"
    """all; encoder: no batch norm in the heads; none: group norm in the encoder besides."""


def _tau(tau: float, **more: Any) -> dict[str, Any]:
    return {"method.tau_base": tau, "method.tau_schedule": "constant", **more}


def _rate(rate: float, name: str = "sgd", **more: Any) -> dict[str, Any]:
    return {"optimizer.base_learning_rate": rate, "optimizer.name": name, **more}


NO_CHANGE = {
    f"views.{view}.{name}": value
    for view in ("view1", "view2")
    for name, value in {
        "crop_area": [1.0, 1.0], "crop_aspect": [1.0, 1.0], "flip_probability": 0.0, "jitter_probability": 0.0,
        "blur_probability": 0.0, "solarize_probability": 0.0,
    }.items()
}  # fmt: skip
UNTRAINED: dict[tuple[bool, int], dict[str, Tensor]] = {}
"""What untrained encoders get right, by (group norm, seed): what else differs is no part of the encoder."""
DECAY = "optimizer.weight_decay"

TRIALS: dict[str, Trial] = {
    "base, seed 0": Trial(),
    "no predictor, tau 0": Trial(_tau(0.0), predictor=False),
    "no batch norm": Trial(norm="none"),
    "tau 0": Trial(_tau(0.0)),
    "base, seed 1": Trial({"seed": 1}),
    "no predictor, tau 0, seed 1": Trial(_tau(0.0, seed=1), predictor=False),
    "heads without norm": Trial(norm="encoder"),
    "weight decay 1": Trial({DECAY: 1.0}),
    "base, seed 2": Trial({"seed": 2}),
    "no predictor, tau 0.9": Trial(_tau(0.9), predictor=False),
    "no predictor, tau 0.99": Trial(_tau(0.99), predictor=False),
    "no predictor, no batch norm, tau 0": Trial(_tau(0.0), predictor=False, norm="none"),
    "rate 0.1": Trial(_rate(0.1)),
    "rate 2": Trial(_rate(2.0)),
    "adamw 0.01": Trial(_rate(0.01, "adamw", batch_size=256)),
    "weight decay 0.1": Trial({DECAY: 0.1}),
    "tau 0.5": Trial(_tau(0.5)),
    "tau 0.9": Trial(_tau(0.9)),
    "heads without norm, tau 0": Trial(_tau(0.0), norm="encoder"),
    "no predictor, heads without norm, tau 0.9": Trial(_tau(0.9), predictor=False, norm="encoder"),
    "tau 0.99": Trial(_tau(0.99)),
    "tau 0, seed 1": Trial(_tau(0.0, seed=1)),
    "no predictor, tau 0.98": Trial(predictor=False),
    "no predictor, no batch norm, tau 0.98": Trial(predictor=False, norm="none"),
    "batch 32": Trial({"batch_size": 32}),
    "batch 256": Trial({"batch_size": 256}),
    "weight decay 0.01": Trial({DECAY: 0.01}),
    "no batch norm, tau 0": Trial(_tau(0.0), norm="none"),
    "rate 0.2": Trial(_rate(0.2)),
    "rate 1.2": Trial(_rate(1.2)),
    "no predictor, tau 0.5": Trial(_tau(0.5), predictor=False),
    "no predictor, rate 0.05, tau 0": Trial(_tau(0.0, **_rate(0.05)), predictor=False),
    "adamw 0.001": Trial(_rate(0.001, "adamw")),
    "lars 1": Trial(_rate(1.0, "lars")),
    "no predictor, adamw 0.001, tau 0": Trial(_tau(0.0, **_rate(0.001, "adamw")), predictor=False),
    "no predictor, lars 1, tau 0.9": Trial(_tau(0.9, **_rate(1.0, "lars")), predictor=False),
    "tau 1": Trial(_tau(1.0)),
    "tau 0, rate 2": Trial(_tau(0.0, **_rate(2.0))),
    "weight decay 0.3": Trial({DECAY: 0.3}),
    "views without change": Trial(NO_CHANGE),
    "predictor of 2 hidden units": Trial({"heads.predictor_hidden": 2}),
    "projection of 4": Trial({"heads.projector_output": 4}),
    "no batch norm, rate 0.1": Trial(_rate(0.1), norm="none"),
    "no predictor, batch 256, tau 0": Trial(_tau(0.0, batch_size=256), predictor=False),
    "batch 128": Trial({"batch_size": 128}),
    "weight decay 1e-6": Trial({DECAY: 1e-6}),
    "no predictor, tau 1": Trial(_tau(1.0), predictor=False),
    "no predictor, batch 32, tau 0.9": Trial(_tau(0.9, batch_size=32), predictor=False),
    "batch 16": Trial({"batch_size": 16}),
    "base, seed 3": Trial({"seed": 3}),
    "tau 0, batch 256": Trial(_tau(0.0, batch_size=256)),
    "weight decay 0.03": Trial({DECAY: 0.03}),
    "tau 0.95": Trial({"method.tau_base": 0.95}),
    "heads without norm, rate 2": Trial(_rate(2.0), norm="encoder"),
    "lars 10": Trial(_rate(10.0, "lars")),
    "no predictor, tau 0.9, seed 1": Trial(_tau(0.9, seed=1), predictor=False),
}  # fmt: skip


def labelled_parts() -> tuple[ImageSource, ImageSource]:
    """10,000 images to train on, and the other 2,000 of the training images to score on."""
    images = open_sample("train")
    kept, out = held_out(images.labels, 1 / 6, seed=0)  # pyright: ignore[reportArgumentType]
    return Subset(images, kept, "sample, train part"), Subset(images, out, "sample, validation part")


def resolved(trial: Trial, source: ImageSource) -> Config:
    """The trial's whole config."""
    config = replaced(recipe("sample").config, {**COMMON, **trial.settings})
    seen = profile(source, SkippedImages())
    return resolve(Asked(config, recipe("sample")), seen, len(source), epochs_are_final=False).config


def encoder(seed: int) -> nn.Module:
    """Three convolutions of stride 2 with batch norm, averaged: (N, 1, S, S) -> (N, 64)."""
    layers: list[nn.Module] = []
    with seeded(seed):
        for inputs, outputs in ((1, WIDTH), (WIDTH, 2 * WIDTH), (2 * WIDTH, NUM_FEATURES)):
            layers += [nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def networks(trial: Trial, config: Config) -> BYOL:
    """The method with what the trial takes out."""
    method = build_method(config, 1, encoder(config.seed))
    if not trial.predictor:
        method.predictor = nn.Identity()
    if trial.norm != "all":
        _replace_norms(method.online.projector, lambda norm: nn.Identity())
        _replace_norms(method.predictor, lambda norm: nn.Identity())
    if trial.norm == "none":
        _replace_norms(method.online.encoder, lambda norm: nn.GroupNorm(8, norm.num_features))
    method.target = copy.deepcopy(method.online).requires_grad_(False)
    return method


def _replace_norms(module: nn.Module, make: Any) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
            setattr(module, name, make(child))
        _replace_norms(child, make)


def probe(encoder: nn.Module, train: ImageSource, validation: ImageSource, config: Config) -> dict[str, Tensor]:
    """Which validation images linear probes get right, (N,) in [0, 1]: on 3,000 labels, on 10 per class (3 draws)."""
    about = encoder_description(config, 1, NUM_FEATURES, own_module=True)
    encode, device = Encoder(encoder, about).eval(), torch.device("cpu")
    bank = extract(encode, Subset(train, np.arange(3000), "bank"), 1, device)
    queries = extract(encode, validation, 1, device)
    assert bank.labels is not None and queries.labels is not None
    few = [torch.from_numpy(per_class(bank.labels.numpy(), 10, seed=draw)) for draw in range(3)]
    probes = [fit_linear(bank.vectors[c], bank.labels[c], folds=5) for c in few]
    right = [(p.predict(queries.vectors) == queries.labels).float() for p in probes]
    linear = fit_linear(bank.vectors, bank.labels).predict(queries.vectors) == queries.labels
    return {"linear": linear.float(), "few_labels": torch.stack(right).mean(dim=0)}


def run(name: str, folder: Path, train: ImageSource, validation: ImageSource) -> dict[str, Any]:
    """Trains and scores one trial; its checkpoint stays in `folder`."""
    trial = TRIALS[name]
    config = resolved(trial, train)
    folder.mkdir(parents=True)
    method = networks(trial, config)
    start = (trial.norm == "none", config.seed)
    if start not in UNTRAINED:
        UNTRAINED[start] = probe(method.encoder, train, validation, config)
    untrained = UNTRAINED[start]
    trainer = Trainer.create(config, train, 1, method.encoder, SkippedImages(), Ranks())
    state = build_state(config, method, trainer.assembly.device, Ranks())
    trainer.assembly = dataclasses.replace(trainer.assembly, state=state)
    began = time.monotonic()
    found: dict[str, Any] = {"name": name, "random": _percent(untrained)}
    try:
        ended = trainer.run(RunDirectory(folder), SILENT)
    except NonFiniteError as error:
        return {**found, "diverged": str(error)}
    seconds = round(time.monotonic() - began, 1)
    trained = probe(method.encoder, train, validation, config)
    gain = {name: paired_difference(trained[name], untrained[name]) for name in trained}
    gains = {name: [round(x, 2) for x in (score.value, score.low, score.high)] for name, score in gain.items()}
    return {**found, "trained": _percent(trained), "gain": gains, "watch": ended.verdict, "seconds": seconds}


def _percent(correct: dict[str, Tensor]) -> dict[str, float]:
    return {name: round(100 * float(right.mean()), 2) for name, right in correct.items()}


def main(work: str, part: int = 0, parts: int = 1) -> None:
    """Makes the runs that are not there yet."""
    torch.set_num_threads(1)
    train, validation = labelled_parts()
    for number, name in list(enumerate(TRIALS))[part::parts]:
        folder = Path(work) / f"{number:02d}"
        if folder.exists():
            continue
        found = {**run(name, folder, train, validation), "trial": dataclasses.asdict(TRIALS[name])}
        (folder / "trial.json").write_text(json.dumps(found, indent=2) + "\n")
        print(json.dumps({k: v for k, v in found.items() if k != "trial"}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
