"""Closed-form predictors against NumPy in float64, and their state in training steps and over ranks."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from byol.assembly.networks import build_method
from byol.config import Config, replaced
from byol.engine.micro_batches import MicroBatch
from byol.engine.schedule import Schedule
from byol.engine.state import State
from byol.engine.step import train_step
from byol.evaluate.view_encodings import method_encoder
from byol.methods.closed_form import (
    CLOSED_FORMS,
    ClosedForm,
    ClosedFormPredictor,
    directset,
    newton_schulz,
    power,
    spectral_norm,
    stiefel,
    visser,
)
from byol.methods.siamese import PairMethod
from byol.runtime.ranks import Ranks
from byol.runtime.view_roles import ViewBatch
from tests.conftest import SMALL
from tests.ranks import run_ranks

SYMMETRIC = [name for name in CLOSED_FORMS if name != "neumann"]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def correlation(dimension: int, condition: float, seed: int = 3) -> Tensor:
    """A symmetric matrix with eigenvalues from 1 to `condition`, evenly spaced in their logarithm."""
    directions = torch.linalg.qr(drawn(dimension, dimension, seed=seed)).Q
    return (directions * torch.logspace(0, math.log10(condition), dimension, dtype=torch.float64)) @ directions.T


def numpys_power(matrix: Tensor, exponent: float) -> np.ndarray:
    left, values, _ = np.linalg.svd(matrix.numpy(), hermitian=True)
    return left @ np.diag(values**exponent) @ left.T


def numpys(name: str, z: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """P / |P| of one batch, written down from the papers' formulas with NumPy alone."""
    if name == "neumann":
        z, targets = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (z, targets))
    f, c = z.T @ z / len(z), z.T @ targets / len(z)
    values, vectors = np.linalg.eigh(f)
    over = values / np.sqrt(np.sum(values**2))  # eigenvalues by the Frobenius norm

    def schulz(x: np.ndarray, count: int) -> np.ndarray:
        """x_n / x_0 of the scalar iteration that every eigenvalue goes through."""
        root, inverse = x.copy(), np.ones_like(x)
        for _ in range(count):
            step = 1.5 - 0.5 * inverse * root
            root, inverse = root * step, inverse * step
        return root

    if name == "neumann":
        p = 2 * c - f @ c
    elif name == "directpred":
        p = vectors @ np.diag(np.sqrt(values)) @ vectors.T
    elif name == "directcopy":
        p = f
    elif name == "visser":
        root = np.ones_like(over)
        for _ in range(48):
            root = root + 0.5 * (over - root**2)
        p = vectors @ np.diag(root) @ vectors.T
    elif name == "stiefel":
        squares = values**2 / np.sqrt(np.sum(values**4))
        p = vectors @ np.diag(schulz(squares, 9) / squares * values) @ vectors.T
    else:
        mapped = schulz(over, 9 if name == "newton-schulz" else 7)
        if name == "newton-schulz-2":
            mapped = schulz(mapped / np.sqrt(np.sum(mapped**2)), 7)
        p = vectors @ np.diag(mapped) @ vectors.T
    return p / np.linalg.norm(p, 2)


def after_one_batch(
    form: ClosedForm, z: Tensor, targets: Tensor, average: float = 0.3, ridge: float = 0.1
) -> ClosedFormPredictor:
    predictor = ClosedFormPredictor(z.shape[1], form, average=average, ridge=ridge).to(z.dtype)
    predictor.observe(z, targets)
    predictor.update()
    return predictor


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_closed_form_equals_numpys(name: str) -> None:
    z = drawn(40, 6) @ drawn(6, 6, seed=1) + 0.5
    targets = z + 0.3 * drawn(40, 6, seed=2)
    found = after_one_batch(CLOSED_FORMS[name], z, targets, ridge=0.25).matrix
    expected = numpys(name, z.numpy(), targets.numpy()) + 0.25 * np.eye(6)
    assert np.allclose(found.numpy(), expected, atol=1e-3)
    single = after_one_batch(CLOSED_FORMS[name], z.float(), targets.float(), ridge=0.25).matrix
    assert torch.allclose(single.double(), found, atol=1e-4)


