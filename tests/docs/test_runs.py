"""Every headline result has a script in runs/: its head says what to expect, its commands parse, the ledger holds its numbers."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from byol.cli.main import parse
from byol.cli.pretrain import Pretrain
from byol.config import validate
from tests.docs.pages import PAGES, ROOT

SCRIPTS = sorted((ROOT / "runs").glob("*.sh"))
LEDGER = "".join((ROOT / "docs" / f"{page}.md").read_text() for page in ("results", "study-results", "speed"))
HEADLINES = re.findall(
    r"^\| (?!what \||---).*\|$", (ROOT / "docs/results.md").read_text().partition("\n## ")[0], re.MULTILINE
)


def head(script: Path) -> dict[str, str]:
    """Entries of a script's first comment, by their first word."""
    return dict(re.findall(r"^# (expected|time|hardware|results) +(.+)$", script.read_text(), re.MULTILINE))


def commands(script: Path) -> list[list[str]]:
    """The words of each command, continued lines joined, with 1 in place of every variable."""
    text = re.sub(r"\\\n\s*", "", script.read_text())
    text = re.sub(r"\$\{\w+[^}]*\}|\$\w+", "1", text)
    return [shlex.split(line) for line in text.splitlines() if re.match(r"\s*(byol|python) ", line)]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_script_says_what_to_expect(script: Path) -> None:
    assert set(head(script)) == {"expected", "time", "hardware", "results"}
    assert (ROOT / head(script)["results"].partition("#")[0]).exists()
    for number in re.findall(r"\d+\.\d+", head(script)["expected"]):
        assert re.search(rf"(?<![\d.]){re.escape(number)}(?![\d])", LEDGER), number
    assert f"runs/{script.name})" in LEDGER


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_script_has_commands_that_exist(script: Path) -> None:
    subprocess.run(["sh", "-n", str(script)], check=True)
    assert commands(script)
    for program, *words in commands(script):
        if program == "byol":
            options = parse(words[0], words[1:])
            if isinstance(options, Pretrain):
                validate(options.config)
        else:
            module = words[1].replace(".", "/") + ".py" if words[0] == "-m" else words[0]
            assert words[1] == "pytest" or (ROOT / module).exists(), module
        for name in words:
            if name.startswith("@") or name.startswith("tests/"):
                assert (ROOT / name.lstrip("@")).exists(), name


def test_scripts_that_pages_name_exist() -> None:
    named = {name for page in PAGES for name in re.findall(r"\bruns/([\w-]+\.sh)\b", page.read_text())}
    assert named == {script.name for script in SCRIPTS}


def test_every_headline_has_a_script() -> None:
    assert len(HEADLINES) > 12
    assert [line for line in HEADLINES if not re.search(r"\]\(\.\./runs/[\w-]+\.sh\) \|$", line)] == []
