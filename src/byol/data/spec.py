"""Images as the user named them."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DataSpec:
    """A folder, a file, an address or a data set by name, and where data sets by name lie."""

    data: str
    root: str = ""
    """Folder of the data sets by name. Default: ~/.cache/byol."""
    download: bool = False
    """Download a data set by name where torchvision can."""

    @property
    def folder(self) -> Path:
        """`root`, or its default."""
        return Path(self.root).expanduser() if self.root else Path.home() / ".cache" / "byol"


def as_spec(data: str | Path | DataSpec) -> DataSpec:
    """`data` itself where it is a DataSpec already."""
    return data if isinstance(data, DataSpec) else DataSpec(str(data))
