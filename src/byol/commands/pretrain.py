"""From images to a trained encoder in a run directory."""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from byol import build
from byol.commands.cautions import cautions
from byol.commands.plan import TimeLimit, plan
from byol.commands.trainer import Run, Say, Show, Trainer, unfailing
from byol.config import Config, differences, dotted_names, from_dict, override, to_dict, validate
from byol.config import overrides as overrides_between
from byol.data.arrays import ArrayImages
from byol.data.dataset import DatasetImages
from byol.data.open import open_source, profile
from byol.data.source import ImageSource, SkippedImages, fingerprint
from byol.engine.pace import Pace
from byol.errors import CheckpointError, ConfigError, DataError, RunError
from byol.recipes import recipe as find_recipe
from byol.runtime import checkpoint
from byol.runtime.hardware import describe_machine
from byol.runtime.ranks import Ranks, join_ranks
from byol.runtime.record import FORMAT_VERSION, RunDirectory

APART = (
    "Some of the processes begin a run and others go on with one: --out must be the same folder on every machine, on a "
    "disk that they share."
)
OTHER_IMAGES = "The processes see different images: --data must hold the same files on every machine."


def _silent(_: Any) -> None:
    pass


@dataclass(frozen=True)
class DataArguments:
    """Which images, as said by the user."""

    data: str
    root: str = ""
    download: bool = False


def pretrain(
    data: Any,
    recipe: str = "small",
    *,
    out: str | Path | None = None,
    overrides: dict[str, Any] | None = None,
    encoder: nn.Module | None = None,
    minutes: float | None = None,
    data_root: str = "",
    download: bool = False,
    say: Say = print,
    show: Show = _silent,
    **settings: Any,
) -> Run:
    """Pretrains an encoder on `data` without labels and returns the run.

    `data`: what `byol pretrain --data` takes, or what `as_source` does. `settings` replace
    top-level values of the recipe (epochs=20), `overrides` nested ones ({"optimizer.name": "sgd"}, or the whole "config" of another run's run.json). `encoder`: a
    module of one's own, (N, C, S, S) -> (N, D). `minutes`: what the whole may take, in place of epochs. Raises ByolError for everything that a user can put right.
    """
    began = time.monotonic()
    chosen = find_recipe(recipe)
    config = override(chosen.config, {**settings, **(overrides or {})})
    limit = None if minutes is None else TimeLimit(minutes, began)
    if isinstance(data, str | Path):
        arguments = DataArguments(str(data), data_root, download)
        source = open_source(arguments.data, root=data_root, download=download, say=say)
    else:
        source, arguments = as_source(data), DataArguments("")
    given = frozenset(dotted_names({**settings, **(overrides or {})}))
    return start(
        config, recipe, arguments, source, out=out, encoder=encoder, limit=limit, given=given, say=say, show=show
    )


def as_source(data: Any) -> ImageSource:
    """Images from Python: an (N, H, W[, C]) uint8 array, an (N, C, H, W) uint8 tensor, a torch data set, a source."""
    if hasattr(data, "read"):
        return data
    if isinstance(data, torch.Tensor):
        return ArrayImages(data.permute(0, 2, 3, 1).numpy() if data.dim() == 4 else data.numpy())
    return ArrayImages(data) if isinstance(data, np.ndarray) else DatasetImages(data)


def start(
    config: Config,
    recipe_name: str,
    arguments: DataArguments,
    source: ImageSource,
    *,
    out: str | Path | None = None,
    encoder: nn.Module | None = None,
    limit: TimeLimit | None = None,
    given: frozenset[str] = frozenset(),
    say: Say = print,
    show: Show = _silent,
    command: Sequence[str] = (),
) -> Run:
    """Begins a run. The directory is made only once everything else is known to work.

    `given`: dotted settings that the user named, whatever their value: nothing is fitted in their place.

    Under torchrun every process calls this alike; the first rank writes and speaks.
    """
    with join_ranks() as ranks:
        if not ranks.is_first:
            say = show = _silent
        ranks.require_same("begins", APART)
        return _start(config, recipe_name, arguments, source, out, encoder, limit, given, say, show, command, ranks)


