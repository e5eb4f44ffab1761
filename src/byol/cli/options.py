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

    def spec(self, data: str) -> DataSpec:
        """The images called `data`."""
        return DataSpec(data, self.data_root, self.download, self.image_column, self.label_column)


Place = Annotated[DataPlace, tyro.conf.arg(name="")]
Device = Annotated[str, tyro.conf.arg(help="auto, or a torch device.")]
