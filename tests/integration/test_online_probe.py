"""Probes and a classifier beside a training change nothing in it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from byol.data.arrays import ArrayImages
from byol.engine.metrics import read_metrics
from byol.errors import ConfigError
from tests.integration.small_runs import PICTURES, losses, run


def test_online_probe_changes_nothing_and_is_logged_when_it_is_due(photos: Path, tmp_path: Path) -> None:
    settings = {"batch_size": 8, "log_interval_steps": 4}  # 25 steps of 8 images
    run(tmp_path / "without", photos, **settings)
    run(tmp_path / "with", photos, **settings, online_probe_epochs=2)  # every 10 steps
    rows = {name: read_metrics(tmp_path / name / "metrics.jsonl") for name in ("with", "without")}
    probed = {row["step"]: row for row in rows["with"] if "online_knn" in row}
    assert list(probed) == [9, 19, 24]
    assert all(0 <= row["online_linear"] <= 100 for row in probed.values())
    traces = [{row["step"]: row["loss"] for row in rows[name]} for name in ("with", "without")]
    assert traces[1].items() <= traces[0].items()
    one, other = (load_file(tmp_path / name / "encoder.safetensors") for name in ("with", "without"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    with pytest.raises(ConfigError, match="online_probe_epochs needs labels"):
        run(tmp_path / "unlabelled", online_probe_epochs=1)


def test_classifier_leaves_the_representation_untouched(tmp_path: Path) -> None:
    source = ArrayImages(PICTURES, np.arange(64) % 4)
    run(tmp_path / "plain", source)
    run(tmp_path / "with", source, **{"method.online_classifier": True})
    plain, with_head = (load_file(tmp_path / name / "encoder.safetensors") for name in ("plain", "with"))
    assert all(torch.equal(plain[name], with_head[name]) for name in plain)
    assert losses(tmp_path / "plain") == losses(tmp_path / "with")
    last = read_metrics(tmp_path / "with" / "metrics.jsonl")[-1]
    assert 0 < last["classifier_loss"] < 10
    assert 0 <= last["classifier_accuracy"] <= 100
