"""Pairs: which pictures are of one thing, who is drawn as partner, and what the feeds make of it."""

import io
import tarfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from byol.config import Config, replaced, validate
from byol.data.arrays import ArrayImages
from byol.data.image_folder import ImageFolder, ListedImages
from byol.data.loader import BatchPlan, DecodingFeed, ResidentFeed
from byol.data.open import open_source
from byol.data.order import Order
from byol.data.pairs import Partners
from byol.data.parquet import open_parquet
from byol.data.resident import load_resident
from byol.data.source import ImageSource, SkippedImages
from byol.data.subset import Subset
from byol.data.things import Things, find_things
from byol.engine.micro_batches import make_views
from byol.errors import BrokenImageError, ConfigError, DataError
from byol.views.asymmetric import Asymmetry, asymmetric
from byol.views.policy import CROP_AND_FLIP, T_PRIME, T
from byol.views.views import Views, pair
from tests.conftest import encoded, picture

CPU = torch.device("cpu")
FILES = ["a/p1_1.png", "a/p1_2.png", "a/p2_1.png", "b/p1_1.png", "b/p1_2.jpg", "b/x.png"]
SLICES = [f"p{number // 3}_{number}.png" for number in range(12)]


def listed(paths: list[str]) -> ListedImages:
    return ListedImages(Path("."), paths, None, [], "the list")


def things(source: ImageSource, rule: str) -> Things:
    found = find_things(source, rule)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("folder", [0, 0, 0, 1, 1, 1]),
        ("name", [0, 1, 2, 0, 1, 3]),
        ("prefix", [0, 0, 1, 2, 2, 3]),
        ("prefix:1_", [0, 0, 1, 2, 2, 3]),
        ("prefix:x", None),
    ],
)
def test_files_are_grouped_as_the_rule_says(rule: str, expected: list[int] | None) -> None:
    source = listed(FILES)
    if expected is None:
        with pytest.raises(
            DataError,
            match=r"By --views.pairs prefix:x no two pictures of the list are of one thing \(the first is a/p1_1",
        ):
            find_things(source, rule)
        return
    found = things(source, rule)
    assert found.numbers.tolist() == expected
    part = Subset(source, np.array([4, 3, 1, 0]), "part")
    assert things(part, "folder").numbers.tolist() == [0, 0, 1, 1]


def test_prefix_ends_at_the_last_separator() -> None:
    paths = ["a_1_x.png", "a_1_y.png", "a_2_x.png", "a_2.png", "_1.png", "_2.png"]
    assert things(listed(paths), "prefix").numbers.tolist() == [0, 0, 1, 2, 3, 4]
    assert things(listed(paths), "prefix:_x").numbers.tolist() == [0, 1, 2, 2, 3, 4]


def test_words_count_things_and_those_with_one_picture() -> None:
    assert things(listed(FILES), "prefix").words == (
        "pairs by prefix: 6 pictures of 4 things, such as a/p1_1.png and a/p1_2.png; 2 things with one picture: two views of it"
    )
    assert things(listed(FILES), "folder").words.endswith("6 pictures of 2 things, such as a/p1_1.png and a/p1_2.png")
    assert find_things(listed(FILES), "") is None
    assert things(listed(FILES), "folder").digest != things(listed(FILES), "name").digest


def test_shards_of_a_tar_do_not_part_things(tmp_path: Path) -> None:
    for shard in range(2):
        with tarfile.open(tmp_path / f"{shard}.tar", "w") as tar:
            for number in range(3):
                member, content = tarfile.TarInfo(f"d/p{number}_{shard}.png"), encoded(picture(number))
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    source = open_source(str(tmp_path))
    assert things(source, "prefix").numbers.tolist() == [0, 1, 2, 0, 1, 2]
    with pytest.raises(DataError, match=r"By --views.pairs folder all 6 pictures of tar .* are of one thing"):
        find_things(source, "folder")


