"""Page of two encoders side by side on the same images: the start of a training and its result."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from byol.assembly.subject import trained_images
from byol.data.prepare_photos import shrink_photos
from byol.data.source import ImageSource
from byol.data.spec import DataSpec, as_spec
from byol.encoder.encoder import Encoder
from byol.encoder.encoder_file import DESCRIPTION, load_encoder
from byol.errors import DataError
from byol.report.look import Sample, draw_sample, embed_sample, look
from byol.report.page import render_change
from byol.report.tile import sheet
from byol.runtime.files import read_json, write_atomically
from byol.runtime.hardware import choose_device
from byol.runtime.listener import SILENT, Listener
from byol.runtime.paths import user_path
from byol.runtime.words import command

PAGE = "change.html"
RECORD = "adapt.json"
MOST_IMAGES = 1000
NEIGHBOURS = 6
"""Number of nearest neighbours that are shown and compared."""
MOST_MOVED = 12
"""Number of images shown whose neighbours changed most."""
SECONDS = 30.0
"""Largest time for embedding images by the first encoder, in the page at the end of a command."""


def write_change(
    before: str | Path,
    after: str | Path,
    *,
    data: str | DataSpec = "",
    out: str | Path | None = None,
    device: str = "auto",
    seconds: float = float("inf"),
    say: Callable[[str], None] = lambda line: None,
    show: Callable[[str, int, int], None] = SILENT.work,
) -> Path:
    """Writes one HTML page that shows the same images by two encoders and returns its path, by default change.html in `after`.

    `before`, `after`: run directories, encoder folders or checkpoints. `data`: images to show; empty for those that `after` was trained
    on. The record of an adaptation in `after` adds verdict and measures. Raises ByolError if an encoder or the images cannot be read.
    """
    before, after = user_path(before), user_path(after)
    listener = Listener(say, show)
    torch_device = choose_device(device)
    source = trained_images(str(after), data, listener=listener)
    encoders = [load_encoder(path).to(torch_device) for path in (before, _shown(after))]
    shown = [_shrunk(source, encoder, as_spec(data)) for encoder in encoders]
    sample, first = draw_sample(
        encoders[0], shown[0], torch_device, most=MOST_IMAGES, seconds=seconds, listener=listener
    )
    second = embed_sample(encoders[1], dataclasses.replace(sample, source=shown[1]), torch_device)
    if len(first) != len(second) or len(first) < 2:
        raise DataError(f"too few images of {source.description} can be decoded.")
    page = _page(sample, (first, second), source, before, after, Listener(say=say))
    path = after / PAGE if out is None else user_path(out)
    write_atomically(path, page.encode(errors="backslashreplace"))
    return path


def _page(
    sample: Sample, vectors: tuple[Tensor, Tensor], source: ImageSource, before: Path, after: Path, listener: Listener
) -> str:
    record = read_json(after / RECORD) or {}
    tiles = sheet(sample.thumbnails)
    labels, classes = sample.labels, source.class_names
    content = {
        "looks": {
            name: look(sample, found, slow=False, listener=listener)
            for name, found in zip(("start", "result"), vectors, strict=True)
        },
        "moved": _moved(*vectors),
        "sheet": tiles.place(),
        "points": {
            "names": sample.names,
            "labels": None if labels is None else labels.tolist(),
            "classes": classes,
            "num_thumbnails": len(sample.thumbnails),
        },
    }
    return render_change(
        title=after.resolve().name,
        before=record.get("start", str(before)),
        verdict=record.get("verdict", ""),
        words=record.get("words", ""),
        measured=_table(record.get("measured", [])),
        thumbnails=tiles.uri,
        images=source.description,
        num_images=len(vectors[0]),
        content=content,
        written=time.strftime("%Y-%m-%d %H:%M"),
    )


def change_after(path: Path, listener: Listener) -> None:
    """Writes the page at the end of an adaptation. The last line names the page, or the error."""
    try:
        page = write_change(path / "start", path, seconds=SECONDS)
        listener.say(f"page {page}: open it in a browser")
    except Exception as error:
        again = command("report", path / "start", path)
        listener.say(f"no page was written ({error}); to write it: {again}")


def _shown(after: Path) -> Path:
    """The encoder to show: that of the folder, or the best of an adaptation whose start was kept."""
    record = read_json(after / RECORD) or {}
    best = after / record.get("best", "")
    return best if record.get("best") and best.exists() else after


def _shrunk(source: ImageSource, encoder: Encoder, spec: DataSpec) -> ImageSource:
    about = encoder.description
    return shrink_photos(source, about.in_channels, about.stored_side, spec)


def _moved(first: Tensor, second: Tensor) -> list[int]:
    """Images whose nearest neighbours by the two encoders have least in common; among equals those whose similarities changed most."""
    units = [functional.normalize(vectors, dim=1) for vectors in (first, second)]
    cosines = [(unit @ unit.T).fill_diagonal_(-1) for unit in units]
    near = [part.topk(min(NEIGHBOURS, len(part) - 1), dim=1).indices for part in cosines]
    common = (near[0][:, :, None] == near[1][:, None, :]).sum(dim=(1, 2)).float()
    change = 1 - functional.cosine_similarity(cosines[0], cosines[1], dim=1)
    return torch.argsort(common - change).tolist()[:MOST_MOVED]


def _table(measured: list[dict[str, Any]]) -> dict[str, Any]:
    """Columns and rows of the measures, and the points of a curve for each column that is complete."""
    columns = [name for name in (measured[0] if measured else {}) if name not in ("name", "step")]
    curves = {}
    for column in columns:
        points = [(int(each["step"]), _value(each.get(column))) for each in measured]
        if known := [(step, value) for step, value in points if value is not None]:
            curves |= {_words(column): _line(known)} if len(known) == len(points) else {}
    rows = [{"name": each["name"], "cells": [_cell(each.get(column)) for column in columns]} for each in measured]
    return {"columns": [_words(column) for column in columns], "rows": rows, "curves": curves}


def _words(column: str) -> str:
    return {"knn": "kNN, %", "linear": "linear, %"}.get(column, column.replace("_", " "))


def _value(entry: Any) -> float | None:
    return entry["value"] if isinstance(entry, dict) else entry


def _cell(entry: Any) -> str:
    if isinstance(entry, dict):
        return f"{entry['value']:.1f} [{entry['low']:.1f}, {entry['high']:.1f}]"
    return "–" if entry is None else f"{entry:.4g}"


def _line(points: list[tuple[int, float]]) -> str:
    """Points of an SVG polyline in a box of 100 x 40."""
    steps, values = [step for step, _ in points], [value for _, value in points]
    low, high, last = min(values), max(values), max(steps) or 1
    height = (high - low) or 1
    return " ".join(f"{100 * step / last:.1f},{38 - 36 * (value - low) / height:.1f}" for step, value in points)


def is_pair(folders: Sequence[str]) -> bool:
    """Whether `byol report` got a start and a result: two folders, of which the first holds an encoder and no run."""
    if len(folders) != 2:
        return False
    first = user_path(folders[0])
    return (first / DESCRIPTION).exists() and not (first / "run.json").exists()
