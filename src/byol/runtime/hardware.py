"""What the machine has, and what follows for device, precision, operators and memory."""

import ctypes
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from byol.errors import ConfigError
from byol.runtime import kernels
from byol.runtime.version import VERSION

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # malloc.h


def choose_device(name: str) -> torch.device:
    """`auto`: cuda, mps or cpu, the first that is there; else the named one. Raises ConfigError where it is not."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type == "cuda" and device.index is None and torch.cuda.is_available():
            return device  # nothing is put on the first GPU by ranks that have another
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(
            f"device {name!r} cannot be used here ({str(error).splitlines()[0]}). Use auto, or cpu."
        ) from error
    return device


def computes_in_bf16(device: torch.device) -> bool:
    """Whether matrix products in bf16 are done by the hardware."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        flags = _cpu_flags()
        return "avx512_bf16" in flags or "amx_bf16" in flags
    return False


def choose_precision(name: str, device: torch.device) -> str:
    """`bf16` or `fp32`."""
    return ("bf16" if computes_in_bf16(device) else "fp32") if name == "auto" else name


@dataclass(frozen=True)
class Operators:
    """Which operators compute the step."""

    kind: Literal["native", "fused", "compile"]
    """native: torch's own. fused: those that this package compiles for CPUs. compile: what torch.compile makes."""
    notice: str = ""
    """Why it is not what was asked for, or could be."""


def choose_kernels(name: str, device: torch.device) -> Operators:
    """`auto`: fused on a CPU where they can be built, else native. Whatever cannot be had here falls back to native."""
    if name == "native" or (name == "auto" and device.type != "cpu"):
        return Operators("native")
    if device.type != "cpu":
        return Operators("compile") if name == "compile" else Operators("native", "fused operators are for CPUs")
    if name == "compile":
        missing = kernels.find_compiler() is None
        return Operators("native", "torch.compile needs a C++ compiler here") if missing else Operators("compile")
    reason = kernels.prepare()
    return Operators("native", f"fused operators cannot be built here: {reason}") if reason else Operators("fused")


def fuses_views(name: str) -> bool:
    """Whether CPU tensors are cropped and distorted by the compiled operators: beside a GPU, too, whose images workers crop."""
    return name in ("auto", "fused")


def choose_channels_last(wanted: bool, device: torch.device) -> bool:
    """Not on MPS, where torch's batch norm has wrong gradients in that layout (pytorch/pytorch#175189)."""
    return wanted and device.type != "mps"


def keep_freed_memory(device: torch.device) -> None:
    """Tells glibc, where a CPU trains, to reuse freed blocks in place of returning them to the system at once.

    A step frees and takes the same large maps again; without this each of their pages is faulted in anew.
    """
    if device.type == "cpu" and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for setting, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 2**26)):
            libc.mallopt(setting, value)


def choose_workers(number: int) -> int:
    """The given number of worker processes; -1: one per core of this rank but one, at least 1 and at most 8."""
    ranks_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(8, num_cores() // ranks_here - 1)) if number == -1 else number


def num_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Hardware and versions, for the record of a run."""
    import numpy
    import PIL
    import timm
    import torchvision

    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processor": _cpu_model(),
        "num_cores": num_cores(),
        "platform": platform.platform(),
        "versions": {
            "byol": VERSION,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "timm": timm.__version__,
            "numpy": numpy.__version__,
            "pillow": PIL.__version__,
        },
    }


def _cpu_info(field: str) -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(field):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return ""


def _cpu_flags() -> set[str]:
    return set(_cpu_info("flags").split())


def _cpu_model() -> str:
    return _cpu_info("model name") or platform.processor()


def memory_bytes(device: torch.device) -> tuple[int, int]:
    """(total, free) memory: the GPU's for cuda, else the machine's; (0, 0) where it cannot be told."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return total, free
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
        return found["MemTotal"], found["MemAvailable"]
    except (OSError, KeyError, ValueError, IndexError):
        return 0, 0
