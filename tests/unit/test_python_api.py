"""What is called from Python, as people call it: one name in place of a list, names whose library is missing."""

import sys
from pathlib import Path

import pytest

import byol
from byol.commands.transfer import transfer
from byol.errors import ConfigError, DependencyError


def test_one_protocol_and_one_set_may_be_a_word(photos: Path, tmp_path: Path) -> None:
    (result,) = byol.evaluate_encoder("pixels", str(photos), "knn", budget="smoke", out=tmp_path)
    assert result.protocol == "knn"
    (row,) = transfer("pixels", f"own={photos}", budget="smoke", out=tmp_path)
    assert row.record is not None and row.record["set"] == "own"
    with pytest.raises(ConfigError, match="at least one protocol of knn, linear"):
        byol.evaluate_encoder("pixels", str(photos), [], out=tmp_path)


def test_names_whose_library_is_missing_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    monkeypatch.delitem(sys.modules, "byol.commands.estimator", raising=False)
    assert hasattr(byol, "Estimator")
    found: dict[str, type] = {}
    exec("from byol import *", found)
    with pytest.raises(DependencyError, match="needs scikit-learn, which is not installed"):
        found["Estimator"](epochs=1)
    assert not hasattr(byol, "Estimators")
