"""Clusters against classes."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from byol.commands.evaluate import Result, evaluate
from byol.errors import DataError
from tests.conftest import encoded, picture


def test_cluster_of_one_class_is_refused_and_the_others_run(encoder: Path, tmp_path: Path) -> None:
    column = pa.array([encoded(picture(i)) for i in range(20)])
    for name, labels in (("train", [0, 1] * 10), ("test", [1] * 20)):
        pq.write_table(pa.table({"image": column, "label": labels}), tmp_path / f"{name}.parquet")
    done: list[Result] = []
    train, test = (str(tmp_path / f"{name}.parquet") for name in ("train", "test"))
    with pytest.raises(DataError, match=r"cluster needs test images of at least two classes; .* has one\."):
        evaluate(encoder, train, ("cluster", "knn"), test_data=test, budget="smoke", done=done.append)
    assert [result.protocol for result in done] == ["knn"]
