"""The page of an audit: findings with thumbnails."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from byol.data.source import Image
from byol.errors import BrokenImageError
from byol.evaluate.findings import KINDS, AuditedImages, Finding, Findings
from byol.report.page import render_audit
from byol.report.tile import sheet, tile
from byol.runtime.words import counted

SHOWN = 48
"""Largest number of findings of a kind, or of groups, that are shown."""
SHOWN_OF_GROUP = 6
SIDE = 96
"""Side of a thumbnail in pixels."""
GROUPED = ("copy", "near-duplicate")


def audit_page(
    images: AuditedImages, findings: Findings, read: Callable[[int], Image], *, description: str, encoder: str, csv: str
) -> str:
    """The HTML page. `read` gives the pixels of an image, (H, W, C) uint8; it may raise BrokenImageError."""
    sections = [_section(kind, count, images, findings) for kind, count in findings.counts.items()]
    shown = list(dict.fromkeys(image for section in sections for item in section["shown"] for image in item["images"]))
    place = {image: number for number, image in enumerate(shown)}
    for section in sections:
        for item in section["shown"]:
            item["images"] = [place[image] for image in item["images"]]
    tiles = sheet([_tile(read, image) for image in shown]) if shown else None
    labels = None if images.labels is None else images.labels[shown].tolist()
    content = {
        "sections": sections,
        "sheet": None if tiles is None else tiles.place(),
        "points": {
            "names": [images.names[image] for image in shown],
            "labels": labels,
            "classes": list(images.classes),
            "num_thumbnails": len(shown),
        },
    }
    return render_audit(
        content=content,
        rows=[{"kind": kind, "count": count, "words": KINDS[kind]} for kind, count in findings.counts.items()],
        headline=headline(images, findings),
        notes=findings.notes,
        classes=_classes(findings, images.classes),
        accuracy="" if findings.accuracy is None else f"{findings.accuracy:.1f}",
        thumbnails="" if tiles is None else tiles.uri,
        images=description,
        encoder=encoder,
        csv=csv,
        written=time.strftime("%Y-%m-%d %H:%M"),
    )


def headline(images: AuditedImages, findings: Findings) -> str:
    """The result in one sentence."""
    touched = len({finding.image for finding in findings.found if finding.image is not None})
    if not findings.found:
        return f"Nothing was found in {counted(len(images), 'image')}."
    return f"{touched:,} of {counted(len(images), 'image')} need a look."


def _section(kind: str, count: int, images: AuditedImages, findings: Findings) -> dict[str, Any]:
    found = findings.of(kind)
    with_images = [finding for finding in found if finding.image is not None]
    items = _group_items(with_images, images) if kind in GROUPED else [_item(finding) for finding in with_images]
    return {
        "id": kind.replace(" ", "-"),
        "kind": f"{kind} ({count:,})",
        "words": KINDS[kind],
        "lines": [finding.detail for finding in found if finding.image is None],
        "shown": items[:SHOWN],
        "hidden": len(items) > SHOWN,
    }


def _item(finding: Finding) -> dict[str, Any]:
    assert finding.image is not None
    return {
        "images": [finding.image, *finding.others[: SHOWN_OF_GROUP - 1]],
        "caption": finding.caption or finding.detail,
        "detail": finding.detail,
    }


def _group_items(found: Sequence[Finding], images: AuditedImages) -> list[dict[str, Any]]:
    """One item for each group of copies or near-duplicates, in place of one for each image."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for finding in found:
        assert finding.image is not None
        members = tuple(sorted((finding.image, *finding.others)))
        groups.setdefault(members, []).append(f"{images.names[finding.image]}: {finding.detail}")
    return [
        {
            "images": list(members[:SHOWN_OF_GROUP]),
            "caption": counted(len(members), "image"),
            "detail": "\n".join(lines),
        }
        for members, lines in groups.items()
    ]


def _classes(findings: Findings, names: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of the table of confident learning's counts: of each label how many images belong to another class, and to which."""
    if findings.errors is None:
        return []
    joint = findings.errors.joint.numpy()
    rows = []
    for code, (number, counts) in enumerate(zip(findings.checked_classes, joint, strict=True)):
        others = counts.copy()
        others[code] = 0
        most = [
            f"{names[findings.checked_classes[other]]} {others[other]:.0f}"
            for other in np.argsort(-others)[:3]
            if others[other] >= 0.5
        ]
        row = {"count": f"{counts.sum():,.0f}", "wrong": f"{others.sum():,.0f}", "most": ", ".join(most)}
        rows.append({"name": names[number], **row})
    return rows


def _tile(read: Callable[[int], Image], image: int) -> Image:
    try:
        return tile(read(image), SIDE)
    except BrokenImageError:
        return np.full((SIDE, SIDE, 3), 128, np.uint8)
