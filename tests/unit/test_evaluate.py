"""Probes and scores against hand values and independent implementations."""

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn import metrics as oracle
from sklearn.linear_model import LogisticRegression

from byol.data.arrays import ArrayImages
from byol.data.image_folder import ImageFolder
from byol.data.source import SkippedImages
from byol.encoder.encoder import Encoder, EncoderDescription
from byol.errors import BrokenImageError, DataError, EncoderError
from byol.evaluate import features, nearest
from byol.evaluate.branch_measures import measure_branches
from byol.evaluate.features import Features, extract
from byol.evaluate.knn import knn_predict, votes
from byol.evaluate.linear import fit_linear, path, principal_axes
from byol.evaluate.metrics import (
    average_precision_11_point,
    bootstrap,
    mean_average_precision,
    mean_average_precision_11_point,
    mean_per_class,
    normalized_mutual_information,
    top_5,
    top_k,
)
from byol.evaluate.protocols.linear_fast import PAPER_STRENGTHS
from byol.evaluate.protocols.neighbours import knn
from byol.evaluate.protocols.options import KnnOptions, ProtocolOptions
from byol.evaluate.scores import accuracy, mean_over_runs, paired_difference
from byol.evaluate.view_encodings import crops_of
from byol.views.policy import T_PRIME, T
from byol.views.views import Views, pair
from tests.conftest import picture

GENERATOR = torch.Generator().manual_seed(0)


def blobs(count: int, spread: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.arange(count) % 3
    centres = torch.tensor([[2.0, 0, 0, 0], [0, 2.0, 0, 0], [0, 0, 2.0, 0]])
    return centres[labels] + spread * torch.randn(count, 4, generator=GENERATOR), labels


def test_knn_by_hand() -> None:
    bank = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    labels = torch.tensor([0, 1, 1])
    queries = torch.tensor([[2.0, 0.0], [0.1, 3.0]])
    assert knn_predict(bank, labels, queries, k=1).tolist() == [0, 1]
    assert knn_predict(bank, labels, queries, k=3, temperature=100.0).tolist() == [1, 1]


def test_knn_chunks_agree_and_match_a_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "QUERY_CHUNK", 16)
    monkeypatch.setattr(nearest, "BANK_CHUNK", 33)
    bank, labels = blobs(200)
    queries, _ = blobs(50)
    found = knn_predict(bank, labels, queries, k=7, temperature=0.1)
    unit = lambda v: v / np.linalg.norm(v, axis=1, keepdims=True)  # noqa: E731
    cosine = unit(queries.double().numpy()) @ unit(bank.double().numpy()).T
    for row, predicted in zip(cosine, found.tolist(), strict=True):
        places = np.argsort(-row)[:7]
        votes = np.bincount(labels.numpy()[places], weights=np.exp(row[places] / 0.1), minlength=3)
        assert predicted == votes.argmax()


def test_nearest_holds_one_chunk_of_similarities_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "QUERY_CHUNK", 8)
    monkeypatch.setattr(nearest, "BANK_CHUNK", 32)
    seen, whole = [], torch.Tensor.topk
    monkeypatch.setattr(torch.Tensor, "topk", lambda self, *a, **k: seen.append(self.numel()) or whole(self, *a, **k))
    cosine, place = nearest.nearest(blobs(40)[0], blobs(500)[0], 5)
    assert max(seen) == 8 * 32
    assert cosine.shape == place.shape == (40, 5)
    assert bool((cosine[:, :-1] >= cosine[:, 1:]).all())


