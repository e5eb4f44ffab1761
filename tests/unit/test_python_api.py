"""What is called from Python, as people call it: one name in place of a list."""

from pathlib import Path

import pytest

import byol
from byol.commands.transfer import transfer
from byol.errors import ConfigError


def test_one_protocol_and_one_set_may_be_a_word(photos: Path, tmp_path: Path) -> None:
    (result,) = byol.evaluate_encoder("pixels", str(photos), "knn", budget="smoke", out=tmp_path)
    assert result.protocol == "knn"
    (row,) = transfer("pixels", f"own={photos}", budget="smoke", out=tmp_path)
    assert row.record is not None and row.record["set"] == "own"
    with pytest.raises(ConfigError, match="at least one protocol of knn, linear"):
        byol.evaluate_encoder("pixels", str(photos), [], out=tmp_path)


def test_names_that_do_not_exist_are_refused() -> None:
    assert hasattr(byol, "Estimator")
    assert not hasattr(byol, "Estimators")
