"""`byol diagnose` on small real runs."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import byol
from byol.assembly.networks import build_method
from byol.cli.main import main
from byol.commands.diagnose import diagnose, tables
from byol.data.arrays import ArrayImages
from byol.data.source import SkippedImages
from byol.diagnostics.measures import measure_encodings
from byol.errors import ByolError, ConfigError, DataError, EncoderError, RunError
from byol.evaluate.view_encodings import ViewedImages
from byol.runtime import checkpoint
from byol.training.run import Run
from byol.views.policy import ViewPolicy
from byol.views.views import Views, pair
from tests.conftest import SMALL, picture


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("diagnose") / "images.npy"
    np.save(path, np.stack([picture(i, 32, 32) for i in range(96)]))
    return path


@pytest.fixture(scope="module")
def run(images: Path) -> Run:
    out = images.parent / "run"
    return byol.pretrain(str(images), epochs=1, out=out, overrides=SMALL, say=lambda line: None)


def test_diagnose_run_measures_both_modes_and_writes(
    run: Run, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {f: f.read_bytes() for f in run.path.rglob("*") if f.is_file()}
    with pytest.raises(SystemExit) as ended:
        main(["diagnose", str(run.path), "--data", str(images), "--images", "64", "--views", "4"])
    printed = capsys.readouterr().out
    assert ended.value.code == 0
    written = json.loads((run.path / "diagnose.json").read_text())
    assert written["verdict"] in printed
    assert written["verdict"].startswith("too short to tell: ")
    assert (written["num_images"], written["num_views"], written["batch_size"]) == (64, 4, 16)
    assert set(written["measures"]) == {"eval", "train"}
    assert set(written["measures"]["train"]) == {
        "representation", "projection", "prediction", "target", "networks", "predictor",
    }  # fmt: skip
    assert "projection" in printed and "variance ratio" in printed
    assert all(path.read_bytes() == content for path, content in before.items())


def test_diagnose_of_an_unfinished_run_says_at_which_step(
    run: Run, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The images are six steps an epoch."""
    stopped = tmp_path / "stopped"
    settings = {**SMALL, "checkpoint_interval_minutes": 0, "keep_checkpoints": 9}
    byol.pretrain(str(images), epochs=2, out=stopped, overrides=settings, say=lambda line: None)
    for path in (stopped / "checkpoints").glob("step_*.pt"):
        if checkpoint.step_of(path) > 5:
            path.unlink()
    for path, said in (
        (run.path, ""),
        (stopped, "measured at step 5 of 12, the newest checkpoint that can be read\n"),
    ):
        with pytest.raises(SystemExit):
            main(["diagnose", str(path), "--data", str(images), "--images", "32", "--views", "2"])
        printed = capsys.readouterr().out
        assert "measured at step" not in printed.replace(said, "") and said in printed
    written = json.loads((stopped / "diagnose.json").read_text())
    assert (written["step"], written["total_steps"]) == (5, 12)


def test_diagnose_same_seed_gives_the_same_numbers(run: Run, images: Path) -> None:
    first, again, other = (diagnose(run.path, str(images), num_images=32, num_views=2, seed=s) for s in (0, 0, 1))
    assert first.record == again.record
    assert first.measures["eval"]["projection"]["std_ratio"] != other.measures["eval"]["projection"]["std_ratio"]


def test_diagnose_takes_the_images_of_the_run(run: Run, images: Path, tmp_path: Path) -> None:
    record = diagnose(run.path, num_images=32, num_views=2).record
    assert record == diagnose(run.path, str(images), num_images=32, num_views=2).record
    shutil.copy(run.path / "encoder.json", tmp_path)
    shutil.copy(run.path / "encoder.safetensors", tmp_path)
    with pytest.raises(DataError, match=r"does not record which images it was trained on\. Give them with --data"):
        diagnose(tmp_path)


def test_diagnose_of_a_folder_sorted_by_class_mixes_them_in_its_batches(tmp_path: Path) -> None:
    """Else batch norm, in train mode, would take away what tells the classes apart."""
    source = ArrayImages(np.arange(64, dtype=np.uint8).repeat(192).reshape(64, 8, 8, 3))
    plain = ViewPolicy(jitter_probability=0, grayscale_probability=0, blur_probability=0)
    images = ViewedImages(source, 3, Views(pair(plain, plain, 8), 64, 0), 1, 16)
    firsts = [batch[0].mean(dim=(1, 2, 3)).mul(255).round() for batch in images.batches(64, SkippedImages())]
    assert all(float(levels.max() - levels.min()) > 32 for levels in firsts)  # of 64; sorted they would span 16
    assert sorted(torch.cat(firsts).tolist()) == list(range(64))


def test_diagnose_of_encodings_that_are_not_finite_says_so() -> None:
    views = torch.randn(40, 2, 8)
    views[3, 1, 2] = math.nan
    found = measure_encodings(views)
    assert found.keys() == measure_encodings(torch.randn(40, 2, 8)).keys()
    assert found.pop("dimensions") == 8 and all(map(math.isnan, found.values()))


def test_diagnose_of_a_file_names_the_directory(run: Run, images: Path) -> None:
    with pytest.raises(RunError, match=r"is a file\. Give the run directory"):
        diagnose(checkpoint.saved(run.path / "checkpoints")[-1], str(images))


