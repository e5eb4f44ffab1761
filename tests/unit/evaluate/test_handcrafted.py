"""Features without weights, against values by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from byol.assembly.subject import open_subject
from byol.commands.evaluate import evaluate
from byol.data.arrays import ArrayImages
from byol.evaluate.features import extract
from byol.evaluate.handcrafted import Handcrafted, Statistics, colours, num_handcrafted, oriented_gradients
from byol.evaluate.knn import leave_one_out


def ramp(angle: float, size: int = 32) -> torch.Tensor:
    """(1, 1, S, S): brightness that rises along a direction, in radians from the x axis."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    along = x * np.cos(angle) + y * np.sin(angle)
    return ((along - along.min()) / (along.max() - along.min()))[None, None].float()


@pytest.mark.parametrize(
    ("degrees", "shares"), [(10, {0: 1}), (110, {5: 1}), (100, {4: 0.5, 5: 0.5}), (0, {0: 0.5, 8: 0.5})]
)
def test_gradients_of_a_ramp_fall_into_the_bins_beside_its_direction(degrees: float, shares: dict[int, float]) -> None:
    blocks = oriented_gradients(ramp(np.radians(degrees))).view(1, 9, 4, 49)  # orientation, cell of the block, block
    middle = blocks[0, :, :, 24]
    assert middle.square().sum() == pytest.approx(1, abs=0.01)
    votes = middle.mean(dim=1) / middle.mean(dim=1).sum()
    for bin in range(9):
        assert votes[bin] == pytest.approx(shares.get(bin, 0), abs=0.02)


def test_gradients_do_not_see_light_and_contrast() -> None:
    image = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(oriented_gradients(image), oriented_gradients(0.3 + 0.5 * image), atol=1e-4)
    assert torch.equal(oriented_gradients(torch.full((1, 3, 16, 16), 0.4)), torch.zeros(1, 1764))


def test_gradients_take_the_channel_that_changes_most() -> None:
    image = torch.zeros(1, 3, 32, 32)
    image[:, 1:2] = ramp(np.radians(10))
    image[:, 2:3] = 0.2 * ramp(np.radians(110))
    assert torch.allclose(oriented_gradients(image), oriented_gradients(ramp(np.radians(10))), atol=1e-6)


def test_colours_are_the_shares_of_a_joint_histogram() -> None:
    image = torch.zeros(1, 3, 8, 8)
    image[:, 0, :2] = 1.0  # a quarter is red
    found = colours(image)[0]
    assert found[0] == 0.75
    assert found[3 * 16] == 0.25
    assert found.sum() == 1


@pytest.mark.parametrize("channels", [1, 3])
def test_both_parts_have_unit_length(channels: int) -> None:
    found = Handcrafted()(torch.rand(4, channels, 24, 24))
    assert found.shape == (4, num_handcrafted(channels)) == (4, 1764 + 4**channels)
    assert torch.allclose(found[:, :1764].norm(dim=1), torch.ones(4), atol=1e-5)
    assert torch.allclose(found[:, 1764:].norm(dim=1), torch.ones(4), atol=1e-5)


def test_hog_is_a_baseline_by_name(tmp_path: Path) -> None:
    """Stripes of either direction at random places: no pixel tells them apart, a direction does."""
    generator = np.random.default_rng(0)
    for number in range(60):
        wave = 127 + 100 * np.sin(np.arange(24) / 2 + generator.uniform(0, 6))
        image = np.tile(wave, (24, 1)) if number % 2 else np.tile(wave, (24, 1)).T
        path = tmp_path / "stripes" / str(number % 2) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.astype(np.uint8)).save(path)
    (found,) = evaluate("hog", str(tmp_path / "stripes"), ["knn"], out=tmp_path / "hog")
    assert found.record["num_features"] == num_handcrafted(1)
    assert found.metrics["top-1"].value == 100


def test_statistics_are_those_of_each_band() -> None:
    bands = torch.rand(3, 13, 8, 8, generator=torch.Generator().manual_seed(0))
    found, values = Statistics()(bands), bands.numpy().reshape(3, 13, 64)
    percentiles = np.percentile(values, [5, 25, 50, 75, 95], axis=2)
    assert np.allclose(found[:, :13], values.mean(2)) and np.allclose(found[:, 13:26], values.std(2))
    assert np.allclose(found[:, 26:].view(3, 13, 5), percentiles.transpose(1, 2, 0), atol=1e-6)


def test_statistics_are_a_baseline_for_many_bands(tmp_path: Path) -> None:
    """Two kinds of noise in the last of seven bands of 12 bits."""
    pixels = np.random.default_rng(0).integers(0, 4096, (60, 12, 12, 7)).astype(np.uint16)
    pixels[::2, ..., 6] = pixels[::2, ..., 6] // 2 + 1024
    source = ArrayImages(pixels, np.arange(60) % 2)
    subject = open_subject("statistics", source)
    found = extract(subject.encoder, source, 7, torch.device("cpu"))
    assert found.vectors.shape == (60, 7 * 7)
    assert float((leave_one_out(found.vectors, found.labels) == found.labels).float().mean()) > 0.95
