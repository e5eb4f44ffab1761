"""Studies: every variant is a possible config, judgements by hand, runs that are kept and go on."""

import json
import math
import os
import re
import shlex
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure

from byol import studies
from byol.build.encoder import untrained_encoder
from byol.build.settings import Asked
from byol.cli import main as cli
from byol.cli.pretrain import Pretrain
from byol.commands.evaluate import evaluate
from byol.config import Config, replaced, validate
from byol.data.labelled import labelled_splits
from byol.data.open import open_source
from byol.data.sample import open_sample
from byol.data.spec import DataSpec
from byol.encoder.encoder_file import save_encoder
from byol.errors import ConfigError, EncoderError
from byol.evaluate.features import Features
from byol.evaluate.probes import probe_correct
from byol.recipes import recipe
from byol.runtime.listener import Listener
from byol.studies import STUDIES, budget, find_study, questions, run_study, runs
from byol.studies.judge import judge, over_seeds
from byol.studies.plot import plot
from byol.studies.questions import heads
from byol.studies.run_study import begin, carry_out, training_command, write
from byol.studies.runs import Task, images_per_run, plan
from byol.studies.study import UNTRAINED, Collapse, Contrast, Variant
from byol.studies.study_report import COLUMNS, POSSIBLE, StudyResult, lines, markdown, protocol, read, table
from tests.conftest import SMALL

QUICK = {**SMALL, "encoder.name": "resnet10", "encoder.width": 0.0625, "views.size": 16, "epochs": 1.0}
HEALTHY = {
    "collapse": {"std_ratio": 0.9, "effective_rank": 20.0, "positive_cosine": 0.9, "negative_cosine": 0.1},
}
COLLAPSED = {
    "collapse": {"std_ratio": 0.01, "effective_rank": 1.0, "positive_cosine": 1.0, "negative_cosine": 0.999},
}


def study(
    name: str,
    *,
    jobs: int = 1,
    say: Any = lambda line: None,
    overall: Any = lambda share, note: None,
    **planned: Any,
) -> StudyResult | int:
    return carry_out(begin(name, jobs=jobs, **planned), listener=Listener(say), overall=overall)


@pytest.fixture(autouse=True)
def _one_thread(_two_threads: None) -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize(("name", "scale"), [(name, scale) for name in STUDIES for scale in STUDIES[name].scales])
def test_study_variants_are_possible_and_differ(name: str, scale) -> None:
    chosen = STUDIES[name]
    variants, base = chosen.chosen(scale), chosen.scales[scale]
    assert len(variants) >= 2 and (scale != "tiny" or len(variants) <= 6)
    assert chosen.expected(scale), "nothing is expected of it"
    assert set(base.variants) <= {v.name for v in chosen.variants}
    epochs = replaced(recipe(base.recipe).config, base.settings).epochs
    passes = {v.name: v.passes for v in variants}
    tasks = plan(chosen, scale, 1, Path("out"))[1:]
    assert len({repr(task.config) for task in tasks}) == len(variants), "two variants are the same training"
    for task in tasks:
        validate(task.config)
        assert task.config.epochs == epochs * passes.get(task.variant or "", 1)


def test_study_expects_nothing_of_a_variant_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="predictor expects something of no such, no variant of it"):
        replace(find_study("predictor"), shapes=(Collapse("", "no such"),))


def test_study_of_two_folders_alike_or_without_the_scale_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="heads has two variants whose folders are called one-two"):
        replace(find_study("heads"), variants=(Variant("one, two", {}), Variant("one two", {})), shapes=())
    monkeypatch.setitem(
        STUDIES, "heads", replace(find_study("heads"), scales={"tiny": find_study("heads").scales["tiny"]})
    )
    with pytest.raises(ConfigError, match="The study heads has no scale small; it has tiny"):
        begin("heads", scale="small")


def test_studies_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "AGAIN", replace(heads.HEADS, question="Another?"), raising=False)
    with pytest.raises(
        ValueError, match=r"Two studies are called heads, one of them in byol\.studies\.questions\.heads"
    ):
        studies._found()


def test_study_whose_file_is_broken_says_so_and_breaks_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert not studies.BROKEN
    (tmp_path / "temperature.py").write_text("from byol.studies.study import Varient\n")
    (tmp_path / "torn.py").write_text("TORN = Study(\n")
    monkeypatch.setattr(questions, "__path__", [*questions.__path__, str(tmp_path)])
    found, broken = studies._found()
    assert found == STUDIES
    monkeypatch.setattr(studies, "BROKEN", broken)
    with pytest.raises(ConfigError, match="no study 'temperature'") as refused:
        find_study("temperature")
    assert "questions.temperature cannot be read: ImportError: cannot import name 'Varient'" in str(refused.value)
    assert "questions.torn cannot be read: SyntaxError: '(' was never closed (torn.py, line 1)." in str(refused.value)