@pytest.mark.parametrize("exponent", [0.25, 0.5, 1.0, 2.0])
def test_power_of_a_correlation_equals_numpys_and_drops_negative_rounding(exponent: float) -> None:
    matrix = correlation(12, 1e4)
    assert np.allclose(power(matrix, exponent).numpy(), numpys_power(matrix, exponent), rtol=1e-8, atol=1e-8)
    if exponent < 1:
        assert torch.allclose(power(torch.diag(torch.tensor([4.0, -1e-7])), 0.5), torch.diag(torch.tensor([2.0, 0.0])))


@pytest.mark.parametrize("condition", [3.0, 30.0, 300.0])
def test_newton_schulz_is_the_root_and_its_inverse(condition: float) -> None:
    matrix = correlation(12, condition)
    root, inverse = newton_schulz(matrix, 12)
    assert np.allclose(root.numpy(), numpys_power(matrix, 0.5), rtol=1e-4, atol=1e-4)
    scaled = matrix / np.linalg.norm(matrix.numpy())
    assert np.allclose(inverse.numpy(), numpys_power(scaled, -0.5), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("eigenvalue", "expected"), [(0.003, 0.99), (0.001, 0.87), (1e-4, 0.37)])
def test_nine_newton_schulz_iterations_fall_short_where_an_eigenvalue_is_small(
    eigenvalue: float, expected: float
) -> None:
    values = torch.tensor([math.sqrt(1 - eigenvalue**2), eigenvalue], dtype=torch.float64)
    root = newton_schulz(torch.diag(values), 9)[0]
    assert float(root[1, 1]) / math.sqrt(eigenvalue) == pytest.approx(expected, abs=0.01)


def test_visser_is_the_root_from_above_with_a_floor() -> None:
    matrix = torch.diag(torch.tensor([1.0, 0.25, 0.0], dtype=torch.float64))
    root = visser(matrix, 200) * matrix.norm().sqrt()
    assert torch.allclose(root.diagonal(), torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64), atol=0.02)
    values = visser(torch.diag(torch.tensor([1.0, 0.0], dtype=torch.float64)), 48).diagonal()
    assert values.tolist() == pytest.approx([1.0, 2 / 50], abs=0.005)


def test_stiefel_is_the_polar_factor_of_a_well_determined_matrix() -> None:
    matrix = drawn(8, 8) + 6 * torch.eye(8, dtype=torch.float64)
    left, _, right = np.linalg.svd(matrix.numpy())
    found = stiefel(matrix, 20)
    assert np.allclose((found / spectral_norm(found)).numpy(), (left @ right).T, atol=1e-3)


@pytest.mark.parametrize("dimension", [1, 7, 256])
def test_spectral_norm_equals_numpys_within_a_thousandth_from_above(dimension: int) -> None:
    for matrix in (
        drawn(dimension, dimension),
        torch.eye(dimension, dtype=torch.float64),
        1e-12 * correlation(dimension, 3.0),
    ):
        exact = np.linalg.norm(matrix.numpy(), 2)
        assert exact * (1 - 1e-9) <= float(spectral_norm(matrix)) <= exact * 1.001


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_closed_form_ignores_the_length_of_projections_and_turns_with_them(name: str) -> None:
    z, turn = drawn(50, 5) @ drawn(5, 5, seed=1), torch.linalg.qr(drawn(5, 5, seed=7)).Q
    targets = z + 0.2 * drawn(50, 5, seed=2)
    matrix = after_one_batch(CLOSED_FORMS[name], z, targets).matrix
    longer = after_one_batch(CLOSED_FORMS[name], 1000 * z, 1000 * targets).matrix
    turned = after_one_batch(CLOSED_FORMS[name], z @ turn, targets @ turn).matrix
    assert torch.allclose(longer, matrix, atol=1e-8)
    assert torch.allclose(turned, turn.T @ matrix @ turn, atol=1e-8)


@pytest.mark.parametrize("name", SYMMETRIC)
def test_closed_form_is_symmetric_positive_and_commutes_with_the_correlation(name: str) -> None:
    z = drawn(50, 8) @ drawn(8, 8, seed=1)
    p, f = after_one_batch(CLOSED_FORMS[name], z, z).matrix, z.T @ z / 50
    assert torch.allclose(p, p.T, atol=1e-9)
    assert float(torch.linalg.eigvalsh((p + p.T) / 2)[0]) >= 0.1 - 1e-6
    assert torch.allclose(p @ f, f @ p, atol=1e-8 * float(f.norm()))


