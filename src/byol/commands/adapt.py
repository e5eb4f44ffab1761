"""Adaptation: training on from given weights, with a guard that keeps the start unless the training made it better."""

import dataclasses
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from byol.assembly.settings import Asked
from byol.assembly.starts import copy_start
from byol.assembly.trained_run import TrainedRun
from byol.assembly.views import plain_views
from byol.commands.pretrain import Request, free_directory, start
from byol.commands.resume import resume
from byol.config import Config, dotted_names, replaced
from byol.data.labelled import labelled_splits
from byol.data.open import as_source, open_source
from byol.data.prepare_photos import shrink_photos
from byol.data.profile import profile
from byol.data.source import ImageSource, SkippedImages
from byol.data.spec import DataSpec, as_spec
from byol.data.subset import Subset
from byol.encoder.encoder import Encoder, EncoderDescription
from byol.encoder.encoder_file import load_encoder, save_encoder
from byol.engine.progress import Progress
from byol.errors import CollapseError, DataError, NonFiniteError, RunError
from byol.evaluate.features import extract
from byol.evaluate.guard import Decision, Measured, decide, label_correct, sample_of_labelled
from byol.evaluate.label_free import measure_without_labels
from byol.evaluate.view_encodings import ViewedImages
from byol.nets.encoder import takes_any_size
from byol.optim.schedules import total_steps
from byol.recipes import recipe as find_recipe
from byol.runtime import checkpoint
from byol.runtime.files import finite, make_folder, read_json, write_json
from byol.runtime.hardware import choose_device, fuses_views
from byol.runtime.listener import SILENT, Listener
from byol.runtime.paths import require_outside, user_path
from byol.training.plan import TimeLimit, require_no_epochs
from byol.training.run import Run
from byol.views.views import Views

THE_START, FAILED = "the start", "the training failed"
RECORD, START, TRAINING = "adapt.json", "start", "run"
"""Names in the folder of an adaptation: its record, the encoder that it started from, the run."""
MILESTONES = 4
"""Number of equal parts of the training whose ends are measured."""
DEFAULT_MINUTES, MOST_EPOCHS = 30.0, 30.0
"""Limits of a training for which neither minutes nor epochs are given."""
LARGE_VIEW, VIEW_SCALE, VIEW_STEP = 128, 1.4, 32
"""Smallest image size of a start for which training views are smaller than it, their ratio, and their multiple in pixels."""
UNLABELLED, BATCH = 512, 64
"""Number of images on which encoders are compared without labels, and of views in a forward pass."""


@dataclass(frozen=True)
class Adaptation:
    """A finished or stopped adaptation."""

    path: Path
    """Folder with the kept encoder (for `byol.load`), the start, the run and adapt.json."""
    run: Run
    decision: Decision | None
    """The guard's decision; None if the training was stopped."""

    def encoder(self) -> Encoder:
        """The kept encoder with its preprocessing."""
        return load_encoder(self.path)


@dataclass(frozen=True)
class _Guard:
    """The images on which encoders are measured: labelled ones, or those of the training with views of them."""

    images: ImageSource
    labelled: Subset | None
    data: DataSpec
    config: Config
    """Settings of the training."""
    listener: Listener

    def measure(self, name: str, step: int, encoder: Encoder) -> Measured:
        """The measures of one encoder."""
        device, about = choose_device(self.config.device), encoder.description
        encoder = encoder.to(device)
        source = self.images if self.labelled is None else self.labelled
        photos = shrink_photos(source, about.in_channels, about.stored_side, self.data, listener=self.listener)
        if self.labelled is None:
            chosen = np.random.default_rng(0).permutation(len(photos))[:UNLABELLED]
            photos = Subset(photos, np.sort(chosen), photos.description)
        found = extract(encoder, photos, about.in_channels, device, listener=self.listener, work=f"measuring {name}")
        if found.labels is not None and self.labelled is not None:
            return Measured(name, step, label_correct(found.vectors, found.labels))
        sample = Subset(photos, found.indices.numpy(), photos.description)
        viewed = ViewedImages(sample, about.in_channels, self._views(about, len(sample)), 2, min(BATCH, len(sample)))
        return Measured(name, step, without_labels=measure_without_labels(encoder, viewed, device, found.vectors))

    def _views(self, about: EncoderDescription, count: int) -> Views:
        """The training's two distributions at the encoder's image size."""
        views = dataclasses.replace(self.config.views, size=about.image_size, mean=about.mean, std=about.std)
        config = dataclasses.replace(self.config, batch_size=count, seed=0, views=views)
        return plain_views(config, fused=fuses_views(config.kernels))


