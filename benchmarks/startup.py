"""How long one waits: for `byol --help`, for `import byol`, and for the first step of `byol demo`.

    python -m benchmarks.startup

Each is a process of its own, from its start to its end; the demo until the first line of its metrics is written, then
it is stopped.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.record import ROOT, Record, alternate, arguments, publish, record

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
GOALS = {"byol --help": 0.5, "import byol": 0.1, "byol demo, first step": 10.0}


def whole(*command: str) -> float:
    """Seconds that a Python command takes."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *command], env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def first_step() -> float:
    """Seconds until the demo has made its first step."""
    with tempfile.TemporaryDirectory() as place:
        metrics = Path(place) / "run" / "metrics.jsonl"
        began = time.perf_counter()
        command = [sys.executable, "-m", "byol", "demo", "--out", str(metrics.parent)]
        process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
        while process.poll() is None and not (metrics.exists() and metrics.stat().st_size):
            time.sleep(0.01)
        seconds = time.perf_counter() - began
        if process.poll() is not None:
            raise RuntimeError(f"the demo ended with code {process.returncode} before its first step")
        process.send_signal(signal.SIGKILL)
        process.wait()
    return seconds


def measure(rounds: int, *, demo: bool = True) -> Record:
    bare = whole("-c", "pass")
    rows = {
        "byol --help": lambda: whole("-m", "byol", "--help"),
        "import byol": lambda: max(0.0, whole("-c", "import byol") - bare),
        **({"byol demo, first step": first_step} if demo else {}),
    }
    return record(
        "startup",
        "Waiting times; of the import without the start of Python",
        "s",
        alternate(rows, rounds),
        details={name: {"goal": GOALS[name]} for name in rows},
    )


if __name__ == "__main__":
    chosen = arguments(__doc__, rounds=5).parse_args()
    publish(measure(chosen.rounds), chosen.out)
