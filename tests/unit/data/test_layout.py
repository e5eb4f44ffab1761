"""The order of axes and the type of numbers of images from Python, by one rule for all ways in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from byol.data.dataset import DatasetImages
from byol.data.layout import as_stack
from byol.data.open import as_source, open_source
from byol.data.spec import DataSpec
from byol.errors import BrokenImageError, DataError
from tests.conftest import encoded, picture

STACK = np.stack([picture(i, 24, 26) for i in range(6)])


class Items(torch.utils.data.Dataset):
    """Six pictures, each as `give` makes it."""

    def __init__(self, give: Callable[[np.ndarray], Any]) -> None:
        self.give = give

    def __len__(self) -> int:
        return len(STACK)

    def __getitem__(self, index: int) -> Any:
        return self.give(STACK[index])


def channels_first(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).movedim(-1, -3)


@pytest.mark.parametrize(
    "images",
    [
        STACK,
        channels_first(STACK),
        channels_first(STACK).clone().requires_grad_(False),
        list(STACK),
        [channels_first(pixels) for pixels in STACK],
        [Image.fromarray(pixels) for pixels in STACK],
        Items(lambda a: a),
        Items(lambda a: (channels_first(a), 3)),
        Items(lambda a: {"image": Image.fromarray(a), "label": 1}),
        Items(lambda a: {"label": 1, "pixel_values": a}),
        Items(lambda a: {"scan": Image.fromarray(a)}),
        torch.utils.data.TensorDataset(channels_first(STACK), torch.arange(6)),
        torch.utils.data.Subset(Items(lambda a: a), range(6)),
    ],
)
def test_clear_images_are_read_as_they_are(images: Any) -> None:
    source = as_source(images)
    assert [source.channels(0), len(source)] == [3, 6]
    assert all(np.array_equal(source.read(i, 3), STACK[i]) for i in range(6))


@pytest.mark.parametrize(
    "shape", [(40, 13, 64, 64), (40, 2, 32, 32), (40, 3, 32, 32), (40, 8, 8, 8), (40, 3, 32, 3), (40, 4, 4, 12)]
)
def test_array_whose_axes_are_not_clear_is_refused_with_both_readings(shape: tuple[int, ...], tmp_path: Path) -> None:
    pixels = np.zeros(shape, np.uint8)
    np.save(tmp_path / "a.npy", pixels)
    _, a, b, c = shape
    said = rf"{b} x {c} px with {a} channels \(layout NCHW\) or {a} x {b} px with {c} channels \(layout NHWC\)"
    for images in (pixels, np.moveaxis(pixels, 1, 1)):
        with pytest.raises(DataError, match=said):
            as_source(images)
    with pytest.raises(DataError, match=said):
        open_source(tmp_path / "a.npy")
    assert as_source(pixels, "NCHW").channels(0) == a
    assert open_source(DataSpec(str(tmp_path / "a.npy"), layout="NCHW")).channels(0) == a
    assert as_source(pixels, "NHWC").channels(0) == c


def test_tensor_with_its_channels_last_is_refused() -> None:
    with pytest.raises(DataError, match=r"channels come first in tensors.*permute\(0, 3, 1, 2\)"):
        as_source(torch.from_numpy(STACK))
    assert np.array_equal(as_source(torch.from_numpy(STACK), "NHWC").read(2, 3), STACK[2])


@pytest.mark.parametrize(
    "shape",
    [(1, 28, 28), (60, 28, 28), (40, 64, 64, 13), (40, 64, 64, 2), (40, 32, 32, 12), (40, 1, 1, 1), (40, 2, 9, 1)],
)
def test_array_with_its_channels_last_is_taken(shape: tuple[int, ...]) -> None:
    found = as_stack(np.zeros(shape, np.uint8))
    assert found.shape == (shape if len(shape) == 4 else (*shape, 1))


@pytest.mark.parametrize("shape", [(24, 26, 3), (24, 26, 1), (24, 26, 4), (3, 24, 26)])
def test_single_picture_is_no_stack_of_grey_ones(shape: tuple[int, ...]) -> None:
    for images in (np.zeros(shape, np.uint8), torch.zeros(shape, dtype=torch.uint8)):
        with pytest.raises(DataError, match=r"grey pictures.*or one picture.*Say which"):
            as_source(images)
    assert len(as_source(np.zeros(shape, np.uint8), "NHW")) == shape[0]


@pytest.mark.parametrize("shape", [(24, 26), (6, 1728), (6,), (6, 3, 24, 26, 3)])
def test_other_numbers_of_axes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="Images have the shape"):
        as_source(np.zeros(shape, np.uint8))


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (STACK.astype(np.float32), "floats in memory go from 0 to 1; these go from 27 to 240: scale them"),
        (STACK > 99, r"bool.*np.uint8\(255\)"),
        (np.full((4, 8, 8, 3), np.nan), "NaN or infinity"),
        ((channels_first(STACK) / 255 - 0.5) / 0.2, "undo a normalisation"),
        (np.array([{"a": 1}] * 4, dtype=object), "object"),
    ],
)
def test_what_is_no_pixel_is_refused_with_advice(images: Any, said: str) -> None:
    with pytest.raises(DataError, match=f"(?i){said}"):
        as_source(images)


@pytest.mark.parametrize(
    ("give", "said"),
    [
        (lambda a: a.transpose(2, 0, 1), "layout NHWC"),
        (lambda a: torch.from_numpy(a), "layout NCHW"),
        (lambda a: torch.from_numpy(a).permute(2, 0, 1) / 1.0, "floats in memory go from 0 to 1"),
        (lambda a: (3, a), "int, not an image"),
        (lambda a: "a.png", "str, not an image"),
        (lambda a: {"pixels": a.tolist()}, "dict of pixels"),
        (lambda a: a[0, 0], "not a picture"),
    ],
)
def test_items_that_are_not_clear_are_broken_with_the_reason(give: Callable[[np.ndarray], Any], said: str) -> None:
    with pytest.raises(BrokenImageError, match=said):
        as_source(Items(give)).read(0, 3)


def test_items_follow_a_layout_that_is_named() -> None:
    source = DatasetImages(Items(lambda a: torch.from_numpy(a)), layout="NHWC")
    assert np.array_equal(source.read(1, 3), STACK[1])


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(STACK)

    def __len__(self) -> int:
        return len(STACK)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (Stream(), "items by number"),
        ((pixels for pixels in STACK), "items by number"),
        (torch.utils.data.DataLoader(Items(lambda a: a), 4), r"loader\.dataset"),
        (None, "items by number"),
        (3, "items by number"),
        ([], "empty"),
    ],
)
def test_what_is_no_set_of_images_is_one_sentence(images: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        as_source(images)


def test_open_file_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    with (tmp_path / "a").open("rb") as stream, pytest.raises(DataError, match="items by number"):
        as_source(stream)


def test_list_of_paths_is_read(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(6)]
    for path, pixels in zip(paths, STACK, strict=True):
        path.write_bytes(encoded(pixels))
    for images in (paths, [str(path) for path in paths], np.array([str(path) for path in paths])):
        source = as_source(images)
        assert all(np.array_equal(source.read(i, 3), STACK[i]) for i in range(6))
    assert source.name(2) == str(paths[2])
    for images, said in (
        ([tmp_path, tmp_path], "a folder; give one"),
        ([tmp_path / "no.png"], "no file here"),
        ([paths[0], 3], "paths alone"),
    ):
        with pytest.raises(DataError, match=said):
            as_source(images)


def test_unknown_layout_is_refused() -> None:
    with pytest.raises(DataError, match="no layout 'HWC'; there are NHW, NHWC, NCHW"):
        as_source(STACK, "HWC")
    with pytest.raises(DataError, match="NHW has 3 axes"):
        as_source(STACK, "NHW")