def adapt(
    start_from: str | Path,
    data: Any,
    *,
    weights: str | Path = "",
    prefix: str = "",
    labelled: str | DataSpec = "",
    minutes: float | None = None,
    recipe: str = "small",
    out: str | Path | None = None,
    overrides: dict[str, Any] | None = None,
    asked: Asked | None = None,
    milestones: int = MILESTONES,
    command: Sequence[str] = (),
    say: Callable[[str], None] = print,
    show: Callable[[Progress], None] = SILENT.step,
    work: Callable[[str, int, int], None] = SILENT.work,
    **settings: Any,
) -> Adaptation:
    """Trains an encoder on from `start_from` on images without labels, and keeps the better of start and result.

    `start_from`: `timm:MODEL`, whose weights timm downloads or the file `weights` holds (`prefix`: as for `import_timm`), a run, or the
    folder of an encoder. `labelled`: images with labels; the guard then compares kNN and linear accuracy, else measures
    that need no labels. `milestones`: number of equal parts of the training whose ends are measured. `minutes`: time of
    the whole command; without it and `epochs`, half an hour or 30 epochs at most. `asked`: the training, in place of
    `recipe`, `overrides` and `settings`. The other arguments are those of `pretrain`. Raises ByolError for every error that the user can correct.
    """
    began, listener = time.monotonic(), Listener(say, work, show)
    if asked is None:
        named, base = {**settings, **(overrides or {})}, find_recipe(recipe)
        asked = Asked(replaced(base.config, named), base, frozenset(dotted_names(named)))
    limit = _limit(asked, minutes, began)
    spec = as_spec(data) if isinstance(data, str | Path | DataSpec) else DataSpec("")
    path = free_directory(spec.data or "array") if out is None else user_path(out)
    _require_free(path)
    require_outside(path, spec.data)
    source = open_source(spec, listener=listener) if spec.data else as_source(data)
    images = _labelled(labelled, listener)
    make_folder(path)
    try:
        about = profile(source, SkippedImages())
        encoder = copy_start(start_from, path / START, weights=weights, prefix=prefix, images=about, say=say)
        asked = _with_start(asked, encoder, path / START)
        _record(path, start_from, weights, labelled, command)
        guard = _Guard(source, images, spec, asked.config, listener)
        measuring = time.monotonic()
        first = guard.measure(THE_START, 0, encoder)
        request = Request(asked, recipe, spec, source, path / TRAINING, milestones=milestones, command=command)
        limit = _less(limit, milestones * (time.monotonic() - measuring))
        request = dataclasses.replace(request, limit=limit, limit_is_given=minutes is not None)
        run = _train(lambda: start(request, listener), path / TRAINING, listener)
    finally:
        if not (path / TRAINING).exists():  # so that the same command can be given again
            shutil.rmtree(path, ignore_errors=True)
    return _finish(path, run, guard, first, listener)


def continue_adaptation(
    path: str | Path,
    *,
    say: Callable[[str], None] = print,
    show: Callable[[Progress], None] = SILENT.step,
    work: Callable[[str, int, int], None] = SILENT.work,
    command: Sequence[str] = (),
) -> Adaptation:
    """Continues a stopped adaptation: its training, then the guard. Raises RunError if `path` is no adaptation."""
    folder, listener = user_path(path), Listener(say, work, show)
    record = read_json(folder / RECORD)
    if record is None or not (folder / TRAINING / "run.json").exists():
        raise RunError(f"{folder} holds no adaptation to continue; start one with byol adapt START --data YOUR_FOLDER.")
    run = _train(lambda: resume(folder / TRAINING, say=say, show=show, command=command), folder / TRAINING, listener)
    if not run.finished:
        return Adaptation(folder, run, None)
    trained = TrainedRun.open(folder / TRAINING)
    source = open_source(dataclasses.replace(trained.data, download=False), listener=listener)
    guard = _Guard(source, _labelled(DataSpec(**record["labelled"]), listener), trained.data, trained.config, listener)
    return _finish(folder, run, guard, guard.measure(THE_START, 0, load_encoder(folder / START)), listener)


def _train(train: Callable[[], Run], path: Path, listener: Listener) -> Run:
    """The run of a training. A training that diverged or collapsed gives a run with the verdict FAILED."""
    try:
        return train()
    except (NonFiniteError, CollapseError) as error:
        listener.say(str(error))
        return Run(path, finished=True, verdict=FAILED)


