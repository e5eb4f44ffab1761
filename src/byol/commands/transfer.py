"""Evaluation of one encoder on many labelled data sets: a result file for each, and a table with the paper's numbers."""

import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from byol.assembly.subject import Subject, home, open_subject
from byol.commands.evaluate import evaluate_record, find_protocol, make_job, require_known
from byol.data.labelled import labelled_splits
from byol.data.source import ImageSource, fingerprint
from byol.data.spec import DataSpec
from byol.data.torchvision_sets import TORCHVISION_SETS, Splits, open_torchvision
from byol.errors import ByolError, ConfigError, DataError, RunError, nearest
from byol.evaluate.protocols.options import Budget, ProtocolOptions
from byol.evaluate.scores import Score
from byol.evaluate.transfer_sets import TRANSFER_SETS, UNKNOWN
from byol.runtime.files import make_folder, write_json
from byol.runtime.listener import SILENT, Listener
from byol.runtime.paths import user_path

PAPER_COLUMN: dict[str, Literal["linear", "finetuned", "random"]] = {
    "linear-fast": "linear",
    "finetune": "finetuned",
    "supervised": "random",
}
"""Column of the paper's table to compare with, by protocol."""
SEVERAL_LABELS = "voc2007"
"""Data set whose images have several labels each."""

NAMED_SETS = DataSpec("")
"""Location of data sets by name: the default folder, without downloads."""


@dataclass(frozen=True)
class Row:
    """The line of one data set in the table."""

    name: str
    record: dict[str, Any] | None
    """Content of the result file; None if the evaluation failed."""
    failure: str = ""
    """Message of the error; empty without one."""


def transfer(
    encoder: str | Path,
    sets: str | Sequence[str] = (),
    protocol: str = "linear-fast",
    *,
    budget: Budget = "default",
    place: DataSpec = NAMED_SETS,
    seed: int = 0,
    out: str | Path = "",
    device: str = "auto",
    workers: int = -1,
    listener: Listener = SILENT,
) -> list[Row]:
    """Evaluates an encoder (as for `evaluate`) on each data set, `NAME` or `NAME=PATH`, and writes NAME.json into `out`.

    `sets`: by default all that can be opened by name and suit the protocol. `out`: by default transfer/PROTOCOL-BUDGET in the
    run. A result that is already there is kept if encoder, data and settings are the same. If one of several data sets fails,
    its message is sent to the listener and the others still run.
    Raises ConfigError; DataError for a data set that cannot be opened by its name; RunError if `out` cannot be written.
    """
    if protocol not in PAPER_COLUMN:
        raise ConfigError(f"There is no protocol {protocol!r} for transfer; there are {', '.join(PAPER_COLUMN)}.")
    require_known(budget)
    if not sets:
        sets = [name for name in TORCHVISION_SETS if name != SEVERAL_LABELS or protocol == "linear-fast"]
    named_sets = [_named(entry, protocol) for entry in ([sets] if isinstance(sets, str) else sets)]
    names = [name for name, _ in named_sets]
    if doubled := {name for name in names if names.count(name) > 1}:
        raise ConfigError(
            f"{', '.join(sorted(doubled))} is given twice in --sets. Give each data set a different name."
        )
    folder = user_path(out) if out else home(str(encoder)) / "transfer" / f"{protocol}-{budget}"
    make_folder(folder)
    rows = []
    for name, path in named_sets:
        try:
            parts = _open(name, path, place, seed, listener)
            subject = open_subject(str(encoder), parts.train, seed=seed)
            same: dict[str, Any] = {"set": name, "protocol": protocol, "budget": budget, "seed": seed}
            same |= {"weights": subject.encoder.fingerprint()}
            same |= {"data": [_identity(parts.train), _identity(parts.test)]}
            file = folder / f"{name}.json"
            before = {"data": [fingerprint(parts.train), fingerprint(parts.test)]}
            record = _existing_record(file, same, before)
            if record is None:
                record = same | _measure(subject, name, parts, place, protocol, budget, seed, device, workers, listener)
                write_json(file, record)
                listener.say(f"{name} finished in {record['seconds']:.0f} s, written to {file}")
            else:
                listener.say(f"{name}: kept the result in {file}")
            rows.append(Row(name, record))
        except ByolError as error:
            if len(named_sets) == 1:
                raise
            listener.say(f"{name}: {error}")
            rows.append(Row(name, None, str(error)))
    return rows


