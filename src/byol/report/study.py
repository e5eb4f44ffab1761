"""The study that a run belongs to, from the files beside the run: its table, its expectations, what its chart needs."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from byol.runtime.files import finite, read_json

TITLE = re.compile(r"study (?P<name>\S+), scale (?P<scale>\S+): (?P<question>.*)")
PLANNED = re.compile(r"(?P<variants>\d+) variants x (?P<seeds>\d+) seeds")


@dataclass(frozen=True)
class StudySummary:
    """What a report says of a study."""

    name: str
    scale: str
    question: str
    folder: Path
    num_done: int
    """Runs with an outcome."""
    num_planned: int
    result: dict[str, Any] | None
    """study.json, numbers that are not finite as None; None where the study has not ended yet."""
    variants: dict[str, str]
    """What the reported runs are of it, by the names of their folders; those that are done."""
    data: str
    """The images it trains on, as `--data` named them."""
    num_seeds: int

    @property
    def finished(self) -> bool:
        return self.result is not None and self.num_done >= self.num_planned

    @property
    def state(self) -> str:
        """How far it is, in a sentence."""
        done = f"{self.num_done} of {self.num_planned} runs are done"
        if self.finished:
            return f"All {self.num_planned} runs are done."
        if self.result is None:
            return f"Unfinished: {done}, and there is no table before the last."
        return f"Unfinished: {done}; the table is of an earlier end, with fewer seeds."

    @property
    def command(self) -> str:
        """What goes on with it."""
        words = ["byol", "study", self.name, "--scale", self.scale, "--seeds", str(self.num_seeds), "--data", self.data]
        if self.folder.name != f"{self.name}-{self.scale}":
            words += ["--out", str(self.folder)]
        return shlex.join(words)


def studies_of(runs: list[Path]) -> list[StudySummary]:
    """The studies in whose folders the runs lie, each once."""
    paths = [run.resolve() for run in runs]
    folders = {path.parent: [other for other in paths if other.parent == path.parent] for path in paths}
    return [found for folder, inside in folders.items() if (found := _read(folder, inside)) is not None]


def _read(folder: Path, runs: list[Path]) -> StudySummary | None:
    try:
        text = (folder / "protocol.txt").read_text()
    except (OSError, ValueError):
        return None
    title, planned = TITLE.match(text), PLANNED.search(text)
    if title is None or planned is None:
        return None
    num_runs = (int(planned["variants"]) + 1) * int(planned["seeds"])  # and the encoder before training
    done = len(list(folder.glob("*/outcome.json")))
    outcomes = {run.name: read_json(run / "outcome.json") for run in runs}
    data = (read_json(runs[0] / "run.json") or {}).get("data", {}).get("data", "")
    variants = {name: str(outcome["variant"]) for name, outcome in outcomes.items() if outcome and "variant" in outcome}
    return StudySummary(
        **title.groupdict(),
        folder=folder,
        num_done=done,
        num_planned=num_runs,
        result=_result(folder),
        variants=variants,
        data=str(data),
        num_seeds=int(planned["seeds"]),
    )


def _result(folder: Path) -> dict[str, Any] | None:
    content = read_json(folder / "study.json")
    needed = {"measures", "scores", "outcomes", "table", "judgements", "paper", "paper_metric", "untrained"}
    return finite(content) if content is not None and needed <= set(content) else None