def _record(
    path: Path, start_from: str | Path, weights: str | Path, labelled: str | DataSpec, command: Sequence[str]
) -> None:
    """Writes adapt.json with the start, the labelled images and the command."""
    content = {
        "start": str(start_from),
        "weights": str(weights),
        "labelled": dataclasses.asdict(as_spec(labelled)),
        "commands": [list(command) or sys.argv],
    }
    write_json(path / RECORD, content)


def _finish(path: Path, run: Run, guard: _Guard, first: Measured, listener: Listener) -> Adaptation:
    """Measures the milestones, decides, and writes the kept encoder and the record."""
    if not run.finished:
        return Adaptation(path, run, None)
    files = [] if run.verdict == FAILED else _milestones(TrainedRun.open(run.path))
    last = checkpoint.step_of(files[-1]) if files else 0
    milestones = []
    for file in files:
        step = checkpoint.step_of(file)
        name = "the end" if step == last else f"step {step:,}"
        milestones.append(guard.measure(name, step, load_encoder(file)))
    decision = decide(first, milestones)
    best = path / START if decision.best is first else files[milestones.index(decision.best)]
    kept = load_encoder(path / START if decision.kept is first else best)
    save_encoder(path, kept.module, kept.description)
    entries = {
        "verdict": decision.verdict,
        "words": decision.words,
        "kept": decision.kept.name,
        "best": str(best.relative_to(path)),
        "measured": [each.entries() for each in (first, *milestones)],
    }
    write_json(path / RECORD, (read_json(path / RECORD) or {}) | finite(entries))
    listener.say(f"{decision.headline}: {decision.words}")
    return Adaptation(path, run, decision)


def _milestones(run: TrainedRun) -> list[Path]:
    """The checkpoints at the ends of the training's parts, and the last one; none that is nearly the last."""
    every = max(1, total_steps(run.config.milestone_epochs, run.num_images, run.config.batch_size))
    files = checkpoint.saved(run.directory.checkpoints)
    steps = {checkpoint.step_of(file): file for file in files}
    last = max(steps)
    return [file for step, file in steps.items() if step == last or (step % every == 0 and last - step > every / 2)]


def _less(limit: TimeLimit | None, seconds: float) -> TimeLimit | None:
    """The limit without the time that the guard takes after the training, but at least half of it."""
    if limit is None:
        return None
    return dataclasses.replace(limit, minutes=max(limit.minutes - seconds / 60, limit.minutes / 2))


def _limit(asked: Asked, minutes: float | None, began: float) -> TimeLimit | None:
    if minutes is not None:
        limit = TimeLimit(minutes, began)
        require_no_epochs(limit, asked)
        return limit
    return None if "epochs" in asked.given else TimeLimit(DEFAULT_MINUTES, began, MOST_EPOCHS)


def _require_free(path: Path) -> None:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunError(f"{path} exists already. Continue it with byol adapt --resume {path}, or choose another --out.")


def _labelled(labelled: str | DataSpec, listener: Listener) -> Subset | None:
    """The labelled images that the guard may see: four fifths of each class, or the training part. None without any."""
    spec = as_spec(labelled)
    if not spec.data:
        return None
    train, _ = labelled_splits(spec, listener=listener)
    assert train.labels is not None
    several = np.flatnonzero(np.bincount(train.labels)[train.labels] > 1)
    if not len(several):
        raise DataError(f"{train.description} has no class with two images, so that nothing can be measured.")
    return sample_of_labelled(Subset(train, several, train.description))


def _with_start(asked: Asked, encoder: Encoder, folder: Path) -> Asked:
    """The training as asked, from the start, with the recipe's care for weights and the start's image size."""
    about = encoder.description
    takes_any = about.name is not None and takes_any_size(about.name)
    size = about.image_size
    if size >= LARGE_VIEW and takes_any:
        size = VIEW_STEP * round(size / VIEW_SCALE / VIEW_STEP)
    encoded = about.image_size if takes_any else 0
    care = {name: value for name, value in asked.recipe.with_weights.items() if name != "encoder.norm"}  # see `resolve`
    wanted = {**care, "views.size": size, "views.encoded_size": encoded}
    changes = {name: value for name, value in wanted.items() if name not in asked.given}
    changes["encoder.init"] = str(folder)
    config, given = replaced(asked.config, changes), asked.given | {"encoder.init"}
    return dataclasses.replace(asked, config=config, given=given)
