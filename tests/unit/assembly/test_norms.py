"""Norms from config to a training."""

import pytest
import torch

import byol
from byol.errors import ConfigError, EncoderError
from byol.nets.encoder import create_encoder
from tests.conftest import SMALL
from tests.integration.test_ranks import PICTURES


def test_frozen_norm_needs_averages_to_keep() -> None:
    with pytest.raises(ConfigError, match=r"encoder\.norm frozen needs pretrained initial weights"):
        byol.pretrain(PICTURES, overrides={**SMALL, "encoder.norm": "frozen"})
    with pytest.raises(EncoderError, match=r"needs encoder.conventions torch"):
        create_encoder("resnet18", conventions="deepmind", norm="frozen")


@pytest.mark.parametrize(
    ("settings", "state"),
    [
        ({"encoder.norm": "group", "encoder.weight_standardization": True, "heads.projector_norm": "group",
          "heads.predictor_norm": "layer", "heads.weight_standardization": True}, "parametrizations.weight.original"),
        ({"encoder.norm": "affine", "heads.projector_norm": "affine", "heads.predictor_norm": "affine",
          "method.data_init": True}, "bn1.weight"),
    ],
)  # fmt: skip
def test_run_with_other_norms_trains_and_its_encoder_loads(tmp_path, settings, state) -> None:
    run = byol.pretrain(
        PICTURES,
        "small",
        out=tmp_path / "run",
        epochs=1,
        overrides={**SMALL, "encoder.name": "resnet10", "batch_size": 32, **settings},
        say=lambda line: None,
    )
    assert run.finished
    encoder = byol.load(run.path)
    assert any(name.endswith(state) for name in encoder.module.state_dict())
    assert encoder(torch.zeros(2, 3, 32, 32)).isfinite().all()
