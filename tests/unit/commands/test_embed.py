"""Embedding: the split that is asked for."""

from pathlib import Path

import pytest

import byol
from byol.cli.main import main
from byol.errors import ConfigError


def test_split_that_there_is_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no split 'valid'; there are train and test"):
        byol.embed("run", "sample", tmp_path / "vectors.npz", split="valid")  # pyright: ignore[reportArgumentType]
    with pytest.raises(SystemExit) as ended:
        main(["embed", "run", "--data", "sample", "--out", str(tmp_path / "vectors.npz"), "--split", "valid"])
    assert ended.value.code == 2
