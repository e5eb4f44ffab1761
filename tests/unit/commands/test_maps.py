"""Files of feature maps: every image's own map, whatever its shape and its neighbours; sentences for what cannot be."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

import byol
from byol.cli.main import main
from byol.commands import maps as command
from byol.errors import ByolError, EncoderError
from tests.conftest import encoded, picture

SHAPES = [(40, 48), (96, 40), (40, 48), (24, 26), (3, 90), *[(40, 40)] * 12]
"""Height and width of pictures, in pixels."""


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, shape in enumerate(SHAPES):
        (folder / f"{number:02d}.png").write_bytes(encoded(picture(number, *shape)))
    (folder / "torn.png").write_bytes(b"junk")
    return folder


def test_maps_of_a_folder_are_those_of_each_image_alone(
    encoder: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "SHARD_BYTES", 20_000)
    with pytest.raises(SystemExit) as ended:
        main(
            ["embed", str(encoder), "--data", str(pictures), "--out", str(tmp_path / "maps"), "--maps", "--size", "32"]
        )
    output = capsys.readouterr()
    assert ended.value.code == 0 and "17 maps written" in output.out and "skipped torn.png" in output.err
    index = json.loads((tmp_path / "maps" / "maps.json").read_text())
    assert (index["stage"], index["stages"], index["stride"], index["size"], index["channels"]) == (4, 4, 8, 32, 64)
    assert [image["name"] for image in index["images"]] == [f"{number:02d}.png" for number in range(17)]
    assert len({image["file"] for image in index["images"]}) > 1
    alone = byol.load(encoder)
    for image in index["images"]:
        values = load_file(tmp_path / "maps" / image["file"])[str(image["number"])]
        pixels = torch.from_numpy(picture(image["number"], *SHAPES[image["number"]])).permute(2, 0, 1)[None]
        torch.testing.assert_close(values, alone.maps(pixels, size=32).values[0], rtol=1e-4, atol=1e-5)
        assert list(values.shape[1:]) == image["map"]
    assert [image["map"] for image in index["images"][:5]] == [[4, 5], [10, 4], [4, 5], [4, 4], [4, 32]]


def test_maps_that_cannot_be_made_leave_nothing_behind(
    encoder: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = {
        "no stage 7": {"run": encoder, "stage": 7},
        "Flatten gives no feature maps": {"run": "pixels"},
        "free. Take a later --stage": {"run": encoder},
    }
    for says, arguments in cases.items():
        if "free" in says:
            monkeypatch.setattr(command.shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
        with pytest.raises(ByolError, match=says):
            byol.embed_maps(data=str(pictures), out=tmp_path / "maps", **arguments)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encoder", "pictures"]


def test_options_of_maps_alone_are_refused_for_vectors(encoder: Path, pictures: Path, tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit):
        main(["embed", str(encoder), "--data", str(pictures), "--out", str(tmp_path / "v.npz"), "--size", "64"])
    assert "add --maps" in capsys.readouterr().err


def test_maps_of_hog_are_cells_that_follow_the_image(pictures: Path, tmp_path: Path) -> None:
    byol.embed_maps("hog", str(pictures), tmp_path / "maps", size=64)
    index = json.loads((tmp_path / "maps" / "maps.json").read_text())
    assert (index["stride"], index["channels"], index["images"][0]["map"]) == (8, 100, [8, 10])


def test_onnx_file_has_the_maps_as_its_second_output(encoder: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    export = byol.export_encoder(encoder, "onnx", tmp_path / "onnx", maps=True, stage=-2)
    assert "features and maps" in export.checked and "(features, maps) = session.run" in export.snippet
    session = onnxruntime.InferenceSession(str(tmp_path / "onnx" / "encoder.onnx"))
    views = torch.rand(3, 3, 16, 16)
    features, maps = (torch.from_numpy(part) for part in session.run(None, {"images": views.numpy()}))
    original = byol.load(encoder)
    torch.testing.assert_close(maps, original.maps(views, stage=-2).values, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(features, byol.load(tmp_path / "onnx").encode_views(views))
    with pytest.raises(EncoderError, match="ONNX file, which has one size of image"):
        byol.load(tmp_path / "onnx").maps(views)
    with pytest.raises(ByolError, match="for --to onnx"):
        byol.export_encoder(encoder, "timm", tmp_path / "timm", maps=True)
