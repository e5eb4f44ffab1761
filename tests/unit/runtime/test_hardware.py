"""Operators, memory layout and allocation by machine."""

import subprocess
import sys

import pytest
import torch

from byol.runtime import kernels
from byol.runtime.hardware import choose_channels_last, choose_kernels, fuses_views

CPU = torch.device("cpu")


def test_kernels_are_chosen_by_name_and_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_kernels("auto", CPU).kind == choose_kernels("fused", CPU).kind == "fused"
    assert choose_kernels("native", CPU).kind == "native"
    assert choose_kernels("compile", CPU).kind == "compile"
    assert choose_kernels("auto", torch.device("cuda")).kind == "native"
    assert "CPU" in choose_kernels("fused", torch.device("cuda")).notice
    assert [fuses_views(name) for name in ("auto", "fused", "native", "compile")] == [True, True, False, False]
    monkeypatch.setattr(kernels, "find_compiler", lambda: None)
    kernels.prepare.cache_clear()
    try:
        for name in ("auto", "fused", "compile"):
            found = choose_kernels(name, CPU)
            assert found.kind == "native" and "compiler" in found.notice
    finally:
        kernels.prepare.cache_clear()


def test_channels_last_is_left_out_where_it_computes_wrongly() -> None:
    assert [choose_channels_last(True, torch.device(name)) for name in ("cpu", "cuda", "mps")] == [True, True, False]
    assert not choose_channels_last(False, CPU)


def test_freed_memory_is_kept_where_a_cpu_trains() -> None:
    """A large block that is freed and taken again is not faulted in anew, page by page."""
    measure = """if True:
        import resource, sys, torch
        from byol.runtime.hardware import keep_freed_memory

        if sys.argv[1] == "kept":
            keep_freed_memory(torch.device("cpu"))
        torch.ones(2**24)
        faults = []
        for _ in range(20):  # the heap takes some rounds to settle
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            torch.ones(2**24)
            faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
        print(min(faults))
    """

    def faults(how: str) -> int:
        """In a process of its own: what other tests left of the heap is not in it."""
        return int(subprocess.check_output([sys.executable, "-c", measure, how], text=True))

    assert faults("kept") < 2**10 < faults("as usual")  # of 2^14 pages
