"""Fine-tuned segmentation: it learns what maps do not hold, masks follow their crops, dilation, and refusals."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from byol.commands.evaluate import evaluate
from byol.data.masks import open_masks
from byol.data.source import SkippedImages
from byol.data.spec import DataSpec
from byol.encoder.encoder import EncoderDescription
from byol.errors import ByolError
from byol.evaluate.fcn import CHANNELS, SegmentationNetwork, dilated_trunk
from byol.evaluate.mask_crops import MaskCrops
from byol.evaluate.protocols import segment_finetune
from byol.evaluate.protocols.options import ProtocolOptions, SegmentOptions
from byol.nets.encoder import create_encoder
from tests.unit.masked import NAMES, write_masked

FINE = ProtocolOptions(segment=SegmentOptions(size=48))


@pytest.fixture
def masked(tmp_path: Path) -> Path:
    for first, (part, count) in enumerate((("train", 16), ("val", 4), ("test", 8))):
        write_masked(tmp_path / "masked" / part, count, 100 * first)
    (tmp_path / "masked" / "classes.txt").write_text("\n".join(NAMES))
    return tmp_path / "masked"


def test_finetuning_finds_colours_and_chooses_its_rate_on_validation_images(
    encoder: Path, masked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(segment_finetune.RATES, "smoke", (1e-6, 0.05))
    monkeypatch.setitem(segment_finetune.STEPS, "smoke", 30)
    (result,) = evaluate(encoder, str(masked), "segment-finetune", budget="smoke", options=FINE, workers=1)
    assert result.score.value > 60 and result.score.low <= result.score.value <= result.score.high
    assert list(result.metrics) == ["mIoU", "pixel accuracy", *(f"IoU {name}" for name in NAMES)]
    record = json.loads(result.path.read_text())
    settings, tried = record["settings"], record["extras"]["validation"]
    assert (settings["rate"], settings["side"], settings["validation_images"]) == (0.05, 48, 4)
    assert [entry["rate"] for entry in tried] == [1e-6, 0.05] and tried[1]["miou"] > tried[0]["miou"] + 20
    assert "central 513 px" in record["differs"]


def test_equal_seeds_give_equal_networks(encoder: Path, masked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(segment_finetune.STEPS, "smoke", 20)
    runs = [
        evaluate(encoder, str(masked), "segment-finetune", budget="smoke", options=FINE, workers=w, seed=seed)[0]
        for w, seed in ((1, 0), (3, 0), (1, 1))
    ]
    assert runs[0].metrics == runs[1].metrics != runs[2].metrics


def test_paper_budget_has_the_papers_settings(encoder: Path, masked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert segment_finetune.STEPS["paper"] == 30_000
    assert np.allclose(segment_finetune.RATES["paper"], [10**-3, 10**-2.5, 10**-2, 10**-1.5, 10**-1])
    monkeypatch.setitem(segment_finetune.STEPS, "paper", 1)
    monkeypatch.setattr(segment_finetune, "PAPER_CROP", 65)
    (result,) = evaluate(encoder, str(masked), "segment-finetune", budget="paper", workers=1)
    settings = result.record["settings"]
    assert (settings["side"], settings["short_side"], settings["batch_size"], len(settings["rates"])) == (65, 0, 16, 5)
    assert not result.record["differs"].startswith("not the paper's protocol: budget")


@pytest.mark.parametrize("short_side", [0, 24, 90])
def test_crops_keep_each_class_at_its_colour(tmp_path: Path, short_side: int) -> None:
    source = open_masks(DataSpec(str(write_masked(tmp_path, 6)))).train
    crops = MaskCrops(source, 3, torch.zeros(3), 40, short_side, 0, SkippedImages())
    seen, right, padded = 0, 0, 0
    for images, classes in crops.batches(5, 4, 2):
        assert images.shape == (5, 3, 40, 40) and classes.shape == (5, 40, 40)
        by_colour = torch.where(images[:, 0] > 0.7, 1, torch.where(images[:, 1] > 0.7, 2, 0))
        known = classes != 255
        assert (images.sum(dim=1)[~known] == 0).all()
        seen, right = seen + int(known.sum()), right + int((by_colour == classes)[known].sum())
        padded += int((~known).sum())
    assert right / seen > 0.93  # but for pixels that resizing mixes
    assert (padded > 0) == (short_side < 90)


def test_every_image_is_cropped_once_per_pass_and_flips_turn_both(tmp_path: Path) -> None:
    source = open_masks(DataSpec(str(write_masked(tmp_path, 11)))).train
    read: list[int] = []
    plain = source.read
    source.read = lambda index, *rest: (read.append(index), plain(index, *rest))[1]  # pyright: ignore[reportAttributeAccessIssue]
    crops = MaskCrops(source, 3, torch.zeros(3), 32, 0, 0, SkippedImages())
    for number in range(2 * len(source)):
        crops.crop(number)
    assert sorted(read[: len(source)]) == sorted(read[len(source) :]) == list(range(len(source)))
    assert read[: len(source)] != read[len(source) :]


@pytest.mark.parametrize("conventions", ["torch", "deepmind"])
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_our_resnets_take_dilation_in_place_of_the_last_stride(name: str, conventions: str) -> None:
    settings = {"width": 0.125, "stem": "imagenet", "conventions": conventions}
    module = create_encoder(name, **settings)
    about = EncoderDescription(name, settings, 0, 3, 64, (0.5,) * 3, (0.5,) * 3, True)
    trunk = dilated_trunk(module, about)
    assert trunk.dilated and (trunk.stride, trunk.multiple) == (16, 1)
    assert all(torch.equal(one, other) for one, other in zip(module.state_dict().values(), trunk.module.state_dict().values(), strict=True))  # fmt: skip
    layer4 = trunk.module.get_submodule("layer4")
    wide = [part for part in layer4.modules() if isinstance(part, nn.Conv2d) and part.kernel_size == (3, 3)]
    assert wide and all((part.dilation, part.stride) == ((2, 2), (1, 1)) for part in wide)
    images = torch.randn(2, 3, 96, 64)
    assert SegmentationNetwork(trunk, 3, 64, 5)(images).shape == (2, 5, 6, 4)
    coarse = SegmentationNetwork(dilated_trunk(module, about, stage=2), 3, 64, 5)
    assert coarse(images).shape == (2, 5, 12, 8) and coarse.head.get_parameter("0.weight").shape[0] == CHANNELS


@pytest.mark.parametrize(
    ("name", "stride", "dilated"), [("resnet10t", 16, True), ("efficientnet_lite0", 16, True), ("vit_tiny_patch16_224", 16, False), ("densenet121", 32, False)]
)  # fmt: skip
def test_timm_dilates_what_it_can(name: str, stride: int, dilated: bool) -> None:
    module = create_encoder(name, image_size=224)
    trunk = dilated_trunk(module, EncoderDescription(name, {}, 0, 3, 224, (0.5,) * 3, (0.5,) * 3, True))
    assert (trunk.stride, trunk.dilated) == (stride, dilated)
    state = module.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in trunk.module.state_dict().items())


def test_an_encoder_that_cannot_be_dilated_is_said(
    masked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(segment_finetune.STEPS, "smoke", 1)
    (result,) = evaluate(
        "timm:densenet121", str(masked), "segment-finetune", budget="smoke", options=FINE, workers=1, out=tmp_path
    )
    assert not result.record["settings"]["dilated"]
    assert "stride of 32 px: this encoder cannot be built with dilation" in result.record["caution"]


def test_finetuning_that_cannot_be_gets_a_sentence(
    encoder: Path, masked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = ProtocolOptions(segment=SegmentOptions(size=-1)), ProtocolOptions(segment=SegmentOptions(stage=9))
    cases = {
        "hog has no weights to train": ("hog", None),
        "must be 0 or more, in px; found -1": (encoder, wrong[0]),
        "there is no stage 9": (encoder, wrong[1]),
    }
    for says, (run, options) in cases.items():
        with pytest.raises(ByolError, match=says):
            evaluate(run, str(masked), "segment-finetune", budget="smoke", options=options, out=tmp_path / "out")
    monkeypatch.setitem(segment_finetune.RATES, "smoke", (1e9,))
    with pytest.raises(ByolError, match=r"not finite .*: its rate, 1e\+09, is too high"):
        evaluate(encoder, str(masked), "segment-finetune", budget="smoke", options=FINE, out=tmp_path / "out")
