"""Files of tensors that are mapped into memory: a value is read from the disk when it is used, and a start reads none."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from byol.runtime.files import make_folder, replacing


def read_mapped(path: Path, about: str) -> dict[str, Tensor]:
    """The tensors by name, mapped from the file; empty if it is missing, torn or about something else.

    What is written to a tensor does not reach the file.
    """
    try:
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("about") == about:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no dictionary)
    except (OSError, SafetensorError):
        pass
    return {}


def is_about(path: Path, about: str) -> bool:
    """Whether the file is there and holds tensors about this."""
    try:
        with safe_open(path, "pt") as file:
            return (file.metadata() or {}).get("about") == about
    except (OSError, SafetensorError):
        return False


def write_mapped(path: Path, about: str, tensors: Mapping[str, Tensor]) -> None:
    """Writes a file for `read_mapped`, atomically. Raises RunError if the disk refuses."""
    make_folder(path.parent)
    with replacing(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, {"about": about})
