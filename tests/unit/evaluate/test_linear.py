"""Logistic regression against its optimum and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from byol.evaluate.linear import Axes, fit_linear, loss_of, path, principal_axes, stratified_folds
from byol.evaluate.protocols.linear_fast import PAPER_STRENGTHS
from tests.unit.evaluate.blobs import GENERATOR, blobs


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

    for strength, weight in zip(
        PAPER_STRENGTHS, path(inputs, loss_of(labels), 3, PAPER_STRENGTHS, variance), strict=True
    ):
        model = LogisticRegression(C=1 / (strength * 150), solver="newton-cholesky", tol=1e-9)
        model.fit(along.double().numpy(), labels.numpy())
        optimum = torch.from_numpy(np.vstack((model.coef_.T, model.intercept_)))
        assert abs(objective(weight.double(), strength) - objective(optimum, strength)) < 1e-3, strength
        alike = (inputs @ weight).argmax(dim=1) == (inputs.double() @ optimum).argmax(dim=1)
        assert float(alike.float().mean()) > 0.95, strength


def test_several_labels_are_one_logistic_regression_per_class() -> None:
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(300, 5, generator=generator)
    truth = (features @ torch.randn(5, 3, generator=generator) + torch.randn(300, 3, generator=generator)).sign().int()
    truth[:40, 1] = 0
    split = (np.arange(200), np.arange(200, 300))
    probe = fit_linear(features, truth, strengths=(1.0, 0.01), split=split)
    inputs = ((features - probe.axes.mean) / probe.axes.scale).numpy()
    for c in range(3):
        rows = truth[:, c].numpy() != 0
        model = LogisticRegression(C=1 / (probe.strength * 300), tol=1e-8, max_iter=1000)
        expected = model.fit(inputs[rows], truth[rows, c]).decision_function(inputs)
        np.testing.assert_allclose(probe.scores(features)[:, c], expected, atol=0.02)
    assert max(probe.validation) > 80


@pytest.mark.parametrize("how", ["an error", "NaN"])
def test_principal_axes_are_found_where_float32_fails(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    centred = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    real, failed = torch.linalg.eigh, []

    def eigh(matrix: torch.Tensor) -> object:
        if matrix.dtype == torch.float32:
            failed.append(matrix)
            if how == "an error":
                raise torch.linalg.LinAlgError("failed to converge")
            spread, basis = real(matrix)
            return spread, torch.full_like(basis, torch.nan)
        return real(matrix)

    basis, variance = principal_axes(centred)
    monkeypatch.setattr(torch.linalg, "eigh", eigh)
    again, variance_again = principal_axes(centred)
    assert failed and again.dtype == torch.float32
    assert torch.allclose(variance_again, variance, atol=1e-5)
    assert torch.allclose((again.T @ basis).abs(), torch.eye(8), atol=1e-3)


def test_fewer_images_than_features_need_no_other_axes_than_theirs() -> None:
    generator = torch.Generator().manual_seed(1)
    features, labels = torch.randn(12, 40, generator=generator), torch.arange(12) % 3
    axes = Axes.of(features)
    centred = ((features - axes.mean) / axes.scale).double()
    spread = torch.linalg.eigvalsh(centred.T @ centred / 12).flip(0)[:12].clamp_min(0)
    assert axes.basis.shape == (40, 12)
    assert torch.allclose(axes.variance[:-1].double(), spread, atol=1e-4)
    (weight,) = path(axes.inputs(features), loss_of(labels), 3, (0.1,), axes.variance)
    model = LogisticRegression(C=1 / (0.1 * 12), tol=1e-8, max_iter=1000).fit(centred.numpy(), labels.numpy())
    expected = model.decision_function(centred.numpy())
    np.testing.assert_allclose((axes.inputs(features) @ weight).softmax(dim=1), _softmax(expected), atol=2e-3)


def _softmax(scores: np.ndarray) -> np.ndarray:
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def test_plain_layer_gives_the_logits_of_the_rotated_one() -> None:
    features = torch.randn(30, 6, generator=torch.Generator().manual_seed(0)) * 3 + 5
    axes, weight = Axes.of(features), torch.randn(7, 3, generator=torch.Generator().manual_seed(1))
    plain, bias = axes.layer(weight)
    assert torch.allclose(features @ plain.T + bias, axes.inputs(features) @ weight, atol=1e-4)


def test_folds_hold_every_image_out_once_but_the_only_one_of_its_class() -> None:
    labels = np.array([0, 0, 0, 0, 0, 1, 1, 2])
    folds = stratified_folds(labels, 5, seed=0)
    assert sorted(np.concatenate([out for _, out in folds]).tolist()) == [0, 1, 2, 3, 4, 5, 6]
    for fitted, out in folds:
        assert sorted([*fitted, *out]) == list(range(8))
        assert set(labels[fitted]) == {0, 1, 2}
    assert len(stratified_folds(np.array([0, 0, 1, 1]), 5, seed=0)) == 2
