"""The blocks of docs/other-tools.md, each beside the tool that it names: `make test-other-tools`."""

import importlib.metadata
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import byol
from tests.docs.pages import PYTHON_BLOCK, ROOT

PAGE = ROOT / "docs" / "other-tools.md"
BEGINNING, *SECTIONS = PAGE.read_text().split("\n## ")
TOOLS = {section.split()[0]: section for section in SECTIONS}
STUDIO = "Lightly"
"""The tool that needs an environment of its own."""


def blocks(section: str) -> str:
    return "\n".join(PYTHON_BLOCK.findall(section))


@pytest.fixture
def names(photos: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the page's first block leaves, by an encoder without weights."""
    monkeypatch.chdir(photos.parent)
    first = blocks(BEGINNING).replace('"runs/photos"', '"pixels"')
    return run(first, {})


def run(block: str, names: dict[str, Any]) -> dict[str, Any]:
    exec(compile(block, PAGE.name, "exec"), names)
    return names


def test_page_names_the_version_that_is_tested() -> None:
    assert len(TOOLS) == 7 and all(re.search(r" \d+\.\d+$", section.splitlines()[0]) for section in SECTIONS)


@pytest.mark.other_tools
@pytest.mark.filterwarnings("ignore")  # of the tools themselves
@pytest.mark.parametrize("tool", [tool for tool in TOOLS if tool != STUDIO])
def test_block_runs(tool: str, names: dict[str, Any]) -> None:
    title = TOOLS[tool].splitlines()[0].split()
    distribution = {"FAISS": "faiss-cpu"}.get(title[0], title[0].lower())
    assert importlib.metadata.version(distribution).startswith(title[-1] + ".")
    left = run(blocks(TOOLS[tool]), names)
    found: byol.commands.embed.Embedding = left["found"]
    match tool:
        case "pandas":
            assert left["table"].shape == found.vectors.shape
        case "scikit-learn":
            assert set(left["clusters"]) == set(range(5))
        case "FAISS" | "hnswlib":
            assert np.ravel(left["rows"])[0] == 0 and left["rows"].shape == (1, 5)
        case "cleanlab":
            assert set(left["wrong"]) < set(found.files)
        case _:
            assert left["dataset"].count() == len(found.files)
            assert left["dataset"].load_brain_results("similar").total_index_size == len(found.files)


@pytest.mark.other_tools
@pytest.mark.filterwarnings("ignore")  # of the tools themselves
def test_block_of_lightly_studio_runs(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos.parent)
    found = byol.embed("pixels", "photos", "vectors.npz")
    left = run(blocks(TOOLS[STUDIO]), {})
    assert len(list(left["dataset"])) == len(found.files)
