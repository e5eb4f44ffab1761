"""ONNX export: a file that turns floats in [0, 1] into features, with normalisation inside and any batch size."""

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from byol.encoder.classifier import Classifier
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

    def normalised(self, images: Tensor) -> Tensor:
        """(N, C, S, S) inputs of the network."""
        return (images - self.encoder.mean) / self.encoder.std

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        normalised = self.normalised(images)
        features = self.encoder.module(normalised)
        return features if self.stage is None else (features, compute_map(self.encoder.module, normalised, self.stage))


class NormalizedClassifier(NormalizedEncoder):
    """A classifier whose normalisation is part of it: (N, C, S, S) floats in [0, 1] -> ((N, num_classes) calibrated logits, their probabilities)."""

    encoder: Classifier

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.encoder.logits(self.encoder.module(self.normalised(images)))
        return logits, self.encoder.probabilities(logits)


def write_onnx(path: Path, encoder: Encoder, stage: int | None = None) -> None:
    """Writes an ONNX file with input `images` (batch, C, S, S) and output `features` (batch, num_features).

    With the index of a stage it has a second output, `maps` (batch, D, h, w).

    A classifier has the outputs `logits` and `probabilities` (batch, num_classes) in their place, and its classes as JSON in the
    entry `classes` of the file's metadata. Raises DependencyError if the extra `onnx` is not installed, EncoderError if torch cannot translate the network.
    """
    for name in ("onnx", "onnxscript", "onnxruntime"):
        import_onnx_library(name)
    d = encoder.description
    example = torch.zeros(2, d.in_channels, d.image_size, d.image_size)
    num_bytes = sum(tensor.nbytes for tensor in encoder.state_dict().values())
    is_classifier = isinstance(encoder, Classifier)
    outputs = ["logits", "probabilities"] if is_classifier else ["features"] if stage is None else ["features", "maps"]
    try:
        program = torch.onnx.export(
            NormalizedClassifier(encoder) if is_classifier else NormalizedEncoder(encoder, stage),
            (example,),
            input_names=["images"],
            output_names=outputs,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        if is_classifier:
            program.model.metadata_props["classes"] = json.dumps(encoder.classes)
        program.save(path, external_data=num_bytes > LARGEST_SINGLE_FILE_BYTES)
    except Exception as error:  # torch.export raises many kinds
        cause = (str(error).splitlines() or [""])[0]
        raise EncoderError(
            f"{d.name or type(encoder.module).__name__} cannot be written as ONNX ({type(error).__name__}: {cause})."
        ) from error
