"""ONNX export: a file that turns floats in [0, 1] into features, with normalisation inside and any batch size."""

from pathlib import Path

import torch
from torch import Tensor, nn

from byol.encoder.encoder import Encoder
from byol.encoder.onnx_encoder import import_onnx_library
from byol.errors import EncoderError
from byol.nets.maps import compute_map

LARGEST_SINGLE_FILE_BYTES = 1_900_000_000
"""Largest size of weights inside the ONNX file; larger ones go into a second file. Protocol buffers allow 2 GiB."""


class NormalizedEncoder(nn.Module):
    """The network in the file: normalisation and encoder, (N, C, S, S) floats in [0, 1] -> (N, num_features).

    With the index of a stage it gives that stage's maps (N, D, h, w), too.
    """

    def __init__(self, encoder: Encoder, stage: int | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.stage = stage
        self.eval()

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        normalised = (images - self.encoder.mean) / self.encoder.std
        features = self.encoder.module(normalised)
        return features if self.stage is None else (features, compute_map(self.encoder.module, normalised, self.stage))


def write_onnx(path: Path, encoder: Encoder, stage: int | None = None) -> None:
    """Writes an ONNX file with input `images` (batch, C, S, S) and output `features` (batch, num_features).

    With the index of a stage it has a second output, `maps` (batch, D, h, w).
    Raises DependencyError if the extra `onnx` is not installed, EncoderError if torch cannot translate the network.
    """
    for name in ("onnx", "onnxscript", "onnxruntime"):
        import_onnx_library(name)
    d = encoder.description
    example = torch.zeros(2, d.in_channels, d.image_size, d.image_size)
    num_bytes = sum(tensor.nbytes for tensor in encoder.state_dict().values())
    try:
        torch.onnx.export(
            NormalizedEncoder(encoder, stage),
            (example,),
            path,
            input_names=["images"],
            output_names=["features"] if stage is None else ["features", "maps"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            external_data=num_bytes > LARGEST_SINGLE_FILE_BYTES,
            verbose=False,
        )
    except Exception as error:  # torch.export raises many kinds
        cause = (str(error).splitlines() or [""])[0]
        raise EncoderError(
            f"{d.name or type(encoder.module).__name__} cannot be written as ONNX ({type(error).__name__}: {cause})."
        ) from error
