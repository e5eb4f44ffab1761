"""The untrained encoder of a training, and the description that is saved with an encoder."""

from byol.assembly.networks import build_method, encoder_settings
from byol.assembly.settings import Asked, resolve
from byol.config import Config
from byol.data.number_format import rule_of
from byol.data.profile import profile
from byol.data.source import ImageSource, SkippedImages
from byol.encoder.encoder import Encoder, EncoderDescription
from byol.encoder.encoder_file import KEPT_AVERAGES
from byol.nets.encoder import find_num_features
from byol.runtime.number_format import NumberFormat


def untrained_encoder(asked: Asked, source: ImageSource) -> Encoder:
    """The encoder with the initial weights of a training on these images."""
    data = profile(source, SkippedImages())
    config = resolve(asked, data, len(source), epochs_are_final=False).config
    module = build_method(config, data.channels).encoder
    num_features = find_num_features(module, data.channels, config.views.size)
    return Encoder(
        module, encoder_description(config, data.channels, num_features, own_module=False, rule=rule_of(source))
    )


def encoder_description(
    config: Config, channels: int, num_features: int, *, own_module: bool, rule: NumberFormat | None = None
) -> EncoderDescription:
    """The description that is saved with the encoder: architecture and preprocessing. `rule`: that of deep images."""
    is_frozen = config.encoder.norm == "frozen"
    return EncoderDescription(
        name=None if own_module else config.encoder.name,
        settings=encoder_settings(config) | ({"norm": "batch"} if is_frozen else {}),
        num_features=num_features,
        in_channels=channels,
        image_size=config.views.encoded_size or config.views.size,
        mean=_per_channel(config.views.mean, channels),
        std=_per_channel(config.views.std, channels),
        antialias=config.views.antialias,
        stored_side=config.views.stored_side,
        number_format=rule,
        provenance={"averages": KEPT_AVERAGES} if is_frozen else {},
    )


def _per_channel(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return values * channels if len(values) == 1 else values
