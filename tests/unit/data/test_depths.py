"""Images with depths: units, what counts as known, and a sentence for each depth that cannot be used."""

import io
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from byol.data.depths import DepthImages, open_depths, tell_depths
from byol.data.spec import DataSpec
from byol.errors import DataError
from tests.unit.masked import deep_picture, write_deep


def first(folder: Path, scale: float = 0.0) -> DepthImages:
    train = open_depths(DataSpec(str(folder)), scale=scale).train
    return train.part(np.array([[train.name(index) for index in range(len(train))].index("images/001.png")]), "first")


@pytest.mark.parametrize("kind", ["png", "npy"])
def test_whole_numbers_are_millimetres_and_floats_are_metres(tmp_path: Path, kind: str) -> None:
    source = first(write_deep(tmp_path, 5, kind=kind))
    expected = deep_picture(1)[1]
    depth = source.depth(0)
    assert depth.dtype == np.float32 and np.abs(depth - expected).max() < 0.001
    assert (depth == 0).sum() == 8 * 10
    assert f"{'1000' if kind == 'png' else '1'} units are a metre (--depth.scale states another)" in tell_depths(source)
    assert "median" in tell_depths(source)
    assert np.allclose(first(tmp_path, 2000 if kind == "png" else 2).depth(0), expected / 2, atol=0.001)


def test_negative_and_not_finite_depths_are_not_known(tmp_path: Path) -> None:
    write_deep(tmp_path, 5, kind="npy")
    depth = deep_picture(1)[1]
    depth[20, :4] = np.nan, np.inf, -1, -np.inf
    np.save(tmp_path / "depths" / "001.npy", depth[..., None])
    assert (first(tmp_path).depth(0)[20, :5] > 0).tolist() == [False] * 4 + [True]


def test_parquet_holds_depths_as_float_tiff(tmp_path: Path) -> None:
    rows = []
    for number in range(5):
        row = {}
        for column, pixels, kind in zip(("image", "depth_map"), deep_picture(number), ("PNG", "TIFF"), strict=True):
            stream = io.BytesIO()
            Image.fromarray(pixels).save(stream, kind)
            row[column] = {"bytes": stream.getvalue(), "path": None}
        rows.append(row)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    splits = open_depths(DataSpec(str(tmp_path / "train.parquet")))
    assert len(splits.train) == 4 and len(splits.test) == 1
    number = int(splits.test.name(0).removeprefix("row "))
    assert (splits.test.depth(0) == deep_picture(number)[1]).all()


def _smaller(folder: Path) -> None:
    Image.fromarray(np.ones((20, 30), np.uint16)).save(folder / "depths" / "001.png")


def _bytes(folder: Path) -> None:
    Image.fromarray(np.ones((48, 64), np.uint8)).save(folder / "depths" / "001.png")


def _colours(folder: Path) -> None:
    Image.fromarray(np.ones((48, 64, 3), np.uint8)).save(folder / "depths" / "001.png")


def _metres_as_millimetres(folder: Path) -> None:
    (folder / "depths" / "001.png").unlink()
    np.save(folder / "depths" / "001.npy", 1000 * deep_picture(1)[1])


def _pickled(folder: Path) -> None:
    (folder / "depths" / "001.png").unlink()
    np.save(folder / "depths" / "001.npy", np.full((48, 64), None), allow_pickle=True)


def _pickle(folder: Path) -> None:
    (folder / "depths" / "001.png").write_bytes(pickle.dumps([1]))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_smaller, r"depths/001.png has 30 x 20 px, its image 64 x 48. A depth map must have a pixel"),
        (_bytes, r"holds numbers of 8 bits, whose unit cannot be told. State it with --depth.scale"),
        (_colours, r"001.png has the shape \(48, 64, 3\); a depth map has one number"),
        (_pickle, "The depth map .*001.png cannot be read"),
        (lambda folder: (folder / "depths" / "001.png").unlink(), "1 of 5 images in .* have no depth map of the same"),
        (lambda folder: (folder / "depths").rename(folder / "z"), "has no folders images and depths; found images, z"),
        (lambda folder: (folder / "images").rename(folder / "z"), "has no folders images and depths; found depths, z"),
    ],
)
def test_depths_that_cannot_be_used_get_a_sentence(tmp_path: Path, change, says: str) -> None:
    write_deep(tmp_path, 5)
    change(tmp_path)
    with pytest.raises(DataError, match=says):
        first(tmp_path).depth(0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_metres_as_millimetres, "holds depths up to 2,.* m at 1 units in a metre. State the unit with --depth.scale"),
        (_pickled, "The depth map .*001.npy cannot be read"),
    ],
)
def test_arrays_that_cannot_be_used_get_a_sentence(tmp_path: Path, change, says: str) -> None:
    write_deep(tmp_path, 5, kind="npy")
    (tmp_path / "depths" / "001.npy").rename(tmp_path / "depths" / "001.png")
    change(tmp_path)
    with pytest.raises(DataError, match=says):
        first(tmp_path).depth(0)


def test_a_negative_scale_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--depth.scale is the number of units in a metre, above 0; found -1"):
        open_depths(DataSpec(str(tmp_path)), scale=-1)
