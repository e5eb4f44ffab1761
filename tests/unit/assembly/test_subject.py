"""Encoders and images by what names them."""

from pathlib import Path

import numpy as np
import pytest

from byol.assembly.subject import open_subject, trained_images
from byol.data.arrays import ArrayImages
from byol.errors import ByolError, DataError, EncoderError, RunError


def test_images_must_be_named_where_no_run_tells_them(tmp_path: Path) -> None:
    with pytest.raises(ByolError, match="Give them with --data"):
        trained_images(str(tmp_path))


def test_hog_refuses_many_channels() -> None:
    with pytest.raises(EncoderError, match=r"at most 4 channels; .* has 5\. Use statistics instead"):
        open_subject("hog", ArrayImages(np.zeros((20, 24, 24, 5), dtype=np.uint8)))


@pytest.mark.parametrize(("name", "error"), [("runs/nowhere", RunError), ("pixels", DataError)])
def test_images_of_what_is_no_run_are_asked_for(name: str, error: type[ByolError]) -> None:
    with pytest.raises(error, match="There is no folder runs/nowhere" if name != "pixels" else "Give them with --data"):
        trained_images(name)
