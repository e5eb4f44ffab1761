"""Faults planted into labelled images, and how many of them `byol audit` finds.

    python -m benchmarks.audits LEDGER.jsonl --encoder FOLDER --data NAME=FOLDER [NAME=FOLDER ...] [--seeds 0 1 2]
    python -m benchmarks.audits LEDGER.jsonl

A fifth of each class is the test part. 5 % of the training labels are changed to another class. 2 % of the training images are copied, 2 % are saved
again (JPEG, quality 50 to 95, sides times 0.7 to 1), 2 % are copied or saved again into the test part; 0.5 % are darkened to a sixth, 0.5 % blurred (Gauss, radius 3 px). Vectors and measures of
pictures that are not touched are those of the data. One line of JSON per set, seed and kind goes to the ledger; one that stands there is not repeated. Findings that the data had before are counted apart, but for wrong labels. Without --data the ledger is summed up.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter

from byol.assembly.subject import open_subject
from byol.commands.vectors import vectors_of
from byol.data.open import open_source
from byol.data.pixel_measures import Measures, measure_pictures
from byol.data.source import ImageSource, SkippedImages, files_of
from byol.data.spec import NO_DATA
from byol.data.subset import held_out
from byol.encoder.encoder import Encoder
from byol.evaluate.features import extract
from byol.evaluate.findings import AuditedImages, audit_images
from byol.evaluate.scores import accuracy

SHARES = {"copy": 0.02, "near-duplicate": 0.02, "leak": 0.02, "dark": 0.005, "blurred": 0.005}
"""Share of the training images that a planted picture is made of, by kind of finding."""
FLIPPED = 0.05
REPEATS = ("copy", "near-duplicate", "leak")
"""Kinds whose findings name the original, too, and whose pictures may be called any of them."""
KEY = ("data", "seed")
COUNTS = ("planted", "found", "findings", "right", "before")


def planted(kind: str, picture: Image.Image, generator: np.random.Generator) -> Image.Image:
    """The picture with a fault."""
    if kind == "dark":
        return picture.point(lambda value: value // 6)
    if kind == "blurred":
        return picture.filter(ImageFilter.GaussianBlur(3))
    scale = generator.uniform(0.7, 1)
    return picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC)


def plant(
    source: ImageSource, train: np.ndarray, folder: Path, generator: np.random.Generator
) -> list[tuple[str, int, Path]]:
    """(kind, original, file) of every planted picture, written to `folder`."""
    order, found = generator.permutation(train), list[tuple[str, int, Path]]()
    for kind, share in SHARES.items():
        count = max(1, round(share * len(train)))
        chosen, order = order[:count], order[count:]
        for place, (original, path) in enumerate(zip(chosen.tolist(), files_of(source, chosen.tolist()), strict=True)):
            file = folder / f"{len(found):05d}{path.suffix}"
            if kind == "copy" or (kind == "leak" and place % 2):
                file.write_bytes(path.read_bytes())
            else:
                file = file.with_suffix(".jpg")
                quality = int(generator.integers(50, 96))
                planted(kind, Image.open(path).convert("RGB"), generator).save(file, quality=quality)
            found.append((kind, original, file))
    return found


def natural_findings(source: ImageSource, vectors: torch.Tensor, measures: Measures) -> dict[str, set[str]]:
    """Images, as numbers in words, that have a finding before anything is planted, by kind; none of wrong labels."""
    names = [str(index) for index in range(len(source))]
    findings = audit_images(AuditedImages(names, vectors, measures))
    found = {kind: {names[f.image] for f in findings.of(kind) if f.image is not None} for kind in SHARES}
    repeats = found["copy"] | found["near-duplicate"]
    return {**found, **dict.fromkeys(REPEATS, repeats), "wrong label": set()}


def trial(
    encoder: Encoder,
    source: ImageSource,
    vectors: torch.Tensor,
    measures: Measures,
    natural: dict[str, set[str]],
    seed: int,
) -> Iterator[dict[str, Any]]:
    """Counts by kind: planted pictures and those found; findings, and those about planted pictures or their originals.

    Findings that the data had before, but for wrong labels, are counted apart.
    """
    generator = np.random.default_rng(seed)
    assert source.labels is not None and source.class_names is not None
    train, test = held_out(source.labels, 0.2, seed)
    labels, num_classes = source.labels.copy(), len(source.class_names)
    flipped = generator.permutation(train)[: round(FLIPPED * len(train))]
    labels[flipped] = (labels[flipped] + generator.integers(1, num_classes, len(flipped))) % num_classes
    with tempfile.TemporaryDirectory() as place:
        pictures = plant(source, np.setdiff1d(train, flipped), Path(place), generator)
        others = open_source(place)
        found = extract(encoder, others, encoder.description.in_channels, torch.device("cpu"))
        added = measure_pictures(others)
    in_test = np.array([kind == "leak" for kind, _, _ in pictures])
    rows = (train, np.flatnonzero(~in_test), test, np.flatnonzero(in_test))
    originals = np.array([original for _, original, _ in pictures])
    images = AuditedImages(
        [
            *(f"{i}" for i in train),
            *(f"planted {i}" for i in rows[1]),
            *(f"{i}" for i in test),
            *(f"planted {i}" for i in rows[3]),
        ],
        torch.cat([(found.vectors if number % 2 else vectors)[part] for number, part in enumerate(rows)]),
        Measures.joined([(added if number % 2 else measures).at(part) for number, part in enumerate(rows)]),
        torch.from_numpy(
            np.concatenate([labels[originals[part]] if n % 2 else labels[part] for n, part in enumerate(rows)])
        ),
        source.class_names,
        len(rows[2]) + len(rows[3]),
    )
    findings = audit_images(images)
    repeats = {f"{original}" for kind, original, _ in pictures if kind in REPEATS}
    repeats |= {f"planted {number}" for number, (kind, _, _) in enumerate(pictures) if kind in REPEATS}
    for kind in ("wrong label", *SHARES):
        truth = {f"planted {number}" for number, (planted_as, _, _) in enumerate(pictures) if planted_as == kind}
        if kind == "wrong label":
            truth = {f"{image}" for image in flipped}
        names = {images.names[finding.image] for finding in findings.of(kind) if finding.image is not None}
        right = names & (repeats if kind in REPEATS else truth)
        before = (names & natural[kind]) - right
        counts = {"planted": len(truth), "found": len(truth & names), "findings": len(names - before)}
        yield {"kind": kind, **counts, "right": len(right), "before": len(before)}


def summary(rows: list[dict[str, Any]]) -> str:
    """A table: precision and recall in percent with Wilson's intervals, over all seeds."""
    lines = [
        "| data | planted | recall | other findings before | findings | precision |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for data, kind in dict.fromkeys((row["data"], row["kind"]) for row in rows):
        sums = {name: sum(row[name] for row in rows if (row["data"], row["kind"]) == (data, kind)) for name in COUNTS}
        scores = [
            accuracy(torch.arange(total) < hits) if total else "–"
            for hits, total in ((sums["found"], sums["planted"]), (sums["right"], sums["findings"]))
        ]
        lines.append(
            f"| {data} | {sums['planted']} {kind} | {scores[0]} | {sums['before']} | {sums['findings']} | {scores[1]} |"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ledger", type=Path)
    parser.add_argument("--encoder", type=Path)
    parser.add_argument("--data", nargs="+", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    chosen = parser.parse_args(arguments)
    rows = [json.loads(line) for line in chosen.ledger.read_text().splitlines()] if chosen.ledger.exists() else []
    done = {tuple(row[name] for name in KEY) for row in rows}
    for name, _, folder in (entry.partition("=") for entry in chosen.data):
        missing = [seed for seed in chosen.seeds if (name, seed) not in done]
        if not missing:
            continue
        source, skipped = open_source(folder, labelled=True), SkippedImages()
        subject = open_subject(str(chosen.encoder), source)
        vectors = vectors_of(subject, source, NO_DATA, torch.device("cpu"), skipped).vectors
        if skipped:
            raise SystemExit(f"{folder}: {len(skipped)} images cannot be decoded")
        measures = measure_pictures(source)
        natural = natural_findings(source, vectors, measures)
        for seed in missing:
            found = [
                {"data": name, "seed": seed, **row}
                for row in trial(subject.encoder, source, vectors, measures, natural, seed)
            ]
            with chosen.ledger.open("a") as stream:
                stream.writelines(json.dumps(row) + "\n" for row in found)
            rows += found
            print(*found, sep="\n", flush=True)
    print(summary(rows))


if __name__ == "__main__":
    main()
