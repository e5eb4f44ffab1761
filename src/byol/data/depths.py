"""Images with a depth of every pixel, in metres: PNG of 16 bits, or arrays and TIFF of floats."""

import io
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from PIL import Image as PillowImage

from byol.data.paired import PairedImages, PairedSplits, Pairs, Values, find_pairs, held_out_fifth
from byol.data.spec import DataSpec
from byol.errors import DataError

DEPTHS = Values("depths", "depth map", ("depth", "depths", "depth_map", "label"))
MILLIMETRES = 1000.0
"""Default number of units in a metre of whole numbers."""
FARTHEST = 1000.0
"""Largest depth, in metres, that is believed."""
LOOKED_AT = 8
"""Number of images whose depths are looked at to tell what was taken."""


class DepthImages(PairedImages):
    """Images with a depth map each."""

    form = DEPTHS

    def __init__(
        self, pairs: Pairs, scale: float, indices: NDArray[np.int64] | None = None, description: str = ""
    ) -> None:
        super().__init__(pairs, indices, description)
        self.scale = scale

    def _with(self, pairs: Pairs, indices: NDArray[np.int64], description: str) -> "DepthImages":
        return DepthImages(pairs, self.scale, indices, description)

    def depth(self, index: int) -> NDArray[np.float32]:
        """(H, W) depth in metres of every pixel of the upright image; 0 where it is not known.

        Zero, negative and not finite values are not known. Raises DataError if the file cannot be read, has another size than
        its image, holds colours, or depths beyond 1,000 m.
        """
        values = self._values(index)
        where = self.place_of_values(index)
        if values.ndim != 2:
            raise DataError(f"{where} has the shape {values.shape}; a depth map has one number for each pixel.")
        self.require_size(index, values.shape)
        metres = values.astype(np.float32) / self.units(values.dtype, where)
        known = np.isfinite(metres) & (metres > 0)
        metres = np.where(known, metres, np.float32(0))
        if (farthest := float(metres.max(initial=0))) > FARTHEST:
            raise DataError(
                f"{where} holds depths up to {farthest:,.0f} m at {self.units(values.dtype, where):g} units in a metre. State the unit with --depth.scale, "
                "such as 1000 for millimetres."
            )
        return metres

    def units(self, dtype: Any, where: str) -> float:
        """Number of units in a metre of values of this type: `scale`, else 1,000 for whole numbers and 1 for floats."""
        if self.scale:
            return self.scale
        if np.dtype(dtype).itemsize == 1:
            raise DataError(
                f"{where} holds numbers of 8 bits, whose unit cannot be told. State it with --depth.scale, the number of units in a metre."
            )
        return MILLIMETRES if np.issubdtype(dtype, np.integer) else 1.0

    def _values(self, index: int) -> NDArray[Any]:
        content = self.values(index)
        try:
            if content.startswith(npy.MAGIC_PREFIX):
                values = npy.read_array(io.BytesIO(content), allow_pickle=False)
                return values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values
            with PillowImage.open(io.BytesIO(content)) as opened:
                return np.asarray(opened)
        except Exception as error:  # whatever Pillow's plugins and numpy raise
            raise DataError(f"The depth map {self.place_of_values(index)} cannot be read ({error or type(error).__name__}).") from error  # fmt: skip


def open_depths(spec: DataSpec, test_data: str = "", *, scale: float = 0.0, seed: int = 0) -> PairedSplits[DepthImages]:
    """Opens images and depths in their parts: folders `images` and `depths` with the same names, in each part or around the parts,
    or parquet with a column of either.

    `scale`: units in a metre; 0: 1,000 for whole numbers, 1 for floats. Without a test part a fifth of the images is held
    out by the seed. Raises DataError if folders, images or depths are missing, or for a negative scale.
    """
    if not scale >= 0:
        raise DataError(f"--depth.scale is the number of units in a metre, above 0; found {scale:g}.")
    found = find_pairs(spec, DEPTHS, test_data)
    train = DepthImages(found.train, scale)
    if found.test is None:
        return held_out_fifth(train, seed)
    return PairedSplits(train, DepthImages(found.test, scale), found.validation)


def tell_depths(source: DepthImages) -> str:
    """The unit that was taken and the depths that it gives, in words. Raises DataError if a depth map cannot be used."""
    looked_at = np.unique(np.linspace(0, len(source) - 1, LOOKED_AT).astype(int))
    known = np.concatenate([depth[depth > 0] for depth in map(source.depth, looked_at.tolist())])
    units = source.units(source._values(0).dtype, source.place_of_values(0))
    unit = f"{units:g} units are a metre" + ("" if source.scale else " (--depth.scale states another)")
    if not len(known):
        return f"{source.description}: {unit}; no depth is known in the {len(looked_at)} that were looked at"
    low, middle, high = np.quantile(known, (0.01, 0.5, 0.99))
    return f"{source.description}: {unit}; depths from {low:.3g} to {high:.3g} m, median {middle:.3g} m"
