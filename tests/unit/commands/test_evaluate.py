"""Evaluations: protocols on pictures that colours tell apart, records, baselines, refusals."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import byol
from byol.commands.evaluate import Result, evaluate
from byol.errors import ByolError, ConfigError, DataError, RunError
from byol.evaluate import probes
from byol.evaluate.protocols import semi
from byol.evaluate.protocols.options import (
    PROTOCOLS,
    FewLabelsOptions,
    KnnOptions,
    LinearOptions,
    ProtocolOptions,
    SemiOptions,
)
from byol.evaluate.protocols.protocol import Job
from tests.conftest import SMALL, encoded, picture


def test_every_protocol_learns_colours_and_writes_its_record(encoder: Path, colours: Path) -> None:
    before = {file.name: file.read_bytes() for file in encoder.iterdir()}
    options = ProtocolOptions(semi=SemiOptions(per_class=12))
    results = evaluate(encoder, str(colours), tuple(PROTOCOLS), options=options)
    assert [result.protocol for result in results] == list(PROTOCOLS)
    for result in results:
        assert result.score.value > (40 if result.protocol == "cluster" else 60), result.protocol
        assert result.score.low <= result.score.value <= result.score.high
        record = json.loads(result.path.read_text())
        assert record["metrics"][next(iter(result.metrics))]["value"] == result.score.value
        assert record["test"]["num_images"] == 30
        assert len(record["test"]["fingerprint"]) == 18
        assert record["differs"], "none of these is the paper's own"
        assert "top-5" not in result.metrics, "of three classes"
    assert results[list(PROTOCOLS).index("semi")].path.name == "semi-12-per-class.json"
    assert before == {file.name: file.read_bytes() for file in encoder.iterdir() if file.is_file()}


def test_test_labels_choose_nothing(encoder: Path, colours: Path) -> None:
    protocols = ["knn", "linear", "linear-fast", "few-labels", "semi", "finetune"]
    options = ProtocolOptions(semi=SemiOptions(fraction=0.5))
    plain = evaluate(encoder, str(colours), protocols, options=options)
    (colours / "test" / "red").rename(colours / "test" / "spare")
    (colours / "test" / "blue").rename(colours / "test" / "red")
    (colours / "test" / "spare").rename(colours / "test" / "blue")
    turned = evaluate(encoder, str(colours), protocols, options=options)
    for one, other in zip(plain, turned, strict=True):
        assert one.record["settings"] == other.record["settings"]
        assert one.record["extras"] == other.record["extras"]
        assert one.score.value > other.score.value


def test_few_labels_are_as_many_as_asked_for(encoder: Path, colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    fit = probes.fit_linear

    def fitted(features: torch.Tensor, labels: torch.Tensor, **settings: Any) -> Any:
        seen.extend(labels.bincount().tolist())
        return fit(features, labels, **settings)

    monkeypatch.setattr(probes, "fit_linear", fitted)
    options = ProtocolOptions(few_labels=FewLabelsOptions(per_class=3))
    (few,) = evaluate(encoder, str(colours), ["few-labels"], options=options)
    assert seen == [3] * 15  # three classes, five draws
    assert few.path.name == "few-labels-3-per-class.json" and few.record["settings"]["per_class"] == 3
    assert few.score.value > 50  # by chance 33
    (again,) = evaluate(encoder, str(colours), ["few-labels"], budget="smoke")
    assert again.path.name == "few-labels.json" and again.record["settings"]["draws"] == 1
    (all_images,) = evaluate(
        encoder, str(colours), ["few-labels"], options=ProtocolOptions(few_labels=FewLabelsOptions(500))
    )
    assert few.record["caution"] == "" and "fewer than 500 training images" in all_images.record["caution"]
    with pytest.raises(ConfigError, match="at least 2"):
        evaluate(encoder, str(colours), ["few-labels"], options=ProtocolOptions(few_labels=FewLabelsOptions(1)))


def test_same_seed_gives_the_same_result(encoder: Path, colours: Path) -> None:
    found = [evaluate(encoder, str(colours), ["finetune"], budget="smoke", seed=seed)[0] for seed in (1, 1, 2)]
    assert found[0].record["extras"] == found[1].record["extras"]
    assert found[0].metrics == found[1].metrics


def test_features_are_read_once_for_all_protocols(
    encoder: Path, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from byol.commands import evaluate as command

    read, extract = [], command.extract
    monkeypatch.setattr(command, "extract", lambda *a, **k: read.append(a[1].description) or extract(*a, **k))
    monkeypatch.setattr(command, "MOST_COMPARED", 0)
    evaluate(encoder, str(colours), ["knn", "linear-fast", "retrieval", "cluster"])
    assert len(read) == 2


def test_baselines_by_name(colours: Path, tmp_path: Path) -> None:
    (pixels,) = evaluate("pixels", str(colours), ["knn"], out=tmp_path / "pixels")
    assert pixels.record["num_features"] == 3 * 16 * 16
    assert pixels.path == tmp_path / "pixels" / "evaluation" / "knn.json"
    one, other = (
        evaluate("timm:resnet10t", str(colours), ["knn"], out=tmp_path / "timm", seed=seed)[0] for seed in (0, 0)
    )
    assert one.record["network"] == "untrained, eval mode"
    assert one.metrics == other.metrics


def test_results_of_a_baseline_stay_when_it_is_measured_on_other_images(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(colours, tmp_path / "more" / "colours")
    for data, name in (("colours", "colours"), ("./more/colours/", "more-colours"), (str(colours), None)):
        (result,) = evaluate("pixels", data, "knn", budget="smoke")
        assert name is None or result.path == Path(f"runs/pixels/{name}/evaluation/knn.json")
    assert len(list(Path("runs/pixels").glob("*/evaluation/knn.json"))) == 3


def test_target_network_is_named_and_is_another_one(photos: Path, tmp_path: Path) -> None:
    run = byol.pretrain(photos, epochs=2, out=tmp_path / "run", overrides=SMALL, say=lambda _: None)
    online, target = (
        evaluate(run.path, str(photos), ["linear-fast"], network=network)[0] for network in ("online", "target")
    )
    assert online.record["network"].startswith("online")
    assert target.record["network"].startswith("target")
    assert target.path.name == "linear-fast-target.json"
    (view,) = evaluate(
        run.path,
        str(photos),
        ["linear"],
        budget="smoke",
        options=ProtocolOptions(linear=LinearOptions(pretraining_views=True)),
    )
    assert view.record["variant"] == "pretraining-views"


@pytest.mark.parametrize(
    ("encoder_name", "protocol", "options", "said"),
    [
        ("pixels", "finetune", {}, "pixels has no weights to train"),
        ("hog", "finetune", {}, "hog has no weights to train"),
        ("{encoder}", "kn", {}, "no protocol 'kn'. Did you mean 'knn'"),
        (
            "{encoder}",
            "linear",
            {"linear": LinearOptions(pretraining_views=True)},
            "the augmentations of this encoder's training are not recorded",
        ),
        ("{encoder}", "semi", {"semi": SemiOptions(fraction=1.5)}, "semi.fraction must be above 0 and at most 1"),
        ("{encoder}", "semi", {"semi": SemiOptions(per_class=-3)}, "semi.per_class must be 0 .* or more; found -3"),
        ("{encoder}", "semi", {"semi": SemiOptions(subset="nowhere.txt")}, "nowhere.txt cannot be read"),
        ("{encoder}", "knn", {"knn": KnnOptions(k=-5)}, "knn.k and knn.temperature must be 0 .* found -5 and 0"),
        ("{encoder}", "knn", {"knn": KnnOptions(temperature=-0.1)}, "found 0 and -0.1"),
        ("timm:resnet10t:best", "knn", {}, "write timm:resnet10t or timm:resnet10t:pretrained"),
        ("nowhere", "knn", {}, "holds no encoder.json"),
    ],
)
def test_bad_request_is_one_sentence(
    encoder: Path, colours: Path, encoder_name: str, protocol: str, options: dict, said: str
) -> None:
    with pytest.raises(ByolError, match=said):
        evaluate(encoder_name.format(encoder=encoder), str(colours), [protocol], options=ProtocolOptions(**options))


def test_one_protocol_that_fails_keeps_no_other_from_running(
    encoder: Path, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(job: Job) -> None:
        raise DataError("too few")

    monkeypatch.setattr(semi, "semi", fail)
    said, done = list[str](), list[Result]()
    with pytest.raises(DataError, match="too few"):
        evaluate(encoder, str(colours), ["semi", "knn"], budget="smoke", workers=0, say=said.append, done=done.append)
    assert said[2:] == ["semi: too few"] and [result.protocol for result in done] == ["knn"]


def test_results_of_other_images_or_budgets_are_moved_not_lost(encoder: Path, colours: Path) -> None:
    for budget in ("smoke", "default", "smoke"):
        evaluate(encoder, str(colours), "knn", budget=budget, workers=0)
    earlier = [json.loads((encoder / "evaluation" / "earlier" / f"knn-{n}.json").read_text()) for n in (1, 2)]
    newest = json.loads((encoder / "evaluation" / "knn.json").read_text())
    assert [record["budget"] for record in (*earlier, newest)] == ["smoke", "default", "smoke"]


def test_unknown_names_and_the_same_images_twice_are_refused(encoder: Path, colours: Path) -> None:
    with pytest.raises(ConfigError, match="There is no budget 'Paper'; there are paper, default, smoke"):
        evaluate(encoder, str(colours), "knn", budget="Paper")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="There is no network 'Target'; there are online, target"):
        evaluate(encoder, str(colours), "knn", network="Target")  # pyright: ignore[reportArgumentType]
    train = str(colours / "train")
    with pytest.raises(DataError, match="Training and test images are both"):
        evaluate(encoder, train, "knn", test_data=f"{train}/")


def test_results_that_cannot_be_written_are_told_before_the_work(
    encoder: Path, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from byol.commands import evaluate as command

    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(command, "make_job", lambda *given: pytest.fail("worked first"))
    with pytest.raises(RunError, match=r"cannot be created \(Not a directory\)"):
        evaluate(encoder, str(colours), ["knn"], out=tmp_path / "file" / "results")


def test_network_target_of_an_encoder_alone_is_refused(encoder: Path, colours: Path) -> None:
    with pytest.raises(ByolError, match="has no target network"):
        evaluate(encoder, str(colours), ["knn"], network="target")


def test_labels_that_do_not_allow_it_are_one_sentence(encoder: Path, colours: Path, tmp_path: Path) -> None:
    column = pa.array([encoded(picture(i)) for i in range(20)])
    pq.write_table(pa.table({"image": column, "label": pa.array([4] * 20)}), tmp_path / "one.parquet")
    with pytest.raises(ByolError, match="has one class only"):
        evaluate(encoder, str(tmp_path / "one.parquet"), ["knn"])
    (colours / "train" / "red").rename(tmp_path / "red")
    with pytest.raises(ByolError, match=r"test has classes that .*train has not: red\. "):
        evaluate(encoder, str(colours), ["knn"])
    with pytest.raises(ByolError, match="has no labels"):
        evaluate(encoder, str(colours / "train" / "blue"), ["knn"])
