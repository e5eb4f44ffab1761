"""One augmented view: range, degenerate images, grey images."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from byol.views.augment import augment, distort
from byol.views.parameters import draw
from byol.views.policy import T_PRIME, T, ViewKernels, ViewPolicy

SENSOR = ViewPolicy(
    vertical_flip_probability=0.5, rotation_probability=0.75, band_jitter_probability=0.8, band_drop_probability=0.3,
    noise_probability=0.7,
)  # fmt: skip
BOTH_KERNELS = pytest.mark.parametrize("kernels", ["native", "fused"])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    channels=st.sampled_from([1, 2, 3, 4, 7]), height=st.integers(1, 40), width=st.integers(1, 40),
    size=st.sampled_from([8, 17, 32]), fill=st.sampled_from([0, 0.5, 1, None]), bits=st.sampled_from([8, 16]), semantics=st.sampled_from(["deepmind", "torchvision"]),
    antialias=st.booleans(), kernels=st.sampled_from(["native", "fused"]),
)  # fmt: skip
def test_augment_any_image_gives_finite_views_in_range(
    channels, height, width, size, fill, bits, semantics, antialias, kernels
) -> None:
    shape, white, kind = (3, channels, height, width), 2**bits - 1, f"uint{bits}"
    if fill is None:
        images = torch.from_numpy(np.random.default_rng(height).integers(0, white + 1, shape, dtype=kind))
    else:
        images = torch.from_numpy(np.full(shape, int(fill * white), kind))
    for policy in (T, T_PRIME, SENSOR):
        drawn = draw(policy, 3, 0, width, 1)
        view = augment(images, drawn, policy, size, semantics=semantics, antialias=antialias, kernels=kernels)
        of_floats = augment(images.float() / white, drawn, policy, size, semantics=semantics, antialias=antialias)
        assert view.shape == (3, channels, size, size)
        assert view.dtype == of_floats.dtype == torch.float32
        assert torch.allclose(view, of_floats, atol=1e-4)
        assert bool(torch.isfinite(view).all())
        assert float(view.min()) >= 0
        assert float(view.max()) <= 1


@BOTH_KERNELS
def test_distort_grey_images_keep_only_what_needs_no_colour(kernels: ViewKernels) -> None:
    policy = ViewPolicy(jitter_probability=0.0, grayscale_probability=1.0, blur_probability=0.0)
    images = torch.rand(4, 1, 16, 16)
    assert torch.equal(distort(images, draw(policy, 4, 0, 0, 1), policy, kernels=kernels), images)
