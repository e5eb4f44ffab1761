"""The result of a training."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from byol.encoder.encoder import Encoder
from byol.encoder.encoder_file import load_encoder
from byol.engine.metrics import read_metrics
from byol.runtime.notebook import html_table
from byol.runtime.run_directory import RunDirectory


@dataclass(frozen=True)
class Run:
    """A finished or stopped run."""

    path: Path
    finished: bool
    verdict: str
    """Result of the collapse measurements, in one sentence."""
    signal_number: int | None = None
    """Number of the signal that stopped the run, or that arrived while the last files were written."""

    def encoder(self, module: nn.Module | None = None) -> Encoder:
        """The trained encoder with its preprocessing. `module`: as for `byol.load`."""
        return load_encoder(self.path, module)

    def _repr_html_(self) -> str:
        rows = [("state", "finished" if self.finished else "stopped; continue with byol.resume(run.path)")]
        rows += [("verdict", self.verdict), ("directory", str(self.path))]
        rows += [("last " + name.replace("_", " "), f"{value:.4g}") for name, value in self._last_numbers().items()]
        report = self.path / "report.html"
        return html_table("byol run", rows, (report.as_posix(), "report") if report.exists() else None)

    def _last_numbers(self) -> dict[str, float]:
        last = (read_metrics(RunDirectory(self.path).metrics) or [{}])[-1]
        return {
            name: last[name] for name in ("step", "loss", "online_knn", "online_linear") if last.get(name) is not None
        }
