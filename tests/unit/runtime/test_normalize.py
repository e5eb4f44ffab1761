"""Normalisation gives the same bits and layout as the plain expression, whatever the layout of the views."""

import pytest
import torch

from byol.runtime.normalize import normalize


@pytest.mark.parametrize("shape", [(3, 3, 9, 7), (2, 1, 8, 8), (2, 5, 6, 4), (1, 3, 1, 1), (0, 3, 4, 4), (3, 2, 1, 5)])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("per_channel", [True, False])
def test_same_bits_and_layout(
    shape: tuple[int, ...], layout: torch.memory_format, dtype: torch.dtype, per_channel: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    values = shape[1] if per_channel else 1
    mean, std = (torch.rand(1, values, 1, 1, generator=generator) + 0.1 for _ in range(2))
    views = torch.rand(shape, generator=generator).to(dtype).contiguous(memory_format=layout)
    before, expected = views.clone(), (views - mean) / std
    found = normalize(views, mean, std)
    assert found.dtype == expected.dtype and found.stride() == expected.stride()
    assert torch.equal(found, expected) and torch.equal(views, before)
