"""Signals that ask a training to stop."""

import multiprocessing
import os
import signal
import subprocess
import time

import pytest

from byol.runtime import stopping
from byol.runtime.stopping import StopRequest, ignoring_stop_signals, stop_only_for
from tests.processes import CONTEXT


def test_second_signal_of_one_request_changes_nothing_and_ctrl_c_later_ends(
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
        os.kill(os.getpid(), signal.SIGTERM)  # passed on late
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(("error", "ignored"), [(ConnectionError, True), (ValueError, False)])
def test_sigterm_after_an_error_that_causes_it_has_no_effect(
    error: type[Exception], ignored: bool, request: pytest.FixtureRequest
) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    request.addfinalizer(lambda: signal.signal(signal.SIGTERM, before))
    with pytest.raises(error), StopRequest(lambda error: isinstance(error, ConnectionError)):
        raise error
    os.kill(os.getpid(), signal.SIGTERM)
    assert heard == ([] if ignored else [signal.SIGTERM])


def test_process_started_while_ignoring_stop_signals_does_not_end() -> None:
    with ignoring_stop_signals():
        process = subprocess.Popen(["sleep", "60"])
    process.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.kill()
    process.wait()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()).isdisjoint(stopping.SIGNALS)


def listen(ready) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None and parent.pid is not None
    stop_only_for(parent.pid)
    ready.set()
    time.sleep(60)


def kill(pid: int, number: int) -> None:
    os.kill(pid, number)


def test_worker_stops_only_for_its_own_training() -> None:
    ready = CONTEXT.Event()
    worker = CONTEXT.Process(target=listen, args=(ready,))
    worker.start()
    assert ready.wait(30) and worker.pid
    for number in stopping.SIGNALS:
        stranger = CONTEXT.Process(target=kill, args=(worker.pid, number))
        stranger.start()
        stranger.join()
    worker.join(0.5)
    assert worker.exitcode is None
    worker.terminate()
    worker.join(10)
    assert worker.exitcode == 0
