"""Where the values of a tensor lie."""

from pathlib import Path

from torch import Tensor


def mapped_from(tensor: Tensor) -> str:
    """Path of the file that the tensor's first value is mapped from; empty if it is in plain memory."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, *_, last = line.split(maxsplit=5)
        low, high = (int(end, 16) for end in addresses.split("-"))
        if low <= tensor.data_ptr() < high:
            return last if last.startswith("/") else ""
    return ""
