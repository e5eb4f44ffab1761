"""From images to a trained encoder in a run directory."""

import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from byol import build
from byol.config import Config, differences, from_dict, override, to_dict, validate
from byol.data.arrays import ArrayImages
from byol.data.source import Image, ImageSource, SkippedImages
from byol.diagnostics.collapse import verdict
from byol.engine import checkpoint
from byol.engine.loop import LoopEnd, LoopSettings, Progress, train
from byol.engine.metrics import MetricsFile
from byol.engine.state import State
from byol.engine.wrap import wrap
from byol.errors import CheckpointError, ConfigError, RunError
from byol.export.encoder_file import Encoder, load_encoder, save_encoder
from byol.nets.encoder import find_num_features
from byol.recipes import recipe as find_recipe
from byol.runtime.hardware import choose_device, choose_precision, describe_machine
from byol.runtime.ranks import Ranks, join_ranks
from byol.runtime.record import FORMAT_VERSION, RunDirectory

Say = Callable[[str], None]
Show = Callable[[Progress], None]


def _silent(_: Any) -> None:
    pass


@dataclass(frozen=True)
class Run:
    """A run that ended, or was stopped."""

    path: Path
    finished: bool
    verdict: str
    """The collapse watch in a sentence."""
    signal_number: int | None = None
    """The signal that stopped it, if one did."""

    def encoder(self, module: nn.Module | None = None) -> Encoder:
        """The trained encoder with its preprocessing."""
        return load_encoder(self.path, module)


@dataclass(frozen=True)
class DataArguments:
    """Which images, as said by the user."""

    data: str
    root: str = ""
    download: bool = False


def pretrain(
    data: str | Path | Image | ImageSource,
    recipe: str = "small",
    *,
    out: str | Path | None = None,
    overrides: dict[str, Any] | None = None,
    encoder: nn.Module | None = None,
    data_root: str = "",
    download: bool = False,
    say: Say = print,
    show: Show = _silent,
    **settings: Any,
) -> Run:
    """Pretrains an encoder on `data` without labels and returns the run.

    `data`: what `byol pretrain --data` takes, an (N, H, W[, C]) uint8 array, or a source. `settings` replace
    top-level values of the recipe (epochs=20), `overrides` nested ones ({"optimizer.name": "sgd"}). `encoder`: a
    module of one's own, (N, C, S, S) -> (N, D). Raises ByolError for everything that a user can put right.
    """
    chosen = find_recipe(recipe)
    config = override(chosen.config, {**settings, **(overrides or {})})
    if isinstance(data, str | Path):
        arguments = DataArguments(str(data), data_root, download)
        source = build.open_source(arguments.data, root=data_root, download=download)
    else:
        source = ArrayImages(data) if not hasattr(data, "read") else data  # pyright: ignore[reportArgumentType]
        arguments = DataArguments("")
    return start(config, recipe, arguments, source, out=out, encoder=encoder, say=say, show=show)  # pyright: ignore[reportArgumentType]


def start(
    config: Config,
    recipe_name: str,
    arguments: DataArguments,
    source: ImageSource,
    *,
    out: str | Path | None = None,
    encoder: nn.Module | None = None,
    say: Say = print,
    show: Show = _silent,
    command: Sequence[str] = (),
) -> Run:
    """Begins a run. The directory is made only once everything else is known to work.

    Under torchrun every process calls this alike; the first rank writes and speaks.
    """
    with join_ranks() as ranks:
        if not ranks.is_first:
            say = show = _silent
        return _start(config, recipe_name, arguments, source, out, encoder, say, show, command, ranks)


def _start(
    config: Config,
    recipe_name: str,
    arguments: DataArguments,
    source: ImageSource,
    out: str | Path | None,
    encoder: nn.Module | None,
    say: Say,
    show: Show,
    command: Sequence[str],
    ranks: Ranks,
) -> Run:
    validate(config)
    chosen = find_recipe(recipe_name)
    skipped = SkippedImages()
    seen = build.profile(source, skipped)
    say(
        f"{source.description}: {len(source)} images, {seen.channels} channel{'s' if seen.channels > 1 else ''}, median short side {seen.short_side} px"
    )
    batch_is_recipes = config.batch_size == chosen.config.batch_size
    config, notes = build.fit_to_data(
        config,
        seen,
        len(source),
        adapts_batch=chosen.adapts_batch and batch_is_recipes,
        epochs_overridden=config.epochs != chosen.config.epochs,
        num_ranks=ranks.size,
    )
    for note in notes:
        say(f"  {note}")
    trainer = _Trainer.create(config, source, seen.channels, encoder, skipped, ranks)
    path = Path(out) if out is not None else _free_directory(arguments.data or "array")
    if ranks.is_first:
        record = {
            "format_version": FORMAT_VERSION,
            "recipe": recipe_name,
            "config": to_dict(config),
            "data": {
                **dataclasses.asdict(arguments),
                "description": source.description,
                "num_images": len(source),
                "channels": seen.channels,
            },
            "derived": trainer.derived(),
            "own_encoder": encoder is not None,
            "machine": describe_machine(trainer.device),
            "commands": [list(command) or sys.argv],
        }
        RunDirectory.create(path).write("run.json", record)
    run = RunDirectory(ranks.from_first(path))
    for line in trainer.summary():
        say(line)
    say(f"  run directory {run.path}")
    return trainer.run(run, say, show)


