"""From images to a trained encoder in a run directory."""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from byol.build.settings import fit_to_data, fit_to_weights
from byol.build.training import build_schedule
from byol.config import Config, dotted_names, override, to_dict, validate
from byol.data.open import DataArguments, as_source, open_source, profile
from byol.data.source import ImageSource, SkippedImages, fingerprint
from byol.engine.pace import Pace
from byol.errors import ConfigError
from byol.recipes import recipe as find_recipe
from byol.runtime.hardware import describe_machine
from byol.runtime.ranks import Ranks, join_ranks
from byol.runtime.run_directory import FORMAT_VERSION, RunDirectory
from byol.training.cautions import cautions
from byol.training.plan import TimeLimit, plan
from byol.training.run import Run
from byol.training.trainer import APART, OTHER_IMAGES, Say, Show, Trainer, silent, unfailing


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
    show: Show = silent,
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
    show: Show = silent,
    command: Sequence[str] = (),
) -> Run:
    """Begins a run. The directory is made only once everything else is known to work.

    `given`: dotted settings that the user named, whatever their value: nothing is fitted in their place.

    Under torchrun every process calls this alike; the first rank writes and speaks.
    """
    with join_ranks() as ranks:
        if not ranks.is_first:
            say = show = silent
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
    config, kept = fit_to_weights(config, chosen, given)
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
    config, notes = fit_to_data(
        config,
        seen,
        len(source),
        adapts_batch=chosen.may_adapt_batch(asked, given),
        cuts_warmup=config.epochs != chosen.config.epochs and "optimizer.warmup_epochs" not in given,
        num_ranks=ranks.size,
    )
    for note in [*kept, *notes, *cautions(config, chosen, given, build_schedule(config, len(source)), ranks.size)]:
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


def _free_directory(data: str) -> Path:
    """runs/NAME-1, or the next number that is free."""
    name = Path(data).resolve().name.removesuffix(".parquet") or "run"
    number = 1
    while (Path("runs") / f"{name}-{number}").exists():
        number += 1
    return Path("runs") / f"{name}-{number}"
