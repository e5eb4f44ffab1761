"""Operations that the paper does not have: vertical flip, rotation, gain, offset and loss of bands, noise."""

import dataclasses
from statistics import NormalDist

import numpy as np
import pytest
import torch

from byol.views.augment import augment, distort, random_crop
from byol.views.parameters import SEEDS, draw
from byol.views.policy import T_PRIME, T, ViewKernels, ViewPolicy, crop_and_flip
from byol.views.sensor import add_noise, band_changes, uniform

BOTH_KERNELS = pytest.mark.parametrize("kernels", ["native", "fused"])
STILL = dataclasses.replace(crop_and_flip(T), crop_area=(1.0, 1.0), crop_aspect=(1.0, 1.0), flip_probability=0.0)
"""Policy under which a square image of the view's size is its own view."""
IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 65536, (8, 2, 16, 16), dtype=np.uint16))
WHOLE = IMAGES.float() / 65535


def drawn(policy: ViewPolicy, kernels: ViewKernels, **fixed: torch.Tensor) -> torch.Tensor:
    """Views of IMAGES at their own size, with some parameters replaced."""
    parameters = dataclasses.replace(draw(policy, len(IMAGES), 0, 0, 1), **fixed)
    return augment(IMAGES, parameters, policy, 16, kernels=kernels)


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.allclose(one, other, atol=1e-6)


@BOTH_KERNELS
def test_vertical_flip_and_rotation_are_numpys(kernels: ViewKernels) -> None:
    flips, turns = torch.arange(8) // 4 == 1, torch.arange(8) % 4
    assert close(drawn(STILL, kernels), WHOLE)
    views = drawn(STILL, kernels, vertical_flip=flips, quarter_turns=turns)
    for view, image, flip, turn in zip(views.numpy(), WHOLE.numpy(), flips.tolist(), turns.tolist(), strict=True):
        expected = np.rot90(image[:, ::-1] if flip else image, turn, axes=(1, 2))
        assert np.allclose(view, expected, atol=1e-6), (flip, turn)
    both = drawn(STILL, kernels, flip=torch.ones(8, dtype=torch.bool), vertical_flip=torch.ones(8, dtype=torch.bool))
    assert close(both, WHOLE.rot90(2, (2, 3)))


@BOTH_KERNELS
def test_two_vertical_flips_and_four_quarter_turns_are_the_image(kernels: ViewKernels) -> None:
    always = torch.ones(8, dtype=torch.bool)
    for times, change in ((2, {"vertical_flip": always}), (4, {"quarter_turns": always.long()})):
        p = dataclasses.replace(draw(STILL, 8, 0, 0, 1), **change)
        once = random_crop(IMAGES, p, 16, kernels=kernels)
        assert not close(once, WHOLE)
        views = WHOLE
        for _ in range(times):  # 8 bits more than float32's rounding would need
            views = random_crop((views * 65535).round().to(torch.uint16), p, 16, kernels=kernels)
        assert close(views, WHOLE)


@BOTH_KERNELS
@pytest.mark.parametrize("policy", [T, T_PRIME])
def test_probability_0_changes_no_bit_whatever_the_strengths(policy: ViewPolicy, kernels: ViewKernels) -> None:
    strong = dataclasses.replace(policy, band_gain=0.9, band_offset=0.5, noise_sigma=(0.3, 0.9))
    one, other = (augment(IMAGES, draw(p, 8, 3, 1, 2), p, 16, kernels=kernels) for p in (policy, strong))
    assert torch.equal(one, other)


@BOTH_KERNELS
def test_bands_are_multiplied_and_shifted_by_hand(kernels: ViewKernels) -> None:
    policy = dataclasses.replace(STILL, band_jitter_probability=1.0, band_gain=0.5, band_offset=0.25)
    p = draw(policy, 8, 0, 0, 1)
    changes = band_changes(p, policy, 2)
    assert bool(((changes[..., 0] - 1).abs() <= 0.5).all() and (changes[..., 1].abs() <= 0.25).all())
    assert len(changes.flatten().unique()) == changes.numel()
    views = drawn(policy, kernels)
    gain, offset = changes[3, 1].tolist()
    assert close(views[3, 1], (WHOLE[3, 1] * gain + offset).clamp(0, 1))
    half = distort(torch.full((8, 2, 16, 16), 0.5), p, policy, kernels=kernels)
    assert close(half[3, 1], torch.full((16, 16), min(max(0.5 * gain + offset, 0.0), 1.0)))


