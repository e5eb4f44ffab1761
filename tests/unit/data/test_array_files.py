"""Folders of .npy and .npz files, one picture each."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from byol.data.check_data import check_data
from byol.data.file_index import index_files
from byol.data.labelled import labelled_splits
from byol.data.open import open_source
from byol.data.profile import profile
from byol.data.source import SkippedImages
from byol.data.spec import DataSpec
from byol.errors import BrokenImageError, DataError
from byol.runtime.listener import Listener


def values(shape: tuple[int, ...], kind: Any = np.uint16, top: int = 4095, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).integers(0, top + 1, shape)
    return (drawn / top).astype(kind) if np.dtype(kind).kind == "f" else drawn.astype(kind)


def folder(root: Path, shape: tuple[int, ...], kind: Any = np.uint16, count: int = 3, **more: Any) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        np.save(root / f"{i}.npy", values(shape, kind, seed=i, **more))
    return root


@pytest.mark.parametrize("shape", [(24, 20), (24, 20, 3), (24, 20, 13)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16, np.float16, np.float32, ">u2"])
def test_array_is_a_picture_by_the_rule_of_its_numbers(shape: tuple[int, ...], kind: Any, tmp_path: Path) -> None:
    root = folder(tmp_path / "set", shape, kind, top=255 if kind == np.uint8 else 4095)
    np.savez_compressed(root / "3.npz", values(shape, kind, 255 if kind == np.uint8 else 4095, seed=3))
    source = open_source(str(root))
    bands = shape[2] if len(shape) == 3 else 1
    assert (len(source), source.channels(3)) == (4, bands)
    stored = values(shape, kind, 255 if kind == np.uint8 else 4095, seed=3).reshape(24, 20, bands)
    top = {"u": 4095, "i": 4095, "f": 1.0}[np.dtype(kind).kind]
    wanted = stored if kind == np.uint8 else (stored.astype(float) * (65535 / top)).round()
    assert np.array_equal(source.read(3, bands), wanted)


def test_channels_first_are_read_where_the_layout_says_so(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", (13, 24, 20))
    with pytest.raises(BrokenImageError, match=r"20 px with 13 channels \(--layout NCHW\), or 13 grey pictures"):
        open_source(str(root)).channels(0)
    with pytest.raises(DataError, match=r"None of the 3 images .*--layout NCHW"):
        profile(open_source(str(root)), SkippedImages())
    source = open_source(DataSpec(str(root), layout="NCHW"))
    wanted = (values((13, 24, 20)).transpose(1, 2, 0) * (65535 / 4095)).round()
    assert source.channels(0) == 13 and np.array_equal(source.read(0, 13), wanted)


def test_shape_that_fits_both_orders_is_refused(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", (4, 20, 4))
    with pytest.raises(BrokenImageError, match="say which"):
        open_source(str(root)).read(0, 4)
    assert open_source(DataSpec(str(root), layout="NHWC")).read(0, 4).shape == (4, 20, 4)


def test_class_folders_and_patterns_of_arrays(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        folder(tmp_path / "set" / name, (24, 20), np.uint8, count=5, top=255)
    train, test = labelled_splits(str(tmp_path / "set"))
    assert train.class_names == ["cat", "dog"] and (len(train), len(test)) == (8, 2)
    assert len(open_source(str(tmp_path / "set" / "cat" / "*.npy"))) == 5
    assert check_data(open_source(str(tmp_path / "set"))).channels == {1: 10}


def test_arrays_beside_other_images_are_left_out(tmp_path: Path) -> None:
    root, said = folder(tmp_path / "set", (24, 20)), []
    Image.fromarray(np.zeros((24, 20), np.uint8)).save(root / "photo.png")
    np.savez(root / "vectors.npz", a=np.zeros(3), b=np.zeros(3))
    source = open_source(str(root), listener=Listener(said.append))
    assert [source.name(i) for i in range(len(source))] == ["photo.png"]
    assert any("images of other kinds: its 3 .npy and 1 .npz files are left out" in line for line in said)
    (root / "photo.png").unlink()
    (root / "table.parquet").write_bytes(b"")
    assert index_files(root, None).left_out == {".npy": 3, ".npz": 1, ".parquet": 1}


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda path: np.savez(path, a=np.zeros((9, 9)), b=np.zeros(3)), r"it holds 2 arrays \(a, b\)"),
        (lambda path: np.save(path, np.array([{"evil": 1}], object)), "Python objects, which are never unpickled"),
        (lambda path: np.save(path, np.ones((9, 9), bool)), "values of the type bool"),
        (lambda path: np.save(path, np.ones((2, 9, 9, 3), np.uint8)), "no picture"),
        (lambda path: np.save(path, np.ones(9, np.uint8)), "no picture"),
        (lambda path: np.save(path, np.full((9, 9), np.nan, np.float32)), "it has no data"),
        (lambda path: Path(path).write_bytes(b"\x93NUMPY\1\0"), "."),
        (lambda path: Path(path).write_bytes(b"PK\3\4torn"), "."),
        (lambda path: Path(path).write_bytes(b""), "empty"),
    ],
)
def test_what_is_no_picture_is_one_sentence(write: Any, said: str, tmp_path: Path) -> None:
    folder(tmp_path / "set", (24, 20))
    write(tmp_path / "set" / "bad")
    for made in (tmp_path / "set").glob("bad*"):
        made.rename(tmp_path / "set" / "9.npy")
    source = open_source(str(tmp_path / "set"))
    with pytest.raises(BrokenImageError, match=said) as raised:
        source.read(3, 1)
    assert "\n" not in str(raised.value)


def test_large_arrays_are_refused_by_their_header(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", (24, 20))
    with zipfile.ZipFile(root / "9.npz", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as stream:
        np.lib.format.write_array_header_1_0(
            stream, {"descr": "|u1", "fortran_order": False, "shape": (1_000_000, 1_000_000)}
        )
    with pytest.raises(BrokenImageError, match="more than --max-megapixels allows"):
        open_source(str(root)).read(3, 1)


def test_infinity_gets_the_lowest_value_of_its_band(tmp_path: Path) -> None:
    picture = values((24, 20, 2), np.float32)
    picture[0, 0] = np.inf, -np.inf
    (tmp_path / "set").mkdir()
    np.save(tmp_path / "set" / "0.npy", picture)
    found = open_source(str(tmp_path / "set")).read(0, 2)
    known = np.where(np.isfinite(picture), picture, np.inf).min(axis=(0, 1))
    assert np.array_equal(found[0, 0], (known * 65535).round())
