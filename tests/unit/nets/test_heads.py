"""Projector and predictor: biases, depth, norms."""

import pytest
from torch import nn

from byol.errors import EncoderError
from byol.nets.heads import mlp_head


def test_heads_hidden_has_a_bias_and_output_has_none() -> None:
    head = mlp_head(10, 20, 5)
    assert [name for name, _ in head.named_parameters()] == ["0.weight", "0.bias", "1.weight", "1.bias", "3.weight"]


def test_heads_depth_and_output_norm() -> None:
    assert [type(m).__name__ for m in mlp_head(4, 8, 2, depth=1)] == ["Linear"]
    deep = mlp_head(4, 8, 2, depth=3, output_norm=True)
    names = ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear", "BatchNorm1d"]
    assert [type(m).__name__ for m in deep] == names


def test_heads_of_either_convention_are_of_vectors() -> None:
    for conventions in ("torch", "deepmind"):
        with pytest.raises(EncoderError, match="Instance norm needs maps"):
            mlp_head(8, 64, 8, conventions, norm="instance")
        (group,) = (m for m in mlp_head(8, 64, 8, conventions, norm="group").modules() if isinstance(m, nn.GroupNorm))
        assert group.num_groups == 4  # 16 features each, at the least
