"""The encoder with its preprocessing, and the description from which it is rebuilt."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from byol.errors import BrokenImageError, DataError, EncoderError
from byol.nets.maps import choose_stage, compute_map, map_strides
from byol.runtime.normalize import normalize
from byol.runtime.number_format import NumberFormat
from byol.views.evaluation import centre_view, whole_view


@dataclass(frozen=True)
class EncoderDescription:
    """Everything needed to rebuild an encoder and to preprocess its images."""

    name: str | None
    """Name for `create_encoder`; None for a user-defined module."""
    settings: dict[str, Any]
    """The other arguments of `create_encoder`."""
    num_features: int
    in_channels: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    antialias: bool
    """Whether preprocessing resizes images with antialiasing."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """Origin of the weights (training, metrics, licence), for the model card of an export."""
    stored_side: int = 0
    """Short side in pixels to which larger image files are shrunk first, as in the training (`data.prepare_photos`); 0: none are."""
    number_format: NumberFormat | None = None
    """Rule by which the values of images with more than 8 bits become pixels, as in the training; None: by the images themselves."""


class Maps(NamedTuple):
    """Feature maps of images."""

    values: Tensor
    """(N, D, h, w) float32."""
    stride: int
    """Pixels of the resized image between neighbouring vectors."""


class Encoder(nn.Module):
    """An encoder in eval mode with its preprocessing: images of any size -> features."""

    mean: Tensor
    std: Tensor

    def __init__(self, module: nn.Module, description: EncoderDescription) -> None:
        super().__init__()
        self.module = module
        self.description = description
        self.num_features = description.num_features
        self.register_buffer("mean", torch.tensor(description.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(description.std).view(1, -1, 1, 1))
        self.eval()

    def preprocess(self, images: Tensor) -> Tensor:
        """Normalised centre views: (N, C, H, W) pixels, uint8 or uint16, or float in [0, 1] -> (N, C, S, S)."""
        view = centre_view(images, self.description.image_size, antialias=self.description.antialias)
        return normalize(view, self.mean, self.std)

    @torch.no_grad()
    def encode_views(self, views: Tensor) -> Tensor:
        """Features of views that are not normalised: (N, C, S, S) in [0, 1] -> (N, num_features) float32."""
        return self.encode_preprocessed(normalize(views, self.mean, self.std))

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Features of images: (N, C, H, W) uint8, float in [0, 1], or values of more than 8 bits -> (N, num_features) float32.

        Integers other than uint8 are values as stored: they are scaled by the rule of the training. `scaled` does that for floats.
        Raises EncoderError for anything but a tensor of 4 dimensions, DataError for values that do not fit the rule.
        """
        self._require_images(images)
        return self.encode_preprocessed(self.preprocess(self._pixels(images)))

    def scaled(self, values: Tensor) -> Tensor:
        """(N, C, H, W) pixels of values with more than 8 bits, by the rule of the training. Raises DataError if it has none."""
        rule = self.description.number_format
        if rule is None:
            raise DataError(
                f"The encoder was trained on images of 8 bits; found {values.dtype}. Give uint8, or float in [0, 1]."
            )
        try:
            images = [rule.as_pixels(image.permute(1, 2, 0).cpu().numpy()) for image in values]
        except BrokenImageError as error:
            raise DataError(f"The images cannot be encoded: {error}.") from error
        return torch.stack([torch.from_numpy(image) for image in images]).permute(0, 3, 1, 2).to(values.device)

    def _pixels(self, images: Tensor) -> Tensor:
        """The images, scaled if they are integers other than uint8."""
        return images if images.is_floating_point() or images.dtype == torch.uint8 else self.scaled(images)

    @torch.no_grad()
    def maps(self, images: Tensor, stage: int = 0, size: int = 0) -> Maps:
        """Feature maps of whole images, given as for `forward` -> (N, D, h, w) float32, and their stride.

        `stage`: 1 is the first, -1 the last, 0 the last one with a stride of at most 16 px. `size`: short side in px to which
        images are resized, rounded to a multiple of the largest stride; 0: the encoder's own `image_size`. Images may have any
        aspect ratio; beyond 8 to 1 they are squeezed.
        Raises EncoderError if the network gives no maps or has no such stage, or for anything but a tensor of 4 dimensions.
        """
        self._require_images(images)
        strides = self.map_strides()
        index = choose_stage(strides, stage)
        view = whole_view(
            self._pixels(images),
            size or self.description.image_size,
            max(strides),
            antialias=self.description.antialias,
        )
        normalised = normalize(view, self.mean, self.std).contiguous(memory_format=torch.channels_last)
        return Maps(compute_map(self.module, normalised, index).float().contiguous(), strides[index])

    def map_strides(self) -> tuple[int, ...]:
        """Stride in pixels of each stage's maps, first to last. Raises EncoderError if the network gives no maps."""
        return map_strides(self.module)

    def _require_images(self, images: Tensor) -> None:
        """Raises EncoderError unless `images` is a tensor of images with the encoder's number of channels."""
        if not isinstance(images, Tensor) or images.ndim != 4:
            shape = getattr(images, "shape", None)
            actual = type(images).__name__ + (f" of shape {tuple(shape)}" if shape is not None else "")
            raise EncoderError(
                f"An encoder takes a tensor of images, (N, C, H, W), uint8 or float in [0, 1]; found {actual}. byol.embed "
                "reads folders and files."
            )
        shape = images.shape
        _, channels, height, width = shape
        wanted = self.description.in_channels
        if channels != wanted:
            last = (
                f" or, with channels last, of {width} channels; give images.permute(0, 3, 1, 2)"
                if width == wanted
                else ""
            )
            raise EncoderError(
                f"The encoder takes images of {wanted} channels, (N, {wanted}, H, W); found {tuple(shape)}: images of {channels} "
                f"channels{last}."
            )
        if not height or not width:
            raise EncoderError(f"Images of {height} x {width} px hold nothing to encode.")

    @torch.no_grad()
    def encode_preprocessed(self, normalised: Tensor) -> Tensor:
        """Features of preprocessed images: (N, C, S, S) -> (N, num_features) float32. The channels-last layout is faster."""
        return self.module(normalised.contiguous(memory_format=torch.channels_last)).float()

    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with any weight, batch-norm average or entry of the description."""
        entries = asdict(self.description)
        for name in ("stored_side", "number_format"):  # entries that encoders of earlier versions do not have
            if not entries[name]:
                del entries[name]
        digest = hashlib.sha256(json.dumps(entries).encode())
        self._add_weights(digest)
        return digest.hexdigest()[:16]

    def _add_weights(self, digest: "hashlib._Hash") -> None:
        for name, tensor in sorted(self.module.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
