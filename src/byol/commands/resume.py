"""Resuming: a stopped run is continued from its newest checkpoint."""

import contextlib
import dataclasses
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from byol.assembly.trained_run import TrainedRun, without_start
from byol.config import RUN_SETTINGS, Config, changed_settings, differences, replaced, to_dict, validate
from byol.data.number_format import follow
from byol.data.open import as_source, open_source, unambiguous
from byol.data.prepare_photos import shrink_photos
from byol.data.source import ImageSource, SkippedImages, fingerprint, has_fingerprint
from byol.data.spec import DataSpec
from byol.data.things import Things, find_things
from byol.engine.metrics import read_metrics
from byol.engine.pace import Deadline
from byol.engine.progress import Progress
from byol.errors import CheckpointError, ConfigError, DataError, RunError
from byol.runtime import checkpoint
from byol.runtime.listener import SILENT, Listener
from byol.runtime.paths import user_path
from byol.runtime.ranks import Ranks, join_ranks
from byol.runtime.run_directory import RunDirectory
from byol.training.plan import TimeLimit
from byol.training.run import Run
from byol.training.trainer import DIFFERENT_IMAGES, DIFFERENT_STARTS, Trainer

NEWEST_ROWS = 20
"""Number of rows of metrics from which the speed of a run is estimated."""


def resume(
    path: str | Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    accept_changes: bool = False,
    minutes: float | None = None,
    data: DataSpec | None = None,
    source: Any = None,
    encoder: nn.Module | None = None,
    say: Callable[[str], None] = print,
    show: Callable[[Progress], None] = SILENT.step,
    command: Sequence[str] = (),
) -> Run:
    """Continues a run from its newest checkpoint, with the same results as without the stop.

    `data`: location of the images, if they have moved, and their cache; with an empty location the cache alone. `source`
    and `encoder` are required if the run was started with such objects. `minutes`: time until the end of the training, in
    place of its planned number of steps; a finished run is trained further with a new warm-up and decay of the learning rate
    (`Schedule.extended`). `overrides` may change `config.RUN_SETTINGS` (workers, device, ...); other changes need `accept_changes`. If the
    number of ranks differs, the ranks share the same micro-batches. Raises RunError if the images are not those of the run,
    ConfigError for changes that are not allowed.
    """
    limit = None if minutes is None else TimeLimit(minutes, time.monotonic())
    directory = RunDirectory.open(user_path(path))
    record = directory.record()
    before = TrainedRun.of(directory, record)
    if data:
        data = data.read_as(before.data).with_cache_of(before.data)
        record["data"] |= {"cache": data.cache, "cache_limit": data.cache_limit}
        data = data if data.data else None
    named = changed_settings(before.asked, replaced(before.asked, overrides or {}))
    config = replaced(before.config, named)
    changes = changed_settings(before.config, config)
    if changes:
        _require_accepted(before, config, changes, accept_changes)
        record |= {"asked": to_dict(replaced(before.asked, changes)), "config": to_dict(config)}
    with join_ranks() as ranks, directory.lock() if ranks.is_first else contextlib.nullcontext():
        listener = Listener(say, step=show) if ranks.is_first else SILENT
        ranks.require_same("continues", DIFFERENT_STARTS)
        for line in differences(before.config, config):
            listener.say(f"  changed: {line}")
        run = TrainedRun.of(directory, record)
        images = _open_images(run, data, None if source is None else as_source(source, run.data.layout), listener)
        things = _find_things(run, images, "views.pairs" in changes, listener)
        ranks.require_same((fingerprint(images), things and things.digest), DIFFERENT_IMAGES)
        if data is not None:
            record["data"] |= {**dataclasses.asdict(data), "path": unambiguous(data.data)}
        trainer = _create(run, images, things, encoder, ranks, listener)
        _restore(trainer, run, "epochs" not in changes, listener)
        if limit:
            _set_end(trainer, directory, limit, listener, ranks)
        ranks.require_same(
            trainer.state.step, f"The processes have different checkpoints. {path} must be on a shared disk."
        )
        if ranks.is_first:
            record["commands"].append(list(command) or sys.argv)
            directory.write("run.json", record)
        at = f"{directory.path} at step {trainer.state.step} of {trainer.schedule.last_step}"
        listener.say(f"{images.description}: {len(images)} images; resuming {at}")
        return trainer.run(directory, listener)


