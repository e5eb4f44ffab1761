"""The library and the server of `byol explore`: what they find, write and refuse."""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from byol.build.subject import trained_images
from byol.data.arrays import ArrayImages
from byol.data.image_folder import ImageFolder
from byol.encoder.encoder import Encoder, EncoderDescription
from byol.errors import ByolError, RunError
from byol.explore.library import Library, open_library
from byol.explore.server import make_server
from byol.nets.encoder import create_encoder
from tests.conftest import encoded

CPU = torch.device("cpu")
COUNT = 24


def make_encoder(seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    module = create_encoder("resnet10", in_channels=3, image_size=16, width=0.125)
    return Encoder(module, EncoderDescription("resnet10", {"width": 0.125}, 64, 3, 16, (0.5,) * 3, (0.25,) * 3, True))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """24 pictures in three colours, a copy, and a broken file."""
    generator = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(COUNT):
        pixels = generator.integers(0, 90, (20, 16, 3)).astype(np.uint8)
        pixels[..., number % 3] += 140
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number:02d}<b>.png")
    (tmp_path / "photos" / "zz copy.png").write_bytes((tmp_path / "photos" / "04<b>.png").read_bytes())
    (tmp_path / "photos" / "broken.png").write_bytes(b"no image")
    return tmp_path / "photos"


@pytest.fixture
def library(folder: Path, tmp_path: Path) -> Library:
    torch.set_num_threads(1)
    found, skipped = open_library(make_encoder(), ImageFolder(folder, cache=None), CPU, tmp_path / "out")
    assert [name for name, _ in skipped.reasons] == ["broken.png"]
    return found


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
    monkeypatch.setattr("byol.explore.library.COMPARED_IMAGES", 2)
    again, _ = open_library(make_encoder(), source, CPU, library.out)
    assert len(read) == COUNT + 4  # the two that are compared; of another number than before
    read.clear()
    again, _ = open_library(make_encoder(), source, CPU, library.out)
    assert len(read) == 2
    assert torch.equal(again.unit, library.unit)
    open_library(make_encoder(1), source, CPU, library.out)
    assert len(read) == 2 + 2 + COUNT + 2
    (library.out / "vectors.npz").write_bytes(b"torn")
    open_library(make_encoder(1), source, CPU, library.out)
    assert len(read) == 2 + 2 * (2 + COUNT + 2)


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


@pytest.fixture
def address(library: Library) -> Iterator[tuple[str, str]]:
    """(address, token) of a server that runs."""
    server = make_server(library)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", server.RequestHandlerClass.token  # pyright: ignore[reportAttributeAccessIssue]
    server.shutdown()
    thread.join()
    server.server_close()


def get(url: str, body: bytes | None = None, token: str = "") -> tuple[int, bytes]:
    request = urllib.request.Request(url, data=body, headers={"X-Token": token})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_server_answers_its_page(address: tuple[str, str], library: Library, folder: Path) -> None:
    url, token = address
    assert token.encode() in get(f"{url}/?of={token}")[1]
    about = json.loads(get(url + "/library.json", token=token)[1])
    assert len(about["names"]) == len(about["cluster"]) == COUNT + 1
    assert set(about["maps"]) == {"PCA"}
    status, picture = get(url + "/thumbnail?image=3&side=64", token=token)
    assert (status, picture[:4], picture[8:12]) == (200, b"RIFF", b"WEBP")
    assert get(url + "/picture?image=3", token=token)[0] == 200
    assert len(json.loads(get(url + "/neighbours?image=3&count=4", token=token)[1])) == 4
    found = json.loads(get(url + "/search", (folder / "05<b>.png").read_bytes(), token)[1])
    assert library.name(found[0][0]) == "05<b>.png"
    asked = {"name": "blue ones", "images": [2, 5]}
    written = json.loads(get(url + "/export", json.dumps(asked).encode(), token)[1])
    assert written["count"] == 2
    assert len(Path(written["path"]).read_text().splitlines()) == 2
    named = json.loads(get(url + "/name", b'{"cluster": 0, "name": "reds"}', token)[1])
    assert named["clusters"][0]["name"] == "reds"
    assert len(json.loads(get(url + "/clusters", b'{"count": 2}', token)[1])["clusters"]) == 2
    assert b"plotly" in get(url + "/plotly.js")[1][:400]


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/neighbours?image=99", None, "image cannot be '99'"),
        ("/neighbours?image=-1", None, "image cannot be '-1'"),
        ("/neighbours?image=%C2%B2", None, "invalid literal"),
        ("/thumbnail?image=0&side=5000", None, "side cannot be '5000'"),
        ("/../../etc/passwd", None, "there is no"),
        ("/duplicates?least=x", None, "least is no number"),
        ("/search", b"no image", "no image that can be read"),
        ("/export", b"[1]", "in a way it cannot be"),
        ("/export", b'{"name": "x", "images": ["a"]}', "in a way it cannot be"),
        ("/nothing", b"{}", "there is no /nothing"),
    ],
)
def test_server_refuses_with_a_sentence(address: tuple[str, str], path: str, body: bytes | None, said: str) -> None:
    url, token = address
    status, answer = get(url + path, body, token)
    assert status == 400
    assert said in json.loads(answer)["error"]


def test_server_refuses_other_pages_and_other_hosts(address: tuple[str, str], library: Library) -> None:
    url, token = address
    for path, body in (("/export", b'{"name": "x", "images": [1]}'), ("/", None), ("/picture?image=3", None)):
        for guess in ("guessed", "", "\xe9"):
            status, answer = get(url + path, body, guess)
            assert status == 400
            assert "open the one it printed" in json.loads(answer)["error"]
    assert get(f"{url}/picture?image=3&of={token}")[0] == 200
    assert not (library.out / "x.txt").exists()
    connection = HTTPConnection(url.removeprefix("http://"))
    connection.request("GET", "/library.json", headers={"Host": "evil.example:80"})
    assert connection.getresponse().status == 403
    connection.close()


def test_port_that_is_taken_is_a_sentence(address: tuple[str, str], library: Library) -> None:
    with pytest.raises(RunError, match="choose another --port"):
        make_server(library, int(address[0].rpartition(":")[2]))


def test_images_must_be_named_where_no_run_tells_them(tmp_path: Path) -> None:
    with pytest.raises(ByolError, match="Give them with --data"):
        trained_images(str(tmp_path))


def test_two_images_at_least(tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(encoded(np.zeros((8, 8, 3), np.uint8)))
    with pytest.raises(ByolError, match="exploring needs two at least"):
        open_library(make_encoder(), ImageFolder(tmp_path, cache=None), CPU, tmp_path / "out")
