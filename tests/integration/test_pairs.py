"""Trainings whose two views are of two pictures of one thing."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import byol
from byol.assembly.cautions import about_pairs
from byol.assembly.settings import Asked
from byol.cli.main import main
from byol.commands.doctor import estimate
from byol.commands.resume import resume
from byol.config import Config, replaced
from byol.data import prepare_photos
from byol.data.image_folder import ImageFolder
from byol.data.things import Things, find_things
from byol.engine.metrics import read_metrics
from byol.errors import ConfigError, DataError, RunError
from byol.recipes import recipe
from byol.report.preview import preview
from byol.training.speed import images_per_second
from tests.conftest import SMALL, encoded, picture
from tests.integration.small_runs import losses, stop_at
from tests.ranks import run_ranks

PAIRS = {**SMALL, "views.pairs": "prefix", "epochs": 3}


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    """48 pictures of one size, four each of eleven patients, three of one, one of one."""
    folder = tmp_path / "slices"
    folder.mkdir()
    for number in range(48):
        patient = 12 if number == 47 else number // 4
        (folder / f"patient{patient}_{number}.png").write_bytes(encoded(picture(number, 32, 32)))
    return folder


@pytest.fixture
def of_many_sizes(slices: Path) -> Path:
    """The same as JPEG of two sizes, which worker processes decode."""
    for number, path in enumerate(sorted(slices.glob("*.png"))):
        with Image.open(path) as opened:
            opened.resize((36 + 4 * (number % 2), 36)).save(path.with_suffix(".jpg"))
        path.unlink()
    return slices


def run(out: Path, data: Path, said: list[str] | None = None, **overrides) -> byol.Run:
    say = [].append if said is None else said.append
    return byol.pretrain(data, "small", out=out, overrides={**PAIRS, **overrides}, say=say)


def record(run: Path) -> dict:
    return json.loads((run / "run.json").read_text())


def same_weights(*runs: Path) -> bool:
    one, other = (load_file(run / "encoder.safetensors") for run in runs)
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("kind", ["slices", "of_many_sizes"])
def test_run_of_pairs_is_told_recorded_and_resumed_bit_for_bit(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, said = request.getfixturevalue(kind), []
    run(tmp_path / "whole", folder, said, workers=2)
    words = "pairs by prefix: 48 pictures of 13 things, such as patient0_0."
    assert any(words in line and line.endswith("1 thing with one picture: two views of it") for line in said)
    written = record(tmp_path / "whole")
    assert written["config"]["views"]["pairs"] == written["asked"]["views"]["pairs"] == "prefix"
    things = find_things(ImageFolder(folder), "prefix")
    assert things is not None and written["data"]["things"] == things.digest
    with monkeypatch.context() as patch:
        stop_at(5, patch)
        assert not run(tmp_path / "parts", folder).finished  # with no workers
    said.clear()
    assert resume(tmp_path / "parts", say=said.append).finished
    assert any(words in line for line in said)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert same_weights(tmp_path / "parts", tmp_path / "whole")
    byol.pretrain(folder, out=tmp_path / "again", overrides=written["config"], say=[].append)
    assert same_weights(tmp_path / "again", tmp_path / "whole")
    run(tmp_path / "ordinary", folder, **{"views.pairs": ""})
    assert record(tmp_path / "ordinary")["data"]["things"] is None
    assert losses(tmp_path / "ordinary") != losses(tmp_path / "whole")


def test_things_that_changed_are_no_run_to_continue(
    slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, said = tmp_path / "shots.csv", []
    names = sorted(path.name for path in slices.iterdir())
    table.write_text("file,place\n" + "".join(f"{name},{name[:9]}\n" for name in names))
    rule = f"column:place:{table}"
    with monkeypatch.context() as patch:
        stop_at(3, patch)
        run(tmp_path / "run", slices, said, **{"views.pairs": rule})
    assert any(f"pairs by {rule}: 48 pictures" in line for line in said)
    kept = table.read_text()
    table.write_text(kept.replace(f"{names[3]},patient", f"{names[3]},another"))
    with pytest.raises(
        RunError, match=r"started with other things: --views.pairs column:place:.* groups the pictures differ"
    ):
        resume(tmp_path / "run", say=[].append)
    table.write_text(kept)
    with pytest.raises(ConfigError, match=r"these differ: views.pairs: column:place:.*shots.csv -> prefix\. "):
        resume(tmp_path / "run", overrides={"views.pairs": "prefix"}, say=[].append)
    assert resume(tmp_path / "run", overrides={"views.pairs": "prefix"}, accept_changes=True, say=[].append).finished
    assert record(tmp_path / "run")["config"]["views"]["pairs"] == "prefix"
    table.unlink()
    assert resume(tmp_path / "run", say=[].append).finished  # by what it goes on with


def pretrain_rank(rank: int, out: Path, folder: Path) -> None:
    torch.set_default_dtype(torch.float64)
    run(out, folder)


def test_two_ranks_train_on_the_pairs_of_one(slices: Path, tmp_path: Path) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        run(tmp_path / "one", slices)
        run_ranks(2, pretrain_rank, tmp_path / "two", slices)
    finally:
        torch.set_default_dtype(torch.float32)
    assert len(losses(tmp_path / "two")) == 9
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-6)


def test_ranks_with_other_tables_say_so(slices: Path, tmp_path: Path) -> None:
    for rank in range(2):
        table = tmp_path / f"{rank}.csv"
        table.write_text(f"file,place\npatient0_0.png,x\npatient0_{1 + rank}.png,x\n")
    run_ranks(2, with_own_table, slices, tmp_path)


def with_own_table(rank: int, folder: Path, place: Path) -> None:
    os.chdir(place)
    with pytest.raises(ConfigError, match="have different images"):
        run(place / "run", folder, **{"views.pairs": f"column:place:{rank}.csv"})


@pytest.mark.parametrize(
    "settings",
    [
        {"method.name": "simclr"},
        {"method.name": "infonce", "asymmetry.small_crops": 2, "asymmetry.small_size": 16},
        {"method.name": "simsiam", "asymmetry.scale_mix": "source", "asymmetry.mean_encoding": "target"},
    ],
    ids=["simclr", "infonce with small crops", "simsiam mixed"],
)
def test_other_methods_train_on_pairs_too(slices: Path, tmp_path: Path, settings: dict) -> None:
    said: list[str] = []
    assert run(tmp_path / "run", slices, said, epochs=1, **settings).finished
    cautions = [line for line in said if "pushes the images of a batch apart" in line]
    assert len(cautions) == (settings["method.name"] != "simsiam")
    assert all("a batch of 16 has on average 0.9 other pictures of an image's own thing" in line for line in cautions)


def test_caution_is_for_negatives_and_few_things_alone() -> None:
    few, many = Things(np.arange(64) // 8, ""), Things(np.arange(6400) // 2, "")
    simclr = replaced(Config(), {"method.name": "simclr", "batch_size": 16})
    assert about_pairs(simclr, few) and not about_pairs(simclr, many) and not about_pairs(simclr, None)
    assert not about_pairs(replaced(simclr, {"method.name": "byol"}), few)
    negatives = replaced(simclr, {"method.name": "infonce"})
    assert about_pairs(negatives, few) and not about_pairs(replaced(negatives, {"method.beta": 0.0}), few)


def test_stored_photos_and_broken_ones_come_in_pairs(
    of_many_sizes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store changes no pixel; the one sound picture of a thing is taken twice."""
    monkeypatch.setattr(prepare_photos, "FEWEST_PIXELS", 0)
    for number in (1, 2, 3):
        (of_many_sizes / f"patient0_{number}.jpg").write_bytes(b"junk")
    spec = byol.DataSpec(str(of_many_sizes), cache=str(tmp_path / "cache"))
    without = byol.DataSpec(str(of_many_sizes), cache_limit=0)
    settings = {"views.stored_side": 33, "views.size": 32}
    for name, data in (("stored", spec), ("decoded", without)):
        byol.pretrain(data, "small", out=tmp_path / name, overrides={**PAIRS, **settings}, say=[].append)
        rows = [json.loads(line) for line in (tmp_path / name / "skipped.jsonl").read_text().splitlines()]
        assert sorted(row["name"] for row in rows) == [f"patient0_{number}.jpg" for number in (1, 2, 3)]
    assert (tmp_path / "cache").exists()
    assert losses(tmp_path / "stored") == losses(tmp_path / "decoded")


