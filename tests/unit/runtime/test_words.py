"""Counted nouns, and commands as the user started them."""

import shutil
import sys
from pathlib import Path

import pytest

from byol.runtime.words import command, counted


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 channels"), (1, "1 channel"), (3, "3 channels"), (1200, "1,200 channels")]
)
def test_counted_nouns_have_their_number(count: int, words: str) -> None:
    assert counted(count, "channel") == words


@pytest.mark.parametrize(
    ("started", "found", "words"),
    [
        ("/usr/bin/byol", "/usr/bin/byol", "byol"),
        (".venv/bin/byol", None, ".venv/bin/byol"),
        (".venv/bin/byol", "/usr/bin/byol", ".venv/bin/byol"),
        ("/my tools/byol", None, "'/my tools/byol'"),
        ("/lib/site-packages/byol/__main__.py", sys.executable, "python -m byol"),
        ("/lib/site-packages/byol/__main__.py", None, f"{sys.executable} -m byol"),
        ("script.py", None, "byol"),
        ("", None, "byol"),
    ],
)
def test_commands_start_as_the_user_started_this_one(
    started: str, found: str | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [started])
    monkeypatch.setattr(shutil, "which", lambda name: found)
    assert command("report", Path("my runs/1")) == f"{words} report 'my runs/1'"
