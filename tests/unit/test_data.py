"""Sources in memory, order, feeds: what is read, in which order, and what happens to broken images."""

import io
import os
import pickle
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from byol.data import loader
from byol.data.arrays import ArrayImages
from byol.data.dataset import DatasetImages
from byol.data.image_folder import ImageFolder
from byol.data.loader import BatchPlan, DecodingFeed, ResidentFeed
from byol.data.open import open_source
from byol.data.order import Order
from byol.data.profile import profile
from byol.data.resident import load_resident
from byol.data.sample import open_sample
from byol.data.source import SkippedImages
from byol.data.subset import held_out, per_class
from byol.errors import BrokenImageError, DataError, OutOfMemoryError
from byol.runtime import hardware
from byol.views.policy import T_PRIME, T, ViewKernels
from byol.views.views import Views, pair
from tests.conftest import encoded, picture


def test_sample_holds_what_it_says() -> None:
    train, test = open_sample("train"), open_sample("test")
    assert train.pixels.shape == (12000, 28, 28, 1)
    assert np.bincount(train.labels).tolist() == [1200] * 10
    assert np.bincount(test.labels).tolist() == [200] * 10
    trained = {image.tobytes() for image in train.pixels}
    # Fashion-MNIST itself repeats a few pictures across its two parts
    assert sum(image.tobytes() in trained for image in test.pixels) <= 2


def test_order_every_epoch_is_another_permutation() -> None:
    order = Order(10, seed=3)
    first, second = order.indices(0, 10), order.indices(10, 10)
    assert sorted(first) == sorted(second) == list(range(10))
    assert first.tolist() != second.tolist()
    assert order.indices(7, 6).tolist() == [*first[7:], *second[:3]]
    assert Order(10, seed=3).indices(15, 5).tolist() == second[5:].tolist()


