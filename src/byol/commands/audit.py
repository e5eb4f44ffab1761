"""An audit of images and their labels: wrong labels, copies, leaks, outliers and bad pictures, in a page and a list."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from byol.assembly.subject import home, open_subject, with_trained_columns
from byol.commands.evaluate import keep_earlier
from byol.commands.vectors import vectors_of
from byol.data.classes import labels_of, union
from byol.data.labelled import has_test_part, open_labelled
from byol.data.number_format import share_format
from byol.data.open import open_source
from byol.data.pixel_measures import Measures, measure_pictures
from byol.data.source import Image, ImageSource, SkippedImages, paths_of, shown_names, whole
from byol.data.spec import DataSpec
from byol.encoder.classifier import UNSURE
from byol.errors import DataError
from byol.evaluate.features import Features
from byol.evaluate.findings import AuditedImages, Finding, Findings, audit_images
from byol.report.audit import SIDE, audit_page, headline
from byol.runtime.files import make_folder, write_atomically
from byol.runtime.hardware import choose_device
from byol.runtime.listener import SILENT, Listener
from byol.runtime.paths import require_outside, user_path

PAGE, LIST = "audit.html", "audit.csv"
READ_SIDE = 2 * SIDE
"""Smallest short side, in pixels, at which pictures of the page are decoded."""


@dataclass(frozen=True)
class Audit:
    """Result of an audit, and its files."""

    findings: Findings
    headline: str
    """The result in one sentence."""
    page: Path
    list: Path

    @property
    def counts(self) -> dict[str, int]:
        """Number of findings by kind that has any."""
        return self.findings.counts


def audit(
    encoder: str | Path,
    data: str | DataSpec,
    *,
    labels: str | Path = "",
    test_data: str = "",
    out: str | Path = "",
    device: str = "auto",
    say: Callable[[str], None] = lambda line: None,
    show: Callable[[str, int, int], None] = SILENT.work,
) -> Audit:
    """Looks for what is wrong with images and, if they have labels, with these; changes nothing.

    `encoder`: as for `open_subject`. `labels`: CSV file of labels, in place of folders; only labelled images are looked at. `test_data`: test images, if they are not a part of `data`; leaks between both are sought. Writes audit.html and audit.csv (file, finding,
    detail, path) into `out`, by default the folder audit/ of the encoder; earlier ones are kept. The vectors are kept with the encoder, so that a second audit reads only changed images.
    Raises DataError for fewer than two readable images and for labels that `classify` gave, RunError if the files cannot be written.
    """
    listener, name, torch_device = Listener(say, show), str(user_path(encoder)), choose_device(device)
    spec = with_trained_columns(name, data)
    sources = _open(spec, labels, test_data, listener)
    subject = open_subject(name, sources[0])
    folder = user_path(out) if out else home(subject.name, spec.data) / "audit"
    for images_at in (spec.data, test_data):
        require_outside(folder, images_at)
    make_folder(folder)
    skipped = SkippedImages()
    features = [vectors_of(subject, source, spec, torch_device, skipped, listener) for source in sources]
    images = _joined(sources, features, listener)
    if len(images) < 2:
        raise DataError(f"Only {len(images)} image of {sources[0].description} can be read; an audit needs two.")
    listener.say(f"comparing {len(images):,} images")
    findings = audit_images(images)
    findings.found += [Finding("broken", None, f"{broken}: {reason}") for broken, reason in skipped.reasons]
    words = ", test images: ".join(source.description for source in sources)
    page = audit_page(images, findings, _reader(sources, features), description=words, encoder=subject.name, csv=LIST)
    for path, content in (
        (folder / PAGE, page.encode(errors="backslashreplace")),
        (folder / LIST, _csv(findings, skipped, sources, features).encode("utf-8", "surrogateescape")),
    ):
        if earlier := keep_earlier(path):
            say(f"the earlier {path.name} is now {earlier}")
        write_atomically(path, content)
    return Audit(findings, headline(images, findings), folder / PAGE, folder / LIST)


def _open(spec: DataSpec, labels: str | Path, test_data: str, listener: Listener) -> list[ImageSource]:
    """The images and, if there are any, the test images. Raises DataError for labels that `byol classify` gave."""
    source, several = open_labelled(spec, labels, listener)
    if several is not None:
        raise DataError(f"{labels} has several labels per image; an audit takes one class for each.")
    if UNSURE in (source.class_names or ()):
        raise DataError(
            f"{source.description} has a class called {UNSURE}, as byol classify sorts images. Its errors do not show in the "
            "vectors by which it named them: audit labels that people gave (--labels), or rename the class."
        )
    sources = [source]
    if test_data or (has_test_part(spec.data) and not labels):
        test = replace(spec, data=test_data or spec.data)
        classes = sources[0].class_names or ()
        sources.append(open_source(test, "test", labelled=True, classes=classes, listener=listener))
        share_format(*sources)
    return sources


def _joined(sources: list[ImageSource], features: list[Features], listener: Listener) -> AuditedImages:
    """All readable images, the test images last, with classes joined by name."""
    names, measures = [], []
    for source, found in zip(sources, features, strict=True):
        rows = found.indices.numpy()
        names += shown_names(source, rows.tolist()) if len(sources) > 1 else map(source.name, rows.tolist())
        measures.append(measure_pictures(source, listener).at(rows))
    vectors, labels, classes = torch.cat([found.vectors for found in features]), None, ()
    if all(source.labels is not None for source in sources):
        sides = [side for source in sources if (side := labels_of(source))]
        classes = union([side.names for side in sides])
        codes = [
            torch.from_numpy(side.over(classes))[found.indices] for side, found in zip(sides, features, strict=True)
        ]
        labels = torch.cat(codes)
    num_test = len(features[1].vectors) if len(features) > 1 else 0
    return AuditedImages(names, vectors, Measures.joined(measures), labels, classes, num_test)


def _places(sources: list[ImageSource], features: list[Features]) -> list[tuple[ImageSource, int]]:
    """(source, index in it) of each image."""
    return [(source, index) for source, f in zip(sources, features, strict=True) for index in f.indices.tolist()]


def _reader(sources: list[ImageSource], features: list[Features]) -> Callable[[int], Image]:
    """Function from the number of an image to its pixels; large JPEG files are decoded at a smaller scale."""
    places = _places(sources, features)

    def read(image: int) -> Image:
        source, index = places[image]
        return source.read(index, source.channels(index), READ_SIDE)

    return read


def _csv(findings: Findings, skipped: SkippedImages, sources: list[ImageSource], features: list[Features]) -> str:
    """One row for each finding: file (its name in its data; empty if the finding is about the data), finding, detail, path (empty without a file of its own)."""
    text, places = io.StringIO(), _places(sources, features)
    inner = {whole(source)[0].description: whole(source)[0] for source in sources}
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "finding", "detail", "path"))
    for finding in findings.found:
        if finding.kind != "broken":
            source, index = (None, 0) if finding.image is None else places[finding.image]
            name, path = ("", "") if source is None else (source.name(index), paths_of(source, [index])[0] or "")
            writer.writerow((name, finding.kind, finding.detail, path))
    for (description, place), (name, reason) in skipped.images.items():
        path = paths_of(inner[description], [place])[0] if isinstance(place, int) else None
        writer.writerow((name, "broken", reason, path or ""))
    return text.getvalue()
