"""What others' code, files and terminals come up with ends in one sentence."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

import byol
from byol.cli.main import main, parse
from byol.data.arrays import ArrayImages
from byol.encoder.encoder import Encoder, EncoderDescription
from byol.errors import ByolError, ConfigError, DataError, EncoderError
from byol.evaluate.protocols.options import SemiOptions
from byol.evaluate.protocols.semi import labelled_part
from byol.nets.encoder import create_encoder, find_num_features
from tests.conftest import SMALL, picture


class Gives(nn.Module):
    """Gives what `make` makes of a map of features."""

    def __init__(self, make: Any) -> None:
        super().__init__()
        self.conv, self.make = nn.Conv2d(3, 8, 3, 2), make

    def forward(self, images: torch.Tensor) -> Any:
        return self.make(self.conv(images))


class TwoInputs(nn.Module):
    def forward(self, images: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3)) + condition


def failing(maps: torch.Tensor) -> torch.Tensor:
    raise KeyError


@pytest.mark.parametrize(
    ("encoder", "said"),
    [
        (Gives(lambda maps: (maps.mean((2, 3)),)), "gives tuple, not a tensor"),
        (Gives(lambda maps: [maps.mean((2, 3))]), "gives list, not a tensor"),
        (Gives(lambda maps: {"x": maps.mean((2, 3))}), "gives dict, not a tensor"),
        (Gives(lambda maps: None), "gives NoneType"),
        (Gives(lambda maps: maps), r"gives \(2, 8, 15, 15\)"),
        (Gives(failing), "KeyError"),
        (TwoInputs(), "does not take images.*condition"),
        (torchvision.models.resnet18, "must be a torch.nn.Module, ready made"),
        (nn.Linear, "must be a torch.nn.Module, ready made"),
        (3, "must be a torch.nn.Module"),
    ],
)
def test_encoder_that_gives_something_else_is_one_sentence(encoder: Any, said: str) -> None:
    with pytest.raises(EncoderError, match=said):
        find_num_features(encoder, 3, 32)


def test_timm_model_that_refuses_a_size_by_any_error_is_one_sentence() -> None:
    module = create_encoder("halonet26t", image_size=32)
    with pytest.raises(EncoderError, match="does not take images of 3 channels at 32 px"):
        find_num_features(module, 3, 32)


def make_encoder(channels: int = 3) -> Encoder:
    module = nn.Sequential(nn.Conv2d(channels, 8, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Encoder(module, EncoderDescription(None, {}, 8, channels, 16, (0.5,) * channels, (0.2,) * channels, True))


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (
            torch.zeros(4, 24, 26, 3, dtype=torch.uint8),
            r"channels last, of 3 channels; give images\.permute\(0, 3, 1, 2\)",
        ),
        (torch.zeros(4, 4, 24, 26, dtype=torch.uint8), "takes images of 3 channels.*images of 4 channels"),
        (torch.zeros(4, 1, 24, 26, dtype=torch.uint8), "images of 1 channels"),
        (torch.zeros(3, 24, 26, dtype=torch.uint8), "takes a tensor of images"),
        (torch.zeros(2, 3, 0, 24, dtype=torch.uint8), "hold nothing"),
        (np.zeros((4, 3, 24, 26), np.uint8), "found ndarray"),
        (torch.full((2, 3, 24, 26), float("nan")), r"must be in \[0, 1\].*nan"),
        (torch.zeros(2, 3, 24, 26).long(), "found torch.int64"),
    ],
)
def test_encoder_takes_its_images_alone(images: Any, said: str) -> None:
    with pytest.raises(ByolError, match=said):
        make_encoder()(images)


@pytest.mark.parametrize(
    "words",
    [
        ["--epochs", "1e400"],
        ["--epochs", "nan"],
        ["--seed", "99999999999999999999999"],
        ["--batch-size", "1" + "0" * 30],
        ["--minutes", "inf"],
        ["--views.view1.crop-area", "0.1", "1e300"],
    ],
)
def test_absurd_numbers_are_refused(words: list[str]) -> None:
    with pytest.raises(ConfigError, match=f"{words[0]} must be a number of usual size"):
        parse("pretrain", ["--data", "sample", *words])


def command(*words: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **settings.pop("environment", {})}
    return subprocess.run(
        [sys.executable, "-m", "byol", *words],
        text=True,
        stderr=subprocess.PIPE,
        timeout=60,
        env=environment,
        **settings,
    )


def test_help_in_a_terminal_of_5_columns_is_printed() -> None:
    done = command("recipes", "--help", stdout=subprocess.PIPE, environment={"COLUMNS": "5"})
    assert done.returncode == 0 and max(map(len, done.stdout.splitlines())) > 20


def test_closed_output_is_no_traceback() -> None:
    done = command("recipes", preexec_fn=lambda: os.close(1))
    assert (done.returncode, done.stderr) == (0, "")
    done = command("recipes", "--nonsense", preexec_fn=lambda: (os.close(1), os.close(2)))
    assert done.returncode == 2


def test_home_that_nobody_has_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["check-data", "--data", "~no-such-user/photos"])
    assert ended.value.code == 1 and "Give the whole path" in capsys.readouterr().err


class Named(ArrayImages):
    def name(self, index: int) -> str:
        return [os.fsdecode(b"caf\xe9.png"), "é.png", "a b.png"][index]


@pytest.mark.parametrize(
    "content",
    [
        b"caf\xe9.png\n\xc3\xa9.png\n",
        b"\xef\xbb\xbf\xc3\xa9.png\r\na b.png\r\n",
        "é.png\n".encode("utf-16"),
        b"\xe9.png",
    ],
)
def test_lists_in_any_encoding_are_read_or_refused_in_a_sentence(content: bytes, tmp_path: Path) -> None:
    source = Named(np.stack([picture(i) for i in range(3)]), np.array([0, 1, 0]))
    (tmp_path / "list.txt").write_bytes(content)
    options = SemiOptions(subset=str(tmp_path / "list.txt"))
    if len(content) > 15:
        assert len(labelled_part(source, options, 0)) == 2
        return
    readable = content.startswith(b"\xff\xfe")  # one image, by UTF-16
    with pytest.raises(DataError, match="are of one class" if readable else "are no image of"):
        labelled_part(source, options, 0)


class HeadsInTraining(nn.Module):
    """An encoder that gives a tuple in train mode alone, as GoogLeNet with its auxiliary heads."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        vectors = self.layer(images.mean(dim=(2, 3)))
        return (vectors, vectors) if self.training else vectors


def test_encoder_that_gives_more_in_training_is_one_sentence(tmp_path: Path) -> None:
    pictures = np.stack([picture(number, 24, 24) for number in range(16)])
    with pytest.raises(EncoderError, match="gives tuple in train mode, not a tensor"):
        byol.pretrain(pictures, out=tmp_path / "run", encoder=HeadsInTraining(), overrides=SMALL, say=lambda line: None)
