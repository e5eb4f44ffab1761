"""Places like a chosen one: the same colour in other images, bounded cells, what is read so far, and refusals."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from byol.data.image_folder import ImageFolder
from byol.encoder.encoder import Encoder, EncoderDescription
from byol.errors import EncoderError
from byol.evaluate.handcrafted import Handcrafted
from byol.explore import places
from byol.explore.places import Places
from tests.unit.explore.coloured_library import CPU
from tests.unit.masked import masked_picture, write_masked

COUNT = 20


def hog(module: nn.Module | None = None) -> Encoder:
    return Encoder(module or Handcrafted(), EncoderDescription(None, {}, 100, 3, 48, (0.0,) * 3, (1.0,) * 3, True))


def some_places(folder: Path, encoder: Encoder | None = None) -> Places:
    source = ImageFolder(write_masked(folder, COUNT) / "images", cache=None)
    return Places(encoder or hog(), source, torch.arange(COUNT), CPU)


def middle(image: int, label: int) -> tuple[float, float]:
    """Fractions (x, y) of the middle of the area of a class."""
    rows, columns = np.nonzero(masked_picture(image)[1] == label)
    return (columns.min() + columns.max() + 1) / 2 / 64, (rows.min() + rows.max() + 1) / 2 / 48


@pytest.mark.parametrize("label", [1, 2])
def test_the_same_colour_is_found_in_every_other_image(tmp_path: Path, label: int) -> None:
    search = some_places(tmp_path)
    x, y = middle(3, label)
    first = search.find(3, x, y, COUNT)
    assert (first.places[0].image, first.wanted) == (3, COUNT)
    assert (first.places[0].row, first.places[0].column) == (int(6 * y), int(8 * x))
    search.wait()
    found = search.find(3, x, y, COUNT)
    assert found.read == found.wanted == COUNT and len(found.places) == COUNT
    assert all(place.ratio == 64 / 48 for place in found.places)
    assert sorted(place.image for place in found.places) == list(range(COUNT))
    assert all(
        one.similarity >= other.similarity for one, other in zip(found.places[1:], found.places[2:], strict=False)
    )
    right = [masked_picture(p.image)[1][8 * p.row : 8 * p.row + 8, 8 * p.column : 8 * p.column + 8] == label for p in found.places]  # fmt: skip
    assert sum(part.mean() > 0.3 for part in right) >= 0.9 * COUNT
    assert all(float(place.cosines.max()) == pytest.approx(place.similarity, abs=1e-5) for place in found.places)


def test_images_and_cells_are_bounded_and_a_chosen_image_is_always_read(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(places, "MOST_IMAGES", 6)
    monkeypatch.setattr(places, "MOST_CELLS", 12)
    search = some_places(tmp_path)
    other = next(image for image in range(COUNT) if image not in search.chosen)
    search.find(other, 1, 1, COUNT)
    search.wait()
    found = search.find(other, 1, 1, COUNT)
    assert (found.read, found.wanted, len(found.places)) == (6, 6, 7) and found.places[0].image == other
    assert {tuple(place.cosines.shape) for place in found.places} == {(3, 4)}
    assert (found.places[0].row, found.places[0].column) == (2, 3)
    assert len(search.find(other, 0.5, 0.5, 2).places) == 3


def test_images_that_are_gone_are_left_out(tmp_path: Path) -> None:
    search = some_places(tmp_path)
    for number in (1, 2):
        (tmp_path / "images" / f"{number:03d}.png").unlink()
    search.find(0, 0.5, 0.5, 5)
    search.wait()
    found = search.find(0, 0.5, 0.5, COUNT)
    assert {place.image for place in found.places} == set(range(COUNT)) - {1, 2}
    with pytest.raises(Exception, match="can no longer be read"):
        search.find(1, 0.5, 0.5, 5)


def test_an_encoder_without_maps_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="Flatten gives no feature maps"):
        some_places(tmp_path, hog(nn.Flatten())).find(0, 0.5, 0.5, 5)
