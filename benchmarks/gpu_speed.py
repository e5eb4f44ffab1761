"""Sections of `benchmarks.gpu_check` that measure speed: training, kinds of operators, embedding and evaluation."""

import io
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from benchmarks.augment import natural_images
from benchmarks.gpu_section import Job, Part, WrongError
from benchmarks.record import alternate, rounded
from benchmarks.trainings import Training, lightly_step, paper_overrides, plain_step
from byol.assembly.subject import open_subject
from byol.assembly.training import Assembly, assemble
from byol.commands.embed import embed
from byol.commands.evaluate import evaluate
from byol.config import Config, replaced
from byol.data.loader import BatchPlan, DecodingFeed, Feed, ResidentFeed
from byol.data.open import open_source
from byol.data.source import SkippedImages
from byol.engine.micro_batches import MicroBatch, micro_batches
from byol.engine.schedule import Schedule
from byol.engine.step import train_step
from byol.engine.wrap import wrap
from byol.runtime.hardware import choose_precision, choose_workers
from byol.runtime.view_roles import ViewBatch
from byol.views.policy import IMAGENET_MEAN, IMAGENET_STD

ROUND_SECONDS = 0.7
"""Approximate time of a row in a round, in seconds."""
MOST_ROUNDS = 9
STEPS_COMPARED = 8
LOSS_TOLERANCE = 5e-2
"""Largest relative difference of the first loss between kinds of operators. In bf16 rounding grows from step to step."""
PHOTO_SIDES = (500, 375)
"""Width and height in pixels of the made-up photos."""
Row = Callable[[], Any]
"""One training step."""


def training_32(job: Job) -> Iterator[Part]:
    """ResNet-18 with the small stem at 32 px, images in memory."""
    sizes = {"size": 16, "batch": 4, "hidden": 16} if job.is_small else {"size": 32, "batch": 1024}
    yield from _training(job, {"encoder": "resnet18", "stem": "small", **sizes}, from_files=False)


def training_224(job: Job) -> Iterator[Part]:
    """ResNet-50 at 224 px, JPEG photos that workers decode."""
    sizes = {"size": 32, "batch": 4, "hidden": 16} if job.is_small else {"size": 224, "batch": 512}
    yield from _training(job, {"encoder": "resnet50", "stem": "imagenet", **sizes}, from_files=True)


def _training(job: Job, sizes: dict[str, Any], *, from_files: bool) -> Iterator[Part]:
    """Steps on the same views in alternating rounds, then ours with its data; the batch is halved until it fits."""
    until = time.monotonic() + job.seconds
    common = {
        **sizes,
        "precision": choose_precision("auto", job.device),
        "device": job.device_name,
        "channels_last": True,
    }
    while True:
        work = Training("ours", "", **common)
        try:
            measured = _measure_steps(job, work, until - time.monotonic() - job.seconds / 3)
            break
        except torch.OutOfMemoryError:
            common["batch"] //= 2
            if common["batch"] < 2:
                raise
        torch.cuda.empty_cache()
    ours, rows = measured
    yield {"settings": common, "rows": rows, "sentence": f"ours {rows['ours']['median']:.0f} images/s"}
    with_data = _with_data(job, ours, work, from_files, max(2.0, until - time.monotonic()))
    waiting = 1 - with_data["images_per_second"] / rows["ours"]["median"]
    yield {"with_data": {**with_data, "fraction_waiting_for_data": rounded(waiting)}}
    others = ", ".join(f"{name} {row['median']:.0f}" for name, row in rows.items() if "median" in row)
    yield {"sentence": f"images/s on given views: {others}; ours with its data {with_data['images_per_second']:.0f}"}


def _measure_steps(job: Job, work: Training, seconds: float) -> tuple[Assembly, dict[str, Any]]:
    """Images per second and peak memory of each training's step, on the same two views."""
    views = tuple(torch.rand(work.batch, 3, work.size, work.size, device=job.device) for _ in range(2))
    made, held = dict[str, Row](), dict[str, int]()
    before, missing = _allocated(job), dict[str, Any]()
    assembly = assemble(_config(work), 3, job.device)
    ours = _our_step(assembly, work, ViewBatch((views[0],), (views[1],)))
    makers: dict[str, Callable[[], Row]] = {
        "ours": lambda: ours,
        "plain PyTorch": lambda: _their_step(plain_step(work)[1], views),
        "lightly, our autocast": lambda: _their_step(lightly_step(work)[1], views),
    }
    for name, make in makers.items():
        try:
            made[name] = make()
        except ModuleNotFoundError as error:
            missing[name] = {"missing": f"the Python package {error.name} is not installed"}
            continue
        made[name]()
        held[name], before = _allocated(job) - before, _allocated(job)
    if job.device.type == "cuda":  # a setting that a user of plain PyTorch may have switched on
        made |= {f"{name}, cudnn.benchmark": _searching(made[name]) for name in ("ours", "plain PyTorch")}
    peaks: dict[str, float] = {}
    rates = alternate(
        {name: _rate(job, name, step, work.batch, held, peaks) for name, step in made.items()},
        1 if job.is_small else MOST_ROUNDS,
        seconds,
    )
    rows = {name: {**_summary(values), "peak_megabytes": peaks[name]} for name, values in rates.items()}
    return assembly, rows | missing


