"""Two views: slices, workers and the whole batch give the same."""

import dataclasses

import numpy as np
import pytest
import torch

from byol.views.geometry import crop_resize
from byol.views.policy import CROP_AND_FLIP, T_PRIME, T, ViewKernels, ViewPolicy
from byol.views.views import Views, pair, single
from tests.conftest import picture

IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (12, 3, 40, 48), dtype=np.uint8))
DEEP = torch.from_numpy(np.random.default_rng(0).integers(0, 65536, (12, 5, 40, 48), dtype=np.uint16))


BOTH_KERNELS = pytest.mark.parametrize("kernels", ["native", "fused"])


def views(kernels: ViewKernels = "native") -> Views:
    return Views(pair(T, T_PRIME, 32), 12, 3, kernels=kernels)


@BOTH_KERNELS
def test_two_views_slices_equal_the_whole_batch(kernels: ViewKernels) -> None:
    whole = views(kernels)(IMAGES, step=5)
    parts = [views(kernels)(IMAGES[i : i + 4], 5, i) for i in (0, 4, 8)]
    for view, sliced in zip(whole, zip(*parts, strict=True), strict=True):
        assert torch.allclose(view, torch.cat(sliced), atol=1e-6)


@BOTH_KERNELS
@pytest.mark.parametrize("images", [IMAGES, DEEP], ids=["8 bits", "16 bits of five bands"])
def test_two_views_cropped_by_a_worker_equal_the_batched(images: torch.Tensor, kernels: ViewKernels) -> None:
    made = views(kernels)
    whole = made(images, step=5)
    crops = torch.stack([made.crop(image.permute(1, 2, 0).numpy(), 5, row) for row, image in enumerate(images)])
    for ours, theirs in zip(whole, made.finish(crops, 5), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


@BOTH_KERNELS
def test_fallback_crops_of_two_aspects_are_each_views_own(kernels: ViewKernels) -> None:
    """Every draw is higher than such a strip; a worker crops both views at once."""
    still = ViewPolicy(
        (0.9, 1.0), flip_probability=0.0, jitter_probability=0.0, grayscale_probability=0.0, blur_probability=0.0
    )
    policies = [dataclasses.replace(still, crop_aspect=(aspect, aspect)) for aspect in (1.0, 2.0)]
    made = Views(pair(*policies, 8), 12, 3, semantics="torchvision", kernels=kernels)
    images = IMAGES[:, :, :8, :].contiguous()
    crops = torch.stack([made.crop(image.permute(1, 2, 0).numpy(), 5, row) for row, image in enumerate(images)])
    for width, view, cropped in zip((8, 16), made(images, 5), made.finish(crops, 5), strict=True):
        window = torch.tensor([[0, 24 - width // 2, 8, width]] * 12)
        assert torch.allclose(view, crop_resize(images, window, 8), atol=1e-5)
        assert torch.allclose(view, cropped, atol=1e-5)


def test_one_view_is_a_pure_function_and_workers_make_the_same() -> None:
    images = np.stack([picture(i, 24, 24) for i in range(6)])
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
    view = Views(single(T, 16), 6, seed=1)
    whole = view(tensor, 3).view1
    assert torch.equal(whole[2:4], view(tensor[2:4], 3, 2).view1)
    crops = torch.stack([view.crop(image, 3, row) for row, image in enumerate(images)])
    torch.testing.assert_close(view.finish(crops, 3).view1, whole, rtol=0, atol=1e-5)
    assert not torch.equal(whole, view(tensor, 4).view1)
    assert (CROP_AND_FLIP.jitter_probability, CROP_AND_FLIP.blur_probability, CROP_AND_FLIP.crop_area) == (
        0,
        0,
        (0.08, 1.0),
    )