def test_plot_cuts_intervals_off_at_possible_values_and_names_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **how: drawn.append(self) or Path(path).touch())
    chosen = find_study("batch-size")
    names = [variant.name for variant in chosen.chosen("tiny")]
    far = [
        {**dict.fromkeys(COLUMNS, x), "effective_rank": 10 * x} for x in (0.1, 0.9)
    ]  # Student's interval of two is wide
    outcomes: dict[str, list] = {name: far for name in names} | {
        UNTRAINED: [{"knn": 40.0, "linear": 50.0}, {"knn": 42.0, "linear": 54.0}]
    }
    outcomes[names[0]] = [{"failed": "so", "knn": float("nan")}] * 2
    plot(StudyResult(chosen, "tiny", outcomes, [], []), tmp_path / "study.png")
    axes = dict(zip([*COLUMNS, "paper"], drawn[0].axes, strict=True))
    for measure, (least, most) in POSSIBLE.items():
        bars = [x for lines in axes[measure].collections for segment in lines.get_segments() for x, _ in segment]
        assert bars and least <= min(bars) and max(bars) <= most, measure
        assert [text.get_text() for text in axes[measure].texts] == ["diverged"]
    for measure, mean, half in (("knn", 41, 12.706), ("linear", 52, 25.412)):
        band = axes[measure].patches[0]
        assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((mean - half, mean + half), abs=0.01)
    assert [text.get_text() for text in axes["paper"].texts] == ["4096", "512", "128"] * 2


def test_study_writes_the_settings_of_its_variants_beforehand() -> None:
    """So that one of other settings does not take over what another left in the folder."""
    said = protocol(find_study("batch-size"), "paper", 1, {"byol 4096 of 4096": 1}, "photos")
    assert "    byol 64 of 4096: method.name byol, micro_batch_size 64" in said
    crops = [
        line for line in protocol(find_study("asymmetry"), "paper", 1, {"none": 1}, "photos") if "MultiCrop, " in line
    ]
    assert crops[0].startswith("    MultiCrop, source: views.view1.crop_area (0.14, 1.0), ")


def test_study_settings_differ_between_variants_alone() -> None:
    tasks = plan(find_study("batch-size"), "tiny", 2, Path("out"))
    assert len(tasks) == 2 * (6 + 1)
    assert {t.config.batch_size for t in tasks} == {256}
    assert [t.config.micro_batch_size for t in tasks[:7]] == [0, 256, 32, 8, 256, 32, 8]
    assert tasks[7].config.seed == 1
    papers = plan(find_study("batch-size"), "paper", 1, Path("out"))
    halves = [4096 >> power for power in range(7)]
    assert [t.config.micro_batch_size for t in papers] == [0, *halves, *halves]


@pytest.mark.parametrize(
    ("scale", "batch", "sizes", "of"),
    [
        ("tiny", 256, (256, 32, 8), ""),
        ("small", 256, (256, 128, 64, 32, 16, 8, 4), ""),
        ("paper", 4096, (4096, 2048, 1024, 512, 256, 128, 64), " of 4096"),
    ],
)
def test_batch_size_study_names_the_batches_that_it_trains_with(
    scale, batch: int, sizes: tuple[int, ...], of: str
) -> None:
    """Those of tiny and small name folders too, in which stopped studies go on."""
    tasks = plan(find_study("batch-size"), scale, 1, Path("out"))
    named = {t.variant: t for t in tasks if t.variant and "true batch" not in t.variant}
    assert list(named) == [f"{method} {size}{of}" for method in ("byol", "simclr") for size in sizes]
    assert [t.path.name for t in named.values()] == [f"{name.replace(' ', '-')}-seed-0" for name in named]
    for name, task in named.items():
        assert name == f"{task.config.method.name} {task.config.micro_batch_size}{of}"
        assert task.config.batch_size == batch
    papers = {v.name: v.paper for v in find_study("batch-size").variants}
    smallest = [(papers[f"{method} {sizes[-1]}{of}"]) for method in ("byol", "simclr")]
    assert smallest == ([69.6, 63.6] if scale == "tiny" else [59.7, 59.2])
    said = protocol(find_study("batch-size"), scale, 1, images_per_run(tasks, 5000), "photos")
    assert said[0].endswith(f"in small batches, at one optimizer batch of {batch}?")
    judged_by = "the linear probe" if scale == "paper" else "kNN"
    expected = [
        line.strip() for line in said[said.index(f"  expected beforehand, of accuracies by {judged_by}:") + 1 :]
    ]
    assert f"SimCLR loses more than BYOL from {batch} to {batch // 8}" in expected
    assert f"BYOL is ahead of SimCLR at {batch}" in expected
    assert (f"BYOL breaks at {batch // 64}" in expected) == (scale != "tiny")


@pytest.mark.parametrize("name", ["batch-size", "augmentations"])
def test_simclr_at_paper_scale_has_the_heads_of_its_recipe(name: str) -> None:
    heads = {"byol": recipe("imagenet-300").config.heads, "simclr": recipe("simclr-imagenet").config.heads}
    tasks = [task for task in plan(find_study(name), "paper", 1, Path("out")) if task.variant]
    assert {task.config.method.name for task in tasks} == set(heads)
    assert all(task.config.heads == heads[task.config.method.name] for task in tasks)
    for task in plan(find_study(name), "tiny", 1, Path("out")):
        assert task.config.heads == replace(recipe("sample").config.heads, projector_depth=2)


def test_study_expects_at_a_scale_what_the_source_says_of_it() -> None:
    whole = find_study("normalization")
    texts = {scale: {shape.text for shape in whole.expected(scale)} for scale in ("tiny", "small", "paper")}
    early, late = (
        "no batch norm in the heads collapses early on",
        "no batch norm in the heads recovers in a long training",
    )
    assert early in texts["tiny"] & texts["small"] and early not in texts["paper"]
    assert late in texts["paper"] and late not in texts["tiny"] | texts["small"]


