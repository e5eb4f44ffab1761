"""The data as the user specified it."""

from dataclasses import dataclass, replace
from pathlib import Path

from byol.errors import DataError
from byol.runtime.paths import cache_folder, user_path

PAGES = ("first", "bands", "images")


@dataclass(frozen=True)
class DataSpec:
    """A folder, a file, an address or the name of a data set, with the options for reading it."""

    data: str
    root: str = ""
    """Folder of the data sets that are given by name. Default: ~/.cache/byol."""
    download: bool = False
    """Download a data set given by name, if torchvision can."""
    image_column: str = ""
    """Column of a table with the images. Default: the one that fits by type and name."""
    label_column: str = ""
    """Column of a table with the classes. Default: `label`, or another common name."""
    layout: str = ""
    """Order of the axes of an array, or of the arrays of a folder: NHW, NHWC or NCHW. Default: by type and shape (`data.layout`)."""
    pages: str = ""
    """Pages of a TIFF or frames of a DICOM: `first` (default), all as `bands` of one image, or as `images` of their own."""
    range: str = ""
    """Values of images with more than 8 bits that become 0 and 1: LOW,HIGH, or percentiles of each band (1%,99%). Values beyond are clipped. Default: by the bits that are used."""
    max_megapixels: float = 250
    """Largest image, in megapixels. Larger ones count as broken, since they fill the memory."""
    checked: str = ""
    """Report of `byol check-data --out`; images that it calls broken are left out."""

    cache: str = ""
    """Folder of the stores of shrunk photos. Default: ~/.cache/byol/photos."""
    cache_limit: float | None = None
    """Largest size of all stores of shrunk photos together, in GB. 0: none is made or read. Default: a third of the free disk, at most 20 GB."""

    def __post_init__(self) -> None:
        if self.pages not in ("", *PAGES):
            raise DataError(f"--data.pages is {', '.join(PAGES[:-1])} or {PAGES[-1]}; found {self.pages!r}.")
        if self.range:
            from byol.data.number_format import parse_range  # imports numpy

            parse_range(self.range)
        if self.cache_limit is not None and not self.cache_limit >= 0:
            raise DataError(f"--cache-limit must be 0 or more, in GB; found {self.cache_limit}.")

    @property
    def photo_cache(self) -> Path:
        """`cache`, or its default."""
        return user_path(self.cache) if self.cache else cache_folder("photos")

    @property
    def folder(self) -> Path:
        """`root`, or its default."""
        return user_path(self.root) if self.root else cache_folder("")

    def with_cache_of(self, other: "DataSpec") -> "DataSpec":
        """A copy that takes the cache and its limit from `other` where they are not given here."""
        limit = other.cache_limit if self.cache_limit is None else self.cache_limit
        return replace(self, cache=self.cache or other.cache, cache_limit=limit)

    def read_as(self, other: "DataSpec") -> "DataSpec":
        """A copy that takes column names, layout and pages of `other` for those that are empty here."""
        names = ("image_column", "label_column", "layout", "pages")
        return replace(self, **{name: getattr(self, name) or getattr(other, name) for name in names})


NO_DATA = DataSpec("")
"""A specification without data, all of whose options are the defaults."""


def as_spec(data: str | Path | DataSpec) -> DataSpec:
    """`data` as a DataSpec with default options; a DataSpec is returned unchanged."""
    return data if isinstance(data, DataSpec) else DataSpec(str(data))
