"""Runs a function on several CPU processes that talk over gloo."""

import os
import socket
from collections.abc import Callable
from typing import Any

import torch
from torch import distributed, multiprocessing


def run_ranks(count: int, function: Callable[..., None], *arguments: Any) -> None:
    """`function(rank, *arguments)` on `count` ranks; raises what a rank raises."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    multiprocessing.spawn(_rank, args=(count, port, function, arguments), nprocs=count)  # pyright: ignore[reportPrivateImportUsage]


def _rank(rank: int, count: int, port: int, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE=str(count))
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", rank=rank, world_size=count)
    try:
        function(rank, *arguments)
    finally:
        distributed.destroy_process_group()
