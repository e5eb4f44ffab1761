"""Sections of `benchmarks.gpu_check` that ask whether a device computes what it should."""

import os
import signal
import socket
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, multiprocessing

import byol
from benchmarks.augment import natural_images
from benchmarks.gpu_section import ImpossibleError, Job, Part, WrongError
from benchmarks.images import write_folder
from benchmarks.record import ROOT, rounded
from byol.assembly.views import build_views
from byol.commands.resume import resume
from byol.config import Config, replaced
from byol.data.loader import Batch
from byol.engine.metrics import read_metrics
from byol.engine.micro_batches import ahead
from byol.runtime import checkpoint
from byol.runtime.hardware import choose_kernels, computes_in_bf16, describe_machine
from byol.runtime.view_roles import ViewBatch

CPU = torch.device("cpu")
JUMP, MOST_JUMPS = 1e-4, 1e-3
"""A value that differs by more than `JUMP` is a jump (hue and solarize, where a last digit decides); largest fraction of jumps."""
NOISE = 10.0
"""A resumed run may differ by so many times as much as two uninterrupted runs do, where operators are not deterministic."""
STEPS, KILLED_AT = 12, 7
TESTS_STRETCH = 1.8
"""Longest time of tests on a GPU, as a multiple of the section's seconds, before they are stopped."""
LOSS_TOLERANCE = 1e-2
"""Largest relative difference between the first losses of one process and of two, in float32 with TF32 convolutions."""
SMALL_ENCODER = {"encoder.name": "resnet18", "encoder.width": 0.125}
SMALL_HEADS = {"heads.projector_hidden": 32, "heads.projector_output": 16, "heads.predictor_hidden": 32}


def machine(job: Job) -> Iterator[Part]:
    """The card, the versions, and what torch allows itself in float32."""
    if job.device.type == "cuda":
        card = torch.cuda.get_device_properties(0)
        yield {
            "sentence": f"{torch.cuda.device_count()} x {card.name}, torch {torch.__version__}",
            "num_cards": torch.cuda.device_count(),
            "memory_gigabytes": rounded(card.total_memory / 1e9),
            "compute_capability": f"{card.major}.{card.minor}",
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "computes_in_bf16": computes_in_bf16(job.device),
            "tf32_in_convolutions": torch.backends.cudnn.allow_tf32,
            "tf32_in_products": torch.get_float32_matmul_precision() != "highest",
        }
    else:
        yield {"sentence": f"the CPU, torch {torch.__version__}: tiny sizes"}
    yield {"packages": {name: _version(name) for name in ("triton", "lightly", "pytest", "tyro")}}
    yield describe_machine(job.device)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def views(job: Job) -> Iterator[Part]:
    """Views that the device makes on a stream beside a busy one, from images and from workers' crops, beside the CPU's."""
    jumps, sizes = [], ((16, 4), (40, 4)) if job.is_small else ((32, 512), (224, 64))
    for size, count in sizes:
        settings = {"views.size": size, "batch_size": count, "views.mean": (0.5,) * 3, "views.std": (0.25,) * 3}
        config = replaced(Config(), settings)
        made_by_torch = build_views(config)
        cropping = build_views(config, fused=choose_kernels("auto", CPU).kind == "fused")
        images = natural_images(count, size if size <= 96 else 256, seed=0)
        pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
        for name in ("whole images", "crops of workers"):
            batches, expected = [], []
            for step in range(2):
                crops = (
                    [cropping.crop(image, step, row) for row, image in enumerate(pixels)]
                    if name != "whole images"
                    else []
                )
                source = torch.stack(crops) if crops else images
                batches.append(Batch(step, 0, source.to(job.device), bool(crops), None))
                expected.append(made_by_torch(images, step))
            found = []
            for micro_batch in ahead(iter(batches), made_by_torch, job.device):
                if job.device.type == "cuda":
                    torch.cuda._sleep(10**8)  # what reads the views is late: memory taken again too early would show
                found.append(micro_batch.views.map(Tensor.cpu))
            numbers = _differences(found, expected)
            jumps.append(numbers["fraction_above_0.0001"])
            yield {f"{size} px, {name}": numbers, "sentence": f"{size} px, {name}: {_in_words(numbers)}"}
    if max(jumps) > MOST_JUMPS:
        raise WrongError(f"of the values of a view up to {max(jumps):.2%} differ from the CPU's by more than {JUMP:g}")


def _differences(found: list[ViewBatch], expected: list[ViewBatch]) -> dict[str, float]:
    pairs = zip(chain(*found), chain(*expected), strict=True)
    distances = torch.cat([(one - other).abs().flatten() for one, other in pairs])
    return {
        "largest": rounded(float(distances.max())),
        "mean": rounded(float(distances.double().mean())),
        f"fraction_above_{JUMP:g}": rounded(float((distances > JUMP).double().mean())),
        "num_values": distances.numel(),
    }


