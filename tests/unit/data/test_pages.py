"""Pages of TIFF and frames of DICOM: the first, all as bands of one image, or as images of their own."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from byol.data.check_data import check_data
from byol.data.labelled import labelled_splits
from byol.data.open import open_source
from byol.data.page_index import KEPT_FROM, with_pages
from byol.data.prepare_photos import shrink_photos
from byol.data.source import image_keys
from byol.data.spec import DataSpec
from byol.errors import BrokenImageError, DataError
from byol.runtime.listener import Listener
from tests.unit.data.test_deep_files import dicom


def stack(pages: int, seed: int = 0, kind: Any = np.uint16, bands: int = 1) -> np.ndarray:
    shape = (pages, 24, 20) if bands == 1 else (pages, 24, 20, bands)
    return np.random.default_rng(seed).integers(0, 256 if kind == np.uint8 else 4096, shape).astype(kind)


def write_tiff(path: Path, pages: np.ndarray, **options: Any) -> None:
    """A TIFF with a page for each picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path, **options) as writer:
        for page in pages:
            contiguous = {"planarconfig": "contig"} if page.ndim == 3 else {}
            writer.write(page, photometric="minisblack", metadata=None, contiguous=False, **contiguous)


def write(path: Path, pages: np.ndarray) -> None:
    if path.suffix == ".dcm":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(dicom(pages, NumberOfFrames=len(pages)))
    else:
        write_tiff(path, pages)


@pytest.mark.parametrize("ending", [".tif", ".dcm"])
def test_first_page_alone_is_read_and_said(ending: str, tmp_path: Path) -> None:
    said: list[str] = []
    for i in range(3):
        write(tmp_path / "set" / f"{i}{ending}", stack(1 + 2 * i, i))
    source = open_source(str(tmp_path / "set"), listener=Listener(said.append))
    assert len(source) == 3 and source.channels(2) == 1
    assert np.array_equal(source.read(2, 1)[..., 0], (stack(5, 2)[0] * (65535 / 4095)).round())
    assert (
        sum("2 of 3 files of the kinds TIFF and DICOM have further pages or frames, 6 in all" in line for line in said)
        == 1
    )
    assert any("--data.pages images" in line and "--data.pages bands" in line for line in said)
    said.clear()
    open_source(DataSpec(str(tmp_path / "set"), pages="first"), listener=Listener(said.append))
    assert not any("further pages" in line for line in said)


@pytest.mark.parametrize("ending", [".tif", ".dcm"])
@pytest.mark.parametrize("count", [2, 5])
def test_pages_are_bands_of_one_image(ending: str, count: int, tmp_path: Path) -> None:
    for i in range(3):
        write(tmp_path / "set" / f"{i}{ending}", stack(count, i))
    source = open_source(DataSpec(str(tmp_path / "set"), pages="bands"))
    assert len(source) == 3 and source.channels(1) == count
    wanted = (stack(count, 1).transpose(1, 2, 0) * (65535 / 4095)).round()
    assert np.array_equal(source.read(1, count), wanted)
    assert np.array_equal(pickle.loads(pickle.dumps(source)).read(1, count), wanted)
    assert check_data(source).channels == {count: 3}


@pytest.mark.parametrize(("kind", "bands"), [(np.uint8, 1), (np.uint16, 1), (np.uint16, 5)])
@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"byteorder": ">"}])
def test_pages_are_images_of_their_own(kind: Any, bands: int, options: dict[str, Any], tmp_path: Path) -> None:
    write_tiff(tmp_path / "set" / "a.tif", stack(12, 0, kind, bands), **options)
    write_tiff(tmp_path / "set" / "b.tif", stack(1, 1, kind, bands), **options)
    source = open_source(DataSpec(str(tmp_path / "set"), pages="images"))
    assert [source.name(i) for i in (0, 9, 12)] == ["a.tif#1", "a.tif#10", "b.tif"]
    for i in (0, 9, 12):
        stored = stack(12, 0, kind, bands)[i] if i < 12 else stack(1, 1, kind, bands)[0]
        wanted = stored if kind == np.uint8 else (stored * (65535 / 4095)).round()
        assert source.channels(i) == bands
        assert np.array_equal(source.read(i, bands), wanted.reshape(24, 20, bands))
    assert len(set(image_keys(source).tolist())) == 13


