"""Summary of a run in words and numbers, from the files of its directory. The run may still be training."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from byol.assembly.trained_run import TrainedRun
from byol.diagnostics.collapse import TOO_SHORT, CollapseWatch, verdict
from byol.engine.metrics import read_metrics
from byol.report.measured import Measured, measured
from byol.runtime.duration import in_words
from byol.runtime.files import read_json
from byol.runtime.run_directory import RunDirectory

State = Literal["healthy", "partially collapsed", "collapsed", "too short to tell", "unknown"]
SENTENCES: dict[str, str] = {
    "healthy": "The training is sound: the encoder sees what two views of one image share, and tells different images apart.",
    "partially collapsed": "The training is only partly sound: the encoder tells different images apart less well than in sound trainings.",
    "collapsed": "The training has failed: the encoder gives nearly the same answer for every image.",
    TOO_SHORT: "The training was too short to tell whether it is sound:",
    "unknown": "Nothing can be said about the training yet:",
}
"""The verdict for a reader who is new to the field, by state."""
WATCHED = ("std_ratio", "effective_rank", "positive_cosine", "negative_cosine")


@dataclass(frozen=True)
class RunSummary:
    """Data of a run that the top of a report shows."""

    name: str
    path: Path
    record: dict[str, Any]
    """Content of run.json."""
    metrics: list[dict[str, Any]]
    result: dict[str, Any] | None
    """Content of result.json; None if the run is still training or was killed."""
    measured: list[Measured]

    @classmethod
    def read(cls, path: Path) -> "RunSummary":
        """Reads the files of a run directory. Raises RunError if `path` is not one."""
        run = RunDirectory.open(path)
        metrics, result = read_metrics(run.metrics), read_json(path / "result.json")
        if result is not None and metrics and int(metrics[-1]["step"]) >= int(result["step"]):
            result = None  # from an earlier stop; the run has continued since
        return cls(
            path.resolve().name,
            path,
            run.record(),
            metrics,
            result,
            measured(path),
        )

    @property
    def trained(self) -> TrainedRun:
        """The opened run. Raises RunError if run.json is invalid."""
        return TrainedRun.of(RunDirectory(self.path), self.record)

    @property
    def step(self) -> int:
        """Number of steps so far."""
        if self.result is not None:
            return int(self.result["step"])
        return 1 + int(self.metrics[-1]["step"]) if self.metrics else 0

    @property
    def total_steps(self) -> int:
        return int(self.record["derived"]["total_steps"])

    @property
    def finished(self) -> bool:
        return self.result is not None and bool(self.result["finished"])

    @property
    def verdict(self) -> str:
        """Result of the collapse measurements in one sentence, which starts with the state."""
        if self.result is not None and self.result["collapse"] is not None:
            return str(self.result["verdict"])
        row = next((row for row in reversed(self.metrics) if row.get("std_ratio") is not None), None)
        if row is None:
            return "unknown: nothing has been logged yet."
        watch = CollapseWatch(**{name: float(row[name]) for name in WATCHED})
        return verdict(watch, int(row["step"]) + 1, int(self.record["derived"]["warmup_steps"]))

    @property
    def state(self) -> State:
        word = self.verdict.partition(":")[0]
        return word if word in SENTENCES else "unknown"  # pyright: ignore[reportReturnType]

    @property
    def sentence(self) -> tuple[str, str]:
        """The verdict in one sentence for a reader who is new to the field: (start up to the colon, rest)."""
        start, _, rest = SENTENCES[self.state].partition(":")
        return f"{start}:", rest.strip() or self.why.partition(" (so far")[0]

    @property
    def best(self) -> Measured | None:
        """Highest accuracy of the run's encoder."""
        return max((m for m in self.measured if not m.is_baseline), key=lambda m: m.score.value, default=None)

    def facts(self) -> list[tuple[str, str]]:
        """Short facts as (name, value)."""
        config, data, machine = self.record["config"], self.record["data"], self.record["machine"]
        seconds, rate = self._time_and_speed()
        progress = f"{self.step:,}" if self.finished else f"{self.step:,} of {self.total_steps:,}"
        device = machine["processor"] if machine["device"] == "cpu" else machine["device"]
        return [
            ("images", f"{data['num_images']:,}"),
            ("epochs", f"{config['epochs']:g}"),
            ("steps", progress),
            ("time", in_words(seconds) if seconds else "–"),
            ("speed", f"{rate:,.0f} images/s" if rate else "–"),
            ("encoder", config["encoder"]["name"]),
            ("recipe", self.record["recipe"]),
            ("device", f"{device}, {self.record['derived']['precision']}"),
        ]

    @property
    def why(self) -> str:
        """Evidence of the verdict: the sentence without the state."""
        return self.verdict.partition(": ")[2]

    def _time_and_speed(self) -> tuple[float, float]:
        if self.result is not None:
            return float(self.result["elapsed_seconds"]), float(self.result["images_per_second"])
        newest = self.metrics[-1] if self.metrics else {}
        return float(newest.get("elapsed_seconds") or 0), float(newest.get("images_per_second") or 0)


def read_runs(paths: list[Path]) -> list[RunSummary]:
    """Summaries of runs. Names are the last parts of the paths, as many as needed to differ.

    A folder of runs, such as that of a demo with several seeds, stands for all runs in it.
    """
    folders = list(dict.fromkeys(run for path in paths for run in _runs_at(path)))
    runs = [RunSummary.read(folder) for folder in folders]
    names = [folder.resolve().parts for folder in folders]
    depth = 1
    while len({name[-depth:] for name in names}) < len(names):
        depth += 1
    return [_renamed(run, "/".join(name[-depth:])) for run, name in zip(runs, names, strict=True)]


def _renamed(run: RunSummary, name: str) -> RunSummary:
    return RunSummary(name, run.path, run.record, run.metrics, run.result, run.measured)


def _runs_at(path: Path) -> list[Path]:
    if path.is_dir() and not (path / "run.json").exists():
        below = sorted(file.parent for file in path.glob("*/run.json"))
        return below or [path]
    return [path]