@pytest.mark.parametrize("spread", [1.0, 1e-3])
def test_nearest_by_bf16_first_is_that_of_float32(spread: float, monkeypatch: pytest.MonkeyPatch) -> None:
    queries, bank = (1 + spread * torch.randn(n, 37, generator=GENERATOR) for n in (40, 3000))
    monkeypatch.setattr(nearest, "QUERY_CHUNK", 16)
    monkeypatch.setattr(nearest, "BANK_CHUNK", 1100)
    cosine, place = nearest.nearest(queries, bank, 20)
    monkeypatch.setattr(nearest, "WORTH_BUILDING", 0)
    monkeypatch.setattr(nearest, "computes_in_bf16", lambda device: True)  # without the hardware slow, but the same
    candidate_cosine, candidate_place = nearest.nearest(queries, bank, 20)
    assert torch.allclose(candidate_cosine, cosine, atol=1e-6)
    unit = torch.nn.functional.normalize(bank.double(), dim=1)
    asked = torch.nn.functional.normalize(queries.double(), dim=1)
    exact = (asked @ unit.T).topk(20, dim=1).values
    assert torch.allclose((asked @ unit.T).gather(1, candidate_place), exact, atol=2e-7)
    assert spread < 1 or float((candidate_place == place).float().mean()) > 0.99  # else float32 itself cannot tell


def test_linear_separable_blobs_are_learned_and_strength_is_chosen_by_validation() -> None:
    features, labels = blobs(600)
    test_features, test_labels = blobs(300)
    probe = fit_linear(features, labels)
    assert float((probe.predict(test_features) == test_labels).float().mean()) > 0.97
    noise = torch.randn(60, 200, generator=GENERATOR)
    assert fit_linear(noise, torch.arange(60) % 3, folds=5).strength > 0


def test_linear_reaches_the_optimum_of_its_objective() -> None:
    features, labels = blobs(150, spread=1.0)
    probe = fit_linear(features, labels, strengths=(0.01,))
    inputs = probe.inputs(features).double()
    weight = probe.weight.double().requires_grad_(True)
    loss = torch.nn.functional.cross_entropy(inputs @ weight, labels) + 0.005 * weight[:-1].square().sum()
    (gradient,) = torch.autograd.grad(loss, weight)
    assert float(gradient.abs().max()) < 1e-4


def test_linear_of_every_strength_is_within_a_thousandth_of_scikit_learns_optimum() -> None:
    """Classes of nearly equal size: at strong L2 only the bias counts, and a fit without it is a nearest centroid."""
    generator = torch.Generator().manual_seed(2)
    labels = torch.randint(3, (150,), generator=generator)
    centres = 0.2 * torch.randn(3, 40, generator=generator)
    features = (centres[labels] + torch.randn(150, 40, generator=generator)) * torch.logspace(0, -1, 40)
    centred = features - features.mean(dim=0)
    basis, variance = principal_axes(centred / centred.square().mean().sqrt())
    along = centred / centred.square().mean().sqrt() @ basis
    inputs = torch.cat((along, torch.ones(150, 1)), dim=1)

    def objective(weight: torch.Tensor, strength: float) -> float:
        cross_entropy = torch.nn.functional.cross_entropy(inputs.double() @ weight, labels)
        return float(cross_entropy + strength / 2 * weight[:-1].square().sum())

    for strength, weight in zip(PAPER_STRENGTHS, path(inputs, labels, 3, PAPER_STRENGTHS, variance), strict=True):
        model = LogisticRegression(C=1 / (strength * 150), solver="newton-cholesky", tol=1e-9)
        model.fit(along.double().numpy(), labels.numpy())
        optimum = torch.from_numpy(np.vstack((model.coef_.T, model.intercept_)))
        assert abs(objective(weight.double(), strength) - objective(optimum, strength)) < 1e-3, strength
        alike = (inputs @ weight).argmax(dim=1) == (inputs.double() @ optimum).argmax(dim=1)
        assert float(alike.float().mean()) > 0.95, strength


def test_accuracy_wilson_interval_by_hand() -> None:
    score = accuracy(torch.tensor([True] * 8 + [False] * 2))
    assert (score.value, score.low, score.high) == pytest.approx((80.0, 49.02, 94.33), abs=0.01)


def test_paired_difference_by_hand() -> None:
    score = paired_difference(torch.tensor([1.0, 1, 1, 0]), torch.tensor([1.0, 0, 0, 0]))
    half = 1.959964 * math.sqrt(1 / 3) / 2 * 100
    assert (score.value, score.low, score.high) == pytest.approx((50, 50 - half, 50 + half), abs=1e-3)


