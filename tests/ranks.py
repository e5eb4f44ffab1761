"""Runs a function on several CPU processes that talk over gloo."""

import os
import socket
from collections.abc import Callable
from typing import Any

import torch
from torch import multiprocessing

from byol.runtime.ranks import join_ranks
from tests.processes import METHOD


def run_ranks(count: int, function: Callable[..., None], *arguments: Any) -> None:
    """`function(rank, *arguments)` on `count` ranks; raises what a rank raises."""
    start_ranks(count, _joined, function, arguments)


def start_ranks(count: int, function: Callable[..., None], *arguments: Any, method: str = METHOD) -> None:
    """`function(rank, *arguments)` in `count` processes with the environment that torchrun gives; nobody joins them."""
    started = (count, _free_port(), function, arguments)
    multiprocessing.start_processes(_started, started, count, start_method=method)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _started(rank: int, count: int, port: int, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE=str(count))
    torch.set_num_threads(1)
    function(rank, *arguments)


def _joined(rank: int, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    with join_ranks():
        function(rank, *arguments)


def join_and_leave(rank: int) -> None:
    """Fails where a thread of gloo is left, though something was imported meanwhile that DDP imports."""
    with join_ranks() as ranks:
        import torch._dynamo  # noqa: F401

        assert ranks.maximum(rank) == [1]
    with os.scandir("/proc/self/task") as tasks:
        threads = [open(f"{task.path}/comm").read() for task in tasks]  # noqa: SIM115
    assert [name for name in threads if "gloo" in name] == []
