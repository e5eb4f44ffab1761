"""Trials in several processes, with a ledger: one line of JSON for each that ended."""

import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any


def run_trials(
    trial: Callable[..., dict[str, Any]], tasks: Iterable[tuple[str, tuple[Any, ...]]], ledger: Path, jobs: int
) -> Iterator[dict[str, Any]]:
    """Rows of `trial(*arguments)` for every (name, arguments) of `tasks`, `jobs` at a time, as they end.

    A row is first appended to `ledger`. An error is printed with the name.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_end_with_parent) as pool:
        running = {pool.submit(trial, *arguments): name for name, arguments in tasks}
        for future in as_completed(running):
            if error := future.exception():
                print(f"{running[future]} failed: {error}", flush=True)
                continue
            row = future.result()
            with ledger.open("a") as stream:
                stream.write(json.dumps(row) + "\n")
            yield row


def _end_with_parent() -> None:
    """Ends this process when its parent does, however that was ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
