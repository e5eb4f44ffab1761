"""The text that loads an export."""

from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image, ImageOps

from byol.export.snippet import onnx_snippet
from byol.views.evaluation import centre_view
from tests.unit.encoder.flat_encoder import encoder


def test_image_of_one_pixel_has_a_centre() -> None:
    image = torch.full((1, 3, 1, 1), 200, dtype=torch.uint8)
    torch.testing.assert_close(centre_view(image, 128), torch.full((1, 3, 128, 128), 200 / 255))
    opened = SimpleNamespace(
        open=lambda name: Image.fromarray(np.full((1, 1, 3), 200, np.uint8)), Resampling=Image.Resampling
    )
    found = {"np": np, "Image": opened, "ImageOps": ImageOps}
    lines = onnx_snippet("export", encoder(128).description).splitlines()
    exec("\n".join(line for line in lines if line.startswith(("image", "side", "left", "pixels"))), found)
    assert found["pixels"].shape == (1, 3, 128, 128)
