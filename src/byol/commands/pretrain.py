"""Pretraining: the start of a run, from images to a trained encoder in a run directory."""

import contextlib
import dataclasses
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from byol.assembly.cautions import about_pairs
from byol.assembly.settings import Asked, Resolved, resolve
from byol.config import dotted_names, replaced, to_dict, validate
from byol.data.named import PREFIX
from byol.data.open import as_source, open_source, unambiguous
from byol.data.prepare_photos import shrink_photos
from byol.data.profile import DataProfile, profile
from byol.data.source import ImageSource, SkippedImages, fingerprint
from byol.data.spec import DataSpec, as_spec
from byol.data.things import find_things
from byol.engine.pace import Deadline
from byol.engine.progress import Progress
from byol.errors import ConfigError
from byol.recipes import recipe as find_recipe
from byol.runtime.hardware import describe_machine
from byol.runtime.listener import SILENT, Listener
from byol.runtime.paths import require_outside, user_path
from byol.runtime.ranks import Ranks, join_ranks
from byol.runtime.run_directory import FORMAT_VERSION, RunDirectory
from byol.runtime.words import counted
from byol.training.plan import Plan, TimeLimit, default_limit, plan_by_time, require_no_epochs
from byol.training.run import Run
from byol.training.trainer import DIFFERENT_IMAGES, DIFFERENT_STARTS, Trainer

PREPARATION_SHARE = 1 / 3
"""Largest fraction of a time limit in which photos are stored. Beyond it the photos are decoded in every pass."""


@dataclass(frozen=True)
class Request:
    """A training to start."""

    asked: Asked
    recipe: str
    """Name of the recipe."""
    data: DataSpec
    """Location of the images; empty if they were passed from Python."""
    source: ImageSource
    out: str | Path | None = None
    """Run directory to create. None: the next free one in runs/."""
    encoder: nn.Module | None = None
    """Module that the user built as encoder, (N, C, S, S) -> (N, D). None: the encoder of the config."""
    limit: TimeLimit | None = None
    """Time limit in place of epochs."""
    limit_is_given: bool = True
    """Whether the user gave the limit."""
    milestones: int = 0
    """Number of equal parts of the training whose ends are kept as checkpoints, in place of config.milestone_epochs; 0: as the config has it."""
    command: Sequence[str] = ()
    """Command-line words that run.json records. Default: those of this process."""


def pretrain(
    data: Any,
    recipe: str = "small",
    *,
    out: str | Path | None = None,
    overrides: dict[str, Any] | None = None,
    encoder: nn.Module | None = None,
    minutes: float | None = None,
    layout: str = "",
    say: Callable[[str], None] = print,
    show: Callable[[Progress], None] = SILENT.step,
    **settings: Any,
) -> Run:
    """Pretrains an encoder on `data` without labels and returns the run.

    `data`: a string or path as for `byol pretrain --data`, a `byol.DataSpec`, or an object that `as_source` accepts.
    `layout`: NHW, NHWC or NCHW, if type and shape leave the order of an array's axes open.
    `settings` replace top-level settings of the recipe (epochs=20); `overrides` replace nested ones ({"optimizer.name": "sgd"},
    or the whole "config" of another run's run.json). `encoder`: a module that the user built, (N, C, S, S) -> (N, D).
    `minutes`: time of the whole training, in place of epochs; without both, the recipes `small` and `tonight` plan an hour at
    most (`training.plan.default_limit`). `say` receives each line of text, `show` the progress.
    Raises ByolError for every error that the user can correct.
    """
    start_time, listener = time.monotonic(), Listener(say, step=show)
    named = {**settings, **(overrides or {})}
    base = find_recipe(recipe)
    asked = Asked(replaced(base.config, named), base, frozenset(dotted_names(named)))
    limit = None if minutes is None else TimeLimit(minutes, start_time)
    if limit is None and encoder is None:
        limit = default_limit(asked, start_time)
    if isinstance(data, str | Path | DataSpec):
        spec = as_spec(data) if not layout else dataclasses.replace(as_spec(data), layout=layout)
        source = open_source(spec, listener=listener)
    else:
        spec, source = DataSpec("", layout=layout), as_source(data, layout)
    return start(
        Request(asked, recipe, spec, source, out=out, encoder=encoder, limit=limit, limit_is_given=minutes is not None),
        listener,
    )


def start(request: Request, listener: Listener = SILENT) -> Run:
    """Starts a run and trains it. The run directory is created only after all checks have passed.

    Under torchrun every process calls this function; only the first rank writes files and sends messages.
    """
    with join_ranks() as ranks:
        ranks.require_same("starts", DIFFERENT_STARTS)
        return _start(request, listener if ranks.is_first else SILENT, ranks)