def test_directset_has_directpred_and_directcopy_as_special_cases() -> None:
    z = drawn(50, 8)
    half, whole = (after_one_batch(directset(e), z, z).matrix for e in (0.5, 1.0))
    assert torch.equal(half, after_one_batch(CLOSED_FORMS["directpred"], z, z).matrix)
    assert torch.equal(whole, after_one_batch(CLOSED_FORMS["directcopy"], z, z).matrix)
    assert not torch.allclose(half, whole, atol=0.01)


def test_closed_form_with_averages_of_the_correlation_or_of_the_map() -> None:
    """Three batches: the first starts the average, each later one has 0.7 of it."""
    batches = [drawn(20, 4, seed=s) @ drawn(4, 4, seed=s + 10) for s in range(3)]
    of_correlation, of_map = (
        ClosedFormPredictor(4, CLOSED_FORMS[name], average=0.3, ridge=0.1).double()
        for name in ("directpred", "stiefel")
    )
    f, p = np.zeros((4, 4)), np.zeros((4, 4))
    for number, z in enumerate(batches):
        for predictor in (of_correlation, of_map):
            predictor.observe(z[:12], z[:12])  # two micro-batches
            predictor.observe(z[12:], z[12:])
            predictor.update()
        share = 1.0 if number == 0 else 0.7
        f = (1 - share) * f + share * (z.T @ z / 20).numpy()
        p = (1 - share) * p + share * numpys("stiefel", z.numpy(), z.numpy())
    root = numpys_power(torch.from_numpy(f), 0.5)
    assert np.allclose(of_correlation.matrix.numpy(), root / np.linalg.norm(root, 2) + 0.1 * np.eye(4), atol=1e-3)
    assert np.allclose(of_map.matrix.numpy(), p + 0.1 * np.eye(4), atol=1e-3)


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_closed_form_of_what_is_not_finite_is_not_finite(name: str) -> None:
    """The training then ends with its sentence about the loss, without a failed decomposition."""
    z = drawn(10, 3)
    z[0, 0] = math.nan
    assert bool(after_one_batch(CLOSED_FORMS[name], z, z).matrix.isnan().all())


def built(**settings) -> PairMethod:
    settings = {
        **SMALL, "encoder.name": "resnet10", "encoder.width": 0.0625, "views.size": 16, "views.mean": (0.5,),
        "views.std": (0.25,), "heads.predictor": "directpred", **settings,
    }  # fmt: skip
    made = build_method(replaced(Config(), settings), 3)
    assert isinstance(made, PairMethod)
    return made.double()


VIEWS = ViewBatch(*((torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(s)).double(),) for s in (1, 2)))


def test_method_sets_the_predictor_after_the_step_and_predicts_with_the_one_before() -> None:
    m = built()
    assert m.linear_predictor is not None
    assert torch.equal(m.linear_predictor, torch.eye(16, dtype=torch.float64))
    output = m(VIEWS)
    output.loss.backward()
    n1, n2 = (m.normalize(v) for v in (VIEWS.view1, VIEWS.view2))
    z1, z2 = m.online(n1)[1], m.online(n2)[1]
    m.update_target(0.9)
    z = torch.cat((z1, z2)).detach()
    assert torch.allclose(m.linear_predictor, after_one_batch(CLOSED_FORMS["directpred"], z, z).matrix, atol=1e-9)
    assert list(m.predictor.parameters()) == []
    prediction = m.predictor(z1)
    assert torch.allclose(prediction, z1 @ m.linear_predictor)


def test_method_observes_training_steps_alone() -> None:
    m = built()
    with torch.no_grad():
        m(VIEWS)
    m.eval()(VIEWS)
    assert isinstance(m.predictor, ClosedFormPredictor)
    assert float(m.predictor.num_rows) == 0
    m.train()(VIEWS)
    assert float(m.predictor.num_rows) == 16