def _config(work: Training) -> Config:
    settings = {"views.mean": IMAGENET_MEAN, "views.std": IMAGENET_STD, "batch_size": work.batch}
    settings |= {"micro_batch_size": work.batch, "precision": work.precision, "device": work.device}
    return replaced(Config(), {**paper_overrides(work), **settings})


def _schedule(batch: int) -> Schedule:
    return Schedule(0.2, batch, 10**6, 10, 0.99)


def _our_step(assembly: Assembly, work: Training, views: ViewBatch) -> Row:
    loss, schedule, batch = assembly.loss_function(1), _schedule(work.batch), [MicroBatch(views, None)]
    return lambda: train_step(assembly.state, batch, 1, loss, schedule)


def _their_step(step: Callable[[Tensor, Tensor, float], None], views: tuple[Tensor, ...]) -> Row:
    return lambda: step(views[0], views[1], 0.0)


def _searching(step: Row) -> Row:
    def searching() -> None:
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=torch.backends.cudnn.allow_tf32):
            step()

    return searching


def _rate(
    job: Job, name: str, step: Row, batch: int, held: Mapping[str, int], peaks: dict[str, float]
) -> Callable[[], float]:
    """Images per second of so many steps as take a round; `peaks` gets the memory, without what other rows hold."""
    own = name.removesuffix(", cudnn.benchmark")
    others = sum(size for other, size in held.items() if other != own)

    def rate() -> float:
        seconds = _seconds(job, step, 1)
        if job.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        count = 1 if job.is_small else max(1, min(50, int(ROUND_SECONDS / seconds)))
        found = batch * count / _seconds(job, step, count)
        if job.device.type == "cuda":
            peaks[name] = round((torch.cuda.max_memory_allocated() - others) / 2**20)
        return found

    peaks[name] = float("nan")  # the CPU's memory is not counted by torch
    return rate


def _seconds(job: Job, step: Row, count: int) -> float:
    job.synchronize()
    began = time.perf_counter()
    for _ in range(count):
        step()
    job.synchronize()
    return time.perf_counter() - began


def _summary(values: list[float]) -> dict[str, Any]:
    return {
        "median": rounded(statistics.median(values)),
        "min": rounded(min(values)),
        "max": rounded(max(values)),
        "n": len(values),
    }


def _allocated(job: Job) -> int:
    return torch.cuda.memory_allocated() if job.device.type == "cuda" else 0


def _with_data(job: Job, assembly: Assembly, work: Training, from_files: bool, seconds: float) -> dict[str, Any]:
    """Our training from its images on: their feed, views made ahead, and steps, in one stretch."""
    plan = BatchPlan(work.batch, work.batch)
    count = 2 * work.batch
    if from_files:
        source = open_source(str(write_photos(job.place / "photos", count, small=job.is_small)))
        workers = choose_workers(2 if job.is_small else -1, job.device)
        feed: Feed = DecodingFeed(source, 3, plan, 0, workers, SkippedImages(), pins=job.device.type == "cuda")
    else:
        workers, feed = 0, ResidentFeed(natural_images(count, work.size, 0).to(job.device), None, plan, 0)
    views = assembly.views[-1]
    batches = micro_batches(feed.batches(0, 10**6, views.crop), views, job.device)
    loss, schedule = assembly.loss_function(1), _schedule(work.batch)

    def step() -> None:
        train_step(assembly.state, [next(batches)], 1, loss, schedule)

    began = time.perf_counter()
    for _ in range(1 + 2 * workers):  # batches that are begun while nothing is waited for
        step()
    first = (time.perf_counter() - began) / (1 + 2 * workers)
    steps = 2 if job.is_small else max(4, min(100, int((seconds - (time.perf_counter() - began)) / first)))
    rate = work.batch * steps / _seconds(job, step, steps)
    return {"images_per_second": rounded(rate), "steps": steps, "workers": workers}