def test_papers_scale_compares_linear_accuracies_as_the_sources_do() -> None:
    measures = {
        scale: {shape.measure for shape in find_study("normalization").expected(scale) if isinstance(shape, Contrast)}
        for scale in ("tiny", "paper")
    }
    assert measures == {"tiny": {"knn", "negative_cosine"}, "paper": {"linear", "negative_cosine"}}
    for name in STUDIES:
        expected = find_study(name).expected("paper") if "paper" in find_study(name).scales else ()
        assert all(shape.measure != "knn" for shape in expected if isinstance(shape, Contrast))


def test_judge_compares_with_the_untrained_encoder() -> None:
    (shape,) = [
        s for s in find_study("target-rate").expected("tiny") if isinstance(s, Contrast) and UNTRAINED in s.weights
    ]
    untrained = [{"knn": 30.0}, {"knn": 31.0}, {"knn": 29.0}]
    fixed = [{"knn": 35.0}, {"knn": 36.5}, {"knn": 34.5}]
    found = judge(shape, {"fixed random target": fixed, UNTRAINED: untrained})
    assert found.state == "held" and "+5.3" in found.evidence


@pytest.mark.parametrize(
    ("name", "measured"),
    [
        ("normalization", "STL-10 linear accuracy, %, after 10 epochs of ResNet-18"),
        ("asymmetry", "ImageNet linear top-1, %, after 100 epochs of MoCo v2 with ResNet-50"),
        ("heads", "ImageNet linear top-1, %, after 300 epochs of ResNet-50"),
    ],
)
def test_study_says_of_which_training_the_papers_numbers_are(name: str, measured: str, tmp_path: Path) -> None:
    chosen = find_study(name)
    outcomes = {key: [{"knn": 50.0}] for key in (*(v.name for v in chosen.chosen("paper")), UNTRAINED)}
    result = StudyResult(chosen, "paper", outcomes, [], [])
    assert table(result)[0][-1] == f"paper: {measured}"
    write(result, tmp_path)
    assert json.loads((tmp_path / "study.json").read_text())["paper_metric"] == measured
    warned = "\n".join(protocol(chosen, "paper", 1, {"none": 5000}, "photos")).count(
        "of another training than this scale's"
    )
    assert warned == (name != "heads")


def test_study_trains_all_variants_on_as_many_images_or_says_which_fewer() -> None:
    fewer = {}
    for name, scale in [(study, scale) for study in STUDIES for scale in find_study(study).scales]:
        images = images_per_run(plan(find_study(name), scale, 1, Path("out")), 50_000)
        fewer |= {(name, scale, v): n for v, n in images.items() if n != max(images.values())}
        told = protocol(find_study(name), scale, 1, images, "photos")[1]
        assert told.endswith("the same for all") == (len(set(images.values())) == 1)
    key = ("asymmetry", "small", "MultiCrop, source, at equal compute")
    assert fewer.keys() == {key, ("asymmetry", "tiny", key[2])}
    assert fewer[key] == round(500_000 * 8 / (8 + 18 * (24 / 32) ** 2))
    images = images_per_run(plan(find_study("asymmetry"), "small", 1, Path("out")), 50_000)
    told = protocol(find_study("asymmetry"), "small", 1, images, "photos")[1]
    assert told.endswith(f"500,000 images per run, but {fewer[key]:,} for {key[2]}, which costs more for each")


def test_study_is_read_from_its_record_and_written_as_a_table(tmp_path: Path) -> None:
    whole = find_study("normalization")
    names = [variant.name for variant in whole.chosen("tiny")]
    healthy = {
        "knn": 50.25,
        "linear": 61.5,
        "std_ratio": 0.75,
        "effective_rank": 9.0,
        "positive_cosine": 0.9,
        "negative_cosine": 0.1,
    }
    outcomes: dict[str, list] = {name: [{**healthy, **HEALTHY}] * 2 for name in names}
    outcomes |= {"batch": [{"failed": "nan", "knn": math.nan}] * 2, UNTRAINED: [{"knn": 40.0, "linear": 50.0}] * 2}
    outcomes["predictor only"] = [{**healthy, "collapse": dict.fromkeys(HEALTHY["collapse"], math.nan)}] * 2
    result = StudyResult(whole, "tiny", outcomes, [judge(s, outcomes) for s in whole.expected("tiny")], ["said"])
    write(result, tmp_path)
    again = read(tmp_path / "study.json")
    assert table(again) == table(result)
    assert again.judgements == result.judgements
    text = (tmp_path / "study.md").read_text()
    assert text == f"```\nsaid\n```\n\n{markdown(again)}\n"
    rows = text.splitlines()
    assert rows[4].startswith("| variant | kNN, % | linear, % | collapsed | std") and rows[4].endswith(
        "after 10 epochs of ResNet-18 |"
    )
    assert rows[6] == "| batch | diverged | diverged |  | diverged | diverged | diverged | diverged | 57.7 |"
    assert rows[7].startswith("| projector only | 50.2 [50.2, 50.2] | 61.5 [61.5, 61.5] | 0 of 2 | 0.75 [0.75, 0.75] |")
    assert rows[12].startswith("| encoder, untrained | 40.0 [40.0, 40.0] | 50.0 [50.0, 50.0] |  |")
    assert rows[12].endswith("| 28.8 |")
    assert "| layer norm in the heads collapses early on | did not hold | 0 of 2 seeds collapsed" in text


