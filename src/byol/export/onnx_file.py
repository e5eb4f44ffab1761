"""ONNX export: a file that maps floats in [0, 1] to features, with normalisation inside and any batch size."""

from pathlib import Path

import torch
from torch import Tensor, nn

from byol.encoder.encoder import Encoder
from byol.encoder.onnx_encoder import import_onnx_library
from byol.errors import EncoderError

LARGEST_SINGLE_FILE_BYTES = 1_900_000_000
"""Largest size of weights inside the ONNX file; larger ones go into a second file. Protocol buffers allow 2 GiB."""


class NormalizedEncoder(nn.Module):
    """The network in the file: normalisation and encoder, (N, C, S, S) floats in [0, 1] -> (N, num_features)."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        return self.encoder.module((images - self.encoder.mean) / self.encoder.std)


def write_onnx(path: Path, encoder: Encoder) -> None:
    """Writes an ONNX file with input `images` (batch, C, S, S) and output `features` (batch, num_features).

    Raises DependencyError if the extra `onnx` is not installed, EncoderError if torch cannot translate the network.
    """
    for name in ("onnx", "onnxscript", "onnxruntime"):
        import_onnx_library(name)
    d = encoder.description
    example = torch.zeros(2, d.in_channels, d.image_size, d.image_size)
    num_bytes = sum(tensor.nbytes for tensor in encoder.state_dict().values())
    try:
        torch.onnx.export(
            NormalizedEncoder(encoder),
            (example,),
            path,
            input_names=["images"],
            output_names=["features"],
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
