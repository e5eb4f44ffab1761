"""The vectors of all images, written to a file."""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

from byol.commands.subject import open_subject
from byol.data.open import open_source
from byol.data.public import Split
from byol.data.source import SkippedImages
from byol.errors import ConfigError
from byol.evaluate.embedding import check_format, write_embedding
from byol.evaluate.features import extract
from byol.runtime.hardware import choose_device


def embed(
    run: str | Path,
    data: str,
    out: str | Path,
    *,
    split: Split = "train",
    root: str = "",
    download: bool = False,
    device: str = "auto",
    say: Callable[[str], None] = lambda line: None,
    show: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[int, list[tuple[str, str]]]:
    """Writes the vectors of all images to `out` (.parquet or .npz); returns their number, and (name, reason) of those skipped.

    `run`: what `open_subject` takes, a run directory or `timm:resnet18:pretrained`, say. `say` is told of files that are left out.

    Raises ConfigError for a split other than train and test.
    """
    if split not in get_args(Split):
        raise ConfigError(f"There is no split {split!r}; there are {' and '.join(get_args(Split))}.")
    check_format(Path(out))
    chosen = choose_device(device)
    source = open_source(data, split, root=root, download=download, labelled=True, say=say)
    encoder = open_subject(str(run), source).encoder.to(chosen)
    skipped = SkippedImages()
    features = extract(encoder, source, encoder.description.in_channels, chosen, skipped=skipped, show=show)
    write_embedding(Path(out), features, source)
    return len(features.vectors), skipped.reasons