COLUMNS = {
    "names": pa.array(["x", "y", "x", None, "", "y"]),
    "dictionary": pa.array(["x", "y", "x", None, None, "y"]).dictionary_encode(),
    "large": pa.array(["x", "y", "x", None, None, "y"], pa.large_string()),
    "numbers": pa.array([7, 3, 7, None, None, 3]),
    "floats": pa.array([7.0, 3.0, 7.0, float("nan"), None, 3.0]),
    "days": pa.array([7, 3, 7, None, None, 3], pa.int32()).cast(pa.date32()),
}


def write_table(path: Path, **columns) -> Path:
    files = [encoded(picture(i, 16, 16)) for i in range(6)]
    pq.write_table(pa.table({"image": files, **columns}), path, row_group_size=4)
    return path


@pytest.mark.parametrize("limit", [10**9, 0])
@pytest.mark.parametrize("column", COLUMNS)
def test_column_of_a_table_gives_the_things(tmp_path: Path, column: str, limit: int) -> None:
    """From one file and from two, in memory and mapped; rows without a value are alone."""
    write_table(tmp_path / "a.parquet", patient=COLUMNS[column])
    found = things(open_parquet(tmp_path / "a.parquet", limit, tmp_path / "cache"), "column:patient")
    assert found.numbers.tolist() == [0, 1, 0, 2, 3, 1]
    assert found.words.endswith("2 pictures without a 'patient', each a thing of its own")
    write_table(tmp_path / "b.parquet", patient=COLUMNS[column])
    source = open_parquet([tmp_path / "a.parquet", tmp_path / "b.parquet"], limit, tmp_path / "cache")
    assert things(source, "column:patient").numbers.tolist() == [0, 1, 0, 2, 3, 1, 0, 1, 0, 4, 5, 1]
    part = Subset(source, np.array([5, 0, 1]), "part")
    assert things(part, "column:patient").numbers.tolist() == [0, 1, 0]


def test_column_of_a_saved_data_set_gives_the_things(tmp_path: Path) -> None:
    table = pa.table({"image": [encoded(picture(i)) for i in range(4)], "place": ["a", "b", "b", "a"]})
    with pa.ipc.new_stream(str(tmp_path / "data.arrow"), table.schema) as writer:
        writer.write_table(table)
    (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "data.arrow"}]}')
    assert things(open_source(str(tmp_path)), "column:place").numbers.tolist() == [0, 1, 1, 0]


def test_table_of_files_gives_the_things(tmp_path: Path) -> None:
    for name in SLICES[:4]:
        (tmp_path / name).write_bytes(encoded(picture(0)))
    source, table = ImageFolder(tmp_path), tmp_path / "shots.csv"
    rule = f"column:place:{table}"
    table.write_text(f"file,place\np0_0.png,x\n{tmp_path}/p0_1.png,y\np1_3.png,x\nelsewhere.png,x\n")
    found = things(source, rule)
    assert found.numbers.tolist() == [0, 1, 2, 0]
    assert found.words.endswith(
        f"1 picture without a 'place', each a thing of its own; 1 row of {table} name no picture here"
    )
    for text, message in (
        ("file,site\np0_0.png,x\n", r"shots.csv \(--views.pairs\) has no column 'place'; it has file, site"),
        ("shot,place\np0_0.png,x\n", r"has no column of files \(image, img, path.*it has shot, place"),
        ("file,place\np0_0.png,x\np0_0.png,y\n", "gives p0_0.png two things, x and y, in column 'place'"),
        ("file,place\nother.png,x\n", "no two pictures of folder .* are of one thing"),
        ("", "shots.csv cannot be read"),
    ):
        table.write_text(text)
        with pytest.raises(DataError, match=message):
            find_things(source, rule)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("folder", "By --views.pairs folder all 12 pictures of folder .* are of one thing. Choose another rule"),
        ("name", "By --views.pairs name no two pictures of folder .* are of one thing"),
        ("prefix:-", "By --views.pairs prefix:- no two pictures"),
        ("prefix:p", "By --views.pairs prefix:p no two pictures"),
        (
            "column:patient",
            "folder .* is not a table, which --views.pairs column:patient needs. column:patient:TABLE.csv",
        ),
        ("column:patient:gone.csv", "The table gone.csv cannot be read"),
    ],
)
def test_rules_that_cannot_be_right_for_a_flat_folder_are_refused(tmp_path: Path, rule: str, message: str) -> None:
    for name in SLICES:
        (tmp_path / name).write_bytes(encoded(picture(0)))
    with pytest.raises(DataError, match=message):
        find_things(ImageFolder(tmp_path), rule)


