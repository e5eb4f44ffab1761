"""Initial weights of a training: their origin and their architecture."""

from typing import Any

from byol.config import EncoderConfig
from byol.encoder.encoder_file import KEPT_AVERAGES, TRAINED_ELSEWHERE, read_description


def starts_elsewhere(encoder: EncoderConfig) -> bool:
    """Whether the initial weights were trained elsewhere: timm's, imported, or trained further with frozen batch-norm averages.

    Raises RunError if encoder.init is not the folder of an encoder.
    """
    if not encoder.init:
        return encoder.pretrained
    start = read_description(encoder.init).provenance
    return start.get("how") == TRAINED_ELSEWHERE or start.get("averages") == KEPT_AVERAGES


def network_of_start(encoder: EncoderConfig) -> dict[str, Any]:
    """Dotted settings of the architecture in encoder.init, without the stem if that is automatic. Empty without encoder.init."""
    start = read_description(encoder.init) if encoder.init else None
    if start is None or start.name is None:
        return {}
    known = {"name": start.name, **start.settings}
    without = {"stem"} if encoder.stem == "auto" else set()
    return {f"encoder.{n}": v for n, v in known.items() if n not in without and hasattr(encoder, n)}
