"""The objects of one training, put together and run; what `pretrain` and `resume` share."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from byol import build, build_networks
from byol.config import Config, to_dict
from byol.data.source import ImageSource, SkippedImages
from byol.data.subset import renumbered
from byol.diagnostics.collapse import verdict
from byol.engine.loop import LoopEnd, LoopSettings, Progress, train
from byol.engine.metrics import MetricsFile, read_metrics
from byol.engine.pace import Pace
from byol.engine.state import State
from byol.engine.wrap import wrap
from byol.errors import CollapseError, ConfigError, NonFiniteError, RunError
from byol.evaluate.online import OnlineProbe
from byol.export.encoder_file import Encoder, EncoderDescription, load_encoder, save_encoder, write_description
from byol.nets.encoder import find_num_features
from byol.optim.schedules import total_steps
from byol.runtime.hardware import (
    Operators,
    choose_channels_last,
    choose_device,
    choose_kernels,
    choose_precision,
    fuses_views,
    keep_freed_memory,
)
from byol.runtime.notebook import html_table
from byol.runtime.ranks import Ranks, is_of_lost_rank
from byol.runtime.record import RunDirectory, read_json, replacing
from byol.runtime.stopping import StopRequest
from byol.runtime.track import Tracker, open_tracker

T = TypeVar("T")
Say = Callable[[str], None]
Show = Callable[[Progress], None]


@dataclass(frozen=True)
class Run:
    """A run that ended, or was stopped."""

    path: Path
    finished: bool
    verdict: str
    """The collapse watch in a sentence."""
    signal_number: int | None = None
    """The signal that stopped it, or came while the last was written, if one did."""

    def encoder(self, module: nn.Module | None = None) -> Encoder:
        """The trained encoder with its preprocessing."""
        return load_encoder(self.path, module)

    def _repr_html_(self) -> str:
        rows = [("state", "finished" if self.finished else "stopped; go on with byol.resume(run.path)")]
        rows += [("verdict", self.verdict), ("directory", str(self.path))]
        rows += [("last " + name.replace("_", " "), f"{value:.4g}") for name, value in self._last_numbers().items()]
        report = self.path / "report.html"
        return html_table("byol run", rows, (report.as_posix(), "report") if report.exists() else None)

    def _last_numbers(self) -> dict[str, float]:
        last = (read_metrics(RunDirectory(self.path).metrics) or [{}])[-1]
        return {
            name: last[name] for name in ("step", "loss", "online_knn", "online_linear") if last.get(name) is not None
        }


@dataclass
class Trainer:
    """The objects of one training."""

    config: Config
    num_images: int
    channels: int
    own_encoder: bool
    state: State
    feed: build.Feed
    views: list[build.Views]
    """Of equal parts of the training, one after the other."""
    schedule: build.Schedule
    device: torch.device
    precision: str
    kernels: Operators
    skipped: SkippedImages
    ranks: Ranks
    probe: OnlineProbe | None = None
    pace: Pace | None = None

    @classmethod
    def create(
        cls,
        config: Config,
        source: ImageSource,
        channels: int,
        encoder: nn.Module | None,
        skipped: SkippedImages,
        ranks: Ranks,
    ) -> "Trainer":
        device = ranks.device(choose_device(config.device))
        num_classes = 0
        if config.method.online_classifier:
            if source.labels is None:
                raise ConfigError(f"method.online_classifier needs labels; {source.description} has none.")
            classes = np.unique(source.labels)
            source, num_classes = renumbered(source, classes), len(classes)
        method = build_networks.method(config, channels, encoder, num_classes, ranks.gather_rows)
        kernels = choose_kernels(config.kernels, device)
        views = [build.two_views(part, fused=fuses_views(config.kernels)) for part in build.by_view_size(config)]
        keep_freed_memory(device)
        state = build.state(config, method, device, ranks, fused=kernels.kind == "fused")
        feed = build.feed(config, source, channels, device, skipped, ranks)
        build.initialize_from_data(config, state.method, feed, views[-1], device)
        for earlier in views[:-1]:  # raises where the encoder takes one size alone
            find_num_features(state.method.encoder, channels, earlier.size)
        trainer = cls(
            config,
            len(source),
            channels,
            encoder is not None,
            state,
            feed,
            views,
            build.schedule(config, len(source)),
            device,
            choose_precision(config.precision, device),
            kernels,
            skipped,
            ranks,
        )
        if config.online_probe_epochs:
            trainer.probe = OnlineProbe.create(source, trainer.description(), device)
        return trainer

    def description(self) -> EncoderDescription:
        """What travels with the encoder."""
        features = find_num_features(self.state.method.encoder, self.channels, self.config.views.size)
        return build.encoder_description(self.config, self.channels, features, own_module=self.own_encoder)

    def derived(self) -> dict[str, Any]:
        s = self.schedule
        return {
            "total_steps": s.total_steps,
            "warmup_steps": s.warmup_steps,
            "peak_learning_rate": s.base_learning_rate * s.batch_size / 256,
            "precision": self.precision,
            "kernels": self.kernels.kind,
            "num_ranks": self.ranks.size,
            "num_features": find_num_features(self.state.method.encoder, self.channels, self.config.views.size),
        }

    def summary(self) -> list[str]:
        """What was resolved, for the user."""
        c, d = self.config, self.derived()
        parameters = sum(p.numel() for p in self.state.method.encoder.parameters()) / 1e6
        ranks = f" on {self.ranks.size} ranks" if self.ranks.size > 1 else ""
        whole = c.micro_batch_size * self.ranks.size == c.batch_size
        notice = f" ({self.kernels.notice})" if self.kernels.notice else ""
        micro = ranks if whole else f"{ranks} in micro-batches of {c.micro_batch_size}"
        sizes = ", then ".join(str(views.size) for views in self.views)
        tau = f", tau from {self.schedule.tau(0):.4g}" if self.state.method.has_average else ""
        return [
            f"  {c.encoder.name}, {parameters:.1f} M parameters, {d['num_features']} features, views of {sizes} px",
            f"  {d['total_steps']} steps of {c.batch_size} images{micro}, warm-up {d['warmup_steps']}, {c.optimizer.name} peak rate {d['peak_learning_rate']:g}{tau}",
            f"  {self.device.type}, {self.precision}, {self.kernels.kind} operators{notice}",
        ]

    def run(self, run: RunDirectory, say: Say, show: Show) -> Run:
        """Trains to the end or to a signal, and writes what is left to write.

        Raises NonFiniteError and CollapseError, with the run left so that it can be looked at and resumed.
        """
        with StopRequest(is_of_lost_rank) as stop:
            return self._run(run, unfailing(say), unfailing(show), stop)

    def _run(self, run: RunDirectory, say: Say, show: Show, stop: StopRequest) -> Run:
        began, first_step = time.strftime("%Y-%m-%dT%H:%M:%S"), self.state.step
        if self.ranks.is_first:
            write_description(run.path, self.description())  # what a checkpoint needs to be read as an encoder
        try:
            end = self._train(run, show, stop)
        except NonFiniteError as error:
            self._save_fault(run, error.step)
            self.ranks.gather(None)  # a launcher ends the others as soon as one has gone
            raise
        finally:
            if self.ranks.is_first:
                run.write_skipped(self.skipped.images)
        for images in self.ranks.gather(self.skipped.images):
            self.skipped.images.update(images)
        told = verdict(end.collapse) if end.collapse is not None else "not looked at: no step was made"
        if self.ranks.is_first:
            run.write_skipped(self.skipped.images)
            save_encoder(run.path, self.state.method.encoder, self.description())
            self._record_correction(run)
            result = _result(end, told, self.state, began, len(self.skipped))
            if self.state.step > first_step or not _is_written(run, result):
                run.write("result.json", result)
        self.ranks.gather(None)  # until all is written
        for line in self._account(run, end, told, self.state.step - first_step):
            say(line)
        if end.collapsed:
            raise CollapseError(
                f"Stopped at step {self.state.step}, since stop_on_collapse is set: {told} What there is lies in {run.path}."
            )
        return Run(run.path, end.finished, told, end.signal_number or stop.signal_number)

    def _train(self, run: RunDirectory, show: Show, stop: StopRequest) -> LoopEnd:
        c = self.config
        loop = LoopSettings(
            num_micro_batches=c.batch_size // (c.micro_batch_size * self.ranks.size),
            seed=c.seed,
            log_interval_steps=c.log_interval_steps,
            collapse_interval_steps=c.collapse_interval_steps,
            checkpoint_interval_seconds=60 * c.checkpoint_interval_minutes,
            keep_checkpoints=c.keep_checkpoints,
            milestone_steps=total_steps(c.milestone_epochs, self.num_images, c.batch_size),
            probe_steps=max(1, total_steps(c.online_probe_epochs, self.num_images, c.batch_size)),
            skip_non_finite=c.on_non_finite == "skip",
            stop_on_collapse=c.stop_on_collapse,
        )
        bf16 = self.precision == "bf16"
        tracker = open_tracker(c.track, run.path, to_dict(c), self.state.step) if self.ranks.is_first else None
        with contextlib.closing(tracker) if tracker else contextlib.nullcontext():
            return self._loop(run, loop, bf16, tracker, show, stop)

    def _loop(
        self,
        run: RunDirectory,
        loop: LoopSettings,
        bf16: bool,
        tracker: Tracker | None,
        show: Show,
        stop: StopRequest,
    ) -> LoopEnd:
        c, ranks, method = self.config, self.ranks, self.state.method
        return train(
            self.state,
            self.feed,
            self.views,
            wrap(
                method,
                self.device,
                bf16=bf16,
                channels_last=choose_channels_last(c.channels_last, self.device),
                compiled=self.kernels.kind == "compile",
                num_ranks=ranks.size,
                num_micro_batches=loop.num_micro_batches,
            ),
            self.schedule,
            loop,
            device=self.device,
            stop=stop,
            checkpoints=run.checkpoints,
            metrics=MetricsFile(run.metrics, self.state.step, tracker) if ranks.is_first else None,
            show=show,
            probe=self.probe,
            pace=self.pace,
            ranks=ranks,
        )

    def _record_correction(self, run: RunDirectory) -> None:
        """Writes the steps that a plan by time ended up with where those of the first plan stand."""
        if steps := self.state.planned_steps:
            record = run.record()
            record["derived"]["total_steps"] = steps
            record["config"]["epochs"] = steps * self.config.batch_size / self.num_images
            run.write("run.json", record)

    def _save_fault(self, run: RunDirectory, step: int) -> None:
        """non_finite.pt: the step, its images, and every parameter and average that is not finite by now."""
        if not self.ranks.is_first:
            return
        state = self.state.method.state_dict()
        tensors = {n: t.cpu() for n, t in state.items() if t.is_floating_point() and not bool(t.isfinite().all())}
        indices = torch.from_numpy(self.feed.image_indices(step))
        with contextlib.suppress(RunError, RuntimeError), replacing(run.path / "non_finite.pt") as temporary:
            torch.save({"step": step, "image_indices": indices, "tensors": tensors}, temporary)

    def _account(self, run: RunDirectory, end: LoopEnd, told: str, num_steps: int) -> list[str]:
        """How it went, for the user."""
        lines = []
        if num := len(self.skipped):
            lines.append(f"{num} broken image{'s' if num > 1 else ''} skipped; named in {run.skipped}")
        if num := self.state.num_skipped_steps:
            lines.append(f"{num} step{'s' if num > 1 else ''} skipped, whose gradient was not finite")
        state = "finished" if end.finished else f"stopped at step {self.state.step}"
        if end.finished and not num_steps:
            lines.append(f"had finished before; to train on, begin a new run with --encoder.init {run.path}")
        else:
            lines.append(f"{state} after {end.elapsed_seconds:.0f} s, {end.images_per_second:.0f} images/s")
        if not end.collapsed:
            lines.append(told)
        if end.signal_number:
            lines.append(f"continue with: byol pretrain --resume {run.path}")
        return lines


def unfailing(tell: Callable[[T], None]) -> Callable[[T], None]:
    """A terminal that is gone, or a log on a full disk, is no reason to end a training."""

    def told(what: T) -> None:
        with contextlib.suppress(OSError):
            tell(what)

    return told


def _is_written(run: RunDirectory, result: dict[str, Any]) -> bool:
    """Whether result.json tells of this end already: a finished run was resumed."""
    written = read_json(run.path / "result.json") or {}
    return all(written.get(name) == result[name] for name in ("finished", "step"))


def _result(end: LoopEnd, told: str, state: State, began: str, num_skipped: int) -> dict[str, Any]:
    return {
        "finished": end.finished,
        "step": state.step,
        "verdict": told,
        "collapse": end.collapse.as_dict() if end.collapse is not None else None,
        "began": began,
        "elapsed_seconds": end.elapsed_seconds,
        "images_per_second": end.images_per_second,
        "num_skipped_images": num_skipped,
        "num_skipped_steps": state.num_skipped_steps,
    }
