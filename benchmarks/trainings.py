"""One BYOL training of a few steps, in a process of its own: ours, plain PyTorch, and other projects' as documented.

    python -m benchmarks.trainings '{"name": "plain", "data": "FOLDER", "batch": 64}'

prints one JSON object: seconds per step, peak memory, and what the matrix units of this process can do. All read the
same folder of JPEG files and do the same work: two views, both networks, loss, backward, update, moving average.
"""

import contextlib
import copy
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn
from torchvision import transforms

from benchmarks.record import peak_megabytes

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Training:
    """What is trained, and by whom."""

    name: str
    data: str
    precision: str = "bf16"
    """bf16 or fp32."""
    kernels: str = ""
    """Ours alone: the setting of that name."""
    encoder: str = "resnet18"
    stem: str = "small"
    """small: 3x3 and no pooling; imagenet: as torchvision has it."""
    size: int = 32
    batch: int = 256
    hidden: int = 4096
    """Width of both heads; their output is 256."""
    workers: int = 2
    warmup: int = 2
    """Steps that are not counted; at least 1."""
    steps: int = 3
    seconds: float = 0.0
    """Where above 0: train so long, counted from the start of the process's training, in place of so many steps."""
    channels_last: bool = False
    """lightly alone."""
    device: str = "cpu"
    """Torch device of the steps of plain PyTorch and lightly."""
    save: str = ""
    """A file for the weights of the encoder at the end; not ours, which writes its own."""
    seed: int = 0


Mark = Callable[..., float]
"""Called after every step, with the encoder; gives the share of the training that is done."""
Step = Callable[[Tensor, Tensor, float], None]
"""A whole step, loss to moving average, on two views (N, 3, S, S) of a batch and the share of the training that is done."""


def paper_overrides(work: Training) -> dict[str, Any]:
    """The settings of `imagenet-300` that differ for this training."""
    return {
        "encoder.name": work.encoder,
        "encoder.stem": work.stem,
        "views.size": work.size,
        "heads.projector_hidden": work.hidden,
        "heads.predictor_hidden": work.hidden,
        "optimizer.warmup_epochs": 0,
    }


def ours(work: Training, mark: Mark) -> None:
    """`byol.pretrain` itself, at the paper's settings but for the sizes."""
    import byol
    from byol.config import Config
    from byol.data.open import open_source

    source = open_source(work.data)
    overrides = paper_overrides(work)
    if work.kernels and hasattr(Config, "kernels"):
        overrides["kernels"] = work.kernels
    with tempfile.TemporaryDirectory() as place:
        byol.pretrain(
            source,
            "imagenet-300",
            out=f"{place}/run",
            overrides=overrides,
            epochs=(work.warmup + work.steps + 0.01) * work.batch / len(source),
            batch_size=work.batch,
            precision=work.precision,
            workers=work.workers,
            seed=work.seed,
            log_interval_steps=1,
            collapse_interval_steps=10**9,
            say=lambda line: None,
            show=lambda progress: mark(),
        )


def backbone(work: Training) -> tuple[nn.Module, int]:
    """torchvision's ResNet, or what timm has by that name, without its classifier, and its number of features."""
    if not hasattr(torchvision.models, work.encoder):
        made = timm.create_model(work.encoder, num_classes=0)
        return made, int(made.num_features)  # pyright: ignore[reportArgumentType]
    network = getattr(torchvision.models, work.encoder)(weights=None)
    if work.stem == "small":
        network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        network.maxpool = nn.Identity()
    width = network.fc.in_features
    network.fc = nn.Identity()
    return network, width


def endless(loader: Any) -> Iterator[Any]:
    """Batches, epoch after epoch."""
    while True:
        yield from loader


def autocast(work: Training) -> torch.autocast:
    return torch.autocast(torch.device(work.device).type, torch.bfloat16, enabled=work.precision == "bf16")


