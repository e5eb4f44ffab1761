"""Training and test images with labels."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from byol.data.labelled import labelled_splits
from tests.conftest import encoded, picture


def test_folder_called_as_a_public_set_has_a_fifth_held_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the same images for training and test."""
    column = pa.array([encoded(picture(i)) for i in range(20)])
    (tmp_path / "cifar10").mkdir()
    pq.write_table(pa.table({"image": column, "label": [0, 1] * 10}), tmp_path / "cifar10" / "all.parquet")
    monkeypatch.chdir(tmp_path)
    train, test = labelled_splits("./cifar10")
    assert (len(train), len(test)) == (16, 4)
