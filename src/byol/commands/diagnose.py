"""Diagnosis of a run: measures of its encodings, and a verdict on collapse with its evidence."""

import copy
import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from byol.assembly.settings import build_schedule
from byol.assembly.subject import trained_images, with_trained_columns
from byol.assembly.trained_run import TrainedRun
from byol.assembly.views import plain_views
from byol.config import Config
from byol.data.prepare_photos import shrink_photos
from byol.data.profile import MIN_IMAGES
from byol.data.source import ImageSource, SkippedImages
from byol.data.spec import DataSpec
from byol.data.subset import Subset
from byol.diagnostics.cells import measure_cells
from byol.diagnostics.collapse import verdict_of_measures
from byol.diagnostics.measures import measure_encodings, measure_networks, measure_predictor
from byol.encoder.encoder import Encoder
from byol.encoder.encoder_file import load_encoder, read_description
from byol.engine.state import saved_segments
from byol.errors import ConfigError, DataError, EncoderError, RunError
from byol.evaluate.read_maps import read_maps
from byol.evaluate.view_encodings import Encode, ViewedImages, encode_views, method_encoder
from byol.methods.network import Method
from byol.recipes import recipe as find_recipe
from byol.runtime.files import finite, write_json
from byol.runtime.hardware import choose_device
from byol.runtime.listener import SILENT, Listener
from byol.runtime.paths import user_path

BATCH_SIZE = 64
"""Images per forward pass of an encoder without a run, for which no batch size is recorded."""
BETWEEN = ("networks", "predictor", "maps")
"""Groups of measures that compare several encodings, or are of feature maps."""
MOST_MAPS = 64
"""Largest number of images whose feature maps are measured."""


@dataclass(frozen=True)
class Diagnosis:
    """Measures of a run, and their verdict."""

    verdict: str
    measures: dict[str, dict[str, dict[str, float]]]
    """[mode][encoding][name]. Modes: eval, train. Encodings: representation, projection, ..., networks, predictor; maps in eval mode."""
    missing: list[str]
    """One line per measure that is missing, with the reason."""
    record: dict[str, Any]
    """Content of diagnose.json: the diagnosis and its settings."""

    @property
    def stage(self) -> str:
        """A line with the measured step; empty if it is the last step, or unknown."""
        step, total = self.record["step"], self.record["total_steps"]
        if step == total:
            return ""
        return f"measured at step {step:,} of {total:,}, the newest checkpoint that can be read"


@dataclass(frozen=True)
class _Subject:
    """Encodings to diagnose, and the views they are measured on."""

    encode: Encode
    encoder: Encoder
    config: Config
    channels: int
    batch_size: int
    missing: list[str]
    step: int | None = None
    """Step of the checkpoint; None without one."""
    total_steps: int | None = None
    """Number of steps in the whole training; None if unknown."""
    warmup_steps: int = 0