def _require_accepted(before: TrainedRun, config: Config, changes: dict[str, Any], accepts: bool) -> None:
    """Raises ConfigError if the changes need `--accept-changes`, or are not possible at all."""
    learned = {name: value for name, value in changes.items() if name not in RUN_SETTINGS}
    if learned and not accepts:
        lines = differences(before.config, replaced(before.config, learned))
        raise ConfigError(
            f"A resumed run keeps its settings, but these differ: {'; '.join(lines)}. Start a new run with them, or "
            f"add --accept-changes."
        )
    validate(config)
    names = before.config.optimizer.name, config.optimizer.name
    if names[0] != names[1]:
        raise ConfigError(
            f"The checkpoint has the state of {names[0]}, so optimizer.name cannot change to {names[1]}. Start a "
            f"new run with --encoder.init {before.directory.path}."
        )


def _open_images(run: TrainedRun, data: DataSpec | None, source: ImageSource | None, listener: Listener) -> ImageSource:
    """The images of the run. Raises RunError if they are not those it started with."""
    path = run.directory.path
    if source is None:
        if data is None and not run.data.data:
            raise RunError(f"{path} was started with images from Python. Pass them as `source` again.")
        try:
            source = open_source(data or dataclasses.replace(run.data, download=False), listener=listener)
        except DataError as error:
            hint = "" if data else " If the images have moved, give their new location with --data."
            raise DataError(f"{error}{hint}") from error
    if len(source) != run.num_images:
        raise RunError(
            f"{path} started with {run.num_images} images, but {source.description} now has {len(source)}. Resume needs the same data."
        )
    if not has_fingerprint(source, run.record["data"].get("fingerprint", "")):
        raise RunError(
            f"{path} started with other images than {source.description} now has: the number is equal, but names or pixels differ. "
            f"Resume needs the same data."
        )
    follow(source, run.rule)
    return source


def _find_things(run: TrainedRun, source: ImageSource, are_new: bool, listener: Listener) -> Things | None:
    """The things of the run, whose digest enters its record. Raises RunError if that has changed since the start and `are_new` does not say so."""
    things = find_things(source, run.config.views.pairs)
    if things and not are_new and things.digest != run.record["data"]["things"]:
        raise RunError(
            f"{run.directory.path} started with other things: --views.pairs {run.config.views.pairs} now groups the pictures differently. "
            f"Resume needs the same table."
        )
    run.record["data"]["things"] = things and things.digest
    if things:
        listener.say(f"  {things.words}")
    return things


def _create(
    run: TrainedRun,
    source: ImageSource,
    things: Things | None,
    encoder: nn.Module | None,
    ranks: Ranks,
    listener: Listener,
) -> Trainer:
    """The objects of the training, for the present number of ranks."""
    path, shared = run.directory.path, run.images_per_norm
    if shared % ranks.size:
        raise ConfigError(
            f"{path} was started with micro-batches of {shared} images over all ranks, which {ranks.size} ranks "
            f"cannot share equally. Resume with a number of ranks that divides {shared}."
        )
    if run.own_encoder and encoder is None:
        raise RunError(
            f"{path} was started with a module of your own. Pass a module of the same architecture as `encoder`."
        )
    config = dataclasses.replace(run.config, micro_batch_size=shared // ranks.size)
    if run.has_checkpoint:
        config = without_start(config)
    skipped = SkippedImages()
    photos = shrink_photos(
        source, run.channels, config.views.stored_side, run.data, makes=True, skipped=skipped, listener=listener
    )
    return Trainer.create(config, photos, run.channels, encoder, skipped, ranks, things)


def _restore(trainer: Trainer, run: TrainedRun, keeps_plan: bool, listener: Listener) -> None:
    """Loads the newest checkpoint. Without one, the run starts again. `keeps_plan`: keep the corrected number of steps."""
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
        trainer.state.segments = ()
    trainer.schedule = dataclasses.replace(trainer.schedule, segments=trainer.state.segments)


def _set_end(trainer: Trainer, directory: RunDirectory, limit: TimeLimit, listener: Listener, ranks: Ranks) -> None:
    """Moves the end of the training to the `limit`. The first estimate uses the speed of the run's newest steps."""
    rates = [row["images_per_second"] for row in read_metrics(directory.metrics)[-NEWEST_ROWS:]]
    images = limit.minutes * 60 * (statistics.median(rates) if rates else 1.0)
    state, schedule = trainer.state, trainer.schedule
    last_step = ranks.from_first(state.step + max(1, int(images / trainer.config.batch_size)))
    change = schedule.with_end if state.step < schedule.last_step else schedule.extended
    trainer.schedule = change(state.step, last_step)
    state.segments = trainer.schedule.segments
    trainer.deadline = Deadline(limit.deadline, listener.unfailing())
