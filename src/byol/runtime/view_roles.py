"""Roles of views in a loss: the interface between `views`, which makes them, and `methods`, which use them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Generic, TypeVar

from torch import Tensor

Kind = TypeVar("Kind")
Other = TypeVar("Other")


@dataclass(frozen=True)
class Roles(Generic[Kind]):
    """Views by role, each a tensor or a description of how to make the view."""

    sources1: tuple[Kind, ...]
    """View 1 for the online network; if there are several, their projections are averaged."""
    sources2: tuple[Kind, ...] = ()
    """View 2 for the online network, likewise."""
    targets1: tuple[Kind, ...] = ()
    """Views for the target network in place of `sources1`; empty: the same views."""
    targets2: tuple[Kind, ...] = ()
    """Views for the target network in place of `sources2`; empty: the same views."""
    small: tuple[Kind, ...] = ()
    """Views of any size for the online network alone, each of which predicts both targets."""

    @property
    def view1(self) -> Kind:
        """View 1 for the online network, the first if there are several."""
        return self.sources1[0]

    @property
    def view2(self) -> Kind:
        """View 2 for the online network, the first if there are several."""
        return self.sources2[0]

    def __iter__(self) -> Iterator[Kind]:
        """All views, in the order of the roles."""
        for field in fields(self):
            yield from getattr(self, field.name)

    def pair(self) -> "Roles[Kind]":
        """Views 1 and 2 alone."""
        return Roles(self.sources1[:1], self.sources2[:1])

    def map(self, change: Callable[[Kind], Other]) -> "Roles[Other]":
        """Result of `change` for every view, in the same roles."""
        return Roles(**{field.name: tuple(map(change, getattr(self, field.name))) for field in fields(self)})

    def swapped(self) -> "Roles[Kind]":
        """Roles with views 1 and 2 exchanged."""
        return Roles(self.sources2, self.sources1, self.targets2, self.targets1, self.small)


ViewBatch = Roles[Tensor]
"""Views of N images; each is a (N, C, S, S) float tensor in [0, 1]."""
