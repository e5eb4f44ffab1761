"""The runs of a study, one directory per variant and seed. Finished runs are not repeated; stopped runs continue."""

import json
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from byol.assembly.encoder import untrained_encoder
from byol.assembly.settings import Asked
from byol.assembly.subject import subject_of
from byol.assembly.trained_run import TrainedRun
from byol.assembly.views import build_views
from byol.commands.evaluate import make_job
from byol.commands.pretrain import Request, start
from byol.commands.resume import resume
from byol.config import Config, replaced
from byol.data.labelled import labelled_splits
from byol.data.open import open_source
from byol.data.prepare_photos import shrink_photos
from byol.data.spec import DataSpec, as_spec
from byol.encoder.encoder import Encoder
from byol.engine.progress import Progress
from byol.errors import ByolError, ConfigError, EncoderError, NonFiniteError
from byol.evaluate.branch_measures import measure_branches
from byol.evaluate.features import labels_of
from byol.evaluate.knn import knn_predict
from byol.evaluate.linear import fit_linear
from byol.evaluate.protocols.linear_sgd import linear
from byol.evaluate.protocols.options import ProtocolOptions
from byol.recipes import recipe
from byol.runtime.duration import in_words
from byol.runtime.files import read_json, write_json
from byol.runtime.hardware import choose_device, num_cores
from byol.runtime.listener import SILENT, Listener
from byol.runtime.stopping import StopRequest
from byol.studies.study import UNTRAINED, Probe, ScaleName, Study, slug, variant_settings
from byol.training.run import Run

OUTCOME = "outcome.json"
Overall = Callable[[float, str], None]
"""Callback for the progress of runs in parallel: (fraction that is done, text)."""


@dataclass(frozen=True)
class Task:
    """One run of a study; for `variant` None it only evaluates the untrained encoder."""

    variant: str | None
    config: Config
    recipe: str
    data: DataSpec
    path: Path
    probe: Probe = "l-bfgs"

    @property
    def asked(self) -> Asked:
        """The training's settings as a request for `pretrain`."""
        return Asked(self.config, recipe(self.recipe))

    @property
    def outcome(self) -> dict[str, Any] | None:
        """Outcome of the run; None if it is not finished."""
        return read_json(self.path / OUTCOME)


def tasks_of(
    study: Study,
    scale_name: ScaleName,
    num_seeds: int,
    out: Path,
    *,
    data: str | DataSpec = "",
    settings: Mapping[str, Any] | None = None,
) -> list[Task]:
    """All runs of the study, seed by seed, so that an unfinished study already compares all variants.

    `settings` replace the scale's in all variants.
    """
    scale = study.scales[scale_name]
    spec = as_spec(data)
    spec = replace(spec, data=spec.data or scale.data)
    base = replaced(recipe(scale.recipe).config, {**scale.settings, **(settings or {})})
    tasks = []
    for seed in range(num_seeds):
        for variant in (None, *study.variants_at(scale_name)):
            own = {"epochs": base.epochs * variant.passes, **variant_settings(variant, scale_name)} if variant else {}
            config = replaced(base, {**own, "seed": seed})
            folder = out / f"{slug(variant.name if variant else UNTRAINED)}-seed-{seed}"
            name = variant.name if variant else None
            tasks.append(Task(name, config, scale.recipe, spec, folder, scale.probe))
    return tasks


def images_per_run(tasks: list[Task], num_images: int) -> dict[str, int]:
    """Images per run by variant, before rounding to whole batches."""
    return {task.variant: round(task.config.epochs * num_images) for task in tasks if task.variant}


def run_all(
    tasks: list[Task], jobs: int, listener: Listener, overall: Overall = lambda share, note: None
) -> int | None:
    """Makes all runs that have no outcome yet; returns the number of the signal that stopped it, or None.

    With several `jobs` each run is a separate process with its share of the cores; `overall` then gets the progress
    instead of `listener`, and signals are passed on to the processes.
    """
    waiting = [task for task in tasks if task.outcome is None]
    listener.say(f"{len(tasks) - len(waiting)} of {len(tasks)} runs are finished; {len(waiting)} remain")
    if jobs > 1:
        return _run_processes(waiting, jobs, listener, overall)
    with StopRequest() as stop:  # for signals between two trainings; each training handles its own
        for number, task in enumerate(waiting, start=1):
            listener.say(f"run {number} of {len(waiting)}: {task.path.name}")
            if stopped_by := run_one(task, Listener(step=listener.step)) or stop.signal_number:
                return stopped_by
    return None


def run_one(task: Task, listener: Listener = SILENT) -> int | None:
    """Starts or continues a run, evaluates it and writes its outcome; returns the number of the signal that stopped it."""
    started, stopped_by = time.monotonic(), None
    if task.variant is None:
        task.path.mkdir(parents=True, exist_ok=True)
        outcome: dict[str, Any] = accuracies(_untrained(task), task)
    else:
        try:
            run = _train(task, listener)
        except NonFiniteError as error:
            outcome = {"failed": str(error), "knn": math.nan}
        else:
            if not run.finished:
                return run.signal_number
            stopped_by = run.signal_number
            result = json.loads((run.path / "result.json").read_text())
            try:
                outcome = {
                    **accuracies(run.encoder(), task),
                    **_measure(task),
                    "collapse": result["collapse"],
                    "verdict": result["verdict"],
                }
            except EncoderError as error:  # its features diverged although its loss stayed finite
                outcome = {"failed": str(error), "knn": math.nan}
    content = {"variant": task.variant, "seed": task.config.seed, **outcome, "seconds": time.monotonic() - started}
    write_json(task.path / OUTCOME, content)
    return stopped_by


