"""The options that many commands share."""

from dataclasses import dataclass
from typing import Annotated

import tyro

USAGE_ERROR = 2


@dataclass(frozen=True)
class DataPlace:
    """Where the data sets that are named, not given by path, lie."""

    data_root: str = ""
    """Folder that holds (or receives) the data sets by name. Default: ~/.cache/byol."""
    download: bool = False
    """Download a data set by name where torchvision can."""


Place = Annotated[DataPlace, tyro.conf.arg(name="")]
Device = Annotated[str, tyro.conf.arg(help="auto, or a torch device.")]
