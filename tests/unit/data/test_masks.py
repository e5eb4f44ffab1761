"""Images with masks: layouts, parts, classes by number, palette and colour, and a sentence for each that cannot be used."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from byol.data.masks import VOC_CLASSES, open_masks
from byol.data.spec import DataSpec
from byol.errors import DataError
from tests.unit.masked import masked_picture, write_masked


def spec(folder: Path) -> DataSpec:
    return DataSpec(str(folder))


def test_folder_without_parts_holds_out_a_fifth_by_the_seed(tmp_path: Path) -> None:
    write_masked(tmp_path, 10)
    splits = open_masks(spec(tmp_path))
    names = [[part.name(index) for index in range(len(part))] for part in (splits.train, splits.test)]
    assert len(names[1]) == 2 and sorted([*names[0], *names[1]]) == [f"images/{n:03d}.png" for n in range(10)]
    again, other = (open_masks(spec(tmp_path), seed=seed).test for seed in (0, 1))
    assert list(map(again.name, range(2))) == names[1] != list(map(other.name, range(2)))
    assert splits.train.class_names == ["0", "1", "2"] and splits.validation is None
    number = int(names[1][0][7:10])
    assert (splits.test.mask(0) == masked_picture(number)[1]).all()


@pytest.mark.parametrize("outer", ["parts", "kinds"])
def test_parts_around_or_inside_images_and_masks_are_found(tmp_path: Path, outer: str) -> None:
    for first, part in enumerate(("train", "val", "test")):
        write_masked(tmp_path / "parts" / part, 4, 4 * first)
        for kind in ("images", "masks"):
            shutil.copytree(tmp_path / "parts" / part / kind, tmp_path / "kinds" / kind / part)
    splits = open_masks(spec(tmp_path / outer))
    assert [len(splits.train), len(splits.test)] == [8, 4]
    assert splits.validation is not None and splits.validation.tolist() == [4, 5, 6, 7]
    for part, index, number in ((splits.train, 0, 0), (splits.train, 5, 5), (splits.test, 3, 11)):
        pixels, mask = masked_picture(number)
        assert (part.read(index, 3) == pixels).all() and (part.mask(index) == mask).all()


def test_palette_colours_and_jpeg_names_give_the_same_classes(tmp_path: Path) -> None:
    mask = masked_picture(0)[1]
    table = np.array([[0, 0, 0], [128, 64, 0], [0, 200, 10]], np.uint8)
    for kind in ("palette", "colour"):
        folder = write_masked(tmp_path / kind, 4)
        picture = Image.fromarray(table[mask])
        if kind == "palette":
            picture = Image.frombytes("P", picture.size, mask.tobytes())
            picture.putpalette(table.flatten().tolist())
        for number in range(4):
            picture.save(folder / "masks" / f"{number:03d}.png")
        (folder / "images" / "000.png").rename(folder / "images" / "000.jpg")
        (folder / "classes.txt").write_text("ground 0 0 0\nred area 128 64 0\ngreen 0 200 10\n")
        splits = open_masks(spec(folder))
        assert splits.train.class_names == ["ground", "red area", "green"]
        assert (splits.train.mask(0) == mask).all() and (splits.test.mask(0) == mask).all()


def test_ignored_label_and_255_count_nowhere(tmp_path: Path) -> None:
    write_masked(tmp_path, 5)
    labels = masked_picture(0)[1]
    labels[0] = 255
    for number in range(5):
        Image.fromarray(labels).save(tmp_path / "masks" / f"{number:03d}.png")
    splits = open_masks(spec(tmp_path), ignored=2)
    assert splits.train.class_names == ["0", "1"]
    assert (splits.train.mask(0) == np.where(labels == 2, 255, labels)).all()


def test_image_turned_by_its_exif_tag_has_the_upright_mask(tmp_path: Path) -> None:
    write_masked(tmp_path, 2)
    turned, exif = Image.fromarray(masked_picture(0)[0].transpose(1, 0, 2)), Image.Exif()
    exif[0x0112] = 6
    for number in range(2):
        turned.save(tmp_path / "images" / f"{number:03d}.png", exif=exif)
    train = open_masks(spec(tmp_path)).train
    assert train.read(0, 3).shape[:2] == train.mask(0).shape == (48, 64)


def _smaller(folder: Path) -> None:
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(folder / "masks" / "001.png")


def _colours(folder: Path) -> None:
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(folder / "masks" / "001.png")


def _beyond(folder: Path) -> None:
    (folder / "classes.txt").write_text("ground\nred\n")


def _unknown_colour(folder: Path) -> None:
    (folder / "classes.txt").write_text("ground 0 0 0\nred 9 9 9\ngreen 8 8 8\n")
    Image.fromarray(np.full((48, 64, 3), 7, np.uint8)).save(folder / "masks" / "001.png")


def _deep(folder: Path) -> None:
    Image.fromarray(np.full((48, 64), 300, np.uint16)).save(folder / "masks" / "001.png")


def _read_all(folder: Path) -> None:
    splits = open_masks(spec(folder))
    for part in (splits.train, splits.test):
        for index in range(len(part)):
            part.mask(index)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_smaller, r"masks/001.png has 30 x 20 px, its image 64 x 48"),
        (_colours, r"masks/001.png holds colours \(RGB\), not class numbers. Write classes.txt"),
        (_beyond, r"holds the label 2, and there are 2 classes, 0 to 1"),
        (_unknown_colour, r"masks/001.png has the colour \[7, 7, 7\], which classes.txt does not name"),
        (_deep, r"masks/001.png holds the label 300"),
        (lambda folder: (folder / "masks" / "001.png").write_bytes(b"junk"), "001.png cannot be read"),
        (
            lambda folder: (folder / "masks" / "001.png").unlink(),
            r"1 of 5 images in .* have no mask .* such as 001.png",
        ),
        (lambda folder: (folder / "masks").rename(folder / "annotations"), "found annotations, images. Put the masks"),
        (lambda folder: (folder / "classes.txt").write_text("a 1 2 3\nb\n"), "names 2 classes and 1 colours"),
        (lambda folder: (folder / "classes.txt").write_text("a\n"), "must be 2 to 255"),
    ],
)
def test_masks_that_cannot_be_used_get_a_sentence(tmp_path: Path, change, says: str) -> None:
    write_masked(tmp_path, 5)
    change(tmp_path)
    with pytest.raises(DataError, match=says):
        _read_all(tmp_path)


def test_voc_by_name_is_read_as_torchvision_stores_it(tmp_path: Path) -> None:
    base = tmp_path / "VOCdevkit" / "VOC2012"
    (base / "ImageSets" / "Segmentation").mkdir(parents=True)
    write_masked(tmp_path / "made", 3)
    shutil.copytree(tmp_path / "made" / "masks", base / "SegmentationClass")
    (base / "JPEGImages").mkdir()
    for number in range(3):
        Image.fromarray(masked_picture(number)[0]).save(base / "JPEGImages" / f"{number:03d}.jpg")
    for part, numbers in (("train", "000\n001\n"), ("val", "002\n")):
        (base / "ImageSets" / "Segmentation" / f"{part}.txt").write_text(numbers)
    splits = open_masks(DataSpec("voc2012-segmentation", root=str(tmp_path)))
    assert (len(splits.train), len(splits.test)) == (2, 1) and splits.train.class_names == list(VOC_CLASSES)
    assert (splits.test.mask(0) == masked_picture(2)[1]).all()
    with pytest.raises(DataError, match="Add --download, or name the folder that holds its files"):
        open_masks(DataSpec("voc2012-segmentation", root=str(tmp_path / "made")))
