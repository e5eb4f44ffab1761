"""Validation of a config: the allowed range of every setting."""

import re
from math import inf
from typing import TYPE_CHECKING, Any

from byol.errors import ConfigError

if TYPE_CHECKING:
    from byol.config import Config, HeadsConfig, OptimizerConfig, ViewsConfig


MOST_VIEW_SIZE = 4096
"""Largest `views.size` in pixels. A larger value is probably a typing error, and a batch would not fit into memory."""
MOST_THREADS = 1024
"""Largest `threads`. A larger value is probably a typing error."""
MOST_OF_VIEW = {"hue": 0.5, "crop_aspect": inf, "blur_sigma": inf}
"""Largest value of a view's setting, where it is not 1."""
PAIRS = re.compile(r"(folder|name|prefix(:[^/]+)?|column:[^:]+(:.+)?)?")
"""Rules of `views.pairs`."""


def validate(config: "Config") -> None:
    """Raises ConfigError that names the first setting outside its range."""
    c = config
    _require(c.epochs > 0, "epochs", c.epochs, "above 0")
    _require(c.batch_size >= 2, "batch_size", c.batch_size, "at least 2 (batch norm needs two images)")
    _require(
        c.micro_batch_size == 0 or c.micro_batch_size >= 2,
        "micro_batch_size",
        c.micro_batch_size,
        "0, or at least 2",
    )
    _require(
        c.micro_batch_size == 0 or c.batch_size % c.micro_batch_size == 0,
        "micro_batch_size",
        c.micro_batch_size,
        f"a divisor of batch_size ({c.batch_size})",
    )
    _require(c.seed >= 0, "seed", c.seed, "0 or more")
    _require(c.workers >= -1, "workers", c.workers, "-1 or more")
    _require(0 <= c.threads <= MOST_THREADS, "threads", c.threads, f"within [0, {MOST_THREADS}]")
    _require(c.log_interval_steps >= 1, "log_interval_steps", c.log_interval_steps, "at least 1")
    _require(c.collapse_interval_steps >= 1, "collapse_interval_steps", c.collapse_interval_steps, "at least 1")
    _require(
        c.checkpoint_interval_minutes >= 0,
        "checkpoint_interval_minutes",
        c.checkpoint_interval_minutes,
        "0 or more",
    )
    _require(c.keep_checkpoints >= 1, "keep_checkpoints", c.keep_checkpoints, "at least 1")
    _require(c.online_probe_epochs >= 0, "online_probe_epochs", c.online_probe_epochs, "0 or more")
    _require(c.milestone_epochs >= 0, "milestone_epochs", c.milestone_epochs, "0 or more")
    _validate_views(c.views)
    _require(0 < c.encoder.width <= 16, "encoder.width", c.encoder.width, "above 0 and at most 16")
    _require(c.encoder.norm_groups >= 1, "encoder.norm_groups", c.encoder.norm_groups, "at least 1")
    if c.encoder.norm == "frozen" and not c.encoder.has_weights:
        raise ConfigError(
            "encoder.norm frozen needs pretrained initial weights, whose batch-norm averages it keeps. Set encoder.init or "
            "encoder.pretrained, or choose another encoder.norm."
        )
    for name in ("projector_hidden", "projector_output", "predictor_hidden", "projector_depth", "predictor_depth"):
        _require(getattr(c.heads, name) >= 1, f"heads.{name}", getattr(c.heads, name), "at least 1")
    _validate_predictor(c.heads)
    if c.method.teacher and (c.method.name, c.method.target) != ("byol", "auto"):
        raise ConfigError("method.teacher is the target of byol: leave method.name at byol and method.target at auto.")
    _require(0 <= c.method.tau_base <= 1, "method.tau_base", c.method.tau_base, "within [0, 1]")
    reference = c.method.tau_reference_batch
    _require(reference >= 0, "method.tau_reference_batch", reference, "0 or more")
    _require(c.method.temperature > 0, "method.temperature", c.method.temperature, "above 0")
    _require(c.method.beta >= 0, "method.beta", c.method.beta, "0 or more")
    _require(c.method.loss_chunk >= 0, "method.loss_chunk", c.method.loss_chunk, "0 or more")
    a = c.asymmetry
    _require(0 <= a.small_crops <= 64, "asymmetry.small_crops", a.small_crops, "within [0, 64]")
    small = a.small_size
    _require(small == 0 or small >= 8, "asymmetry.small_size", small, "0 (half of views.size) or at least 8")
    low, high = a.small_area
    _require(0 < low <= high <= 1, "asymmetry.small_area", a.small_area, "rising, within (0, 1]")
    _require(a.split_parts >= 2, "asymmetry.split_parts", a.split_parts, "at least 2")
    _validate_optimizer(c.optimizer, c.batch_size)


