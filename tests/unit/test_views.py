"""Views: pure functions of (seed, step, row), per-image parameters, ranges, degenerate images."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from byol.views import color
from byol.views.augment import augment, distort
from byol.views.evaluation import centre_view
from byol.views.geometry import crop_resize, crop_window, resize_matrix
from byol.views.parameters import draw
from byol.views.policy import T_PRIME, T, ViewKernels, ViewPolicy
from byol.views.two_views import TwoViews

IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (12, 3, 40, 48), dtype=np.uint8))


BOTH_KERNELS = pytest.mark.parametrize("kernels", ["native", "fused"])


def views(kernels: ViewKernels = "native") -> TwoViews:
    return TwoViews(T, T_PRIME, 32, 12, 3, kernels=kernels)


def test_draw_rows_do_not_depend_on_the_batch_size() -> None:
    few, many = draw(T, 4, 7, 11, 1), draw(T, 64, 7, 11, 1)
    assert torch.equal(few.area, many[:4].area)
    assert torch.equal(few.sigma, many[:4].sigma)


@pytest.mark.parametrize("other", [(8, 11, 1), (7, 12, 1), (7, 11, 2)])
def test_draw_another_seed_step_or_view_gives_other_numbers(other: tuple[int, int, int]) -> None:
    assert not torch.equal(draw(T, 8, 7, 11, 1).brightness, draw(T, 8, *other).brightness)


@BOTH_KERNELS
def test_two_views_slices_equal_the_whole_batch(kernels: ViewKernels) -> None:
    whole = views(kernels)(IMAGES, step=5)
    parts = [views(kernels)(IMAGES[i : i + 4], 5, i) for i in (0, 4, 8)]
    for number in (0, 1):
        assert torch.allclose(whole[number], torch.cat([p[number] for p in parts]), atol=1e-6)


@BOTH_KERNELS
def test_two_views_cropped_by_a_worker_equal_the_batched(kernels: ViewKernels) -> None:
    made = views(kernels)
    whole = made(IMAGES, step=5)
    crops = torch.stack([made.crop(image.permute(1, 2, 0).numpy(), 5, row) for row, image in enumerate(IMAGES)])
    for ours, theirs in zip(whole, made.finish(crops, 5), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_crop_window_deepmind_stays_inside_and_reaches_every_border() -> None:
    p = draw(T, 4000, 1, 0, 1)
    top, left, height, width = crop_window(p, 30, 50, "deepmind").unbind(1)
    assert bool((top >= 0).all() and (left >= 0).all() and (top + height <= 30).all() and (left + width <= 50).all())
    assert int((top + height).max()) == 30
    assert int((left + width).max()) == 50
    assert int(height.min()) >= 1


def test_crop_window_torchvision_keeps_area_and_aspect_in_range() -> None:
    p = draw(T, 2000, 1, 0, 1)
    _, _, height, width = crop_window(p, 100, 100, "torchvision").float().unbind(1)
    assert float((height * width / 1e4).max()) <= 1.0
    assert float((height * width / 1e4).min()) > 0.07
    assert float((width / height).max()) < 1.4
    assert float((width / height).min()) > 0.7


def test_crop_window_torchvision_impossible_aspect_takes_the_centre() -> None:
    p = draw(ViewPolicy(crop_area=(0.99, 1.0)), 8, 1, 0, 1)
    window = crop_window(p, 10, 100, "torchvision")
    assert window.tolist() == [[0, 43, 10, 13]] * 8


@pytest.mark.parametrize("aspect", [(0.5, 0.8), (1.5, 3.0), (1.1, 1.1), (3 / 4, 4 / 3)])
@pytest.mark.parametrize(("height", "width"), [(10, 400), (400, 10), (5, 77), (333, 8)])
def test_crop_window_torchvision_falls_back_to_the_aspect_that_is_set(
    height: int, width: int, aspect: tuple[float, float]
) -> None:
    """All tries are larger than so long an image: torchvision's class then takes the same window each time."""
    from torchvision.transforms import RandomResizedCrop

    p = draw(ViewPolicy(crop_area=(0.9, 1.0), crop_aspect=aspect), 4, 1, 0, 1)
    expected = RandomResizedCrop.get_params(torch.empty(3, height, width), [0.9, 1.0], list(aspect))
    assert crop_window(p, height, width, "torchvision").tolist() == [list(expected)] * 4


