"""Exact search for the most similar vectors, without storing the whole matrix of similarities."""

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from byol.runtime.hardware import computes_in_bf16
from byol.runtime.kernels import KernelError, library

QUERY_CHUNK, BANK_CHUNK = 512, 65536
WORTH_BUILDING = 2**26
"""Number of similarities from which building and using the compiled operator pays off."""
FLOAT32_ROUNDING = 2.0**-23
Search = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Search in one chunk of the bank: (M, D) unit vectors -> ((M, k) cosines, (M, k) places in the chunk)."""
SOURCE = Path(__file__).with_name("nearest.cpp")


@torch.no_grad()
def nearest(queries: Tensor, bank: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """((M, k) cosines, (M, k) places in the bank): for each of (M, D) queries the k most similar of (N, D) vectors, best first.

    Memory holds 512 x 65536 similarities at a time, never M x N, and 65536 unit vectors of the bank.

    Cosines are float32. On a CPU with bf16 and a compiler, large searches first compute similarities in bf16, then in
    float32 for every vector that may be among the k best within the largest possible rounding error. The result is the
    same as in float32 alone, except for the order of equal cosines.
    """
    best = torch.full((len(queries), 0), 0.0, device=queries.device)
    place = torch.full((len(queries), 0), 0, dtype=torch.int64, device=queries.device)
    prepare = _in_bf16_first if _is_worth_bf16(queries, bank) else _in_float32
    for start in range(0, len(bank), BANK_CHUNK):
        chunk = functional.normalize(bank[start : start + BANK_CHUNK].float(), dim=1)
        search = prepare(chunk, min(k, len(chunk)))
        results = [search(functional.normalize(part.float(), dim=1)) for part in queries.split(QUERY_CHUNK)]
        values, places = (torch.cat(parts) for parts in zip(*results, strict=True))
        best, order = torch.cat((best, values), dim=1).sort(dim=1, descending=True, stable=True)
        place = torch.cat((place, places + start), dim=1).gather(1, order)[:, :k]
        best = best[:, :k]
    return best, place


def nearest_others(vectors: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """((N, k) cosines, (N, k) places): for each of (N, D) vectors, N >= 2, the k (at most N - 1) most similar others, best first."""
    cosine, place = nearest(vectors, vectors, min(k, len(vectors) - 1) + 1)
    own = place == torch.arange(len(vectors), device=place.device)[:, None]
    own[~own.any(dim=1), -1] = True  # among many equal vectors the vector itself may be missing
    others = (len(vectors), cosine.shape[1] - 1)
    return cosine[~own].view(others), place[~own].view(others)


def _is_worth_bf16(queries: Tensor, bank: Tensor) -> bool:
    if bank.device.type != "cpu" or len(queries) * len(bank) < WORTH_BUILDING or not computes_in_bf16(bank.device):
        return False
    try:
        _operator()
    except KernelError:
        return False
    return True


def _in_float32(bank: Tensor, k: int) -> Search:
    return lambda queries: tuple((queries @ bank.T).topk(k, dim=1))  # pyright: ignore[reportReturnType]


def _in_bf16_first(bank: Tensor, k: int) -> Search:
    """Search that computes bf16 similarities first, then float32 ones for the candidates.

    The bank's mean is taken away first: that changes all similarities of a query alike, and what is left is small, and exact in bf16, where all vectors are
    similar. The error bound is |q.b - q'.b'| <= |q - q'| |b| + |q'| |b - b'| by Cauchy and Schwarz, plus the rounding of float32 sums.
    """
    rest = bank - bank.mean(dim=0)
    near_bank = rest.bfloat16()
    length, bank_error = float(rest.norm(dim=1).max()), float((rest - near_bank).norm(dim=1).max())
    memory = torch.empty(QUERY_CHUNK, len(bank), dtype=torch.bfloat16)

    def search(queries: Tensor) -> tuple[Tensor, Tensor]:
        near = queries.bfloat16()
        similar = torch.mm(near, near_bank.T, out=memory[: len(near)])
        query_error = float((queries - near).norm(dim=1).max())
        bound = 1.01 * (query_error * length + bank_error) + FLOAT32_ROUNDING * bank.shape[1]
        values, places = torch.empty(len(queries), k), torch.empty(len(queries), k, dtype=torch.int64)
        inputs, width = (similar.data_ptr(), *similar.shape, queries.data_ptr(), bank.data_ptr()), bank.shape[1]
        _operator()(*inputs, width, bound, k, values.data_ptr(), places.data_ptr())
        return values, places

    return search


@cache
def _operator() -> Callable[..., None]:
    function = library(SOURCE).nearest_exact
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    function.argtypes = (pointer, number, number, pointer, pointer, number, ctypes.c_float, number, pointer, pointer)
    function.restype = None
    return function
