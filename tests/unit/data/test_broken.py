"""Broken images: what stands in for them, what of them is kept and used, and what is counted."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from byol.data.check_data import check_data
from byol.data.image_folder import ImageFolder
from byol.data.loader import BatchPlan, DecodingFeed, _CroppedImages
from byol.data.open import open_source
from byol.data.source import SkippedImages
from byol.data.spec import DataSpec
from byol.errors import DataError
from byol.evaluate.features import extract
from byol.runtime.listener import Listener
from tests.conftest import encoded, picture

SOUND = (0, 40, 41)


@pytest.fixture
def few_left(tmp_path: Path) -> ImageFolder:
    """60 files, three of them sound, each with a side of its own."""
    folder = tmp_path / "few"
    folder.mkdir()
    for i in range(60):
        (folder / f"{i:03d}.png").write_bytes(encoded(picture(i, 40 + i)) if i in SOUND else b"junk")
    return ImageFolder(folder)


def crop(image: np.ndarray, step: int, row: int) -> torch.Tensor:
    return torch.tensor(image.shape[0])


def drawn(source: ImageFolder, step: int, seed: int = 0) -> list[int]:
    images = _CroppedImages(source, 3, crop, 0, seed)
    return [int(images.read(index, step, index)[0]) - 40 for index in range(60)]


def test_broken_images_are_replaced_by_all_sound_ones_alike(few_left: ImageFolder) -> None:
    counts = Counter(index for step in range(10) for index in drawn(few_left, step))
    assert set(counts) == set(SOUND)
    assert max(counts.values()) < 1.3 * min(counts.values())


def test_replacements_depend_on_seed_and_place_alone(few_left: ImageFolder) -> None:
    assert drawn(few_left, 3) == drawn(few_left, 3) != drawn(few_left, 4)
    assert drawn(few_left, 3) != drawn(few_left, 3, seed=1)
    images = _CroppedImages(few_left, 3, crop, 0)
    for index in range(60):
        images.read(index, 0, 0)  # by now all broken ones are known
    assert [int(images.read(index, 3, index)[0]) - 40 for index in range(60)] == drawn(few_left, 3)


def test_resumed_feed_draws_the_same(few_left: ImageFolder) -> None:
    def batches(first: int) -> list[torch.Tensor]:
        feed = DecodingFeed(few_left, 3, BatchPlan(12, 12), 5, 0, SkippedImages())
        return [batch.images.clone() for batch in feed.batches(first, 6, crop)]

    assert all(torch.equal(a, b) for a, b in zip(batches(0)[4:], batches(4), strict=True))


def test_no_sound_image_is_one_sentence(tmp_path: Path) -> None:
    for i in range(4):
        (tmp_path / f"{i}.png").write_bytes(b"junk")
    for workers in (0, 1):
        feed = DecodingFeed(ImageFolder(tmp_path), 3, BatchPlan(2, 2), 0, workers, SkippedImages())
        with pytest.raises(DataError, match=r"No image of .* can be decoded; one says: no image of a known kind"):
            list(feed.batches(0, 1, crop))


def test_sentence_of_a_worker_has_no_traceback(photos: Path) -> None:
    source = ImageFolder(photos)
    original = ImageFolder.read
    feed = DecodingFeed(source, 3, BatchPlan(8, 8), 0, 1, SkippedImages())

    class Gone(ImageFolder):
        calls = 0

        def read(self, *arguments: int) -> np.ndarray:
            Gone.calls += 1
            if Gone.calls > 1:
                raise DataError("The drive has gone.")
            return original(self, *arguments)

    source.__class__ = Gone
    with pytest.raises(DataError, match=r"^The drive has gone\.$"):
        list(feed.batches(0, 2, crop))


def test_findings_of_check_data_are_kept_and_used(few_left: ImageFolder, tmp_path: Path) -> None:
    check_data(few_left, out=tmp_path / "report.json")
    said: list[str] = []
    spec = DataSpec(str(few_left.root), checked=str(tmp_path / "report.json"))
    source = open_source(spec, listener=Listener(say=said.append))
    assert [source.name(i) for i in range(len(source))] == [f"{i:03d}.png" for i in SOUND]
    assert "57 images that" in said[-1]
    for content in ("{}", "junk", json.dumps({"broken": 3})):
        (tmp_path / "report.json").write_text(content)
        with pytest.raises(DataError, match="not a report of byol check-data --out"):
            open_source(spec)


def test_progress_ends_at_its_total_though_others_were_broken(few_left: ImageFolder, photos: Path) -> None:
    skipped, counts = SkippedImages(), []
    listener = Listener(work=lambda what, done, total: counts.append((done, total)))
    for source in (few_left, ImageFolder(photos)):
        counts.clear()
        extract(
            lambda x: x.float().mean((2, 3)),
            source,
            3,
            torch.device("cpu"),
            skipped=skipped,
            batch_size=8,
            listener=listener,
        )
        assert all(done <= total for done, total in counts) and counts[-1][0] == counts[-1][1] == len(source)
    assert len(skipped) == 57
