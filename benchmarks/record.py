"""What every benchmark writes: one JSON object with rows, ratios, machine, versions, seed and command.

Rows are measured in alternating rounds, so that a machine that drifts drifts for all of them; a ratio is only ever taken
between two rows of one run. `times_better` says how many times as fast (or as small) the first row is as the second.
"""

import argparse
import contextlib
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from byol.runtime.hardware import describe_machine

ROOT = Path(__file__).parent.parent
Record = dict[str, Any]


def arguments(description: str | None, *, rounds: int = 3) -> argparse.ArgumentParser:
    """The options that all benchmarks share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="", help="write the JSON object to this file too")
    parser.add_argument("--rounds", type=int, default=rounds, help="how often each row is measured")
    parser.add_argument("--seconds", type=float, default=math.inf, help="trainings: no round that would end later")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def alternate(rows: Mapping[str, Callable[[], Any]], rounds: int, seconds: float = math.inf) -> dict[str, list[Any]]:
    """What each row gives, round by round: a b c, a b c, ... No round begins that would not end within `seconds`."""
    found: dict[str, list[Any]] = {name: [] for name in rows}
    began = time.perf_counter()
    for number in range(rounds):
        spent = time.perf_counter() - began
        if number and spent * (number + 1) / number > seconds:
            break
        for name, measure in rows.items():
            found[name].append(measure())
            print(f"{time.perf_counter() - began:6.0f} s  round {number + 1}: {name}", file=sys.stderr)
    return found


def timed(call: Callable[[], Any]) -> Callable[[], float]:
    """`call` as a row: the seconds that it takes."""

    def seconds() -> float:
        began = time.perf_counter()
        call()
        return time.perf_counter() - began

    return seconds


def record(
    benchmark: str,
    what: str,
    unit: str,
    values: Mapping[str, Sequence[float]],
    *,
    higher_is_better: bool = False,
    ratios: Iterable[tuple[str, str]] = (),
    settings: Mapping[str, Any] | None = None,
    details: Mapping[str, Mapping[str, Any]] | None = None,
    seed: int = 0,
) -> Record:
    """The JSON object of one run. `details` adds numbers to rows; pairs of which a row is missing give no ratio."""
    rows = [
        {
            "name": name,
            "median": rounded(statistics.median(row)),
            "min": rounded(min(row)),
            "max": rounded(max(row)),
            "n": len(row),
            "values": [rounded(value) for value in row],
            **(details or {}).get(name, {}),
        }
        for name, row in values.items()
    ]
    return {
        "benchmark": benchmark,
        "what": what,
        "command": " ".join(["python", "-m", f"benchmarks.{benchmark}", *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%d"),
        "machine": {**describe_machine(torch.device("cpu")), "num_threads": torch.get_num_threads()},
        "seed": seed,
        "settings": dict(settings or {}),
        "unit": unit,
        "higher_is_better": higher_is_better,
        "rows": rows,
        "times_better": {
            f"{one} / {other}": _ratio(values[one], values[other], higher_is_better)
            for one, other in ratios
            if one in values and other in values
        },
    }


def _ratio(one: Sequence[float], other: Sequence[float], higher_is_better: bool) -> dict[str, float]:
    """Of the medians, and the smallest and largest of the rounds."""
    better, worse = (one, other) if higher_is_better else (other, one)
    rounds = [b / w for b, w in zip(better, worse, strict=True)]
    median = statistics.median(better) / statistics.median(worse)
    return {"median": rounded(median), "min": rounded(min(rounds)), "max": rounded(max(rounds))}


def rounded(value: float) -> float:
    """Four significant digits."""
    return float(f"{value:.4g}")


def table(found: Record) -> str:
    """The record as a Markdown table, with a line for each ratio."""
    shown = [key for key in dict.fromkeys(k for row in found["rows"] for k in row) if key not in ("values", "name")]
    direction = "more is better" if found["higher_is_better"] else "less is better"
    lines = [f"{found['what']} ({found['unit']}; {direction})", ""]
    lines += [f"| row | {' | '.join(key.replace('_', ' ') for key in shown)} |", "| --- |" + " ---: |" * len(shown)]
    lines += [f"| {row['name']} | {' | '.join(str(row.get(key, '')) for key in shown)} |" for row in found["rows"]]
    lines += [""] * bool(found["times_better"])
    lines += [f"- {pair}: {r['median']}x ({r['min']} to {r['max']})" for pair, r in found["times_better"].items()]
    return "\n".join(lines)


def publish(found: Record, out: str = "") -> None:
    """Prints the table; writes the JSON object where `out` names a file."""
    print(table(found))
    if out:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        Path(out).write_text(json.dumps(found, indent=1) + "\n")


def in_child(module: str, task: Mapping[str, Any], python: str = sys.executable) -> dict[str, Any]:
    """What `module` prints as the last line, a JSON object, when it is started with `task` as its one argument.

    A process of its own has a peak memory of its own, and nothing left in it by the row before.
    """
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [python, "-m", module, json.dumps(dict(task))]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{module} with {dict(task)} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def peak_megabytes() -> float:
    """The largest resident memory of this process so far."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / (1024 * 1024 if sys.platform == "darwin" else 1024)


@contextlib.contextmanager
def num_threads(count: int) -> Iterator[None]:
    """Within the block torch uses so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
