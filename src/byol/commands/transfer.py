"""One encoder on many labelled data sets: a result file per set, and a table with the paper's numbers beside ours."""

import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from byol.build.subject import Subject, home, open_subject
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
"""Protocol -> which of the paper's numbers stands beside its own."""
SEVERAL_LABELS = "voc2007"
"""The set whose images have several labels each."""


NAMED_SETS = DataSpec("")
"""Data sets by name in their default folder, not downloaded."""


@dataclass(frozen=True)
class Row:
    """One set's line of the table."""

    name: str
    record: dict[str, Any] | None
    """What its result file holds; None where it failed."""
    failure: str = ""


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
    """Evaluates an encoder (as for `evaluate`) on each set, `NAME` or `NAME=PATH`, and writes NAME.json into `out`.

    Without `sets` on all that the protocol can do by name.

    A result that is there already, of the same encoder, data and settings, is kept. A set that fails is told and
    left out, unless it is the only one. Default for `out`: transfer/PROTOCOL-BUDGET in the run.
    Raises ConfigError, DataError for sets that cannot be opened by that name, RunError where `out` cannot be written.
    """
    if protocol not in PAPER_COLUMN:
        raise ConfigError(f"There is no protocol {protocol!r} for transfer; there are {', '.join(PAPER_COLUMN)}.")
    require_known(budget)
    if not sets:
        sets = [name for name in TORCHVISION_SETS if name != SEVERAL_LABELS or protocol == "linear-fast"]
    wanted = [_named(entry, protocol) for entry in ([sets] if isinstance(sets, str) else sets)]
    names = [name for name, _ in wanted]
    if doubled := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"{', '.join(sorted(doubled))} is named twice in --sets; give each set a name of its own.")
    folder = user_path(out) if out else home(str(encoder)) / "transfer" / f"{protocol}-{budget}"
    make_folder(folder)
    rows = []
    for name, path in wanted:
        try:
            parts = _open(name, path, place, seed, listener)
            subject = open_subject(str(encoder), parts.train, seed=seed)
            same: dict[str, Any] = {"set": name, "protocol": protocol, "budget": budget, "seed": seed}
            same |= {"weights": subject.encoder.fingerprint()}
            same |= {"data": [_identity(parts.train), _identity(parts.test)]}
            file = folder / f"{name}.json"
            before = {"data": [fingerprint(parts.train), fingerprint(parts.test)]}
            record = _kept(file, same, before)
            if record is None:
                record = same | _measure(subject, name, parts, protocol, budget, seed, device, workers, listener)
                write_json(file, record)
                listener.say(f"{name} done in {record['seconds']:.0f} s, written to {file}")
            else:
                listener.say(f"{name}: kept the result in {file}")
            rows.append(Row(name, record))
        except ByolError as error:
            if len(wanted) == 1:
                raise
            listener.say(f"{name}: {error}")
            rows.append(Row(name, None, str(error)))
    return rows


def table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """(header, lines): our number with its interval, and the paper's with a ResNet-50 pretrained on ImageNet."""
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
    """(name, path or empty) of NAME or NAME=PATH. Raises where a name without a path is nothing that can be opened."""
    name, _, path = entry.partition("=")
    if not name or name != Path(name).name:
        raise ConfigError(f"{entry!r} is neither a data set by name nor NAME=PATH.")
    if name == SEVERAL_LABELS and (path or protocol != "linear-fast"):
        raise DataError(
            f"{name} has several labels per image: byol reads it by name, for the protocol linear-fast alone."
        )
    if not path and name not in TORCHVISION_SETS:
        hint = f" Give its folder as {name}=PATH, with train and test in it." if name in TRANSFER_SETS else ""
        raise DataError(
            f"torchvision has no {name!r} with the published parts ({', '.join(TORCHVISION_SETS)}).{hint or nearest(name, TORCHVISION_SETS)}"
        )
    return name, path


def _open(name: str, path: str, place: DataSpec, seed: int, listener: Listener) -> Splits:
    if not path:
        return open_torchvision(replace(place, data=name), seed)
    return Splits(*labelled_splits(path, seed=seed, listener=listener))


def _identity(source: ImageSource) -> str:
    """The fingerprint of names, and one of labels: a table's rows have no names."""
    labels = b"" if source.labels is None else source.labels.tobytes()
    return f"{fingerprint(source)}-{hashlib.sha256(labels).hexdigest()[:8]}"


def _measure(
    subject: Subject,
    name: str,
    parts: Splits,
    protocol: str,
    budget: Budget,
    seed: int,
    device: str,
    workers: int,
    listener: Listener,
) -> dict[str, Any]:
    known = TRANSFER_SETS.get(name, UNKNOWN)
    began = time.monotonic()

    def work(what: str, done: int, total: int) -> None:
        listener.work(f"{name}, {what}", done, total)

    job = make_job(
        subject, parts.train, parts.test, budget, ProtocolOptions(), seed, device, workers, replace(listener, work=work)
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
    return evaluate_record(protocol, subject, job, outcome, time.monotonic() - began) | {
        "metric": known.metric,
        "paper": None if math.isnan(paper) else paper,
    }


def _kept(file: Path, same: dict[str, Any], before: dict[str, Any]) -> dict[str, Any] | None:
    """The record in `file`, if it was made by the same, or by an earlier version by what it took for that. Raises RunError where it was not, or cannot be read."""
    if not file.exists():
        return None
    try:
        record = json.loads(file.read_text())
        other = [key for key, value in same.items() if record[key] not in (value, before.get(key, value))]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{file} is no result of byol transfer ({error}). Remove it, or choose another --out.") from None
    if other:
        raise RunError(
            f"{file} holds a result with another {', '.join(other)}. Remove it, or choose another --out for this one."
        )
    return record
