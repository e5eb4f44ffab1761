"""The library of `byol explore`: neighbours, clusters, near-duplicates, lists, and what is kept for the next start."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from byol.assembly.subject import Subject, open_subject
from byol.commands.audit import audit
from byol.commands.vectors import vectors_file, vectors_of
from byol.data.arrays import ArrayImages
from byol.data.image_folder import ImageFolder
from byol.data.source import SkippedImages
from byol.data.spec import NO_DATA
from byol.errors import ByolError, RunError
from byol.explore.library import Library, open_library
from byol.runtime.listener import Listener
from tests.conftest import encoded, picture
from tests.memory import mapped_from
from tests.unit.explore.coloured_library import COUNT, CPU, make_subject


@pytest.fixture
def subject(library: Library) -> Subject:
    """The subject of the library."""
    return make_subject(library.out.parent / "run")


def names_of_groups(library: Library) -> list[set[str]]:
    found = library.duplicates.wait()
    parts = found["images"].split(found["sizes"].tolist())
    return [{library.name(image) for image in part.tolist()} for part in parts]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """40 different pictures, two copies of one, one of another, and a third one that was saved again."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number:02d}.png").write_bytes(encoded(picture(number)))
    for copy, number in (("a", 30), ("b", 30), ("c", 4)):
        shutil.copy(folder / f"{number:02d}.png", folder / f"{copy}.png")
    (folder / "d.jpg").write_bytes(encoded(picture(17), "JPEG"))
    return folder


def test_copies_are_found_and_called_the_same(pictures: Path, tmp_path: Path) -> None:
    source = ImageFolder(pictures, cache=None)
    library, _ = open_library(make_subject(tmp_path / "run"), source, CPU, tmp_path / "out")
    groups = names_of_groups(library)
    assert groups[0] == {"30.png", "a.png", "b.png"}  # the largest first
    assert {"04.png", "c.png"} in groups and {"17.png", "d.jpg"} in groups
    found = library.duplicates.wait()
    exact = found["equal"].bool()
    assert {library.name(image) for image in found["images"][exact].tolist()} == groups[0] | {"04.png", "c.png"}
    assert found["cosine"][exact].tolist() == [1] * 5
    assert (found["cosine"][~exact] > 0.9).all() and (found["cosine"][~exact] < 1).all()


