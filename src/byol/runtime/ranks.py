"""Ranks: the processes that train one network together, and the collectives between them.

`torchrun --nproc-per-node 2 -m byol pretrain ...` starts the processes; the rest of the command is the same.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, distributed

from byol.errors import ConfigError, RankError


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together; by default one process alone."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Rank among the processes of this machine."""

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and reports progress."""
        return self.rank == 0

    def device(self, requested: torch.device) -> torch.device:
        """`requested`; if it is CUDA without a number and there are several ranks, this rank's own GPU.

        Raises ConfigError for a numbered GPU with several ranks, and if this machine has fewer GPUs than ranks.
        """
        if self.size > 1 and requested.type == "cuda" and requested.index is not None:
            raise ConfigError(
                f"Each of {self.size} processes needs its own GPU: set device to cuda instead of {requested}."
            )
        if self.size > 1 and requested.type == "cuda":
            if self.local_rank >= (number := torch.cuda.device_count()):
                raise ConfigError(
                    f"There are more processes than GPUs on this machine, which has {number}. Start one process per GPU: "
                    f"torchrun --nproc-per-node {number}."
                )
            requested = torch.device("cuda", self.local_rank)
        if requested.type == "cuda" and requested.index is not None:
            torch.cuda.set_device(requested)  # its streams become the current ones
        return requested

    def mean(self, values: Tensor) -> Tensor:
        """Mean of `values` over all ranks, elementwise."""
        if self.size > 1:
            values = values / self.size
            distributed.all_reduce(values)
        return values

    def maximum(self, *values: int) -> list[int]:
        """Maximum of each value over all ranks; computed on the CPU, so it does not wait for a GPU."""
        if self.size == 1:
            return list(values)
        largest = torch.tensor(values)
        distributed.all_reduce(largest, distributed.ReduceOp.MAX)
        return largest.tolist()

    def from_first(self, value: Any) -> Any:
        """The first rank's `value`; those of other ranks are ignored."""
        if self.size == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]

    def gather(self, value: Any) -> list[Any]:
        """Every rank's `value`, in rank order."""
        if self.size == 1:
            return [value]
        values = [None] * self.size
        distributed.all_gather_object(values, value)
        return values

    def require_same(self, value: Any, message: str) -> None:
        """Raises ConfigError with `message` on every rank if the ranks' values differ."""
        if any(other != value for other in self.gather(value)):
            raise ConfigError(message)

    def gather_rows(self, rows: Tensor) -> tuple[Tensor, int]:
        """(N, ...) rows on each rank -> ((ranks * N, ...) rows in rank order, index of this rank's first), with gradient."""
        if self.size == 1:
            return rows, 0
        return gather_with_gradient(rows).flatten(0, 1), self.rank * len(rows)


class _GatherRanks(torch.autograd.Function):
    """All-gather whose backward sums the gradients of all ranks' losses with respect to this rank's tensor."""

    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        parts = [torch.empty_like(local) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, local.contiguous())
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous()
        distributed.all_reduce(total)
        return total[distributed.get_rank()]


def gather_with_gradient(local: Tensor) -> Tensor:
    """(...) on each rank -> (ranks, ...) on every rank; the gradient is summed over all ranks' losses."""
    return _GatherRanks.apply(local)  # pyright: ignore[reportReturnType]


def num_processes() -> int:
    """Number of processes that torchrun started; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def means_lost_rank(error: BaseException) -> bool:
    """Whether a collective failed because another process ended. torchrun then sends SIGTERM to the others."""
    message = str(error)
    return isinstance(error, distributed.DistError) or (
        isinstance(error, RuntimeError) and ("gloo" in message or "Connection" in message)
    )


@contextlib.contextmanager
def join_ranks() -> Iterator[Ranks]:
    """Context with this process's `Ranks`: it joins the processes that torchrun started, or an existing process group.

    Without either it is one process alone. Raises RankError if another process ends early.
    """
    try:
        if distributed.is_initialized():
            yield _ranks_of_group()
        elif num_processes() > 1:
            # torch.distributed.nn stores the current group as a default argument, and DDP imports it. Imported later, it
            # would keep the destroyed group alive, and gloo's threads would abort the process at its end.
            import_module("torch.distributed.nn")
            distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
            try:
                yield _ranks_of_group()
                distributed.barrier()
            except BaseException:
                _abort_pending_work()
                raise
            finally:
                distributed.destroy_process_group()
        else:
            yield Ranks()
    except RuntimeError as error:
        if not means_lost_rank(error):
            raise
        reason = str(error).splitlines()[0].rpartition("] ")[2].partition(". ")[0].rstrip(".")
        raise RankError(
            f"Another process of this training ended ({reason}); its message is above or in its log. The newest checkpoint "
            "is complete: continue with --resume, on any number of processes."
        ) from error


def _abort_pending_work() -> None:
    """Aborts NCCL's pending work, which leaving the group would wait for forever if another process has ended."""
    if torch.cuda.is_available() and distributed.group.WORLD is not None:
        with contextlib.suppress(Exception):
            distributed.group.WORLD._get_backend(torch.device("cuda")).abort()


def _ranks_of_group() -> Ranks:
    local_rank = int(os.environ.get("LOCAL_RANK", distributed.get_rank()))
    return Ranks(distributed.get_rank(), distributed.get_world_size(), local_rank)
