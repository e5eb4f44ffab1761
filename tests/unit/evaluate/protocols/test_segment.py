"""Segmentation of pictures whose classes are colours: both protocols, their records, and refusals."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from byol.cli.main import main
from byol.commands.evaluate import evaluate
from byol.errors import ByolError
from byol.evaluate.protocols.options import ProtocolOptions, SegmentOptions
from tests.unit.masked import NAMES, write_masked

FINE = ProtocolOptions(segment=SegmentOptions(stage=2, size=48))
HOG = ProtocolOptions(segment=SegmentOptions(size=48))


@pytest.fixture
def masked(tmp_path: Path) -> Path:
    for first, (part, count) in enumerate((("train", 12), ("val", 4), ("test", 6))):
        write_masked(tmp_path / "masked" / part, count, 100 * first)
    (tmp_path / "masked" / "classes.txt").write_text("\n".join(NAMES))
    return tmp_path / "masked"


def test_both_protocols_find_colours_and_write_their_records(encoder: Path, masked: Path) -> None:
    linear, knn = evaluate(encoder, str(masked), ["segment", "segment-knn"], options=FINE)
    assert linear.score.value > 80 and linear.score.low <= linear.score.value <= linear.score.high
    assert list(linear.metrics) == ["mIoU", "pixel accuracy", *(f"IoU {name}" for name in NAMES)]
    assert list(knn.metrics)[:2] == ["mIoU, 1 mask", "mIoU, 5 masks"] and knn.metrics["mIoU, 5 masks"].value > 70
    record = json.loads(linear.path.read_text())
    assert record["train"]["num_images"] == 16 and record["test"]["num_images"] == 6
    assert record["settings"]["validation_images"] == 4 and record["classes"] == list(NAMES)
    assert (record["settings"]["stage"], record["settings"]["stride"], record["settings"]["size"]) == (2, 2, 48)
    assert len(record["extras"]["validation"]) == 6 and record["differs"]


def test_test_masks_choose_nothing(encoder: Path, masked: Path) -> None:
    plain = evaluate(encoder, str(masked), ["segment", "segment-knn"], options=FINE)
    for file in (masked / "test" / "masks").iterdir():
        Image.fromarray(2 - np.asarray(Image.open(file))).save(file)
    turned = evaluate(encoder, str(masked), ["segment", "segment-knn"], options=FINE)
    for one, other in zip(plain, turned, strict=True):
        assert one.record["settings"] == other.record["settings"] and one.score.value > other.score.value
        assert one.record["test"]["fingerprint"] != other.record["test"]["fingerprint"]
    assert plain[0].record["extras"] == turned[0].record["extras"]


def test_maps_of_hog_segment_and_cells_are_bounded(masked: Path, tmp_path: Path, monkeypatch) -> None:
    from byol.evaluate.protocols import segment

    (whole,) = evaluate("hog", str(masked), "segment", out=tmp_path / "whole", options=HOG)
    monkeypatch.setattr(segment, "CELL_BYTES", 4 * 100 * 16 * 5)  # five cells of each of the 16 images
    (bounded,) = evaluate("hog", str(masked), "segment", out=tmp_path / "bounded", options=HOG)
    assert whole.score.value > 35
    assert (whole.record["settings"]["cells"], bounded.record["settings"]["cells"]) == (16 * 48, 16 * 5)


def test_segmentation_that_cannot_be_gets_a_sentence(
    encoder: Path, masked: Path, colours: Path, tmp_path: Path
) -> None:
    cases = {
        "segment takes images with masks, knn images": (encoder, masked, ["knn", "segment"], None),
        "Flatten gives no feature maps": ("pixels", masked, "segment", None),
        "there is no stage 9": (encoder, masked, "segment", ProtocolOptions(segment=SegmentOptions(stage=9))),
        "has no folders images and masks; found": (encoder, colours, "segment", None),
        "no folder .*gone": (encoder, tmp_path / "gone", "segment", None),
        "label 2, and there are 2 classes": (encoder, masked, "segment", "two classes"),
    }
    for says, (run, data, protocols, options) in cases.items():
        if options == "two classes":
            (masked / "classes.txt").write_text("one\ntwo\n")
            options = None
        with pytest.raises(ByolError, match=says):
            evaluate(run, str(data), protocols, options=options, out=tmp_path / "out")


def test_segmentation_from_the_command_line_prints_every_class(encoder: Path, masked: Path, capsys) -> None:
    words = ["evaluate", str(encoder), "--data", str(masked), "--protocol", "segment", "--budget", "smoke"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--segment.stage", "2", "--segment.ignore", "2"])
    output = capsys.readouterr().out
    assert ended.value.code == 0 and "mIoU" in output and "IoU red" in output and "IoU green" not in output
