"""One training from its resolved config to its result, shared by `pretrain` and `resume`."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from byol.assembly.encoder import encoder_description
from byol.assembly.settings import build_schedule
from byol.assembly.training import Assembly, assemble, build_feed, initialize_from_data
from byol.config import Config, to_dict
from byol.data.loader import Feed
from byol.data.number_format import rule_of
from byol.data.source import ImageSource, SkippedImages
from byol.data.subset import renumbered
from byol.data.things import Things
from byol.diagnostics.collapse import FEWEST_STEPS, verdict
from byol.encoder.encoder import EncoderDescription
from byol.encoder.encoder_file import save_encoder, write_description
from byol.engine.loop import Loop, LoopEnd
from byol.engine.metrics import MetricsFile
from byol.engine.pace import Deadline
from byol.engine.schedule import Schedule
from byol.engine.settings import LoopSettings
from byol.engine.state import State
from byol.errors import CollapseError, ConfigError, NonFiniteError, RunError
from byol.evaluate.online import OnlineProbe
from byol.nets.encoder import find_num_features
from byol.optim.groups import describe_groups
from byol.optim.schedules import total_steps
from byol.runtime.files import read_json, replacing
from byol.runtime.hardware import choose_device
from byol.runtime.listener import Listener
from byol.runtime.number_format import NumberFormat
from byol.runtime.ranks import Ranks, means_lost_rank
from byol.runtime.run_directory import RunDirectory
from byol.runtime.stopping import StopRequest
from byol.runtime.track import open_tracker
from byol.runtime.words import command, counted
from byol.training.run import Run

SHORTENED = 0.8
"""Smallest fraction of the planned steps with which a training by time is not called shortened."""
DIFFERENT_STARTS = (
    "Some processes start a run and others continue one. --out must be the same folder for all machines, on a shared "
    "disk."
)
DIFFERENT_IMAGES = "The processes have different images. --data must contain the same files on every machine."


@dataclass
class Trainer:
    """The objects of one training, and the methods that run it and write its files."""

    config: Config
    num_images: int
    channels: int
    own_encoder: bool
    assembly: Assembly
    feed: Feed
    schedule: Schedule
    skipped: SkippedImages
    ranks: Ranks
    things: Things | None = None
    """The things that the images are of, by `views.pairs`; None without it."""
    rule: NumberFormat | None = None
    """Rule by which images with more than 8 bits become pixels; None if there are none."""
    probe: OnlineProbe | None = None
    deadline: Deadline | None = None
    stage_costs: Sequence[float] = ()
    """Relative cost of a step in each stage; empty: the views' areas."""

    @property
    def state(self) -> State:
        return self.assembly.state

    @classmethod
    def create(
        cls,
        config: Config,
        source: ImageSource,
        channels: int,
        encoder: nn.Module | None,
        skipped: SkippedImages,
        ranks: Ranks,
        things: Things | None = None,
    ) -> "Trainer":
        """Builds the objects of a training from its resolved config.

        `encoder`: a module that the user built, or None. `things`: what the images are of, for `views.pairs`.
        """
        device = ranks.device(choose_device(config.device))
        num_classes = 0
        if config.method.online_classifier:
            if source.labels is None:
                raise ConfigError(f"method.online_classifier needs labels, but {source.description} has none.")
            classes = np.unique(source.labels)
            source, num_classes = renumbered(source, classes), len(classes)
        assembly = assemble(config, channels, device, ranks, encoder=encoder, num_classes=num_classes)
        method, views = assembly.state.method, assembly.views
        feed = build_feed(config, source, channels, device, skipped, ranks, things)
        initialize_from_data(config, method, feed, views[-1], device)
        for size in (*(earlier.size for earlier in views[:-1]), config.views.encoded_size or config.views.size):
            find_num_features(method.encoder, channels, size)  # raises if the encoder does not take this size
        schedule = build_schedule(config, len(source))
        own_encoder = encoder is not None
        trainer = cls(config, len(source), channels, own_encoder, assembly, feed, schedule, skipped, ranks, things)
        trainer.rule = rule_of(source)
        if config.online_probe_epochs:
            trainer.probe = OnlineProbe.create(source, trainer.description(), device)
        return trainer

    def description(self) -> EncoderDescription:
        """The description that is saved with the encoder."""
        features = find_num_features(self.state.method.encoder, self.channels, self.config.views.size)
        return encoder_description(self.config, self.channels, features, own_module=self.own_encoder, rule=self.rule)

    def derived(self) -> dict[str, Any]:
        """Values for run.json that follow from the config, the data and the machine."""
        s = self.schedule
        return {
            "total_steps": s.last_step,
            "warmup_steps": s.warmup_steps,
            "peak_learning_rate": s.base_learning_rate * s.batch_size / 256,
            "precision": self.assembly.precision,
            "kernels": self.assembly.kernels.kind,
            "num_ranks": self.ranks.size,
            "num_features": find_num_features(self.state.method.encoder, self.channels, self.config.views.size),
        }

    def summary(self, path: Path) -> list[str]:
        """Lines that describe the training before it starts. `path`: the run directory."""
        c, kernels = self.config, self.assembly.kernels
        parameters = sum(p.numel() for p in self.state.method.encoder.parameters()) / 1e6
        sizes = ", then ".join(str(views.size) for views in self.assembly.views)
        ranks = f" on {self.ranks.size} ranks" if self.ranks.size > 1 else ""
        steps = f"{counted(self.schedule.total_steps, 'step')} of {counted(c.batch_size, 'image')}"
        line = (
            f"training {c.encoder.name} ({parameters:.1f} M parameters) with {c.method.name} on views of {sizes} px: {steps} on "
            f"{self.assembly.device.type}{ranks}; run directory {path}"
        )
        return [line, *([f"{kernels.kind} operators: {kernels.notice}"] if kernels.notice else [])]

    def details(self) -> list[str]:
        """Notes for researchers about the optimizer's groups and the micro-batches."""
        c, ranks = self.config, self.ranks.size
        groups = describe_groups(self.state.method.trained_modules(), decay_all=c.optimizer.decay_all)
        has_parts = c.micro_batch_size * ranks < c.batch_size
        return [groups, *([f"micro-batches of {counted(c.micro_batch_size, 'image')}"] if has_parts else [])]

    def run(self, run: RunDirectory, listener: Listener) -> Run:
        """Trains until the last step or until a signal, then writes the encoder and the result.

        Raises NonFiniteError and CollapseError. The run directory can still be inspected and resumed.
        """
        with StopRequest(means_lost_rank) as stop:
            return self._run(run, listener.unfailing(), stop)

    def _run(self, run: RunDirectory, listener: Listener, stop: StopRequest) -> Run:
        start_time, first_step = time.strftime("%Y-%m-%dT%H:%M:%S"), self.state.step
        if self.ranks.is_first:
            write_description(run.path, self.description())  # so that a checkpoint can be opened as an encoder
        try:
            end = self._train(run, listener, stop)
        except NonFiniteError as error:
            self._save_fault(run, error.step)
            self.ranks.gather(None)  # a launcher ends the other processes as soon as one exits
            raise
        finally:
            if self.ranks.is_first:
                run.write_skipped(self.skipped.images)
        for images in self.ranks.gather(self.skipped.images):
            self.skipped.images.update(images)
        collapse_verdict = self._verdict(end)
        if self.ranks.is_first:
            run.write_skipped(self.skipped.images)
            save_encoder(run.path, self.state.method.encoder, self.description())
            self._record_correction(run)
            result = _result(end, collapse_verdict, self.state, start_time, len(self.skipped))
            if self.state.step > first_step or not _is_written(run, result):
                run.write("result.json", result)
        self.ranks.gather(None)  # waits until all files are written
        for line in self._account(run, end, collapse_verdict, self.state.step - first_step):
            listener.say(line)
        if end.collapsed:
            raise CollapseError(
                f"Stopped at step {self.state.step} because stop_on_collapse is set: {collapse_verdict} The run is in {run.path}."
            )
        return Run(run.path, end.finished, collapse_verdict, end.signal_number or stop.signal_number)

    def _train(self, run: RunDirectory, listener: Listener, stop: StopRequest) -> LoopEnd:
        c, ranks = self.config, self.ranks
        settings = self._loop_settings()
        tracker = open_tracker(c.track, run.path, to_dict(c), self.state.step) if ranks.is_first else None
        with contextlib.closing(tracker) if tracker else contextlib.nullcontext():
            loop = Loop(
                self.state,
                self.feed,
                self.assembly.views,
                self.assembly.loss_function(settings.num_micro_batches, ranks.size),
                self.schedule,
                settings,
                device=self.assembly.device,
                stop=stop,
                checkpoints=run.checkpoints,
                metrics=MetricsFile(run.metrics, self.state.step, tracker) if ranks.is_first else None,
                listener=listener,
                probe=self.probe,
                deadline=self.deadline,
                stage_costs=self.stage_costs,
                ranks=ranks,
            )
            return loop.run()

    def _loop_settings(self) -> LoopSettings:
        c = self.config
        return LoopSettings(
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
            threads=c.threads,
        )

    def _verdict(self, end: LoopEnd) -> str:
        """The verdict on the end of the training. A training that a collapse stopped is collapsed, however short."""
        if end.collapse is None:
            return "not measured: there was no step"
        step = max(self.state.step, self.schedule.warmup_steps + FEWEST_STEPS) if end.collapsed else self.state.step
        return verdict(end.collapse, step, self.schedule.warmup_steps)

    def _record_correction(self, run: RunDirectory) -> None:
        """Replaces the number of steps in run.json if it has changed."""
        if self.state.segments:
            steps = self.state.segments[-1].last_step
            record = run.record()
            record["derived"]["total_steps"] = steps
            run.write("run.json", record)

    def _save_fault(self, run: RunDirectory, step: int) -> None:
        """Writes non_finite.pt: the step, the indices of its images, and every tensor of the networks with non-finite values."""
        if not self.ranks.is_first:
            return
        state = self.state.method.state_dict()
        tensors = {n: t.cpu() for n, t in state.items() if t.is_floating_point() and not bool(t.isfinite().all())}
        indices = torch.from_numpy(self.feed.image_indices(step))
        with contextlib.suppress(RunError, RuntimeError), replacing(run.path / "non_finite.pt") as temporary:
            torch.save({"step": step, "image_indices": indices, "tensors": tensors}, temporary)

    def _account(self, run: RunDirectory, end: LoopEnd, collapse_verdict: str, num_steps: int) -> list[str]:
        """Lines that describe the end of the training."""
        lines = []
        if num := len(self.skipped):
            lines.append(f"{counted(num, 'broken image')} skipped; listed in {run.skipped}")
        if num := self.state.num_skipped_steps:
            lines.append(f"{counted(num, 'step')} skipped because the gradient was not finite")
        state = "finished" if end.finished else f"stopped at step {self.state.step}"
        if end.finished and not num_steps:
            further = command("pretrain", "--resume", run.path, "--minutes", 20)
            lines.append(f"already finished; to train further: {further}")
        else:
            lines.append(f"{state} after {end.elapsed_seconds:.0f} s, {end.images_per_second:.0f} images/s")
        planned = self.schedule.last_step
        if self.deadline and end.finished and self.state.step < SHORTENED * planned:
            lines.append(
                f"slower than in the speed test: {self.state.step:,} of {planned:,} planned steps fitted into the time. To "
                f"train further: {command('pretrain', '--resume', run.path, '--minutes', 20)}"
            )
        if not end.collapsed:
            lines.append(collapse_verdict)
        if end.signal_number:
            lines.append(f"continue with: {command('pretrain', '--resume', run.path)}")
        return lines


def _is_written(run: RunDirectory, result: dict[str, Any]) -> bool:
    """Whether result.json already holds this end, because a finished run was resumed."""
    written = read_json(run.path / "result.json") or {}
    return all(written.get(name) == result[name] for name in ("finished", "step"))


def _result(end: LoopEnd, collapse_verdict: str, state: State, start_time: str, num_skipped: int) -> dict[str, Any]:
    return {
        "finished": end.finished,
        "step": state.step,
        "verdict": collapse_verdict,
        "collapse": end.collapse.as_dict() if end.collapse is not None else None,
        "began": start_time,
        "elapsed_seconds": end.elapsed_seconds,
        "images_per_second": end.images_per_second,
        "num_skipped_images": num_skipped,
        "num_skipped_steps": state.num_skipped_steps,
    }