def test_judge_contrast_hand_values() -> None:
    shape = Contrast("a above b", {"a": 1, "b": -1}, gap=2.0)

    def found(*differences: float) -> str:
        outcomes = {"a": [{"knn": 50 + d} for d in differences], "b": [{"knn": 50.0} for _ in differences]}
        return judge(shape, outcomes).state

    assert found(3.0, 3.1, 2.9) == "held"
    assert found(-3.0, -3.1, -2.9) == "did not hold"
    assert found(0.3, -0.3, 0.1) == "undecided"  # 1.5 wide: a gap of 2 would have been seen
    assert found(0.5, -0.5, 0.1) == "underpowered"  # 2.5 wide
    assert found(9.0, -4.0, 1.0) == "underpowered"
    assert found(3.0) == "underpowered"  # one seed has no interval
    assert found(3.0, math.nan, 3.0) == "underpowered"
    assert (
        "+3.0 [2.8, 3.2], n = 3; 2 expected"
        in judge(shape, {"a": [{"knn": v} for v in (53.0, 53.1, 52.9)], "b": [{"knn": 50.0}] * 3}).evidence
    )


def test_judge_contrast_without_a_gap_of_the_source() -> None:
    shape = Contrast("a above b", {"a": 1, "b": -1}, gap=None)
    outcomes = {"a": [{"knn": 50.0}, {"knn": 59.0}], "b": [{"knn": 50.0}] * 2}
    found = judge(shape, outcomes)
    assert found.state == "undecided" and "expected" not in found.evidence
    assert judge(shape, {name: values[:1] for name, values in outcomes.items()}).state == "underpowered"


def test_judge_contrast_with_a_diverged_variant_says_so() -> None:
    shape = Contrast("a beats b", {"a": 1, "b": -1}, 3.0)
    failed = {"failed": "The loss became nan", "knn": float("nan")}
    found = judge(shape, {"a": [{"knn": 50.0}] * 3, "b": [failed, {"knn": 40.0}, failed]})
    assert (found.state, found.evidence) == ("undecided", "b diverged in 2 of 3 seeds")


def test_judge_collapse_needs_every_seed() -> None:
    shape, not_expected = Collapse("a collapses", "a"), Collapse("a does not", "a", False)
    assert judge(shape, {"a": [COLLAPSED, COLLAPSED]}).state == "held"
    assert judge(not_expected, {"a": [COLLAPSED, COLLAPSED]}).state == "did not hold"
    assert judge(not_expected, {"a": [HEALTHY, HEALTHY]}).state == "held"
    assert judge(shape, {"a": [HEALTHY, COLLAPSED]}).state == "undecided"
    for one in (HEALTHY, COLLAPSED):
        assert judge(shape, {"a": [one]}).state == "underpowered"
    found = judge(shape, {"a": [COLLAPSED, {"failed": "The loss became nan", "knn": math.nan}]})
    assert (found.state, found.evidence) == ("undecided", "a diverged in 1 of 2 seeds")


def test_over_seeds_is_students_interval() -> None:
    score = over_seeds([1.0, 2.0, 3.0])
    assert (score.value, score.high - score.value) == pytest.approx((2.0, 4.303 / math.sqrt(3)), abs=1e-3)


def test_accuracies_are_the_demos_and_by_the_other_probe_the_papers_protocol(photos: Path, tmp_path: Path) -> None:
    (task, *_) = plan(find_study("heads"), "tiny", 1, tmp_path, data=str(photos))
    encoder = untrained_encoder(replace(task.asked, config=replaced(task.config, QUICK)), open_source(str(photos)))
    train, test = labelled_splits(str(photos))
    right = probe_correct(encoder, train, test, 3, torch.device("cpu"))
    found = runs.accuracies(encoder, task)
    assert found == {probe: pytest.approx(100 * float(right[probe].mean())) for probe in ("knn", "linear")}
    (tmp_path / "encoder").mkdir()
    save_encoder(tmp_path / "encoder", encoder.module, encoder.description)
    (linear,) = evaluate(tmp_path / "encoder", str(photos), ["linear"], budget="paper")
    assert linear.record["settings"]["epochs"] == 80
    scored = runs.accuracies(encoder, replace(task, probe="sgd"))
    assert scored == {"knn": found["knn"], "linear": pytest.approx(linear.score.value)}
    assert {t.probe for t in plan(find_study("batch-size"), "tiny", 1, tmp_path)} == {"l-bfgs"}
    assert {t.probe for t in plan(find_study("batch-size"), "paper", 1, tmp_path)} == {"sgd"}


