"""Each script in examples/ runs, on a few pictures."""

import runpy
import sys
from pathlib import Path

import pytest

import byol
from byol.encoder.encoder import EncoderDescription
from byol.encoder.encoder_file import save_encoder
from byol.nets.encoder import create_encoder
from tests.conftest import encoded, picture
from tests.docs.pages import ROOT

SCRIPTS = sorted((ROOT / "examples").glob("*.py"))
ARGUMENTS = {
    "byol_beside_simclr": ["--data", "many", "--epochs", "1"],
    "detector": ["exports/torchvision", "--model", "resnet18", "--steps", "2"],
    "own_encoder": ["--epochs", "0.5"],
    "search_by_example": ["photos", "photos/cat/01.jpg", "--epochs", "0.3", "--count", "3"],
}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_example_runs(
    script: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for label in ("dark", "light"):
        (tmp_path / "many" / label).mkdir(parents=True)
        for seed in range(48):
            pixels = picture(seed, 28, 28)[..., :1].repeat(3, axis=2) // (3 if label == "dark" else 1)
            (tmp_path / "many" / label / f"{seed:02d}.png").write_bytes(encoded(pixels))
    monkeypatch.chdir(tmp_path)
    if script.stem == "detector":
        _export_resnet18()
    monkeypatch.setattr(sys, "argv", [script.name, *ARGUMENTS[script.stem]])
    runpy.run_path(str(script), run_name="__main__")
    printed = capsys.readouterr().out
    if script.stem == "search_by_example":
        assert printed.splitlines()[-3].split() == ["1.000", "cat/01.jpg"]  # itself, before all others
    elif script.stem == "detector":
        assert printed.splitlines()[0] == "100 of 100 tensors of the encoder matched, 0 missing"
        assert printed.splitlines()[-1].startswith("step 2: loss")
    elif script.stem == "own_encoder":
        assert "vectors of (8, 1, 40, 40) images: (8, 64)" in printed
    else:
        assert [line.split()[0] for line in printed.splitlines()[1:4]] == ["byol", "simclr", "pixels"]
        assert Path("runs/beside/report.html").exists()


def _export_resnet18() -> None:
    module = create_encoder("resnet18", stem="imagenet")
    description = EncoderDescription("resnet18", {"stem": "imagenet"}, 512, 3, 64, (0.5,) * 3, (0.25,) * 3, True)
    Path("run").mkdir()
    save_encoder(Path("run"), module, description)
    byol.export_encoder("run", "torchvision", "exports/torchvision")


def test_examples_are_short() -> None:
    assert {script.stem for script in SCRIPTS} == set(ARGUMENTS)
    for script in SCRIPTS:
        assert len(script.read_text().splitlines()) < 60, script
