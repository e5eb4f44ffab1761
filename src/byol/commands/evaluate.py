"""Evaluation of one encoder on labelled images by several protocols, with one result file each."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from byol.assembly.subject import Subject, home, open_subject, tell_channels, with_trained_columns
from byol.data.depths import open_depths
from byol.data.labelled import labelled_splits
from byol.data.masks import open_masks
from byol.data.number_format import share_format
from byol.data.paired import PairedImages
from byol.data.photo_store import is_stored
from byol.data.prepare_photos import shrink_photos
from byol.data.source import ImageSource, SkippedImages, fingerprint
from byol.data.spec import DataSpec
from byol.errors import ByolError, ConfigError, EncoderError, OutOfMemoryError, nearest
from byol.evaluate.features import Features, extract
from byol.evaluate.leaks import count_leaks
from byol.evaluate.protocols.neighbours import knn
from byol.evaluate.protocols.options import (
    EVERY,
    HOG,
    PROTOCOLS,
    WITH_DEPTHS,
    WITH_MASKS,
    WITHOUT_WEIGHTS,
    Budget,
    ProtocolOptions,
)
from byol.evaluate.protocols.protocol import Job, Outcome, Protocol
from byol.evaluate.results import FOLDER
from byol.evaluate.scores import Score
from byol.methods.network import Branch
from byol.runtime.files import make_folder, write_json
from byol.runtime.hardware import choose_device, choose_workers, describe_machine
from byol.runtime.listener import SILENT, Listener
from byol.runtime.notebook import html_table
from byol.runtime.paths import require_outside, user_path
from byol.runtime.words import counted

MOST_COMPARED = 20_000
"""Largest number of training and test images for which `knn` is run with `hog`, too: all of them are read once more."""


@dataclass(frozen=True)
class Result:
    """Result of one protocol, and its file."""

    protocol: str
    metrics: dict[str, Score]
    record: dict[str, Any] = field(repr=False)
    path: Path

    @property
    def score(self) -> Score:
        """The protocol's main metric."""
        return next(iter(self.metrics.values()))

    def _repr_html_(self) -> str:
        rows = [(metric, f"{score} %") for metric, score in self.metrics.items()]
        rows += [("encoder", f"{self.record['encoder']} ({self.record['network']})"), ("written to", str(self.path))]
        rows += [(name, self.record[name]) for name in ("differs", "caution") if self.record[name]]
        return html_table(self.protocol, rows)


def evaluate(
    encoder: str | Path,
    data: str | DataSpec,
    protocols: str | Sequence[str] = ("knn",),
    *,
    test_data: str = "",
    budget: Budget = "default",
    network: Branch = "online",
    options: ProtocolOptions | None = None,
    seed: int = 0,
    out: str | Path = "",
    device: str = "auto",
    workers: int = -1,
    say: Callable[[str], None] = lambda line: None,
    show: Callable[[str, int, int], None] = SILENT.work,
    done: Callable[[Result], None] = lambda result: None,
) -> list[Result]:
    """Runs one or several protocols one after the other, on shared features.

    `encoder`: a run directory, an encoder folder, `timm:MODEL`, `timm:MODEL:pretrained`, `pixels`, `hog` or
    `statistics`. `segment`, `segment-knn` and `segment-finetune` take images with masks (`data.masks`), `depth` images with
    depths (`data.depths`), the other protocols images with a label each. `done` is called with each result, `say` with a line about files that are left out or moved. Results are written to evaluation/PROTOCOL.json in
    `out`; by default in the run directory, or in runs/NAME/DATA if the encoder is not a folder. An earlier result of the same
    name is moved to evaluation/earlier. No setting is chosen on the test images. The record of `knn` has the metrics of
    `hog` on the same images, for comparison, unless these are more than `MOST_COMPARED`.

    If a protocol fails, the others still run; then its error is raised. Raises ConfigError for an unknown protocol, budget or
    network, DataError if the labels do not suit the protocol, EncoderError, and RunError if results cannot be written.
    """
    names = [protocols] if isinstance(protocols, str) else protocols
    functions = [(name, find_protocol(name)) for name in names]
    require_known(budget, network)
    listener = Listener(say, show)
    if not functions:
        raise ConfigError(f"Give at least one protocol of {', '.join(PROTOCOLS)}.")
    spec = with_trained_columns(str(user_path(encoder)), data)
    options = options or ProtocolOptions()
    train, test, validation = _images(names, spec, test_data, options, seed, listener)
    subject = open_subject(str(user_path(encoder)), train, network=network, seed=seed)
    tell_channels(subject.encoder, say)
    folder = _results_folder(subject.name, spec.data, out)
    job = make_job(subject, train, test, spec, budget, options, seed, device, workers, listener)
    job = replace(job, validation=validation)
    results, failed = [], None
    for name, function in functions:
        try:
            result = _run(name, function, subject, job, folder)
        except (ByolError, MemoryError, torch.OutOfMemoryError) as error:
            if len(functions) == 1:
                raise
            say(f"{name}: {(str(error).splitlines() or ['the memory is full'])[0]}")
            failed = failed or (
                error if isinstance(error, ByolError) else OutOfMemoryError(f"{name}: the memory is full.")
            )
            continue
        results.append(result)
        done(result)
    if failed is not None:
        raise failed
    return results


