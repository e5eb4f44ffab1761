"""Images as the user named them."""

from dataclasses import dataclass
from pathlib import Path

from byol.runtime.paths import cache_folder, user_path


@dataclass(frozen=True)
class DataSpec:
    """A folder, a file, an address or a data set by name, and where data sets by name lie."""

    data: str
    root: str = ""
    """Folder of the data sets by name. Default: ~/.cache/byol."""
    download: bool = False
    """Download a data set by name where torchvision can."""
    layout: str = ""
    """Order of the axes of an array: NHW, NHWC or NCHW. Default: by type and shape (`data.layout`)."""
    max_megapixels: float = 250
    """Larger images count as broken: they fill the memory."""
    checked: str = ""
    """Report of `byol check-data --out`; the images that it found broken are left out."""

    @property
    def folder(self) -> Path:
        """`root`, or its default."""
        return user_path(self.root) if self.root else cache_folder("")


def as_spec(data: str | Path | DataSpec) -> DataSpec:
    """`data` itself where it is a DataSpec already."""
    return data if isinstance(data, DataSpec) else DataSpec(str(data))
