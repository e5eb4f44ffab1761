"""Images as the user named them."""

from dataclasses import dataclass, replace
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
    image_column: str = ""
    """Column of a table that holds the images. Default: the one that fits by type and name."""
    label_column: str = ""
    """Column of a table that holds the classes. Default: `label`, or another common name."""
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

    def with_columns_of(self, other: "DataSpec") -> "DataSpec":
        """The same images, read by the columns that `other` names where none is named here."""
        image, label = self.image_column or other.image_column, self.label_column or other.label_column
        return replace(self, image_column=image, label_column=label)


NO_DATA = DataSpec("")
"""A specification that names nothing; all of it is by default."""


def as_spec(data: str | Path | DataSpec) -> DataSpec:
    """`data` itself where it is a DataSpec already."""
    return data if isinstance(data, DataSpec) else DataSpec(str(data))
