"""Labels from CSV files: separators, marks of other programs, names of files."""

from pathlib import Path

import numpy as np
import pytest

from byol.data.image_folder import ImageFolder
from byol.data.label_table import read_label_table
from byol.errors import DataError
from tests.conftest import encoded


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures, one of them in a folder."""
    (tmp_path / "photos" / "in").mkdir(parents=True)
    for name in ("a.png", "b.png", "in/c.png"):
        (tmp_path / "photos" / name).write_bytes(encoded(np.zeros((8, 8, 3), np.uint8)))
    return tmp_path / "photos"


def table(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder.parent / "labels.csv"
    path.write_text(text, encoding)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "file,label\na.png,cat\nin/c.png,dog\n",
        "\ufefffile;label\r\na.png;cat\r\nin/c.png;dog\r\n",
        "label\tpath\tnote\ncat\ta.png\tx\n\ndog\tin/c.png\t\n",
        'Image,Class\n"a.png", cat \n"in/c.png","dog"\nb.png,\n',
    ],
)
def test_one_class_is_read_from_tables_of_several_programs(folder: Path, text: str) -> None:
    part, sets = read_label_table(table(folder, text)).of(ImageFolder(folder))
    assert sets is None and part.labels is not None
    assert [part.name(index) for index in range(len(part))] == ["a.png", "in/c.png"]
    assert part.class_names == ["cat", "dog"] and part.labels.tolist() == [0, 1]


def test_files_may_be_named_by_a_path_from_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    text = f"file,label\nphotos/a.png,x\n{folder / 'b.png'},y\n"
    part, _ = read_label_table(table(folder, text)).of(ImageFolder(folder))
    assert [part.name(index) for index in range(len(part))] == ["a.png", "b.png"]


def test_the_column_file_comes_before_a_path(folder: Path) -> None:
    text = "path,file,label\nelsewhere/a.png,a.png,x\nelsewhere/b.png,b.png,y\n"
    part, _ = read_label_table(table(folder, text)).of(ImageFolder(folder))
    assert [part.name(index) for index in range(len(part))] == ["a.png", "b.png"]


def test_several_labels_are_separated_in_a_cell_and_an_empty_one_has_none(folder: Path) -> None:
    found = read_label_table(table(folder, "file,labels\na.png,dog; cat\nb.png,\nin/c.png,dog\n"))
    assert found.names == ("cat", "dog") and found.codes is None and found.sets is not None
    assert found.sets.tolist() == [[1, 1], [-1, -1], [-1, 1]]


def test_columns_of_labels_are_in_the_order_of_their_names(folder: Path) -> None:
    found = read_label_table(table(folder, "dog,file,cat\n1,a.png,0\n,b.png,1\n"))
    assert found.names == ("cat", "dog") and found.sets is not None
    assert found.sets.tolist() == [[-1, 1], [1, 0]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is empty"),
        ("file,label\n", "no rows"),
        ("file,label\na.png\n", "Row 2 .* has 1 cells where the header has 2"),
        ("name,label\nx,y\n", "no column of files"),
        ("file,animal\na.png,cat\n", "column 'animal' has 'cat'. --data.label-column"),
        ("file,a,b\na.png,1,0\na.png,0,1\n", "a.png twice"),
        ("file,label\na.png,x\ngone.png,y\n", "1 file that .* does not have: gone.png"),
    ],
)
def test_table_that_cannot_be_used_says_why(folder: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_label_table(table(folder, text)).of(ImageFolder(folder))
    with pytest.raises(DataError, match="No such file"):
        read_label_table(folder / "none.csv")