def diagnose(
    run: str | Path,
    data: str | DataSpec = "",
    *,
    num_images: int = 1000,
    num_views: int = 8,
    seed: int = 0,
    recipe: str = "small",
    device: str = "auto",
    say: Callable[[str], None] = lambda line: None,
    show: Callable[[str, int, int], None] = SILENT.work,
) -> Diagnosis:
    """Measures a run, or an encoder without a run, on `num_views` views of up to `num_images` images.

    `data`: the images; empty for those that the run was trained on. The views are those of the run; for an encoder without a run they are those of `recipe`. The computation uses float32
    and changes no weights. Batch norm sees the run's batch, or half of the images if that is smaller. `say` receives a
    line about files that are left out. Raises ConfigError for fewer than 2 views, an odd number of views, or fewer than
    16 images.
    """
    if num_views < 2 or num_views % 2 or num_images < MIN_IMAGES:
        raise ConfigError(
            f"diagnose needs an even number of views, at least 2, and at least {MIN_IMAGES} images; found {num_views} views and {num_images} images."
        )
    torch_device, listener = choose_device(device), Listener(say, show)
    source = trained_images(str(user_path(run)), data, listener=listener)
    if len(source) < MIN_IMAGES:
        raise DataError(f"{source.description} has {len(source)} images; diagnose needs at least {MIN_IMAGES}.")
    subject = _open(user_path(run), recipe, torch_device, min(num_images, len(source)))
    photos = shrink_photos(
        source, subject.channels, subject.config.views.stored_side, with_trained_columns(str(run), data)
    )
    encoded, skipped = _encode(subject, photos, num_images, num_views, seed, torch_device, listener)
    measures = {mode: _measure(encoded, mode) for mode in ("eval", "train") if f"{mode}/representation" in encoded}
    maps, without = _measure_maps(subject.encoder, photos, seed, torch_device, listener)
    if maps:
        measures["eval"]["maps"] = maps
    missing = [*subject.missing, *without, *_not_finite(measures)]
    verdict = verdict_of_measures(measures, subject.step or 0, subject.warmup_steps)
    record = {
        "run": str(run),
        "step": subject.step,
        "total_steps": subject.total_steps,
        "data": source.description,
        "num_images": len(encoded["eval/representation"]),
        "num_views": num_views,
        "num_skipped_images": len(skipped),
        "batch_size": subject.batch_size,
        "seed": seed,
        "verdict": verdict,
        "missing": missing,
        "measures": finite(measures),
    }
    return Diagnosis(verdict, measures, missing, record)


def write_diagnosis(run: str | Path, diagnosis: Diagnosis) -> Path:
    """Writes diagnose.json into the run directory or encoder folder."""

    path = user_path(run) / "diagnose.json"
    write_json(path, diagnosis.record)
    return path


def tables(diagnosis: Diagnosis) -> list[tuple[list[str], list[list[str]]]]:
    """Tables as (header, rows): one column per encoding, then the measures between networks. Cells are eval / train mode."""
    modes = list(diagnosis.measures)
    parts = diagnosis.measures[modes[0]]
    encodings = [part for part in parts if part not in BETWEEN]

    def cell(part: str, name: str) -> str:
        numbers = [diagnosis.measures[mode][part][name] for mode in modes if part in diagnosis.measures[mode]]
        return " / ".join("–" if math.isnan(number) else f"{number:.4g}" for number in numbers)

    encoding_table = (
        ["", *encodings],
        [[_words(n), *(cell(part, n) for part in encodings)] for n in parts[encodings[0]]],
    )
    between = [[f"{part}: {_words(n)}", cell(part, n)] for part in BETWEEN if part in parts for n in parts[part]]
    between_table = (["", " / ".join(f"{mode} mode" for mode in modes)], between)
    return [encoding_table, between_table] if between else [encoding_table]


def _words(name: str) -> str:
    return name.replace("_", " ")


def measure(method: Method, images: ViewedImages, num_images: int, device: torch.device) -> dict[str, Any]:
    """The measures of networks in memory in both modes, as `diagnose` computes them for a run."""
    skipped = SkippedImages()
    encoded = encode_views(_both_modes(method), images, num_images, device, skipped)
    return {mode: _measure(encoded, mode) for mode in ("eval", "train")}


