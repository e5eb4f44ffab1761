"""`byol.resume`: continue a stopped run."""

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from byol.build.trained_run import TrainedRun, without_start
from byol.config import RUN_SETTINGS, Config, changed_settings, differences, replaced, to_dict, validate
from byol.data.open import as_source, open_source
from byol.data.source import ImageSource, SkippedImages, fingerprint
from byol.data.spec import DataSpec
from byol.engine.progress import Progress
from byol.errors import CheckpointError, ConfigError, DataError, RunError
from byol.runtime import checkpoint
from byol.runtime.listener import SILENT, Listener
from byol.runtime.ranks import Ranks, join_ranks
from byol.runtime.run_directory import RunDirectory
from byol.training.run import Run
from byol.training.trainer import APART, OTHER_IMAGES, Trainer


def resume(
    path: str | Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    accept_changes: bool = False,
    data: DataSpec | None = None,
    source: Any = None,
    encoder: nn.Module | None = None,
    say: Callable[[str], None] = print,
    show: Callable[[Progress], None] = SILENT.step,
    command: Sequence[str] = (),
) -> Run:
    """Continues a run from its newest checkpoint; the same numbers follow as without the stop.

    `data`: the place of the images, where they have moved. `source` and `encoder` are needed again where the run was started with such
    objects. `overrides` may change `config.RUN_SETTINGS` (workers, device, ...). Raises RunError where the images are others or
    another number, ConfigError where `overrides` change another setting, unless `accept_changes`. With another number of ranks
    than before each takes its share of the same micro-batches.
    """
    directory = RunDirectory.open(Path(path))
    record = directory.record()
    before = TrainedRun.of(directory, record)
    named = changed_settings(before.asked, replaced(before.asked, overrides or {}))
    config = replaced(before.config, named)
    changes = changed_settings(before.config, config)
    if changes:
        _require_accepted(before, config, changes, accept_changes)
        record |= {"asked": to_dict(replaced(before.asked, changes)), "config": to_dict(config)}
    with join_ranks() as ranks, directory.lock() if ranks.is_first else contextlib.nullcontext():
        listener = Listener(say, step=show) if ranks.is_first else SILENT
        ranks.require_same("continues", APART)
        for line in differences(before.config, config):
            listener.say(f"  changed: {line}")
        run = TrainedRun.of(directory, record)
        images = _open_images(run, data, None if source is None else as_source(source), listener)
        ranks.require_same(fingerprint(images), OTHER_IMAGES)
        if data is not None:
            record["data"] |= dataclasses.asdict(data)
        trainer = _create(run, images, encoder, ranks)
        _restore(trainer, run, "epochs" not in changes, listener)
        ranks.require_same(
            trainer.state.step, f"The processes read different checkpoints; {path} must lie on a shared disk."
        )
        if ranks.is_first:
            record["commands"].append(list(command) or sys.argv)
            directory.write("run.json", record)
        steps = f"step {trainer.state.step} of {trainer.schedule.total_steps}"
        listener.say(f"{images.description}: {len(images)} images; resuming {directory.path} at {steps}")
        return trainer.run(directory, listener)


def _require_accepted(before: TrainedRun, config: Config, changes: dict[str, Any], accepts: bool) -> None:
    """Raises ConfigError where the changes need `--accept-changes`, or cannot be made at all."""
    learned = {name: value for name, value in changes.items() if name not in RUN_SETTINGS}
    if learned and not accepts:
        lines = differences(before.config, replaced(before.config, learned))
        raise ConfigError(
            f"A resumed run keeps its settings; these differ: {'; '.join(lines)}. Start a new run for them, or "
            f"accept them with --accept-changes."
        )
    validate(config)
    names = before.config.optimizer.name, config.optimizer.name
    if names[0] != names[1]:
        raise ConfigError(
            f"The checkpoint holds the state of {names[0]}, so optimizer.name cannot become {names[1]} in it. Start a "
            f"new run with --encoder.init {before.directory.path}."
        )


def _open_images(run: TrainedRun, data: DataSpec | None, source: ImageSource | None, listener: Listener) -> ImageSource:
    """The images of the run. Raises RunError where they are others than it started with."""
    path = run.directory.path
    if source is None:
        if data is None and not run.data.data:
            raise RunError(f"{path} was started with images from Python: pass them as `source` again.")
        try:
            source = open_source(data or dataclasses.replace(run.data, download=False), listener=listener)
        except DataError as error:
            hint = "" if data else " If the images have moved, give their new place with --data."
            raise DataError(f"{error}{hint}") from error
    if len(source) != run.num_images:
        raise RunError(
            f"{path} started with {run.num_images} images, {source.description} now holds {len(source)}. Resume needs the same data."
        )
    if run.record["data"].get("fingerprint", "") not in ("", fingerprint(source)):
        raise RunError(
            f"{path} started with other images than {source.description} now holds: as many, with other names. Resume needs the same data."
        )
    return source


def _create(run: TrainedRun, source: ImageSource, encoder: nn.Module | None, ranks: Ranks) -> Trainer:
    """The objects of the run's training, for this number of ranks."""
    path, shared = run.directory.path, run.images_per_norm
    if shared % ranks.size:
        raise ConfigError(
            f"{path} was run with micro-batches of {shared} images over all ranks, which {ranks.size} ranks "
            f"cannot share. Resume with a divisor of {shared}."
        )
    if run.own_encoder and encoder is None:
        raise RunError(f"{path} was started with a module of your own: pass one of the same shape as `encoder`.")
    config = dataclasses.replace(run.config, micro_batch_size=shared // ranks.size)
    if run.has_checkpoint:
        config = without_start(config)
    return Trainer.create(config, source, run.channels, encoder, SkippedImages(), ranks)


def _restore(trainer: Trainer, run: TrainedRun, keeps_plan: bool, listener: Listener) -> None:
    """Loads the newest checkpoint; without one the run starts again. `keeps_plan`: keep the corrected number of steps."""
    if not run.has_checkpoint:
        return
    newest, saved = checkpoint.load_newest(run.directory.checkpoints, listener.say)
    try:
        trainer.state.load_state_dict(saved)
    except (RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{newest} does not fit the run's config ({str(error).splitlines()[-1].strip()})."
        ) from error
    if not keeps_plan:
        trainer.state.planned_steps = 0
    elif steps := trainer.state.planned_steps:
        trainer.schedule = dataclasses.replace(trainer.schedule, total_steps=steps)
    elif run.record.get("plan"):
        listener.say("  stopped before its number of steps was corrected; the first plan stays, however long it takes")
