"""Images of 12 bits and of 13 bands, from the folder to the exported encoder, with values computed by hand."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

import byol
from byol.assembly.settings import Asked
from byol.data.check_data import check_data
from byol.data.image_folder import ImageFolder
from byol.encoder.encoder import EncoderDescription
from byol.encoder.encoder_file import read_description
from byol.errors import DataError
from byol.export.snippet import byol_snippet, hub_snippet, onnx_snippet
from byol.recipes import recipe
from byol.report.preview import preview
from byol.runtime.number_format import NumberFormat
from tests.conftest import SMALL

COUNT, BANDS = 24, 13


def stack() -> np.ndarray:
    """(24, 40, 40, 13) smooth pictures of 12 bits, one of which reaches 4,095."""
    generator = np.random.default_rng(0)
    coarse = torch.from_numpy(generator.integers(200, 3900, (COUNT, BANDS, 5, 5))).float()
    fine = torch.nn.functional.interpolate(coarse, (40, 40), mode="bilinear").round().numpy().astype(np.uint16)
    fine[0, 0, 0, 0] = 4095
    return fine.transpose(0, 2, 3, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bands")
    for i, pixels in enumerate(stack()):
        tifffile.imwrite(root / f"{i:02d}.tif", pixels, photometric="minisblack", planarconfig="contig", metadata=None)
    return root


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    said: list[str] = []
    out = tmp_path_factory.mktemp("runs") / "bands"
    byol.pretrain(folder, epochs=2, out=out, overrides=SMALL, say=said.append)
    assert any("integers of 12 bits (0 to 4095) in deeper files are scaled to 0 to 1" in line for line in said)
    return out


def by_hand(run: Path) -> torch.Tensor:
    """Vectors of the first three pictures, whose values are divided by 4,095 here."""
    images = torch.from_numpy(stack()[:3].astype(np.float32) / 4095).permute(0, 3, 1, 2)
    encoder = byol.load(run)
    return encoder.encode_preprocessed(encoder.preprocess(images))


def test_bands_go_from_the_folder_to_the_vectors(folder: Path, run: Path, tmp_path: Path) -> None:
    report = check_data(ImageFolder(folder))
    assert "13" in "\n".join(report.lines()) and not report.broken
    small = recipe("small")
    shown = preview(ImageFolder(folder), Asked(small.config, small, frozenset()), rows=1, draws=1)
    assert any("12 bits" in note for note in shown.warnings)
    about = read_description(run)
    assert about.in_channels == BANDS and about.number_format == NumberFormat.read(
        json.loads((run / "encoder.json").read_text())["number_format"]
    )
    byol.embed(run, str(folder), tmp_path / "v.npz")
    vectors = torch.from_numpy(np.load(tmp_path / "v.npz")["vector"][:3])
    assert torch.allclose(vectors, by_hand(run), atol=1e-3)
    raw = torch.from_numpy(stack()[:3].astype(np.int32)).permute(0, 3, 1, 2)
    assert torch.allclose(byol.load(run)(raw), by_hand(run), atol=1e-3)


def test_rule_of_the_training_holds_for_other_images(folder: Path, run: Path, tmp_path: Path) -> None:
    dark = tmp_path / "dark"
    dark.mkdir()
    for i, pixels in enumerate(stack()[:3]):
        tifffile.imwrite(
            dark / f"{i}.tif", pixels // 32, photometric="minisblack", planarconfig="contig", metadata=None
        )
    byol.embed(run, str(dark), tmp_path / "v.npz")  # by themselves they would take 8 bits
    images = torch.from_numpy((stack()[:3] // 32).astype(np.float32) / 4095).permute(0, 3, 1, 2)
    encoder = byol.load(run)
    wanted = encoder.encode_preprocessed(encoder.preprocess(images))
    assert torch.allclose(torch.from_numpy(np.load(tmp_path / "v.npz")["vector"]), wanted, atol=1e-3)


def test_resumed_run_has_the_rule_of_its_start(folder: Path, run: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(run, tmp_path / "run")
    record = json.loads((copied / "run.json").read_text())
    assert NumberFormat.read(record["data"]["rule"]) == read_description(run).number_format
    byol.resume(copied, overrides={"epochs": 3}, accept_changes=True, say=lambda line: None)
    assert read_description(copied) == read_description(run)


def test_onnx_takes_the_scaled_values(run: Path, tmp_path: Path) -> None:
    byol.export_encoder(run, "onnx", tmp_path / "onnx", licence="mit")
    exported = byol.load(tmp_path / "onnx")
    assert exported.description.number_format == read_description(run).number_format
    raw = torch.from_numpy(stack()[:3].astype(np.int32)).permute(0, 3, 1, 2)
    vectors = exported.encode_preprocessed(exported.preprocess(exported.scaled(raw)))
    assert torch.allclose(vectors, by_hand(run), atol=1e-3)
    assert "0 to 4095" in (tmp_path / "onnx" / "README.md").read_text()


def test_encoder_of_bytes_refuses_deeper_values(run: Path) -> None:
    encoder = byol.load(run)
    encoder.description = replace(encoder.description, number_format=None)
    with pytest.raises(DataError, match=r"trained on images of 8 bits; found torch\.int32"):
        encoder(torch.zeros(1, BANDS, 40, 40, dtype=torch.int32))


def test_code_beside_an_export_of_deep_grey_does_not_divide_by_255() -> None:
    """Pillow's `L` would cut the values, and 255 is not their highest one."""
    rule = NumberFormat(kinds=(False,))
    about = EncoderDescription("resnet18", {}, 512, 1, 96, (0.5,), (0.2,), True, number_format=rule)
    for text in (onnx_snippet("out", about), byol_snippet("out", about), hub_snippet("out", about)):
        assert "255" not in text and "photo.jpg" not in text
        compile(text, "snippet", "exec")
    assert str(rule) in onnx_snippet("out", about)
    assert "/ 255" in onnx_snippet("out", replace(about, number_format=None))
