"""Training, features and the linear probe beside other busy processes, with fixed numbers of threads and with the chosen one.

    python -m benchmarks.busy [--neighbours 0 1 2] [--size 64] [--seconds-each 10]

A neighbour is a Python process that never sleeps. Training: the recipe `small` at its smallest size on made-up images of
`size` px, batch 128. Features: its encoder on 2,000 of them. Probe: L-BFGS over 45 strengths on 2,000 made-up vectors of 128
numbers in 10 classes. Rows alternate; `chosen` is the number of threads that `runtime.threads` measures.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch

from benchmarks.record import Record, alternate, arguments, publish, record
from byol.assembly.settings import build_schedule
from byol.assembly.training import assemble
from byol.config import replaced
from byol.data.arrays import ArrayImages
from byol.data.loader import Batch
from byol.encoder.encoder import Encoder, EncoderDescription
from byol.engine.micro_batches import make_views
from byol.engine.step import train_step
from byol.evaluate.features import extract
from byol.evaluate.linear import fit_linear
from byol.evaluate.protocols.linear_fast import PAPER_STRENGTHS
from byol.recipes import recipe
from byol.runtime.hardware import num_cores
from byol.runtime.threads import tuned_threads

CPU = torch.device("cpu")
BATCH, NUM_IMAGES = 128, 2000


@contextlib.contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Context with `count` busy processes."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        time.sleep(0.5 * bool(count))
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


@contextlib.contextmanager
def fixed(threads: int) -> Iterator[None]:
    """Context with a fixed number of threads for every tuner; 0: the chosen number."""
    before = os.environ.pop("OMP_NUM_THREADS", None)
    try:
        torch.set_num_threads(threads or num_cores())
        if threads:
            os.environ["OMP_NUM_THREADS"] = str(threads)
        yield
    finally:
        os.environ.pop("OMP_NUM_THREADS", None)
        if before:
            os.environ["OMP_NUM_THREADS"] = before


def work(size: int, seconds: float, seed: int) -> dict[str, Callable[[], float]]:
    """Functions that return images per second of training and of features, and probes per second, by name."""
    small = recipe("small")
    settings = {
        **small.sizes[-1].settings,
        "views.growth": (),
        "views.size": size,
        "asymmetry.small_size": size // 2,
        "views.mean": (0.5,) * 3,
        "views.std": (0.25,) * 3,
        "micro_batch_size": BATCH,
        "batch_size": BATCH,
    }
    assembly = assemble(replaced(small.config, settings), 3, CPU)
    schedule, loss = build_schedule(assembly.config, 5000), assembly.loss_function(1)
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (NUM_IMAGES, size, size, 3), dtype=np.uint8)
    images = torch.from_numpy(pixels[:BATCH]).permute(0, 3, 1, 2).contiguous()
    about = EncoderDescription("resnet10", {}, 128, 3, size, (0.5,) * 3, (0.25,) * 3, False)
    encoder = Encoder(assembly.state.method.encoder, about)
    classes = generator.integers(0, 10, NUM_IMAGES)
    vectors = torch.from_numpy(generator.standard_normal((NUM_IMAGES, 128), np.float32) + 0.3 * classes[:, None])

    def step() -> None:
        batch = Batch(assembly.state.step, 0, images, False, None)
        train_step(assembly.state, (make_views(batch, v, CPU) for v in assembly.views), 1, loss, schedule)

    def training() -> float:
        count, start_time = 0, time.perf_counter()
        with tuned_threads(CPU) as tuner:
            while time.perf_counter() - start_time < seconds:
                step()
                tuner.check()
                count += BATCH
        return count / (time.perf_counter() - start_time)

    def features() -> float:
        start_time = time.perf_counter()
        extract(encoder, ArrayImages(pixels), 3, CPU)
        return NUM_IMAGES / (time.perf_counter() - start_time)

    def probe() -> float:
        start_time = time.perf_counter()
        fit_linear(vectors, torch.from_numpy(classes), strengths=PAPER_STRENGTHS)
        return 1 / (time.perf_counter() - start_time)

    step()
    return {"training": training, "features": features, "probe": probe}


def measure(counts: list[int], size: int = 64, seconds: float = 10.0, rounds: int = 3, seed: int = 0) -> Record:
    jobs = work(size, seconds, seed)
    choices = [*range(1, num_cores() + 1), 0]
    values: dict[str, list[float]] = {}
    ratios = []
    for count in counts:
        for job, run in jobs.items():

            def rate(threads: int, run: Callable[[], float] = run) -> Callable[[], float]:
                def measured() -> float:
                    with fixed(threads):
                        return run()

                return measured

            names = {f"{job}, {count} neighbours, {n or 'chosen'} threads": rate(n) for n in choices}
            with neighbours(count):
                rows = alternate(names, rounds)
            values |= rows
            *others, chosen = rows
            best = max(others, key=lambda name: sorted(rows[name])[len(rows[name]) // 2])
            ratios.append((chosen, best))
    settings = {"neighbours": counts, "size": size, "seconds_each": seconds, "batch": BATCH}
    return record(
        "busy",
        "work beside busy processes",
        "images, or probes, per second",
        values,
        higher_is_better=True,
        ratios=ratios,
        settings=settings,
        seed=seed,
    )


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--neighbours", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seconds-each", type=float, default=10.0)
    given = parser.parse_args()
    publish(measure(given.neighbours, given.size, given.seconds_each, given.rounds, given.seed), given.out)