def _start(request: Request, listener: Listener, ranks: Ranks) -> Run:
    asked, source, encoder = request.asked, request.source, request.encoder
    validate(asked.config)
    if encoder is not None and asked.config.views.encoded_size == -1:  # it may take one image size only
        asked = dataclasses.replace(asked, config=replaced(asked.config, {"views.encoded_size": 0}))
    _require_plannable(request)
    out = None if request.out is None else user_path(request.out)
    path = out or free_directory(request.data.data or "array")
    if ranks.is_first:
        require_outside(path, request.data.data)
        RunDirectory.require_free(path)
    images, things = fingerprint(source), find_things(source, asked.config.views.pairs)
    ranks.require_same((images, things and things.digest), DIFFERENT_IMAGES)
    skipped = SkippedImages()
    data = profile(source, skipped)
    listener.say(
        f"{source.description}: {counted(len(source), 'image')}, {counted(data.channels, 'channel')}, median short side {data.short_side} px"
    )
    if things:
        listener.say(f"  {things.words}")
    side = resolve(asked, data, len(source), num_ranks=ranks.size, epochs_are_final=False).config.views.stored_side
    seconds = PREPARATION_SHARE * 60 * request.limit.minutes if request.limit else float("inf")
    source = shrink_photos(
        source, data.channels, side, request.data, makes=True, skipped=skipped, listener=listener, most_seconds=seconds
    )
    request = dataclasses.replace(request, source=source)
    planned = _plan(request, data, listener, ranks)
    trial = planned.config if planned else None
    resolved = resolve(asked, data, len(source), num_ranks=ranks.size, trial=trial, epochs_are_final=planned is None)
    if request.milestones:
        every = {"milestone_epochs": resolved.config.epochs / request.milestones}
        resolved = dataclasses.replace(resolved, config=replaced(resolved.config, every))
    for line in [*data.notes, *resolved.cautions, *about_pairs(resolved.config, things)]:
        listener.say(f"  {line}")
    trainer = Trainer.create(resolved.config, source, data.channels, encoder, skipped, ranks, things)
    path = out or free_directory(request.data.data or "array")  # another training may have started since
    if ranks.is_first:
        RunDirectory.create(path).write("run.json", _record(request, resolved, data, images, trainer, planned))
    run = RunDirectory(ranks.from_first(path))
    for line in trainer.summary(run.path):
        listener.say(f"  {line}")
    if planned:
        trainer.deadline = Deadline(planned.deadline, listener.unfailing(), planned.most_steps)
        trainer.stage_costs = planned.stage_costs
    with run.lock() if ranks.is_first else contextlib.nullcontext():
        return trainer.run(run, listener)


def _require_plannable(request: Request) -> None:
    """Raises ConfigError if the training has a time limit and cannot be planned, before its images are read."""
    if request.limit is None:
        return
    require_no_epochs(request.limit, request.asked)
    if request.encoder is not None:
        raise ConfigError("A training with a module of your own as encoder needs epochs: leave minutes out.")


def _plan(request: Request, data: DataProfile, listener: Listener, ranks: Ranks) -> Plan | None:
    """The plan of a training with a time limit, sent to the listener; None without a limit."""
    limit = request.limit
    if limit is None:
        return None
    planned = plan_by_time(limit, request.asked, request.source, data, ranks)
    larger = "" if planned.is_largest else "; larger sizes would have too few passes"
    most = f", and {limit.most_epochs:g} epochs" if limit.most_epochs else ""
    given = "" if request.limit_is_given else " (your choice: --minutes or --epochs)"
    listener.say(f"  plan for at most {limit.minutes:g} min{most}{given}: {planned.notes[-1]}{larger}")
    expected = request.asked.recipe.expectation(planned.num_images)
    if expected and not planned.config.encoder.has_weights:
        listener.say(f"  {expected}")
    return planned


def _record(
    request: Request, resolved: Resolved, data: DataProfile, images: str, trainer: Trainer, planned: Plan | None
) -> dict[str, Any]:
    """The content of run.json."""
    return {
        "format_version": FORMAT_VERSION,
        "recipe": request.recipe,
        "asked": to_dict(request.asked.config),
        "config": to_dict(resolved.config),
        "data": {
            **dataclasses.asdict(request.data),
            "path": unambiguous(request.data.data),
            "description": request.source.description,
            "num_images": len(request.source),
            "fingerprint": images,
            "things": trainer.things and trainer.things.digest,
            "channels": data.channels,
            "classes": request.source.class_names,
            "number_format": data.number_format,
            "rule": None if trainer.rule is None else dataclasses.asdict(trainer.rule),
        },
        "derived": trainer.derived(),
        "own_encoder": request.encoder is not None,
        "notes": [*resolved.notes, *trainer.details()],
        "plan": {"minutes": request.limit.minutes, "notes": planned.notes} if request.limit and planned else None,
        "machine": describe_machine(trainer.assembly.device),
        "commands": [list(request.command) or sys.argv],
    }


def free_directory(data: str) -> Path:
    """The directory runs/NAME-1, or that with the next free number."""
    name = (
        re.sub(r"[^\w.-]+", "-", Path(data.removeprefix(PREFIX)).resolve().name.removesuffix(".parquet")).strip("-")
        or "run"
    )
    number = 1
    while (Path("runs") / f"{name}-{number}").exists():
        number += 1
    return Path("runs") / f"{name}-{number}"
