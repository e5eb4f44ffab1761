"""The options that many commands share."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from byol.data.spec import DataSpec

USAGE_ERROR = 2


@dataclass(frozen=True)
class DataPlace:
    """Where the data sets that are named, not given by path, lie."""

    data_root: str = ""
    """Folder that holds (or receives) the data sets by name. Default: ~/.cache/byol."""
    download: bool = False
    """Download a data set by name where torchvision can."""
    image_column: Annotated[str, tyro.conf.arg(name="data.image-column")] = ""
    """Column of a table that holds the images, where several could."""
    label_column: Annotated[str, tyro.conf.arg(name="data.label-column")] = ""
    """Column of a table that holds the classes, where it is not called label."""
    layout: str = ""
    """Order of the axes of an array: NHW, NHWC or NCHW. Default: by its shape, channels last."""
    max_megapixels: float = 250
    """Larger images count as broken: they fill the memory."""
    checked: str = ""
    """Report of `byol check-data --out`; the images that it found broken are left out."""

    def spec(self, data: str) -> DataSpec:
        """The images called `data`."""
        return DataSpec(
            data,
            self.data_root,
            self.download,
            image_column=self.image_column,
            label_column=self.label_column,
            layout=self.layout,
            max_megapixels=self.max_megapixels,
            checked=self.checked,
        )


Place = Annotated[DataPlace, tyro.conf.arg(name="")]
Device = Annotated[str, tyro.conf.arg(help="auto, or a torch device.")]