def _in_words(numbers: Mapping[str, float]) -> str:
    return f"largest difference {numbers['largest']:.2g}, mean {numbers['mean']:.2g}"


def too_little_memory(job: Job) -> Iterator[Part]:
    """`byol pretrain` with a batch that does not fit: one sentence and exit code 1."""
    import byol.cli.main  # noqa: F401  a package that is missing is this section's reason

    name, size, batch = ("resnet18", 64, 256) if job.is_small else ("resnet50", 224, 512)
    np.save(job.place / "images.npy", np.zeros((batch, 32, 32, 3), np.uint8))
    arguments = ["pretrain", "--data", str(job.place / "images.npy"), "--out", str(job.place / "run"), "--epochs", "1"]
    arguments += [
        "--recipe",
        "imagenet-300",
        "--encoder.name",
        name,
        "--views.size",
        str(size),
        "--batch-size",
        str(batch),
    ]
    arguments += ["--optimizer.warmup-epochs", "0", "--device", job.device_name]
    code = "import sys; from benchmarks.gpu_correctness import starved; starved(sys.argv[1], sys.argv[2:])"
    command = [sys.executable, "-c", code, job.device_name, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=5 * job.seconds, check=False)
    said = done.stderr.strip()
    yield {"exit_code": done.returncode, "said": said[-2000:], "sentence": said.partition("\n")[0]}
    if done.returncode != 1 or not said.startswith("byol: ") or "\n" in said or "--micro-batch-size" not in said:
        raise WrongError(
            f"exit code {done.returncode}, {len(said.splitlines())} lines; the last: {said[-300:].splitlines()[-1:]}"
        )


def starved(device: str, arguments: list[str]) -> None:
    """Runs the command line of byol where 2 GiB are left of a GPU's memory, or 0.5 GiB of this process's address space."""
    from byol.cli.main import main

    if device == "cuda":
        free, _ = torch.cuda.mem_get_info()
        held = torch.empty(max(0, free - 2 * 2**30), dtype=torch.uint8, device="cuda")
        assert held.numel() >= 0  # it lives until the end
    else:
        import resource

        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**29,) * 2)
    main(arguments)


def kill_and_resume(job: Job) -> Iterator[Part]:
    """A run that is killed and resumed beside one that is not, and how far two uninterrupted runs lie apart."""
    images = job.place / "images"
    for side in (40, 48):  # of two sizes, so that workers decode and crop them
        write_folder(images / str(side), "", 64, side, seed=side)
    folders = {name: job.place / name for name in ("whole", "again", "killed")}
    for name in ("whole", "again"):
        _train(images, folders[name], job.device_name)
    killed = multiprocessing.get_context("spawn").Process(
        target=_train, args=(images, folders["killed"], job.device_name, KILLED_AT)
    )
    killed.start()
    killed.join()
    left = checkpoint.step_of(checkpoint.saved(folders["killed"] / "checkpoints")[-1])
    yield {"exit_code_of_killed": killed.exitcode, "newest_step_of_killed": left}
    if killed.exitcode != -signal.SIGKILL or not 0 < left < STEPS:
        raise WrongError(f"the run was to be killed; it ended with code {killed.exitcode} at step {left}")
    _be_deterministic()
    resume(folders["killed"], say=_to_stderr)
    states = {name: checkpoint.load_newest(folder / "checkpoints")[1]["method"] for name, folder in folders.items()}
    resumed, noise = (distance(states["whole"], states[name]) for name in ("killed", "again"))
    yield {"resumed": resumed, "uninterrupted_again": noise}
    if resumed["is_equal"]:
        yield {"sentence": "bit for bit: the resumed run's weights are those of the uninterrupted one"}
        return
    apart = f"the resumed run's weights differ by {resumed['relative']:.2g}, those of two uninterrupted runs by {noise['relative']:.2g}"
    if resumed["relative"] > NOISE * noise["relative"]:
        raise WrongError(apart)
    yield {"sentence": f"operators are not deterministic here: {apart}"}


