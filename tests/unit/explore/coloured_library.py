"""The tiny encoder and the size of the library of `conftest.py`."""

from pathlib import Path

import torch

from byol.assembly.subject import Subject, subject_of
from byol.encoder.encoder import Encoder, EncoderDescription
from byol.nets.encoder import create_encoder

CPU = torch.device("cpu")
COUNT = 24


def make_encoder(seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    module = create_encoder("resnet10", in_channels=3, image_size=16, width=0.125)
    return Encoder(module, EncoderDescription("resnet10", {"width": 0.125}, 64, 3, 16, (0.5,) * 3, (0.25,) * 3, True))


def make_subject(folder: Path, seed: int = 0) -> Subject:
    """The tiny encoder with its results in a folder, which is made."""
    folder.mkdir(exist_ok=True)
    return subject_of(str(folder), make_encoder(seed))
