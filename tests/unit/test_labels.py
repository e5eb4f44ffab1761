"""Labels that are sparse numbers, or too few to hold some out: what is measured, and what is said before any work."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.nn import functional

import byol
from byol.commands.evaluate import evaluate
from byol.data.arrays import ArrayImages
from byol.data.labelled import labelled_splits
from byol.encoder.encoder import EncoderDescription
from byol.engine.metrics import read_metrics
from byol.errors import ConfigError, DataError, EncoderError
from byol.evaluate.online import OnlineProbe
from byol.evaluate.protocols import finetune, semi, training
from byol.evaluate.protocols.options import SemiOptions
from byol.evaluate.protocols.protocol import Job
from byol.evaluate.transfer_sets import TRANSFER_SETS
from byol.report.classes import class_table
from byol.report.look import Sample
from byol.report.write import _points
from tests.conftest import SMALL, encoded, picture

TAXA = np.array([7, 48_460, 1_500_000_000_000])


def table(path: Path, labels: list[int]) -> str:
    """Pictures in a parquet file, brighter from class to class."""
    places = np.unique(labels, return_inverse=True)[1]
    images = [encoded((picture(i, 16, 16) // 3 + 60 * place).astype(np.uint8)) for i, place in enumerate(places)]
    pq.write_table(pa.table({"image": images, "label": labels}), path)
    return str(path)


def pixels(labels: np.ndarray) -> ArrayImages:
    return ArrayImages(np.zeros((len(labels), 8, 8, 3), np.uint8), labels, description="pictures")


def test_sparse_class_numbers_are_measured_as_dense_ones(tmp_path: Path) -> None:
    number = np.arange(30) % 3
    protocols = ["knn", "linear-fast", "cluster"]
    dense, sparse = (
        evaluate("pixels", table(tmp_path / f"{name}.parquet", labels.tolist()), protocols, out=tmp_path / name)
        for name, labels in (("dense", number), ("sparse", TAXA[number]))
    )
    assert [result.metrics for result in sparse] == [result.metrics for result in dense]


def test_sparse_classes_keep_their_numbers_as_names_and_a_foreign_one_is_refused(tmp_path: Path) -> None:
    train = table(tmp_path / "train.parquet", TAXA[np.arange(12) % 3].tolist())
    parts = labelled_splits(train, table(tmp_path / "test.parquet", TAXA[[2, 0, 2]].tolist()))
    assert parts[0].labels is not None and parts[1].labels is not None
    assert parts[0].labels.tolist() == [0, 1, 2] * 4
    assert parts[1].labels.tolist() == [2, 0, 2]
    assert parts[0].class_names == parts[1].class_names == [str(number) for number in TAXA]
    with pytest.raises(DataError, match=r"test\.parquet has classes that .*train\.parquet has not: 8\."):
        labelled_splits(train, table(tmp_path / "test.parquet", [7, 8]))


def test_report_of_sparse_classes_keeps_their_numbers() -> None:
    number = torch.arange(60) % 3
    unit = functional.normalize(torch.eye(5)[number] + 0.8 * torch.randn(60, 5, generator=torch.Generator()))
    dense, sparse = class_table(unit, number), class_table(unit, torch.from_numpy(TAXA)[number])
    assert sparse.classes == TAXA.tolist()
    assert (sparse.score, sparse.confusion, sparse.recall) == (dense.score, dense.confusion, dense.recall)
    points = _points(Sample(pixels(TAXA[[0, 2]]), np.arange(2), {0: np.zeros(1), 1: np.zeros(1)}))
    assert [points["classes"][label] for label in points["labels"]] == ["class 7", "class 1500000000000"]


def test_online_probe_of_sparse_classes_is_that_of_dense_ones() -> None:
    images, number = np.stack([picture(i, 8, 8) for i in range(30)]), np.arange(30) % 3
    description = EncoderDescription(None, {}, 192, 3, 8, (0.5,) * 3, (0.25,) * 3, False)
    dense, sparse = (
        OnlineProbe.create(ArrayImages(images, labels), description, torch.device("cpu"))(torch.nn.Flatten())
        for labels in (number, TAXA[number])
    )
    assert sparse == dense


def test_online_classifier_of_sparse_classes_is_that_of_dense_ones(tmp_path: Path) -> None:
    images, number = np.stack([picture(i, 16, 16) for i in range(32)]), np.arange(32) % 3
    overrides = {**SMALL, "method.online_classifier": True}
    dense, sparse = (
        byol.pretrain(
            ArrayImages(images, labels), epochs=1, out=tmp_path / name, overrides=overrides, say=lambda _: None
        )
        for name, labels in (("dense", number), ("sparse", TAXA[number]))
    )
    names = ("classifier_loss", "classifier_accuracy", "loss")
    rows = [
        [[row[name] for name in names] for row in read_metrics(run.path / "metrics.jsonl")] for run in (dense, sparse)
    ]
    assert rows[0] == rows[1]


def test_online_probe_that_cannot_hold_out_is_refused_before_the_training(tmp_path: Path) -> None:
    data = table(tmp_path / "pairs.parquet", [number // 2 for number in range(32)])
    overrides = {**SMALL, "online_probe_epochs": 1}
    with pytest.raises(
        ConfigError, match=r"at least 3 images; the largest of the 16 classes of .* has 2\. Set it to 0"
    ):
        byol.pretrain(data, epochs=1, out=tmp_path / "run", overrides=overrides, say=lambda _: None)


@pytest.mark.parametrize("protocol", ["knn", "linear", "linear-fast", "finetune"])
def test_nothing_to_choose_on_is_said_before_the_work(
    protocol: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from byol.commands import evaluate as command

    monkeypatch.setattr(command, "extract", lambda *a, **k: pytest.fail("worked first"))
    train, test = (table(tmp_path / f"{part}.parquet", list(range(16))) for part in ("train", "test"))
    with pytest.raises(DataError, match=r"has 16 images to train on and 0 to choose settings on; both are needed"):
        evaluate("timm:resnet10t", train, protocol, test_data=test, out=tmp_path)
    with pytest.raises(DataError, match=r"has one image of each class, so none can be held out as a test"):
        evaluate("timm:resnet10t", train, protocol, out=tmp_path)


def test_neighbours_that_are_given_need_nothing_to_choose_on(tmp_path: Path) -> None:
    train, test = (table(tmp_path / f"{part}.parquet", list(range(16))) for part in ("train", "test"))
    (result,) = evaluate("pixels", train, "knn", budget="smoke", test_data=test, out=tmp_path)
    assert result.score.value == 100


def test_validation_part_leaves_out_classes_of_one_image_alone() -> None:
    labels = np.array([0] * 50 + [1] * 7 + [2])
    part = TRANSFER_SETS["pets"].validation_part(labels, 0)
    assert np.bincount(labels[part], minlength=3).tolist() == [20, 3, 0]


def test_semi_chooses_on_the_one_image_per_class_that_is_not_labelled() -> None:
    source = pixels(np.repeat([0, 1, 2], 5))
    job = SimpleNamespace(train=source, budget="default", seed=0)
    given = semi.labelled_part(source, SemiOptions(per_class=4), 0)
    labelled, validation = semi._with_validation(job, given)  # pyright: ignore[reportArgumentType]
    assert sorted([*labelled.indices, *validation.indices]) == list(range(15))
    assert len(validation) == 3
    job = SimpleNamespace(train=pixels(np.arange(3)), budget="default", seed=0)
    with pytest.raises(DataError, match="has one image of each class, all of them labelled"):
        semi._with_validation(job, semi.labelled_part(job.train, SemiOptions(per_class=1), 0))  # pyright: ignore[reportArgumentType]


def test_validation_part_that_is_all_images_is_refused() -> None:
    job = SimpleNamespace(train=pixels(np.arange(4) % 2), validation=np.arange(4), seed=0)
    with pytest.raises(DataError, match="pictures has 0 images to train on and 4 to choose settings on"):
        Job.held_out(job, 0.1)  # pyright: ignore[reportArgumentType]


def test_cell_whose_logits_explode_counts_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(finetune.RATES, "smoke", (0.5, 0.01))
    scores, calls = training.scores, list[object]()

    def explode_once(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 1:
            raise EncoderError("The encoder gives values that are not finite or beyond 1e+15.")
        return scores(*arguments)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(training, "scores", explode_once)
    data = table(tmp_path / "images.parquet", [number % 2 for number in range(30)])
    (result,) = evaluate("timm:resnet10t", data, "finetune", budget="smoke", out=tmp_path)
    first, second = result.record["extras"]["validation"]
    assert (first["accuracy"], result.record["settings"]["rate"]) == (0.0, 0.01)
    assert "1e+15" in first["failed"] and "failed" not in second