def plain(work: Training, mark: Mark) -> None:
    """BYOL as one would write it with torch and torchvision: DataLoader, transforms on PIL images, a loop."""

    def view(blur: float, solarize: float) -> transforms.Compose:
        kernel = max(3, work.size // 10 // 2 * 2 + 1)
        return transforms.Compose(
            [
                transforms.RandomResizedCrop(work.size, interpolation=transforms.InterpolationMode.BICUBIC),
                transforms.RandomHorizontalFlip(),
                transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8),
                transforms.RandomGrayscale(0.2),
                transforms.RandomApply([transforms.GaussianBlur(kernel, (0.1, 2.0))], p=blur),
                transforms.RandomSolarize(128, p=solarize),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    view1, view2 = view(1.0, 0.0), view(0.1, 0.2)
    images = torchvision.datasets.ImageFolder(work.data, transform=lambda image: (view1(image), view2(image)))
    network, step = plain_step(work)
    for (one, two), _ in endless(loader(work, images)):
        step(one, two, 0.0)
        mark(network)


def plain_step(work: Training) -> tuple[nn.Module, Step]:
    """The encoder and the step of plain PyTorch. bf16 comes with channels_last, as one would switch both on."""
    layout = torch.channels_last if work.precision == "bf16" else torch.contiguous_format
    network, width = backbone(work)

    def head(inputs: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Linear(inputs, work.hidden), nn.BatchNorm1d(work.hidden), nn.ReLU(), nn.Linear(work.hidden, 256)
        )

    online = nn.Sequential(network, head(width)).to(work.device, memory_format=layout)  # pyright: ignore[reportCallIssue]
    predictor = head(256).to(work.device)
    target = copy.deepcopy(online).requires_grad_(False)
    optimizer = torch.optim.SGD([*online.parameters(), *predictor.parameters()], lr=0.03, momentum=0.9)

    def distance(prediction: Tensor, projection: Tensor) -> Tensor:
        return 2 - 2 * nn.functional.cosine_similarity(prediction.float(), projection.float()).mean()

    def step(one: Tensor, two: Tensor, done: float) -> None:
        one, two = (view.to(work.device, memory_format=layout) for view in (one, two))
        with autocast(work):
            with torch.no_grad():
                target1, target2 = target(one), target(two)
            loss = distance(predictor(online(one)), target2) + distance(predictor(online(two)), target1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for slow, fast in zip(target.parameters(), online.parameters(), strict=True):
                slow.lerp_(fast, 0.004)

    return network, step


def loader(work: Training, images: Any, **options: Any) -> torch.utils.data.DataLoader:
    return torch.utils.data.DataLoader(
        images, batch_size=work.batch, shuffle=True, drop_last=True, num_workers=work.workers, **options
    )


def lightly(work: Training, mark: Mark) -> None:
    """lightly's parts, put together as its documentation of BYOL shows; no blur, as it advises for small images."""
    from lightly.data import LightlyDataset
    from lightly.transforms.byol_transform import BYOLTransform, BYOLView1Transform, BYOLView2Transform

    blur = {"gaussian_blur": 0.0} if work.size <= 32 else {}
    views = BYOLTransform(
        BYOLView1Transform(input_size=work.size, **blur), BYOLView2Transform(input_size=work.size, **blur)
    )
    encoder, step = lightly_step(work)
    progress = 0.0
    for batch in endless(loader(work, LightlyDataset(work.data, transform=views))):
        step(*batch[0], progress)
        progress = mark(encoder)


def lightly_step(work: Training) -> tuple[nn.Module, Step]:
    """The encoder and the step of lightly."""
    from lightly.loss import NegativeCosineSimilarity
    from lightly.models.modules import BYOLPredictionHead, BYOLProjectionHead
    from lightly.models.utils import deactivate_requires_grad, update_momentum
    from lightly.utils.scheduler import cosine_schedule

    encoder, width = backbone(work)
    projector, predictor = BYOLProjectionHead(width, work.hidden, 256), BYOLPredictionHead(256, work.hidden, 256)
    slow_encoder, slow_projector = copy.deepcopy(encoder), copy.deepcopy(projector)
    deactivate_requires_grad(slow_encoder)
    deactivate_requires_grad(slow_projector)
    criterion = NegativeCosineSimilarity()
    layout = torch.channels_last if work.channels_last else torch.contiguous_format
    for network in (encoder, slow_encoder, projector, predictor, slow_projector):
        network.to(work.device, memory_format=layout)  # pyright: ignore[reportCallIssue]
    trained = [*encoder.parameters(), *projector.parameters(), *predictor.parameters()]
    optimizer = torch.optim.SGD(trained, lr=0.06)
    epochs = 10

    def step(one: Tensor, two: Tensor, done: float) -> None:
        one, two = (view.to(work.device, memory_format=layout) for view in (one, two))
        momentum = cosine_schedule(int(epochs * done), epochs, 0.996, 1)
        update_momentum(encoder, slow_encoder, m=momentum)
        update_momentum(projector, slow_projector, m=momentum)
        with autocast(work):
            prediction1 = predictor(projector(encoder(one).flatten(1)))
            target1 = slow_projector(slow_encoder(one).flatten(1)).detach()
            prediction2 = predictor(projector(encoder(two).flatten(1)))
            target2 = slow_projector(slow_encoder(two).flatten(1)).detach()
            loss = 0.5 * (criterion(prediction1, target2) + criterion(prediction2, target1))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return encoder, step


def byol_pytorch(work: Training, mark: Mark) -> None:
    """byol-pytorch's loop as its README shows it; its own views, one draw for the whole batch."""
    from byol_pytorch import BYOL

    network, _ = backbone(work)
    resized = transforms.Compose([transforms.Resize((work.size, work.size)), transforms.ToTensor()])
    images = torchvision.datasets.ImageFolder(work.data, transform=resized)
    learner = BYOL(network, image_size=work.size, hidden_layer="avgpool", projection_hidden_size=work.hidden)
    optimizer = torch.optim.Adam(learner.parameters(), lr=3e-4)
    for batch, _ in endless(loader(work, images)):
        with autocast(work):
            loss = learner(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        learner.update_moving_average()
        mark(network)


TRAININGS: dict[str, Callable[[Training, Mark], None]] = {
    "ours": ours,
    "plain": plain,
    "lightly": lightly,
    "byol-pytorch": byol_pytorch,
}


class _EnoughError(Exception):
    """Ends a loop from within."""


def run(work: Training) -> dict[str, Any]:
    """Trains, and says how long the counted steps took, and how many were made."""
    torch.manual_seed(work.seed)
    began = time.perf_counter()
    marks: list[float] = []
    peak = 0.0
    trained: list[nn.Module] = []

    def mark(*network: nn.Module) -> float:
        nonlocal peak
        marks.append(time.perf_counter())
        peak = peak_megabytes()
        trained[:] = network
        share = (marks[-1] - began) / work.seconds if work.seconds else len(marks) / (work.warmup + work.steps)
        if share >= 1 and work.name != "ours":
            raise _EnoughError
        return share

    imported = peak_megabytes()
    with contextlib.suppress(_EnoughError):
        TRAININGS[work.name](work, mark)
    if work.save:
        torch.save(trained[0].state_dict(), work.save)
    seconds = [end - start for start, end in itertools.pairwise(marks)][work.warmup - 1 :]
    return {
        "seconds": seconds,
        "num_steps": len(marks),
        "imported_megabytes": imported,
        "peak_megabytes": peak,
        "matrix_peak": matrix_peak(),
        "training": asdict(work),
    }


def matrix_peak(side: int = 2048, repeats: int = 5) -> float:
    """The best FLOP/s seen here: of a matrix product, and of a 3x3 convolution in the middle of a ResNet.

    In bf16, or in fp32 where a small product is faster in that: bf16 is emulated there, a hundred times slower.
    """

    def seconds(operation: Callable[[], Tensor], times: int) -> float:
        began = []
        for _ in range(times + 1):
            began.append(time.perf_counter())
            operation()
        return min(end - start for start, end in itertools.pairwise(began))

    small = torch.randn(256, 256)
    kind = min((torch.bfloat16, torch.float32), key=lambda kind: seconds(partial(torch.mm, *[small.to(kind)] * 2), 3))
    a, b = torch.randn(side, side, dtype=kind), torch.randn(side, side, dtype=kind)
    maps = torch.randn(64, 256, 16, 16).to(kind, memory_format=torch.channels_last)
    weight = torch.randn(256, 256, 3, 3).to(kind, memory_format=torch.channels_last)
    operations: list[tuple[Callable[[], Tensor], float]] = [
        (lambda: a @ b, 2 * side**3),
        (lambda: nn.functional.conv2d(maps, weight, padding=1), 2 * 9 * 256 * maps.numel()),
    ]
    return max(flops / seconds(operation, repeats) for operation, flops in operations)


if __name__ == "__main__":
    print(json.dumps(run(Training(**json.loads(sys.argv[1])))))
