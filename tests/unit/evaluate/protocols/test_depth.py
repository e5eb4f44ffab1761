"""Depth of pictures whose brightness is their depth: the record, what chooses nothing, and refusals."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from byol.cli.main import main
from byol.commands.evaluate import evaluate
from byol.errors import ByolError
from byol.evaluate.depth import METRICS
from byol.evaluate.protocols.options import DepthOptions, ProtocolOptions
from tests.unit.masked import write_deep

FINE = ProtocolOptions(depth=DepthOptions(stage=2, size=48))


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    for first, (part, count) in enumerate((("train", 16), ("val", 4), ("test", 8))):
        write_deep(tmp_path / "deep" / part, count, 100 * first)
    return tmp_path / "deep"


def test_depth_is_found_and_said(encoder: Path, deep: Path) -> None:
    lines: list[str] = []
    (result,) = evaluate(encoder, str(deep), "depth", options=FINE, say=lines.append)
    assert list(result.metrics) == list(METRICS)
    assert result.score.value > 85 and result.metrics["rel"].value < 15 and result.metrics["rms, cm"].value < 60
    record = json.loads(result.path.read_text())
    settings = record["settings"]
    assert (settings["stage"], settings["stride"], settings["validation_images"]) == (2, 2, 4)
    assert len(record["extras"]["validation"]) == 8 and "frozen maps" in record["differs"]
    assert any("1000 units are a metre" in line and "median" in line for line in lines)


def test_test_depths_choose_nothing(encoder: Path, deep: Path) -> None:
    (plain,) = evaluate(encoder, str(deep), "depth", options=FINE)
    for file in (deep / "test" / "depths").iterdir():
        Image.fromarray(np.asarray(Image.open(file))[::-1] * np.uint16(3)).save(file)
    (turned,) = evaluate(encoder, str(deep), "depth", options=FINE)
    assert plain.record["settings"] == turned.record["settings"] and plain.record["extras"] == turned.record["extras"]
    assert plain.score.value > turned.score.value + 20
    assert plain.record["test"]["fingerprint"] != turned.record["test"]["fingerprint"]


def test_hog_has_depths_at_its_cells_and_the_table_names_every_error(deep: Path, tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "hog", "--data", str(deep), "--protocol", "depth", "--depth.scale", "500", "--out", str(tmp_path)])  # fmt: skip
    output = capsys.readouterr().out
    assert ended.value.code == 0 and all(name in output for name in METRICS) and "500 units are a metre" in output


def _unknown(part: str):
    def change(deep: Path) -> None:
        for file in (deep / part / "depths").iterdir():
            Image.fromarray(np.zeros((48, 64), np.uint16)).save(file)

    return change


@pytest.mark.parametrize(
    ("run", "change", "options", "says"),
    [
        ("encoder", _unknown("train"), FINE, "has no known depth: every pixel is 0"),
        ("encoder", _unknown("val"), FINE, "the validation images hold no known depth"),
        ("encoder", _unknown("test"), FINE, "test images hold no known pixel"),
        ("encoder", None, ProtocolOptions(depth=DepthOptions(scale=0.001)), "holds depths up to .* m at 0.001 units"),
        ("encoder", None, ProtocolOptions(depth=DepthOptions(size=-2)), "must be 0 or more, in px; found -2"),
        ("encoder", None, ProtocolOptions(depth=DepthOptions(stage=9)), "there is no stage 9"),
        ("pixels", None, FINE, "Flatten gives no feature maps"),
    ],
)
def test_depth_that_cannot_be_gets_a_sentence(encoder: Path, deep: Path, tmp_path: Path, run, change, options, says) -> None:  # fmt: skip
    if change:
        change(deep)
    with pytest.raises(ByolError, match=says):
        evaluate(encoder if run == "encoder" else run, str(deep), "depth", options=options, out=tmp_path / "out")


def test_masks_and_depths_are_evaluated_one_after_the_other(encoder: Path, deep: Path, tmp_path: Path) -> None:
    with pytest.raises(ByolError, match="segment takes images with masks, depth images with depths, knn images with a label: evaluate"):  # fmt: skip
        evaluate(encoder, str(deep), ["depth", "segment", "knn"], out=tmp_path / "out")
    with pytest.raises(ByolError, match="no folders images and masks"):
        evaluate(encoder, str(deep / "train"), "segment", out=tmp_path / "out")
