"""Report of one or several runs, written to an HTML file."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from byol.assembly.subject import with_trained_columns
from byol.assembly.views import plain_views
from byol.data.open import open_source
from byol.data.prepare_photos import shrink_photos
from byol.data.source import Image, ImageSource
from byol.data.spec import DataSpec, as_spec
from byol.data.things import find_things
from byol.encoder.encoder import Encoder
from byol.encoder.encoder_file import load_encoder
from byol.errors import ByolError, DataError, EncoderError, RunError
from byol.report.advice import advice
from byol.report.branches import Branches, branches
from byol.report.charts import STUDY_CAPTIONS, charts, columns
from byol.report.comparison import Comparison, compare
from byol.report.differences import config_differences, settings
from byol.report.embedding_map import TSNE
from byol.report.look import MOST_THUMBNAILS, Sample, draw_sample, embed_sample, look
from byol.report.page import render
from byol.report.parts import MOST_IMAGES as MOST_IMAGES_WITH_PARTS
from byol.report.parts import QUICK_IMAGES, Parts, find_parts
from byol.report.study import studies_of
from byol.report.summary import RunSummary, read_runs
from byol.report.tile import Sheet, sheet
from byol.report.view_grid import partners_of, readable, view_grid
from byol.runtime.files import write_atomically
from byol.runtime.hardware import choose_device
from byol.runtime.listener import SILENT, Listener
from byol.runtime.paths import user_path
from byol.runtime.words import command

REPORT = "report.html"
MOST_IMAGES = 10_000
"""Largest number of images on the map."""
GRID_IMAGES, GRID_DRAWS = 6, 3
"""Number of images in the grid of views, and of pairs of views for each."""
GRID_SIDE = 112
"""Largest side of a view in the grid, in pixels."""
EMBEDDING_SECONDS = 3.0
"""Time for embedding images in the report at the end of a training, and for measuring them further."""


@dataclass
class _Looks:
    """Content about the images, and notes on missing parts."""

    sample: Sample | None = None
    runs: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Content of `look`, by number of the run. The next four have the same keys."""
    comparisons: dict[int, Comparison] = field(default_factory=dict)
    branches: dict[int, Branches] = field(default_factory=dict)
    parts: dict[int, Parts] = field(default_factory=dict)
    grids: dict[int, tuple[Sheet, list[str]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    description: str = ""
    cut_short: bool = False
    """Whether the time was too short to embed all requested images."""


def write_report(
    *runs: str | Path,
    data: str | DataSpec = "",
    out: str | Path | None = None,
    device: str = "auto",
    num_images: int = MOST_THUMBNAILS,
    seconds: float = float("inf"),
    slow_maps: bool = True,
    source: ImageSource | None = None,
    say: Callable[[str], None] = lambda line: None,
    show: Callable[[str, int, int], None] = SILENT.work,
) -> Path:
    """Writes one HTML page about the runs and returns its path, by default report.html in the first run.

    The page shows images of `data`, by default those of the first run: at most `num_images`, and only as many as can be
    embedded in `seconds`. If the images cannot be opened, the page says so and shows the rest. `say` receives a line about
    files that are left out. Raises RunError if one of `runs` is not a run directory.
    """
    if not runs:
        raise RunError("Give at least one run directory.")
    if not 2 <= num_images <= MOST_IMAGES:
        raise DataError(f"The number of images must be from 2 to {MOST_IMAGES:,}; found {num_images}.")
    path = _place(user_path(runs[0]), out)
    summaries = read_runs([user_path(run) for run in runs])
    looks, listener = _Looks(), Listener(say, show)
    try:
        source = _open(summaries[0], as_spec(data), listener) if source is None else source
        looks.description = source.description
        cache = as_spec(data).with_cache_of(summaries[0].trained.data)
        _fill(looks, summaries, source, cache, device, num_images, seconds, slow_maps, listener)
    except (ByolError, OSError) as error:
        looks.notes.append(f"The images are not shown: {error}")
    write_atomically(path, _page(summaries, looks).encode(errors="backslashreplace"))
    return path


def report_after(run: Path, source: ImageSource | None, listener: Listener) -> None:
    """Writes the report at the end of a training, with the images that can be embedded in a few seconds.

    The last line names the page, or the error. With several ranks, only the first writes.
    """
    if int(os.environ.get("RANK", "0")):
        return
    try:
        path = write_report(run, source=source, seconds=EMBEDDING_SECONDS, slow_maps=False)
        listener.say(f"report {path}: open it in a browser")
    except Exception as error:
        listener.say(f"no report was written ({error}); to write it: {command('report', run)}")


def _place(run: Path, out: str | Path | None) -> Path:
    path = run / REPORT if out is None else user_path(out)
    if path.is_dir():
        raise RunError(f"{path} is a directory; give a file with --out.")
    if out is not None and not path.parent.is_dir():
        raise RunError(f"The folder {path.parent} does not exist; make it, or choose another --out.")
    return path


def _open(run: RunSummary, spec: DataSpec, listener: Listener) -> ImageSource:
    if spec.data:
        return open_source(with_trained_columns(str(run.path), spec), labelled=True, listener=listener)
    trained_on = run.trained.data
    if not trained_on.data:
        raise DataError(f"{run.name} was started with images from Python. Give images with --data.")
    return open_source(replace(trained_on, root=spec.root or trained_on.root, download=False), listener=listener)


def _fill(
    looks: _Looks,
    runs: list[RunSummary],
    source: ImageSource,
    cache: DataSpec,
    device: str,
    num_images: int,
    seconds: float,
    slow: bool,
    listener: Listener,
) -> None:
    torch_device = choose_device(device)
    rate = 0.0
    for number, run in enumerate(runs):
        photos = shrink_photos(source, run.trained.channels, run.trained.config.views.stored_side, cache)
        looks.grids[number] = _grid(run, photos, looks.notes)
        try:
            encoder = _encoder(run).to(torch_device)
            if looks.sample is None:
                start_time = time.monotonic()
                looks.sample, vectors = draw_sample(
                    encoder, photos, torch_device, most=num_images, seconds=seconds, listener=listener
                )
                rate = len(vectors) / max(time.monotonic() - start_time, 1e-9)
                looks.cut_short = time.monotonic() - start_time > seconds and len(vectors) < min(
                    num_images, len(source)
                )
            else:
                vectors = embed_sample(encoder, replace(looks.sample, source=photos), torch_device)
            if len(vectors) != len(looks.sample.indices) or len(vectors) < 2:
                raise DataError("too few of the images can be decoded.")
            looks.runs[number] = look(looks.sample, vectors, slow=slow, listener=Listener(say=looks.notes.append))
        except ByolError as error:
            looks.notes.append(f"The images of {run.name} are not shown: {error}")
            continue
        most = MOST_IMAGES_WITH_PARTS if slow else QUICK_IMAGES
        _add_parts(looks, number, run, encoder, photos, torch_device, max(2, int(min(most, rate * seconds / 2))))
        try:
            seed = int(run.record["config"]["seed"])
            comparison = compare(encoder, looks.sample, vectors, torch_device, seconds / 2, rate, seed)
            looks.comparisons |= {} if comparison is None else {number: comparison}
            looks.branches[number] = branches(run, photos, torch_device, seconds / 2, rate)
        except ByolError as error:
            looks.notes.append(f"The accuracy and the variance over views of {run.name} are not shown: {error}")


def _add_parts(
    looks: _Looks, number: int, run: RunSummary, encoder: Encoder, photos: ImageSource, device: torch.device, most: int
) -> None:
    """Adds the parts of the first `most` images, or a note on why there are none."""
    assert looks.sample is not None
    try:
        looks.parts[number] = find_parts(encoder, replace(looks.sample, source=photos), device, most)
    except ByolError as error:
        looks.notes.append(f"The parts of the images of {run.name} are not shown: {error}")


def _encoder(run: RunSummary) -> Encoder:
    """The encoder of a finished or stopped run; for a run that is still training, that of its newest checkpoint."""
    if run.result is not None or run.trained.own_encoder:
        return load_encoder(run.path)
    if not run.trained.has_checkpoint:
        raise EncoderError("there is no checkpoint yet.")
    return run.trained.encoder()


def _grid(run: RunSummary, source: ImageSource, notes: list[str]) -> tuple[Sheet, list[str]]:
    """The views of a few images, in pairs where the run had such; a note if these images have no pairs."""
    config, channels = run.trained.config, run.trained.channels
    views, short_side = plain_views(config), config.views.decode_short_side
    images, indices = readable(source, channels, GRID_IMAGES, 4 * GRID_IMAGES, short_side=short_side)
    partners: list[list[tuple[Image, str]]] = []
    try:
        if things := find_things(source, config.views.pairs):
            partners = partners_of(source, indices, things, config.seed, GRID_DRAWS, channels, short_side)
    except DataError as error:
        notes.append(f"The pairs of {run.name} are not shown: {error}")
    names = [source.name(index) for index in indices]
    side = min(views.size, GRID_SIDE)
    grid = view_grid(views, images, names, draws=GRID_DRAWS, side=side, partners=partners)
    return sheet(grid.tiles, grid.columns, quality=85), grid.words


def _page(runs: list[RunSummary], looks: _Looks) -> str:
    sample = looks.sample if looks.runs else None
    thumbnails = None if sample is None else sheet(sample.thumbnails)
    studies = studies_of([run.path for run in runs])
    shown_studies = [study for study in studies if study.result is not None]
    metrics_of_runs = [columns(run.metrics) for run in runs]
    content = {
        "runs": [{"name": run.name, "metrics": metrics} for run, metrics in zip(runs, metrics_of_runs, strict=True)],
        "charts": charts(name for metrics in metrics_of_runs for name in metrics),
        "study_captions": STUDY_CAPTIONS,
        "looks": looks.runs,
        "parts": {number: found.content for number, found in looks.parts.items()},
        "studies": [study.result for study in shown_studies],
        "grids": {number: {"words": words, **place.place()} for number, (place, words) in looks.grids.items()},
        "sheet": None if thumbnails is None else thumbnails.place(),
        "points": None if sample is None else _points(sample),
    }
    return render(
        runs=runs,
        advice=[advice(run, looks.comparisons.get(number)) for number, run in enumerate(runs)],
        comparisons=looks.comparisons,
        num_laid_out=min((len(c["maps"][TSNE][0]) for c in looks.runs.values() if TSNE in c["maps"]), default=0),
        report_command=command("report", runs[0].path),
        differences=config_differences(runs) if len(runs) > 1 else [],
        settings=[settings(run) for run in runs],
        notes=looks.notes,
        studies=studies,
        shown_studies=shown_studies,
        thumbnails=None if thumbnails is None else thumbnails.uri,
        grids={number: place.uri for number, (place, _) in looks.grids.items()},
        parts={number: (found.images.uri, found.colours.uri) for number, found in looks.parts.items()},
        has_looks=bool(looks.runs),
        has_pairs=any(run.trained.config.views.pairs for run in runs),
        branches=[(runs[number].name, variances) for number, variances in looks.branches.items()],
        num_images=0 if sample is None else len(sample.indices),
        images=looks.description,
        cut_short=looks.cut_short,
        num_source=0 if sample is None else len(sample.source),
        has_classes=any(run_content["classes"] for run_content in looks.runs.values()),
        content=content,
        written=time.strftime("%Y-%m-%d %H:%M"),
    )


def _points(sample: Sample) -> dict[str, Any]:
    labels = sample.labels
    classes = sample.source.class_names
    if labels is not None and classes is None:
        classes = {number: f"class {number}" for number in labels.unique().tolist()}
    return {
        "names": sample.names,
        "labels": None if labels is None else labels.tolist(),
        "classes": classes,
        "num_thumbnails": len(sample.thumbnails),
    }
