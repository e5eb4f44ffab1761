"""Metrics in the real TensorBoard and W&B, offline."""

import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import byol
from byol.engine.metrics import read_metrics
from byol.errors import DependencyError
from byol.runtime import track
from tests.conftest import SMALL


def test_tensorboard_holds_what_the_metrics_hold(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    byol.pretrain(photos, epochs=2, out=out, overrides={**SMALL, "track": "tensorboard"}, say=lambda _: None)
    found = EventAccumulator(str(out / "tensorboard")).Reload()
    rows = read_metrics(out / "metrics.jsonl")
    assert len(rows) > 2
    for name in ("loss", "tau", "learning_rate", "std_ratio"):
        assert [event.step for event in found.Scalars(name)] == [row["step"] for row in rows]
        assert [event.value for event in found.Scalars(name)] == pytest.approx([row[name] for row in rows])


def test_wandb_gets_config_and_metrics(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}.items():
        monkeypatch.setenv(name, value)
    out = tmp_path / "run"
    byol.pretrain(photos, epochs=2, out=out, overrides={**SMALL, "track": "wandb"}, say=lambda _: None)
    (folder,) = (out / "wandb").glob("offline-run-*")
    (file,) = folder.glob("*.wandb")
    content = file.read_bytes()
    last = read_metrics(out / "metrics.jsonl")[-1]
    assert json.dumps(last["loss"]).encode() in content
    assert b"projector_hidden" in content


def test_missing_library_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(track.importlib, "import_module", missing)
    with pytest.raises(DependencyError, match=r"pip install wandb\."):
        track.open_tracker("wandb", tmp_path, {}, 0)