def test_mean_over_runs_by_hand() -> None:
    score = mean_over_runs([1.0, 2.0, 3.0])
    assert (score.value, score.high) == pytest.approx((2.0, 2 + 4.303 / math.sqrt(3)), abs=1e-6)


def scored(count: int = 300, classes: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.randint(classes, (count,), generator=GENERATOR)
    scores = torch.randn(count, classes, generator=GENERATOR)
    scores[torch.arange(count), labels] += 0.7
    return scores, labels


@pytest.mark.parametrize("k", [1, 5])
def test_top_k_agrees_with_scikit_learn(k: int) -> None:
    scores, labels = scored()
    expected = oracle.top_k_accuracy_score(labels.numpy(), scores.numpy(), k=k)
    assert top_k(scores, labels, k).value == pytest.approx(100 * expected, abs=1e-4)


def test_mean_per_class_agrees_with_scikit_learn_and_has_the_normal_interval() -> None:
    scores, labels = scored()
    guess = scores.argmax(dim=1)
    found = mean_per_class(guess == labels, labels)
    assert found.value == pytest.approx(100 * oracle.balanced_accuracy_score(labels.numpy(), guess.numpy()), abs=1e-6)
    by_hand = mean_per_class(torch.tensor([True, False, True, True]), torch.tensor([0, 0, 1, 1]))
    assert (by_hand.value, by_hand.low) == pytest.approx(
        (75.0, 75 - 100 * 1.959964 * math.sqrt(0.125 + 0.75 * 0.25 / 2) / 2), abs=1e-4
    )
    one_each = mean_per_class(torch.tensor([True, False]), torch.tensor([0, 1]))
    assert (one_each.low, one_each.value, one_each.high) == (0, 50, 100)


def test_average_precision_by_hand() -> None:
    positive = torch.tensor([True, False, True, False])
    precision_from_recall = [1.0] * 6 + [2 / 3] * 5  # recall 0 to 0.5 is met at once, above it at the third
    found = average_precision_11_point(torch.tensor([4.0, 3.0, 2.0, 1.0]), positive)
    assert found == pytest.approx(sum(precision_from_recall) / 11, abs=1e-9)
    assert average_precision_11_point(torch.tensor([1.0, 2.0]), torch.tensor([False, True])) == 1.0


def test_average_precision_agrees_with_scikit_learns_curve() -> None:
    scores, labels = scored()
    positive = torch.nn.functional.one_hot(labels, 7).bool()
    values = []
    for c in range(7):
        precision, recall, _ = oracle.precision_recall_curve(positive[:, c].numpy(), scores[:, c].numpy())
        precision, recall = precision[:-1], recall[:-1]  # without the point (0, 1), which no image stands for
        values.append(np.mean([precision[recall >= level / 10 - 1e-12].max() for level in range(11)]))
    found = mean_average_precision(scores, 2 * positive.int() - 1)
    assert found.value == pytest.approx(100 * float(np.mean(values)), abs=1e-6)
    assert found.low < found.value < found.high


def test_votes_are_weighted_by_cosine_and_temperature() -> None:
    cosine, labels = torch.tensor([[0.9, 0.5, 0.4]]), torch.tensor([[0, 1, 1]])
    found = votes(cosine, labels, 0.1, 3)
    torch.testing.assert_close(found, torch.tensor([[1.0, math.exp(-4) + math.exp(-5), 0.0]]))
    assert int(votes(cosine, labels, 10.0, 3).argmax()) == 1  # warm enough, two weak votes beat a strong one


def test_votes_at_a_tiny_temperature_are_the_nearest_ones() -> None:
    cosine, labels = torch.tensor([[0.9, 0.5, 0.4], [-0.2, -0.3, -0.4]]), torch.tensor([[2, 1, 1], [1, 0, 0]])
    assert votes(cosine, labels, 1e-6, 3).tolist() == [[0, 0, 1], [0, 1, 0]]


def test_top_5_does_not_count_a_class_without_a_vote() -> None:
    (bank, _), (queries, _) = blobs(60), blobs(30)
    labels, truth = torch.arange(60) % 6, torch.arange(30) % 6
    alone = {"train": Features(bank, labels, torch.arange(60)), "test": Features(queries, truth, torch.arange(30))}
    job = SimpleNamespace(options=ProtocolOptions(knn=KnnOptions(1, 0.1)), budget="default", features=alone.get)
    found = knn(job).metrics  # pyright: ignore[reportArgumentType]
    assert found["top-1"] == found["top-5"] and found["top-1"].value < 100


def test_top_5_is_left_out_where_there_are_no_more_classes() -> None:
    scores, labels = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 5
    assert top_5(scores[:, :5], labels) == {}
    assert top_5(scores, labels) == {"top-5": top_k(scores, labels, 5)}


def test_unknown_labels_count_neither_way() -> None:
    scores = torch.tensor([[4.0], [3.0], [2.0], [1.0]])
    known = mean_average_precision_11_point(scores[[0, 2, 3]], torch.tensor([[-1], [1], [-1]]))
    assert mean_average_precision_11_point(scores, torch.tensor([[-1], [0], [1], [-1]])) == known == 0.5


def test_several_labels_are_one_logistic_regression_per_class() -> None:
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(300, 5, generator=generator)
    truth = (features @ torch.randn(5, 3, generator=generator) + torch.randn(300, 3, generator=generator)).sign().int()
    truth[:40, 1] = 0
    split = (np.arange(200), np.arange(200, 300))
    probe = fit_linear(features, truth, strengths=(1.0, 0.01), split=split)
    inputs = ((features - probe.mean) / probe.scale).numpy()
    for c in range(3):
        rows = truth[:, c].numpy() != 0
        model = LogisticRegression(C=1 / (probe.strength * 300), tol=1e-8, max_iter=1000)
        expected = model.fit(inputs[rows], truth[rows, c]).decision_function(inputs)
        np.testing.assert_allclose(probe.scores(features)[:, c], expected, atol=0.02)
    assert max(probe.validation) > 80


def test_mutual_information_agrees_with_scikit_learn() -> None:
    _, labels = scored()
    cluster = (labels + torch.randint(3, labels.shape, generator=GENERATOR)) % 5
    expected = oracle.normalized_mutual_info_score(labels.numpy(), cluster.numpy())
    assert normalized_mutual_information(cluster, labels) == pytest.approx(expected, abs=1e-9)
    assert normalized_mutual_information(labels, labels) == pytest.approx(1.0)
    sparse = 10**15 * labels - 7
    assert normalized_mutual_information(cluster, sparse) == pytest.approx(expected, abs=1e-9)


def test_bootstrap_interval_of_a_biased_statistic_holds_its_value() -> None:
    """Independent partitions of 100 rows: their mutual information is overestimated, in each resample twice."""
    generator = torch.Generator().manual_seed(0)
    cluster, labels = torch.randint(10, (2, 100), generator=generator)
    found = bootstrap(lambda rows: normalized_mutual_information(cluster[rows], labels[rows]), 100, seed=0)
    assert found.low < found.value < found.high
    assert (found.low + found.high) / 2 == pytest.approx(found.value, abs=1.0)


def test_bootstrap_of_a_mean_is_near_the_normal_interval() -> None:
    values = torch.randn(400, generator=GENERATOR, dtype=torch.float64)
    found = bootstrap(lambda rows: float(values[rows].mean()), 400, seed=0)
    half = 100 * 1.959964 * float(values.std()) / 20
    assert found.value == pytest.approx(100 * float(values.mean()))
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30, -1e30])
def test_features_of_a_diverged_encoder_are_one_sentence(value: float) -> None:
    source = ArrayImages(np.zeros((4, 8, 8, 3), np.uint8))
    with pytest.raises(EncoderError, match=r"not finite or beyond 1e\+15 for .* its training has diverged"):
        extract(lambda images: torch.full((len(images), 2), value), source, 3, torch.device("cpu"))