def _start(
    config: Config,
    recipe_name: str,
    arguments: DataArguments,
    source: ImageSource,
    out: str | Path | None,
    encoder: nn.Module | None,
    limit: TimeLimit | None,
    given: frozenset[str],
    say: Say,
    show: Show,
    command: Sequence[str],
    ranks: Ranks,
) -> Run:
    validate(config)
    if out is not None and ranks.is_first:
        RunDirectory.require_free(Path(out))
    asked, chosen = config, find_recipe(recipe_name)
    config, kept = build.fit_to_weights(config, chosen, given)
    images = fingerprint(source)
    ranks.require_same(images, OTHER_IMAGES)
    skipped = SkippedImages()
    seen = profile(source, skipped)
    say(
        f"{source.description}: {len(source)} images, {seen.channels} channel{'s' if seen.channels > 1 else ''}, median short side {seen.short_side} px"
    )
    planned = None
    if limit:
        if encoder is not None:
            raise ConfigError("A training of an encoder of your own is planned by epochs: leave minutes out.")
        planned = plan(limit, given, config, chosen, source, seen, ranks)
        config = planned.config
        say(f"  planned for {limit.minutes:g} min, by a short speed test")
        for note in planned.notes:
            say(f"  {note}")
    config, notes = build.fit_to_data(
        config,
        seen,
        len(source),
        adapts_batch=chosen.may_adapt_batch(asked, given),
        cuts_warmup=config.epochs != chosen.config.epochs and "optimizer.warmup_epochs" not in given,
        num_ranks=ranks.size,
    )
    for note in [*kept, *notes, *cautions(config, chosen, given, build.schedule(config, len(source)), ranks.size)]:
        say(f"  {note}")
    trainer = Trainer.create(config, source, seen.channels, encoder, skipped, ranks)
    path = Path(out) if out is not None else _free_directory(arguments.data or "array")
    if ranks.is_first:
        record = {
            "format_version": FORMAT_VERSION,
            "recipe": recipe_name,
            "asked": to_dict(asked),
            "config": to_dict(config),
            "data": {
                **dataclasses.asdict(arguments),
                "description": source.description,
                "num_images": len(source),
                "fingerprint": images,
                "channels": seen.channels,
            },
            "derived": trainer.derived(),
            "own_encoder": encoder is not None,
            "plan": {"minutes": limit.minutes, "notes": planned.notes} if limit and planned else None,
            "machine": describe_machine(trainer.device),
            "commands": [list(command) or sys.argv],
        }
        RunDirectory.create(path).write("run.json", record)
    run = RunDirectory(ranks.from_first(path))
    for line in trainer.summary():
        say(line)
    if planned:
        steps = trainer.schedule.total_steps
        trainer.pace = Pace(planned.deadline, steps, unfailing(say), planned.most_steps, planned.tested)
    say(f"  run directory {run.path}")
    with run.lock() if ranks.is_first else contextlib.nullcontext():
        return trainer.run(run, say, show)


