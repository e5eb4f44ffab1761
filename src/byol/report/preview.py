"""Preview of the views before a training: a picture, a description of each view, and warnings."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image as PillowImage

from byol.assembly.settings import Asked, resolve
from byol.assembly.views import plain_views
from byol.config import validate
from byol.data.prepare_photos import shrink_photos
from byol.data.profile import profile
from byol.data.source import Image, ImageSource, SkippedImages
from byol.data.spec import NO_DATA
from byol.data.things import find_things
from byol.errors import DataError
from byol.report.proposal import Proposal, proposal
from byol.report.suitability import view_warnings
from byol.report.tile import mosaic
from byol.report.view_grid import ViewGrid, partners_of, readable, view_grid
from byol.runtime.files import write_atomically

SMALLEST_TILE = 96
"""Smallest side of an image in the picture, in pixels. Smaller ones are enlarged."""


@dataclass(frozen=True)
class Preview:
    """The content that `byol preview` shows."""

    grid: ViewGrid
    size: int
    """Side of a view in pixels."""
    warnings: list[str]
    proposal: Proposal | None = None
    """The recipe whose views suit the images, where they are not photographs."""
    pairs: str = ""
    """One sentence on the things that views T and T' are of; empty where both are of one image."""

    def picture(self) -> Image:
        """The picture, (H, W, 3): one row per image, which shows the image, then its views T and T' in turn."""
        side = self.grid.tiles[0].shape[0]
        times = max(1, -(-SMALLEST_TILE // side))
        tiles = [pixels.repeat(times, axis=0).repeat(times, axis=1) for pixels in self.grid.tiles]
        return mosaic(tiles, self.grid.columns, gap=4)

    def save(self, path: Path) -> None:
        """Writes the picture as PNG. Raises DataError if the name does not end in .png, or if its folder does not exist."""
        if path.suffix.lower() != ".png":
            raise DataError(f"{path} must end in .png.")
        if not path.parent.is_dir():
            raise DataError(f"The folder {path.parent} does not exist; make it, or choose another --out.")
        stream = io.BytesIO()
        PillowImage.fromarray(self.picture()).save(stream, "PNG", optimize=True)
        write_atomically(path, stream.getvalue())

    def lines(self) -> list[str]:
        """Lines that describe the operations of each view, image by image."""
        width, lines = self.grid.columns, []
        for row in range(self.grid.rows):
            words = self.grid.words[row * width : (row + 1) * width]
            lines += [words[0], *(f"  {what}" for what in words[1:])]
        return lines


def preview(
    source: ImageSource, asked: Asked, *, rows: int = 6, draws: int = 3, channels: Sequence[int] = ()
) -> Preview:
    """The preview of `rows` random images of `source`, with the views of the first `draws` steps and the config's seed.

    `channels`: those that are shown, counted from 1 (`display`). Raises DataError if no image can be decoded, or as
    `find_things` does.
    """
    validate(asked.config)
    if rows < 1 or draws < 1:
        raise DataError(f"The preview needs at least 1 row and 1 draw; found {rows} rows and {draws} draws.")
    things = find_things(source, asked.config.views.pairs)
    data_profile = profile(source, SkippedImages())
    fewest = replace(asked.config, batch_size=min(asked.config.batch_size, len(source)), micro_batch_size=0)
    resolved = resolve(asked, data_profile, len(source), trial=fewest, epochs_are_final=False).config
    short_side = resolved.views.decode_short_side
    source = shrink_photos(source, data_profile.channels, resolved.views.stored_side, NO_DATA)
    shape = data_profile.channels, short_side
    images, indices = readable(source, shape[0], rows, 20 * rows, seed=resolved.seed, short_side=short_side)
    names = [source.name(index) for index in indices]
    partners = partners_of(source, indices, things, resolved.seed, draws, *shape) if things else ()
    grid = view_grid(plain_views(resolved), images, names, draws=draws, channels=channels, partners=partners)
    warnings = [*data_profile.notes, *view_warnings(resolved, data_profile)]
    words = things.words if things else ""
    return Preview(grid, resolved.views.size, warnings, proposal(source, data_profile.channels), words)