def test_array_file_is_mapped_and_a_foreign_one_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.stack([picture(i) for i in range(4)]))
    source = open_source(str(tmp_path / "a.npy"))
    assert np.array_equal(source.read(2, 3), picture(2))
    np.save(tmp_path / "b.npy", np.array([{"evil": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "c.npy").write_bytes(b"\x93NUMPY")
    for name in ("b.npy", "c.npy"):
        with pytest.raises(DataError, match="cannot be read as an array"):
            open_source(str(tmp_path / name))


def test_dataset_of_torch_is_a_source() -> None:
    class Mixed(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 5

        def __getitem__(self, index: int):
            pixels = picture(index)
            return [
                (Image.fromarray(pixels), 1), pixels, torch.from_numpy(pixels).permute(2, 0, 1),
                (pixels[..., 0], 0), pixels.astype(np.float32),
            ][index]  # fmt: skip

    source = DatasetImages(Mixed())
    assert all(np.array_equal(source.read(i, 3), picture(i)) for i in range(3))
    assert source.read(3, 3).shape == (40, 48, 3)
    with pytest.raises(BrokenImageError, match="floats in memory go from 0 to 1"):
        source.read(4, 3)
    with pytest.raises(BrokenImageError, match="IndexError"):
        source.read(5, 3)


def test_resident_skips_broken_and_refuses_mixed_sizes(photos: Path) -> None:
    skipped = SkippedImages()
    assert load_resident(ImageFolder(photos), 3, skipped) is None
    for path in photos.rglob("*.jpg"):
        if int(path.stem) % 2:
            path.unlink()
    (photos / "cat" / "00.jpg").write_bytes(b"broken")
    loaded = load_resident(ImageFolder(photos), 3, skipped)
    assert loaded is not None
    assert loaded[0].shape == (19, 3, 40, 48)
    assert [name for name, _ in skipped.reasons] == ["cat/00.jpg"]


@pytest.mark.parametrize("kernels", ["native", "fused"])
def test_feeds_decoded_and_resident_give_the_same_views(photos: Path, kernels: ViewKernels) -> None:
    for path in photos.rglob("*.jpg"):
        if int(path.stem) % 2:
            path.unlink()
    source, plan = ImageFolder(photos), BatchPlan(8, 4)
    views = Views(pair(T, T_PRIME, 32), 8, seed=1, kernels=kernels)
    loaded = load_resident(source, 3, SkippedImages())
    assert loaded is not None
    resident = ResidentFeed(loaded[0], None, plan, seed=5)
    for workers in (0, 2):
        decoding = DecodingFeed(source, 3, plan, 5, workers, SkippedImages())
        for a, b in zip(resident.batches(2, 5), decoding.batches(2, 5, views.crop), strict=True):
            assert (a.step, a.first_row) == (b.step, b.first_row)
            first, second = views(a.images, a.step, a.first_row), views.finish(b.images, b.step, b.first_row)
            for one, other in zip(first, second, strict=True):
                assert torch.allclose(one, other, atol=1e-5)


def test_feed_batch_stays_while_the_next_one_is_used(photos: Path) -> None:
    views = Views(pair(T, T_PRIME, 16), 8, seed=1)
    feed = DecodingFeed(ImageFolder(photos), 3, BatchPlan(8, 8), 0, 2, SkippedImages())
    before, copy = None, torch.empty(0)
    for batch in feed.batches(0, 12, views.crop):
        time.sleep(0.02)  # workers are ahead as far as they may
        assert before is None or torch.equal(before.images, copy)
        before, copy = batch, batch.images.clone()


def test_feed_decodes_smaller_where_asked(photos: Path) -> None:
    sides: list[int] = []
    seen: list[set[int]] = []

    def crop(image: np.ndarray, step: int, row: int) -> torch.Tensor:
        sides.append(min(image.shape[:2]))
        return torch.zeros(2, 3, 8, 8)

    for short_side in (0, 20):
        feed = DecodingFeed(ImageFolder(photos), 3, BatchPlan(8, 8), 0, 0, SkippedImages(), short_side)
        list(feed.batches(0, 5, crop))
        seen.append(set(sides))
        sides.clear()
    assert seen == [{40, 48}, {20, 24}]


def test_feed_that_needs_more_shared_memory_than_there_is_says_so(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = Views(pair(T, T_PRIME, 32), 8, seed=0)
    feed = DecodingFeed(ImageFolder(photos), 3, BatchPlan(8, 8), 0, 2, SkippedImages())
    monkeypatch.setattr(loader, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(loader.shutil, "disk_usage", lambda path: SimpleNamespace(total=9_000_000, free=1_000_000))
    needs = r"worker processes need {} MB of shared memory, and .* has {}, of which {} are free\. Lower"
    with pytest.raises(OutOfMemoryError, match="2 " + needs.format(1, 9, 1)):
        next(feed.batches(0, 1, views.crop))  # 6 places of 8 images, two views of 3 x 32 x 32 float32: 1,179,648 bytes
    monkeypatch.setattr(loader.shutil, "disk_usage", lambda path: SimpleNamespace(total=2_000_000, free=2_000_000))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")  # each of whose processes needs as much
    with pytest.raises(OutOfMemoryError, match="4 " + needs.format(2, 2, 2)):
        next(feed.batches(0, 1, views.crop))


def test_ranks_of_a_machine_share_its_cores_for_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(hardware, "num_cores", lambda: 16)
    assert (hardware.choose_workers(-1, cpu), hardware.choose_workers(0, cpu)) == (8, 0)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert (hardware.choose_workers(-1, cpu), hardware.choose_workers(5, cpu)) == (3, 5)
    assert (hardware.choose_workers(-1, cpu, decodes=False), hardware.choose_workers(5, cpu, decodes=False)) == (0, 5)
    assert hardware.choose_workers(-1, torch.device("meta"), decodes=False) == 3  # crops for another device


def test_feed_whose_worker_dies_says_so(photos: Path) -> None:
    crop = Views(pair(T, T_PRIME, 32), 8, seed=0).crop
    feed = DecodingFeed(ImageFolder(photos), 3, BatchPlan(8, 8), 0, 1, SkippedImages())
    with pytest.raises(
        OutOfMemoryError, match=r"A process that decodes images has died .*lower --workers.*drive.*__main__"
    ):
        list(feed.batches(0, 3, partial(die, os.getpid(), crop)))


def die(parent: int, crop: Callable[..., torch.Tensor], image: np.ndarray, step: int, row: int) -> torch.Tensor:
    if os.getpid() != parent:
        os.kill(os.getpid(), 9)
    return crop(image, step, row)


def test_feed_broken_image_is_replaced_and_noted(photos: Path) -> None:
    (photos / "cat" / "03.jpg").write_bytes(b"broken")
    skipped = SkippedImages()
    views = Views(pair(T, T_PRIME, 32), 40, seed=1)
    feed = DecodingFeed(ImageFolder(photos), 3, BatchPlan(40, 40), 0, 0, skipped)
    (batch,) = feed.batches(0, 1, views.crop)
    assert batch.images.shape == (40, 2 * 3 * 32 * 32)
    assert [name for name, _ in skipped.reasons] == ["cat/03.jpg"]


def test_arrays_wrong_shape_or_type_is_refused() -> None:
    with pytest.raises(DataError, match="integers or floats"):
        ArrayImages(np.zeros((3, 4, 4), dtype=complex))
    with pytest.raises(DataError, match="2 labels"):
        ArrayImages(np.zeros((3, 4, 4), dtype=np.uint8), np.zeros(2, dtype=np.int64))


def test_splits_are_balanced_and_disjoint() -> None:
    labels = np.repeat(np.arange(4), 25)
    kept, out = held_out(labels, 0.2, seed=0)
    assert np.bincount(labels[out]).tolist() == [5] * 4
    assert sorted([*kept, *out]) == list(range(100))
    assert np.bincount(labels[per_class(labels, 3, seed=1)]).tolist() == [3] * 4


def test_profile_too_few_images_says_how_many(tmp_path: Path) -> None:
    for i in range(5):
        (tmp_path / f"{i}.png").write_bytes(encoded(picture(i)))
    with pytest.raises(DataError, match="5 images; pretraining needs at least 16"):
        profile(ImageFolder(tmp_path), SkippedImages())


def test_arrays_are_read_with_the_channels_that_are_asked_for() -> None:
    colour, grey, many = (np.stack([picture(i)[..., :n] for i in range(3)]) for n in (3, 1, 2))
    assert np.array_equal(ArrayImages(colour).read(1, 1)[..., 0], np.asarray(Image.fromarray(colour[1]).convert("L")))
    assert np.array_equal(ArrayImages(grey).read(1, 3), np.repeat(grey[1], 3, axis=2))
    assert ArrayImages(many).read(1, 2).shape == (40, 48, 2)
    with pytest.raises(BrokenImageError, match="2 channels where 3 were expected"):
        ArrayImages(many).read(1, 3)
    loaded = load_resident(ArrayImages(colour), 1, SkippedImages())
    assert loaded is not None
    assert loaded[0].shape == (3, 1, 40, 48)


def test_array_file_is_pickled_by_its_path(tmp_path: Path) -> None:
    pixels = np.stack([picture(i) for i in range(4)])
    np.save(tmp_path / "a.npy", pixels)
    packed = pickle.dumps(ArrayImages.open(tmp_path / "a.npy"))
    assert len(packed) < 1000
    assert np.array_equal(pickle.loads(packed).read(2, 3), pixels[2])
    copied = pickle.loads(pickle.dumps(ArrayImages(pixels, np.arange(4), list("abcd"), "mine")))
    assert np.array_equal(copied.pixels, pixels)
    assert (copied.labels.tolist(), copied.class_names, copied.description) == ([0, 1, 2, 3], list("abcd"), "mine")


def test_array_with_its_channels_first_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"32 x 32 px with 3 channels \(layout NCHW\).*does not fit that.*transpose\(0, 2, 3, 1\)"
    ):
        ArrayImages(np.zeros((20, 3, 32, 32), np.uint8))
    assert ArrayImages(np.zeros((20, 32, 32, 12), np.uint8)).channels(0) == 12


def test_array_file_that_is_something_else_is_one_sentence(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(DataError, match="cannot be read as an array of numbers"):
        ArrayImages.open(tmp_path / "a.npy")


def test_data_set_of_sideways_photos_is_turned_upright_and_left_as_it_is() -> None:
    image = Image.fromarray(picture(1))
    image.getexif()[0x0112] = 6
    assert DatasetImages([image]).read(0, 3).shape == (48, 40, 3)
    assert image.size == (48, 40) and image.getexif()[0x0112] == 6


class OneAtATime(torch.utils.data.Dataset):
    """Broken where a second thread asks before the first has its answer."""

    busy = False

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> np.ndarray:
        assert not self.busy
        self.busy = True
        time.sleep(0.001)
        self.busy = False
        return picture(index)


def test_dataset_is_asked_by_one_thread_at_a_time() -> None:
    source = pickle.loads(pickle.dumps(DatasetImages(OneAtATime())))
    with ThreadPoolExecutor(8) as pool:
        assert all(image.shape == (40, 48, 3) for image in pool.map(lambda index: source.read(index, 3), range(40)))


def test_dataset_of_pillow_images_follows_the_rule_of_files() -> None:
    grey = picture(1)[..., 0]
    torn = Image.open(io.BytesIO(encoded(picture(1), "JPEG")[:700]))
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    source = DatasetImages([deep, deep.convert("I"), Image.fromarray(grey).convert("LA"), torn])
    for index in range(3):
        assert source.channels(index) == 1
        assert np.array_equal(source.read(index, 1)[..., 0], grey if index == 2 else grey.astype(np.uint16) * 257)
    with pytest.raises(BrokenImageError, match="truncated"):
        source.read(3, 3)


def test_profile_of_no_image_says_so() -> None:
    with pytest.raises(DataError, match=r"array holds 0 images; name a folder"):
        profile(ArrayImages(np.zeros((0, 8, 8, 3), np.uint8)), SkippedImages())
