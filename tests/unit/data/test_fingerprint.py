"""The identity of data is its content."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from byol.data.arrays import ArrayImages
from byol.data.dataset import DatasetImages
from byol.data.image_folder import ImageFolder
from byol.data.open import open_source
from byol.data.source import earlier_fingerprint, fingerprint, has_fingerprint
from byol.data.subset import Subset
from tests.conftest import encoded, picture
from tests.unit.test_containers import parquet, shard

PIXELS = np.stack([picture(i) for i in range(12)])


def changed(pixels: np.ndarray) -> np.ndarray:
    other = pixels.copy()
    other[7, 3, 4, 1] ^= 1
    return other


def test_one_other_pixel_of_an_array_is_noticed(tmp_path: Path) -> None:
    assert fingerprint(ArrayImages(PIXELS)) == fingerprint(ArrayImages(PIXELS.copy()))
    assert fingerprint(ArrayImages(PIXELS)) != fingerprint(ArrayImages(changed(PIXELS)))
    np.save(tmp_path / "a.npy", PIXELS)
    assert fingerprint(open_source(tmp_path / "a.npy")) == fingerprint(ArrayImages(PIXELS))


def test_one_other_file_of_equal_size_is_noticed_and_a_copy_is_not(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for i, pixels in enumerate(PIXELS):
            (tmp_path / name / f"{i}.bmp").write_bytes(encoded(pixels, "BMP"))
    one, two = ImageFolder(tmp_path / "one"), ImageFolder(tmp_path / "two")
    assert fingerprint(one) == fingerprint(two)
    (tmp_path / "two" / "7.bmp").write_bytes(encoded(changed(PIXELS)[7], "BMP"))
    assert fingerprint(one) != fingerprint(two)


def test_other_rows_of_tables_and_tars_are_noticed(tmp_path: Path) -> None:
    for name, stack in (("a", PIXELS), ("b", changed(PIXELS))):
        images = [encoded(pixels, "BMP") for pixels in stack]
        parquet(tmp_path / f"{name}.parquet", image=images)
        (tmp_path / name).mkdir()
        shard(tmp_path / name / "x.tar", {f"{i}.bmp": image for i, image in enumerate(images)})
    for one, other in (("a.parquet", "b.parquet"), ("a/x.tar", "b/x.tar")):
        first, second = open_source(tmp_path / one), open_source(tmp_path / other)
        assert fingerprint(first) != fingerprint(second)
        assert earlier_fingerprint(first) == earlier_fingerprint(second)


def test_items_are_noticed_unless_they_are_drawn_by_chance() -> None:
    class Noisy(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 12

        def __getitem__(self, index: int) -> np.ndarray:
            return np.random.default_rng().integers(0, 256, (8, 8, 3), dtype=np.uint8)

    assert fingerprint(DatasetImages(list(PIXELS))) != fingerprint(DatasetImages(list(changed(PIXELS))))
    assert fingerprint(DatasetImages(Noisy())) == fingerprint(DatasetImages(Noisy()))


def test_parts_are_told_apart() -> None:
    source = ArrayImages(PIXELS)
    one, other = (Subset(source, np.array(indices), "part") for indices in ([0, 1], [0, 2]))
    assert fingerprint(one) == fingerprint(ArrayImages(PIXELS[:2])) != fingerprint(other)


def test_earlier_fingerprints_are_still_known() -> None:
    source = ArrayImages(PIXELS)
    assert has_fingerprint(source, earlier_fingerprint(source)) and has_fingerprint(source, "")
    assert has_fingerprint(source, fingerprint(source))
    assert not has_fingerprint(ArrayImages(changed(PIXELS)), fingerprint(source))
    assert not has_fingerprint(ArrayImages(PIXELS[:11]), earlier_fingerprint(source))


def test_many_files_take_seconds(tmp_path: Path) -> None:
    content = encoded(picture(1, 4, 4))
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.png").write_bytes(content)
    for i in range(3000):
        os.link(tmp_path / "x" / "a.png", tmp_path / f"{i:05d}.png")
    source = ImageFolder(tmp_path)
    start = time.perf_counter()
    fingerprint(source)
    assert time.perf_counter() - start < 5  # measured: 0.1 s


@pytest.mark.parametrize("missing", ["7.png"])
def test_missing_file_is_part_of_the_identity(tmp_path: Path, missing: str) -> None:
    for i, pixels in enumerate(PIXELS):
        (tmp_path / f"{i}.png").write_bytes(encoded(pixels))
    source = ImageFolder(tmp_path)
    before = fingerprint(source)
    (tmp_path / missing).unlink()
    assert fingerprint(source) != before