def test_sixteen_bit_scans_and_the_online_classifier_come_in_pairs(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for number in range(32):
        path = tmp_path / "scans" / ("sick" if number % 2 else "well") / f"{number // 4}_{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(generator.integers(0, 4000, (32, 32)).astype(np.uint16)))
    ended = run(tmp_path / "run", tmp_path / "scans", epochs=1, **{"method.online_classifier": True})
    assert ended.finished
    assert all(row["classifier_loss"] > 0 for row in read_metrics(tmp_path / "run" / "metrics.jsonl"))


def test_preview_and_report_show_the_partners(slices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = recipe("small")
    asked = Asked(replaced(base.config, {**SMALL, "views.pairs": "prefix"}), base)
    source = ImageFolder(slices)
    shown = preview(source, asked, rows=4, draws=3)
    rows = [shown.grid.words[7 * row : 7 * row + 7] for row in range(4)]
    partners = set()
    for image, *views in rows:
        name = image.partition(",")[0]
        assert all(words.startswith("T: crop") for words in views[::2])
        for words in views[1::2]:
            other = words.removeprefix("T′ of ").partition(":")[0]
            assert other.partition("_")[0] == name.partition("_")[0] and other != name
            partners.add((name, other))
    assert len(partners) > 4  # others in another epoch
    options = ["--out", str(tmp_path / "p.png"), "--rows", "1", "--draws", "1", "--parameters"]
    with pytest.raises(SystemExit) as ended:
        main(["preview", "--data", str(slices), "--views.pairs", "prefix", *options])
    told = capsys.readouterr().out
    assert not ended.value.code
    assert "48 pictures of 13 things" in told and "; T' is of another picture of the thing" in told
    run(tmp_path / "run", slices, epochs=1)
    page = byol.write_report(tmp_path / "run").read_text()
    assert "of another picture of that thing" in page and "T\\u2032 of patient" in page
    other = tmp_path / "other"
    other.mkdir()
    for number in range(20):
        (other / f"{number}.png").write_bytes(encoded(picture(number, 32, 32)))
    page = byol.write_report(tmp_path / "run", data=str(other), out=tmp_path / "other.html").read_text()
    assert "The pairs of run are not shown: By --views.pairs prefix no two pictures" in page


def test_rules_that_cannot_be_right_end_commands_in_a_sentence(
    slices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("pretrain", "preview", "doctor"):
        place = [] if command == "doctor" else ["--out", str(tmp_path / "out.png")]
        with pytest.raises(SystemExit) as ended:
            main([command, "--data", str(slices), "--views.pairs", "folder", *place])
        assert ended.value.code == 1
        told = capsys.readouterr().err
        assert told.startswith("byol: By --views.pairs folder all 48 pictures of folder") and told.count("\n") == 1
        assert not (tmp_path / "out.png").exists()
    with pytest.raises(DataError, match="no names of files"):
        byol.pretrain(np.zeros((64, 32, 32, 3), np.uint8), overrides=PAIRS, say=[].append)


def test_estimate_knows_that_pairs_are_decoded_twice(of_many_sizes: Path) -> None:
    source, gpu, cpu = ImageFolder(of_many_sizes), torch.device("meta"), torch.device("cpu")
    plain = replaced(Config(), {"workers": 1})
    pairs = replaced(plain, {"views.pairs": "prefix"})
    assert images_per_second(100.0, 80.0, source, pairs, gpu, in_memory=False) == 40
    assert images_per_second(100.0, 80.0, source, plain, gpu, in_memory=False) == 80
    assert images_per_second(100.0, 50.0, source, pairs, cpu, in_memory=False) == pytest.approx(20)
    assert images_per_second(100.0, 80.0, source, pairs, gpu, in_memory=True) == 100
    base = recipe("small")
    with pytest.raises(DataError, match="all 48 pictures"):
        estimate(source, Asked(replaced(base.config, {"views.pairs": "folder"}), base))