def test_gains_of_a_channel_do_not_depend_on_the_number_of_channels_and_cover_their_range() -> None:
    policy = dataclasses.replace(STILL, band_jitter_probability=0.75, band_gain=0.5, band_offset=0.25)
    p = draw(policy, 4000, 0, 0, 1)
    few, many = band_changes(p, policy, 2), band_changes(p, policy, 13)
    assert torch.equal(few, many[:, :2])
    assert torch.equal(many[~p.band_jitter], torch.tensor([1.0, 0.0]).expand(int((~p.band_jitter).sum()), 13, 2))
    changed = many[p.band_jitter].double()
    for kind, low, high in ((0, 0.5, 1.5), (1, -0.25, 0.25)):
        values = changed[..., kind]
        assert low <= float(values.min()) < low + 0.001 and high - 0.001 < float(values.max()) <= high
        assert abs(float(values.mean()) - (low + high) / 2) < 4 * (high - low) / (12 * values.numel()) ** 0.5
        assert float(torch.corrcoef(values.T).fill_diagonal_(0).abs().max()) < 4.5 / len(values) ** 0.5
    assert abs(float(torch.corrcoef(changed.flatten(0, 1).T)[0, 1])) < 4.5 / changed[..., 0].numel() ** 0.5


@BOTH_KERNELS
def test_lost_bands_are_black_and_one_stays(kernels: ViewKernels) -> None:
    certain = dataclasses.replace(STILL, band_drop_probability=1.0)
    left = drawn(certain, kernels).flatten(2).any(dim=2)
    assert left.sum(dim=1).tolist() == [1] * 8
    assert 0 < int(left[:, 0].sum()) < 8
    p = draw(dataclasses.replace(certain, band_drop_probability=0.3), 4000, 0, 0, 1)
    lost = band_changes(p, dataclasses.replace(certain, band_drop_probability=0.3), 6)[..., 0] == 0
    assert abs(float(lost.double().mean()) - 0.3) < 4 * (0.3 * 0.7 / lost.numel()) ** 0.5
    grey = torch.rand(8, 1, 16, 16)
    assert torch.equal(distort(grey, draw(certain, 8, 0, 0, 1), certain, kernels=kernels), grey)


def test_hash_is_the_published_one() -> None:
    """numpy's unsigned numbers as the oracle of torch's signed ones."""
    seeds = torch.tensor([0, 1, 12345, SEEDS - 1])
    found = uniform(seeds, 1000)
    with np.errstate(over="ignore"):
        x = seeds.numpy().astype(np.uint32)[:, None] * np.uint32(0x9E3779B9) + np.arange(1000, dtype=np.uint32)
        x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
        x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
        x ^= x >> 16
    assert np.array_equal(found.numpy(), ((x >> 9) + 0.5) / 2**23)
    assert torch.equal(found[:, :10], uniform(seeds, 10))


@BOTH_KERNELS
def test_noise_is_gaussian_and_each_images_own(kernels: ViewKernels) -> None:
    policy = dataclasses.replace(STILL, noise_probability=1.0, noise_sigma=(0.1, 0.1))
    p = draw(policy, 40, 0, 0, 1)
    noise = 10 * (distort(torch.full((40, 2, 64, 64), 0.5), p, policy, kernels=kernels) - 0.5)
    ordered = noise.flatten().sort().values.clamp(-4.9, 4.9)
    for share in (0.001, 0.1, 0.5, 0.9, 0.999):
        error = (share * (1 - share) / len(ordered)) ** 0.5 / NormalDist().pdf(NormalDist().inv_cdf(share))
        assert abs(float(ordered[int(share * len(ordered))]) - NormalDist().inv_cdf(share)) < 4 * error, share
    assert abs(float(noise.var()) - 1) < 4 * (2 / noise.numel()) ** 0.5
    images = noise.flatten(1)
    assert float(torch.corrcoef(images).fill_diagonal_(0).abs().max()) < 5 / images.shape[1] ** 0.5
    for shift in (1, 64, 4096):  # to the right, below, in the next channel
        a, b = images[:, :-shift].flatten(), images[:, shift:].flatten()
        assert abs(float(torch.corrcoef(torch.stack((a, b)))[0, 1])) < 4 / len(a) ** 0.5, shift


def test_noise_of_one_pixel_is_the_quantile_of_its_number() -> None:
    amounts = torch.tensor([[0.05, 777.0]])
    found = add_noise(torch.zeros(1, 3, 8, 8), amounts).flatten().tolist()
    shares = uniform(torch.tensor([777]), 192)[0].tolist()
    for value, share in zip(found, shares, strict=True):
        assert value == pytest.approx(0.05 * NormalDist().inv_cdf(share), abs=1e-6)
