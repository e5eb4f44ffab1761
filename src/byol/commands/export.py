"""Export of an encoder to a folder that other tools can load, checked against the original encoder."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import nn

from byol.commands.provenance import provenance_of_run
from byol.encoder.classifier import Classifier, is_classifier, load_classifier
from byol.encoder.encoder_file import ONNX_WEIGHTS, load_encoder
from byol.errors import ConfigError, EncoderError
from byol.export.card import model_card
from byol.export.classifier_writers import CLASSIFIER_WRITERS
from byol.export.writers import WRITERS, write_onnx_folder
from byol.runtime.files import new_folder, write_atomically
from byol.runtime.paths import user_path

Kind = Literal["timm", "torchvision", "safetensors", "onnx", "hub", "detectron2"]


@dataclass(frozen=True)
class Export:
    """An export on disk."""

    path: Path
    snippet: str
    """Python code that loads the export."""
    checked: str
    """Result of the check, in one sentence."""
    notes: tuple[str, ...] = ()
    """Remarks for the user, one line each."""


def export_encoder(
    run: str | Path,
    to: Kind,
    out: str | Path,
    *,
    licence: str = "",
    maps: bool = False,
    stage: int = 0,
    module: nn.Module | None = None,
) -> Export:
    """Writes the encoder of a run, or of any folder that `byol.load` reads, in the format of another tool, with a model card.

    The folder of a classifier is written with its head and classes. `maps`: an ONNX file gets the maps of `stage`, a number as
    in `Encoder.maps`, as its second output.

    `module`: as for `byol.load`, if the user built the encoder. Raises EncoderError if the tool has no equal architecture, or
    if the written encoder gives different features; RunError if `out` is not empty; DependencyError if a library is missing.
    """
    run, out = user_path(run), user_path(out)
    if to not in WRITERS:
        raise ConfigError(f"--to must be one of {', '.join(WRITERS)}; found {to!r}.")
    if (maps or stage) and to != "onnx":
        raise ConfigError(f"--maps and --stage are for --to onnx; byol.load gives the maps of {to}.")
    if stage and not maps:
        raise ConfigError("--stage is the stage of the maps; add --maps.")
    if len(licence.splitlines()) > 1:
        raise ConfigError("--licence must be one line, the name of a licence.")
    encoder = load_classifier(run, module) if is_classifier(run) else load_encoder(run, module)
    if (run / ONNX_WEIGHTS).exists():
        raise EncoderError(f"{run} is an ONNX export, which cannot be converted again. Export from the run itself.")
    classes = encoder.about if isinstance(encoder, Classifier) else None
    own = provenance_of_run(run, encoder.fingerprint()) if classes is None else classes.provenance
    provenance = {**encoder.description.provenance, **own}
    if licence:
        provenance["licence"] = licence
        provenance.pop("licence_source", None)
    encoder.description = dataclasses.replace(encoder.description, provenance=provenance)
    with new_folder(out) as writing:
        if isinstance(encoder, Classifier):
            written = CLASSIFIER_WRITERS[to](encoder, writing)
        else:
            written = write_onnx_folder(encoder, writing, stage) if maps else WRITERS[to](encoder, writing)
        title = encoder.description.name or "An encoder with its own architecture"
        snippet = written.snippet(out.name)
        card = model_card(title, encoder.description, snippet, written.checked, written.library, classes)
        write_atomically(writing / "README.md", card.encode(errors="backslashreplace"))
    return Export(out, written.snippet(str(out)), written.checked, written.notes)
