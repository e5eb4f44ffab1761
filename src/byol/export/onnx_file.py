"""The encoder as an ONNX file: floats in [0, 1] -> features, normalisation inside, any batch size."""

from pathlib import Path

import torch
from torch import Tensor, nn

from byol.encoder.encoder import Encoder
from byol.encoder.onnx_encoder import _require
from byol.errors import EncoderError

LARGEST_SINGLE_FILE_BYTES = 1_900_000_000
"""Protocol buffers end at 2 GiB; larger weights go into a file beside."""


class NormalizedEncoder(nn.Module):
    """(N, C, S, S) floats in [0, 1] -> (N, num_features): what the file holds."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        return self.encoder.module((images - self.encoder.mean) / self.encoder.std)


def write_onnx(path: Path, encoder: Encoder) -> None:
    """Writes `path` with input `images` (batch, C, S, S) and output `features` (batch, num_features).

    Raises DependencyError where the extra `onnx` is not installed, EncoderError where torch cannot translate.
    """
    for name in ("onnx", "onnxscript", "onnxruntime"):
        _require(name)
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
