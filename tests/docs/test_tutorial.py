"""The tutorial notebook runs, and what is shown of it is a whole run."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.docs.pages import ROOT

NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"


@pytest.mark.full
def test_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYOL_TUTORIAL_EPOCHS", "0.03")
    monkeypatch.setenv("BYOL_TUTORIAL_IMAGES", "200")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    for line in ("raw pixels", "random network", "the network that predicts it", "BYOL", "projections"):
        assert line in printed
    assert not any(output.get("name") == "stderr" for cell in notebook.cells for output in cell.get("outputs", []))


def test_tutorial_carries_the_outputs_of_one_run_in_order() -> None:
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 5
    assert {output.output_type for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert NOTEBOOK.stat().st_size < 1_000_000
