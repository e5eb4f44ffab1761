"""Classes given by the user: kept after every change, taken back, guessed for the others."""

import csv
import threading
from pathlib import Path

import pytest
import torch

from byol.errors import DataError, RunError
from byol.evaluate.head import fit_head
from byol.explore.labels import Labels

NAMES = [f"{kind}/{number}.jpg" for kind in ("a", "b", "c") for number in range(20)]


def unit() -> torch.Tensor:
    """(60, 8) vectors around three centres."""
    centres = torch.eye(3, 8).repeat_interleave(20, dim=0)
    noise = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.normalize(centres + 0.2 * noise, dim=1)


def labels(path: Path) -> Labels:
    return Labels(path / "labels.csv", NAMES, unit())


def rows(path: Path) -> list[list[str]]:
    with (path / "labels.csv").open(newline="") as file:
        return list(csv.reader(file))


def test_labels_are_in_the_file_after_every_change_and_there_at_the_next_start(tmp_path: Path) -> None:
    first = labels(tmp_path)
    first.give([3, 1], "  red   rose ")
    first.give([20], 'a, "b"')
    assert rows(tmp_path) == [
        ["file", "label"],
        ["a/1.jpg", "red rose"],
        ["a/3.jpg", "red rose"],
        ["b/0.jpg", 'a, "b"'],
    ]
    first.give([3], "")
    assert labels(tmp_path).of_image == first.of_image == {1: "red rose", 20: 'a, "b"'}


def test_changes_are_taken_back_one_by_one(tmp_path: Path) -> None:
    given = labels(tmp_path)
    given.give([0, 1], "a")
    given.give([1, 2], "b")
    given.undo()
    assert given.of_image == {0: "a", 1: "a"} and len(rows(tmp_path)) == 3
    given.undo()
    assert given.of_image == {}
    with pytest.raises(DataError, match="nothing to undo"):
        given.undo()


def test_what_something_else_wrote_is_read_before_the_next_change(tmp_path: Path) -> None:
    given, other = labels(tmp_path), labels(tmp_path)
    given.give([0], "a")
    for image in (1, 2, 3):
        other.give([image], "b")
    given.give([4], "c")
    assert rows(tmp_path)[1:] == [["a/0.jpg", "a"], *([f"a/{n}.jpg", "b"] for n in (1, 2, 3)), ["a/4.jpg", "c"]]
    assert given.of_image == {0: "a", 1: "b", 2: "b", 3: "b", 4: "c"} and given.entries()[0]["changed_elsewhere"]
    given.undo()  # its own change alone
    assert given.of_image == {0: "a", 1: "b", 2: "b", 3: "b"} and not given.entries()[0]["changed_elsewhere"]
    with pytest.raises(DataError, match=r"nothing to undo since .*labels.csv was changed elsewhere and read again"):
        other.undo()
    (tmp_path / "labels.csv").unlink()
    given.give([5], "a")
    assert len(rows(tmp_path)) == 1 + 5


