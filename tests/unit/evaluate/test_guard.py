"""The guard keeps the start unless images that did not choose confirm that an encoder is better."""

import pytest
import torch
from torch import Tensor

from byol.evaluate.guard import Measured, decide, decide_by_labels, label_correct
from byol.evaluate.knn import knn_predict, leave_one_out


def measured(name: str, rate: float, seed: int, count: int = 600) -> Measured:
    """An encoder whose probes are right for this fraction of the images, at random."""
    generator = torch.Generator().manual_seed(seed)
    knn, linear = (torch.rand(count, generator=generator) < rate for _ in range(2))
    return Measured(name, seed, {"knn": knn, "linear": linear})


def test_clear_gain_is_kept_and_clear_loss_is_not() -> None:
    start = measured("the start", 0.6, 0)
    decision = decide_by_labels(start, [measured("step 10", 0.62, 1), measured("the end", 0.75, 2)])
    assert (decision.verdict, decision.kept.name) == ("better", "the end")
    assert decision.gain is not None
    assert 8 < decision.gain.value < 22
    assert "the end has kNN" in decision.words
    decision = decide_by_labels(start, [measured("the end", 0.4, 2)])
    assert (decision.verdict, decision.kept) == ("no better", start)
    assert decision.headline == "no better: the start is kept"


def test_equal_encoders_are_almost_never_called_better() -> None:
    wrong = 0
    for seed in range(200):
        start = measured("the start", 0.6, 10 * seed)
        wrong += (
            decide_by_labels(start, [measured(f"m{k}", 0.6, 10 * seed + k) for k in range(1, 6)]).verdict == "better"
        )
    assert wrong <= 10  # 2.5 % are expected; the best of five on the same images would be called better in a tenth


def test_small_gain_on_few_images_cannot_be_told() -> None:
    start = measured("the start", 0.6, 3, 60)
    knn = start.correct["knn"].clone()
    knn[(~knn).nonzero()[:6, 0]] = True
    decision = decide_by_labels(start, [Measured("the end", 1, {**start.correct, "knn": knn})])
    assert decision.verdict == "cannot tell"
    assert decision.kept.name == "the start"
    assert decision.best.name == "the end"


def test_training_without_an_encoder_leaves_the_start() -> None:
    start = measured("the start", 0.6, 0)
    decision = decide(start, [])
    assert (decision.verdict, decision.kept) == ("no better", start)


def unlabelled(name: str, recognised: float, rankme: float) -> Measured:
    return Measured(name, 0, without_labels={"recognised": recognised, "rankme": rankme})


def test_without_labels_harm_is_told_and_gain_is_not() -> None:
    start = unlabelled("the start", 0.6, 100)
    for milestones, verdict, best in (
        ([unlabelled("a", 0.7, 150), unlabelled("b", 0.9, 300)], "cannot tell", "b"),
        ([unlabelled("a", 0.55, 90), unlabelled("b", 0.3, 90)], "cannot tell", "a"),
        ([unlabelled("a", 0.3, 90), unlabelled("b", 0.6, 40)], "no better", "b"),
    ):
        decision = decide(start, milestones)
        assert (decision.verdict, decision.best.name, decision.kept) == (verdict, best, start)
        assert f"{best} recognises" in decision.words


def clustered(spread: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    return torch.eye(3, 8)[labels] + spread * torch.randn(90, 8, generator=generator), labels


def test_labels_are_predicted_from_other_images_alone() -> None:
    vectors, labels = clustered(0.05)
    assert all(bool(correct.all()) for correct in label_correct(vectors, labels).values())
    shuffled = labels[torch.randperm(90, generator=torch.Generator().manual_seed(1))]
    for correct in label_correct(vectors, shuffled).values():
        assert float(correct.float().mean()) < 0.55


@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_leave_one_out_is_knn_without_the_image_itself(spread: float) -> None:
    vectors, labels = clustered(spread)
    expected = [
        int(
            knn_predict(
                torch.cat((vectors[:i], vectors[i + 1 :])), torch.cat((labels[:i], labels[i + 1 :])), vectors[i : i + 1]
            )
        )
        for i in range(90)
    ]
    assert leave_one_out(vectors, labels).tolist() == expected
