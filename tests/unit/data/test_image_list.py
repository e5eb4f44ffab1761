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


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        (
            "x.txt",
            "a.png\ngone.png\nlost.png\n",
            "2 of the 3 names in .*x.txt are no images of folder .*: gone.png, lost.png. Write",
        ),
        ("x.csv", "name,label\na.png,1\n", "x.csv has the columns name, label; one must be called file"),
        (
            "x.csv",
            'file,label\na.png,1\n"sub/b,c.png",\n',
            "gives a label to 1 of its 2 images; give one to each, or to none",
        ),
        ("x.txt", "\n", "names no image"),
        ("x.txt", '"torn', '1 of the 1 names in .*: "torn'),
    ],
)
def test_bad_list_is_one_sentence(source: ImageFolder, tmp_path: Path, file: str, text: str, said: str) -> None:
    (tmp_path / file).write_text(text)
    with pytest.raises(DataError, match=said):
        read_list(tmp_path / file, source)
