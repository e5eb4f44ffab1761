"""Options that several commands share."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from byol.data.spec import DataSpec

USAGE_ERROR = 2


@dataclass(frozen=True)
class DataPlace:
    """Location of data sets that are given by name."""

    data_root: str = ""
    """Folder of the data sets that are given by name; downloads go there. Default: ~/.cache/byol."""
    download: bool = False
    """Download a data set given by name, if torchvision can."""

    def spec(self, data: str) -> DataSpec:
        """The data that `data` names, looked for in this location."""
        return DataSpec(data, self.data_root, self.download)


Place = Annotated[DataPlace, tyro.conf.arg(name="")]
Device = Annotated[
    str, tyro.conf.arg(help="Torch device, such as cuda:1. auto: cuda if available, else mps, else cpu.")
]