def _train(task: Task, listener: Listener) -> Run:
    if (task.path / "run.json").exists():
        return resume(task.path, say=listener.say, show=listener.step)
    request = Request(task.asked, task.recipe, task.data, open_source(task.data), out=task.path)
    return start(request, listener)


def _untrained(task: Task) -> Encoder:
    return untrained_encoder(task.asked, open_source(task.data))


def accuracies(encoder: Encoder, task: Task) -> dict[str, float]:
    """Test accuracies in percent: `knn`, and `linear` by the task's probe, whose setting is chosen on training images."""
    config = task.config
    train, test = labelled_splits(replace(task.data, download=False))
    subject = subject_of(task.path.name, encoder)
    job = make_job(
        subject, train, test, task.data, "paper", ProtocolOptions(), config.seed, config.device, config.workers, SILENT
    )
    bank, queries = job.features("train"), job.features("test")
    labels, truth = labels_of(bank), labels_of(queries)

    def percent(predicted: Tensor) -> float:
        return 100 * float((predicted == truth).float().mean())

    knn = percent(knn_predict(bank.vectors, labels, queries.vectors))
    if task.probe == "sgd":
        return {"knn": knn, "linear": linear(job).metrics["top-1"].value}
    return {"knn": knn, "linear": percent(fit_linear(bank.vectors, labels).predict(queries.vectors))}


def _measure(task: Task) -> dict[str, float]:
    """Measures of the projections of a fixed number of images, independent of the run's batch size."""
    run, device = TrainedRun.open(task.path), choose_device(task.config.device)
    source = open_source(replace(task.data, download=False))
    source = shrink_photos(source, run.channels, run.config.views.stored_side, task.data)
    method, views = run.method().to(device), build_views(run.config)
    return measure_branches(method, source, run.channels, views, run.images_per_norm, device).as_dict()


def _run_processes(waiting: list[Task], jobs: int, listener: Listener, overall: Overall) -> int | None:
    context = multiprocessing.get_context("spawn")
    threads = max(1, num_cores() // jobs)
    running: dict[Any, Task] = {}
    progress = StudyProgress([task for task in waiting if task.variant])
    queue = list(waiting)
    with StopRequest() as stop:
        while running or (queue and not stop.signal_number):
            while queue and len(running) < jobs and not stop.signal_number:
                task = queue.pop(0)
                progress.shares[task.path] = context.Value("d", 0.0, lock=False)
                process = context.Process(target=_child, args=(task, threads, progress.shares[task.path]))
                process.start()
                running[process] = task
                listener.say(f"started {task.path.name}")
            time.sleep(0.2)
            fraction, note = progress.fraction_and_note()
            if fraction < 1:
                overall(fraction, note)
            if number := stop.signal_number:
                for process in running:
                    if process.pid and process.is_alive():
                        os.kill(process.pid, number)
                for process in running:
                    process.join()
            for process in [p for p in running if not p.is_alive()]:
                task = running.pop(process)
                listener.say(f"{'finished' if task.outcome else 'stopped'} {task.path.name}")
                if task.outcome and task.variant:
                    progress.finished += 1
                    progress.shares[task.path].value = 1.0  # a diverged run stopped before its last step
                if process.exitcode and not stop.signal_number:
                    _stop_others(running, queue)
                    raise ConfigError(f"The run {task.path} failed for the reason above. The other runs were stopped.")
    return stop.signal_number


@dataclass
class StudyProgress:
    """Progress of trainings in parallel, measured in passes over the images."""

    trainings: list[Task]
    shares: dict[Path, Any] = field(default_factory=dict)
    """Finished fraction of each run, a shared number that the run's process updates."""
    finished: int = 0
    """Number of finished trainings."""
    now: Callable[[], float] = time.monotonic
    _first: dict[Path, float] = field(default_factory=dict)
    """First known fraction of each run; above 0 for continued runs."""

    def __post_init__(self) -> None:
        self._started = self.now()

    def fraction_and_note(self) -> tuple[float, str]:
        """(finished fraction of all passes, text); the text has the remaining time as soon as it can be estimated."""
        passes = done = done_here = 0.0
        for task in self.trainings:
            passes += task.config.epochs
            if task.path in self.shares and (share := self.shares[task.path].value):
                done += task.config.epochs * share
                done_here += task.config.epochs * (share - self._first.setdefault(task.path, share))
        note = f"{self.finished} of {len(self.trainings)} trainings finished"
        if done_here:
            note += f", about {in_words((self.now() - self._started) * (passes - done) / done_here)} left"
        return done / passes if passes else 1.0, note


def _stop_others(running: dict[Any, Task], queue: list[Task]) -> None:
    queue.clear()
    for process in running:
        process.terminate()
    for process in running:
        process.join()


def _child(task: Task, threads: int, share: Any) -> None:
    if hasattr(os, "setsid"):
        os.setsid()  # so that Ctrl-C reaches only the parent, which passes it on; a second one would interrupt saving
    torch.set_num_threads(threads)

    def show(progress: Progress) -> None:
        share.value = progress.step / progress.total_steps

    try:
        stopped_by = run_one(task, Listener(step=show))
    except ByolError as error:
        sys.exit(f"{task.path.name}: {error}")
    if stopped_by:
        sys.exit(f"{task.path.name} was stopped by signal {stopped_by}.")
