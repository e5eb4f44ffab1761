"""Lists of images: names, paths, labels, and what is refused."""

from pathlib import Path

import pytest

from byol.data.image_folder import ImageFolder
from byol.data.image_list import is_list, read_list
from byol.errors import DataError
from tests.conftest import encoded, picture


@pytest.fixture
def source(tmp_path: Path) -> ImageFolder:
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    for name in ("a.png", "sub/b,c.png", 'sub/"d".png'):
        (tmp_path / "photos" / name).write_bytes(encoded(picture(len(name))))
    return ImageFolder(tmp_path / "photos", cache=None)


def names(source: ImageFolder, indices: list[int]) -> list[str]:
    return [source.name(index) for index in indices]


def test_names_and_paths_are_found_once(source: ImageFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.png").symlink_to(tmp_path / "photos" / "a.png")
    (tmp_path / "some.txt").write_text(
        f'sub/b,c.png\n\n{tmp_path}/photos/a.png\nphotos/sub/b,c.png\nlink.png\n"sub/\\"d\\".png"\n'
    )
    assert is_list(tmp_path / "some.txt") and not is_list(tmp_path / "photos")
    found = read_list(tmp_path / "some.txt", source)
    assert names(source, found.indices) == ["sub/b,c.png", "a.png", 'sub/"d".png'] and found.labels is None


def test_labels_are_named_classes_in_the_order_of_the_package(source: ImageFolder, tmp_path: Path) -> None:
    (tmp_path / "some.csv").write_text('rank,file,label\n1,"sub/b,c.png",zebra\n2,a.png, ant \n')
    found = read_list(tmp_path / "some.csv", source)
    assert found.labels is not None and found.labels.names == ("ant", "zebra")
    assert (names(source, found.indices), found.labels.codes.tolist()) == (["sub/b,c.png", "a.png"], [1, 0])


def test_table_without_classes_names_images_and_a_row_without_one_is_not_labelled(
    source: ImageFolder, tmp_path: Path
) -> None:
    (tmp_path / "some.csv").write_text('rank,file,score\n1,"sub/b,c.png",3\n2,a.png,2\n3,a.png,1\n')
    found = read_list(tmp_path / "some.csv", source)
    assert names(source, found.indices) == ["sub/b,c.png", "a.png"] and found.labels is None
    (tmp_path / "some.csv").write_text('file,label\na.png,1\n"sub/b,c.png",\n')
    found = read_list(tmp_path / "some.csv", source)
    assert found.labels is not None and (names(source, found.indices), found.labels.names) == (["a.png"], ("1",))


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        (
            "x.txt",
            "a.png\ngone.png\nlost.png\n",
            "x.txt names 2 files that folder .* does not have: gone.png, lost.png. Correct the names, such as",
        ),
        ("x.csv", "name,label\na.png,1\n", "x.csv has no column of files .*; it has name, label"),
        ("x.csv", "file,label\na.png,1\nHERE/a.png,2\n", "one image twice, as a.png and as .*photos/a.png"),
        ("x.txt", "\n", "names no image"),
        (
            "x.txt",
            '"torn',
            'names 1 file, such as "torn, and .* has none of them. Give the folder that the names are of',
        ),
    ],
)
def test_bad_list_is_one_sentence(source: ImageFolder, tmp_path: Path, file: str, text: str, said: str) -> None:
    (tmp_path / file).write_text(text.replace("HERE", str(source.root)))
    with pytest.raises(DataError, match=said):
        read_list(tmp_path / file, source)
