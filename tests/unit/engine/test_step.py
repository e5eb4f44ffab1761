"""One training step."""

import torch

from byol.build.networks import build_method
from byol.build.training import build_state
from byol.config import Config, replaced
from byol.data.loader import Batch
from byol.engine.micro_batches import make_views
from byol.engine.step import Schedule, train_step
from byol.engine.wrap import wrap
from byol.runtime.ranks import Ranks
from byol.views.policy import T
from byol.views.views import Views, pair
from tests.conftest import SMALL


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
