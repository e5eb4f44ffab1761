"""Parts of images: the threshold, the colours, and the vectors that the page compares places by."""

import base64
from pathlib import Path

import numpy as np
import pytest
import torch

import byol
from byol.data.open import as_source
from byol.errors import EncoderError
from byol.report.look import Sample
from byol.report.parts import find_parts, otsu, part_colours


def test_otsu_splits_two_heaps_and_equals_a_slow_search() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.cat((torch.randn(300, generator=generator), 8 + torch.randn(100, generator=generator)))
    assert 2 < otsu(values) < 6

    def between(level: float) -> float:
        low, high = values[values <= level], values[values > level]
        return float(len(low) * len(high) * (low.mean() - high.mean()) ** 2)

    levels = torch.linspace(float(values.min()), float(values.max()), 130)[1:-1].tolist()
    assert between(otsu(values)) == pytest.approx(max(map(between, levels)), rel=1e-5)


def test_colours_are_equal_for_equal_cells_and_the_border_is_background() -> None:
    """Four kinds of cells: one at the border, three in the middle."""
    kinds = 3 * torch.randn(4, 16, generator=torch.Generator().manual_seed(1))
    kinds[1:] += 4 * torch.randn(16, generator=torch.Generator().manual_seed(2))
    kind = torch.tensor([0] * 60 + [1, 2, 3] * 10)
    noise = 0.01 * torch.randn(90, 16, generator=torch.Generator().manual_seed(3))
    colours = part_colours(kinds[kind] + noise, kind == 0)
    assert colours[kind == 0].abs().sum() == 0 and bool((colours[kind > 0][:, 3] == 1).all())
    means = torch.stack([colours[kind == number, :3].mean(dim=0) for number in (1, 2, 3)])
    spread = max(float(colours[kind == number, :3].std(dim=0)[:2].max()) for number in (1, 2, 3))
    assert spread < 0.1 < torch.pdist(means[:, :2]).min()


def test_parts_of_oblong_images_have_their_cells_and_places(encoder: Path) -> None:
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 255, shape).astype(np.uint8) for shape in [(32, 64, 3)] * 3 + [(48, 32, 3)] * 2]
    sample = Sample(as_source(images), np.array([4, 0, 2, 1]))
    parts = find_parts(byol.load(encoder), sample, torch.device("cpu"), most=3, size=32)
    content = parts.content
    assert content["grids"] == [(6, 4), (4, 8), (4, 8)]
    assert content["boxes"] == [[0.1667, 0, 0.6667, 1], [0, 0.25, 1, 0.5], [0, 0.25, 1, 0.5]]
    vectors = np.frombuffer(base64.b64decode(content["vectors"]), np.int8).reshape(-1, content["depth"])
    assert len(vectors) == 24 + 32 + 32
    assert np.allclose(np.linalg.norm(vectors.astype(float), axis=1), 127, atol=3)
    assert len(sample.tiles) == 0, "the sample's own thumbnails are not touched"


def test_parts_of_an_encoder_without_maps_are_refused(encoder: Path) -> None:
    loaded = byol.load(encoder)
    loaded.module = torch.nn.Sequential(torch.nn.Flatten())
    with pytest.raises(EncoderError, match="gives no feature maps"):
        find_parts(loaded, Sample(as_source(np.zeros((2, 16, 16, 3), np.uint8)), np.arange(2)), torch.device("cpu"), 2)