def _open(run: Path, recipe: str, device: torch.device, num_images: int) -> _Subject:
    if run.is_file():
        raise RunError(f"{run} is a file. Give the run directory; its newest checkpoint is diagnosed.")
    if not (run / "run.json").exists():
        encoder = load_encoder(run).to(device)
        return _encoder_alone(encoder, find_recipe(recipe).config, f"{run} has only an encoder", num_images)
    trained = TrainedRun.open(run)
    if not trained.has_checkpoint:
        encoder = load_encoder(run).to(device)
        return _encoder_alone(encoder, trained.config, f"{run} has no checkpoint", num_images)
    if trained.own_encoder:
        raise EncoderError(
            f"{run} was started with a module of your own as encoder, which cannot be rebuilt from its name."
        )
    method, saved = trained.method_and_state()
    segments, schedule = saved_segments(saved), build_schedule(trained.config, trained.num_images)
    total = segments[-1].last_step if segments else schedule.total_steps
    batch, encode = min(trained.images_per_norm, num_images // 2), _both_modes(method.to(device))
    encoder = Encoder(copy.deepcopy(method.online.encoder), read_description(run))
    return _Subject(
        encode, encoder, trained.config, trained.channels, batch, [], saved["step"], total, schedule.warmup_steps
    )


def _encoder_alone(encoder: Encoder, config: Config, why: str, num_images: int) -> _Subject:
    about = encoder.description
    views = dataclasses.replace(
        config.views, size=about.image_size, antialias=about.antialias, stored_side=about.stored_side
    )

    def encode(view: Tensor) -> dict[str, Tensor]:
        return {"eval/representation": encoder.encode_views(view)}

    missing = [
        f"projection, target, prediction, their variances, the predictor's optimality, and train mode: {why}. "
        f"They need a checkpoint with projector, predictor and target network."
    ]
    resolved = dataclasses.replace(config, views=views)
    return _Subject(encode, encoder, resolved, about.in_channels, min(BATCH_SIZE, num_images // 2), missing)


def _both_modes(method: Method) -> Encode:
    encoders = {mode: method_encoder(method, train=mode == "train") for mode in ("eval", "train")}

    def encode(view: Tensor) -> dict[str, Tensor]:
        return {f"{mode}/{name}": t for mode, one in encoders.items() for name, t in one(view).items()}

    return encode


def _encode(
    subject: _Subject,
    source: ImageSource,
    num_images: int,
    num_views: int,
    seed: int,
    device: torch.device,
    listener: Listener,
) -> tuple[dict[str, Tensor], SkippedImages]:
    config = dataclasses.replace(subject.config, batch_size=num_images, seed=seed)
    views = plain_views(config)
    images = ViewedImages(source, subject.channels, views, num_views // 2, subject.batch_size)
    skipped = SkippedImages()
    encoded = encode_views(subject.encode, images, min(num_images, len(source)), device, skipped, listener)
    return encoded, skipped


def _measure_maps(
    encoder: Encoder, source: ImageSource, seed: int, device: torch.device, listener: Listener
) -> tuple[dict[str, float], list[str]]:
    """(measures of the maps of up to `MOST_MAPS` random whole images, a line if the encoder gives no maps)."""
    order = np.random.default_rng(seed).permutation(len(source))[:MOST_MAPS]
    images = Subset(source, np.sort(order), source.description)
    try:
        encoder.map_strides()
        batches = read_maps(encoder.to(device), images, device, skipped=SkippedImages(), listener=listener, work="maps")
        return measure_cells([values for _, group in batches for values in group], seed), []
    except EncoderError as error:
        return {}, [f"maps: {error}"]


def _measure(encoded: dict[str, Tensor], mode: str) -> dict[str, dict[str, float]]:
    parts = {name.removeprefix(f"{mode}/"): t for name, t in encoded.items() if name.startswith(f"{mode}/")}
    measures = {name: measure_encodings(views) for name, views in parts.items()}
    if "target" in parts:
        measures["networks"] = measure_networks(parts["projection"], parts["target"])
    if "prediction" in parts:
        measures["predictor"] = measure_predictor(parts["projection"], parts["prediction"], parts["target"])
    return measures


def _not_finite(measures: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    """One line per measure that is not a number in some mode, with the reason."""
    reasons = {
        "lidar": "needs more images than dimensions",
        "alpha_req": "needs at least 13 directions above rounding",
        "variance_ratio": "the source's variance is 0",
    }
    reason_by_measure = {}
    for parts in measures.values():
        for part, values in parts.items():
            for name, value in values.items():
                if math.isnan(value):
                    why = (
                        "needs more than twice as many images as dimensions"
                        if part == "predictor"
                        else reasons.get(name, "the encodings are not finite")
                    )
                    reason_by_measure[f"{part}: {_words(name)}"] = why
    return [f"{name}: {why}" for name, why in reason_by_measure.items()]