def test_duplicates_are_those_of_the_audit(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = ImageFolder(pictures, cache=None)
    library, _ = open_library(open_subject("pixels", source), source, CPU, tmp_path / "out")
    found = library.duplicates.wait()
    groups = audit("pixels", str(pictures), out=tmp_path / "audit").findings.groups
    assert sorted(library.names.index(name) for name in ("30.png", "a.png", "b.png")) in groups
    assert sorted(part.tolist() for part in found["images"].split(found["sizes"].tolist())) == groups


def test_search_finds_the_image_itself_and_its_colour(library: Library, folder: Path) -> None:
    found = library.search((folder / "05<b>.png").read_bytes(), 6)
    assert library.name(found[0].image) == "05<b>.png"
    assert {int(library.name(match.image)[:2]) % 3 for match in found} == {2}
    others = library.neighbours(found[0].image, 5)
    assert [match.image for match in others] == [match.image for match in found[1:]]
    cosines = library.unit @ library.unit[found[0].image]
    assert [match.similarity for match in others] == pytest.approx(cosines.sort(descending=True).values[1:6].tolist())


def test_clusters_part_the_images_and_follow_the_colours(library: Library) -> None:
    library.regroup(3)
    clusters = library.clusters()
    assert [c["size"] for c in clusters] == sorted((c["size"] for c in clusters), reverse=True)
    assert sorted(i for c in clusters for i in library.members(c["number"])) == list(range(COUNT + 1))
    for cluster in clusters:
        names = [library.name(i) for i in library.members(cluster["number"])]
        assert len({int(name[:2]) % 3 for name in names if name[0] != "z"}) == 1
        assert set(cluster["shown"]) <= set(library.members(cluster["number"]))


def test_clusters_of_many_images_have_centres_by_a_part(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byol.explore.library.MOST_CLUSTERED", 12)
    test_clusters_part_the_images_and_follow_the_colours(library)


def test_export_writes_paths_and_replaces_nothing(library: Library, folder: Path) -> None:
    written = library.export("../my: birds", [3, 1, 3])
    assert written == library.out / "_my_ birds.txt"
    assert written.read_text().splitlines() == [str(folder / "01<b>.png"), str(folder / "03<b>.png")]
    with pytest.raises(RunError, match="is there already"):
        library.export("../my: birds", [1])
    for name, images, said in (("x", [], "no image"), ("x", [99], "no image"), ("...", [1], "letters or digits")):
        with pytest.raises(ByolError, match=said):
            library.export(name, images)


def test_images_to_label_first_are_found_among_the_readable_ones(folder: Path, tmp_path: Path) -> None:
    """The broken picture between them has an index in the source and no number on the page."""
    source = ImageFolder(folder, cache=None)
    broken = list(source.paths).index("broken.png")
    first = [len(source) - 1, broken, 2]
    found, _ = open_library(make_subject(tmp_path / "run"), source, CPU, tmp_path / "out", first=first)
    assert [found.name(image) for image in found.labels.next(20)] == ["zz copy.png", "02<b>.png"]


def embedded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the images that the encoder reads from now on."""
    read, original = [], ImageFolder.read
    monkeypatch.setattr(ImageFolder, "read", lambda self, *a: read.append(a[0]) or original(self, *a))
    return read


def test_vectors_are_read_again_for_the_same_encoder_and_images_alone(
    library: Library, folder: Path, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, read = ImageFolder(folder, cache=None), embedded(monkeypatch)
    broken = [source.name(index) for index in range(len(source))].index("broken.png")
    again, _ = open_library(subject, source, CPU, library.out)
    assert read == [broken]  # tried again
    assert torch.equal(again.unit, library.unit)
    (folder / "03<b>.png").write_bytes((folder / "04<b>.png").read_bytes())
    again, _ = open_library(subject, source, CPU, library.out)
    assert len(read) == 1 + 2  # the changed one, too
    assert torch.allclose(again.unit[3], again.unit[4], atol=1e-4)
    assert not torch.allclose(library.unit[3], library.unit[4], atol=1e-4)
    other = make_subject(Path(subject.name), seed=1)
    open_library(other, source, CPU, library.out)
    vectors_file(other.home, source).write_bytes(b"torn")
    open_library(other, source, CPU, library.out)
    assert len(read) == 3 + 2 * len(source)


def test_of_a_grown_folder_new_and_changed_images_alone_are_embedded(
    library: Library, folder: Path, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "broken.png").unlink()
    generator = np.random.default_rng(5)
    for name in ("00 first.png", "99 last.png", "07<b>.png"):  # two more, and one that changes
        (folder / name).write_bytes(encoded(generator.integers(0, 256, (20, 16, 3)).astype(np.uint8)))
    source, read = ImageFolder(folder, cache=None), embedded(monkeypatch)
    grown, _ = open_library(subject, source, CPU, library.out)
    assert sorted(source.name(index) for index in read) == ["00 first.png", "07<b>.png", "99 last.png"]
    assert len(grown) == len(library) + 2
    anew = vectors_of(make_subject(library.out / "anew"), source, NO_DATA, CPU, SkippedImages())
    assert torch.allclose(grown.features.vectors, anew.vectors, atol=1e-5)
    del read[:]
    open_library(subject, source, CPU, library.out)
    assert read == []


def test_map_of_a_grown_folder_stays_and_new_images_lie_beside_the_most_similar_ones(
    library: Library, folder: Path, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """24 pictures and a copy, then three more, then nine more: more than a third are new since the map was drawn."""
    said: list[str] = []

    def grown(*names: str) -> Library:
        for number, name in enumerate(names):
            original = np.asarray(Image.open(folder / f"{number:02d}<b>.png"))
            Image.fromarray(np.roll(original, 3, axis=0)).save(folder / name)
        del said[:]
        source = ImageFolder(folder, cache=None)
        return open_library(subject, source, CPU, library.out, listener=Listener(said.append))[0]

    more = grown("00 new.png", "50.png", "99.png")
    assert "3 new images are placed on the map of 25, each beside the most similar one" in said
    assert more.drawn == library.drawn == 25
    for name, points in library.plane.items():
        at = [more.names.index(other) for other in library.names]
        assert torch.equal(more.plane[name][at], points)
        for new, original in (("00 new.png", "00<b>.png"), ("50.png", "01<b>.png"), ("99.png", "02<b>.png")):
            place, best = more.plane[name][more.names.index(new)], more.neighbours(more.names.index(new), 1)[0].image
            away = (points - place).norm(dim=1)
            assert (
                library.names[int(away.argmin())] == more.names[best]
                and int(more.names[best][:2]) % 3 == int(original[:2]) % 3
            )
    monkeypatch.setattr("byol.explore.layout.maps", None)  # not drawn again
    assert torch.equal(grown().unit, more.unit) and said == [said[0]] and "vectors of 28 images were kept" in said[0]
    (folder / "50.png").unlink()
    fewer = grown()
    assert torch.equal(
        fewer.plane["PCA"], more.plane["PCA"][[n for n, name in enumerate(more.names) if name != "50.png"]]
    )
    assert not any(" the map " in line for line in said)
    monkeypatch.undo()
    anew = grown(*(f"more {number}.png" for number in range(11)))
    assert "13 of 38 images are new since the map was drawn: it is drawn again" in said
    assert anew.drawn == 38


def test_clusters_of_a_grown_folder_keep_their_numbers(library: Library, folder: Path, subject: Subject) -> None:
    """Five clusters; then five new pictures make the smallest one the largest."""
    library.regroup(5)
    smallest = library.members(4)
    for number in range(5):
        pixels = np.asarray(Image.open(folder / library.name(smallest[0])))
        Image.fromarray(np.roll(pixels, number + 1, axis=0)).save(folder / f"00 new {number}.png")
    source = ImageFolder(folder, cache=None)
    grown, _ = open_library(subject, source, CPU, library.out)
    numbers = {name: int(number) for name, number in zip(grown.names, grown.cluster, strict=True)}
    same = [numbers[name] == number for name, number in zip(library.names, library.cluster.tolist(), strict=True)]
    assert sum(same) >= 0.9 * len(same)  # new images move the mean, and with it single others
    assert len(grown.members(4)) > len(smallest)
    for number in range(20):
        Image.fromarray(np.full((20, 16, 3), 12 * number, np.uint8)).save(folder / f"grey {number}.png")
    anew, _ = open_library(subject, source := ImageFolder(folder, cache=None), CPU, library.out)
    assert len(source) == len(anew) + 1 and len(anew.clusters()) == len(anew) // 8
    sizes = [cluster["size"] for cluster in anew.clusters()]
    assert sizes == sorted(sizes, reverse=True)


def test_vectors_are_mapped_from_files_and_maps_are_kept(
    library: Library, folder: Path, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("byol.explore.layout.maps", None)  # not drawn again
    again, _ = open_library(subject, ImageFolder(folder, cache=None), CPU, library.out)
    for found in (library, again):
        for tensor, file in (
            (found.features.vectors, vectors_file(subject.home, found.source)),
            (found.unit, found.kept / "map.safetensors"),
        ):
            assert mapped_from(tensor) == str(file)
    for name, points in library.plane.items():
        assert torch.equal(again.plane[name], points)


def test_duplicates_and_thumbnails_are_kept(
    library: Library, folder: Path, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups, thumbnail = names_of_groups(library), library.thumbnail(3, 64)
    assert groups and Path(library.kept / "thumbnails.sqlite").stat().st_size > len(thumbnail)
    (folder / "broken.png").unlink()
    read = embedded(monkeypatch)
    again, _ = open_library(subject, ImageFolder(folder, cache=None), CPU, library.out)
    assert names_of_groups(again) == groups and again.thumbnail(3, 64) == thumbnail
    assert read == []
    assert again.thumbnail(3, 128) != thumbnail and len(read) == 1
    (again.kept / "thumbnails.sqlite").write_bytes(b"torn" * 5000)
    healed, _ = open_library(subject, ImageFolder(folder, cache=None), CPU, library.out)
    assert healed.thumbnail(3, 64) == healed.thumbnail(3, 64) == thumbnail and len(read) == 2


def test_search_for_duplicates_says_how_far_it_is_and_what_went_wrong(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int, int]] = []
    monkeypatch.setattr(
        "byol.explore.duplicates.described", lambda *a: seen.append(library.duplicates.progress) or {}["x"]
    )
    with pytest.raises(RunError, match="search for duplicates failed"):
        library.duplicates.wait()
    assert seen == [("comparing the vectors", 0, 0)]
    monkeypatch.undo()
    assert any({"04<b>.png", "zz copy.png"} <= group for group in names_of_groups(library))  # sought again


def test_a_folder_that_cannot_be_written_costs_time_alone(folder: Path, tmp_path: Path) -> None:
    for name in ("run/vectors", "out/kept"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("a file where a folder would be")
    said: list[str] = []
    source = ImageFolder(folder, cache=None)
    library, _ = open_library(
        make_subject(tmp_path / "run"), source, CPU, tmp_path / "out", listener=Listener(said.append)
    )
    assert len(said) == 3 and "is not kept for the next time" in said[0] and "the map is not kept" in said[2]
    assert len(library.neighbours(3, 4)) == 4 and library.thumbnail(3, 64)[:4] == b"RIFF"
    assert any({"04<b>.png", "zz copy.png"} <= group for group in names_of_groups(library))


def test_vectors_of_other_pictures_under_the_same_names_are_made_anew(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 12, 16, 16, 3)).astype(np.uint8)
    subject = make_subject(tmp_path / "run")
    first, second = (open_library(subject, ArrayImages(p), CPU, tmp_path / "out")[0] for p in pictures)
    assert first.name(3) == second.name(3) and not torch.equal(first.unit, second.unit)


def test_two_images_at_least(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.png").write_bytes(encoded(np.zeros((8, 8, 3), np.uint8)))
    with pytest.raises(ByolError, match="exploring needs two at least"):
        open_library(
            make_subject(tmp_path / "run"), ImageFolder(tmp_path / "photos", cache=None), CPU, tmp_path / "out"
        )


def test_export_of_names_with_a_line_break_has_a_line_for_each_image(folder: Path, tmp_path: Path) -> None:
    (folder / "zz copy.png").rename(folder / "a\nb.png")
    source = ImageFolder(folder, cache=None)
    library, _ = open_library(make_subject(tmp_path / "run"), source, CPU, tmp_path / "out")
    lines = library.export("all", list(range(len(library)))).read_text().split("\n")
    assert len(lines) == len(library) + 1 and lines[-1] == ""
    assert json.loads(lines[[line[0] for line in lines[:-1]].index('"')]) == str(folder / "a\nb.png")