def table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """The table as (header, lines): the result with its interval, and the paper's for a ResNet-50 pretrained on ImageNet."""
    header = ["data set", "metric", "this encoder", "BYOL Table 3", "training images", "test images"]
    lines = []
    for row in rows:
        if row.record is None:
            lines.append([row.name, "-", "failed", "-", "-", "-"])
            continue
        paper, metric = row.record["paper"], row.record["metric"]
        lines.append(
            [
                row.name,
                metric,
                str(Score(**row.record["metrics"][metric])),
                "-" if paper is None else f"{paper:.1f}",
                str(row.record["train"]["num_images"]),
                str(row.record["test"]["num_images"]),
            ]
        )
    return header, lines


def _named(entry: str, protocol: str) -> tuple[str, str]:
    """(name, path) from NAME=PATH, or (name, "") from NAME. Raises DataError for a name that cannot be opened without a path."""
    name, _, path = entry.partition("=")
    if not name or name != Path(name).name:
        raise ConfigError(f"{entry!r} is neither the name of a data set nor NAME=PATH.")
    if name == SEVERAL_LABELS and (path or protocol != "linear-fast"):
        raise DataError(
            f"{name} has several labels per image: give it by name, without a path, and only with the protocol linear-fast."
        )
    if not path and name not in TORCHVISION_SETS:
        hint = f" Give its folder as {name}=PATH, with train and test in it." if name in TRANSFER_SETS else ""
        raise DataError(
            f"torchvision has no data set {name!r} with the published parts (it has {', '.join(TORCHVISION_SETS)}).{hint or nearest(name, TORCHVISION_SETS)}"
        )
    return name, path


def _open(name: str, path: str, place: DataSpec, seed: int, listener: Listener) -> Splits:
    if not path:
        return open_torchvision(replace(place, data=name), seed)
    return Splits(*labelled_splits(path, seed=seed, listener=listener))


def _identity(source: ImageSource) -> str:
    """A fingerprint of names and labels. Labels are included because the rows of a table have no names."""
    labels = b"" if source.labels is None else source.labels.tobytes()
    return f"{fingerprint(source)}-{hashlib.sha256(labels).hexdigest()[:8]}"


def _measure(
    subject: Subject,
    name: str,
    parts: Splits,
    place: DataSpec,
    protocol: str,
    budget: Budget,
    seed: int,
    device: str,
    workers: int,
    listener: Listener,
) -> dict[str, Any]:
    known = TRANSFER_SETS.get(name, UNKNOWN)
    start_time = time.monotonic()

    def work(what: str, done: int, total: int) -> None:
        listener.work(f"{name}, {what}", done, total)

    job = make_job(
        subject,
        parts.train,
        parts.test,
        place,
        budget,
        ProtocolOptions(),
        seed,
        device,
        workers,
        replace(listener, work=work),
    )
    if parts.label_sets is not None:
        train, test = parts.label_sets
        job = replace(job, label_sets=(torch.from_numpy(train), torch.from_numpy(test)))
    validation = parts.validation
    if validation is None:
        assert parts.train.labels is not None
        validation = known.validation_part(parts.train.labels, seed)
    outcome = find_protocol(protocol)(replace(job, validation=validation))
    paper = getattr(known, PAPER_COLUMN[protocol])
    return evaluate_record(protocol, subject, job, outcome, time.monotonic() - start_time) | {
        "metric": known.metric,
        "paper": None if math.isnan(paper) else paper,
    }


def _existing_record(file: Path, same: dict[str, Any], before: dict[str, Any]) -> dict[str, Any] | None:
    """The record in `file`; None without a file.

    `same`: entries it must have. `before`: values of these entries in files of earlier versions. Raises RunError if the record
    has other entries or cannot be read.
    """
    if not file.exists():
        return None
    try:
        record = json.loads(file.read_text())
        other = [key for key, value in same.items() if record[key] not in (value, before.get(key, value))]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{file} is not a result of byol transfer ({error}). Remove it, or choose another --out."
        ) from None
    if other:
        raise RunError(f"{file} has a result with a different {', '.join(other)}. Remove it, or choose another --out.")
    return record
