"""What has to hold on every device: run on the CPU by `make test`, and on a GPU too by `make test-gpu`."""

import contextlib
from collections.abc import Iterator

import pytest
import torch

from byol import build
from byol.config import Config, from_dict, override, to_dict
from byol.data.loader import Batch
from byol.engine.step import Schedule, train_step
from byol.engine.wrap import wrap
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


def config(**settings: object) -> Config:
    views = {"views.mean": [0.5] * 3, "views.std": [0.25] * 3, "micro_batch_size": BATCH}
    return from_dict(Config, to_dict(override(recipe("small").config, {**SMALL, **views, **settings})))


def images(device: torch.device) -> torch.Tensor:
    return torch.randint(256, (BATCH, 3, 40, 48), generator=torch.Generator().manual_seed(0)).to(device, torch.uint8)


@pytest.mark.parametrize("optimizer", ["lars", "sgd", "adamw"])
@pytest.mark.parametrize("name", DEVICES)
def test_step_waits_for_nothing(name: str, optimizer: str) -> None:
    """Views, both networks, loss, backward, optimizer and target are queued; the loss is read afterwards alone."""
    device = torch.device(name)
    c = config(**{"optimizer.name": optimizer, "optimizer.base_learning_rate": 0.01})
    state = build.state(c, build.method(c, 3), device, Ranks())
    views, schedule = build.two_views(c), Schedule(0.1, BATCH, 100, 2, 0.99)
    compute_loss = wrap(state.method, device, bf16=True, channels_last=True)
    batch = images(device)
    losses = []
    for step in range(4):
        with without_waiting(device) if step > 1 else contextlib.nullcontext():
            losses.append(train_step(state, [Batch(step, 0, batch, False, None)], 1, views, compute_loss, schedule, device).loss)  # fmt: skip
    values = torch.stack(losses).tolist()
    assert len(set(values)) == 4 and all(0 < value < 8 for value in values)


@pytest.mark.parametrize("name", DEVICES)
def test_views_are_those_of_the_cpu(name: str) -> None:
    device = torch.device(name)
    made = build.two_views(config())
    expected = made(images(torch.device("cpu")), 3)
    for view, other in zip(made(images(device), 3), expected, strict=True):
        assert view.device.type == name
        close = (view.cpu() - other).abs() < 1e-4
        assert float(close.float().mean()) > 0.999  # hue and solarize jump where a last digit decides


@pytest.mark.parametrize("name", DEVICES)
def test_operators_chosen_can_be_used(name: str) -> None:
    assert choose_kernels("auto", torch.device(name)).kind == ("fused" if name == "cpu" else "native")
