"""Images of kinds that are not read: whatever command opens their folder tells how many there are, once."""

from pathlib import Path

import pytest

import byol
from byol.cli.main import main
from byol.data.open import open_source
from byol.runtime.listener import Listener
from byol.training import speed
from tests.conftest import SMALL, encoded, picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 pictures in two classes, and three that are not read."""
    found = tmp_path_factory.mktemp("left") / "photos"
    for label in ("cat", "dog"):
        (found / label).mkdir(parents=True)
        for number in range(32):
            pixels = picture(number + 100 * (label == "dog"), 32, 32)
            (found / label / f"{number:02d}.png").write_bytes(encoded(pixels))
    for name in ("cat/a.heic", "dog/b.HEIC", "dog/c.cr2"):
        (found / name).write_bytes(b"x")
    return found


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    said: list[str] = []
    byol.pretrain(str(folder), epochs=1, out=folder.parent / "run", overrides=SMALL, say=said.append)
    assert "\n".join(said).count(line(folder)) == "\n".join(said).count(".heic") == 1
    return folder.parent / "run"


def line(folder: Path) -> str:
    advice = "Install pillow-heif for HEIC (pip install 'byol[heic]'); convert others to JPEG."
    return f"{folder} is read without its 1 .cr2 file and 2 .heic files. {advice}"


@pytest.mark.parametrize(
    "arguments",
    [
        "check-data --data {folder}",
        "preview --data {folder} --out {out}/preview.png --no-terminal",
        "doctor --data {folder} --encoder.width 0.125",
        "embed {run} --data {folder} --out {out}/vectors.npz",
        "diagnose {run} --data {folder} --images 32 --views 2",
        "evaluate {run} --data {folder} --protocol knn --knn.k 5 --knn.temperature 0.1",
        "transfer {run} --sets own={folder} --budget smoke",
        "report {run}",
        "explore {run}",
        "study heads --data {folder} --images 64 --commands --out {out}/study",
    ],
)
def test_images_that_are_not_read_are_told_once(
    arguments: str,
    run: Path,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(speed, "TRIAL_SECONDS", 0.0)
    monkeypatch.setattr("byol.explore.server.serve", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        main([part.format(run=run, folder=folder, out=tmp_path) for part in arguments.split()])
    printed = "".join(capsys.readouterr())
    assert ended.value.code == 0, printed
    assert printed.count(line(folder)) == printed.count(".heic") == 1


def test_of_several_ranks_the_first_tells(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        open_source(folder, listener=Listener(said.append))
    assert said == [line(folder)]
