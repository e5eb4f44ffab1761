"""Another class for modules of a network, with the same parameters under the same names."""

from collections.abc import Callable

from torch import nn


def retype(module: nn.Module, kind_of: Callable[[nn.Module], type[nn.Module] | None]) -> int:
    """Gives modules below `module`, in place, the class that `kind_of` tells, where it tells one; returns how many."""
    count = 0
    for name, child in module.named_children():
        kind = kind_of(child)
        if kind is None:
            count += retype(child, kind_of)
            continue
        made = kind.__new__(kind)
        made.__dict__ = child.__dict__
        setattr(module, name, made)
        count += 1
    return count
