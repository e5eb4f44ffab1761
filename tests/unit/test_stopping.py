"""Signals that ask a training to stop."""

import os
import signal

import pytest

from byol.runtime import stopping
from byol.runtime.stopping import StopRequest


def test_second_signal_of_one_request_changes_nothing_and_a_later_one_ends(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    now = [100.0]
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now[0])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job does not have
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal_number == signal.SIGINT
        now[0] += 0.5  # passed on by the first process of the group
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal_number == signal.SIGINT
        now[0] += 1
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(("error", "ignored"), [(ConnectionError, True), (ValueError, False)])
def test_signal_after_an_error_that_is_told_first_is_without_effect(
    error: type[Exception], ignored: bool, request: pytest.FixtureRequest
) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    request.addfinalizer(lambda: signal.signal(signal.SIGTERM, before))
    with pytest.raises(error), StopRequest(lambda error: isinstance(error, ConnectionError)):
        raise error
    os.kill(os.getpid(), signal.SIGTERM)
    assert heard == ([] if ignored else [signal.SIGTERM])
