"""The model card of an export: README.md with the front matter that Hugging Face reads."""

import json
import re
from typing import Any

from byol.encoder.classifier import CLASSIFIER, ClassifierDescription
from byol.encoder.encoder import EncoderDescription
from byol.runtime.words import counted

NOT_CHOSEN = "not chosen"
"""Licence of weights for which none was set."""
PRETRAINED = "pretrained without labels by BYOL (Bootstrap Your Own Latent)"
"""Description of the training, for encoders whose provenance has none."""
CITATION = """\
    @inproceedings{grill2020bootstrap,
      title = {Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning},
      author = {Grill, Jean-Bastien and Strub, Florian and Altch{\\'e}, Florent and Tallec, Corentin and others},
      booktitle = {Advances in Neural Information Processing Systems},
      year = {2020}
    }
"""


def model_card(
    title: str,
    description: EncoderDescription,
    snippet: str,
    checked: str,
    library: str,
    classes: ClassifierDescription | None = None,
) -> str:
    """Text of README.md.

    `snippet`: Python code that loads the export; `checked`: a sentence about the comparison with PyTorch; `library`: the
    library that loads the export; `classes`: the classes of a classifier.
    """
    provenance = description.provenance
    licence = provenance.get("licence") or NOT_CHOSEN
    plain = re.fullmatch(r"[\w.+-]+", licence)
    named = (
        f"license: {licence.lower() if plain else json.dumps(licence.lower())}"
        if licence != NOT_CHOSEN
        else "license: other\nlicense_name: not-chosen"
    )
    front = ["---", named, f"library_name: {library}"]
    front += [f"pipeline_tag: image-{'feature-extraction' if classes is None else 'classification'}"]
    front += ["tags:", "- byol", "- self-supervised-learning", "---"]
    sections = [
        "\n".join(front),
        f"# {title}",
        _summary(description) + (" No classifier." if classes is None else ""),
        *([] if classes is None else ["## Classes\n\n" + _classes(classes)]),
        "## Use\n\n```python\n" + snippet + "```",
        f"Checked when this was written: {checked}",
        "## Preprocessing\n\n" + _preprocessing(description, "encoder.json" if classes is None else CLASSIFIER),
        "## Training\n\n" + _training(provenance),
        "## Metrics\n\n" + _metrics(provenance),
        "## Licence\n\n" + _licence(licence, provenance),
        "## Citation\n\n" + CITATION.rstrip(),
    ]
    return "\n\n".join(sections) + "\n"


def _summary(d: EncoderDescription) -> str:
    changed = {"width": 1.0, "stem": "auto", "conventions": "torch", "channels": (), "stem_channels": 0}
    special = [f"{k} {v}" for k, v in d.settings.items() if k in changed and v and v != changed[k]]
    name = f"{d.name or 'A module of its own'}{' (' + ', '.join(special) + ')' if special else ''}"
    return (
        f"An image encoder {d.provenance.get('how', PRETRAINED)}: {name}, "
        f"{counted(d.in_channels, 'channel')}, {d.image_size} x {d.image_size} pixels, "
        f"{d.num_features} features per image."
    )


def _classes(about: ClassifierDescription) -> str:
    held = "a held-out fifth" if about.fit["finetuned"] else "cross-validation"
    found = "{value:.1f} [{low:.1f}, {high:.1f}]".format(**about.fit["held_out"]["accuracy"])
    what = "The sigmoid of a logit" if about.several else "The softmax of the logits"
    return (
        f"{', '.join(about.classes)}. {what} is a calibrated probability. In {held} of {about.fit['data']['num_images']:,} "
        f"labelled images {found} % of the guesses were right. Name a class above a probability of {about.threshold:.3f} only: at "
        f"most {about.fit['most_wrong']:g} % of the names are then expected to be wrong, on images like the labelled ones."
    )


def _preprocessing(d: EncoderDescription, file: str) -> str:
    centre = "The central square of 7/8 of the short side"
    if d.image_size <= 96:
        centre += " (of images of at most 96 px: of the whole short side)"
    antialias = (
        "With antialiasing where it shrinks, as Pillow's `BICUBIC`."
        if d.antialias
        else "Without antialiasing: Pillow's `BICUBIC` is the same where it enlarges, and antialiases where it shrinks, "
        "which changes the features somewhat."
    )
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (d.mean, d.std))
    deep = f" Stored with more than 8 bits: {d.number_format}." if d.number_format else ""
    return (
        f"Pixels as floats in [0, 1].{deep} {centre}, resized to {d.image_size} x {d.image_size} (bicubic, a = -0.5); minus mean "
        f"({mean}), divided by standard deviation ({std}). {antialias} `{file}` holds the same for programs."
    )


def _training(provenance: dict[str, Any]) -> str:
    facts = provenance.get("training") or {}
    return "\n".join(f"- {name}: {value}" for name, value in facts.items()) or "Not recorded."


def _metrics(provenance: dict[str, Any]) -> str:
    rows = provenance.get("metrics") or []
    if not rows:
        return "None were recorded with the run."
    lines = ["| protocol | test images | result (95 % interval) |", "| --- | --- | --- |"]
    for row in rows:
        interval = f" [{row['low']:.1f}, {row['high']:.1f}]" if "low" in row else ""
        lines.append(f"| {row['protocol']} | {row['test']} | {row['value']:.1f}{interval} |")
    return "\n".join(lines)


def _licence(licence: str, provenance: dict[str, Any]) -> str:
    if licence == NOT_CHOSEN:
        return (
            "No licence was chosen for these weights (`byol export --licence` sets it). The images they were trained on may "
            "limit the choice."
        )
    return f"{licence}{' (' + provenance['licence_source'] + ')' if provenance.get('licence_source') else ''}"
