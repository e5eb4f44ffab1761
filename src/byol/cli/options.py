"""Options that several commands share."""

import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from byol.data.spec import DataSpec

USAGE_ERROR = 2


@dataclass(frozen=True)
class DataPlace:
    """Location of data sets that are given by name, columns of tables, and the cache of shrunk photos."""

    data_root: str = ""
    """Folder of the data sets that are given by name; downloads go there. Default: ~/.cache/byol."""
    download: bool = False
    """Download a data set given by name, if torchvision can."""
    image_column: Annotated[str, tyro.conf.arg(name="data.image-column")] = ""
    """Column of a table with the images, if several columns have images."""
    label_column: Annotated[str, tyro.conf.arg(name="data.label-column")] = ""
    """Column of a table with the classes, if its name is not label."""
    layout: str = ""
    """Order of the axes of an array, or of the arrays of a folder: NHW, NHWC or NCHW. Default: by its shape, channels last."""
    pages: Annotated[str, tyro.conf.arg(name="data.pages")] = ""
    """Pages of a TIFF or frames of a DICOM: first, all as bands of one image, or as images of their own. Default: first."""
    value_range: Annotated[str, tyro.conf.arg(name="data.range")] = ""
    """Values of images with more than 8 bits that become 0 and 1: LOW,HIGH, or percentiles of each band (1%,99%). Default: by the bits that are used."""
    max_megapixels: float = 250
    """Largest image, in megapixels. Larger ones count as broken, since they fill the memory."""
    checked: str = ""
    """Report of `byol check-data --out`; images that it calls broken are left out."""

    cache: str = ""
    """Folder of the shrunk photos that are kept, so that large photos are decoded once. Default: ~/.cache/byol/photos."""
    cache_limit: float | None = None
    """Largest size of that folder, in GB; the photos of data sets that were not used for longest are removed first. 0: nothing is kept. Default: a third of the free disk, at most 20."""

    def spec(self, data: str) -> DataSpec:
        """The data that `data` names, looked for in this location."""
        return DataSpec(
            data,
            self.data_root,
            self.download,
            image_column=self.image_column,
            label_column=self.label_column,
            layout=self.layout,
            pages=self.pages,
            range=self.value_range,
            max_megapixels=self.max_megapixels,
            checked=self.checked,
            cache=self.cache,
            cache_limit=self.cache_limit,
        )


def open_page(path: Path) -> None:
    """Opens a page in the browser."""
    webbrowser.open(path.resolve().as_uri())


Place = Annotated[DataPlace, tyro.conf.arg(name="")]
Device = Annotated[
    str, tyro.conf.arg(help="Torch device, such as cuda:1. auto: cuda if available, else mps, else cpu.")
]
EncoderName = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="ENCODER")]
RunName = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
Commands = dict[str, tuple[type, Callable[[Any], int]]]
"""Options and function of each command, by its word on the command line."""
