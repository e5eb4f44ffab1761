"""Encoders and images by what names them."""

from pathlib import Path

import numpy as np
import pytest

from byol.assembly.subject import open_subject, trained_images
from byol.data.arrays import ArrayImages
from byol.errors import ByolError, EncoderError


def test_images_must_be_named_where_no_run_tells_them(tmp_path: Path) -> None:
    with pytest.raises(ByolError, match="Give them with --data"):
        trained_images(str(tmp_path))


def test_hog_refuses_many_channels() -> None:
    with pytest.raises(EncoderError, match=r"at most 4 channels; .* has 5\. Use pixels instead"):
        open_subject("hog", ArrayImages(np.zeros((20, 24, 24, 5), dtype=np.uint8)))