def _validate_predictor(heads: "HeadsConfig") -> None:
    """The settings of a computed predictor."""
    average, ridge, power = heads.predictor_average, heads.predictor_ridge, heads.predictor_power
    _require(0 <= average < 1, "heads.predictor_average", average, "within [0, 1)")
    _require(ridge >= 0, "heads.predictor_ridge", ridge, "0 or more")
    _require(power > 0, "heads.predictor_power", power, "above 0")


def _validate_views(views: "ViewsConfig") -> None:
    _require(
        views.size == 0 or 8 <= views.size <= MOST_VIEW_SIZE,
        "views.size",
        views.size,
        f"0 (chosen from the images) or from 8 to {MOST_VIEW_SIZE}",
    )
    _require(
        PAIRS.fullmatch(views.pairs) is not None,
        "views.pairs",
        repr(views.pairs),
        "folder, name, prefix, prefix:SEPARATOR, column:NAME or column:NAME:TABLE.csv",
    )
    growth = views.growth
    is_growth = all(0 < scale < 1 for scale in growth) and list(growth) == sorted(growth)
    _require(is_growth, "views.growth", growth, "within (0, 1) and in rising order")
    side = views.decode_short_side
    _require(
        side == 0 or side >= views.size, "views.decode_short_side", side, f"0, or at least views.size ({views.size})"
    )
    _require(
        side == 0 or views.semantics == "torchvision",
        "views.decode_short_side",
        side,
        "0 with views.semantics deepmind; set views.semantics to torchvision to decode smaller images",
    )
    side = views.stored_side
    _require(
        side in (-1, 0) or side >= views.size,
        "views.stored_side",
        side,
        f"-1 (chosen from the view size), 0 (off), or at least views.size ({views.size})",
    )
    side = views.encoded_size
    _require(
        side in (-1, 0) or 8 <= side <= MOST_VIEW_SIZE,
        "views.encoded_size",
        side,
        f"-1 (a quarter above the view size), 0 (the view size), or from 8 to {MOST_VIEW_SIZE}",
    )
    _require(len(views.mean) == len(views.std), "views.std", views.std, "a list with as many values as views.mean")
    _require(all(s > 0 for s in views.std), "views.std", views.std, "above 0")
    for side in ("view1", "view2"):
        for name, value in vars(getattr(views, side)).items():
            _validate_view_setting(f"views.{side}.{name}", value, MOST_OF_VIEW.get(name, 1))


def _validate_view_setting(name: str, value: float | tuple[float, float], most: float) -> None:
    if isinstance(value, tuple):
        low, high = value
        _require(0 < low <= high <= most, name, value, "rising, above 0" if most == inf else "rising, within (0, 1]")
    else:
        _require(0 <= value <= most, name, value, f"within [0, {most:g}]")


def _validate_optimizer(optimizer: "OptimizerConfig", batch_size: int) -> None:
    rate = optimizer.base_learning_rate
    _require(rate > 0, "optimizer.base_learning_rate", rate, "above 0")
    if optimizer.name == "adamw":
        _require(
            rate * batch_size / 256 <= 1e-2,
            "optimizer.base_learning_rate",
            rate,
            f"at most {2.56 / batch_size:.3g} with adamw and batches of {batch_size} (the peak rate is this times batch_size / 256; a peak of 0.001 is usual; rates like 0.3 are for lars)",
        )
    if optimizer.name == "sgd":
        _require(rate <= 2, "optimizer.base_learning_rate", rate, "at most 2 with sgd (0.05 to 0.6 is usual)")
    _require(optimizer.weight_decay >= 0, "optimizer.weight_decay", optimizer.weight_decay, "0 or more")
    _require(0 <= optimizer.momentum < 1, "optimizer.momentum", optimizer.momentum, "within [0, 1)")
    _require(optimizer.trust_coefficient > 0, "optimizer.trust_coefficient", optimizer.trust_coefficient, "above 0")
    for name in ("encoder_rate", "projector_rate", "predictor_rate"):
        _require(getattr(optimizer, name) >= 0, f"optimizer.{name}", getattr(optimizer, name), "0 or more")
    _require(optimizer.warmup_epochs >= 0, "optimizer.warmup_epochs", optimizer.warmup_epochs, "0 or more")


def _require(holds: bool, name: str, value: Any, wanted: str) -> None:
    if not holds:
        raise ConfigError(f"{name} must be {wanted}; found {value}.")
