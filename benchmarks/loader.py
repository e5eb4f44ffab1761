"""From a folder of JPEG files to batches of two 224 px crops: our feed beside torchvision's ImageFolder and DataLoader.

    python -m benchmarks.loader --data photos/ [--workers 2] [--batch 32] [--batches 12]

Same work in the same number of processes: read, decode, two random crops resized to float tensors, one batch. Colour and
blur are not in it (both make them elsewhere). torchvision's rows: on PIL images as its documentation has it, and
with transforms v2 on tensors. Batches are counted once the first is there, with what was begun by then.
"""

import itertools
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder as TorchvisionFolder
from torchvision.transforms import v2

from benchmarks.images import write_folder
from benchmarks.record import Record, alternate, arguments, publish, record
from byol.assembly.views import plain_views
from byol.config import Config, replaced
from byol.data.loader import BatchPlan, DecodingFeed
from byol.data.open import open_source
from byol.data.source import SkippedImages
from byol.runtime.hardware import choose_kernels

BICUBIC = transforms.InterpolationMode.BICUBIC


def rate(batches: Iterator[Any], batch: int, count: int, workers: int) -> float:
    """Images per second of `count` batches, after as many as are being made when the first one comes."""
    skipped = 1 + 2 * workers
    for _ in itertools.islice(batches, skipped):
        pass
    began = time.perf_counter()
    for _ in itertools.islice(batches, count):
        pass
    return batch * count / (time.perf_counter() - began)


def ours(folder: Path, size: int, batch: int, count: int, workers: int, seed: int) -> Iterator[Any]:
    config = replaced(Config(), {"views.size": size, "batch_size": batch, "seed": seed})
    views = plain_views(config, fused=choose_kernels(config.kernels, torch.device("cpu")).kind == "fused")
    source = open_source(str(folder))
    feed = DecodingFeed(source, 3, BatchPlan(batch, batch), seed, workers, SkippedImages())
    return feed.batches(0, count, views.crop)


def torchvision_on_pil(folder: Path, size: int) -> TorchvisionFolder:
    crop = transforms.Compose(
        [
            transforms.RandomResizedCrop(size, interpolation=BICUBIC),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
        ]
    )
    return TorchvisionFolder(str(folder), lambda image: torch.stack([crop(image), crop(image)]))


def torchvision_on_tensors(folder: Path, size: int) -> TorchvisionFolder:
    crop = v2.Compose(
        [
            v2.RandomResizedCrop(size, interpolation=BICUBIC, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )

    def crops(image: Image.Image) -> torch.Tensor:
        pixels = transforms.functional.pil_to_tensor(image)
        return torch.stack([crop(pixels), crop(pixels)])

    return TorchvisionFolder(str(folder), crops)


def endless(images: TorchvisionFolder, batch: int, workers: int) -> Iterator[Any]:
    while True:
        yield from DataLoader(images, batch, shuffle=True, drop_last=True, num_workers=workers)


def measure(data: str, size: int, batch: int, count: int, workers: int, rounds: int, seed: int = 0) -> Record:
    with tempfile.TemporaryDirectory() as place:
        wanted = batch * (count + 1 + 2 * workers)  # so many that no row comes to the end of its files
        folder = write_folder(Path(place), data, wanted, 500, seed)
        total = count + 1 + 2 * workers

        def row(batches: Iterator[Any]) -> float:
            return rate(batches, batch, count, workers)

        found = alternate(
            {
                "ours": lambda: row(ours(folder, size, batch, total, workers, seed)),
                "torchvision, PIL": lambda: row(endless(torchvision_on_pil(folder, size), batch, workers)),
                "torchvision, tensors": lambda: row(endless(torchvision_on_tensors(folder, size), batch, workers)),
            },
            rounds,
        )
    return record(
        "loader",
        f"JPEG files to two {size} px crops, {workers} worker processes",
        "images/s",
        found,
        higher_is_better=True,
        ratios=[("ours", "torchvision, PIL"), ("ours", "torchvision, tensors")],
        settings={"data": data, "size": size, "batch": batch, "batches": count, "workers": workers},
        seed=seed,
    )


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--data", default="", help="as for byol pretrain; default: made-up images of 500 px")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--batches", type=int, default=12)
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    publish(
        measure(chosen.data, chosen.size, chosen.batch, chosen.batches, chosen.workers, chosen.rounds, chosen.seed),
        chosen.out,
    )