def resume(
    path: str | Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    accept_changes: bool = False,
    data: DataArguments | None = None,
    source: Any = None,
    encoder: nn.Module | None = None,
    say: Say = print,
    show: Show = _silent,
    command: Sequence[str] = (),
) -> Run:
    """Continues a run where its newest checkpoint stands; the same numbers follow as without the stop.

    `data`: where the images lie now, if not where they did. `source` and `encoder` are needed again where the run was started with such objects. Raises RunError where the
    data is no longer the same number of images, ConfigError where `overrides` change a setting of the run, unless
    `accept_changes`. With another number of ranks than before each takes its share of the same micro-batches.
    """
    run = RunDirectory.open(Path(path))
    record = run.record()
    asked, before = (from_dict(Config, record[name]) for name in ("asked", "config"))
    named = overrides_between(asked, override(asked, overrides or {}))
    resolved = override(before, named)
    changes, changed = overrides_between(before, resolved), differences(before, resolved)
    if changes:
        if not accept_changes:
            raise ConfigError(
                f"A resumed run keeps its settings; these differ: {'; '.join(changed)}. Start a new run for them, or "
                f"accept them with --accept-changes."
            )
        validate(resolved)
        if resolved.optimizer.name != before.optimizer.name:
            raise ConfigError(
                f"The checkpoint holds what {before.optimizer.name} remembers, so optimizer.name cannot become "
                f"{resolved.optimizer.name} in it. Start a new run with --encoder.init {path}."
            )
        record |= {"asked": to_dict(override(asked, changes)), "config": to_dict(resolved)}
    with join_ranks() as ranks, run.lock() if ranks.is_first else contextlib.nullcontext():
        if not ranks.is_first:
            say = show = _silent
        ranks.require_same("goes on", APART)
        for line in changed:
            say(f"  changed: {line}")
        together = resolved.micro_batch_size * record["derived"]["num_ranks"]
        if together % ranks.size:
            raise ConfigError(
                f"{path} was run with micro-batches of {together} images over all ranks, which {ranks.size} ranks "
                f"cannot share. Resume with a divisor of {together}."
            )
        shared = dataclasses.replace(resolved, micro_batch_size=together // ranks.size)
        source = None if source is None else as_source(source)
        return _resume(run, record, shared, data, source, encoder, say, show, command, ranks, "epochs" not in changes)


def _resume(
    run: RunDirectory,
    record: dict[str, Any],
    config: Config,
    data: DataArguments | None,
    source: ImageSource | None,
    encoder: nn.Module | None,
    say: Say,
    show: Show,
    command: Sequence[str],
    ranks: Ranks,
    keeps_plan: bool,
) -> Run:
    """`keeps_plan`: of a training by time, with the number of steps that it was corrected to."""
    path = run.path
    if source is None:
        if data is None and not record["data"]["data"]:
            raise RunError(f"{path} was started with images from Python: pass them as `source` again.")
        began = DataArguments(**{name: record["data"][name] for name in ("data", "root", "download")})
        arguments = data or dataclasses.replace(began, download=False)
        try:
            source = open_source(arguments.data, root=arguments.root, download=arguments.download, say=say)
        except DataError as error:
            hint = "" if data else " If the images have moved, say where to with --data."
            raise DataError(f"{error}{hint}") from error
    if len(source) != record["data"]["num_images"]:
        raise RunError(
            f"{path} began with {record['data']['num_images']} images, {source.description} now holds {len(source)}. Resume needs the same data."
        )
    if record["data"].get("fingerprint", "") not in ("", fingerprint(source)):
        raise RunError(
            f"{path} began with other images than {source.description} now holds: as many, with other names. Resume needs the same data."
        )
    ranks.require_same(fingerprint(source), OTHER_IMAGES)
    if data is not None:
        record["data"] |= dataclasses.asdict(data)
    if record["own_encoder"] and encoder is None:
        raise RunError(f"{path} was started with a module of your own: pass one of the same shape as `encoder`.")
    skipped = SkippedImages()
    if checkpoint.saved(run.checkpoints):  # which hold the weights it started from
        config = dataclasses.replace(config, encoder=dataclasses.replace(config.encoder, init="", pretrained=False))
    trainer = Trainer.create(config, source, record["data"]["channels"], encoder, skipped, ranks)
    if checkpoint.saved(run.checkpoints):  # else it was stopped before its first, and begins again
        newest, saved = checkpoint.load_newest(run.checkpoints, say)
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
        elif record.get("plan"):
            say("  stopped before its number of steps was corrected; the first plan stays, however long it takes")
    ranks.require_same(
        trainer.state.step, f"The processes read different checkpoints; {path} must lie on a shared disk."
    )
    if ranks.is_first:
        record["commands"].append(list(command) or sys.argv)
        run.write("run.json", record)
    say(
        f"{source.description}: {len(source)} images; resuming {run.path} at step {trainer.state.step} of {trainer.schedule.total_steps}"
    )
    return trainer.run(run, say, show)


def _free_directory(data: str) -> Path:
    """runs/NAME-1, or the next number that is free."""
    name = Path(data).resolve().name.removesuffix(".parquet") or "run"
    number = 1
    while (Path("runs") / f"{name}-{number}").exists():
        number += 1
    return Path("runs") / f"{name}-{number}"