def test_frames_of_dicom_are_images_with_all_that_is_done_to_one(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    made = dicom(
        4095 - stack(3), NumberOfFrames=3, PhotometricInterpretation="MONOCHROME1", RescaleSlope=1, RescaleIntercept=0
    )
    (tmp_path / "set" / "a.dcm").write_bytes(made)
    source = open_source(DataSpec(str(tmp_path / "set"), pages="images"))
    assert [source.name(i) for i in range(3)] == ["a.dcm#1", "a.dcm#2", "a.dcm#3"]
    assert np.array_equal(source.read(2, 1)[..., 0], (stack(3)[2] * (65535 / 4095)).round())


def test_smaller_copies_and_masks_are_no_pages(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with tifffile.TiffWriter(tmp_path / "set" / "a.tif") as writer:
        options: dict[str, Any] = {"photometric": "minisblack", "metadata": None, "contiguous": False}
        writer.write(stack(1)[0], **options)
        writer.write(stack(1)[0][::2, ::2], subfiletype=1, **options)
        writer.write(stack(2)[1], **options)
    source = open_source(DataSpec(str(tmp_path / "set"), pages="images"))
    assert [source.name(i) for i in range(len(source))] == ["a.tif#1", "a.tif#3"]
    assert np.array_equal(source.read(1, 1)[..., 0], (stack(2)[1] * (65535 / 4095)).round())
    assert open_source(DataSpec(str(tmp_path / "set"), pages="bands")).channels(0) == 2


def test_pages_that_do_not_fit_together_are_no_bands(tmp_path: Path) -> None:
    for kind in (np.uint8, np.uint16):
        write(tmp_path / "set" / f"{np.dtype(kind)}.tif", [stack(1, 0, kind)[0], stack(1, 0, kind)[0][:9]])  # pyright: ignore
    source = open_source(DataSpec(str(tmp_path / "set"), pages="bands"))
    for index in range(2):
        with pytest.raises(
            BrokenImageError, match=r"its 2 pages are no bands of one image: 20 x 24 px .* and 20 x 9 px"
        ):
            source.read(index, 2)


def test_colour_pages_are_three_bands_each(tmp_path: Path) -> None:
    pages = stack(2, 0, np.uint8, 3)
    first, second = (Image.fromarray(page) for page in pages)
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    source = open_source(DataSpec(str(tmp_path), pages="bands"))
    assert source.channels(0) == 6
    assert np.array_equal(source.read(0, 6), np.concatenate(list(pages), axis=2))


def test_numbers_are_counted_once_and_again_where_a_file_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cache, looked = tmp_path / "set", tmp_path / "cache", []
    for i in range(KEPT_FROM):
        write(root / f"{i:03d}.tif", stack(2, i))
    paths = sorted(path.name for path in root.iterdir())
    assert len(with_pages(root, paths, cache)) == 2 * KEPT_FROM
    from byol.data import page_index

    original = page_index.page_numbers
    monkeypatch.setattr(page_index, "page_numbers", lambda stream: looked.append(stream.name) or original(stream))
    assert len(with_pages(root, paths, cache)) == 2 * KEPT_FROM and looked == []
    write(root / "005.tif", stack(4))
    names = with_pages(root, paths, cache)
    assert len(names) == 2 * KEPT_FROM + 2 and len(looked) == 1 and names[13] == "005.tif#4"
    kept = next(cache.glob("*.pages.json"))
    kept.write_text(json.dumps({"000.tif": 3}))
    assert len(with_pages(root, paths, cache)) == 2 * KEPT_FROM + 2


def test_page_that_is_gone_is_a_broken_image(tmp_path: Path) -> None:
    for kind in (np.uint8, np.uint16):
        write_tiff(tmp_path / "set" / f"{np.dtype(kind)}.tif", stack(3, 0, kind, 5 if kind == np.uint16 else 1))
    source = open_source(DataSpec(str(tmp_path / "set"), pages="images"))
    for kind, index in ((np.uint16, 2), (np.uint8, 5)):
        write_tiff(tmp_path / "set" / f"{np.dtype(kind)}.tif", stack(2, 0, kind, 5 if kind == np.uint16 else 1))
        with pytest.raises(BrokenImageError) as raised:
            source.read(index, source.channels(0))
        assert "\n" not in str(raised.value)


def test_pages_in_class_folders_and_stored_shrunk(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        write(tmp_path / "set" / name / "a.tif", stack(5))
    spec = DataSpec(str(tmp_path / "set"), pages="images", cache=str(tmp_path / "cache"))
    said: list[str] = []
    train, test = labelled_splits(spec, listener=Listener(said.append))
    assert any("results are too good" in line for line in said)
    assert train.class_names == ["cat", "dog"] and (len(train), len(test)) == (8, 2)
    source = open_source(spec)
    photos = shrink_photos(source, 1, 12, spec)
    assert not np.array_equal(photos.read(0, 1), photos.read(1, 1))
    assert photos.read(0, 1).shape == (14, 12, 1)


def test_one_file_by_its_name_and_files_by_a_pattern(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", stack(3))
    write(tmp_path / "b.tif", stack(2))
    assert len(open_source(DataSpec(str(tmp_path / "a.tif"), pages="images"))) == 3
    assert len(open_source(DataSpec(str(tmp_path / "*.tif"), pages="images"))) == 5


def test_unknown_word_and_data_without_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--data\.pages is first, bands or images; found 'all'"):
        DataSpec("x", pages="all")
    np.save(tmp_path / "a.npy", stack(8))
    with pytest.raises(DataError, match="is no folder of files, whose pages"):
        open_source(DataSpec(str(tmp_path / "a.npy"), pages="images"))
