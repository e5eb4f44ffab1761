"""Embedding: the split that is asked for, vectors that depend on their own image alone, files whole or not there."""

import csv
import errno
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import byol
from byol.cli.main import main
from byol.data.image_folder import ImageFolder
from byol.encoder.encoder_file import save_encoder
from byol.errors import ConfigError
from byol.nets.encoder import create_encoder
from tests.conftest import encoded, picture
from tests.unit.conftest import TINY

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


def test_vectors_are_kept_for_all_commands_and_only_new_images_are_read(
    encoder: Path, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One encoder and one folder, by select, embed, classify fit of a part and classify predict in turn."""
    read, original, said = [], ImageFolder.read, []
    monkeypatch.setattr(ImageFolder, "read", lambda self, i, *a: read.append(self.name(i)) or original(self, i, *a))
    pool = tmp_path / "pool"
    shutil.copytree(colours / "train", pool)
    byol.select(encoder, str(pool), tmp_path / "next.csv", count=5)
    assert len(read) == 60
    del read[:]
    monkeypatch.chdir(tmp_path)
    assert byol.embed(encoder, "pool").names and read == []  # one folder, however it is named
    found = byol.embed(encoder, str(pool), say=said.append)
    assert read == [] and f"folder {pool}: vectors of 60 images were kept" in said
    anew = byol.load(encoder)(
        torch.from_numpy(np.stack([np.asarray(Image.open(pool / n)) for n in found.names])).permute(0, 3, 1, 2)
    )
    np.testing.assert_allclose(found.vectors, anew.numpy(), rtol=1e-4, atol=1e-5)
    shutil.copy(pool / "red" / "train-red-00.png", pool / "red" / "new.png")
    table = "".join(f"{c}/train-{c}-{n:02d}.png,{c}\n" for c in ("red", "blue") for n in range(8))
    (tmp_path / "labels.csv").write_text(f"file,label\n{table}red/new.png,red\n")
    del read[:], said[:]
    fitted = byol.fit_classifier(
        encoder, str(pool), tmp_path / "sorter", labels=tmp_path / "labels.csv", say=said.append
    )
    assert set(read[: read.index("red/new.png") + 1]) == {"red/new.png"}  # the page reads the hardest images
    assert any(line.endswith("vectors of 16 images were kept, 1 more is read") for line in said)
    del read[:]
    byol.classify(fitted.path, str(pool), tmp_path / "out.csv")
    assert read == [] and not (fitted.path / "vectors").exists()
    encoder.rename(tmp_path / "elsewhere")
    for number in range(2):
        byol.classify(fitted.path, str(pool), tmp_path / f"{number}.csv")
        assert len(read) == 61  # the folder of the classifier keeps them
    assert {(tmp_path / name).read_text() for name in ("out.csv", "0.csv", "1.csv")} == {
        (tmp_path / "out.csv").read_text()
    }


def test_classifier_does_not_take_vectors_of_a_run_that_changed(encoder: Path, colours: Path, tmp_path: Path) -> None:
    """A finetuned encoder is another one than that of its run, as is a run that was trained on."""
    data = str(colours / "train")
    for name, finetune in (("tuned", True), ("frozen", False)):
        fitted = byol.fit_classifier(encoder, data, tmp_path / name, finetune=finetune, workers=0)
        byol.embed(encoder, str(colours / "test"))
        if not finetune:
            torch.manual_seed(5)
            shutil.rmtree(encoder)
            encoder.mkdir()
            module = create_encoder("resnet10", in_channels=3, image_size=16, **TINY)
            save_encoder(encoder, module, byol.load(fitted.path).description)
            byol.embed(encoder, str(colours / "test"))
        byol.classify(fitted.path, str(colours / "test"), tmp_path / f"{name}.csv", threshold=0)
        with (tmp_path / f"{name}.csv").open(newline="") as stream:
            table = list(csv.DictReader(stream))
        files = [colours / "test" / row["file"] for row in table]
        images = torch.from_numpy(np.stack([np.asarray(Image.open(f)) for f in files])).permute(0, 3, 1, 2)
        best = byol.load_classifier(fitted.path)(images).max(dim=1).values
        assert [float(row["probability"]) for row in table] == pytest.approx(best.tolist(), abs=1e-3)


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