def _images(
    names: Sequence[str], spec: DataSpec, test_data: str, options: ProtocolOptions, seed: int, listener: Listener
) -> tuple[ImageSource, ImageSource, NDArray[np.int64] | None]:
    """(training images, test images, indices of the data's own validation images) with the labels, masks or depths that the protocols need."""
    kinds = {"masks": WITH_MASKS, "depths": WITH_DEPTHS, "a label": PROTOCOLS}
    wanted = {kind: [name for name in names if name in known] for kind, known in kinds.items()}
    (kind, first), *others = ((kind, found) for kind, found in wanted.items() if found)
    if others:
        words = [f"{', '.join(found)} images with {other}" for other, found in others]
        raise ConfigError(
            f"{', '.join(first)} takes images with {kind}, {', '.join(words)}: evaluate them one after the other."
        )
    if kind == "a label":
        return *labelled_splits(spec, test_data, seed=seed, listener=listener), None
    splits = (
        open_masks(spec, test_data, ignored=options.segment.ignore, seed=seed)
        if kind == "masks"
        else open_depths(spec, test_data, scale=options.depth.scale, seed=seed)
    )
    return splits.train, splits.test, splits.validation


def _results_folder(encoder: str, data: str, out: str | Path) -> Path:
    """The folder of the results, made where it is not there."""
    folder = (user_path(out) if out else home(encoder, data)) / FOLDER
    if out or not Path(encoder).exists():
        require_outside(folder, data)
    make_folder(folder)
    return folder


def _run(name: str, function: Protocol, subject: Subject, job: Job, folder: Path) -> Result:
    """Runs one protocol and writes its result file."""
    start_time = time.monotonic()
    outcome = function(job)
    record = evaluate_record(name, subject, job, outcome, time.monotonic() - start_time)
    if function is knn and subject.name not in WITHOUT_WEIGHTS and (hog := _by_hog(job)):
        record["hog"] = {metric: asdict(score) for metric, score in hog.metrics.items()}
    parts = [name, outcome.variant, "target" if record["network"].startswith("target") else ""]
    path = folder / f"{'-'.join(part for part in parts if part)}.json"
    if earlier := keep_earlier(path):
        job.listener.say(f"the earlier {path.name} is now {earlier}")
    write_json(path, record)
    return Result(name, outcome.metrics, record, path)


def _by_hog(job: Job) -> Outcome | None:
    """The outcome of `knn` by `hog`, with nothing learned, on the same images; None if there are too many, or too many channels."""
    if len(job.train) + len(job.test) > MOST_COMPARED:
        job.listener.say(
            f"knn by hog is left out: there are more than {MOST_COMPARED:,} images. byol evaluate hog does it"
        )
        return None
    try:
        subject = open_subject(HOG, job.train)
    except EncoderError as error:
        job.listener.say(f"knn by hog is left out: {error}")
        return None
    device, listener = str(job.device), Listener(work=job.listener.work)
    images = job.train, job.test, DataSpec("")
    return knn(make_job(subject, *images, job.budget, job.options, job.seed, device, job.workers, listener))


