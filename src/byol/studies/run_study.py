"""`byol study`: says what it will do, runs what is missing, and tells what came out."""

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
from byol.runtime.ranks import num_processes
from byol.studies import find_study
from byol.studies.budget import BUDGET, PROTOCOL, budgeted
from byol.studies.plot import plot
from byol.studies.runs import Overall, Task, images_per_run, plan, run_all
from byol.studies.study import UNTRAINED, ScaleName, Study
from byol.studies.study_report import TITLES, StudyResult, _measured, _scores, collect, markdown, protocol, table

MOST_JOBS = 4
"""Unless asked for: each holds the images and PyTorch in memory."""
MAY_CHANGE = re.compile(r"x \d+ seeds|^  accuracy.*|(?<=^  expected beforehand).*")
"""What of a protocol may differ between two calls: how many seeds, and what a version of this package measures of a run."""


@dataclass(frozen=True)
class Begun:
    """A study whose folder holds its protocol."""

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
) -> Begun:
    """Plans a study and writes protocol.txt to `out` (by default runs/studies/NAME-SCALE), where it is not there yet.

    Each run sees `images` images, or as many as let the study end in `minutes` (by default the scale's), or the epochs
    of `settings`, which replace the scale's settings in all variants alike; one that goes on keeps what it was begun
    with. `jobs` run at a time, by default one per core, up to four, on a CPU and one on a GPU. `listener` is told the question, of
    files that are left out, and of the speed test. Raises ConfigError for an unknown study, a time that is too short, too few
    images, where `out` was begun with another protocol, and under torchrun.
    """
    if not 1 <= seeds <= 10:
        raise ConfigError(f"seeds must be from 1 to 10; found {seeds}.")
    if num_processes() > 1:
        raise ConfigError(
            "A study starts its trainings one by one, which torchrun cannot share. Print their commands with --commands, "
            "start each under torchrun, and call the study again, without it, for the table."
        )
    if jobs is not None and jobs < 1:
        raise ConfigError(f"jobs must be at least 1; found {jobs}.")
    chosen = find_study(name)
    if scale not in chosen.scales:
        raise ConfigError(f"The study {name} has no scale {scale}; it has {', '.join(chosen.scales)}.")
    folder = Path(out) if out is not None else Path("runs/studies") / f"{name}-{scale}"
    tasks = plan(chosen, scale, seeds, folder, data=data, settings=settings)
    listener.say(f"study {name}: {chosen.asked(scale)}")
    source = open_source(tasks[0].data, listener=listener)
    _require_images(chosen, tasks, source)
    on_cpu = choose_device(tasks[0].config.device).type == "cpu"
    jobs = jobs or (min(num_cores(), MOST_JOBS) if on_cpu else 1)
    usual = chosen.scales[scale].minutes
    budget = None
    if "epochs" not in (settings or {}):
        budget = budgeted(
            folder, tasks, source, minutes=minutes, images=images, usual_minutes=usual, jobs=jobs, listener=listener
        )
    elif minutes is not None or images is not None:
        raise ConfigError("settings give epochs, beside minutes or images; give one of them.")
    if budget is not None:
        fitted = {**(settings or {}), "epochs": budget["images_per_run"] / len(source)}
        tasks = plan(chosen, scale, seeds, folder, data=data, settings=fitted)
    said = protocol(chosen, scale, seeds, images_per_run(tasks, len(source)), source.description, settings or {})
    _keep_protocol(folder, said, budget)
    return Begun(chosen, scale, folder, tasks, said, jobs)


def _require_images(study: Study, tasks: list[Task], source: ImageSource) -> None:
    """Raises ConfigError where the images are grey and the study needs colour, or are fewer than a batch."""
    if study.needs_colour and source.channels(0) != 3:
        raise ConfigError(
            f"The study {study.name} removes colour augmentations, and {source.description} is gray. Name colour images with --data (cifar10, with --download)."
        )
    if (batch := max(task.config.batch_size for task in tasks)) > len(source):
        raise ConfigError(
            f"The study {study.name} trains on batches of {batch}; {source.description} has {len(source):,} images, which are too few."
        )


def carry_out(
    begun: Begun,
    *,
    listener: Listener = SILENT,
    overall: Overall = lambda share, note: None,
) -> StudyResult | int:
    """Runs what a study lacks, one directory per variant and seed; then study.json, study.md and study.png.

    `listener` is told of one training at a time, `overall` of several. The number of the signal where one stopped it.
    """
    for line in begun.protocol:
        listener.say(line)
    if stopped_by := run_all(begun.tasks, begun.jobs, listener, overall):
        return stopped_by
    result = collect(begun.study, begun.scale, begun.tasks, begun.protocol)
    write(result, begun.folder)
    return result


def training_command(task: Task, num_ranks: int = 1) -> str:
    """The command of a run of a study by itself; once it has ended the study takes its result from there.

    Micro-batches are given as `num_ranks` processes share them. Raises ConfigError where they cannot.
    """
    config = task.config
    if num_ranks < 1 or (config.micro_batch_size or config.batch_size) % num_ranks:
        raise ConfigError(
            f"{num_ranks} ranks cannot share the micro-batches of {config.micro_batch_size or config.batch_size} images of "
            f"{task.path.name}. Give --ranks a divisor."
        )
    config = replace(config, micro_batch_size=config.micro_batch_size // num_ranks)
    where = ["--data-root", task.data.root] if task.data.root else []
    settings = as_options(changed_settings(recipe(task.recipe).config, config))
    words = ["byol", "pretrain", "--data", task.data.data, *where, "--recipe", task.recipe, *settings]
    return shlex.join([*words, "--out", str(task.path)])


def _keep_protocol(folder: Path, said: list[str], budget: Mapping[str, Any] | None) -> None:
    """Writes the protocol and the budget, or checks that they are what the study was begun with (seeds may be added)."""
    file = folder / PROTOCOL
    text = "\n".join(said) + "\n"
    if file.exists():
        before = file.read_text().splitlines()
        for old, new in zip_longest(before, said, fillvalue="nothing"):
            if MAY_CHANGE.sub("", old) != MAY_CHANGE.sub("", new):
                raise ConfigError(
                    f"{folder} holds a study with another protocol: {old.strip()!r} there, {new.strip()!r} now. Go on with the "
                    "same data and settings, or choose another --out."
                )
    make_folder(folder)
    if budget is not None:
        write_json(folder / BUDGET, budget)
    write_atomically(file, text.encode(errors="backslashreplace"))


def write(result: StudyResult, out: Path) -> None:
    """study.json, study.md and study.png in `out`."""
    header, rows = table(result)
    content = {
        "study": result.study.name,
        "scale": result.scale,
        "question": result.study.asked(result.scale),
        "protocol": result.protocol,
        "source": result.study.source,
        "paper": {v.name: v.paper for v in result.study.variants},
        "paper_metric": result.study.paper_measure,
        "measures": {measure: TITLES[measure] for measure in _measured(result)},
        "untrained": UNTRAINED,
        "outcomes": result.outcomes,
        "scores": {name: _scores(result.outcomes[name]) for name in result.outcomes},
        "table": {"header": header, "rows": rows},
        "judgements": [asdict(j) for j in result.judgements],
    }
    write_json(out / "study.json", finite(content))
    protocol = "\n".join(["```", *result.protocol, "```"])
    write_atomically(out / "study.md", f"{protocol}\n\n{markdown(result)}\n".encode(errors="backslashreplace"))
    plot(result, out / "study.png")