@pytest.mark.parametrize(("most_bytes", "together"), [(2**28, 8), (2 * 20 * 20 * 3, 2), (1, 1)])
def test_large_images_are_read_a_few_at_a_time_in_the_same_order(
    most_bytes: int, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "MOST_BYTES", most_bytes)
    read, encoded, ahead = set[int](), [], []

    class Images(ArrayImages):
        def read(self, index: int, channels: int, short_side: int = 0) -> np.ndarray:
            read.add(index)
            if index == 5:
                raise BrokenImageError("torn")
            return super().read(index, channels)

    def encode(images: torch.Tensor) -> torch.Tensor:
        encoded.append(len(images))
        ahead.append(len(read) - sum(encoded))
        return images.flatten(1).float()[:, :2]

    source, skipped = Images(np.arange(21, dtype=np.uint8).repeat(1200).reshape(21, 20, 20, 3)), SkippedImages()
    found = extract(encode, source, 3, torch.device("cpu"), batch_size=8, skipped=skipped)
    assert found.vectors[:, 0].tolist() == found.indices.tolist() == [i for i in range(21) if i != 5]
    assert skipped.reasons == [("image 5", "torn")]
    assert max(encoded) == together
    assert together == 8 or max(ahead) <= together + 1  # the broken one


def test_encoder_is_given_whole_batches_of_images_that_differ_in_size(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 5))
    encoder = Encoder(module, EncoderDescription(None, {}, 5, 3, 8, (0.5,) * 3, (0.2,) * 3, True))
    sizes, encode = [], encoder.encode_preprocessed
    monkeypatch.setattr(encoder, "encode_preprocessed", lambda views: sizes.append(len(views)) or encode(views))
    source = ImageFolder(photos)
    found = extract(encoder, source, 3, torch.device("cpu"), batch_size=16)
    assert sizes == [16, 16, 8]  # of two sizes each
    one_by_one = [encoder(torch.from_numpy(source.read(i, 3)).permute(2, 0, 1)[None])[0] for i in range(40)]
    assert torch.allclose(found.vectors, torch.stack(one_by_one), atol=1e-5)
    assert found.indices.tolist() == list(range(40))


