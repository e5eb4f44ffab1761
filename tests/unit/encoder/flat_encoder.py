"""An encoder without weights: the pixels themselves."""

import torch

from byol.encoder.encoder import Encoder, EncoderDescription


def encoder(size: int = 16) -> Encoder:
    description = EncoderDescription(None, {}, 3 * size**2, 3, size, (0.5,) * 3, (0.25,) * 3, False)
    return Encoder(torch.nn.Flatten(), description)
