"""What has to hold on a GPU and how fast it is, in at most eight minutes, as one JSON object.

    PYTHONPATH=src python -m benchmarks.gpu_check [--seconds 480] [--out build/gpu_check.json]
    PYTHONPATH=src python -m benchmarks.gpu_check --device cpu

Needs no network and no images. Each section is a process of its own, cheapest first. One that fails, cannot run here or
lasts too long is an entry with its sentence, and the next begins. The file is written after each of them. With fewer `--seconds`
sections measure fewer rounds of smaller sets. `--device cpu` takes tiny sizes: it checks the script, and its speeds
mean nothing. The exit code is 1 where a section failed.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_section import FAILED, PASSED
from benchmarks.record import ROOT, Record
from byol.runtime.files import make_folder, write_json

SECONDS = 480
"""Longest time of the whole check, in seconds."""
FEWEST_SECONDS = 10
"""Least time that must be left for a section to begin, in seconds: Python, torch and CUDA take some of it."""
STRETCH = 2.5
"""Longest time of a section on a GPU, as a multiple of its share of the seconds, before it is stopped."""
NO_TIME, STOPPED = "not run", "stopped"


@dataclass(frozen=True)
class Planned:
    """A section and the time it should take."""

    function: str
    """MODULE:NAME of a `gpu_section.Section`."""
    seconds: float
    """Time of the section where the whole check has `SECONDS`."""


SECTIONS: dict[str, Planned] = {
    "machine": Planned("benchmarks.gpu_correctness:machine", 10),
    "views on a stream": Planned("benchmarks.gpu_correctness:views", 15),
    "too little memory": Planned("benchmarks.gpu_correctness:too_little_memory", 20),
    "ranks": Planned("benchmarks.gpu_correctness:two_ranks", 35),
    "kill and resume": Planned("benchmarks.gpu_correctness:kill_and_resume", 40),
    "tests of the device": Planned("benchmarks.gpu_correctness:device_tests", 45),
    "embed and evaluate": Planned("benchmarks.gpu_speed:embed_and_evaluate", 45),
    "training, ResNet-18, 32 px": Planned("benchmarks.gpu_speed:training_32", 50),
    "parity": Planned("benchmarks.gpu_correctness:parity_tests", 60),
    "training, ResNet-50, 224 px": Planned("benchmarks.gpu_speed:training_224", 80),
    "operators": Planned("benchmarks.gpu_speed:operators", 80),
}
"""Sections by name, cheapest first."""


def check(device: str, seconds: float, out: Path, sections: Mapping[str, Planned] = SECTIONS) -> Record:
    """Runs all sections, writes the record to `out` after each, and returns it."""
    began = time.monotonic()
    record: Record = {
        "benchmark": "gpu_check",
        "command": " ".join(["python", "-m", "benchmarks.gpu_check", *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%d"),
        "device": device,
        "seconds_given": seconds,
        "sections": {},
    }
    make_folder(out.parent)
    for name, planned in sections.items():
        left = seconds - (time.monotonic() - began)
        share = planned.seconds * seconds / SECONDS
        if left < min(FEWEST_SECONDS, seconds):
            entry = {"status": NO_TIME, "sentence": f"{seconds:g} seconds were too few: none was left for this section"}
        else:
            limit = left if device == "cpu" else min(left, max(STRETCH * share, 3 * FEWEST_SECONDS))
            entry = run_section(planned.function, device, share, limit)
        record["sections"][name] = entry
        record["seconds"] = round(time.monotonic() - began, 1)
        write_json(out, record)
        print(f"{record['seconds']:5.0f} s  {name}: {entry['status']}: {entry['sentence']}", flush=True)
    return record


def run_section(function: str, device: str, seconds: float, limit: float) -> dict[str, Any]:
    """The entry of a section that should take `seconds` and is stopped, with all its processes, after `limit` seconds."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        place, parts, said = (Path(folder) / name for name in ("place", "parts.jsonl", "said.txt"))
        place.mkdir()
        parts.touch()
        task = {"function": function, "device": device, "seconds": seconds, "place": str(place), "parts": str(parts)}
        began = time.monotonic()
        threads = {"OMP_NUM_THREADS": "1"} if device == "cpu" else {}  # tiny sizes, perhaps beside other tests
        code = _wait([sys.executable, "-m", "benchmarks.gpu_section", json.dumps(task)], threads, said, limit)
        took = time.monotonic() - began
        entry: dict[str, Any] = {"status": "", "sentence": "", "seconds": round(took, 1)}
        for line in parts.read_text().splitlines():
            with contextlib.suppress(ValueError):  # the last line of a process that was ended while it wrote
                entry |= json.loads(line)
        if not entry["status"]:
            last = (said.read_text(errors="replace").strip().splitlines() or ["it printed nothing"])[-1]
            ended = f"ended with code {code} ({last})"
            entry["sentence"] = (
                f"the section lasted more than {limit:.0f} s" if code is None else f"its process {ended}"
            )
            entry["status"] = STOPPED if code is None else FAILED
        return entry


def _wait(command: list[str], settings: dict[str, str], said: Path, limit: float) -> int | None:
    """The exit code of a command whose output goes to `said`; None where it lasted too long. No process of it is left."""
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    with said.open("wb") as stream:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path, **settings},
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return process.wait(limit)
        except subprocess.TimeoutExpired:
            return None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def free_file(folder: Path) -> Path:
    """The file gpu_check-1.json of `folder`, or that with the next free number."""
    number = 1
    while (path := folder / f"gpu_check-{number}.json").exists():
        number += 1
    return path


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="longest time of the whole check")
    parser.add_argument("--out", default="", help="the JSON file to write; default: build/gpu_check-1.json, -2, ...")
    chosen = parser.parse_args(arguments)
    out = Path(chosen.out) if chosen.out else free_file(ROOT / "build")
    if out.exists():
        parser.error(f"{out} exists already; choose another --out")
    if chosen.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no CUDA device here; --device cpu runs the check at tiny sizes")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that no section outlives this
    record = check(chosen.device, chosen.seconds, out)
    statuses = [entry["status"] for entry in record["sections"].values()]
    print(f"{statuses.count(PASSED)} of {len(statuses)} sections passed; the record is {out}")
    return int(any(status in (FAILED, STOPPED) for status in statuses))


if __name__ == "__main__":
    sys.exit(main())