@BOTH_KERNELS
def test_fallback_crops_of_two_aspects_are_each_views_own(kernels: ViewKernels) -> None:
    """Every draw is higher than such a strip; a worker crops both views at once."""
    still = ViewPolicy(
        (0.9, 1.0), flip_probability=0.0, jitter_probability=0.0, grayscale_probability=0.0, blur_probability=0.0
    )
    policies = [dataclasses.replace(still, crop_aspect=(aspect, aspect)) for aspect in (1.0, 2.0)]
    made = TwoViews(*policies, 8, 12, 3, semantics="torchvision", kernels=kernels)
    images = IMAGES[:, :, :8, :].contiguous()
    crops = torch.stack([made.crop(image.permute(1, 2, 0).numpy(), 5, row) for row, image in enumerate(images)])
    for width, view, cropped in zip((8, 16), made(images, 5), made.finish(crops, 5), strict=True):
        window = torch.tensor([[0, 24 - width // 2, 8, width]] * 12)
        assert torch.allclose(view, crop_resize(images, window, 8), atol=1e-5)
        assert torch.allclose(view, cropped, atol=1e-5)


def test_resize_matrix_rows_sum_to_one_and_identity_is_exact() -> None:
    matrix = resize_matrix(torch.tensor([0.0]), torch.tensor([16.0]), 16, 16)
    assert torch.equal(matrix[0], torch.eye(16))
    shrunk = resize_matrix(torch.tensor([3.0]), torch.tensor([40.0]), 64, 8, antialias=True)
    assert torch.allclose(shrunk.sum(2), torch.ones(1, 8), atol=1e-6)
    assert float(shrunk[0, :, :3].abs().max()) == 0.0


def test_crop_resize_flip_mirrors() -> None:
    window = torch.tensor([[0, 0, 40, 40]] * 12)
    plain = crop_resize(IMAGES, window, 20)
    flipped = crop_resize(IMAGES, window, 20, flip=torch.arange(12) % 2 == 0)
    assert torch.allclose(flipped[0], plain[0].flip(2), atol=1e-5)
    assert torch.equal(flipped[1], plain[1])


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


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    channels=st.sampled_from([1, 2, 3, 4, 7]), height=st.integers(1, 40), width=st.integers(1, 40),
    size=st.sampled_from([8, 17, 32]), fill=st.sampled_from([0, 128, 255, None]), semantics=st.sampled_from(["deepmind", "torchvision"]),
    antialias=st.booleans(), kernels=st.sampled_from(["native", "fused"]),
)  # fmt: skip
def test_augment_any_image_gives_finite_views_in_range(
    channels, height, width, size, fill, semantics, antialias, kernels
) -> None:
    if fill is None:
        images = torch.from_numpy(
            np.random.default_rng(height).integers(0, 256, (3, channels, height, width), dtype=np.uint8)
        )
    else:
        images = torch.full((3, channels, height, width), fill, dtype=torch.uint8)
    for policy in (T, T_PRIME):
        drawn = draw(policy, 3, 0, width, 1)
        view = augment(images, drawn, policy, size, semantics=semantics, antialias=antialias, kernels=kernels)
        of_floats = augment(images / 255, drawn, policy, size, semantics=semantics, antialias=antialias)
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


def test_centre_view_is_the_middle_seven_eighths() -> None:
    image = torch.zeros(1, 1, 256, 320, dtype=torch.uint8)
    image[:, :, 16:240, 48:272] = 255
    assert float(centre_view(image, 224).min()) == 1.0