def test_what_has_no_names_or_another_column_is_refused(tmp_path: Path) -> None:
    path = write_table(tmp_path / "a.parquet", patient=[1, 1, 2, 2, 3, 3], boxes=[[1, 2]] * 6, one=["x"] * 6)
    source = open_parquet(path)
    for rule, message in (
        (
            "prefix",
            r"parquet .* has no names of files, which --views.pairs prefix needs. In a table name a column \(column:NAME\)",
        ),
        ("column:place", r"a.parquet has no column 'place' \(--views.pairs\); it has image, patient, boxes, one"),
        ("column:image", r"Column 'image' of .*a.parquet \(--views.pairs\) holds binary, neither names nor numbers"),
        ("column:one", "all 6 pictures of parquet .* are of one thing"),
    ):
        with pytest.raises(DataError, match=message):
            find_things(source, rule)
    with pytest.raises(DataError, match="array has no names of files"):
        find_things(ArrayImages(np.zeros((20, 8, 8), np.uint8)), "folder")


@pytest.mark.parametrize(
    "rule", ["folders", "prefix:", "prefix:a/b", "column", "column:", "column::a.csv", "Folder", " "]
)
def test_unknown_rules_are_refused_before_any_image_is_read(rule: str) -> None:
    with pytest.raises(ConfigError, match=r"views\.pairs must be folder, name, prefix, prefix:SEPARATOR, column:NAME"):
        validate(replaced(Config(), {"views.pairs": rule}))


NUMBERS = np.array([0, 1, 0, 2, 1, 0, 3, 0, 3])


def test_partner_is_another_picture_of_the_thing_and_all_alike() -> None:
    partners, everything = Partners(NUMBERS, 5), np.arange(9)
    drawn = np.stack([partners.of(everything, 9 * epoch) for epoch in range(3000)])
    assert (NUMBERS[drawn] == NUMBERS).all()
    assert (drawn[:, 3] == 3).all()  # alone of its thing
    for image in (0, 1, 2, 4, 5, 6, 7, 8):
        others = Counter(drawn[:, image].tolist())
        assert set(others) == set(np.flatnonzero(NUMBERS[image] == NUMBERS).tolist()) - {image}
        assert max(others.values()) < 1.15 * min(others.values())
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 2])[0, 1]) < 0.05  # of two pictures of one thing, each by itself


