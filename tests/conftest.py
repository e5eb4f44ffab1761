"""Small real files that many tests use."""

import io
import os
import uuid
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

os.environ["OMP_NUM_THREADS"] = "1"
"""One thread, a number that stays fixed: tests run side by side, and results of different numbers differ by rounding."""
torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="torch device of tests/parity: cpu or cuda")


@pytest.fixture
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.config.getoption("--device"))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_photo_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets every test store photos in a folder of its own."""
    from byol.data import spec

    default = spec.cache_folder
    folder = tmp_path_factory.getbasetemp() / f"photos-{uuid.uuid4().hex}"
    monkeypatch.setattr(spec, "cache_folder", lambda name: folder if name == "photos" else default(name))


def picture(seed: int, height: int = 40, width: int = 48) -> np.ndarray:
    """A smooth colour picture with a bright disc, different for every seed."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [np.sin(6 * (a * x + b * y) + c) for a, b, c in generator.uniform(-3, 3, (3, 3))]
    cy, cx = generator.uniform(0.2, 0.6, 2)
    disc = ((y - cy) ** 2 + (x - cx) ** 2 < 0.02)[..., None]
    return np.where(disc, 240, (127 + 100 * np.stack(waves, axis=-1))).clip(0, 255).astype(np.uint8)


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """40 JPEG pictures of two sizes in two class folders."""
    folder = tmp_path / "photos"
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        for i in range(20):
            seed = i + 100 * (label == "dog")
            (folder / label / f"{i:02d}.jpg").write_bytes(encoded(picture(seed, 40 + 8 * (i % 2)), "JPEG"))
    return folder


SMALL = {
    "encoder.name": "resnet18",
    "encoder.width": 0.125,
    "heads.projector_hidden": 32,
    "heads.projector_output": 16,
    "heads.predictor_hidden": 32,
    "views.size": 32,
    "batch_size": 16,
    "precision": "fp32",
    "workers": 0,
    "log_interval_steps": 1,
}
"""Overrides that make a run take a second."""
