"""Summary of a run in words and numbers, from the files of its directory. The run may still be training."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from byol.assembly.trained_run import TrainedRun
from byol.diagnostics.collapse import CollapseWatch, verdict
from byol.engine.metrics import read_metrics
from byol.evaluate.probes import PROBES
from byol.evaluate.results import read_results
from byol.evaluate.scores import Score
from byol.runtime.duration import in_words
from byol.runtime.files import read_json
from byol.runtime.run_directory import RunDirectory

State = Literal["healthy", "partially collapsed", "collapsed", "unknown"]
WATCHED = ("std_ratio", "effective_rank", "positive_cosine", "negative_cosine")
FEATURES = {"byol": "BYOL", "random": "the same encoder, untrained", "pixels": "raw pixels"}


@dataclass(frozen=True)
class Measured:
    """One accuracy from the run directory."""

    what: str
    """Protocol and metric."""
    score: Score
    of: str
    """Test images."""
    is_baseline: bool = False
    """Whether it was measured without the trained encoder."""


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
            _protocols(path) + _demo(path),
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
        return verdict(CollapseWatch(**{name: float(row[name]) for name in WATCHED}))

    @property
    def state(self) -> State:
        word = self.verdict.partition(":")[0]
        return word if word in ("healthy", "partially collapsed", "collapsed") else "unknown"  # pyright: ignore[reportReturnType]

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
        evidence = self.verdict.partition(": ")[2]
        return evidence[:1].upper() + evidence[1:]

    def next_step(self) -> tuple[str, list[str]]:
        """Advice for the next step: (sentence, commands)."""
        embed = f"byol embed {self.path} --data {self.record['data']['data'] or 'IMAGES'} --out vectors.parquet"
        resume = f"byol pretrain --resume {self.path}"
        if self.state == "collapsed":
            half = float(self.record["config"]["optimizer"]["base_learning_rate"]) / 2
            return (
                f"Start again with half the learning rate (--optimizer.base-learning-rate {half:g}) or, with BYOL, a higher tau.",
                [],
            )
        if self.result is None:
            return "The run is still training, or was killed. Look again later, or continue it.", [
                f"byol report {self.path}",
                resume,
            ]
        if not self.finished:
            return "The run was stopped before its end. Continue it.", [resume]
        if self.state == "partially collapsed":
            epochs = 2 * float(self.record["config"]["epochs"])
            return f"Train longer (--epochs {epochs:g}), and check that the views still show the objects.", []
        if not self.measured:
            return "Evaluate the encoder on labelled images, or use it.", [
                f"byol evaluate {self.path} --data LABELLED",
                embed,
            ]
        return "Use the encoder: it gives one feature vector for each of your images.", [
            embed.replace(f"--data {self.record['data']['data']} ", "--data YOUR_IMAGES ")
        ]

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


def config_differences(runs: list[RunSummary]) -> list[tuple[str, list[str]]]:
    """Settings that differ between the runs, as (name, value in each run)."""
    flat = [_flat({"recipe": run.record["recipe"], "data": run.record["data"], **run.record["config"]}) for run in runs]
    names = list(dict.fromkeys(name for settings in flat for name in settings))
    rows = [(name, [plain(settings.get(name, "–")) for settings in flat]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def settings(run: RunSummary) -> list[tuple[str, str]]:
    """Every resolved setting as (name, value)."""
    return [(name, plain(value)) for name, value in _flat(run.record["config"]).items()]


def plain(value: Any) -> str:
    """The value of a setting as text."""
    if isinstance(value, float):
        return f"{value:g}"
    return " to ".join(map(plain, value)) if isinstance(value, list) and len(value) == 2 else str(value)


def _renamed(run: RunSummary, name: str) -> RunSummary:
    return RunSummary(name, run.path, run.record, run.metrics, run.result, run.measured)


def _runs_at(path: Path) -> list[Path]:
    if path.is_dir() and not (path / "run.json").exists():
        below = sorted(file.parent for file in path.glob("*/run.json"))
        return below or [path]
    return [path]


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _protocols(path: Path) -> list[Measured]:
    measured = []
    for record in read_results(path):
        metric, values = next(iter(record["metrics"].items()))
        score = Score(*(float(values[name]) for name in ("value", "low", "high")))
        of = f"{record['test']['num_images']:,} images of {record['test']['images']}, {record['network']}"
        name = " ".join(part for part in (record["protocol"], record["variant"], metric) if part)
        measured.append(Measured(name, score, of, record["protocol"] == "supervised"))
    return measured


def _demo(path: Path) -> list[Measured]:
    """Accuracies in demo.json, which is one folder higher for several seeds."""
    content = read_json(path / "demo.json")
    if content is None and path.name.startswith("seed-"):
        content = read_json(path.parent / "demo.json")
    scores, num_seeds = (content or {}).get("scores", {}), (content or {}).get("num_seeds", 1)
    of = "2,000 test images" + (f", mean over {num_seeds} seeds" if num_seeds > 1 else "")
    return [
        Measured(
            f"{PROBES.get(probe, probe)}, {FEATURES.get(features, features)}",
            Score(**score),
            of,
            features != "byol",
        )
        for probe in PROBES
        for features in FEATURES
        if (score := scores.get(features, {}).get(probe))
    ]