def keep_earlier(path: Path) -> Path | None:
    """Moves an existing file at `path` to the folder `earlier` beside it, with the next free number in its name.

    Returns its new path; None if there was no file.
    """
    if not path.exists():
        return None
    folder = path.parent / "earlier"
    make_folder(folder)
    number = 1
    while (earlier := folder / f"{path.stem}-{number}{path.suffix}").exists():
        number += 1
    path.rename(earlier)
    return earlier


def require_known(budget: str, network: str = "online") -> None:
    """Raises ConfigError for an unknown budget or network."""
    for what, name, known in (("budget", budget, get_args(Budget)), ("network", network, get_args(Branch))):
        if name not in known:
            raise ConfigError(f"There is no {what} {name!r}; there are {', '.join(known)}.")


def find_protocol(name: str) -> Protocol:
    """The function of a protocol. Raises ConfigError for an unknown name."""
    if name not in EVERY:
        raise ConfigError(f"There is no protocol {name!r}.{nearest(name, EVERY)} There are {', '.join(EVERY)}.")
    module, function = EVERY[name].split(":")
    return getattr(import_module(module), function)


def make_job(
    subject: Subject,
    train: ImageSource,
    test: ImageSource,
    place: DataSpec,
    budget: Budget,
    options: ProtocolOptions,
    seed: int,
    device: str,
    workers: int,
    listener: Listener,
) -> Job:
    """The input of the protocols. `place` gives the cache of photos."""
    share_format(train, test)
    torch_device, skipped = choose_device(device), SkippedImages()
    encoder = subject.encoder.to(torch_device)
    about = encoder.description
    train, test = (
        shrink_photos(
            source, about.in_channels, about.stored_side, place, makes=True, skipped=skipped, listener=listener
        )
        if not isinstance(source, PairedImages)
        else source
        for source in (train, test)
    )
    cached: dict[str, Features] = {}

    def features(part: Literal["train", "test"]) -> Features:
        if part not in cached:
            source = train if part == "train" else test
            cached[part] = extract(
                encoder,
                source,
                encoder.description.in_channels,
                torch_device,
                skipped=skipped,
                listener=listener,
                work=f"reading {part} images",
            )
        return cached[part]

    return Job(
        encoder=encoder,
        trainable=subject.trainable,
        untrained=subject.untrained,
        train=train,
        test=test,
        budget=budget,
        options=options,
        seed=seed,
        device=torch_device,
        features=features,
        listener=listener,
        pretraining_view=subject.pretraining_view,
        semantics=subject.semantics,
        workers=choose_workers(workers, torch_device, decodes=not is_stored(train)),
        skipped=skipped,
        leaks=_leak_counter(train, test, cached, listener),
    )


def _leak_counter(
    train: ImageSource, test: ImageSource, features: dict[str, Features], listener: Listener
) -> Callable[[], int | None]:
    """The function `Job.leaks`, by the features of the parts that are known when it is called."""

    @cache
    def leaks() -> int | None:
        found = count_leaks(train, features["train"], test, features["test"])
        if found is None:
            listener.say("Too many images to compare: test images that training images repeat were not counted.")
        if found:
            listener.say(
                f"{counted(found, 'test image')} of {len(test):,} {'repeats' if found == 1 else 'repeat'} training images, so that accuracy on "
                f"them is no test; byol audit names them"
            )
        return found

    return lambda: leaks() if len(features) == 2 else None


def evaluate_record(name: str, subject: Subject, job: Job, outcome: Outcome, seconds: float) -> dict[str, Any]:
    """The content of a result file."""

    def part(source: ImageSource) -> dict[str, Any]:
        return {"images": source.description, "num_images": len(source), "fingerprint": fingerprint(source)}

    return {
        "protocol": name,
        "variant": outcome.variant,
        "budget": job.budget,
        "differs": outcome.differs,
        "caution": outcome.caution,
        "encoder": subject.name,
        "weights": subject.encoder.fingerprint(),
        "network": f"{subject.network}, eval mode",
        "num_features": job.encoder.num_features,
        "classes": job.train.class_names,
        "train": part(job.train),
        "test": part(job.test),
        "skipped_images": len(job.skipped),
        "leaked_test_images": job.leaks(),
        "seed": job.seed,
        "metrics": {metric: asdict(score) for metric, score in outcome.metrics.items()},
        "settings": outcome.settings,
        "extras": outcome.extras,
        "seconds": round(seconds, 1),
        "machine": describe_machine(job.device),
    }
