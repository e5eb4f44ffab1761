"""The tests on every Python found, with the newest and with the oldest dependencies of pyproject.toml.

    python tools/test_matrix.py [--pythons 3.11 3.13] [--out build/matrix] [-- ARGUMENTS OF PYTEST]

Each pair has an environment of its own, which is removed after its tests. The oldest dependencies are those at pyproject.toml's
lower bounds, on the oldest Python alone: they were never built for later ones. A warning is no failure here. Output of the
tests goes to OUT/PYTHON-RESOLUTION.log, one line of JSON for each pair to OUT/matrix.jsonl. Needs `pip install uv`.
"""

import argparse
import json
import shutil
import subprocess
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
SHOWN = ("torch", "torchvision", "timm", "numpy", "pillow", "pyarrow")


def interpreter(version: str) -> str | None:
    """Path of a Python of this version: on the path or one of pyenv's."""
    pyenv = sorted((Path.home() / ".pyenv/versions").glob(f"{version}.*/bin/python"))
    for path in (*map(str, pyenv), shutil.which(f"python{version}")):
        if path and subprocess.run([path, "--version"], capture_output=True, check=False).returncode == 0:
            return path
    return None


def tested(version: str, python: str, resolution: str, out: Path, arguments: Sequence[str]) -> dict[str, Any]:
    """Runs the tests in a new environment: versions, exit code and last line of pytest."""
    place = out / f"{version}-{resolution}"
    requirements, log = (out / f"{place.name}.{ending}" for ending in ("txt", "log"))
    compiled = [
        "uv", "pip", "compile", "--quiet", "pyproject.toml", "--extra", "dev", "--resolution", resolution,
        "--python-version", version, "--output-file", requirements,
    ]  # fmt: skip
    install = ["uv", "pip", "install", "--quiet", "--python", place / "bin/python"]
    tests = [place / "bin/python", "-m", "pytest", "--numprocesses", "2", "--dist", "worksteal", "-W", "default"]
    subprocess.run(compiled, check=True)
    subprocess.run(["uv", "venv", "--quiet", "--clear", "--python", python, place], check=True)
    subprocess.run([*install, "--requirement", requirements], check=True)
    subprocess.run([*install, "--no-deps", "--editable", "."], check=True)
    with log.open("w") as stream:
        code = subprocess.run([*tests, *arguments], stdout=stream, stderr=subprocess.STDOUT, check=False).returncode
    lines = log.read_text().splitlines() or [""]
    pairs = (line.split("==") for line in requirements.read_text().splitlines() if "==" in line)
    versions = {name: found.split()[0] for name, found in pairs if name in SHOWN}
    shutil.rmtree(place)
    named = {"date": date.today().isoformat(), "python": version, "dependencies": resolution}
    return {**named, **versions, "exit code": code, "tests": lines[-1]}


def main(arguments: Sequence[str] | None = None) -> None:
    """Tests each pair in turn and prints its line; the exit code is 1 where one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pythons", nargs="+", default=PYTHONS, choices=PYTHONS)
    parser.add_argument("--out", type=Path, default=Path("build/matrix"))
    parser.add_argument("pytest", nargs="*", help="arguments of pytest")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    failed = False
    for version in options.pythons:
        python = interpreter(version)
        if python is None:
            print(f"Python {version}: not found")
            continue
        for resolution in ("lowest-direct", "highest") if version == PYTHONS[0] else ("highest",):
            row = tested(version, python, resolution, options.out.absolute(), options.pytest)
            with (options.out / "matrix.jsonl").open("a") as ledger:
                ledger.write(json.dumps(row) + "\n")
            print(row, flush=True)
            failed |= row["exit code"] != 0
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
