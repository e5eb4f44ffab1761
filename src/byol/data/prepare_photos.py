"""Preparation of photos: large image files are shrunk once, into a store on disk (`data.photo_store`)."""

import contextlib
import hashlib
import os
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from byol.data.decode import EncodedImages
from byol.data.image_folder import ImageFolder
from byol.data.photo_store import IMAGES, INDEX, RULE, PhotoStore, StoredPhotos, remove_store, stored_part
from byol.data.resident import MEMORY_LIMIT_BYTES
from byol.data.source import Image, ImageSource, SkippedImages, earlier_fingerprint, image_keys, whole
from byol.data.spec import DataSpec
from byol.errors import BrokenImageError
from byol.runtime.duration import in_words
from byol.runtime.hardware import num_cores
from byol.runtime.listener import SILENT, Listener
from byol.runtime.locks import one_at_a_time

VERSION = 2
"""Number that changes with the rule by which photos are shrunk."""
SAMPLED_HEADERS = 4096
"""Largest number of images whose headers are read to estimate the size of a store."""
FIRST_BLOCK, BLOCK = 16, 128
"""Number of images that are written together: in the first block, which is timed, and in later ones."""
FEWEST_PIXELS = 1e8
"""Smallest number of pixels in all images for which a store is made. Fewer are decoded in about a second."""
LIMIT_BYTES, LIMIT_SHARE = 20e9, 1 / 3
"""Default limit of all stores together: this size, or this fraction of the free disk if that is smaller."""
SPARED_BYTES = 1e9
"""Disk space that stays free."""
FOLDER = re.compile(r"[0-9a-f]{32}")
"""Name of the folder of a store."""


def shrink_photos(
    source: ImageSource,
    channels: int,
    side: int,
    spec: DataSpec,
    *,
    makes: bool = False,
    skipped: SkippedImages | None = None,
    listener: Listener = SILENT,
    most_seconds: float = float("inf"),
) -> ImageSource:
    """`source` with large image files shrunk to a short side of `side` px; `source` itself if `side` is 0 or it holds no files.

    Images that an earlier call stored are read from the cache that `spec` gives. With `makes` the others are stored, too,
    unless they can be kept in memory as they are, the cache or the disk has too little room, or it takes longer than
    `most_seconds`; the listener gets the reason. Broken images of the store go to `skipped`.
    """
    inner, places = whole(source)
    if not side or not isinstance(inner, EncodedImages):
        return source
    photos = StoredPhotos(source, channels, side)
    if spec.cache_limit == 0:
        return photos
    images = str(inner.root.resolve()) if type(inner) is ImageFolder else earlier_fingerprint(inner)
    about = (VERSION, images, channels, side, inner.max_pixels, inner.reading)
    folder = spec.photo_cache / hashlib.sha256(repr(about).encode(errors="backslashreplace")).hexdigest()[:32]
    if not (folder / INDEX).exists() and (not makes or _is_cheap(inner, channels)):
        return photos
    keys = [key.tobytes() for key in image_keys(inner)]
    preparation = _Preparation(photos, inner, places, [keys[place] for place in places], folder, spec, listener)
    if makes:
        preparation.make(set(keys), most_seconds)
    store = PhotoStore(folder, channels)
    if preparation.missing(store) is not None:
        photos.read_from(store, preparation.keys)
        with contextlib.suppress(OSError):
            os.utime(folder / INDEX)  # read as the time of the last use
    if skipped is not None:
        for index, reason in photos.broken.items():
            skipped.add(photos, index, reason)
    return photos


def is_worth_storing(source: ImageSource, spec: DataSpec) -> bool:
    """Whether a training would store the photos of `source`, a result of `shrink_photos`, if there is room."""
    photos, inner = stored_part(source), whole(source)[0]
    if photos is None or spec.cache_limit == 0 or not isinstance(inner, EncodedImages):
        return False
    return not _is_cheap(inner, photos.num_channels)


def _is_cheap(inner: EncodedImages, channels: int) -> bool:
    """Whether a store is not worth its disk: the images have one size and fit into memory as they are, or have few pixels.

    The headers of a sample decide.
    """
    sizes: set[tuple[int, int]] = set()
    pixels, sample = 0, _sample(np.arange(len(inner)))
    for index in sample:
        with contextlib.suppress(BrokenImageError):
            height, width = inner.dimensions(int(index))
            sizes.add((height, width))
            pixels += height * width
    pixels *= len(inner) / len(sample)
    return pixels < FEWEST_PIXELS or (len(sizes) == 1 and pixels * channels <= MEMORY_LIMIT_BYTES)