def test_the_linear_probe_of_a_study_sees_what_neighbours_do_not(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two classes along one direction, told apart by length alone, which cosines leave out."""
    labels = torch.arange(40) % 2
    vectors = torch.stack([1.0 + labels, torch.zeros(40)], dim=1)
    features = Features(vectors, labels, torch.arange(40))
    monkeypatch.setattr(runs, "make_job", lambda *a: SimpleNamespace(features=lambda part: features))
    (task, *_) = plan(find_study("heads"), "tiny", 1, tmp_path, data=str(photos))
    encoder: Any = SimpleNamespace(description=None)
    assert runs.accuracies(encoder, task) == {"knn": 50.0, "linear": 100.0}


def test_study_runs_is_kept_and_goes_on(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal in the second run; the same command goes on with it; a third finds all done; a seed is added."""
    out = tmp_path / "study"
    arguments = {"data": str(photos), "out": out, "settings": QUICK, "say": lambda line: None}
    from byol.engine import loop

    write, seen = loop.Log.write, []

    def stop_in_the_second(self, state) -> None:
        write(self, state)
        seen.append(state.step)
        if len(seen) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(loop.Log, "write", stop_in_the_second)
    assert study("loss-normalization", seeds=1, **arguments) == 15
    assert (out / "protocol.txt").exists()
    assert not (out / "study.json").exists()
    result = study("loss-normalization", seeds=1, **arguments)
    assert isinstance(result, StudyResult)
    assert len(seen) == 4 * 2  # every step of the four variants once
    resume_notes = json.loads((out / "layer-seed-0" / "run.json").read_text())["commands"]
    assert len(resume_notes) == 2
    header, rows = table(result)
    assert [row[0] for row in rows] == ["l2", "layer", "batch", "none", "encoder, untrained"]
    assert [row[-1] for row in rows] == ["72.5", "72.5", "65.3", "67.4", ""]
    assert header[-1] == "paper: ImageNet linear top-1, %, after 300 epochs of ResNet-50"
    assert all("underpowered" in line for line in lines(result)[1:4])  # contrasts of one seed
    content = json.loads((out / "study.json").read_text())
    assert content["outcomes"]["l2"][0]["knn"] == result.outcomes["l2"][0]["knn"]
    assert 0 <= content["outcomes"]["l2"][0]["linear"] <= 100
    assert (out / "study.png").read_bytes().startswith(b"\x89PNG")
    before = (out / "protocol.txt").read_text()  # by a version that measured something else of the same runs
    assert before.count("  accuracy, of") == before.count("expected beforehand, of") == 1
    before = re.sub(r"(?m)^  accuracy.*$", "  accuracy: kNN", before)
    (out / "protocol.txt").write_text(re.sub(r"expected beforehand.*", "expected beforehand:", before))
    more = study("loss-normalization", seeds=2, **arguments)
    assert isinstance(more, StudyResult)
    assert len(seen) == 2 * 4 * 2
    assert all(len(values) == 2 for values in more.outcomes.values())
    other = {**arguments, "settings": {**QUICK, "seed": 5, "encoder.width": 0.25}}
    with pytest.raises(ConfigError, match=r"another protocol: .*encoder.width 0.0625.* there, .*encoder.width 0.25"):
        study("loss-normalization", seeds=2, **other)
    with pytest.raises(ConfigError, match=r"there, .*sample train"):
        study("loss-normalization", seeds=2, **{**arguments, "data": "sample"})


def test_study_stops_between_two_trainings(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal comes while the untrained encoder is scored: that is finished, and nothing is begun."""
    score, said = runs.accuracies, []

    def score_and_stop(encoder, task) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        return score(encoder, task)

    monkeypatch.setattr(runs, "accuracies", score_and_stop)
    out = tmp_path / "study"
    assert study("loss-normalization", seeds=1, data=str(photos), out=out, settings=QUICK, say=said.append) == 15
    assert [path.parent.name for path in out.glob("*/outcome.json")] == ["encoder-untrained-seed-0"]
    assert [line for line in said if line.startswith("run ")] == ["run 1 of 5: encoder-untrained-seed-0"]


def test_study_counts_an_encoder_that_explodes_as_diverged(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(encoder: object, task: Task) -> dict[str, float]:
        raise EncoderError("The encoder gives values that are not finite")

    whole = find_study("loss-normalization")
    part = replace(whole, scales={"tiny": replace(whole.scales["tiny"], variants=("none",))})
    (task, *_) = [t for t in plan(part, "tiny", 1, tmp_path, data=str(photos), settings=QUICK) if t.variant]
    monkeypatch.setattr(runs, "accuracies", explode)
    assert runs.run_one(task) is None
    assert task.outcome is not None
    assert task.outcome["failed"] == "The encoder gives values that are not finite"


def test_study_with_two_jobs_gives_the_same_numbers(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = find_study("loss-normalization")
    part = replace(whole, scales={"tiny": replace(whole.scales["tiny"], variants=("batch",))})
    monkeypatch.setitem(STUDIES, whole.name, part)
    said: list[str] = []
    shown: list[tuple[float, str]] = []
    arguments = {"data": str(photos), "settings": QUICK, "say": said.append}
    arguments["overall"] = lambda share, note: shown.append((share, note))
    found = [study(whole.name, seeds=2, jobs=jobs, out=tmp_path / str(jobs), **arguments) for jobs in (1, 2)]
    assert {"finished batch-seed-0", "finished batch-seed-1"} <= set(said)
    assert shown[0] == (0.0, "0 of 2 trainings have ended")
    assert [share for share, _ in shown] == sorted(share for share, _ in shown)
    assert shown[-1][0] < 1
    one, two = (r.outcomes["batch"][0]["negative_cosine"] for r in found if isinstance(r, StudyResult))
    assert one == pytest.approx(two, rel=1e-4)


def test_time_left_of_runs_side_by_side_is_by_the_passes_made_here(tmp_path: Path) -> None:
    tasks = [
        replace(task, config=replace(task.config, epochs=epochs))
        for task, epochs in zip(plan(find_study("batch-size"), "tiny", 1, tmp_path)[1:4], (2.0, 2.0, 4.0), strict=True)
    ]
    clock = iter((100.0, 110.0, 130.0))
    advance = runs.Advance(tasks, now=lambda: next(clock))
    assert advance.told() == (0.0, "0 of 3 trainings have ended")
    advance.shares = {tasks[0].path: SimpleNamespace(value=0.5), tasks[2].path: SimpleNamespace(value=0.0)}
    assert advance.told() == (1 / 8, "0 of 3 trainings have ended")  # it goes on: that pass was made before
    advance.shares[tasks[0].path].value = 1.0
    advance.shares[tasks[2].path].value = 0.25  # heard of late: counted as done before
    advance.ended = 1
    assert advance.told() == (3 / 8, "1 of 3 trainings have ended, about 50 s left")  # a pass in 10 s, 5 to go
    advance.shares[tasks[2].path].value = 0.5
    assert advance.told() == (4 / 8, "1 of 3 trainings have ended, about 1 min 0 s left")  # two in 30 s, 4 to go


def test_study_with_jobs_tells_what_a_run_refuses_in_a_sentence(
    photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, file in enumerate(sorted(photos.rglob("*.jpg"))):
        file.rename(flat / f"{number}.jpg")
    with pytest.raises(ConfigError, match="failed; its reason stands above"):
        study("loss-normalization", seeds=1, jobs=2, data=str(flat), out=tmp_path / "out", settings=QUICK, say=str)
    told = capfd.readouterr().err
    assert "has no labels; put the images of each class into a sub-folder" in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("name", "scale"), [("asymmetry", "paper"), ("normalization", "small"), ("batch-size", "tiny")]
)
def test_study_prints_commands_that_train_its_runs(name: str, scale, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Pretrain] = []
    monkeypatch.setitem(cli.COMMANDS, "pretrain", (Pretrain, lambda options: begun.append(options) or 0))
    tasks = [
        task for task in plan(find_study(name), scale, 1, Path("out"), data=DataSpec("", "over there")) if task.variant
    ]
    for task in tasks:
        program, *words = shlex.split(training_command(task))
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        assert (program, ended.value.code) == ("byol", 0)
    assert [options.config for options in begun] == [task.config for task in tasks]
    assert [(o.data, o.place.data_root, o.recipe, Path(o.out)) for o in begun] == [
        (task.data.data, "over there", task.recipe, task.path) for task in tasks
    ]


def test_commands_for_ranks_share_the_micro_batches() -> None:
    tasks = {task.path.name: task for task in plan(find_study("batch-size"), "paper", 1, Path("out")) if task.variant}
    words = {name: shlex.split(training_command(task, 32)) for name, task in tasks.items()}
    given = {w[w.index("--micro-batch-size") + 1] for w in words.values() if "--micro-batch-size" in w}
    assert given == {"128", "64", "32", "16", "8", "4", "2"}
    with pytest.raises(ConfigError, match=r"128 ranks cannot share the micro-batches of 64 images of .*Give --ranks"):
        [training_command(task, 128) for task in tasks.values()]


def test_study_takes_the_results_of_trainings_started_by_command(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = find_study("loss-normalization")
    tiny = replace(whole.scales["tiny"], variants=("batch",), settings={**whole.scales["tiny"].settings, **QUICK})
    monkeypatch.setitem(STUDIES, whole.name, replace(whole, scales={"tiny": tiny}))
    command = [
        "study",
        whole.name,
        "--seeds",
        "1",
        "--images",
        "24",
        "--data",
        str(photos),
        "--out",
        str(tmp_path / "study"),
    ]
    with pytest.raises(SystemExit):
        cli.main([*command, "--commands"])
    (line,) = capsys.readouterr().out.splitlines()
    with pytest.raises(SystemExit) as ended:
        cli.main(shlex.split(line)[1:])
    assert ended.value.code == 0
    trained = (tmp_path / "study" / "batch-seed-0" / "metrics.jsonl").read_text()
    with pytest.raises(SystemExit) as ended:
        cli.main(command)
    assert ended.value.code == 0
    assert "batch does not collapse" in capsys.readouterr().out
    assert json.loads((tmp_path / "study" / "batch-seed-0" / "outcome.json").read_text())["variant"] == "batch"
    assert (tmp_path / "study" / "batch-seed-0" / "metrics.jsonl").read_text() == trained


def test_study_under_torchrun_is_refused(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="--commands"):
        study("heads", data=str(photos), out=tmp_path / "out", settings=QUICK)


def test_study_refuses_gray_images_unknown_names_and_another_protocol(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gray"):
        study("augmentations", data="sample", out=tmp_path / "a")
    with pytest.raises(ConfigError, match="Did you mean 'normalization'"):
        study("normalisation", out=tmp_path / "b")
    out = tmp_path / "c"
    out.mkdir()
    (out / "protocol.txt").write_text("study heads\n")
    with pytest.raises(ConfigError, match="another protocol: 'study heads' there, 'study"):
        study("heads", data=str(photos), out=out, settings=QUICK)
    assert not list(out.glob("*-seed-0"))


RATES = {"l2": 100 / 0.9, "layer": 50 / 0.9, "batch": 200 / 0.9, "none": 125 / 0.9}
"""Of the speed test: 100, 50, 200 and 125 images/s are counted."""


def found_speed(trained: float, decoded: float = math.inf, *, resident: bool = True) -> SimpleNamespace:
    return SimpleNamespace(trained_per_second=trained, decoded_per_second=decoded, is_resident=resident)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """The configs that a speed test measures; on two cores it takes no time and gives RATES."""
    seen: list[Config] = []

    def estimate(source: object, asked: Asked, **how: bool) -> SimpleNamespace:
        config = asked.config
        seen.append(config)
        return found_speed(RATES[config.method.loss_normalization])

    monkeypatch.setattr(budget, "estimate", estimate)
    monkeypatch.setattr(budget, "num_cores", lambda: 2)
    monkeypatch.setattr(run_study, "num_cores", lambda: 2)
    return seen


@pytest.mark.parametrize(
    ("jobs", "minutes", "seeds", "images"),
    [
        (1, None, 3, 20_000),  # 3 (15 s x 4 + 0.043 s (3,000 + 20,000)) = 52 min, 74 with 30,000
        (2, None, 3, 40_000),  # the same for each of two: 48 min, 69 with 60,000
        (None, None, 3, 40_000),  # two cores
        (4, None, 3, 40_000),  # half as fast each: 58 min, by hand
        (1, 20.0, 3, 4_000),
        (1, 15.0, 3, 2_560),  # 40 batches, the fewest; there is time for 20 more
        (1, None, 1, 60_000),  # 46 min, 60.5 with 80,000
    ],
)
def test_tiny_study_trains_on_as_many_images_as_fit_an_hour(
    jobs: int | None, minutes: float | None, seeds: int, images: int, tmp_path: Path, measured: list[Config]
) -> None:
    begun = begin("loss-normalization", seeds=seeds, jobs=jobs, minutes=minutes, out=tmp_path)
    assert [task.config.epochs * 12_000 for task in begun.tasks] == pytest.approx([images] * 5 * seeds)
    assert begun.protocol[1].endswith(f"{images:,} images per run, the same for all")
    assert len(measured) == 4
    assert begun.jobs == (jobs or 2)


def test_budget_is_where_the_last_of_the_jobs_ends() -> None:
    """By hand: 10 + 2 s for each of 100 images at 10/s; the third begins when the half one of 5 + 2 s has ended."""
    run, half = budget._Run(1.0, 10.0, 2.0), budget._Run(0.5, 10.0, 2.0)
    assert budget._end([run, half, run], 2, 100) == pytest.approx(7 + 12)
    assert budget._end([run, half, run], 3, 100) == pytest.approx(12)
    assert budget._end([run, half, run], 1, 100) == pytest.approx(31)


def test_speed_of_a_run_beside_others(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [task for task in plan(find_study("loss-normalization"), "tiny", 1, Path("out")) if task.variant]
    source = open_sample("test")

    def rates(found: SimpleNamespace, jobs: int, *, cores: int = 8, device: str = "cpu") -> float:
        monkeypatch.setattr(budget, "num_cores", lambda: cores)
        monkeypatch.setattr(budget, "choose_device", lambda name: torch.device(device))
        monkeypatch.setattr(budget, "estimate", lambda *args, **how: found)
        (rate,) = set(budget._measure(tasks, source, jobs).values())
        return rate

    assert rates(found_speed(100.0), 4) == pytest.approx(90)
    assert rates(found_speed(100.0), 16) == pytest.approx(45)  # two share a core
    assert rates(found_speed(100.0), 2, device="cuda") == pytest.approx(45)  # and a GPU
    assert rates(found_speed(100.0, 200.0, resident=False), 4) == pytest.approx(50)  # decoding is of all cores
    assert rates(found_speed(100.0, 200.0), 4) == pytest.approx(90)


def test_jobs_are_as_many_as_cores_allow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def jobs(cores: int, device: str) -> int:
        monkeypatch.setattr(run_study, "num_cores", lambda: cores)
        monkeypatch.setattr(run_study, "choose_device", lambda name: torch.device(device))
        return begin("heads", images=1000, out=tmp_path / f"{cores}{device}").jobs

    assert [jobs(1, "cpu"), jobs(3, "cpu"), jobs(64, "cpu"), jobs(64, "cuda")] == [1, 3, 4, 1]


def test_speed_test_of_a_study_is_a_real_one(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of each variant once, on as many threads as a job has; then there is time for many photos."""
    torch.set_num_threads(2)
    small = {name: value for name, value in QUICK.items() if name != "epochs"}
    arguments = {"data": str(photos), "settings": small, "seeds": 1, "out": tmp_path / "study"}
    begun = begin("loss-normalization", minutes=5.0, jobs=2, listener=Listener(print), **arguments)
    assert torch.get_num_threads() == 2
    content = json.loads((tmp_path / "study" / "budget.json").read_text())
    assert set(content["images_per_second"]) == {"l2", "layer", "batch", "none"}
    assert all(rate > 1 for rate in content["images_per_second"].values())
    assert begun.tasks[1].config.epochs * 40 == pytest.approx(content["images_per_run"])
    told = capsys.readouterr().out
    assert f"{content['images_per_run']:,} images per run: about " in told and " of the 5 minutes for all" in told


def test_variant_of_fewer_passes_counts_for_less_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = iter([375.0, 187.5, 375.0, 375.0, 375.0, 375.0])
    monkeypatch.setattr(budget, "estimate", lambda *args, **how: found_speed(next(rates)))
    begun = begin("asymmetry", seeds=1, jobs=1, minutes=10.0, out=tmp_path)
    none, crops = (task.config.epochs * 12_000 for task in begun.tasks[1:3])
    share = 8 / (8 + 18 * (24 / 32) ** 2)
    needed = 6 * 15 + 5 * 3000 / 300 + 3000 / 150 + 20_000 * (5 / 300 + share / 150)
    assert 540 < needed < 600 < needed + 10_000 * (5 / 300 + share / 150)
    assert (none, crops) == pytest.approx((20_000, 20_000 * share))


def test_study_that_goes_on_keeps_its_images_and_measures_nothing(tmp_path: Path, measured: list[Config]) -> None:
    first = begin("loss-normalization", jobs=1, out=tmp_path)
    assert len(measured) == 4
    for asked in ({}, {"jobs": 1}, {"images": 20_000}):
        assert begin("loss-normalization", out=tmp_path, **asked).tasks == first.tasks
    assert len(measured) == 4
    content = json.loads((tmp_path / "budget.json").read_text())
    assert content["images_per_run"] == 20_000 and len(content["images_per_second"]) == 4
    more = begin("loss-normalization", seeds=4, out=tmp_path)
    assert more.tasks[: len(first.tasks)] == first.tasks
    with pytest.raises(
        ConfigError, match=r"another protocol: .*20,000 images per run.* there, .*30,000 images per run"
    ):
        begin("loss-normalization", out=tmp_path, images=30_000)
    with pytest.raises(ConfigError, match=r"was begun with 20,000 images per run. Go on without --minutes, or"):
        begin("loss-normalization", out=tmp_path, minutes=5.0)
    assert json.loads((tmp_path / "budget.json").read_text()) == content
    asked = begin("loss-normalization", out=tmp_path / "asked", images=777)
    assert asked.tasks[1].config.epochs * 12_000 == pytest.approx(777)
    assert begin("loss-normalization", out=tmp_path / "asked").tasks == asked.tasks
    timed = begin("loss-normalization", out=tmp_path / "timed", minutes=20.0, jobs=1)
    assert begin("loss-normalization", out=tmp_path / "timed", minutes=20.0).tasks == timed.tasks
    assert len(measured) == 8


@pytest.mark.parametrize("left", ["", "{torn", "{}", '{"images_per_run": "many"}'])
def test_study_whose_budget_is_gone_asks_for_the_images(left: str, tmp_path: Path, measured: list[Config]) -> None:
    first = begin("loss-normalization", jobs=1, out=tmp_path)
    (tmp_path / "budget.json").write_text(left)
    with pytest.raises(ConfigError, match=r"without a usable budget.json. Go on with the --images of its protocol.txt"):
        begin("loss-normalization", out=tmp_path)
    assert begin("loss-normalization", images=20_000, out=tmp_path).tasks == first.tasks
    assert begin("loss-normalization", out=tmp_path).tasks == first.tasks


def test_study_of_another_scale_has_its_own_epochs_unless_a_time_is_given(
    tmp_path: Path, measured: list[Config]
) -> None:
    begun = begin("loss-normalization", scale="small", data="sample", out=tmp_path / "a")
    assert {task.config.epochs for task in begun.tasks} == {10.0}
    assert not measured and not (tmp_path / "a" / "budget.json").exists()
    timed = {"minutes": 20.0, "jobs": 1}
    begun = begin("loss-normalization", scale="small", data="sample", out=tmp_path / "b", **timed)
    assert {task.config.epochs for task in begun.tasks} == {4_000 / 12_000}
    with pytest.raises(ConfigError, match=r"without a usable budget.json"):
        begin("loss-normalization", scale="small", data="sample", out=tmp_path / "a", **timed)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            {"minutes": 1.0},
            r"minutes 1 is too short for 12 runs, which take about 15 with 2,560 images each",
        ),
        ({"minutes": 0.0}, r"minutes must be a number above 0; found 0"),
        ({"minutes": math.nan}, r"minutes must be a number above 0; found nan"),
        ({"images": 63}, r"images must be at least 64, a batch for every variant; found 63"),
        ({"images": 5000, "minutes": 5.0}, r"Both minutes \(5\) and images \(5000\) are given"),
        ({"images": 5000, "settings": {"epochs": 1.0}}, r"settings give epochs, beside minutes or images"),
        ({"jobs": 0}, r"jobs must be at least 1; found 0"),
    ],
)
def test_study_refuses_a_budget_that_cannot_be(
    asked: dict[str, Any], told: str, tmp_path: Path, measured: list[Config]
) -> None:
    with pytest.raises(ConfigError, match=told):
        begin("loss-normalization", out=tmp_path / "out", **{"jobs": 1, **asked})
    assert not (tmp_path / "out").exists()


def test_study_refuses_fewer_images_than_a_batch(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"batch-size trains on batches of 256; folder .* has 40 images, which are too few"
    ):
        begin("batch-size", data=str(photos), out=tmp_path / "out")
    with pytest.raises(ConfigError, match=r"images must be at least 145, a batch for every variant; found 100"):
        begin("asymmetry", images=100, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