def test_two_changes_at_a_time_are_both_kept(tmp_path: Path) -> None:
    given = labels(tmp_path)
    threads = [threading.Thread(target=given.give, args=([image], "a")) for image in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(given.of_image) == 20 and len(rows(tmp_path)) == 21


def test_rows_of_other_images_stay_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,label\ngone.jpg,x\na/0.jpg,y\n")
    given = labels(tmp_path)
    given.give([5], "z")
    assert rows(tmp_path)[1:] == [["gone.jpg", "x"], ["a/0.jpg", "y"], ["a/5.jpg", "z"]]


@pytest.mark.parametrize("content", ["name,class\na,b\n", "file,label\na,b,c\n", "x"])
def test_a_file_of_another_kind_is_not_touched(tmp_path: Path, content: str) -> None:
    (tmp_path / "labels.csv").write_text(content)
    with pytest.raises(RunError, match="is not a file of labels of byol explore"):
        labels(tmp_path)
    assert (tmp_path / "labels.csv").read_text() == content


def test_a_label_that_cannot_be_written_is_not_given(tmp_path: Path) -> None:
    given = labels(tmp_path)
    given.give([0], "a")
    (tmp_path / "labels.csv").unlink()
    (tmp_path / "labels.csv").mkdir()
    with pytest.raises(RunError, match="the label was not given"):
        given.give([1], "b")
    assert given.of_image == {0: "a"}


def test_guesses_follow_few_labels(tmp_path: Path) -> None:
    given = labels(tmp_path)
    assert given.guesses() is None
    given.give([0], "a")
    assert given.guesses() is None and given.entries()[0]["classes"] == ["a"]
    given.give([20], "b")
    given.give([40], "c")
    alone = given.guesses()
    assert alone is not None and alone.classes == ["a", "b", "c"]
    for image in (1, 21, 41, 2, 22, 42):
        given.give([image], "abc"[image // 20])
    several = given.guesses()
    assert several is not None and float(several.probability.mean()) > 0.5
    for guesses in (alone, several):
        right = guesses.number == torch.arange(3).repeat_interleave(20)
        assert float(right.float().mean()) > 0.95
    arrays = given.entries()[1]
    assert arrays["label"][:4].tolist() == [0, 0, 0, -1] and arrays["guess"].tolist() == several.number.tolist()
    assert arrays["percent"] == pytest.approx(100 * several.probability.numpy(), abs=0.51)


def test_of_many_labels_a_part_with_every_class_is_fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byol.explore.labels.MOST_FITTED", 12)
    monkeypatch.setattr("byol.explore.labels.FEWEST_OF_CLASS", 3)
    sizes, fit = [], fit_head
    monkeypatch.setattr(
        "byol.explore.labels.fit_head", lambda v, n, *a, **k: sizes.append(n.bincount()) or fit(v, n, *a, **k)
    )
    given = labels(tmp_path)
    given.change({image: "abc"[image // 20] for image in range(42)})
    guesses = given.guesses()
    assert [size.tolist() for size in sizes] == [[5, 5, 2]]  # shares of 20, 20 and 2
    assert guesses is not None
    assert float((guesses.number == torch.arange(3).repeat_interleave(20)).float().mean()) > 0.95


def test_next_images_are_chosen_among_a_part_of_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byol.explore.labels.MOST_FREE", 12)
    given = labels(tmp_path)
    first = given.next(60)
    assert 1 < len(first) <= 12 and len(set(first)) == len(first)
    given.give(first[:1], "a")
    assert set(given.next(60)) != set(first)  # another part after each label


def test_guesses_are_accepted_for_images_without_a_label(tmp_path: Path) -> None:
    given = labels(tmp_path)
    with pytest.raises(DataError, match="label images of two classes first"):
        given.accept([1])
    for image in (0, 1, 20, 21):
        given.give([image], "ab"[image // 20])
    given.give([5], "b")
    given.accept([4, 5, 6, 25])
    assert {image: given.of_image[image] for image in (4, 5, 6, 25)} == {4: "a", 5: "b", 6: "a", 25: "b"}


def test_all_shown_images_get_a_class_but_those_that_have_one(tmp_path: Path) -> None:
    given = labels(tmp_path)
    given.give([0], "a")
    given.give([0, 1], "b", keep=True)
    assert given.of_image == {0: "a", 1: "b"}
    given.give([0], "b")
    assert given.of_image == {0: "b", 1: "b"}


def test_next_images_have_no_label_and_come_from_all_groups(tmp_path: Path) -> None:
    given = labels(tmp_path)
    first = given.next(6)
    assert {image // 20 for image in first} == {0, 1, 2}
    given.give(first, "a")
    given.give([59], "b")
    assert not set(given.next(20)) & {*first, 59}
    given.give([image for image in range(60) if image != 7], "a")
    assert given.next(20) == [7]


def test_images_of_a_list_come_before_all_others_in_its_order(tmp_path: Path) -> None:
    given = Labels(tmp_path / "labels.csv", NAMES, unit(), first=[41, 3, 17])
    assert given.next(2) == [41, 3] and given.next(20) == [41, 3, 17]
    given.give([3, 41], "a")
    assert given.asked(20) == {"images": [17], "listed": 3, "done": 2, "left": 58}
    given.give([17], "b")
    assert len(given.next(20)) == 20


@pytest.mark.parametrize("images", [[], [-1], [60]])
def test_images_that_are_not_there_are_refused(tmp_path: Path, images: list[int]) -> None:
    with pytest.raises(DataError, match="no image to label"):
        labels(tmp_path).give(images, "a")
