"""What is called from Python, as people call it: one name in place of a list, images of other types, names that are not there."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import byol
from byol.cli.main import main
from byol.commands.transfer import transfer
from byol.data.arrays import ArrayImages
from byol.encoder.encoder import Encoder, EncoderDescription
from byol.errors import ConfigError, DataError, DependencyError
from byol.export.snippet import _pixels
from byol.report.view_grid import readable
from byol.views.evaluation import centre_view
from tests.conftest import picture


def encoder(size: int = 16) -> Encoder:
    description = EncoderDescription(None, {}, 3 * size**2, 3, size, (0.5,) * 3, (0.25,) * 3, False)
    return Encoder(torch.nn.Flatten(), description)


def test_one_protocol_and_one_set_may_be_a_word(photos: Path, tmp_path: Path) -> None:
    (result,) = byol.evaluate_encoder("pixels", str(photos), "knn", budget="smoke", out=tmp_path)
    assert result.protocol == "knn"
    (row,) = transfer("pixels", f"own={photos}", budget="smoke", out=tmp_path)
    assert row.record is not None and row.record["set"] == "own"
    with pytest.raises(ConfigError, match="at least one protocol of knn, linear"):
        byol.evaluate_encoder("pixels", str(photos), [], out=tmp_path)


def test_names_whose_library_is_missing_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    monkeypatch.delitem(sys.modules, "byol.commands.estimator", raising=False)
    assert hasattr(byol, "Estimator")
    found: dict[str, type] = {}
    exec("from byol import *", found)
    with pytest.raises(DependencyError, match="needs scikit-learn, which is not installed"):
        found["Estimator"](epochs=1)
    assert not hasattr(byol, "Estimators")


def test_split_that_there_is_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no split 'valid'; there are train and test"):
        byol.embed("run", "sample", tmp_path / "vectors.npz", split="valid")  # pyright: ignore[reportArgumentType]
    with pytest.raises(SystemExit) as ended:
        main(["embed", "run", "--data", "sample", "--out", str(tmp_path / "vectors.npz"), "--split", "valid"])
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (torch.full((2, 3, 20, 20), 200), r"found torch\.int64"),
        (torch.full((2, 3, 20, 20), 200, dtype=torch.int32), r"found torch\.int32"),
        (torch.ones(2, 3, 20, 20, dtype=torch.bool), r"found torch\.bool"),
        (torch.linspace(0, 255, 1200).view(1, 3, 20, 20), r"found 0 to 255\. Divide by 255"),
        (torch.linspace(-1, 1, 1200).view(1, 3, 20, 20), r"not normalised; found -1 to 1"),
    ],
)
def test_images_that_are_no_pixels_are_refused(images: torch.Tensor, said: str) -> None:
    with pytest.raises(DataError, match=said):
        encoder()(images)


def test_images_as_bytes_and_as_floats_are_the_same() -> None:
    images = torch.from_numpy(np.stack([picture(i, 20, 24) for i in range(2)])).permute(0, 3, 1, 2)
    expected = encoder()(images)
    torch.testing.assert_close(encoder()(images / 255), expected)
    torch.testing.assert_close(encoder()(images / 255 * (1 + 1e-4)), expected, atol=2e-3, rtol=0)
    torch.testing.assert_close(encoder()(images.double() / 255), expected)


def test_image_of_one_pixel_has_a_centre() -> None:
    image = torch.full((1, 3, 1, 1), 200, dtype=torch.uint8)
    torch.testing.assert_close(centre_view(image, 128), torch.full((1, 3, 128, 128), 200 / 255))
    opened = SimpleNamespace(
        open=lambda name: Image.fromarray(np.full((1, 1, 3), 200, np.uint8)), Resampling=Image.Resampling
    )
    found = {"np": np, "Image": opened, "ImageOps": ImageOps}
    exec("\n".join(_pixels(encoder(128).description)), found)
    assert found["pixels"].shape == (1, 3, 128, 128)


@pytest.mark.parametrize(("side", "size", "whole"), [(96, 96, True), (96, 97, False), (97, 96, False)])
def test_small_images_are_taken_whole_where_the_views_are_small(side: int, size: int, whole: bool) -> None:
    image = torch.zeros(1, 1, side, side, dtype=torch.uint8)
    image[..., 0, :] = 255
    assert (float(centre_view(image, size).max()) > 0.9) == whole


def test_readable_images_are_the_first_that_can_be_read_or_there_is_a_sentence() -> None:
    source = ArrayImages(np.zeros((5, 8, 8, 3), np.uint8), description="pictures")
    images, names = readable(source, 3, 2, 4)
    assert len(images) == len(names) == 2
    with pytest.raises(DataError, match="None of the images looked at in pictures can be decoded"):
        readable(source, 4, 2, 4)
