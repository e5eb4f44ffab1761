"""Encoders that run an ONNX export."""

import hashlib
import importlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from byol.encoder.encoder import Encoder, EncoderDescription
from byol.errors import DependencyError, EncoderError
from byol.views.evaluation import centre_view


class OnnxEncoder(Encoder):
    """An encoder whose network is an ONNX file, run by onnxruntime on the CPU."""

    def __init__(self, path: Path, description: EncoderDescription) -> None:
        super().__init__(_OnnxModule(path), description)
        self.path = path

    def preprocess(self, images: Tensor) -> Tensor:
        """Centre views: (N, C, H, W) uint8, or float in [0, 1] -> (N, C, S, S). The ONNX network normalises them."""
        return centre_view(images, self.description.image_size, antialias=self.description.antialias)

    def encode_views(self, views: Tensor) -> Tensor:
        """Features of views that are not normalised: (N, C, S, S) in [0, 1] -> (N, num_features) float32."""
        return self.module(views)

    def outputs(self, views: Tensor) -> list[Tensor]:
        """All outputs of the file for views (N, C, S, S) in [0, 1]: features (N, num_features) and, where it has them, maps (N, D, h, w)."""
        return [torch.from_numpy(output) for output in self.module.session.run(None, {"images": views.numpy()})]  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]

    def map_strides(self) -> tuple[int, ...]:
        raise EncoderError(f"{self.path} is an ONNX file, which has one size of image; load the run itself for maps.")

    def _add_weights(self, digest: "hashlib._Hash") -> None:
        for file in (self.path, self.path.with_name(f"{self.path.name}.data")):
            if file.exists():
                with file.open("rb") as content:
                    digest.update(hashlib.file_digest(content, "sha256").digest())


class _OnnxModule(nn.Module):
    def __init__(self, path: Path) -> None:
        super().__init__()
        runtime = import_onnx_library("onnxruntime")
        try:
            self.session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has its own exception classes
            raise EncoderError(f"{path} is not an ONNX file that can run ({str(error).splitlines()[0]}).") from error

    def forward(self, images: Tensor) -> Tensor:
        (features,) = self.session.run(["features"], {"images": images.float().cpu().numpy()})
        return torch.from_numpy(features).to(images.device)


def import_onnx_library(name: str) -> Any:
    """The library `name`, imported. Raises DependencyError if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise DependencyError(
            f"ONNX needs {name}, which is not installed: pip install onnx onnxscript onnxruntime."
        ) from None