def write_photos(folder: Path, count: int, *, small: bool, classes: int = 1) -> Path:
    """`count` JPEG files with photographs' spectrum below `folder`, in one sub-folder a class; 32 pictures, repeated."""
    side = 48 if small else PHOTO_SIDES[0]
    files = []
    for pixels in natural_images(min(32, count), side, seed=0).permute(0, 2, 3, 1).numpy():
        stream = io.BytesIO()
        Image.fromarray(pixels[: side * PHOTO_SIDES[1] // PHOTO_SIDES[0]]).save(stream, "JPEG", quality=92)
        files.append(stream.getvalue())
    for number in range(count):
        path = folder / f"class-{number % classes}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[number % len(files)])
    return folder


def operators(job: Job) -> Iterator[Part]:
    """One training with each kind of operators, from the same weights on the same views: losses, then speed."""
    sizes: dict[str, Any] = {"encoder": "resnet18", "size": 32, "batch": 512}
    if job.is_small:
        sizes = {"encoder": "resnet10", "size": 16, "batch": 8, "hidden": 16}
    precision = choose_precision("auto", job.device)
    work = Training("ours", "", precision=precision, device=job.device_name, **sizes)
    kinds = {"native": ("native", True), "native again": ("native", True), "compile": ("compile", False)}
    kinds |= {"compile, CUDA graphs": ("compile", True)} if job.device.type == "cuda" else {"fused": ("fused", True)}
    views = torch.rand(STEPS_COMPARED, 2, work.batch, 3, work.size, work.size, device=job.device)
    losses, steps, wrong = dict[str, Tensor](), dict[str, Row](), list[str]()
    for name, (kernels, graphs) in kinds.items():
        assembly = assemble(replaced(_config(work), {"kernels": kernels}), 3, job.device)
        compiled = assembly.kernels.kind == "compile"
        loss = wrap(
            assembly.state.method, job.device, bf16=precision == "bf16", channels_last=True, compiled=compiled,
            num_micro_batches=1 if graphs else 2,
        )  # fmt: skip

        def step(number: int = 0, assembly: Assembly = assembly, loss: Any = loss) -> Tensor:
            batch = MicroBatch(ViewBatch((views[number, 0],), (views[number, 1],)), None)
            return train_step(assembly.state, [batch], 1, loss, _schedule(work.batch)).loss

        try:
            began = time.perf_counter()
            first = step()
            job.synchronize()
            ready = time.perf_counter() - began
            losses[name] = torch.stack([first, *(step(number) for number in range(1, STEPS_COMPARED))]).cpu().double()
        except Exception as error:  # a compiler may raise anything; the other kinds are measured all the same
            wrong.append(f"{name}: {type(error).__name__}: {(str(error).splitlines() or ['no message'])[0]}")
            continue
        steps[name] = step
        apart = (losses[name] / losses["native"] - 1).abs().tolist()
        about = {"first_step_seconds": rounded(ready), "relative_differences_of_losses": [rounded(d) for d in apart]}
        yield {name: about | ({"notice": assembly.kernels.notice} if assembly.kernels.notice else {})}
        if not apart[0] <= LOSS_TOLERANCE:
            wrong.append(f"{name}: the first loss differs by {apart[0]:.2g} from that of torch's operators")
    rates = alternate(
        {name: _rate(job, name, step, work.batch, {}, {}) for name, step in steps.items()},
        1 if job.is_small else 5,
        job.seconds / 3,
    )
    yield {"images_per_second": {name: _summary(values) for name, values in rates.items()}}
    if wrong:
        raise WrongError("; ".join(wrong))
    yield {"sentence": "images/s: " + ", ".join(f"{n} {statistics.median(v):.0f}" for n, v in rates.items())}


def embed_and_evaluate(job: Job) -> Iterator[Part]:
    """Images per second of `embed` and `evaluate` on files, and of the encoder alone on images in memory."""
    name, count = ("timm:resnet18", 40) if job.is_small else ("timm:resnet50", 4000)
    folder = write_photos(job.place / "photos", count, small=job.is_small, classes=4)

    def timed(call: Callable[[], Any]) -> float:
        began = time.perf_counter()
        call()
        return rounded(count / (time.perf_counter() - began))

    found = {
        "embed": timed(lambda: embed(name, str(folder), job.place / "vectors.parquet", device=job.device_name)),
        "evaluate, knn and linear-fast": timed(
            lambda: evaluate(
                name, str(folder), ["knn", "linear-fast"], out=job.place / "results", device=job.device_name
            )
        ),
    }
    yield {"images_per_second": found, "num_images": count, "encoder": name}
    encoder = open_subject(name, open_source(str(folder))).encoder.to(job.device)
    batch = 8 if job.is_small else 256
    images = natural_images(batch, 48 if job.is_small else 256, 0).to(job.device)
    encoder(images)
    steps = 1 if job.is_small else 20
    found["encoder alone, float32"] = rounded(batch * steps / _seconds(job, lambda: encoder(images), steps))
    rates = ", ".join(f"{what} {rate:.0f}" for what, rate in found.items())
    yield {"images_per_second": found, "sentence": f"images/s: {rates}"}
