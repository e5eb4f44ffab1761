"""`byol study`: states the protocol of a study, makes its missing runs, and writes the results."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from byol.config import as_options, changed_settings
from byol.data.open import open_source
from byol.data.source import ImageSource
from byol.data.spec import DataSpec
from byol.errors import ConfigError
from byol.recipes import recipe
from byol.runtime.files import finite, make_folder, write_atomically, write_json
from byol.runtime.hardware import choose_device, num_cores
from byol.runtime.listener import SILENT, Listener
from byol.runtime.paths import user_path
from byol.runtime.ranks import num_processes
from byol.studies import find_study
from byol.studies.budget import BUDGET, PROTOCOL, study_budget
from byol.studies.plot import plot
from byol.studies.runs import Overall, Task, images_per_run, run_all, tasks_of
from byol.studies.study import UNTRAINED, ScaleName, Study
from byol.studies.study_report import TITLES, StudyResult, collect, markdown, measures_of, protocol, scores_of, table

MOST_JOBS = 4
"""Largest default number of runs at a time on a CPU: each holds the images and PyTorch in memory."""
MAY_CHANGE = re.compile(r"x \d+ seeds|^  accuracy.*|(?<=^  expected beforehand).*")
"""Parts of a protocol that may differ when a study continues: the number of seeds, and the measures of this version."""


@dataclass(frozen=True)
class PlannedStudy:
    """A study whose runs are planned and whose folder holds its protocol."""

    study: Study
    scale: ScaleName
    folder: Path
    tasks: list[Task]
    protocol: list[str]
    jobs: int


def begin(
    name: str,
    *,
    scale: ScaleName = "tiny",
    seeds: int = 3,
    out: str | Path | None = None,
    data: str | DataSpec = "",
    settings: Mapping[str, Any] | None = None,
    minutes: float | None = None,
    images: int | None = None,
    jobs: int | None = None,
    listener: Listener = SILENT,
) -> PlannedStudy:
    """Plans a study and writes protocol.txt to `out`, by default runs/studies/NAME-SCALE.

    The length of a run is `images` images, or fits the study into `minutes` (by default the scale's), or is the epochs in
    `settings`; a study that continues keeps its recorded length. `settings` replace the scale's in all variants. `jobs`
    runs go at a time: by default one per core, at most four, on a CPU, and one on a GPU. `listener` gets the question,
    the files that are left out, and the speed test. Raises ConfigError for an unknown study, too little time, too few
    images, an `out` with another protocol, and under torchrun.
    """
    if not 1 <= seeds <= 10:
        raise ConfigError(f"seeds must be from 1 to 10; found {seeds}.")
    if num_processes() > 1:
        raise ConfigError(
            "torchrun cannot share a study, which starts its trainings one by one. Print their commands with --commands, "
            "start each under torchrun, then call the study again without torchrun for the table."
        )
    if jobs is not None and jobs < 1:
        raise ConfigError(f"jobs must be at least 1; found {jobs}.")
    study = find_study(name)
    if scale not in study.scales:
        raise ConfigError(f"The study {name} has no scale {scale}; it has {', '.join(study.scales)}.")
    folder = user_path(out) if out is not None else Path("runs/studies") / f"{name}-{scale}"
    tasks = tasks_of(study, scale, seeds, folder, data=data, settings=settings)
    listener.say(f"study {name}: {study.question_at(scale)}")
    source = open_source(tasks[0].data, listener=listener)
    _require_images(study, tasks, source)
    on_cpu = choose_device(tasks[0].config.device).type == "cpu"
    jobs = jobs or (min(num_cores(), MOST_JOBS) if on_cpu else 1)
    usual = study.scales[scale].minutes
    budget = None
    if "epochs" not in (settings or {}):
        budget = study_budget(
            folder, tasks, source, minutes=minutes, images=images, usual_minutes=usual, jobs=jobs, listener=listener
        )
    elif minutes is not None or images is not None:
        raise ConfigError("Both epochs in settings and minutes or images are given; give only one of them.")
    if budget is not None:
        fitted = {**(settings or {}), "epochs": budget["images_per_run"] / len(source)}
        tasks = tasks_of(study, scale, seeds, folder, data=data, settings=fitted)
    lines = protocol(study, scale, seeds, images_per_run(tasks, len(source)), source.description, settings or {})
    _write_protocol(folder, lines, budget)
    return PlannedStudy(study, scale, folder, tasks, lines, jobs)


def _require_images(study: Study, tasks: list[Task], source: ImageSource) -> None:
    """Raises ConfigError if the study needs colour images and these are gray, or if they are fewer than a batch."""
    if study.needs_colour and source.channels(0) != 3:
        raise ConfigError(
            f"The study {study.name} needs colour images, and {source.description} is gray. Give colour images with --data (for example cifar10, with --download)."
        )
    if (batch := max(task.config.batch_size for task in tasks)) > len(source):
        raise ConfigError(
            f"The study {study.name} needs at least {batch} images, one batch; {source.description} has {len(source):,}. Give more images with --data."
        )


def carry_out(
    planned: PlannedStudy,
    *,
    listener: Listener = SILENT,
    overall: Overall = lambda share, note: None,
) -> StudyResult | int:
    """Makes the missing runs, one directory per variant and seed, then writes study.json, study.md and study.png.

    Returns the result, or the number of the signal that stopped the study. `listener` gets the progress of a single
    training, `overall` that of several at a time.
    """
    for line in planned.protocol:
        listener.say(line)
    if stopped_by := run_all(planned.tasks, planned.jobs, listener, overall):
        return stopped_by
    result = collect(planned.study, planned.scale, planned.tasks, planned.protocol)
    write(result, planned.folder)
    return result


def training_command(task: Task, num_ranks: int = 1) -> str:
    """Command line that makes a single run of a study; the study then uses the finished run.

    The micro-batch size is per process, for `num_ranks` processes. Raises ConfigError if they cannot share a micro-batch.
    """
    config = task.config
    if num_ranks < 1 or (config.micro_batch_size or config.batch_size) % num_ranks:
        raise ConfigError(
            f"{num_ranks} ranks cannot share the micro-batches of {config.micro_batch_size or config.batch_size} images of "
            f"{task.path.name}. Give --ranks a divisor."
        )
    config = replace(config, micro_batch_size=config.micro_batch_size // num_ranks)
    root = ["--data-root", task.data.root] if task.data.root else []
    settings = as_options(changed_settings(recipe(task.recipe).config, config))
    command = ["byol", "pretrain", "--data", task.data.data, *root, "--recipe", task.recipe, *settings]
    return shlex.join([*command, "--out", str(task.path)])


def _write_protocol(folder: Path, lines: list[str], budget: Mapping[str, Any] | None) -> None:
    """Writes protocol and budget. Raises ConfigError if `folder` has another protocol; only the seeds may differ."""
    file = folder / PROTOCOL
    text = "\n".join(lines) + "\n"
    if file.exists():
        recorded = file.read_text().splitlines()
        for old, new in zip_longest(recorded, lines, fillvalue="nothing"):
            if MAY_CHANGE.sub("", old) != MAY_CHANGE.sub("", new):
                raise ConfigError(
                    f"{folder} holds a study with another protocol: {old.strip()!r} there, {new.strip()!r} now. Continue with the "
                    "same data and settings, or choose another --out."
                )
    make_folder(folder)
    if budget is not None:
        write_json(folder / BUDGET, budget)
    write_atomically(file, text.encode(errors="backslashreplace"))


def write(result: StudyResult, out: Path) -> None:
    """Writes study.json, study.md and study.png to `out`."""
    header, rows = table(result)
    content = {
        "study": result.study.name,
        "scale": result.scale,
        "question": result.study.question_at(result.scale),
        "protocol": result.protocol,
        "source": result.study.source,
        "paper": {v.name: v.paper for v in result.study.variants},
        "paper_metric": result.study.paper_measure,
        "measures": {measure: TITLES[measure] for measure in measures_of(result)},
        "untrained": UNTRAINED,
        "outcomes": result.outcomes,
        "scores": {name: scores_of(result.outcomes[name]) for name in result.outcomes},
        "table": {"header": header, "rows": rows},
        "judgements": [asdict(j) for j in result.judgements],
    }
    write_json(out / "study.json", finite(content))
    protocol = "\n".join(["```", *result.protocol, "```"])
    write_atomically(out / "study.md", f"{protocol}\n\n{markdown(result)}\n".encode(errors="backslashreplace"))
    plot(result, out / "study.png")
