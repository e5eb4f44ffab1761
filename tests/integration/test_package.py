"""What is shipped: the sdist, the wheel made from it, and a clean installation of that."""

import json
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXTRAS = {"all-maps", "tensorboard", "wandb", "browser", "onnx", "docs", "dev"}
SHIPPED = {
    "byol/nets/compiled/fused_norm.cpp",
    "byol/nets/compiled/maps.h",
    "byol/views/views.cpp",
    "byol/py.typed",
    "byol/report/page_files/page.html",
    "byol/explore/page_files/explore.js",
    "byol/data/sample_files/LICENSE",
}


def run(*command: str | Path, cwd: Path) -> str:
    ended = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=1800)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.full
def test_sdist_and_wheel_install_in_a_clean_environment(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    files = run("git", "ls-files", cwd=ROOT).splitlines()
    with tarfile.open(tmp_path / "tree.tar", "w") as tree:
        for file in files:
            tree.add(ROOT / file, file)
    with tarfile.open(tmp_path / "tree.tar") as tree:
        tree.extractall(tmp_path / "source", filter="data")
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", "setuptools>=77", cwd=tmp_path)
    build = f"from setuptools import build_meta; build_meta.build_sdist({str(tmp_path)!r})"
    run(python, "-c", build, cwd=tmp_path / "source")
    (sdist,) = tmp_path.glob("byol-*.tar.gz")
    run(python, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, sdist, cwd=tmp_path)
    (wheel,) = tmp_path.glob("byol-*.whl")
    with zipfile.ZipFile(wheel) as content:
        names = set(content.namelist())
        about = next(content.read(name).decode() for name in names if name.endswith("METADATA"))
    assert names >= SHIPPED
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in names)
    for line in (
        "Name: byol",
        "Summary: Bootstrap Your Own Latent",
        "License-Expression: Apache-2.0",
        "License-File: LICENSE",
        "License-File: src/byol/data/sample_files/LICENSE",
        "Author: ",
        "Keywords: ",
        "Classifier: Typing :: Typed",
        "Requires-Python: >=3.11",
        "Description-Content-Type: text/markdown",
        "# byol",
    ):
        assert line in about, line
    assert set(re.findall(r"^Provides-Extra: (\S+)$", about, re.MULTILINE)) == EXTRAS
    assert "Project-URL" not in about  # there is no public place to name
    run(python, "-m", "pip", "install", "-q", wheel, "-c", ROOT / "constraints.txt", cwd=tmp_path)
    every = f"byol[{','.join(sorted(EXTRAS))}] @ {wheel.as_uri()}"
    resolve = ("install", "-q", "--dry-run", every, "-c", ROOT / "constraints.txt")
    run(python, "-m", "pip", *resolve, cwd=tmp_path)
    byol = tmp_path / "venv" / "bin" / "byol"
    assert "pretrain" in run(byol, "--help", cwd=tmp_path)
    assert "written to" in run(byol, "preview", "--data", "sample", "--recipe", "sample", cwd=tmp_path)
    settings = ("--epochs", "0.02", "--out", "run", "--encoder.width", "0.125")
    said = run(byol, "pretrain", "--data", "sample", "--recipe", "sample", *settings, cwd=tmp_path)
    assert "finished" in said
    assert json.loads((tmp_path / "run" / "run.json").read_text())["derived"]["kernels"] == "fused"
    assert (tmp_path / "run" / "report.html").stat().st_size > 1_000_000