def test_diagnose_encoder_alone_says_what_is_missing(run: Run, images: Path, tmp_path: Path) -> None:
    for name in ("encoder.json", "encoder.safetensors"):
        shutil.copy(run.path / name, tmp_path / name)
    alone = diagnose(tmp_path, str(images), num_images=64, num_views=2, recipe="sample")
    assert list(alone.measures) == ["eval"]
    assert list(alone.measures["eval"]) == ["representation", "maps"]
    assert "checkpoint" in alone.missing[0]
    assert [len(rows[0]) for _, rows in tables(alone)] == [2, 2]


def test_diagnose_of_an_onnx_file_measures_what_its_encoder_gives(run: Run, images: Path, tmp_path: Path) -> None:
    """The file normalises within."""
    for name in ("encoder.json", "encoder.safetensors"):
        shutil.copy(run.path / name, tmp_path / name)
    exported = byol.export_encoder(run.path, "onnx", tmp_path / "onnx").path
    measures = [diagnose(path, str(images), num_images=64, num_views=2).measures for path in (tmp_path, exported)]
    one, other = (found["eval"]["representation"] for found in measures)
    for name in ("std_ratio", "effective_rank"):
        assert other[name] == pytest.approx(one[name], rel=1e-3)


def test_diagnose_run_without_checkpoints_has_the_same_representation(run: Run, images: Path, tmp_path: Path) -> None:
    copied = tmp_path / "run"
    shutil.copytree(run.path, copied)
    whole = diagnose(copied, str(images), num_images=64, num_views=2)
    shutil.rmtree(copied / "checkpoints")
    alone = diagnose(copied, str(images), num_images=64, num_views=2)
    for name, value in alone.measures["eval"]["representation"].items():
        expected = whole.measures["eval"]["representation"][name]
        assert value == pytest.approx(expected, rel=1e-4) or (math.isnan(value) and math.isnan(expected))


def test_diagnose_constant_projections_are_collapsed(run: Run, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    make = build_method

    def constant(*arguments: object, **settings: object):
        method = make(*arguments, **settings)  # pyright: ignore[reportArgumentType]
        load = method.load_state_dict

        def load_and_flatten(weights: dict) -> None:
            load(weights)
            for network in (method.online, method.target):
                network.projector[1].weight.data.zero_()
                network.projector[1].bias.data.fill_(1.0)

        method.load_state_dict = load_and_flatten
        return method

    monkeypatch.setattr("byol.assembly.trained_run.build_method", constant)
    monkeypatch.setattr("byol.diagnostics.collapse.FEWEST_STEPS", 0)
    found = diagnose(run.path, str(images), num_images=64, num_views=2)
    assert found.verdict.startswith("collapsed")
    assert found.measures["train"]["networks"]["source_variance"] == pytest.approx(0.0, abs=1e-10)


@pytest.mark.parametrize(
    ("settings", "error"),
    [({"num_views": 3}, ConfigError), ({"num_images": 3}, ConfigError), ({"num_views": 0}, ConfigError)],
)
def test_diagnose_impossible_numbers_are_refused(
    run: Run, images: Path, settings: dict, error: type[ByolError]
) -> None:
    with pytest.raises(error, match="found"):
        diagnose(run.path, str(images), **settings)


def test_diagnose_of_no_run_and_of_foreign_weights_is_one_sentence(run: Run, images: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="encoder"):
        diagnose(tmp_path, str(images))
    copied = tmp_path / "run"
    shutil.copytree(run.path, copied)
    record = json.loads((copied / "run.json").read_text())
    (copied / "run.json").write_text(json.dumps({**record, "own_encoder": True}))
    with pytest.raises(EncoderError, match="module of your own"):
        diagnose(copied, str(images))
    record["config"]["encoder"]["width"] = 0.25
    (copied / "run.json").write_text(json.dumps(record))
    with pytest.raises(ByolError, match="does not fit"):
        diagnose(copied, str(images))


def test_diagnose_too_few_images_for_a_batch_is_refused(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "few.npy", np.stack([picture(i, 32, 32) for i in range(1)]))
    with pytest.raises(DataError, match="has 1 images"):
        diagnose(run.path, str(tmp_path / "few.npy"))


def test_diagnose_measures_the_cells_of_whole_images_where_the_encoder_gives_maps(
    run: Run, images: Path, tmp_path: Path
) -> None:
    found = diagnose(run.path, str(images), num_images=32, num_views=2)
    cells = found.measures["eval"]["maps"]
    assert "maps" not in found.measures["train"] and cells["dimensions"] == 64
    assert 1 < cells["effective_rank"] <= 64 and 0 < cells["spread_within"] < cells["spread"] < 1
    assert ["maps: spread within", f"{cells['spread_within']:.4g}"] in tables(found)[1][1]
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in ("encoder.json", "encoder.safetensors"):
        shutil.copy(run.path / name, alone / name)
    assert diagnose(alone, str(images), num_images=32, num_views=2).measures["eval"]["maps"] == cells
    exported = byol.export_encoder(run.path, "onnx", tmp_path / "onnx").path
    onnx = diagnose(exported, str(images), num_images=32, num_views=2)
    assert "maps" not in onnx.measures["eval"] and any(line.startswith("maps: ") for line in onnx.missing)
