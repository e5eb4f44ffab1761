"""Images with masks in parquet, and torchvision's trimaps of pets by name."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from byol.data.masks import open_masks
from byol.data.source import fingerprint
from byol.data.spec import DataSpec
from byol.errors import DataError
from tests.unit.masked import NAMES, masked_picture, write_masked_parquet


def test_parquet_has_the_masks_of_its_images_in_each_part(tmp_path: Path) -> None:
    for first, part in enumerate(("train", "validation", "test")):
        write_masked_parquet(tmp_path / "data" / f"{part}-00000.parquet", 4, 4 * first, "label")
    (tmp_path / "classes.txt").write_text("\n".join(NAMES))
    splits = open_masks(DataSpec(str(tmp_path)))
    assert splits.validation is not None and splits.validation.tolist() == [4, 5, 6, 7]
    assert splits.train.class_names == list(NAMES) and len(splits.test) == 4
    for part, index, number in ((splits.train, 1, 1), (splits.train, 6, 6), (splits.test, 3, 11)):
        pixels, mask = masked_picture(number)
        assert (part.read(index, 3) == pixels).all() and (part.mask(index) == mask).all()
    assert splits.test.name(0) == "008.png"


def test_one_parquet_file_holds_out_a_fifth_and_its_masks_enter_the_fingerprint(tmp_path: Path) -> None:
    file = write_masked_parquet(tmp_path / "all.parquet", 10)
    splits = open_masks(DataSpec(str(file)))
    assert (len(splits.train), len(splits.test)) == (8, 2)
    rows = pq.read_table(file).to_pylist()
    for row in rows:
        row["mask"] = rows[0]["mask"]
    pq.write_table(pa.Table.from_pylist(rows), file)
    assert fingerprint(splits.train) != fingerprint(open_masks(DataSpec(str(file))).train)


def test_a_mask_column_of_another_name_is_named(tmp_path: Path) -> None:
    file = write_masked_parquet(tmp_path / "all.parquet", 4, mask_column="ground_truth")
    with pytest.raises(
        DataError, match=r"of its columns with files, ground_truth, none is called mask, .*--data.label-column"
    ):
        open_masks(DataSpec(str(file)))
    splits = open_masks(DataSpec(str(file), label_column="ground_truth"))
    assert (splits.train.mask(0) == masked_picture(int(splits.train.name(0)[:3]))[1]).all()
    with pytest.raises(DataError, match="no column 'gone'"):
        open_masks(DataSpec(str(file), label_column="gone"))


def test_a_row_without_a_mask_gets_a_sentence(tmp_path: Path) -> None:
    rows = pq.read_table(write_masked_parquet(tmp_path / "all.parquet", 4)).to_pylist()
    for row in rows:
        row["mask"]["bytes"] = None
    rows[0]["mask"]["path"] = rows[1]["mask"]["path"] = None
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "all.parquet")
    with pytest.raises(
        DataError, match=r"The mask of parquet .*all.parquet, row 0 cannot be read \(the row holds no image\)"
    ):
        open_masks(DataSpec(str(tmp_path / "all.parquet")))


def test_trimaps_of_pets_have_two_classes_and_no_border(tmp_path: Path) -> None:
    base = tmp_path / "oxford-iiit-pet"
    for folder in ("images", "annotations/trimaps"):
        (base / folder).mkdir(parents=True)
    for number in range(3):
        pixels, mask = masked_picture(number)
        Image.fromarray(pixels).save(base / "images" / f"Cat_{number}.jpg")
        Image.fromarray(mask + 1).save(base / "annotations" / "trimaps" / f"Cat_{number}.png")
    for part, numbers in (("trainval", (0, 1)), ("test", (2,))):
        lines = "".join(f"Cat_{number} 1 1 1\n" for number in numbers)
        (base / "annotations" / f"{part}.txt").write_text(lines)
    spec = DataSpec("pets-trimaps", root=str(tmp_path))
    splits = open_masks(spec)
    assert (len(splits.train), len(splits.test)) == (2, 1) and splits.train.class_names == ["pet", "background"]
    mask = masked_picture(2)[1]
    assert (splits.test.mask(0) == np.array([0, 1, 255], np.uint8)[mask]).all()
    Image.fromarray(mask + 2).save(base / "annotations" / "trimaps" / "Cat_2.png")
    with pytest.raises(DataError, match="holds the label 4; its data set has 1, 2, 3"):
        open_masks(spec).test.mask(0)
    shutil.rmtree(base)
    with pytest.raises(DataError, match="pets-trimaps was not found"):
        open_masks(spec)
