"""Weights that a training starts from: where they were trained, and of which network they are."""

from typing import Any

from byol.config import EncoderConfig
from byol.encoder.encoder_file import KEPT_AVERAGES, TRAINED_ELSEWHERE, read_description


def starts_elsewhere(encoder: EncoderConfig) -> bool:
    """Whether the weights are timm's, an import, or were trained on from these with their batch-norm averages kept.

    Raises RunError where encoder.init is not an encoder's folder.
    """
    if not encoder.init:
        return encoder.pretrained
    start = read_description(encoder.init).provenance
    return start.get("how") == TRAINED_ELSEWHERE or start.get("averages") == KEPT_AVERAGES


def network_of_start(encoder: EncoderConfig) -> dict[str, Any]:
    """Settings of the network whose weights encoder.init holds; an automatic stem is left to `settings`."""
    start = read_description(encoder.init) if encoder.init else None
    if start is None or start.name is None:
        return {}
    known = {"name": start.name, **start.settings}
    without = {"stem"} if encoder.stem == "auto" else set()
    return {f"encoder.{n}": v for n, v in known.items() if n not in without and hasattr(encoder, n)}
