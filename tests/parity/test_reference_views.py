"""The batched views, torch's and C++'s, against the slow per-image reference, over a thousand random images."""

import numpy as np
import pytest
import torch

from byol.views.augment import augment
from byol.views.parameters import draw
from byol.views.policy import T_PRIME, T, ViewPolicy
from tests.parity.reference import reference_view

BOTH = ViewPolicy(blur_probability=0.5, solarize_probability=0.5, blur_sigma=(0.1, 2.0))
SENSOR = ViewPolicy(
    blur_probability=0.5, solarize_probability=0.2, vertical_flip_probability=0.5, rotation_probability=0.75,
    band_jitter_probability=0.7, band_drop_probability=0.2, noise_probability=0.5, noise_sigma=(0.01, 0.2),
)  # fmt: skip


def random_images(count: int, channels: int, random: np.random.Generator) -> np.ndarray:
    """Noise, smooth and flat images of one random shape."""
    height, width = random.integers(1, 41, 2)
    images = random.integers(0, 256, (count, height, width, channels))
    images[::4] = random.integers(0, 256, (len(images[::4]), 1, 1, channels))
    smooth = np.linspace(0, 255, height)[:, None, None] * np.linspace(0, 1, width)[None, :, None]
    images[1::4] = smooth * random.uniform(0, 1, channels)
    return images.astype(np.uint8)


@pytest.mark.parametrize("shard", range(4))
def test_thousand_images_agree_with_the_reference(shard: int, device: torch.device) -> None:
    """50 shapes of 20 images; sizes with and without blur taps, 1, 3 and 4 channels, 8 and 16 bits, T, T' and two mixtures."""
    random = np.random.default_rng(shard)
    sizes = (8, 17, 24, 41)
    compared = 0
    for group in range(shard, 50, 4):
        images = random_images(20, (3, 3, 1, 4)[group // 4 % 4], random)
        policy, size, antialias = (
            (T, T_PRIME, BOTH, SENSOR)[(group // 4 + group // 16) % 4],
            sizes[group // 3 % 4],
            group % 5 == 0,
        )
        if group % 2:
            images = images.astype(np.uint16) * 257 - random.integers(0, 2, images.shape, dtype=np.uint16) * (
                images > 0
            )
        parameters = draw(policy, 20, seed=group, step=7, view=1)
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
        native, fused = (
            augment(pixels.to(place), parameters, policy, size, antialias=antialias, kernels=kernels).cpu()
            for kernels, place in (("native", device), ("fused", torch.device("cpu")))
        )
        for i, image in enumerate(images):
            expected = reference_view(image, parameters[i : i + 1], policy, size, antialias=antialias)
            for name, view in (("native", native[i]), ("fused", fused[i])):
                error = np.abs(view.permute(1, 2, 0).numpy() - expected).max()
                assert error < 1e-5, (name, group, i, images.shape, size, error)
            compared += 1
    assert compared >= 240
