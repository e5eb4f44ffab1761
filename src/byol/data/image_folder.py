"""A folder of images, flat or nested; labelled by its first level of sub-folders where all images lie in such."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from byol.data.decode import decode, stored_channels
from byol.data.source import Image
from byol.errors import BrokenImageError, DataError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


class ImageFolder:
    """Images below `root` in the order of their paths. Raises DataError where there is none."""

    labels: NDArray[np.int64] | None
    class_names: list[str] | None

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = sorted(_image_paths(root))
        if not self.paths:
            raise DataError(
                f"{root} holds no image ({', '.join(e[1:] for e in EXTENSIONS)}), nor do its sub-folders. Name a folder of images."
            )
        self.description = f"folder {root}"
        self.class_names, self.labels = _labels(self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int, channels: int) -> Image:
        return decode(self._content(index), channels)

    def name(self, index: int) -> str:
        return self.paths[index]

    def channels(self, index: int) -> int:
        return stored_channels(self._content(index))

    def _content(self, index: int) -> bytes:
        try:
            return (self.root / self.paths[index]).read_bytes()
        except OSError as error:
            raise BrokenImageError(error.strerror or str(error)) from error


class ListedImages(ImageFolder):
    """Image files below `root`, listed with their labels by whoever knows the data set."""

    labels: NDArray[np.int64] | None
    class_names: list[str] | None

    def __init__(
        self, root: Path, paths: list[str], labels: list[int], class_names: list[str], description: str
    ) -> None:
        self.root = root
        self.paths = paths
        self.labels = np.asarray(labels, dtype=np.int64)
        self.class_names = class_names
        self.description = description


def _image_paths(root: Path) -> list[str]:
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        prefix = os.path.relpath(folder, root)
        for name in files:
            if name.lower().endswith(EXTENSIONS) and not name.startswith("."):
                found.append(name if prefix == "." else f"{Path(prefix).as_posix()}/{name}")
    return found


def _labels(paths: list[str]) -> tuple[list[str] | None, np.ndarray | None]:
    tops = [path.split("/", 1)[0] if "/" in path else None for path in paths]
    names = sorted({top for top in tops if top is not None})
    if None in tops or len(names) < 2:
        return None, None
    number = {name: i for i, name in enumerate(names)}
    return names, np.asarray([number[top] for top in tops if top is not None], dtype=np.int64)