def test_partner_depends_on_seed_epoch_and_image_alone() -> None:
    numbers = np.arange(40) // 4
    whole = [Partners(numbers, 3).of(np.arange(40), 40 * epoch) for epoch in range(3)]
    assert not np.array_equal(whole[0], whole[1])
    assert not np.array_equal(whole[0], Partners(numbers, 4).of(np.arange(40), 0))
    partners, order = Partners(numbers, 3), Order(40, 3)
    for position in (104, 30, 75, 0):  # in any order, over the end of an epoch
        images = order.indices(position, 16)
        expected = [whole[(position + row) // 40][image] for row, image in enumerate(images)]
        assert partners.of(images, position).tolist() == expected
        assert [next(partners.candidates(int(i), position + row)) for row, i in enumerate(images)] == expected


def test_candidates_are_the_partner_and_then_every_other_picture_once() -> None:
    partners = Partners(NUMBERS, 1)
    for image in range(9):
        others = set(np.flatnonzero(NUMBERS[image] == NUMBERS).tolist()) - {image}
        found = list(partners.candidates(image, 9))
        assert len(found) == len(others) and set(found) == others
        assert found[:1] == ([int(partners.of(np.arange(9), 9)[image])] if others else [])


def plain(values: list[int], dtype: type = np.uint8) -> list[np.ndarray]:
    """Pictures of one colour each, of different sizes."""
    top = np.iinfo(dtype).max
    return [np.full((12 + i % 3, 12 + i % 2, 3), value * top // 255, dtype) for i, value in enumerate(values)]


class Given:
    """Pictures in memory, some of them broken."""

    labels = class_names = None
    notes = label_notes = ()
    unlabelled, description = "", "given"

    def __init__(self, pictures: list[np.ndarray], broken: Sequence[int] = ()) -> None:
        self.pictures, self.broken = pictures, broken

    def __len__(self) -> int:
        return len(self.pictures)

    def read(self, index: int, channels: int, short_side: int = 0) -> np.ndarray:
        if index in self.broken:
            raise BrokenImageError("broken")
        return self.pictures[index]

    def name(self, index: int) -> str:
        return f"image {index}"

    def channels(self, index: int) -> int:
        return 3


EVERYTHING = Asymmetry(3, 8, (0.05, 0.14), "source", "target", "both", "none")
OF_ANCHOR = {"sources1.0", "sources1.1", "targets1.0", "targets1.1", "small.0", "small.2"}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("resident", [True, False])
def test_first_views_are_of_the_image_and_second_ones_of_its_partner(resident: bool, dtype: type) -> None:
    """Of small views every other one is the partner's."""
    colours = np.arange(12) * 20
    views = Views(asymmetric(CROP_AND_FLIP, CROP_AND_FLIP, 8, EVERYTHING), 6, seed=2)
    partners, plan = Partners(np.arange(12) // 4, 2), BatchPlan(6, 3)
    if resident:
        stack = np.stack([np.full((3, 12, 12), c * np.iinfo(dtype).max // 255, dtype) for c in colours])
        feed = ResidentFeed(torch.from_numpy(stack), None, plan, 2, partners=partners)
    else:
        source = Given(plain(colours.tolist(), dtype))
        feed = DecodingFeed(source, 3, plan, 2, 0, SkippedImages(), partners=partners)
    order, seen = Order(12, 2), []
    for batch in feed.batches(0, 4, views.crop):
        made = make_views(batch, views, CPU).views
        anchors = order.indices(batch.step * 6 + batch.first_row, 3)
        others = partners.of(anchors, batch.step * 6 + batch.first_row)
        seen += anchors.tolist()
        for role, several in vars(made).items():
            for number, view in enumerate(several):
                expected = anchors if f"{role}.{number}" in OF_ANCHOR else others
                found = 255 * view.mean((1, 2, 3)).double()
                assert torch.allclose(found, torch.from_numpy(colours[expected]).double(), atol=0.1), (role, number)
    assert len(made.small) == 3 and len(made.targets2) == len(made.sources2) == 2
    assert sorted(seen[:12]) == sorted(seen[12:]) == list(range(12))  # each picture leads once per epoch


@pytest.mark.parametrize("crops", [0, 2])
@pytest.mark.parametrize("workers", [0, 2])
def test_feeds_give_the_same_pairs(photos: Path, crops: int, workers: int) -> None:
    for path in photos.rglob("*.jpg"):
        if int(path.stem) % 2:
            path.unlink()
    source, plan = ImageFolder(photos), BatchPlan(8, 4)
    views = Views(asymmetric(T, T_PRIME, 16, Asymmetry(crops, 8)), 8, seed=1)
    loaded = load_resident(source, 3, SkippedImages())
    assert loaded is not None
    numbers = np.arange(20) // 3
    resident = ResidentFeed(loaded[0], None, plan, 5, partners=Partners(numbers, 5))
    decoding = DecodingFeed(source, 3, plan, 5, workers, SkippedImages(), partners=Partners(numbers, 5))
    ordinary = ResidentFeed(loaded[0], None, plan, 5)
    feeds = (feed.batches(1, 6, views.crop) for feed in (resident, decoding, ordinary))
    for a, b, c in zip(*feeds, strict=True):
        one, other, single = (make_views(batch, views, CPU).views for batch in (a, b, c))
        assert all(torch.allclose(x, y, atol=1e-5) for x, y in zip(one, other, strict=True))
        assert torch.equal(one.view1, single.view1) and not torch.allclose(one.view2, single.view2, atol=0.1)


@pytest.mark.parametrize("kind", ["resident", "decoding"])
def test_things_of_one_picture_train_bit_for_bit_as_without_pairs(photos: Path, kind: str) -> None:
    source, plan = ImageFolder(photos), BatchPlan(8, 4)
    views = Views(pair(T, T_PRIME, 16), 8, seed=1)
    images = torch.from_numpy(np.stack([picture(i) for i in range(40)])).permute(0, 3, 1, 2)

    def made(partners: Partners | None) -> list[torch.Tensor]:
        if kind == "resident":
            feed = ResidentFeed(images, None, plan, 5, partners=partners)
        else:
            feed = DecodingFeed(source, 3, plan, 5, 0, SkippedImages(), partners=partners)
        return [view for batch in feed.batches(0, 6, views.crop) for view in make_views(batch, views, CPU).views]

    assert all(map(torch.equal, made(Partners(np.arange(40), 5)), made(None)))


def seen_pairs(source: Given, partners: Partners, skipped: SkippedImages, crop: Callable) -> list[tuple[int, int]]:
    feed = DecodingFeed(source, 3, BatchPlan(6, 6), 0, 0, skipped, partners=partners)
    return [tuple(row) for batch in feed.batches(0, 40, crop) for row in batch.images.tolist()]


def test_broken_partner_gives_way_to_another_and_at_last_to_the_image_itself() -> None:
    def crop(image: np.ndarray, step: int, row: int, partner: np.ndarray | None = None) -> torch.Tensor:
        return torch.tensor([int(image[0, 0, 0]), int((image if partner is None else partner)[0, 0, 0])])

    numbers = np.array([0, 0, 0, 1, 1, 2])  # of 1 all but one is broken
    source, skipped = Given(plain(list(range(6))), [1, 4]), SkippedImages()
    pairs = seen_pairs(source, Partners(numbers, 0), skipped, crop)
    assert set(pairs) == {
        (0, 2),
        (2, 0),
        (3, 3),
        (5, 5),
    }  # a broken image gives way to a sound one with its own partner
    assert sorted(index for _, index in skipped.images) == [1, 4]
    assert pairs == seen_pairs(source, Partners(numbers, 0), SkippedImages(), crop)
    loaded = load_resident(source, 3, SkippedImages())
    assert loaded is None  # of different sizes
    equal = Given([np.full((8, 8, 3), i, np.uint8) for i in range(6)], [1, 4])
    images, places = load_resident(equal, 3, SkippedImages()) or (torch.empty(0), torch.empty(0))
    feed = ResidentFeed(images, None, BatchPlan(4, 4), 0, places.numpy(), Partners(numbers[places], 0))
    found = {
        (int(image[0, 0, 0]), int(partner[0, 0, 0]))
        for batch in feed.batches(0, 40)
        if batch.partners is not None
        for image, partner in zip(batch.images, batch.partners, strict=True)
    }
    assert found == {(0, 2), (2, 0), (3, 3), (5, 5)}


def test_other_pictures_of_a_thing_in_a_batch_are_counted() -> None:
    numbers = np.arange(30) // 3
    found = Things(numbers, "").beside(10)
    generator = np.random.default_rng(0)
    batches = [numbers[generator.permutation(30)[:10]] for _ in range(4000)]
    measured = np.mean([(batch == batch[0]).sum() - 1 for batch in batches])
    assert found == pytest.approx(2 / 29 * 9) and measured == pytest.approx(found, rel=0.05)