def test_state_of_a_closed_form_predictor_is_its_average_and_map() -> None:
    m = built(**{"heads.predictor": "stiefel"})
    m(VIEWS)
    m.update_target(0.9)
    names = {name for name in m.state_dict() if name.startswith("predictor.")}
    assert names == {"predictor.average", "predictor.matrix", "predictor.num_updates"}


@pytest.mark.parametrize("name", [*CLOSED_FORMS, "directset"])
def test_every_closed_form_is_built_by_name_and_trains(name: str) -> None:
    m = built(**{"heads.predictor": name, "heads.predictor_power": 0.3, "method.target": "stop-gradient"})
    for _ in range(2):
        m.zero_grad()
        m(VIEWS).loss.backward()
        m.update_target(1.0)
    assert all(bool(p.grad.isfinite().all()) for p in m.online.parameters() if p.grad is not None)
    assert isinstance(m.predictor, ClosedFormPredictor)
    assert bool(m.predictor.matrix.isfinite().all())


def test_closed_form_over_ranks_equals_one_process() -> None:
    run_ranks(2, half_of_the_rows)


def half_of_the_rows(rank: int) -> None:
    z, targets = drawn(24, 6), drawn(24, 6, seed=1)
    ranks = Ranks(rank, 2)
    for name in ("directpred", "neumann"):
        form = CLOSED_FORMS[name]
        predictor = ClosedFormPredictor(6, form, average=0.3, ridge=0.1).double()
        for start in (0, 12):  # two micro-batches
            rows = slice(start + 6 * rank, start + 6 * rank + 6)
            predictor.observe(z[rows], targets[rows], ranks.gather_rows)
        predictor.update()
        assert torch.allclose(predictor.matrix, after_one_batch(form, z, targets).matrix, atol=1e-10), name


def test_closed_form_under_autocast_is_computed_in_float32() -> None:
    z = drawn(64, 8).float()
    predictor = ClosedFormPredictor(8, CLOSED_FORMS["directpred"], average=0.3, ridge=0.1)
    with torch.autocast("cpu", torch.bfloat16):
        predictor.observe(z.bfloat16(), z.bfloat16())
        prediction = predictor(z.bfloat16())
    predictor.update()
    rounded = z.bfloat16().double()
    assert prediction.dtype == torch.bfloat16
    assert torch.allclose(
        predictor.matrix.double(), after_one_batch(CLOSED_FORMS["directpred"], rounded, rounded).matrix, atol=1e-5
    )


def test_skipped_step_leaves_the_predictor_as_it_was() -> None:
    m = built()
    state = State(m, torch.optim.SGD(m.online.parameters(), lr=0.1))
    schedule = Schedule(0.1, 8, total_steps=4, warmup_steps=0, tau_base=0.9)

    def step(views: ViewBatch) -> None:
        train_step(state, [MicroBatch(views, None)], 1, lambda v, y, last: m(v, y), schedule, skip_non_finite=True)

    step(VIEWS)
    before = {name: buffer.clone() for name, buffer in m.predictor.named_buffers()}
    step(VIEWS.map(lambda view: view * math.nan))
    assert state.num_skipped_steps == 1
    assert all(torch.equal(buffer, before[name]) for name, buffer in m.predictor.named_buffers())


def test_encodings_hold_the_predictions_of_a_closed_form_predictor() -> None:
    m = built()
    m(VIEWS)
    m.update_target(0.9)
    assert m.linear_predictor is not None
    encodings = method_encoder(m, train=True)(VIEWS.view1)
    assert torch.allclose(encodings["prediction"], encodings["projection"] @ m.linear_predictor)
    assert "prediction" not in method_encoder(built(**{"heads.predictor": "none"}), train=True)(VIEWS.view1)


def test_linear_predictor_is_the_map_of_projections_to_predictions() -> None:
    z, trained = drawn(5, 16), built(**{"heads.predictor": "linear", "method.loss_normalization": "layer"})
    assert trained.linear_predictor is not None
    assert torch.allclose(trained.predictor(z), z @ trained.linear_predictor)
    others = [
        built(**{"heads.predictor": kind, "method.loss_normalization": "layer"})
        for kind in ("mlp", "none", "least-squares")
    ]
    assert [other.linear_predictor for other in others] == [None, None, None]
