"""`byol.resume`: continue a stopped run."""

import contextlib
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from byol.config import Config, differences, from_dict, override, to_dict, validate
from byol.config import overrides as overrides_between
from byol.data.open import DataArguments, as_source, open_source
from byol.data.source import ImageSource, SkippedImages, fingerprint
from byol.errors import CheckpointError, ConfigError, DataError, RunError
from byol.runtime import checkpoint
from byol.runtime.ranks import Ranks, join_ranks
from byol.runtime.run_directory import RunDirectory
from byol.training.run import Run
from byol.training.trainer import APART, OTHER_IMAGES, Say, Show, Trainer, silent


def resume(
    path: str | Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    accept_changes: bool = False,
    data: DataArguments | None = None,
    source: Any = None,
    encoder: nn.Module | None = None,
    say: Say = print,
    show: Show = silent,
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
            say = show = silent
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
