"""Real runs, in process: the golden trace, and what a run leaves."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import byol
from byol.engine.metrics import read_metrics
from byol.runtime.run_directory import RunDirectory
from tests.integration.small_runs import PICTURES, losses, run


@pytest.mark.parametrize("kernels", ["native", "fused"])
def test_training_twenty_steps_give_the_golden_trace(tmp_path: Path, kernels: str) -> None:
    """On every machine: with LARS at a low rate, operators and 1 to 4 threads part by 8e-5 at most, where a tenth more
    of the rate makes 8e-3, a momentum of 0.8 makes 2e-2, and tau from 0.9 makes 7e-4."""
    heads = {"heads.projector_hidden": 256, "heads.projector_output": 64, "heads.predictor_hidden": 256}
    lars = {"optimizer.name": "lars", "optimizer.base_learning_rate": 0.05}
    settings = {"encoder.name": "resnet10", "batch_size": 64, "epochs": 20}
    run(tmp_path / "run", kernels=kernels, **settings, **heads, **lars)
    golden = json.loads((Path(__file__).parent / "golden_losses.json").read_text())
    assert losses(tmp_path / "run") == pytest.approx(golden, abs=5e-4)
    assert RunDirectory(tmp_path / "run").record()["derived"]["kernels"] == kernels


def test_training_writes_a_complete_run_directory(tmp_path: Path) -> None:
    ended = run(tmp_path / "run")
    assert ended.finished
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["format_version"] == 1
    assert record["config"]["batch_size"] == 16
    assert record["derived"] | {"total_steps": 20, "warmup_steps": 2} == record["derived"]
    assert record["machine"]["versions"]["torch"] == torch.__version__
    assert json.loads((tmp_path / "run" / "result.json").read_text())["finished"]
    assert len(read_metrics(tmp_path / "run" / "metrics.jsonl")) == 20
    (path,) = (tmp_path / "run" / "checkpoints").glob("step_00000020.*.pt")
    checkpoint = torch.load(path, weights_only=True)
    weights = load_file(tmp_path / "run" / "encoder.safetensors")
    assert torch.equal(weights["conv1.weight"], checkpoint["method"]["online.encoder.conv1.weight"])


def test_load_gives_the_trained_encoder(tmp_path: Path) -> None:
    encoder = run(tmp_path / "run").encoder()
    images = torch.from_numpy(PICTURES[:4]).permute(0, 3, 1, 2)
    vectors = encoder(images)
    assert vectors.shape == (4, 64)
    assert torch.equal(vectors, byol.load(tmp_path / "run")(images))
    assert float(vectors.std(0).mean()) > 0


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_training_any_number_of_channels(tmp_path: Path, channels: int) -> None:
    data = np.random.default_rng(0).integers(0, 256, (32, 20, 20, channels), dtype=np.uint8)
    ended = run(tmp_path / "run", data, epochs=1, **{"views.size": 0})
    assert ended.encoder()(torch.zeros(1, channels, 20, 20)).shape == (1, 64)
    assert len(ended.encoder().description.mean) == channels


@pytest.mark.parametrize("semantics", ["deepmind", "torchvision"])
@pytest.mark.parametrize("shape", [(32, 1, 1, 1), (32, 5, 200, 3)])
def test_training_on_black_images_of_extreme_shapes_is_finite(tmp_path: Path, shape: tuple, semantics: str) -> None:
    ended = run(tmp_path / "run", np.zeros(shape, np.uint8), epochs=1, **{"views.semantics": semantics})
    assert np.isfinite(losses(tmp_path / "run")).all()
    assert bool(ended.encoder()(torch.zeros(2, shape[3], *shape[1:3])).isfinite().all())


SPAWNED = """
import multiprocessing, sys
import byol
from tests.conftest import SMALL
if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    run = byol.pretrain(sys.argv[1], out=sys.argv[2], overrides={**SMALL, "workers": 2, "epochs": 1})
    print("ended", run.finished)
"""


def test_training_with_spawned_workers_gives_the_same_losses(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SPAWNED)
    command = [sys.executable, str(tmp_path / "script.py"), str(photos), str(tmp_path / "spawned")]
    threads = str(torch.get_num_threads())  # another number of threads rounds otherwise
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": threads}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert "ended True" in ended.stdout, ended.stderr
    run(tmp_path / "here", str(photos), epochs=1)
    assert losses(tmp_path / "spawned") == losses(tmp_path / "here")


def test_training_in_a_thread_gives_the_same_losses(tmp_path: Path) -> None:
    """Signals reach the main thread only."""
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(run, tmp_path / "thread", epochs=1).result().finished
    run(tmp_path / "here", epochs=1)
    assert losses(tmp_path / "thread") == pytest.approx(losses(tmp_path / "here"), rel=1e-4)
