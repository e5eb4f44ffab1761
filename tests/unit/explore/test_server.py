"""The server of `byol explore`: what it answers and refuses."""

import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from byol.errors import RunError
from byol.explore.library import Library
from byol.explore.packed import packed
from byol.explore.server import make_server, serve
from byol.runtime.listener import Listener
from tests.unit.explore.coloured_library import COUNT


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


def unpacked(message: bytes) -> dict[str, Any]:
    """The entries and arrays of a message, as the page reads it."""
    length = int.from_bytes(message[:4], "little")
    content, at = json.loads(message[4 : 4 + length]), 4 + length
    for name, kind, count in content.pop("arrays"):
        content[name] = np.frombuffer(message, kind, count, at)
        at += -(-content[name].nbytes // 4) * 4
    assert at == len(message)
    return content


def test_server_answers_its_page(address: tuple[str, str], library: Library, folder: Path) -> None:
    url, token = address
    assert token.encode() in get(f"{url}/?of={token}")[1]
    about = unpacked(get(url + "/library", token=token)[1])
    assert len(about["names"]) == len(about["cluster"]) == COUNT + 1
    assert about["maps"] == ["t-SNE", "PCA"]
    for name in about["maps"]:
        assert about[f"map {name}"].tolist() == library.plane[name].flatten().tolist()
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
    two = unpacked(get(url + "/clusters", b'{"count": 2}', token)[1])
    assert len(two["clusters"]) == 2 and two["cluster"].tolist() == library.cluster.tolist()
    assert b"The map" in get(url + "/map.js")[1][:400]


def test_points_and_labels_take_a_few_bytes_each() -> None:
    count = 1000
    points = np.random.default_rng(0).random((count, 2)).astype(np.float32)
    small = packed({"names": []}, {"map t-SNE": points, "percent": np.zeros(count + 1, np.uint8)})
    assert len(small) < 8 * count + count + 100
    back = unpacked(small)
    assert np.array_equal(back["map t-SNE"].reshape(count, 2), points) and len(back["percent"]) == count + 1


def test_duplicates_come_when_they_are_found(address: tuple[str, str], library: Library) -> None:
    url, token = address
    answer = get(url + "/duplicates", token=token)[1]
    if answer.startswith(b"{"):
        assert set(json.loads(answer)) == {"doing", "done", "total"}
        library.duplicates.wait()
        answer = get(url + "/duplicates", token=token)[1]
    found = unpacked(answer)
    assert found["sizes"].sum() == len(found["images"]) == len(found["cosine"]) == len(found["equal"])
    pairs = np.split(found["images"], found["sizes"].cumsum())
    assert any({"04<b>.png", "zz copy.png"} <= {library.name(image) for image in pair} for pair in pairs)


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/neighbours?image=99", None, "image must not be '99'"),
        ("/neighbours?image=-1", None, "image must not be '-1'"),
        ("/neighbours?image=%C2%B2", None, "invalid literal"),
        ("/thumbnail?image=0&side=5000", None, "side must not be '5000'"),
        ("/../../etc/passwd", None, "there is no"),
        ("/search", b"no image", "not a readable image"),
        ("/export", b"[1]", "is malformed"),
        ("/export", b'{"name": "x", "images": ["a"]}', "is malformed"),
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
            assert "open the address it printed" in json.loads(answer)["error"]
    assert get(f"{url}/picture?image=3&of={token}")[0] == 200
    assert not (library.out / "x.txt").exists()
    connection = HTTPConnection(url.removeprefix("http://"))
    connection.request("GET", "/library", headers={"Host": "evil.example:80"})
    assert connection.getresponse().status == 403
    connection.close()


def test_port_that_is_taken_is_a_sentence(address: tuple[str, str], library: Library) -> None:
    with pytest.raises(RunError, match="choose another --port"):
        make_server(library, int(address[0].rpartition(":")[2]))


def stop_at_once(address: str) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Exit codes with which the process would have ended."""
    codes: list[int] = []
    monkeypatch.setattr("os._exit", codes.append)
    return codes


def test_server_that_is_stopped_says_so_and_ends_the_process(library: Library, ended: list[int]) -> None:
    said: list[str] = []
    library.listener = Listener(said.append)
    serve(library, 0, stop_at_once)
    assert said == ["stopped; every label was saved"] and ended == [0]


def test_second_server_of_a_folder_is_refused_until_the_first_one_ends(library: Library, ended: list[int]) -> None:
    """A process that holds the folder is killed; the labels that it wrote are then there."""
    hold = (
        "import sys, time; from pathlib import Path; from byol.runtime.locks import alone\n"
        "with alone(Path(sys.argv[1]), str): print(flush=True); time.sleep(60)"
    )
    library.out.mkdir(exist_ok=True)
    with subprocess.Popen([sys.executable, "-c", hold, str(library.out)], stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        first.stdout.readline()
        with pytest.raises(RunError, match=f"Another byol explore .process {first.pid} .* stop it by Ctrl-C"):
            serve(library, 0, stop_at_once)
        (library.out / "labels.csv").write_text(f"file,label\n{library.name(3)},red\n")
        first.kill()
    serve(library, 0, stop_at_once)
    assert library.labels.of_image == {3: "red"}
    serve(library, 0, stop_at_once)
    assert ended == [0, 0]


def test_labels_are_given_accepted_and_taken_back(address: tuple[str, str], library: Library) -> None:
    url, token = address

    def post(path: str, **body: object) -> dict[str, Any]:
        answer = get(url + path, json.dumps(body).encode(), token)[1]
        return json.loads(answer) if answer.startswith(b"{") else unpacked(answer)

    nothing = unpacked(get(url + "/labels", token=token)[1])
    assert nothing["classes"] == [] and not nothing["undo"] and "guess" not in nothing
    first = json.loads(get(url + "/next?count=3", token=token)[1])
    assert len(set(first["images"])) == 3 and (first["listed"], first["done"], first["left"]) == (0, 0, COUNT + 1)
    for image in range(6):
        post("/label", images=[image], **{"class": ("red", "green", "blue")[image % 3]})
    state = unpacked(get(url + "/labels", token=token)[1])
    assert state["classes"] == ["blue", "green", "red"] and state["label"][:3].tolist() == [2, 1, 0]
    assert Path(state["file"]).read_text().count("\n") == 7
    assert len(post("/accept", images=[6, 7])["guess"]) == COUNT + 1
    assert set(library.labels.of_image) == set(range(8))
    post("/undo")
    assert set(library.labels.of_image) == set(range(6))
    assert "no image to label" in post("/label", images=[999], **{"class": "x"})["error"]
    assert get(url + "/label", b'{"images": [1]}', token)[0] == 400


def test_places_come_with_the_cosines_of_their_cells(address: tuple[str, str], library: Library) -> None:
    base, token = address
    status, content = get(f"{base}/places?image=4&x=0.5&y=0.25&count=5", token=token)
    found = unpacked(content)
    library.places.wait()
    assert status == 200 and found["places"][0][0] == 4 and found["wanted"] == len(library)
    assert len(found["cosines"]) == sum(rows * columns for *_, rows, columns, _ in found["places"])
    assert all(ratio == 0.8 for *_, ratio in found["places"])
    for wrong in ("image=4&x=2&y=0", "image=4&x=nan&y=0", "image=4&y=0", "image=99&x=0&y=0"):
        assert get(f"{base}/places?{wrong}", token=token)[0] == 400
    assert get(f"{base}/places?image=4&x=0.5&y=0.25")[0] == 400
