"""Reports and previews, whole: what is in the page, what is said where something is missing."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from markupsafe import escape
from PIL import Image

import byol
from byol.assembly.trained_run import TrainedRun
from byol.assembly.views import build_views
from byol.cli.console import picture_code
from byol.cli.main import main
from byol.config import Config, from_dict
from byol.data.open import open_source
from byol.errors import DataError, RunError
from byol.evaluate.branch_measures import measure_branches
from byol.report.advice import advice
from byol.report.differences import config_differences
from byol.report.summary import WATCHED, RunSummary, read_runs
from byol.report.write import report_after, write_report
from byol.runtime.listener import Listener
from byol.runtime.run_directory import RunDirectory
from byol.studies import find_study
from byol.studies.judge import judge
from byol.studies.run_study import write as write_study
from byol.studies.runs import UNTRAINED
from byol.studies.study_report import COLUMNS, StudyResult, protocol
from tests.conftest import SMALL, encoded, picture

NASTY = "<script>alert(1)<"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos in two classes, one of a nasty name, and runs `a`, `b` on them."""
    folder = tmp_path_factory.mktemp("report")
    for label in ("cat", NASTY):
        (folder / "photos" / label).mkdir(parents=True)
        for i in range(20):
            content = encoded(picture(i + 100 * (label == "cat"), 40 + 8 * (i % 2)), "JPEG")
            (folder / "photos" / label / f"{i}&'\".jpg").write_bytes(content)
    shutil.copy(folder / "photos/cat/0&'\".jpg", folder / "photos/cat/twin.jpg")
    for name, rate in (("a", 0.3), ("b", 0.1)):
        overrides = {**SMALL, "epochs": 2, "optimizer.base_learning_rate": rate}
        byol.pretrain(folder / "photos", out=folder / name, overrides=overrides, say=lambda line: None)
    return folder


