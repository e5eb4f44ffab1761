"""What the machine has, and what follows for device, precision and memory layout."""

import os
import platform
from pathlib import Path
from typing import Any

import torch

from byol.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """`auto`: cuda, mps or cpu, the first that is there; else the named one. Raises ConfigError where it is not."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
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


def choose_workers(number: int) -> int:
    """The given number of worker processes; -1: one per core but one, at least 1 and at most 8."""
    return max(1, min(8, num_cores() - 1)) if number == -1 else number


def num_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Hardware and versions, for the record of a run."""
    import numpy
    import PIL
    import timm
    import torchvision

    import byol

    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processor": _cpu_model(),
        "num_cores": num_cores(),
        "platform": platform.platform(),
        "versions": {
            "byol": byol.__version__,
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


def processor_features() -> str:
    """The instruction sets that the processor has, as the system lists them; empty where it does not."""
    return _cpu_info("flags")


def _cpu_flags() -> set[str]:
    return set(processor_features().split())


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
