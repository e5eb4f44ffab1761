"""Runs and encoders that version 0.1.0 wrote, before settings of the run had a group of their own, are still read."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import byol
from tests.conftest import picture

WRITTEN = Path(__file__).parent / "earlier_version"
"""A run stopped at step 4 of 10 on the pictures of the fixture `photos`, its export, and vectors of the finished run."""


def test_earlier_run_continues_with_the_same_numbers(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(2)  # as in the run: another number rounds otherwise
    shutil.copytree(WRITTEN / "run", "run")
    run = byol.resume("run", say=lambda line: None)
    last = json.loads((run.path / "metrics.jsonl").read_text().splitlines()[-1])
    assert run.finished and last["step"] == 9
    assert last["loss"] == pytest.approx(2.19303297996521, rel=1e-3)


@pytest.mark.parametrize("folder", ["encoder", "run"])
def test_earlier_encoder_is_read(folder: str) -> None:
    encoder = byol.load(WRITTEN / folder)
    images = torch.from_numpy(np.stack([picture(seed) for seed in range(3)])).permute(0, 3, 1, 2)
    vectors = encoder(images)
    assert vectors.shape == (3, 32) and bool(vectors.isfinite().all())
    if folder == "encoder":
        torch.testing.assert_close(vectors, torch.from_numpy(np.load(WRITTEN / "vectors.npy")), rtol=1e-4, atol=1e-5)
