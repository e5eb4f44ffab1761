"""The card of a data set from the Hugging Face Hub: a README.md whose front matter may name the files of each part."""

from pathlib import Path
from typing import Any

from byol.errors import DataError

MAX_CARD_BYTES = 1 << 20
Named = list[tuple[str, Path]]


def read_card(folder: Path) -> Named:
    """(name of the part, file or folder) pairs that the card's configuration names; empty if there is no such card.

    If there are several configurations, the default one counts. Raises DataError if none of them is the default.
    """
    configurations = {
        name: named for name, named in _configurations(folder).items() if any(path.exists() for _, path in named)
    }
    if len(configurations) <= 1:
        return next(iter(configurations.values()), [])
    if "default" not in configurations:
        places = sorted({str(path.parent) for named in configurations.values() for _, path in named})
        raise DataError(
            f"{folder / 'README.md'} names {len(configurations)} configurations ({', '.join(configurations)}), and none is the default. "
            f"Name a folder or file of one of them, in {', '.join(places[:5])}."
        )
    return configurations["default"]


def _configurations(folder: Path) -> dict[str, Named]:
    configurations: dict[str, Named] = {}
    for entry in _front_matter(folder / "README.md").get("configs") or []:
        try:
            name = "default" if entry.get("default") else str(entry.get("config_name", "default"))
            files = entry.get("data_files") or []
            parts = [file for file in files if isinstance(file, dict)] if isinstance(files, list) else []
            configurations[name] = [
                (str(part["split"]), path)
                for part in parts
                for pattern in ([part["path"]] if isinstance(part["path"], str) else part["path"])
                for path in _matching(folder / str(entry.get("data_dir") or ""), str(pattern))
                if path.resolve().is_relative_to(folder.resolve())
            ]
        except (AttributeError, KeyError, TypeError, ValueError, NotImplementedError):  # pathlib: an absolute pattern
            continue
    return configurations


def _front_matter(card: Path) -> dict[str, Any]:
    """The YAML between the card's first two lines of dashes; empty if there is none."""
    import yaml  # timm requires it, too

    try:
        with card.open(encoding="utf-8", errors="replace") as stream:
            text = stream.read(MAX_CARD_BYTES)
        parts = text.split("---", 2)
        content = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0].strip() else {}
    except (OSError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _matching(folder: Path, pattern: str) -> list[Path]:
    """Parquet and tar files that match; without any, the folder of a pattern of images, such as `train/**`."""
    files = sorted(file for file in folder.glob(pattern) if file.suffix.lower() in (".parquet", ".tar"))
    plain = [part for part in Path(pattern).parts if "*" not in part and "?" not in part and "[" not in part]
    place = folder.joinpath(*plain)
    return files or ([place] if plain and place.is_dir() else [])