def _sample(indices: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.random.default_rng(0).permutation(indices)[:SAMPLED_HEADERS]


@dataclass
class _Preparation:
    """The photos of a source, and the place of their store."""

    photos: StoredPhotos
    inner: EncodedImages
    """The whole source of the photos."""
    places: NDArray[np.int64]
    """(N,) index of each photo in the whole source."""
    keys: list[bytes]
    """(N,) key of each photo."""
    folder: Path
    spec: DataSpec
    listener: Listener

    def missing(self, store: PhotoStore) -> dict[bytes, int] | None:
        """Index by key of the photos that are not in the store. None if its deep grey values followed another rule."""
        if RULE in store.about and store.about[RULE] != str(self.inner.number_format()):
            return None
        return {key: index for index, key in enumerate(self.keys) if key not in store}

    def make(self, live: set[bytes], most_seconds: float) -> None:
        """Stores the photos that are not in the store. `live`: keys of all images of the whole source."""
        channels = self.photos.num_channels
        if self.missing(PhotoStore(self.folder, channels)) == {}:
            return
        with one_at_a_time(self.folder, self._wait) as is_locked:
            if not is_locked:
                self._say_in_every_pass(f"{self.folder} cannot be written or locked")
                return
            store = PhotoStore(self.folder, channels)
            missing = self.missing(store)
            if missing is None or sum(map(store.size, live)) < store.end / 2:  # most images changed or are gone
                store.clear()
                missing = self.missing(store) or {}
            if missing and self._has_room(store, missing):
                self._fill(store, list(missing.items()), most_seconds)

    def _wait(self) -> None:
        self.listener.say("another process is storing these photos; waiting for it")

    def _say_in_every_pass(self, reason: str) -> None:
        self.listener.say(f"{reason}: photos are decoded in every pass, which is slower")

    def _has_room(self, store: PhotoStore, missing: dict[bytes, int]) -> bool:
        """Whether the photos fit into the limit and the disk. Stores that were not used for longest are removed for them."""
        needed, others = self._bytes(list(missing.values())), _other_stores(self.folder)
        held, free = sum(size for _, _, size in others), shutil.disk_usage(self.folder).free
        limit = self.spec.cache_limit
        limit_bytes = 1e9 * limit if limit is not None else min(LIMIT_BYTES, LIMIT_SHARE * (free + held + store.end))
        what = f"{len(missing):,} photos with a short side of at most {self.photos.side} px take {_gb(needed)}"
        if store.end + needed > limit_bytes:
            self._say_in_every_pass(f"{what}, more than --cache-limit allows ({_gb(limit_bytes)})")
            return False
        if free + held < needed + SPARED_BYTES:
            self._say_in_every_pass(f"{what}, and the disk of {self.folder.parent} has {_gb(free)} free")
            return False
        for _, folder, size in others:
            if held + store.end + needed <= limit_bytes and free >= needed + SPARED_BYTES:
                break
            self.listener.say(f"removing the stored photos of {PhotoStore(folder, 1).about.get(IMAGES, folder)}")
            remove_store(folder)
            held, free = held - size, free + size
        self.listener.say(f"{what}; they are decoded once and stored in {self.folder}")
        return True

    def _bytes(self, indices: list[int]) -> float:
        """Estimated bytes of the stored pixels of some photos, from the headers of a sample."""
        sizes: list[float] = []
        for index in _sample(np.array(indices)):
            with contextlib.suppress(BrokenImageError):
                height, width = self.inner.dimensions(int(self.places[index]))
                scale = min(1.0, self.photos.side / min(height, width))
                sizes.append(height * width * scale**2 * self.photos.num_channels)
        depth = 2 if self.inner.known_format is not None else 1
        return depth * float(np.mean(sizes)) * len(indices) if sizes else 0.0

    def _fill(self, store: PhotoStore, missing: list[tuple[bytes, int]], most_seconds: float) -> None:
        """Decodes and stores the photos, (key, index). A full disk ends it; what is stored by then stays."""
        start_time, done = time.monotonic(), 0
        pool = ThreadPoolExecutor(num_cores())
        try:
            while done < len(missing):
                block = missing[done : done + (BLOCK if done else FIRST_BLOCK)]
                images = pool.map(self._shrunk, [index for _, index in block])
                entries = [(key, image) for (key, _), image in zip(block, images, strict=True) if image is not None]
                store.append(entries, self._about())
                done += len(block)
                seconds = (time.monotonic() - start_time) / done * len(missing)
                if done == FIRST_BLOCK and seconds > most_seconds:
                    self.photos.in_every_pass = True
                    self._say_in_every_pass(
                        f"storing them would take {in_words(seconds)}, over a third of the time limit"
                    )
                    return
                left = in_words(seconds * (1 - done / len(missing)))
                self.listener.work(f"storing photos, {left} left", done, len(missing))
        except OSError as error:
            self._say_in_every_pass(f"{self.folder} cannot be written ({error.strerror or error})")
        finally:
            pool.shutdown(cancel_futures=True)

    def _about(self) -> dict[str, str]:
        """Description of the images, and the rule for deep grey values once such an image was read."""
        has_rule = self.inner.known_format is not None or self.inner.decided_by is not None
        rule = str(self.inner.number_format()) if has_rule else ""
        return {IMAGES: self.photos.description} | ({RULE: rule} if rule else {})

    def _shrunk(self, index: int) -> Image | str | None:
        """The shrunk photo, or the reason why it cannot be decoded. None if its file cannot be read now: it is tried again later."""
        try:
            return self.photos.read(index, self.photos.num_channels)
        except BrokenImageError as error:
            with contextlib.suppress(BrokenImageError):
                self.inner.content(int(self.places[index]))
                return str(error)
            return None


def _other_stores(folder: Path) -> list[tuple[float, Path, int]]:
    """(time of last use, folder, bytes) of the stores beside `folder`, the one that was not used for longest first."""
    stores: list[tuple[float, Path, int]] = []
    for other in folder.parent.iterdir():
        if FOLDER.fullmatch(other.name) and other != folder and (other / INDEX).exists():
            size = sum(path.stat().st_size for path in other.iterdir())
            stores.append(((other / INDEX).stat().st_mtime, other, size))
    return sorted(stores)


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"
