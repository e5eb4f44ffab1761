"""All copies and near-duplicates of the explored images, by the rule of `byol audit`: found when they are first asked for, and kept."""

import contextlib
import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from byol.data.pixel_measures import measure_pictures
from byol.data.source import ImageSource
from byol.data.subset import Subset
from byol.errors import ByolError, RunError
from byol.evaluate.duplicates import Surroundings, near_groups
from byol.evaluate.features import Features
from byol.evaluate.kept_features import kept_rows
from byol.runtime.listener import SILENT, Listener
from byol.runtime.mapped import read_mapped, write_mapped

PICTURES, GROUPS = "pictures.safetensors", "duplicates.safetensors"
VERSION = "1"
"""Text that changes with the measures that are kept."""


@dataclass
class Duplicates:
    """A search for groups of two or more images that are copies or near-duplicates of each other."""

    source: ImageSource
    features: Features
    """Vectors and keys of the readable images of the source."""
    folder: Path
    """Folder for what is kept."""
    about: str
    """Text that changes with the vectors and the images."""
    progress: tuple[str, int, int] = field(default=("starting", 0, 0), init=False)
    """Present task of the search, and how many of how many are done."""
    _found: dict[str, Tensor] | None = field(default=None, init=False)
    _error: ByolError | None = field(default=None, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def found(self) -> dict[str, Tensor] | None:
        """The groups, largest first; None while a search, which this starts, goes on in a thread. Raises what the search raised, once.

        `sizes`: (G,) number of images in each group. For these M images, group by group: `images`, (M,); `cosine`, (M,), to the nearest other one of the group;
        `equal`, (M,), 1 where another one has the same pixels.
        """
        with self._lock:
            if error := self._error:
                self._error = self._thread = None
                raise error
            if self._found is None and self._thread is None:
                self._thread = threading.Thread(target=self._search, daemon=True)
                self._thread.start()
            return self._found

    def wait(self) -> dict[str, Tensor]:
        """The groups, after the search has ended."""
        while (found := self.found()) is None:
            assert self._thread is not None
            self._thread.join()
        return found

    def _search(self) -> None:
        try:
            found = read_mapped(self.folder / GROUPS, self.about) or self._compare()
        except Exception as error:
            wrong = error if isinstance(error, ByolError) else RunError(f"The search for duplicates failed ({error}).")
            with self._lock:
                self._error = wrong
            return
        with self._lock:
            self._found = found

    def _compare(self) -> dict[str, Tensor]:
        keys = self.features.keys
        assert keys is not None
        pictures, _ = kept_rows(self.folder / PICTURES, VERSION, keys, self._measure)
        self.progress = "comparing the vectors", 0, 0
        digest = pictures["digest"].numpy().view("V16")[:, 0]
        found = described(Surroundings.of(self.features.vectors), pictures["small"].numpy(), digest)
        with contextlib.suppress(RunError):  # else the search is made again at the next start
            write_mapped(self.folder / GROUPS, self.about, found)
        return found

    def _measure(self, missing: NDArray[np.int64]) -> tuple[dict[str, Tensor], NDArray[np.int64]]:
        def show(work: str, done: int, total: int) -> None:
            self.progress = work, done, total

        part = Subset(self.source, self.features.indices.numpy()[missing], self.source.description)
        measures = measure_pictures(part, Listener(SILENT.say, show))
        digest = torch.from_numpy(measures.digest.view(np.uint8).reshape(-1, 16))
        return {"digest": digest, "small": torch.from_numpy(measures.small)}, missing


def described(surroundings: Surroundings, small: NDArray[np.uint8], digest: NDArray[np.void]) -> dict[str, Tensor]:
    """The groups of `near_groups`, in the form of `Duplicates.found`."""
    groups = sorted(near_groups(surroundings, small, digest), key=len, reverse=True)
    images = torch.tensor([image for group in groups for image in group], dtype=torch.int64)
    sizes = torch.tensor([len(group) for group in groups], dtype=torch.int64)
    group_of = torch.full((len(small),), -1)
    group_of[images] = torch.arange(len(groups)).repeat_interleave(sizes)
    together = (group_of[surroundings.place] == group_of[:, None]) & (group_of[:, None] >= 0)
    cosine = surroundings.cosine.masked_fill(~together, -1)
    best = cosine.amax(dim=1)
    best = best.scatter_reduce(
        0, surroundings.place[together], cosine[together], "amax"
    )  # a pair may be found from one side alone
    _, number, count = np.unique(digest, return_inverse=True, return_counts=True)
    equal = torch.from_numpy(count[number] > 1)
    best[equal] = best[equal].clamp_min(1)
    return {
        "sizes": sizes.int(),
        "images": images.int(),
        "cosine": best[images].clamp_max(1),
        "equal": equal[images].to(torch.uint8),
    }