@pytest.mark.parametrize(("side", "made_at_once"), [(8, 1), (64, 3)])
def test_views_of_an_image_are_kept_or_the_image_where_that_is_smaller(side: int, made_at_once: int) -> None:
    made = list[int]()

    def crop(image: np.ndarray, step: int, row: int) -> torch.Tensor:
        made.append(step)
        return torch.full((2, 3, 8, 8), float(image[0, 0, 0]) + step + row)

    crops = crops_of(picture(0, side, side), crop, 5, 3)
    assert len(made) == made_at_once
    assert [float(crops(step)[0, 0, 0, 0]) - step for step in range(3)] == [
        float(picture(0, side, side)[0, 0, 0]) + 5
    ] * 3


def test_branches_of_images_that_cannot_be_read_are_one_sentence() -> None:
    class Torn(ArrayImages):
        def read(self, index: int, channels: int, short_side: int = 0) -> np.ndarray:
            raise BrokenImageError("torn")

    views = Views(pair(T, T_PRIME, 8), 4, seed=0)
    source = Torn(np.zeros((4, 8, 8, 3), np.uint8), description="torn images")
    with pytest.raises(DataError, match="None of 4 images tried in torn images can be decoded"):
        measure_branches(torch.nn.Identity(), source, 3, views, 2, torch.device("cpu"))  # pyright: ignore[reportArgumentType]


def test_principal_axes_are_found_where_float32_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    centred = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    real, failed = torch.linalg.eigh, []

    def eigh(matrix: torch.Tensor) -> object:
        if matrix.dtype == torch.float32:
            failed.append(matrix)
            raise torch.linalg.LinAlgError("failed to converge")
        return real(matrix)

    basis, variance = principal_axes(centred)
    monkeypatch.setattr(torch.linalg, "eigh", eigh)
    again, variance_again = principal_axes(centred)
    assert failed and again.dtype == torch.float32
    assert torch.allclose(variance_again, variance, atol=1e-5)
    assert torch.allclose((again.T @ basis).abs(), torch.eye(8), atol=1e-3)
