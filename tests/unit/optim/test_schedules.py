"""Learning rate and tau by step."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byol.engine.schedule import Schedule
from byol.optim.schedules import learning_rate, scale_tau, target_tau, total_steps


def test_total_steps_paper_values() -> None:
    assert [total_steps(e, 1281167, 4096) for e in (10, 100, 300, 1000)] == [3127, 31278, 93835, 312784]
    assert all(total_steps(k * 37 / 1001, 1001, 37) == k for k in range(1, 500))


def test_learning_rate_hand_values() -> None:
    rate = {k: learning_rate(k, base=0.2, batch_size=512, total=110, warmup=10) for k in (0, 5, 10, 60, 110, 200)}
    assert rate == pytest.approx({0: 0.0, 5: 0.2, 10: 0.4, 60: 0.2, 110: 0.0, 200: 0.0}, abs=1e-12)


def test_target_tau_hand_values() -> None:
    tau = [target_tau(k, base=0.99, total=100) for k in (0, 50, 100, 150)]
    assert tau == pytest.approx([0.99, 0.995, 1.0, 1.0], abs=1e-12)


def test_scale_tau_is_the_papers_own_step_to_batch_512() -> None:
    assert scale_tau(0.996, 512, 4096) == pytest.approx(0.9995, abs=5e-6)  # appendix G
    assert scale_tau(0.99, 256, 4096) == pytest.approx(0.999372, abs=1e-6)
    assert scale_tau(0.0, 128, 256) == 0.0
    assert Schedule(0.3, 512, 100, 10, 0.996, tau_reference_batch=4096).tau(0) == pytest.approx(0.9995, abs=5e-6)
    assert Schedule(0.3, 512, 100, 10, 0.996).tau(0) == pytest.approx(0.996)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    total=st.integers(2, 5000),
    share=st.floats(0, 0.9),
    base=st.floats(1e-3, 10),
    batch=st.sampled_from([16, 256, 4096]),
)
def test_schedules_rise_then_fall_and_tau_only_rises(total: int, share: float, base: float, batch: int) -> None:
    warmup = int(share * total)
    rates = [learning_rate(k, base=base, batch_size=batch, total=total, warmup=warmup) for k in range(total + 1)]
    peak = base * batch / 256
    assert rates[warmup] == pytest.approx(peak)
    assert max(rates) <= peak * (1 + 1e-12)
    assert rates[-1] == pytest.approx(0, abs=1e-9)
    assert all(a <= b for a, b in itertools.pairwise(rates[: warmup + 1]))
    assert all(a >= b for a, b in itertools.pairwise(rates[warmup:]))
    taus = [target_tau(k, base=min(base, 1.0), total=total) for k in range(total + 1)]
    assert all(a <= b + 1e-15 for a, b in itertools.pairwise(taus))
    assert taus[-1] == pytest.approx(1)