def distance(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> dict[str, Any]:
    """Largest and relative (L2) difference of all floating-point tensors, and whether all tensors are equal bit for bit."""
    pairs = [(a.double().cpu(), other[name].double().cpu()) for name, a in one.items() if a.is_floating_point()]
    whole = torch.cat([a.flatten() for a, _ in pairs])
    apart = whole - torch.cat([b.flatten() for _, b in pairs])
    return {
        "is_equal": all(torch.equal(tensor, other[name]) for name, tensor in one.items()),
        "largest": rounded(float(apart.abs().max())),
        "relative": rounded(float(apart.norm() / whole.norm())),
    }


def _train(images: Path, out: Path, device: str, killed_at: int = 0, **settings: Any) -> byol.Run:
    """A run of `STEPS` steps with a checkpoint after each. The process is killed in step `killed_at`, where that is not 0."""

    def show(progress: Any) -> None:
        if progress.step == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)

    _be_deterministic()
    overrides = {**SMALL_ENCODER, **SMALL_HEADS, "views.size": 32, "batch_size": 64, "workers": 2, "device": device}
    overrides |= {"threads": 1, "checkpoint_interval_minutes": 0, "log_interval_steps": 1, "collapse_interval_steps": 5}
    return byol.pretrain(
        str(images),
        out=out,
        overrides={**overrides, "epochs": (STEPS + 0.5) / 2, **settings},
        say=_to_stderr,
        show=show,
    )


def _be_deterministic() -> None:
    """Asks for deterministic operators where there are such; before this process first uses CUDA."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)


def two_ranks(job: Job) -> Iterator[Part]:
    """A training on two ranks (NCCL; on the CPU gloo) beside the same in one process."""
    if job.device.type == "cuda" and torch.cuda.device_count() < 2:
        raise ImpossibleError("two ranks need two GPUs, and there is one")
    write_folder(job.place, "", 128, 32)
    images = job.place / "images"
    _train(images, job.place / "one", job.device_name, precision="fp32")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context, shared = multiprocessing.get_context("spawn"), (port, images, job.place / "two", job.device_name)
    ranks = [context.Process(target=_train_rank, args=(rank, *shared)) for rank in (0, 1)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
    if any(process.exitcode for process in ranks):
        raise WrongError(f"the ranks ended with codes {[process.exitcode for process in ranks]}")
    one, two = (read_metrics(job.place / name / "metrics.jsonl") for name in ("one", "two"))
    rates = {name: rounded(rows[-1]["images_per_second"]) for name, rows in (("one", one), ("two", two))}
    first, last = (abs(two[row]["loss"] / one[row]["loss"] - 1) for row in (0, -1))
    yield {"first_loss": rounded(first), "last_loss": rounded(last), "images_per_second": rates}
    if len(one) != len(two) or first > LOSS_TOLERANCE:
        raise WrongError(f"the first loss of two ranks differs by {first:.2g} from that of one process")
    yield {
        "sentence": f"losses of two ranks and of one process differ by {first:.2g} in the first step, {last:.2g} in the last"
    }


def _train_rank(rank: int, port: int, images: Path, out: Path, device: str) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    _train(images, out, device, precision="fp32")


def device_tests(job: Job) -> Iterator[Part]:
    """The tests in tests/gpu on the device."""
    yield from _tests(job, ["tests/gpu", "-m", "not gpu" if job.is_small else "gpu"])


def parity_tests(job: Job) -> Iterator[Part]:
    """The tests in tests/parity on the device: float64, float32, TF32 and bf16, each with its tolerance."""
    chosen = ["-k", "loss"] if job.is_small else []
    yield from _tests(
        job, ["tests/parity", "--device", job.device_name, *chosen, "-m", "not gpu" if job.is_small else ""]
    )


def _tests(job: Job, arguments: list[str]) -> Iterator[Part]:
    """Counts of tests, and the name and first line of each failure."""
    if find_spec("pytest") is None:
        raise ImpossibleError("pytest is not installed: pip install pytest")
    written, said = job.place / "tests.xml", job.place / "tests.txt"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junit-xml={written}", *arguments]
    command += ["-W", "default"]  # warnings of another torch are no failures here
    with said.open("w") as stream:
        process = subprocess.Popen(command, cwd=ROOT, stdout=stream, stderr=subprocess.STDOUT)
        try:
            process.wait(None if job.is_small else TESTS_STRETCH * job.seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # pytest then writes what it found
            process.wait()
            yield {"stopped_after_seconds": round(TESTS_STRETCH * job.seconds)}
    if not written.exists():
        raise WrongError(f"pytest ended with code {process.returncode}: {said.read_text()[-500:]}")
    counts, failures = {"passed": 0, "failed": 0, "skipped": 0}, []
    for case in ElementTree.parse(written).iterfind(".//testcase[@name]"):  # one that was stopped has no name
        outcome = next((part for part in case if part.tag in ("failure", "error", "skipped")), None)
        kind = "passed" if outcome is None else "skipped" if outcome.tag == "skipped" else "failed"
        counts[kind] += 1
        if outcome is not None:
            failures.append(f"{kind}: {case.get('classname')}.{case.get('name')}: {outcome.get('message', '')[:300]}")
    sentence = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    yield {**counts, "not_passed": failures, "sentence": sentence}
    if process.returncode or not counts["passed"]:
        raise WrongError(f"{sentence}; pytest ended with code {process.returncode}")
