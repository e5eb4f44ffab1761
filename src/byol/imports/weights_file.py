"""Tensors of a stranger's file of weights, matched to a network by name and shape. Nothing in the file is run."""

import pickle
import re
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from byol.encoder.encoder_file import require_whole
from byol.errors import CheckpointError
from byol.nets.encoder import converted
from byol.runtime.words import counted

COUNTERS = "num_batches_tracked"
DEPTH = 4
"""Largest number of dictionaries inside each other in a checkpoint that is searched for tensors."""
SHOWN = 3
"""Number of names in a message."""


@dataclass(frozen=True)
class Matched:
    """The tensors of a network, found in a file."""

    tensors: dict[str, Tensor]
    """Tensors by the network's own names: all that it has, no other. `load_state_dict` makes them float32."""
    words: str
    """Number of tensors found, prefix, conversion and tensors left out, in one line."""


def read_tensors(file: Path) -> dict[str, Tensor]:
    """All tensors of a .safetensors file or of a torch checkpoint, by dotted name; those in inner dictionaries too.

    Raises CheckpointError if the file is missing, damaged, or a pickle of anything but tensors, numbers, texts and
    plain containers.
    """
    if not file.is_file():
        raise CheckpointError(f"There is no file {file}. Name the weights' file, or leave --weights out.")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the pickle protocol of a foreign file
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        inside = f"Python objects ({named[1]})" if named else "something other than tensors"
        raise CheckpointError(
            f"{file} holds {inside}, and reading them would run a stranger's code. It takes .safetensors, .pth or .pt with "
            "tensors alone: where you trust the file, save its state_dict anew."
        ) from None
    except Exception as error:  # torch raises many kinds for bytes that are no checkpoint
        cause = type(error).__name__ if isinstance(error, KeyError) else (str(error).splitlines() or ["?"])[0]
        kind = "safetensors file" if isinstance(error, SafetensorError) else "file of weights"
        raise CheckpointError(
            f"{file} is no {kind}, or damaged ({cause}). It takes .safetensors, .pth or .pt."
        ) from None
    tensors = dict(_tensors(content, ""))
    if not tensors:
        raise CheckpointError(f"{file} holds no named tensors.")
    return tensors


def match(
    name: str,
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    file: str | Path,
    *,
    prefix: str = "",
    heads: Collection[str] = (),
) -> Matched:
    """The tensors of the network `module`, called `name`, among those of `file`.

    The network's names may stand behind one prefix (`module.`, `state_dict.model.`, ...), found by itself if only one
    fits, else given. `heads`: names of the layers after the encoder, which are left out. timm's own conversion is applied, so that
    position embeddings of another image size are resampled. Raises CheckpointError if a tensor is missing, of another
    shape or unknown, and if several prefixes fit.
    """
    expected = {n: tuple(t.shape) for n, t in module.state_dict().items()}
    needed = {n for n in expected if not n.endswith(COUNTERS)}
    found = f"{prefix.rstrip('.')}." if prefix else _prefix(name, needed, tensors, file)
    of_network = {n.removeprefix(found): t for n, t in tensors.items() if n.startswith(found)}
    left_out = [n for n in of_network if any(n.startswith(f"{head}.") for head in heads)]
    of_network = {n: t for n, t in of_network.items() if n not in left_out}
    if found:  # a checkpoint of a whole method: heads beside the encoder have other names
        others = [n for n in of_network if n.split(".")[0] not in {known.split(".")[0] for known in expected}]
        left_out += others
        of_network = {n: t for n, t in of_network.items() if n not in others}
    of_network = converted(module, of_network)
    counters = {n: t for n, t in module.state_dict().items() if n.endswith(COUNTERS) and n not in of_network}
    require_whole(name, module, of_network | counters, file)
    halves = sorted({str(t.dtype).removeprefix("torch.") for t in of_network.values()} & {"float16", "bfloat16"})
    parts = [f"all {len(needed)} tensors of {name} found in {Path(file).name}"]
    parts += [f"behind the prefix {found}"] if found else []
    parts += [f"converted from {' and '.join(halves)} to float32"] if halves else []
    parts += [f"{counted(len(left_out), 'tensor')} of the head left out"] if left_out else []
    return Matched(of_network | counters, ", ".join(parts))


def _tensors(content: Any, path: str, depth: int = 0) -> list[tuple[str, Tensor]]:
    """(dotted name, tensor) of every tensor in nested dictionaries; an optimizer's are left out."""
    if isinstance(content, Tensor) and path:
        return [(path, content)]
    if not isinstance(content, dict) or depth > DEPTH:
        return []
    named = ((str(key), value) for key, value in content.items() if not (depth == 0 and "optim" in str(key).lower()))
    return [pair for key, value in named for pair in _tensors(value, f"{path}.{key}" if path else key, depth + 1)]


def _prefix(name: str, needed: Collection[str], tensors: Mapping[str, Tensor], file: str | Path) -> str:
    """The text before the network's names in the file. Raises CheckpointError if nothing fits, or several do."""
    counts: dict[str, int] = {}
    for known in tensors:
        parts = known.split(".")
        for place in range(len(parts)):
            if ".".join(parts[place:]) in needed:
                start = ".".join(parts[:place])
                start = f"{start}." if start else ""
                counts[start] = counts.get(start, 0) + 1
    best = max(counts.values(), default=0)
    fitting = [start for start, count in counts.items() if count == best]
    if 2 * best < len(needed):
        raise CheckpointError(
            f"{file} holds no {name}: at most {best} of its {len(needed)} tensors are there. It has {_some(tensors)}; {name} has "
            f"{_some(sorted(needed))}. It is a head alone, or of another network."
        )
    if len(fitting) > 1:
        raise CheckpointError(
            f"{file} holds several sets of tensors that fit {name}: {', '.join(map(repr, fitting[:6]))}. Choose one with --prefix."
        )
    return fitting[0]


def _some(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:SHOWN])
    return f"{shown}, ..." if len(names) > SHOWN else shown
