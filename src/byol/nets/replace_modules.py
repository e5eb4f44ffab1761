"""Other modules in the place of a network's, under the same names."""

from collections.abc import Callable
from typing import TypeVar

from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def replace_modules(module: nn.Module, replacement: Callable[[nn.Module], nn.Module | None]) -> int:
    """Replaces, in place, each module below `module` for which `replacement` gives another; returns how many.

    A replaced module is not searched further.
    """
    count = 0
    for name, child in module.named_children():
        new = replacement(child)
        if new is None:
            count += replace_modules(child, replacement)
        else:
            setattr(module, name, new)
            count += 1
    return count


def replace_class(module: nn.Module, kind: type[Module]) -> Module:
    """A module of class `kind` with everything that `module` holds: parameters, buffers, submodules, settings, hooks."""
    new = kind.__new__(kind)
    new.__dict__ = module.__dict__
    return new
