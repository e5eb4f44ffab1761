"""Colour operations and blur, by hand and against torchvision."""

import numpy as np
import pytest
import torch

from byol.views import color

IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (12, 3, 40, 48), dtype=np.uint8))


def test_color_operations_by_hand() -> None:
    pixel = torch.tensor([0.2, 0.4, 0.9]).view(1, 3, 1, 1)
    assert torch.allclose(color.add_brightness(pixel, torch.tensor([0.2])).flatten(), torch.tensor([0.4, 0.6, 1.0]))
    assert abs(float(color.luma(pixel)) - (0.2989 * 0.2 + 0.5870 * 0.4 + 0.1140 * 0.9)) < 1e-6
    assert torch.allclose(color.solarize(pixel).flatten(), torch.tensor([0.2, 0.4, 0.1]))
    assert torch.allclose(
        color.scale_brightness_torchvision(pixel, torch.tensor([0.5])).flatten(), torch.tensor([0.1, 0.2, 0.45])
    )


@pytest.mark.parametrize("operation", ["brightness", "contrast", "saturation", "hue"])
def test_color_torchvision_forms_agree_with_torchvision(operation: str) -> None:
    from torchvision.transforms.v2 import functional as reference

    images = IMAGES[:4].float() / 255
    ours = {
        "brightness": color.scale_brightness_torchvision, "contrast": color.scale_contrast_torchvision,
        "saturation": color.scale_saturation_torchvision, "hue": color.rotate_hue,
    }[operation]  # fmt: skip
    theirs = getattr(reference, f"adjust_{operation}")
    amount = 0.07 if operation == "hue" else 1.3
    for i in range(4):
        expected = theirs(images[i], amount)
        assert torch.allclose(ours(images[i : i + 1], torch.tensor([amount]))[0], expected, atol=2e-4)


def test_blur_torchvision_semantics_agrees_with_torchvision() -> None:
    from torchvision.transforms.v2 import functional as reference

    from byol.views.blur import gaussian_blur, kernel_radius

    images = IMAGES[:2, :, :40, :40].float() / 255
    ours = gaussian_blur(images, torch.tensor([1.3, 0.6]), "torchvision")
    taps = 2 * kernel_radius(40) + 1
    for i, sigma in enumerate((1.3, 0.6)):
        assert torch.allclose(ours[i], reference.gaussian_blur(images[i], [taps, taps], [sigma, sigma]), atol=1e-5)
