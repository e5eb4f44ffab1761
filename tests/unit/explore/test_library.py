"""The library of `byol explore`: neighbours, clusters, near-duplicates, lists."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from byol.data.arrays import ArrayImages
from byol.data.image_folder import ImageFolder
from byol.errors import ByolError, RunError
from byol.explore.library import Library, open_library
from tests.conftest import encoded
from tests.unit.explore.coloured_library import COUNT, CPU, make_encoder


def test_copy_is_found_and_called_the_same(library: Library) -> None:
    (first, *_) = library.duplicates(0.9, 50)
    assert {library.name(first[0]), library.name(first[1])} == {"04<b>.png", "zz copy.png"}
    assert first[2] == pytest.approx(1.0, abs=1e-5)
    assert first[3]
    assert library.duplicates(1.1, 50) == []
    every = library.duplicates(-1.0, 10_000)
    assert len({frozenset(pair[:2]) for pair in every}) == len(every)
    assert [pair[2] for pair in every] == sorted((pair[2] for pair in every), reverse=True)


def test_search_finds_the_image_itself_and_its_colour(library: Library, folder: Path) -> None:
    found = library.search((folder / "05<b>.png").read_bytes(), 6)
    assert library.name(found[0].image) == "05<b>.png"
    assert {int(library.name(match.image)[:2]) % 3 for match in found} == {2}
    others = library.neighbours(found[0].image, 5)
    assert [match.image for match in others] == [match.image for match in found[1:]]


def test_clusters_part_the_images_and_follow_the_colours(library: Library) -> None:
    library.regroup(3)
    clusters = library.clusters()
    assert [c["size"] for c in clusters] == sorted((c["size"] for c in clusters), reverse=True)
    assert sorted(i for c in clusters for i in library.members(c["number"])) == list(range(COUNT + 1))
    for cluster in clusters:
        names = [library.name(i) for i in library.members(cluster["number"])]
        assert len({int(name[:2]) % 3 for name in names if name[0] != "z"}) == 1
        assert set(cluster["shown"]) <= set(library.members(cluster["number"]))


def test_export_writes_paths_and_replaces_nothing(library: Library, folder: Path) -> None:
    written = library.export("../my: birds", [3, 1, 3])
    assert written == library.out / "_my_ birds.txt"
    assert written.read_text().splitlines() == [str(folder / "01<b>.png"), str(folder / "03<b>.png")]
    with pytest.raises(RunError, match="is there already"):
        library.export("../my: birds", [1])
    for name, images, said in (("x", [], "no image"), ("x", [99], "no image"), ("...", [1], "letters or digits")):
        with pytest.raises(ByolError, match=said):
            library.export(name, images)


def test_vectors_are_read_again_for_the_same_encoder_and_images_alone(
    library: Library, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, original = [], ImageFolder.read
    monkeypatch.setattr(ImageFolder, "read", lambda self, *a: read.append(a) or original(self, *a))
    source = ImageFolder(folder, cache=None)
    again, _ = open_library(make_encoder(), source, CPU, library.out)
    assert len(read) == 1  # the broken one, tried again
    assert torch.equal(again.unit, library.unit)
    (folder / "03<b>.png").write_bytes((folder / "04<b>.png").read_bytes())
    again, _ = open_library(make_encoder(), source, CPU, library.out)
    assert len(read) == 1 + 2  # the changed one, too
    assert torch.allclose(again.unit[3], again.unit[4], atol=1e-4)
    assert not torch.allclose(library.unit[3], library.unit[4], atol=1e-4)
    open_library(make_encoder(1), source, CPU, library.out)
    (library.out / "vectors.npz").write_bytes(b"torn")
    open_library(make_encoder(1), source, CPU, library.out)
    assert len(read) == 3 + 2 * len(source)


def test_vectors_of_other_pictures_under_the_same_names_are_made_anew(folder: Path, tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 12, 16, 16, 3)).astype(np.uint8)
    first, second = (open_library(make_encoder(), ArrayImages(p), CPU, tmp_path / "out")[0] for p in pictures)
    assert first.name(3) == second.name(3) and not torch.equal(first.unit, second.unit)


def test_pair_that_only_one_of_the_two_has_among_its_nearest_is_found(library: Library) -> None:
    count = len(library)
    place = torch.zeros(count, 2, dtype=torch.long)  # all have image 0 nearest, which has others
    library._closest = torch.full((count, 2), 0.5), place
    library._closest[0][7, 1] = 0.99
    assert [(a, b) for a, b, similarity, _ in library.duplicates(0.9, 10)] == [(0, 7)]


def test_two_images_at_least(tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(encoded(np.zeros((8, 8, 3), np.uint8)))
    with pytest.raises(ByolError, match="exploring needs two at least"):
        open_library(make_encoder(), ImageFolder(tmp_path, cache=None), CPU, tmp_path / "out")


def test_export_of_names_with_a_line_break_has_a_line_for_each_image(folder: Path, tmp_path: Path) -> None:
    (folder / "zz copy.png").rename(folder / "a\nb.png")
    library, _ = open_library(make_encoder(), ImageFolder(folder, cache=None), CPU, tmp_path / "out")
    lines = library.export("all", list(range(len(library)))).read_text().split("\n")
    assert len(lines) == len(library) + 1 and lines[-1] == ""
    assert json.loads(lines[[line[0] for line in lines[:-1]].index('"')]) == str(folder / "a\nb.png")
