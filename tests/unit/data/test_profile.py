"""What is decided from a look at some images: a random sample, and a count of all headers."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from byol.data import profile as profiles
from byol.data.arrays import ArrayImages
from byol.data.image_folder import ImageFolder
from byol.data.profile import profile
from byol.data.source import SkippedImages
from tests.conftest import encoded, picture


def test_large_photos_are_measured_at_reduced_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(16):
        (tmp_path / f"{i:02d}.jpg").write_bytes(encoded(picture(i, 1100, 1400), "JPEG"))
    shapes, read = [], ImageFolder.read

    def seen(source: ImageFolder, index: int, channels: int, short_side: int = 0) -> np.ndarray:
        image = read(source, index, channels, short_side)
        shapes.append(image.shape[:2])
        return image

    monkeypatch.setattr(ImageFolder, "read", seen)
    found = profile(ImageFolder(tmp_path), SkippedImages())
    assert set(shapes) == {(550, 700)} and found.short_side == 1100
    whole = np.stack([read(ImageFolder(tmp_path), i, 3) for i in range(16)]) / 255
    assert found.mean == pytest.approx(whole.mean(axis=(0, 1, 2)), abs=2e-3)
    assert found.std == pytest.approx(whole.std(axis=(0, 1, 2)), abs=2e-3)


@pytest.mark.parametrize("count", [511, 40])
def test_grey_and_colour_by_turns_are_colour_and_counted(tmp_path: Path, count: int) -> None:
    for i in range(count):
        pixels = picture(i, 8, 8)
        (tmp_path / f"{i:04d}.png").write_bytes(encoded(pixels if i % 2 else pixels[..., 0]))
    found = profile(ImageFolder(tmp_path), SkippedImages())
    assert found.channels == 3
    assert f"{(count + 1) // 2} L" in found.notes[0] and f"{count // 2} RGB" in found.notes[0]
    assert "all are read with 3 channels" in found.notes[0]


def test_one_colour_image_among_many_grey_ones_is_found(tmp_path: Path) -> None:
    for i in range(400):
        pixels = picture(i, 8, 8)
        (tmp_path / f"{i:04d}.png").write_bytes(encoded(pixels if i == 201 else pixels[..., 0]))
    assert profile(ImageFolder(tmp_path), SkippedImages()).channels == 3


def test_sample_is_drawn_by_chance_and_the_same_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "PROBED_IMAGES", 16)
    for i in range(64):
        (tmp_path / f"{i:04d}.png").write_bytes(encoded(picture(i, 8, 8)))
    source, read = ImageFolder(tmp_path), []
    original = ImageFolder.read
    monkeypatch.setattr(ImageFolder, "read", lambda self, i, *a: read.append(i) or original(self, i, *a))
    first = profile(source, SkippedImages())
    sampled = read.copy()
    assert profile(source, SkippedImages()) == first and read == sampled * 2
    assert len(set(np.diff(sampled))) > 1


def test_other_modes_are_said_and_change_nothing(tmp_path: Path) -> None:
    for i in range(20):
        image = Image.fromarray(picture(i))
        (image.convert("RGBA") if i < 5 else image).save(tmp_path / f"{i:02d}.png")
    found = profile(ImageFolder(tmp_path), SkippedImages())
    assert (found.channels, found.notes) == (3, ["the images differ in kind: 15 RGB, 5 RGBA"])


@pytest.mark.parametrize(("broken", "said"), [(4, True), (2, False)])
def test_many_broken_images_are_said_at_the_start(photos: Path, broken: int, said: bool) -> None:
    for i in range(broken):
        (photos / "cat" / f"{i:02d}.jpg").write_bytes(b"junk")
    for i in range(20, 20 - 20, -1):
        (photos / "dog" / f"{i - 1:02d}.jpg").unlink()
    notes = profile(ImageFolder(photos), SkippedImages()).notes
    assert any(f"{broken} of 20 images looked at cannot be decoded" in note for note in notes) == said


@pytest.mark.parametrize(
    ("pictures", "plain", "said"),
    [
        (20, 0, []),
        (19, 0, []),  # one copy is no note
        (1, 0, ["19 of 20 images looked at are copies of others"]),
        (20, 20, ["20 of 20 images looked at have one colour throughout"]),
    ],
)
def test_copies_and_plain_images_are_told(pictures: int, plain: int, said: list[str]) -> None:
    images = np.random.default_rng(0).integers(0, 255, (20, 8, 8, 3), dtype=np.uint8)
    images[pictures:] = images[0]
    images[:plain] = images[:plain, :1, :1]
    notes = profile(ArrayImages(images), SkippedImages()).notes
    assert [any(note.startswith(start) for note in notes) for start in said] == [True] * len(said)
    assert len(notes) == len(said)
