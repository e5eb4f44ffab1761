"""`byol study`: says what it will do, runs what is missing, and tells what came out."""

import re
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

from byol.commands.trainer import Say, Show
from byol.data.open import open_source
from byol.errors import ConfigError
from byol.runtime.record import make_folder, write_atomically
from byol.studies import find_study
from byol.studies.runs import images_per_run, plan, run_all
from byol.studies.study import ScaleName
from byol.studies.study_report import StudyResult, collect, protocol, write

SEEDS = re.compile(r"x \d+ seeds")
"""What of a protocol may change between two calls."""


def study(
    name: str,
    *,
    scale: ScaleName = "tiny",
    seeds: int = 3,
    out: str | Path | None = None,
    data: str = "",
    data_root: str = "",
    download: bool = False,
    jobs: int = 1,
    settings: Mapping[str, Any] | None = None,
    say: Say = print,
    show: Show = lambda progress: None,
) -> StudyResult | int:
    """Runs a study, or goes on with it where `out` holds part of it; the number of the signal where one stopped it.

    `out`: runs/studies/NAME-SCALE by default. Writes protocol.txt before the first run, then one directory per
    variant and seed, then study.json, study.txt and study.png. `settings` replace the scale's in all variants alike.
    Raises ConfigError for an unknown study, and where `out` was begun with another protocol.
    """
    if not 1 <= seeds <= 10:
        raise ConfigError(f"seeds must be from 1 to 10; found {seeds}.")
    if jobs < 1:
        raise ConfigError(f"jobs must be at least 1; found {jobs}.")
    chosen = find_study(name)
    folder = Path(out) if out is not None else Path("runs/studies") / f"{name}-{scale}"
    tasks = plan(chosen, scale, seeds, folder, data=data, root=data_root, download=download, settings=settings)
    source = open_source(tasks[0].data.data, root=data_root, download=download)
    if chosen.needs_colour and source.channels(0) != 3:
        raise ConfigError(
            f"The study {name} removes colour augmentations, and {source.description} is gray. Name colour images with --data (cifar10, with --download)."
        )
    num_images = images_per_run(chosen.scales[scale], len(source), settings or {})
    said = protocol(chosen, scale, seeds, num_images, source.description, settings or {})
    _keep_protocol(folder, said)
    for line in said:
        say(line)
    if stopped_by := run_all(tasks, jobs, say, show):
        return stopped_by
    result = collect(chosen, scale, tasks, said)
    write(result, folder)
    return result


def _keep_protocol(folder: Path, said: list[str]) -> None:
    """Writes the protocol, or checks that it is the one that the study was begun with (seeds may be added)."""
    file = folder / "protocol.txt"
    text = "\n".join(said) + "\n"
    if file.exists():
        before = file.read_text().splitlines()
        for old, new in zip_longest(before, said, fillvalue="nothing"):
            if SEEDS.sub("", old) != SEEDS.sub("", new):
                raise ConfigError(
                    f"{folder} holds a study with another protocol: {old.strip()!r} there, {new.strip()!r} now. Go on with the "
                    "same data and settings, or choose another --out."
                )
    make_folder(folder)
    write_atomically(file, text.encode())
