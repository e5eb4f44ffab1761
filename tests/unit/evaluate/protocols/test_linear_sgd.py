"""The paper's linear evaluation."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import byol
from byol.commands.evaluate import evaluate
from byol.evaluate.protocols import linear_sgd
from byol.evaluate.protocols.options import LinearOptions, ProtocolOptions


def test_clipped_loss_by_hand() -> None:
    logits = torch.tensor([[0.0, 20.0]])
    clipped = 20 * np.tanh(1.0)
    expected = np.log1p(np.exp(clipped)) + 0.01 * clipped**2 / 2
    assert float(linear_sgd.classification_loss(logits, torch.tensor([0]), clips=True)) == pytest.approx(expected)
    assert float(linear_sgd.classification_loss(logits, torch.tensor([0]))) == pytest.approx(20.0)


def test_layers_side_by_side_are_trained_as_if_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    steps = [(torch.randn(32, 5, generator=generator), torch.randint(3, (32,), generator=generator)) for _ in range(6)]

    def train(rates: tuple[float, ...]) -> nn.ModuleList:
        heads = linear_sgd.make_heads(len(rates), 5, 3)
        groups = [{"params": head.parameters()} for head in heads]
        optimizer = torch.optim.SGD(groups, lr=1.0, momentum=0.9, nesterov=True)
        for step, (features, labels) in enumerate(steps):
            linear_sgd.train_step(heads, optimizer, rates, features, labels, step, len(steps), clips=False)
        return heads

    rates = (0.4, 0.1, 4.0)
    for head, rate in zip(train(rates), rates, strict=True):
        (alone,) = train((rate,))
        torch.testing.assert_close(head.weight, alone.weight, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(head.bias, alone.bias, rtol=1e-6, atol=1e-7)


def test_linear_on_few_images_has_its_least_number_of_steps_but_for_budget_paper(encoder: Path, colours: Path) -> None:
    default, paper = (
        evaluate(encoder, str(colours), ["linear"], budget=budget)[0].record for budget in ("default", "paper")
    )
    assert (default["settings"]["steps"], default["settings"]["epochs"]) == (350, 350)
    assert (paper["settings"]["steps"], paper["settings"]["epochs"]) == (80, 80)
    assert default["settings"]["rates"][-1] > 100 * paper["settings"]["rates"][0]
    assert paper["settings"]["rates"] == [0.4, 0.3, 0.2, 0.1, 0.05]


def test_linear_leaves_the_encoder_as_it_is(encoder: Path, colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from byol.commands import evaluate as command

    jobs, make = [], command.make_job
    monkeypatch.setattr(command, "make_job", lambda *a: jobs.append(make(*a)) or jobs[-1])
    before = byol.load(encoder).state_dict()
    options = ProtocolOptions(linear=LinearOptions(clip_logits=True))
    (result,) = evaluate(encoder, str(colours), ["linear"], budget="smoke", options=options)
    assert result.path.name == "linear-logits-clipped.json"
    assert not jobs[0].encoder.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in jobs[0].encoder.state_dict().items())
