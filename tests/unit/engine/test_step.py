"""One training step."""

import numpy as np
import pytest
import torch

from byol.assembly.networks import build_method
from byol.assembly.training import build_state
from byol.config import Config, replaced
from byol.data.loader import Batch, BatchPlan, ResidentFeed
from byol.engine.micro_batches import make_views, micro_batches
from byol.engine.schedule import Schedule
from byol.engine.state import State
from byol.engine.step import train_step
from byol.engine.wrap import wrap
from byol.methods.byol import MethodOutput
from byol.recipes import recipe
from byol.runtime.ranks import Ranks
from byol.views.policy import T_PRIME, T
from byol.views.views import Views, pair
from tests.conftest import SMALL, picture

PICTURES = np.stack([picture(i, 32, 32) for i in range(64)])


def test_train_step_sets_every_groups_own_rate() -> None:
    rates = {"optimizer.encoder_rate": 0.5, "optimizer.projector_rate": 0.0, "optimizer.predictor_rate": 3.0}
    plain = {"encoder.name": "resnet10", "views.mean": (0.5,), "views.std": (1.0,), "optimizer.name": "sgd"}
    config = replaced(Config(), {**SMALL, **plain, "optimizer.momentum": 0.0, **rates})
    made, device = build_method(config, 3), torch.device("cpu")
    state = build_state(config, made, device, Ranks())
    before = {name: p.clone() for name, p in made.named_parameters()}
    batch = Batch(0, 0, torch.randint(0, 255, (8, 3, 16, 16), dtype=torch.uint8), False, None)
    wrapped = wrap(made, device, bf16=False, channels_last=False)
    made_views = make_views(batch, Views(pair(T, T, 16), 8, 0), device)
    train_step(state, [made_views], 1, wrapped, Schedule(0.5, 256, 10, 0, 0.9))
    rate_of = {id(p): g["lr"] for g in state.optimizer.param_groups for p in g["params"]}
    found = {
        part: {rate_of[id(p)] for p in module.parameters()}
        for part, module in (("f", made.online.encoder), ("g", made.online.projector), ("q", made.predictor))
    }
    assert found == {"f": {0.25}, "g": {0.0}, "q": {1.5}}
    moved = {
        name.split(".")[0] + name.split(".")[1]
        for name, p in made.named_parameters()
        if not torch.equal(p, before[name])
    }
    assert "onlineprojector" not in moved
    assert {"onlineencoder", "predictor0", "targetencoder"} <= moved


def test_train_step_averages_gradients_over_micro_batches() -> None:
    """Four micro-batches of a loss without batch norm move the weights, and the target once, as the whole batch does."""
    made = {}
    for micro in (16, 4):
        method = build_method(replaced(recipe("small").config, {**SMALL, "views.mean": (0.5,), "views.std": (0.2,)}), 3)
        optimizer = torch.optim.SGD(method.online.parameters(), lr=0.0, momentum=0.9)
        state = State(method, optimizer)
        feed = ResidentFeed(torch.from_numpy(PICTURES).permute(0, 3, 1, 2), None, BatchPlan(16, micro), seed=0)
        views = Views(pair(T, T_PRIME, 32), 16, seed=0)

        def linear_loss(views, labels, last, method=method) -> MethodOutput:
            weight = method.online.get_parameter("encoder.conv1.weight")
            projected = torch.nn.functional.conv2d(views.view1 + views.view2, weight)
            return MethodOutput(projected.square().mean(), projected.detach(), projected.detach())

        schedule = Schedule(0.2, 16, total_steps=10, warmup_steps=0, tau_base=0.9)
        views_of = micro_batches(feed.batches(0, 1), views, torch.device("cpu"))
        result = train_step(state, views_of, 16 // micro, linear_loss, schedule)
        made[micro] = (
            result.loss,
            method.online.get_parameter("encoder.conv1.weight"),
            method.target.get_parameter("encoder.conv1.weight"),
        )
        assert state.step == 1
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.2 * 16 / 256)
    for whole, parts in zip(made[16], made[4], strict=True):
        assert torch.allclose(whole, parts, atol=1e-5)
