"""What is said before a training, and what the user named stays as it is."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from byol.assembly.cautions import cautions, start_left
from byol.assembly.settings import Asked, build_schedule, resolve
from byol.config import Config, replaced
from byol.data.profile import DataProfile
from byol.encoder.encoder import EncoderDescription
from byol.encoder.encoder_file import TRAINED_ELSEWHERE, save_encoder
from byol.errors import ConfigError
from byol.recipes import recipe

SMALL = recipe("small")
SEEN = DataProfile(3, 224, (0.5,) * 3, (0.2,) * 3)


def resolved(num_images: int, num_ranks: int = 1, given: tuple[str, ...] = (), **settings: Any) -> Config:
    asked = replaced(SMALL.config, {name.replace("__", "."): value for name, value in settings.items()})
    final = "optimizer.warmup_epochs" in given
    training = Asked(asked, SMALL, frozenset(given))
    return resolve(training, SEEN, num_images, num_ranks=num_ranks, epochs_are_final=final).config


def said(config: Config, num_images: int, given: tuple[str, ...] = (), num_ranks: int = 1) -> list[str]:
    return cautions(config, SMALL, given, build_schedule(config, num_images), num_ranks)


def test_named_settings_stay_where_others_are_fitted() -> None:
    assert resolved(300).batch_size == 64
    assert resolved(300, given=("batch_size",)).batch_size == SMALL.config.batch_size == 256
    assert resolved(20_000, epochs=40, optimizer__warmup_epochs=10).optimizer.warmup_epochs < 5
    named = resolved(20_000, epochs=40, optimizer__warmup_epochs=10, given=("optimizer.warmup_epochs",))
    assert named.optimizer.warmup_epochs == 10


@pytest.mark.parametrize(("size", "told"), [(32, True), (64, False), (0, False)])
def test_views_that_show_little_of_photos_are_told(size: int, told: bool) -> None:
    config = replaced(SMALL.config, {"views.size": size})
    warnings = resolve(Asked(config, SMALL), SEEN, 300, epochs_are_final=False).cautions
    assert any("lose most detail of images of 224 px" in line for line in warnings) == told


@pytest.mark.parametrize("epochs", [3, 30])
def test_share_of_the_start_is_the_product_of_tau(epochs: int) -> None:
    schedule = build_schedule(resolved(2000, epochs=epochs), 2000)
    product = np.prod([schedule.tau(step) for step in range(schedule.total_steps)])
    assert start_left(schedule) == pytest.approx(product, abs=2e-3)


def test_target_that_keeps_its_start_is_told_and_the_advice_helps() -> None:
    config = resolved(300, epochs=20)
    line, _ = said(config, 300)
    share, advised = int(line.split("still has ")[1].split(" %")[0]), float(line.split("tau-base ")[1].split()[0])
    assert share == round(100 * start_left(build_schedule(config, 300))) > 5
    helped = replaced(config, {"method.tau_base": advised})
    assert start_left(build_schedule(helped, 300)) < 0.02
    assert "--method.tau-reference-batch 256 would scale it" in said(resolved(700, epochs=200), 700)[0]
    assert said(replaced(config, {"method.name": "simclr"}), 300) == []
    assert said(resolved(50_000), 50_000) == []
    short, _ = said(resolved(300, epochs=1), 300)
    assert short.startswith("after 4 steps") and short.endswith(": too few steps to learn much")


def test_few_images_for_byol_are_told() -> None:
    line = said(resolved(5_000), 5_000)[-1]
    assert (
        line.startswith("999,936 images in all passes together") and "Below 2,000,000 --minutes chooses SimCLR" in line
    )
    assert said(resolved(10_100), 10_100) == []
    assert said(replaced(resolved(5_000), {"method.name": "simclr"}), 5_000) == []
    assert not any(
        "few for BYOL" in line for line in said(replaced(resolved(5_000), {"encoder.pretrained": True}), 5_000)
    )
    assert cautions(resolved(5_000), recipe("imagenette"), (), build_schedule(resolved(5_000), 5_000)) == []


def test_what_keeps_weights_from_elsewhere_is_told(tmp_path: Path) -> None:
    whole = resolved(50_000)
    pretrained = replaced(whole, {"encoder.pretrained": True})
    (line,) = said(pretrained, 50_000)
    assert "--encoder.norm frozen" in line and "--optimizer.encoder-rate 0.03" in line
    (line,) = said(replaced(pretrained, {"encoder.norm": "frozen"}), 50_000)
    assert "--encoder.norm" not in line and "--optimizer.encoder-rate 0.03" in line
    assert said(pretrained, 50_000, given=("encoder.norm", "optimizer.encoder_rate")) == []
    assert said(replaced(pretrained, {"encoder.norm": "frozen", "optimizer.encoder_rate": 0.2}), 50_000) == []
    for how, lines in (("online encoder after 9 steps", 0), (TRAINED_ELSEWHERE, 1)):
        description = EncoderDescription("resnet18", {}, 512, 3, 224, (0.5,) * 3, (0.5,) * 3, False, {"how": how})
        save_encoder(tmp_path, nn.Flatten(), description)
        assert len(said(replaced(whole, {"encoder.init": str(tmp_path)}), 50_000)) == lines


def test_rate_and_decay_of_another_optimizer_are_told() -> None:
    lars = replaced(resolved(50_000), {"optimizer.name": "lars"})
    (line,) = said(lars, 50_000)
    assert line.startswith(
        "base learning rate 0.3 and weight decay 0.0001 are the recipe's for sgd, not for lars (the paper"
    )
    assert len(said(lars, 50_000, given=("optimizer.weight_decay",))) == 1
    assert said(lars, 50_000, given=("optimizer.weight_decay", "optimizer.base_learning_rate")) == []


def test_batch_norm_of_few_images_is_told() -> None:
    few = resolved(50_000, micro_batch_size=8)
    assert "batch norm sees 8 images at a time, not 256" in said(few, 50_000)[0]
    assert said(few, 50_000, num_ranks=16) == []
    none = {"encoder.norm": "group", "heads.projector_norm": "group", "heads.predictor_norm": "group"}
    assert said(replaced(few, none), 50_000) == []


@pytest.mark.parametrize(("norm", "name"), [("none", "no norm"), ("layer", "layer norm")])
def test_heads_without_batch_norm_are_told_where_that_was_measured(norm: str, name: str) -> None:
    bare = replaced(resolved(50_000), {"heads.projector_norm": norm, "heads.predictor_norm": norm})
    (line,) = said(bare, 50_000)
    assert line.startswith(f"{name} in both heads: in byol study normalization the projections collapsed")
    assert said(replaced(bare, {"heads.predictor": "linear"}), 50_000) == []
    assert said(replaced(bare, {"method.name": "simclr"}), 50_000) == []
    assert said(replaced(bare, {"heads.weight_standardization": True}), 50_000) == []
    assert said(replaced(bare, {"heads.predictor_norm": "batch"}), 50_000) == []


def test_more_ranks_than_images_in_a_batch_are_one_sentence() -> None:
    with pytest.raises(ConfigError, match="8 ranks cannot share a batch of 4"):
        resolved(16, num_ranks=8)
