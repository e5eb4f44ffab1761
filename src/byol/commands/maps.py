"""Feature maps of images, written to a folder of safetensors files."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from byol.assembly.subject import open_subject, with_trained_columns
from byol.data.open import open_source
from byol.data.prepare_photos import shrink_photos
from byol.data.public import Split
from byol.data.source import ImageSource, SkippedImages
from byol.data.spec import DataSpec, as_spec
from byol.encoder.encoder import Encoder
from byol.errors import DataError, RunError
from byol.evaluate.read_maps import read_maps
from byol.nets.maps import choose_stage
from byol.runtime.files import new_folder, write_json
from byol.runtime.hardware import choose_device
from byol.runtime.listener import SILENT, Listener
from byol.runtime.paths import require_outside, user_path

INDEX = "maps.json"
SHARD_BYTES = 2**28
"""Size from which maps go to a new file, in bytes."""


def embed_maps(
    run: str | Path,
    data: str | DataSpec,
    out: str | Path,
    *,
    stage: int = 0,
    size: int = 0,
    split: Split = "train",
    device: str = "auto",
    say: Callable[[str], None] = lambda line: None,
    show: Callable[[str, int, int], None] = SILENT.work,
) -> tuple[int, list[tuple[str, str]]]:
    """Writes the feature maps of all images to the new folder `out`: `maps.json` and files of at most about 256 MB.

    Each file holds float32 tensors (D, h, w) by the number of the image in `maps.json`, which has the stage's stride and, for
    each image, its name, file and (h, w). `stage` and `size` are as in `Encoder.maps`, the other arguments and the result as in
    `byol.embed`. Memory holds the maps of 16 images and one file. Raises RunError if `out` is not empty or the disk is too small.
    """
    path, spec = user_path(out), with_trained_columns(str(user_path(run)), data)
    require_outside(path, as_spec(data).data)
    torch_device, listener = choose_device(device), Listener(say, show)
    source = open_source(spec, split, listener=listener)
    encoder = open_subject(str(user_path(run)), source).encoder.to(torch_device)
    strides = encoder.map_strides()
    index = choose_stage(strides, stage)
    about, skipped = encoder.description, SkippedImages()
    if size <= about.stored_side or not size:
        source = shrink_photos(source, about.in_channels, about.stored_side, spec)
    with new_folder(path) as folder:
        shards = _Shards(folder, source, listener)
        for numbers, maps in read_maps(encoder, source, torch_device, stage=stage, size=size, skipped=skipped, listener=listener):  # fmt: skip
            shards.add(numbers, maps)
        shards.write()
        shards.images.sort(key=lambda image: image["number"])
        head = _head(encoder, size, index, strides)
        write_json(folder / INDEX, {**head, "channels": shards.channels, "images": shards.images})
    return len(shards.images), skipped.reasons


def _head(encoder: Encoder, size: int, index: int, strides: tuple[int, ...]) -> dict[str, Any]:
    """The entries of maps.json that all images share."""
    about = encoder.description
    return {
        "encoder": about.name or type(encoder.module).__name__,
        "weights": encoder.fingerprint(),
        "stage": index + 1,
        "stages": len(strides),
        "stride": strides[index],
        "size": size or about.image_size,
    }


class _Shards:
    """Files of maps that are written one after the other."""

    def __init__(self, folder: Path, source: ImageSource, listener: Listener) -> None:
        self.folder = folder
        self.source = source
        self.listener = listener
        self.images: list[dict[str, Any]] = []
        self.channels = 0
        self._tensors: dict[str, Tensor] = {}
        self._bytes = self._files = 0

    def add(self, numbers: list[int], maps: Tensor) -> None:
        """Adds the maps (N, D, h, w) of the images `numbers`. Raises DataError if the disk has no room for those of all images."""
        if not self.images:
            self._require_room(maps[0].nbytes * len(self.source))
        self.channels = maps.shape[1]
        for number, values in zip(numbers, maps, strict=True):
            self._tensors[str(number)] = values.clone()
            self._bytes += values.nbytes
            entry = {"number": number, "name": self.source.name(number), "file": self._name, "map": list(values.shape[1:])}  # fmt: skip
            self.images.append(entry)
        if self._bytes >= SHARD_BYTES:
            self.write()

    @property
    def _name(self) -> str:
        return f"maps-{self._files:05d}.safetensors"

    def _require_room(self, needed: int) -> None:
        free = shutil.disk_usage(self.folder).free
        words = f"the maps of {len(self.source):,} images take about {needed / 1e6:,.0f} MB"
        if needed > free:
            raise DataError(
                f"{words}, and the disk of {self.folder.parent} has {free / 1e6:,.0f} MB free. Take a later --stage or a smaller --size."
            )
        self.listener.say(words)

    def write(self) -> None:
        """Writes the maps that wait."""
        if not self._tensors:
            return
        try:
            save_file(self._tensors, self.folder / self._name)
        except SafetensorError as error:
            raise RunError(f"{self.folder.parent} cannot be written ({error}). Free some space or choose another --out.") from error  # fmt: skip
        self._tensors, self._bytes = {}, 0
        self._files += 1
