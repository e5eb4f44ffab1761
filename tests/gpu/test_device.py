"""What has to hold on every device: run on the CPU by `make test`, and on a GPU too by `make test-gpu`."""

import contextlib
import itertools
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

from byol.assembly.networks import build_method
from byol.assembly.training import build_state
from byol.assembly.views import build_views
from byol.config import Config, from_dict, replaced, to_dict
from byol.data.arrays import ArrayImages
from byol.data.loader import Batch, ResidentFeed
from byol.data.source import SkippedImages
from byol.engine.micro_batches import ahead, micro_batches
from byol.engine.schedule import Schedule
from byol.engine.step import train_step
from byol.engine.wrap import wrap
from byol.evaluate.protocols import training
from byol.recipes import recipe
from byol.runtime.hardware import choose_kernels
from byol.runtime.ranks import Ranks
from tests.conftest import SMALL

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
BATCH = 16


@contextlib.contextmanager
def without_waiting(device: torch.device) -> Iterator[None]:
    """On CUDA whatever waits for the device raises."""
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")


def keep_busy(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda._sleep(10**8)


def config(**settings: object) -> Config:
    views = {"views.mean": [0.5] * 3, "views.std": [0.25] * 3, "micro_batch_size": BATCH}
    return from_dict(Config, to_dict(replaced(recipe("small").config, {**SMALL, **views, **settings})))


def images(device: torch.device) -> torch.Tensor:
    return torch.randint(256, (BATCH, 3, 40, 48), generator=torch.Generator().manual_seed(0)).to(device, torch.uint8)


@pytest.mark.parametrize("optimizer", ["lars", "sgd", "adamw"])
@pytest.mark.parametrize("name", DEVICES)
def test_step_waits_for_nothing(name: str, optimizer: str) -> None:
    """Views, both networks, loss, backward, optimizer and target are queued; the loss is read afterwards alone."""
    device = torch.device(name)
    c = config(**{"optimizer.name": optimizer, "optimizer.base_learning_rate": 0.01})
    state = build_state(c, build_method(c, 3), device, Ranks())
    schedule = Schedule(0.1, BATCH, 100, 2, 0.99)
    compute_loss = wrap(state.method, device, bf16=True, channels_last=True)
    batch = images(device)
    made = micro_batches((Batch(step, 0, batch, False, None) for step in range(4)), build_views(c), device)
    losses = []
    for step in range(4):
        with without_waiting(device) if step > 1 else contextlib.nullcontext():
            losses.append(train_step(state, itertools.islice(made, 1), 1, compute_loss, schedule).loss)
    values = torch.stack(losses).tolist()
    assert len(set(values)) == 4 and all(0 < value < 8 for value in values)


@pytest.mark.parametrize("name", DEVICES)
def test_views_made_ahead_are_not_overwritten(name: str) -> None:
    """Each is read by a step that is still queued when the memory of the one before is taken again."""
    device = torch.device(name)
    views, batch = build_views(config()), images(device)

    def late_batches() -> Iterator[Batch]:
        for step in range(12):
            keep_busy(device)  # on the stream of the views: whoever does not wait for them is too early
            yield Batch(step, 0, batch, False, None)

    found = []
    for made in ahead(late_batches(), views, device):
        keep_busy(device)  # the sums are late: memory taken again too early would show
        found.append(made.views.view1.sum() + made.views.view2.sum())
    expected = [sum(view.sum() for view in views(batch, step)) for step in range(12)]
    assert torch.allclose(torch.stack(found), torch.stack(expected), rtol=1e-5)


@pytest.mark.gpu
def test_step_as_cuda_graphs_is_the_step() -> None:
    device = torch.device("cuda")
    c = config(**{"optimizer.name": "sgd", "optimizer.base_learning_rate": 0.01})
    batch, losses = images(device), {}
    torch._dynamo.reset()
    counters.clear()
    for compiled in (False, True):
        state = build_state(c, build_method(c, 3), device, Ranks())
        compute_loss = wrap(state.method, device, bf16=False, channels_last=True, compiled=compiled)
        made = micro_batches((Batch(step, 0, batch, False, None) for step in range(8)), build_views(c), device)
        results = [
            train_step(state, itertools.islice(made, 1), 1, compute_loss, Schedule(0.1, BATCH, 100, 2, 0.99)).loss
            for _ in range(8)
        ]
        losses[compiled] = torch.stack(results)
    assert torch.allclose(losses[True], losses[False], rtol=1e-2)
    assert counters["inductor"]["cudagraph_skips"] == 0


@pytest.mark.parametrize("name", DEVICES)
def test_views_are_those_of_the_cpu(name: str) -> None:
    device = torch.device(name)
    made = build_views(config())
    expected = made(images(torch.device("cpu")), 3)
    for view, other in zip(made(images(device), 3), expected, strict=True):
        assert view.device.type == name
        close = (view.cpu() - other).abs() < 1e-4
        assert float(close.float().mean()) > 0.999  # hue and solarize jump where a last digit decides


@pytest.mark.parametrize("name", [*DEVICES, "meta"])
def test_labels_of_a_resident_set_are_where_its_images_are(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fed = list[torch.Tensor]()
    monkeypatch.setattr(training, "ResidentFeed", lambda *given: fed.extend(given[:2]) or ResidentFeed(*given))
    device, about = torch.device(name), SimpleNamespace(image_size=16, antialias=False, in_channels=3)
    source = ArrayImages(np.zeros((8, 16, 16, 3), np.uint8), np.arange(8) % 2)
    job = SimpleNamespace(
        encoder=SimpleNamespace(description=about), device=device, seed=0, semantics="deepmind", skipped=SkippedImages()
    )
    (made,) = training.batches(job, source, 4, 1)  # pyright: ignore[reportArgumentType]
    assert [part.device.type for part in (*fed, *made)] == [name] * 4


@pytest.mark.parametrize("name", DEVICES)
def test_operators_chosen_can_be_used(name: str) -> None:
    assert choose_kernels("auto", torch.device(name)).kind == ("fused" if name == "cpu" else "native")
