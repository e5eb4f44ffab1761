"""The encoder as an ONNX file: floats in [0, 1] -> features, normalisation inside, any batch size."""

import hashlib
import importlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from byol.errors import DependencyError, EncoderError
from byol.export.encoder_file import Encoder, EncoderDescription
from byol.views.evaluation import centre_view

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


class OnnxEncoder(Encoder):
    """An exported ONNX file, run by onnxruntime on the CPU; otherwise as `Encoder`."""

    def __init__(self, path: Path, description: EncoderDescription) -> None:
        super().__init__(_OnnxModule(path), description)
        self.path = path

    def preprocess(self, images: Tensor) -> Tensor:
        """(N, C, H, W) uint8, or float in [0, 1] -> (N, C, S, S) centre views; the file normalises."""
        return centre_view(images, self.description.image_size, antialias=self.description.antialias)

    def encode_views(self, views: Tensor) -> Tensor:
        """(N, C, S, S) views in [0, 1], not normalised -> (N, num_features) float32."""
        return self.module(views)

    def _add_weights(self, digest: "hashlib._Hash") -> None:
        for file in (self.path, self.path.with_name(f"{self.path.name}.data")):
            if file.exists():
                with file.open("rb") as content:
                    digest.update(hashlib.file_digest(content, "sha256").digest())


class _OnnxModule(nn.Module):
    def __init__(self, path: Path) -> None:
        super().__init__()
        runtime = _require("onnxruntime")
        try:
            self.session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own classes
            raise EncoderError(f"{path} is not an ONNX file that can run ({str(error).splitlines()[0]}).") from error

    def forward(self, images: Tensor) -> Tensor:
        (features,) = self.session.run(None, {"images": images.float().cpu().numpy()})
        return torch.from_numpy(features).to(images.device)


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


def _require(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise DependencyError(
            f"ONNX needs {name}, which is not installed: pip install onnx onnxscript onnxruntime."
        ) from None
