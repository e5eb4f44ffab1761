"""Summary of the study that a run belongs to, from the files beside the run."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from byol.runtime.files import finite, read_json
from byol.runtime.words import command

TITLE = re.compile(r"study (?P<name>\S+), scale (?P<scale>\S+): (?P<question>.*)")
"""First line of a study's protocol.txt."""
PLANNED = re.compile(r"(?P<variants>\d+) variants x (?P<seeds>\d+) seeds")


@dataclass(frozen=True)
class StudySummary:
    """Data of a study that a report shows."""

    name: str
    scale: str
    question: str
    folder: Path
    num_done: int
    """Number of finished runs."""
    num_planned: int
    result: dict[str, Any] | None
    """Content of study.json, with None in place of non-finite numbers; None if the study is not finished."""
    variants: dict[str, str]
    """Variant name by run folder, for finished runs."""
    data: str
    """Images of the study, as given by `--data`."""
    num_seeds: int

    @property
    def finished(self) -> bool:
        return self.result is not None and self.num_done >= self.num_planned

    @property
    def state(self) -> str:
        """Progress of the study in one sentence."""
        progress = f"{self.num_done} of {self.num_planned} runs are finished"
        if self.finished:
            return f"All {self.num_planned} runs are finished."
        if self.result is None:
            return f"Unfinished: {progress}. The table is written after the last."
        return f"Unfinished: {progress}. The table is from an earlier result with fewer seeds."

    @property
    def command(self) -> str:
        """Command that continues the study."""
        words = ["study", self.name, "--scale", self.scale, "--seeds", str(self.num_seeds), "--data", self.data]
        if self.folder.name != f"{self.name}-{self.scale}":
            words += ["--out", str(self.folder)]
        return command(*words)


def studies_of(runs: list[Path]) -> list[StudySummary]:
    """The studies that the runs belong to, each once."""
    paths = [run.resolve() for run in runs]
    folders = {path.parent: [other for other in paths if other.parent == path.parent] for path in paths}
    return [study for folder, inside in folders.items() if (study := _read(folder, inside)) is not None]


def _read(folder: Path, runs: list[Path]) -> StudySummary | None:
    try:
        text = (folder / "protocol.txt").read_text()
    except (OSError, ValueError):
        return None
    title, planned = TITLE.match(text), PLANNED.search(text)
    if title is None or planned is None:
        return None
    num_runs = (int(planned["variants"]) + 1) * int(planned["seeds"])  # one more for the encoder before training
    num_done = len(list(folder.glob("*/outcome.json")))
    outcomes = {run.name: read_json(run / "outcome.json") for run in runs}
    data = (read_json(runs[0] / "run.json") or {}).get("data", {}).get("data", "")
    variants = {name: str(outcome["variant"]) for name, outcome in outcomes.items() if outcome and "variant" in outcome}
    return StudySummary(
        **title.groupdict(),
        folder=folder,
        num_done=num_done,
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
