"""Embedding: the split that is asked for, vectors that depend on their own image alone, files whole or not there."""

import errno
from pathlib import Path

import numpy as np
import pytest
import torch

import byol
from byol.cli.main import main
from byol.errors import ConfigError
from tests.conftest import encoded, picture

SHAPES = [(40, 48), (1, 1), (1, 400), (400, 1), (60, 1500), (2, 2), (96, 96), (24, 26)]
"""Height and width of pictures, in pixels."""


def test_split_that_there_is_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no split 'valid'; there are train and test"):
        byol.embed("run", "sample", tmp_path / "vectors.npz", split="valid")  # pyright: ignore[reportArgumentType]
    with pytest.raises(SystemExit) as ended:
        main(["embed", "run", "--data", "sample", "--out", str(tmp_path / "vectors.npz"), "--split", "valid"])
    assert ended.value.code == 2


def test_vectors_do_not_depend_on_other_images(encoder: Path, tmp_path: Path) -> None:
    """The pictures have all shapes; broken files lie between those of one folder."""
    for number, shape in enumerate(SHAPES):
        for name in ("whole", "torn"):
            (tmp_path / name / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
            (tmp_path / name / "ab"[number % 2] / f"{number}.png").write_bytes(encoded(picture(number, *shape)))
        (tmp_path / "torn" / "ab"[number % 2] / f"{number}x.png").write_bytes(b"junk" * (number % 3))
    for name, broken in (("whole", 0), ("torn", 8)):
        found = byol.embed(encoder, str(tmp_path / name), tmp_path / f"{name}.npz")
        assert (len(found.vectors), len(found.skipped)) == (8, broken)
    whole, torn = (np.load(tmp_path / f"{name}.npz") for name in ("whole", "torn"))
    for arrays in (whole, torn):
        numbers = [int(name[2]) for name in arrays["name"]]
        assert numbers == [0, 2, 4, 6, 1, 3, 5, 7] and arrays["label"].tolist() == [n % 2 for n in numbers]
        alone = [byol.load(encoder)(torch.from_numpy(picture(n, *SHAPES[n])).permute(2, 0, 1)[None]) for n in numbers]
        np.testing.assert_allclose(arrays["vector"], torch.cat(alone).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (KeyboardInterrupt(), 130, "byol: interrupted\n"),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            1,
            "v.npz cannot be written (No space left on device). Free",
        ),
        (OSError(errno.EROFS, "Read-only file system"), 1, "v.npz cannot be written (Read-only file system). Free"),
    ],
)
def test_embedding_that_is_cut_off_leaves_no_file(
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    says: str,
) -> None:
    def cut_off(stream, **columns) -> None:
        stream.write(b"torn")
        raise error

    monkeypatch.setattr(np, "savez_compressed", cut_off)
    with pytest.raises(SystemExit) as ended:
        main(["embed", "pixels", "--data", str(photos), "--out", str(tmp_path / "v.npz")])
    assert ended.value.code == code and says in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