def resume(
    path: str | Path,
    *,
    config: Config | None = None,
    source: ImageSource | None = None,
    encoder: nn.Module | None = None,
    say: Say = print,
    show: Show = _silent,
    command: Sequence[str] = (),
) -> Run:
    """Continues a run where its newest checkpoint stands; the same numbers follow as without the stop.

    `source` and `encoder` are needed again where the run was started with such objects. Raises RunError where the
    data is no longer the same number of images, ConfigError where `config` differs from the run's. With another
    number of ranks than before each takes its share of the same micro-batches.
    """
    run = RunDirectory.open(Path(path))
    record = run.record()
    recorded = from_dict(Config, record["config"])
    if config is not None and (changed := differences(recorded, config)):
        raise ConfigError(
            f"A resumed run keeps its settings; these differ: {'; '.join(changed)}. Start a new run for them."
        )
    with join_ranks() as ranks:
        if not ranks.is_first:
            say = show = _silent
        together = recorded.micro_batch_size * record["derived"]["num_ranks"]
        if together % ranks.size:
            raise ConfigError(
                f"{path} was run with micro-batches of {together} images over all ranks, which {ranks.size} ranks "
                f"cannot share. Resume with a divisor of {together}."
            )
        shared = dataclasses.replace(recorded, micro_batch_size=together // ranks.size)
        return _resume(run, record, shared, source, encoder, say, show, command, ranks)


def _resume(
    run: RunDirectory,
    record: dict[str, Any],
    config: Config,
    source: ImageSource | None,
    encoder: nn.Module | None,
    say: Say,
    show: Show,
    command: Sequence[str],
    ranks: Ranks,
) -> Run:
    path = run.path
    if source is None:
        if not record["data"]["data"]:
            raise RunError(f"{path} was started with images from Python: pass them as `source` again.")
        arguments = DataArguments(**{name: record["data"][name] for name in ("data", "root", "download")})
        source = build.open_source(arguments.data, root=arguments.root, download=False)
    if len(source) != record["data"]["num_images"]:
        raise RunError(
            f"{path} began with {record['data']['num_images']} images, {source.description} now holds {len(source)}. Resume needs the same data."
        )
    if record["own_encoder"] and encoder is None:
        raise RunError(f"{path} was started with a module of your own: pass one of the same shape as `encoder`.")
    skipped = SkippedImages()
    trainer = _Trainer.create(config, source, record["data"]["channels"], encoder, skipped, ranks)
    newest, saved = checkpoint.load_newest(run.checkpoints)
    try:
        trainer.state.load_state_dict(saved)
    except (RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{newest} does not fit the run's config ({str(error).splitlines()[-1].strip()})."
        ) from error
    if ranks.is_first:
        record["commands"].append(list(command) or sys.argv)
        run.write("run.json", record)
    say(
        f"{source.description}: {len(source)} images; resuming {run.path} at step {trainer.state.step} of {trainer.schedule.total_steps}"
    )
    return trainer.run(run, say, show)


@dataclass
class _Trainer:
    """The objects of one training."""

    config: Config
    channels: int
    own_encoder: bool
    state: State
    feed: build.Feed
    views: build.TwoViews
    schedule: build.Schedule
    device: torch.device
    precision: str
    skipped: SkippedImages
    ranks: Ranks

    @classmethod
    def create(
        cls,
        config: Config,
        source: ImageSource,
        channels: int,
        encoder: nn.Module | None,
        skipped: SkippedImages,
        ranks: Ranks,
    ) -> "_Trainer":
        device = ranks.device(choose_device(config.device))
        num_classes = 0
        if config.method.online_classifier:
            if source.labels is None:
                raise ConfigError(f"method.online_classifier needs labels; {source.description} has none.")
            num_classes = int(source.labels.max()) + 1
        method = build.method(config, channels, encoder, num_classes)
        views = build.two_views(config)
        return cls(
            config,
            channels,
            encoder is not None,
            build.state(config, method, device, ranks),
            build.feed(config, source, channels, views, device, skipped, ranks),
            views,
            build.schedule(config, len(source)),
            device,
            choose_precision(config.precision, device),
            skipped,
            ranks,
        )

    def derived(self) -> dict[str, Any]:
        s = self.schedule
        return {
            "total_steps": s.total_steps,
            "warmup_steps": s.warmup_steps,
            "peak_learning_rate": s.base_learning_rate * s.batch_size / 256,
            "precision": self.precision,
            "num_ranks": self.ranks.size,
            "num_features": find_num_features(self.state.method.encoder, self.channels, self.config.views.size),
        }

    def summary(self) -> list[str]:
        """What was resolved, for the user."""
        c, d = self.config, self.derived()
        parameters = sum(p.numel() for p in self.state.method.encoder.parameters()) / 1e6
        ranks = f" on {self.ranks.size} ranks" if self.ranks.size > 1 else ""
        whole = c.micro_batch_size * self.ranks.size == c.batch_size
        micro = ranks if whole else f"{ranks} in micro-batches of {c.micro_batch_size}"
        return [
            f"  {c.encoder.name}, {parameters:.1f} M parameters, {d['num_features']} features, views of {c.views.size} px",
            f"  {d['total_steps']} steps of {c.batch_size} images{micro}, warm-up {d['warmup_steps']}, {c.optimizer.name} peak rate {d['peak_learning_rate']:g}, tau from {c.method.tau_base:g}",
            f"  {self.device.type}, {self.precision}",
        ]

    def run(self, run: RunDirectory, say: Say, show: Show) -> Run:
        began = time.strftime("%Y-%m-%dT%H:%M:%S")
        loop = LoopSettings(
            self.config.batch_size // (self.config.micro_batch_size * self.ranks.size),
            self.config.log_interval_steps,
            self.config.collapse_interval_steps,
            60 * self.config.checkpoint_interval_minutes,
        )
        compute_loss = wrap(
            self.state.method,
            self.device,
            bf16=self.precision == "bf16",
            channels_last=self.config.channels_last,
            num_ranks=self.ranks.size,
        )
        try:
            end = train(
                self.state,
                self.feed,
                self.views,
                compute_loss,
                self.schedule,
                loop,
                device=self.device,
                checkpoints=run.checkpoints,
                metrics=MetricsFile(run.metrics, self.state.step) if self.ranks.is_first else None,
                show=show,
                ranks=self.ranks,
            )
        except BaseException:
            run.write_skipped(self.skipped.reasons)
            raise
        for reasons in self.ranks.gather(self.skipped.reasons):
            self.skipped.reasons.update(reasons)
        told = verdict(end.collapse) if end.collapse is not None else "not looked at: no step was made"
        if self.ranks.is_first:
            run.write_skipped(self.skipped.reasons)
            description = build.encoder_description(
                self.config, self.channels, self.derived()["num_features"], own_module=self.own_encoder
            )
            save_encoder(run.path, self.state.method.encoder, description)
            run.write("result.json", _result(end, told, self.state.step, began, len(self.skipped)))
        if self.skipped.reasons:
            say(
                f"{len(self.skipped)} broken image{'s' if len(self.skipped) > 1 else ''} skipped; named in {run.skipped}"
            )
        say(
            f"{'finished' if end.finished else f'stopped at step {self.state.step}'} after {end.elapsed_seconds:.0f} s, {end.images_per_second:.0f} images/s"
        )
        say(told)
        if not end.finished:
            say(f"continue with: byol pretrain --resume {run.path}")
        return Run(run.path, end.finished, told, end.signal_number)


def _result(end: LoopEnd, told: str, step: int, began: str, num_skipped: int) -> dict[str, Any]:
    return {
        "finished": end.finished,
        "step": step,
        "verdict": told,
        "collapse": end.collapse.as_dict() if end.collapse is not None else None,
        "began": began,
        "elapsed_seconds": end.elapsed_seconds,
        "images_per_second": end.images_per_second,
        "num_skipped_images": num_skipped,
    }


def _free_directory(data: str) -> Path:
    """runs/NAME-1, or the next number that is free."""
    name = Path(data).resolve().name.removesuffix(".parquet") or "run"
    number = 1
    while (Path("runs") / f"{name}-{number}").exists():
        number += 1
    return Path("runs") / f"{name}-{number}"
