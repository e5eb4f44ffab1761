"""Several processes that train one network: who am I of how many, and what all have to agree on.

`torchrun --nproc-per-node 2 -m byol pretrain ...` starts the processes; everything else is the same command.
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
    """This process among those that train together; the default is one process alone."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Among those of this machine."""

    @property
    def is_first(self) -> bool:
        """Whether this is the one process that writes and speaks."""
        return self.rank == 0

    def device(self, chosen: torch.device) -> torch.device:
        """`chosen`, or this rank's own GPU where it is CUDA without a number."""
        if self.size > 1 and chosen.type == "cuda" and chosen.index is not None:
            raise ConfigError(
                f"Each of {self.size} processes needs a GPU of its own: give device cuda in place of {chosen}."
            )
        if self.size > 1 and chosen.type == "cuda":
            if self.local_rank >= (number := torch.cuda.device_count()):
                raise ConfigError(
                    f"There are more processes than GPUs on this machine, which has {number}. Start one for each: "
                    f"torchrun --nproc-per-node {number}."
                )
            chosen = torch.device("cuda", self.local_rank)
        if chosen.type == "cuda" and chosen.index is not None:
            torch.cuda.set_device(chosen)  # whose streams are taken
        return chosen

    def mean(self, values: Tensor) -> Tensor:
        """The mean of `values` over all ranks."""
        if self.size > 1:
            values = values / self.size
            distributed.all_reduce(values)
        return values

    def maximum(self, *values: int) -> list[int]:
        """The largest of each over all ranks; no device is asked, so nothing waits for one."""
        if self.size == 1:
            return list(values)
        largest = torch.tensor(values)
        distributed.all_reduce(largest, distributed.ReduceOp.MAX)
        return largest.tolist()

    def from_first(self, value: Any) -> Any:
        """What the first rank holds; the others' `value` is not looked at."""
        if self.size == 1:
            return value
        held = [value]
        distributed.broadcast_object_list(held, src=0)
        return held[0]

    def gather(self, value: Any) -> list[Any]:
        """What every rank holds, in their order."""
        if self.size == 1:
            return [value]
        held = [None] * self.size
        distributed.all_gather_object(held, value)
        return held

    def require_same(self, value: Any, otherwise: str) -> None:
        """Raises ConfigError on every rank, saying `otherwise`, where not all hold the same."""
        if any(other != value for other in self.gather(value)):
            raise ConfigError(otherwise)

    def gather_rows(self, rows: Tensor) -> tuple[Tensor, int]:
        """(N, ...) on each rank -> (all ranks' rows one after the other, place of our first), with gradient."""
        if self.size == 1:
            return rows, 0
        return gather_with_gradient(rows).flatten(0, 1), self.rank * len(rows)


class _GatherRanks(torch.autograd.Function):
    """Backward sums what the losses of all ranks say of this rank's tensor."""

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
    """(...) on each rank -> (ranks, ...) on all, with gradients of all ranks' losses."""
    return _GatherRanks.apply(local)  # pyright: ignore[reportReturnType]


def num_processes() -> int:
    """How many processes torchrun started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_of_lost_rank(error: BaseException) -> bool:
    """Whether a collective failed because another process has gone. torchrun then sends SIGTERM to those that are left."""
    words = str(error)
    return isinstance(error, distributed.DistError) or (
        isinstance(error, RuntimeError) and ("gloo" in words or "Connection" in words)
    )


@contextlib.contextmanager
def join_ranks() -> Iterator[Ranks]:
    """Joins the processes that torchrun started, or those that are joined already; one process alone otherwise.

    Raises RankError where another process has gone.
    """
    try:
        if distributed.is_initialized():
            yield _present()
        elif num_processes() > 1:
            # torch.distributed.nn takes the group of its time as a default argument and DDP imports it: loaded later, it
            # would keep the group alive past its end, and gloo's threads abort a process that ends with them.
            import_module("torch.distributed.nn")
            distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
            try:
                yield _present()
                distributed.barrier()
            except BaseException:
                _abandon()
                raise
            finally:
                distributed.destroy_process_group()
        else:
            yield Ranks()
    except RuntimeError as error:
        if not is_of_lost_rank(error):
            raise
        reason = str(error).splitlines()[0].rpartition("] ")[2].partition(". ")[0].rstrip(".")
        raise RankError(
            f"Another process of this training has gone ({reason}); what it said stands above or in its log. The newest "
            "checkpoint is whole: go on with --resume, on any number of processes."
        ) from error


def _abandon() -> None:
    """NCCL's pending work is given up: to leave the group would wait for it, and another process may have gone."""
    if torch.cuda.is_available() and distributed.group.WORLD is not None:
        with contextlib.suppress(Exception):
            distributed.group.WORLD._get_backend(torch.device("cuda")).abort()


def _present() -> Ranks:
    local = int(os.environ.get("LOCAL_RANK", distributed.get_rank()))
    return Ranks(distributed.get_rank(), distributed.get_world_size(), local)
