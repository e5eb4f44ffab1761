"""Images as the user named them."""

from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class DataSpec:
    """A folder, a file, an address or a data set by name, and where data sets by name lie."""

    data: str
    root: str = ""
    """Folder of the data sets by name. Default: ~/.cache/byol."""
    download: bool = False
    """Download a data set by name where torchvision can."""
    image_column: str = ""
    """Column of a table that holds the images. Default: the one that fits by type and name."""
    label_column: str = ""
    """Column of a table that holds the classes. Default: `label`, or another common name."""

    @property
    def folder(self) -> Path:
        """`root`, or its default."""
        return Path(self.root).expanduser() if self.root else Path.home() / ".cache" / "byol"

    def with_columns_of(self, other: "DataSpec") -> "DataSpec":
        """The same images, read by the columns that `other` names where none is named here."""
        image, label = self.image_column or other.image_column, self.label_column or other.label_column
        return replace(self, image_column=image, label_column=label)


NO_DATA = DataSpec("")
"""A specification that names nothing; all of it is by default."""


def as_spec(data: str | Path | DataSpec) -> DataSpec:
    """`data` itself where it is a DataSpec already."""
    return data if isinstance(data, DataSpec) else DataSpec(str(data))
