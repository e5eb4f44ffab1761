"""The libraries of the extra `deep`, imported when the first file needs one, and what the readers of such files share."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from byol.errors import BrokenImageError


@dataclass(frozen=True)
class Header:
    """Size and bands of a picture."""

    height: int
    width: int
    bands: int
    kind: str
    """Kind of the file, for messages: `TIFF of 13 bands, uint16`."""


def words(kind: str, bands: int, depth: object) -> str:
    """The kind of a file with its bands and the type of its values."""
    return f"{kind} of {bands} band{'s' if bands > 1 else ''}, {depth}"


def library(name: str, what: str) -> ModuleType:
    """The module `name` of the extra `deep`. Raises BrokenImageError where it is missing; `what`: the file that needs it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise BrokenImageError(f"it is {what}, which needs {package}: pip install 'byol[deep]'") from error


def require_pixels(height: int, width: int, most: int) -> None:
    """Raises BrokenImageError if a picture has more than `most` pixels."""
    if height * width > most:
        raise BrokenImageError(f"its {height * width:,} pixels are more than --max-megapixels allows")


def joined(pages: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """(H, W, bands) values of several pages -> one picture with the bands of all, page after page.

    Raises BrokenImageError if the pages differ in size, bands or type.
    """
    if len(pages) == 1:
        return pages[0]
    kinds = {f"{p.shape[1]} x {p.shape[0]} px with {p.shape[2]} of {p.dtype}" for p in pages}
    if len(kinds) > 1:
        raise BrokenImageError(f"its {len(pages)} pages are no bands of one image: {' and '.join(sorted(kinds))}")
    return np.concatenate(pages, axis=2)