def content_of(page: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="content">(.*?)</script>', page.read_text())
    assert found
    return json.loads(found[1])


def test_report_holds_curves_views_map_and_galleries(runs: Path, tmp_path: Path) -> None:
    page = write_report(runs / "a", out=tmp_path / "page.html")
    text, content = page.read_text(), content_of(page)
    assert page.stat().st_size < 10e6
    assert content["runs"][0]["metrics"]["step"] == [0, 1, 2, 3, 4]
    assert {"loss", "tau", "learning_rate", "std_ratio", "images_per_second"} <= set(content["runs"][0]["metrics"])
    assert len(content["points"]["names"]) == content["points"]["num_thumbnails"] == 41
    assert content["points"]["classes"] == [NASTY, "cat"]
    seen = content["looks"]["0"]
    assert len(seen["neighbours"]) == len(seen["cluster"]) == len(seen["maps"]["PCA"][0]) == 41
    assert sum(cluster["size"] for cluster in seen["clusters"]) == 41
    assert sum(map(sum, seen["classes"]["confusion"])) == 41
    assert sum(seen["spectrum"]) == pytest.approx(1, abs=0.01)
    a, b, similarity, same = seen["pairs"][0]
    assert {content["points"]["names"][i] for i in (a, b)} == {"cat/0&'\".jpg", "cat/twin.jpg"}
    assert (similarity, same) == (1.0, True)
    assert len(content["grids"]["0"]["words"]) == 42
    parts = content["parts"]["0"]
    assert parts["names"] == content["points"]["names"] and len(parts["grids"]) == 41
    assert text.count("data:image/webp;base64,") == 4


def test_report_needs_no_network(runs: Path, tmp_path: Path) -> None:
    text = write_report(runs / "a", out=tmp_path / "page.html").read_text()
    assert not re.search(r"""(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//""", text)
    assert "@import" not in text


def test_report_shows_names_with_html_as_text(runs: Path, tmp_path: Path) -> None:
    evil = tmp_path / NASTY
    shutil.copytree(runs / "a", evil / "script>")
    shutil.copytree(runs / "b", tmp_path / "other" / "script>")
    page = write_report(evil / "script>", tmp_path / "other" / "script>", out=tmp_path / "page.html")
    text = page.read_text()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert content_of(page)["runs"][0]["name"] == f"{NASTY}/script>"
    assert text.count("</script>") == 3


def test_report_of_several_runs_names_what_differs(runs: Path, tmp_path: Path) -> None:
    page = write_report(runs / "a", runs / "b", out=tmp_path / "page.html")
    rows = dict(config_differences(read_runs([runs / "a", runs / "b"])))
    assert rows == {"optimizer.base_learning_rate": ["0.3", "0.1"]}
    assert "optimizer.base_learning_rate" in page.read_text()
    assert set(content_of(page)["looks"]) == {"0", "1"}


def test_report_of_other_images_and_fewer(runs: Path, tmp_path: Path) -> None:
    page = write_report(runs / "a", data="sample", num_images=70, out=tmp_path / "page.html")
    assert len(content_of(page)["points"]["names"]) == 70
    assert "70 of the 12,000 images" in page.read_text()
    assert "could be embedded" not in page.read_text()


def headings(page: Path) -> list[str]:
    return re.findall(r"<h[12][^>]*>(.*?)</h[12]>", page.read_text(), re.DOTALL)


def test_report_opens_with_the_verdict_and_the_images(runs: Path, tmp_path: Path) -> None:
    page = write_report(runs / "a", data="sample", num_images=70, out=tmp_path / "page.html")
    verdict, *others = headings(page)
    assert "The training was too short to tell whether it is sound:" in verdict
    assert "5 steps, and a verdict needs 300" in verdict
    order = [
        "Your images, as the encoder sees them",
        "Groups",
        "Odd ones",
        "Typical ones",
        "Duplicates and near-duplicates",
    ]
    order += ["Most similar images", "Parts", "How good it is", "What to do next", "For researchers", "Curves"]
    assert others[: len(order)] == order
    text = page.read_text()
    assert "byol pretrain --data" in text[text.index('id="next"') : text.index('id="research"')]


def test_report_shows_the_accuracy_beside_the_baselines(runs: Path, tmp_path: Path) -> None:
    page = write_report(runs / "a", data="sample", num_images=70, out=tmp_path / "page.html").read_text()
    quality = page[page.index('id="quality"') : page.index('id="next"')]
    names = re.findall(r'<div class="bar-row[^>]*><span>(.*?)</span>', quality)
    assert names == ["this encoder", "the same encoder, untrained", "gradients and colours alone (hog)"]
    assert "n = 70 images in 10 classes" in quality
    assert 'id="quality"' not in write_report(runs / "a", out=tmp_path / "few.html").read_text()  # 41 images


def test_every_chart_of_a_run_has_a_caption_and_no_stairs(runs: Path, tmp_path: Path) -> None:
    overrides = {**SMALL, "epochs": 4, "collapse_interval_steps": 4, "method.online_classifier": True}
    run = byol.pretrain(
        runs / "photos",
        out=tmp_path / "run",
        overrides={**overrides, "on_non_finite": "skip", "online_probe_epochs": 1},
        say=lambda line: None,
    )
    content = content_of(write_report(run.path))
    metrics = content["runs"][0]["metrics"]
    assert set(metrics) - {"step", "elapsed_seconds"} == {
        key for c in content["charts"] for key in c["keys"] if key in metrics
    }
    for chart in content["charts"]:
        assert 1 <= len(re.findall(r"[.!](?= |$)", chart["caption"])) <= 3, chart
        assert "not known" not in chart["caption"], chart
    for key in ("rankme", "alpha_req", "alignment", "uniformity", "std_ratio", "effective_rank"):
        measured = [step for step, value in zip(metrics["step"], metrics[key], strict=True) if value is not None]
        assert measured == [0, 4, 8, 9]
    assert None not in metrics["learning_rate"]


def test_report_stops_embedding_when_time_is_up(runs: Path, tmp_path: Path) -> None:
    page = write_report(runs / "a", data="sample", seconds=0, out=tmp_path / "page.html")
    assert len(content_of(page)["points"]["names"]) == 64
    assert "could be embedded" in page.read_text()


def test_report_without_its_images_says_so_and_shows_the_rest(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "a", tmp_path / "run")
    record = json.loads((tmp_path / "run/run.json").read_text())
    record["data"]["data"] = record["data"]["path"] = str(tmp_path / "gone")
    (tmp_path / "run/run.json").write_text(json.dumps(record))
    page = write_report(tmp_path / "run")
    assert page == tmp_path / "run/report.html"
    assert "The images are not shown" in page.read_text()
    assert content_of(page)["sheet"] is None
    assert len(content_of(page)["runs"][0]["metrics"]["loss"]) == 5


def test_report_of_images_that_cannot_be_read_says_so(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "torn").mkdir()
    for number in range(3):
        (tmp_path / "torn" / f"{number}.jpg").write_bytes(b"torn")
    page = write_report(runs / "a", data=str(tmp_path / "torn"), out=tmp_path / "page.html")
    assert "images that were tried in" in page.read_text()
    assert content_of(page)["sheet"] is None


def test_report_while_a_run_goes_on_shows_what_there_is(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "a", tmp_path / "run")
    for name in ("result.json", "encoder.json", "encoder.safetensors"):
        (tmp_path / "run" / name).unlink()
    run = RunSummary.read(tmp_path / "run")
    assert (run.step, run.finished, run.total_steps) == (5, False, 5)
    assert run.verdict == RunSummary.read(runs / "a").verdict
    assert "still training" in advice(run)[0]
    page = write_report(tmp_path / "run")
    seen, finished = (content_of(p)["looks"]["0"] for p in (page, write_report(runs / "a", out=tmp_path / "a.html")))
    assert seen["neighbours"] == finished["neighbours"]  # by the newest checkpoint, which is the last one here
    shutil.rmtree(tmp_path / "run/checkpoints")
    page = write_report(tmp_path / "run")
    assert "there is no checkpoint yet" in page.read_text()
    assert content_of(page)["grids"]


def test_summary_of_a_run_that_went_on_after_a_stop_is_not_the_stops(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "a", tmp_path / "run")
    result = json.loads((tmp_path / "run/result.json").read_text())
    (tmp_path / "run/result.json").write_text(json.dumps({**result, "finished": False, "step": 3}))
    run = RunSummary.read(tmp_path / "run")
    assert run.step == 5
    assert "still training" in advice(run)[0]


def test_report_tells_the_variance_over_views_of_both_networks(runs: Path, tmp_path: Path) -> None:
    def told(text: str) -> list[str]:
        found = re.search(r'id="branches">.*?<tbody>(.*?)</tbody>', text, re.DOTALL)
        assert found
        return re.findall(r"<td[^>]*>(.*?)</td>", found[1])

    page = write_report(runs / "a", runs / "b", out=tmp_path / "page.html").read_text()
    config = from_dict(Config, RunDirectory.open(runs / "a").record()["config"])
    wanted = measure_branches(
        TrainedRun.open(runs / "a").method(),
        open_source(str(runs / "photos")),
        3,
        build_views(config),
        16,
        torch.device("cpu"),
        32,
    )
    cells = told(page)
    assert cells[:4] == ["a", f"{wanted.source_variance:.3f}", f"{wanted.target_variance:.3f}", "32"]
    assert cells[4] == "b" and cells[7] == "32"
    assert 0 < wanted.target_variance < 1
    shutil.copytree(runs / "a", tmp_path / "run")
    shutil.rmtree(tmp_path / "run/checkpoints")
    assert "holds no checkpoint" in told(write_report(tmp_path / "run").read_text())[1]
    assert "the time was too short" in told(write_report(runs / "a", out=tmp_path / "b.html", seconds=0).read_text())[1]


def study_folder(folder: Path, run: Path, *, ended: bool) -> Path:
    """Three seeds of a study, made up, with a copy of `run` as one of its runs."""
    found = find_study("normalization")
    names = [None, *(variant.name for variant in found.variants_at("tiny"))]
    outcomes: dict[str, list[dict[str, Any]]] = {}
    for place, name in enumerate(names):
        for seed in range(3):
            values = dict.fromkeys(COLUMNS, 1.0 + place + 0.1 * seed) if name else {"knn": 60.0}
            values |= {"collapse": {name: values.get(name) for name in WATCHED}} if name else {}
            diverged = place == 2 and seed == 1
            outcome = {"failed": "so", "knn": float("nan")} if diverged else values
            outcomes.setdefault(name or UNTRAINED, []).append(outcome)
            path = folder / f"{place}-seed-{seed}"
            path.mkdir(parents=True)
            if ended or (place, seed) == (1, 0):
                (path / "outcome.json").write_text(json.dumps({"variant": name, **outcome}))
    shutil.copytree(run, folder / "1-seed-0", dirs_exist_ok=True)
    said = protocol(found, "tiny", 3, {"none": 5000}, f"photos of {NASTY}")
    (folder / "protocol.txt").write_text("\n".join(said))
    if ended:
        judgements = [judge(shape, outcomes) for shape in found.shapes_at("tiny")]
        write_study(StudyResult(found, "tiny", outcomes, judgements, said), folder)
    return folder / "1-seed-0"


def test_report_of_a_run_of_a_study_shows_the_study(runs: Path, tmp_path: Path) -> None:
    run = study_folder(tmp_path / "normalization-tiny", runs / "a", ended=True)
    page = write_report(run, data=str(runs / "photos"))
    text, (study,) = page.read_text(), content_of(page)["studies"]
    names = [variant.name for variant in find_study("normalization").variants_at("tiny")]
    assert "Study normalization, scale tiny" in text
    assert f"All {3 * (len(names) + 1)} runs are finished." in text
    assert study["scores"][names[0]]["knn"]["value"] == pytest.approx(2.1)
    assert study["scores"][names[1]]["knn"]["value"] is None  # one of its seeds diverged
    assert f"1-seed-0 is a run of the variant <b>{names[0]}</b>." in text
    assert ">diverged<" in text and ">2.1 [1.9, 2.3]<" in text
    for judgement in study["judgements"]:
        assert str(escape(judgement["evidence"])) in text


def test_report_says_that_a_study_is_unfinished(runs: Path, tmp_path: Path) -> None:
    run = study_folder(tmp_path / "elsewhere", runs / "a", ended=False)
    page = write_report(run, data=str(runs / "photos"))
    assert re.search(r"Unfinished: 1 of \d+ runs are finished", page.read_text())
    command = f"byol study normalization --scale tiny --seeds 3 --data {runs / 'photos'} --out {tmp_path / 'elsewhere'}"
    assert command in page.read_text()
    assert content_of(page)["studies"] == []
    whole = study_folder(tmp_path / "normalization-tiny", runs / "a", ended=True)
    (whole.parent / "0-seed-2" / "outcome.json").unlink()
    assert "The table is from an earlier result" in write_report(whole, data=str(runs / "photos")).read_text()
    (whole.parent / "study.json").write_text("[torn")
    assert "The table is written after the last" in write_report(whole, data=str(runs / "photos")).read_text()
    assert 'id="study"' not in write_report(runs / "a", out=tmp_path / "a.html").read_text()


@pytest.mark.parametrize(
    ("collapse", "word", "told_command"),
    [
        ((0.01, 1.1, 1.0, 0.999), "collapsed", "--optimizer.base-learning-rate 0.15"),
        ((0.2, 6.0, 0.9, 0.5), "partially collapsed", "--epochs 4"),
        ((0.9, 20.0, 0.9, 0.1), "healthy", "--out vectors.parquet"),
    ],
)
def test_summary_says_what_to_do_next(
    runs: Path,
    tmp_path: Path,
    collapse: tuple[float, ...],
    word: str,
    told_command: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("byol.diagnostics.collapse.FEWEST_STEPS", 1)
    shutil.copytree(runs / "a", tmp_path / "run")
    (tmp_path / "run/result.json").unlink()
    names = ("std_ratio", "effective_rank", "positive_cosine", "negative_cosine")
    row = {"step": 4, "loss": 1.0, **dict(zip(names, collapse, strict=True))}
    (tmp_path / "run/metrics.jsonl").write_text(json.dumps(row) + "\n")
    assert RunSummary.read(tmp_path / "run").state == word
    told = RunSummary.read(tmp_path / "run").verdict
    result = {"finished": True, "step": 5, "verdict": told, "collapse": dict(zip(names, collapse, strict=True))}
    (tmp_path / "run/result.json").write_text(json.dumps(result | {"elapsed_seconds": 60.0, "images_per_second": 10.0}))
    score = {"value": 80.0, "low": 70.0, "high": 88.0}
    record = {"protocol": "knn", "variant": "", "network": "online", "test": {"num_images": 50, "images": "x"}}
    (tmp_path / "run/evaluation").mkdir()
    (tmp_path / "run/evaluation/knn.json").write_text(json.dumps({**record, "metrics": {"top-1": score}}))
    run = RunSummary.read(tmp_path / "run")
    assert run.state == word
    assert told_command in advice(run)[1][-1]
    if word != "healthy":
        assert "--views.size 32" in advice(run)[1][-1]  # as the user gave it
    assert run.best is not None and run.best.score.value == 80.0
    assert ("time", "1 min 0 s") in run.facts()


def test_summary_of_the_demo_has_baselines_apart(runs: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        shutil.copytree(runs / "a", tmp_path / "demo" / f"seed-{seed}")
    high, low = {"value": 90.0, "low": 89.0, "high": 91.0}, {"value": 80.0, "low": 79.0, "high": 81.0}
    scores = {"pixels": {"knn": high}, "byol": {"knn": low}}
    (tmp_path / "demo/demo.json").write_text(json.dumps({"scores": scores, "num_seeds": 2}))
    found = read_runs([tmp_path / "demo"])
    assert [run.name for run in found] == ["seed-0", "seed-1"]
    assert found[0].best is not None and found[0].best.score.value == 80.0
    assert found[0].best.of.endswith("mean over 2 seeds")


def test_names_of_runs_are_as_long_as_they_need_to_be(runs: Path, tmp_path: Path) -> None:
    for name in ("x/run", "y/run"):
        shutil.copytree(runs / "a", tmp_path / name)
    assert [run.name for run in read_runs([tmp_path / "x/run", tmp_path / "y/run"])] == ["x/run", "y/run"]
    assert [run.name for run in read_runs([tmp_path / "x/run", tmp_path / "x/run"])] == ["run"]


def test_long_metrics_keep_first_and_last_line(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "a", tmp_path / "long")
    rows = [{"step": step, "loss": 1.0 / (step + 1), "odd": None} for step in range(9_998)]
    (tmp_path / "long" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shutil.copytree(runs / "a", tmp_path / "empty")
    (tmp_path / "empty" / "metrics.jsonl").write_text("")
    page = write_report(tmp_path / "long", tmp_path / "empty", data=str(tmp_path / "nothing"))
    columns, empty = (run["metrics"] for run in content_of(page)["runs"])
    assert columns["step"][0] == 0
    assert columns["step"][-1] == 9_997
    assert len(columns["step"]) <= 2001
    assert set(columns) == {"step", "loss"}
    assert empty == {}


def test_report_after_a_run_never_fails_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    report_after(tmp_path / "nothing", None, Listener(said.append))
    assert len(said) == 1 and "no report was written" in said[0]
    monkeypatch.setenv("RANK", "1")
    report_after(tmp_path / "nothing", None, Listener(said.append))
    assert len(said) == 1


def test_report_refuses_what_is_no_run(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a directory"):
        write_report(tmp_path / "nothing")
    with pytest.raises(RunError, match="does not exist"):
        write_report(runs / "a", out=tmp_path / "no" / "page.html")
    with pytest.raises(DataError, match="from 2 to"):
        write_report(runs / "a", num_images=1)


def run_command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def test_commands_report_and_preview(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("report", runs / "a", runs / "b", "--out", tmp_path / "page.html", "--images", "30") == 0
    assert f"Report written to {tmp_path / 'page.html'}" in capsys.readouterr().out
    options = ["--recipe", "sample", "--rows", "2", "--draws", "1", "--parameters"]
    assert run_command("preview", "--data", runs / "photos", "--out", tmp_path / "p.png", *options) == 0
    told = capsys.readouterr().out
    assert told.count("  T: crop") == told.count("  T′: crop") == 2
    with Image.open(tmp_path / "p.png") as opened:
        assert opened.size == (3 * 112 + 8, 2 * 112 + 4)
    assert run_command("preview", "--data", runs / "photos", "--out", tmp_path / "p.jpg") == 1
    assert run_command("report") == 1
    assert run_command("preview", "--data", runs / "photos", "--rows", "0") == 1


def test_pretraining_ends_with_a_report(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    command = ["pretrain", "--data", runs / "photos", "--epochs", 1, "--out", tmp_path / "run", *settings]
    assert run_command(*command) == 0
    assert f"report {tmp_path / 'run/report.html'}" in capsys.readouterr().out
    assert content_of(tmp_path / "run/report.html")["looks"]["0"]["maps"].keys() == {"t-SNE", "PCA"}


def test_pictures_in_terminals_that_show_them() -> None:
    content = np.random.default_rng(0).bytes(5000)
    kitty = picture_code(content, {"TERM": "xterm-kitty"})
    assert kitty.startswith("\033_Ga=T,f=100,m=1;") and kitty.endswith("\033\\") and "\033_Gm=0;" in kitty
    assert picture_code(content, {"TERM_PROGRAM": "WezTerm"}).startswith("\033]1337;File=inline=1;size=5000:")
    assert picture_code(content, {"TERM": "xterm-256color"}) == ""
