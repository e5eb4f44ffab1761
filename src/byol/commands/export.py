"""From a run to a folder that other tools read, checked against the encoder it came from."""

import copy
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from byol.build_networks import method_parts
from byol.config import Config, from_dict, overrides
from byol.errors import ByolError, ConfigError, EncoderError
from byol.evaluate.results import read_results
from byol.export import snippet
from byol.export.backbone import TOLERANCE, TimmBackbone, find_backbone, load_checked, relative_difference
from byol.export.card import model_card
from byol.export.encoder_file import (
    ONNX_WEIGHTS,
    PLAIN_WEIGHTS,
    Encoder,
    EncoderDescription,
    load_encoder,
    read_description,
    run_of,
    save_encoder,
    write_description,
)
from byol.recipes import recipe
from byol.runtime import checkpoint
from byol.runtime.record import new_folder, read_json, write_atomically, write_json
from byol.views.evaluation import CENTRE

Kind = Literal["timm", "torchvision", "safetensors", "onnx", "hub"]
CHECKED_BATCHES = (1, 2, 5)
TITLES = {"simclr": "SimCLR", "simsiam": "SimSiam", "infonce": "BYOL with negatives (InfoNCE)"}


@dataclass(frozen=True)
class Export:
    """A written export."""

    path: Path
    snippet: str
    """Python that loads it."""
    checked: str
    """What was compared, in a sentence."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Written:
    """What a writer of one kind tells the card."""

    snippet: Callable[[str], str]
    checked: str
    library: str
    notes: tuple[str, ...] = ()


def export_encoder(
    run: str | Path, to: Kind, out: str | Path, *, licence: str = "", module: nn.Module | None = None
) -> Export:
    """Writes the encoder of a run, or of any folder that `byol.load` reads, for another tool, with a model card.

    `module`: as for `byol.load`, for an encoder of one's own. Raises EncoderError where the tool has no equal network
    or the written one gives other features, RunError where `out` holds something, DependencyError without the extra.
    """
    run, out = Path(run), Path(out)
    if to not in WRITERS:
        raise ConfigError(f"--to is one of {', '.join(WRITERS)}; found {to!r}.")
    if len(licence.splitlines()) > 1:
        raise ConfigError("--licence is one line, the name of a licence.")
    encoder = load_encoder(run, module)
    if (run / ONNX_WEIGHTS).exists():
        raise EncoderError(f"{run} is an ONNX export, which cannot be turned back. Export from the run itself.")
    provenance = {**encoder.description.provenance, **_provenance(run, encoder.fingerprint())}
    if licence:
        provenance["licence"] = licence
        provenance.pop("licence_source", None)
    encoder.description = dataclasses.replace(encoder.description, provenance=provenance)
    with new_folder(out) as writing:
        written = WRITERS[to](encoder, writing)
        title = encoder.description.name or "An encoder of its own"
        card = model_card(title, encoder.description, written.snippet(out.name), written.checked, written.library)
        write_atomically(writing / "README.md", card.encode(errors="backslashreplace"))
    return Export(out, written.snippet(str(out)), written.checked, written.notes)


def _write_safetensors(encoder: Encoder, folder: Path) -> _Written:
    save_encoder(folder, encoder.module, encoder.description)
    difference = _difference(load_encoder(folder, _empty(encoder)).module, encoder)
    return _Written(
        lambda out: snippet.byol_snippet(out, encoder.description), _equal("byol.load", difference), library="byol"
    )


def _write_plain(library: Literal["timm", "torchvision"]) -> Callable[[Encoder, Path], _Written]:
    def write(encoder: Encoder, folder: Path) -> _Written:
        backbone = find_backbone(encoder.description, library)
        model = load_checked(backbone, encoder.module, _example(encoder, 2))
        save_encoder(folder, model, encoder.description, PLAIN_WEIGHTS)
        difference = relative_difference(model, encoder.module, _example(encoder, 3))
        return _Written(
            lambda out: snippet.plain_snippet(out, encoder.description, backbone), _equal(library, difference), library
        )

    return write


def _write_hub(encoder: Encoder, folder: Path) -> _Written:
    try:
        backbone = find_backbone(encoder.description, "timm")
        model = load_checked(backbone, encoder.module, _example(encoder, 2))
    except EncoderError as error:
        reason = str(error).split(". ")[0].removesuffix(".")
        note = f"{reason}; so the folder has byol's own layout, which byol.load reads, and timm does not."
        return dataclasses.replace(_write_safetensors(encoder, folder), notes=(note,))
    assert isinstance(backbone, TimmBackbone)
    save_encoder(folder, model, encoder.description, PLAIN_WEIGHTS)
    config = timm_config(encoder.description, backbone)
    write_json(folder / "config.json", config)
    import timm

    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True)
    difference = _difference(loaded, encoder)
    size = encoder.description.image_size
    note = f"timm's transform takes the whole square of an image; byol.load, of images above 96 px, the central {CENTRE:g}."
    return _Written(
        lambda out: snippet.hub_snippet(out, encoder.description),
        _equal("timm from this folder", difference),
        "timm",
        (note,) if size <= 96 else (),
    )


def _write_onnx(encoder: Encoder, folder: Path) -> _Written:
    from byol.export.onnx_file import OnnxEncoder, write_onnx

    write_onnx(folder / ONNX_WEIGHTS, encoder)
    write_description(folder, encoder.description)
    read_back = OnnxEncoder(folder / ONNX_WEIGHTS, encoder.description)
    worst = 0.0
    for count in CHECKED_BATCHES:
        views = _example(encoder, count) * encoder.std + encoder.mean
        with torch.no_grad():
            found, expected = read_back.module(views), encoder.module((views - encoder.mean) / encoder.std)
        worst = max(worst, float((found - expected).norm() / expected.norm().clamp_min(1e-30)))
    _require_equal(worst)
    batches = ", ".join(map(str, CHECKED_BATCHES))
    return _Written(
        lambda out: snippet.onnx_snippet(out, encoder.description),
        f"onnxruntime gives PyTorch's features in batches of {batches} (largest relative difference {worst:.0e}).",
        library="onnx",
    )


WRITERS: dict[str, Callable[[Encoder, Path], _Written]] = {
    "timm": _write_plain("timm"),
    "torchvision": _write_plain("torchvision"),
    "safetensors": _write_safetensors,
    "onnx": _write_onnx,
    "hub": _write_hub,
}


def timm_config(description: EncoderDescription, backbone: TimmBackbone) -> dict[str, Any]:
    """What timm's `local-dir:` and `hf-hub:` read from config.json."""
    import timm

    default = timm.get_pretrained_cfg(backbone.name)
    size, channels = description.image_size, description.in_channels
    return {
        "architecture": backbone.name,
        "num_classes": 0,
        "num_features": description.num_features,
        "model_args": {name: value for name, value in backbone.arguments.items() if name != "num_classes"},
        "pretrained_cfg": {
            "tag": "byol",
            "custom_load": False,
            "input_size": [channels, size, size],
            "fixed_input_size": "img_size" in backbone.arguments,
            "interpolation": "bicubic",
            "crop_pct": 1.0 if size <= 96 else 0.875,
            "crop_mode": "center",
            "mean": list(description.mean),
            "std": list(description.std),
            "num_classes": 0,
            "first_conv": default.first_conv if default is not None else None,
            "classifier": default.classifier if default is not None else None,
        },
    }


def _provenance(run: Path, weights: str) -> dict[str, Any]:
    """What the files of a run tell of its weights, or of those in a checkpoint; nothing where the folder is no run."""
    folder = run_of(run)
    record, result = (read_json(folder / name) or {} for name in ("run.json", "result.json"))
    if folder != run:
        result = {"finished": False, "step": checkpoint.step_of(run)}
    if not record:
        return {}
    try:
        config = from_dict(Config, record["config"])
        chosen = recipe(record["recipe"]).config
        changed = overrides(chosen, from_dict(Config, record["asked"]))
        data = record["data"]
        name = Path(data["data"]).name or "images from Python"
        tau = f"tau from {config.method.tau_base:g} ({config.method.tau_schedule})"
        training = {
            "data": f"{name}, {data['num_images']} images, no labels used",
            "recipe": record["recipe"] + "".join(f", {key} {value}" for key, value in changed.items()),
            "length": f"{config.epochs:g} epochs in steps of {config.batch_size} images"
            + ("" if result.get("finished", True) else f", stopped at step {result['step']}"),
            "optimizer": f"{config.optimizer.name}, base rate {config.optimizer.base_learning_rate:g} per 256 images, "
            f"weight decay {config.optimizer.weight_decay:g}",
            **({"target": tau} if method_parts(config).target == "average" else {}),
            "seed": config.seed,
            "collapse watch": result.get("verdict", "not recorded"),
            "started from": _start(config),
        }
    except (ByolError, KeyError, TypeError):
        return {}
    how = {} if config.method.name == "byol" else {"how": f"pretrained without labels by {TITLES[config.method.name]}"}
    return {**how, **_licence_of_start(config), "training": training, "metrics": _measured(run, weights)}


def _start(config: Config) -> str:
    if config.encoder.init:
        return f"the encoder {Path(config.encoder.init).name}"
    return f"timm's {config.encoder.name}" if config.encoder.pretrained else "random weights"


def _licence_of_start(config: Config) -> dict[str, str]:
    """Weights that were trained on keep the licence of those they started from, where that is known."""
    if not config.encoder.init:
        return {}
    try:
        start = read_description(config.encoder.init).provenance
    except ByolError:  # it has gone
        return {}
    name = Path(config.encoder.init).name
    return (
        {"licence": start["licence"], "licence_source": f"of {name}, from which it started"}
        if start.get("licence")
        else {}
    )


def _measured(run: Path, weights: str) -> list[dict[str, Any]]:
    """The results of these weights: not of the target network, of new ones, or of before the run went on."""
    found = []
    for record in read_results(run):
        if (
            record.get("weights") != weights
            or record["protocol"] == "supervised"
            or "from-scratch" in record["variant"]
        ):
            continue
        test = f"{record['test']['num_images']} of {Path(record['test']['images']).name}"
        detail = "; ".join(part for part in (_settings(record["settings"]), record["differs"]) if part)
        for metric, score in list(record["metrics"].items())[:1]:
            found.append({"protocol": f"{record['protocol']}, {metric} ({detail})", "test": test, **score})
    return found


def _settings(settings: dict[str, Any]) -> str:
    plain = {n: v for n, v in settings.items() if isinstance(v, int | float | str) and not isinstance(v, bool)}
    return ", ".join(f"{name} {value}" for name, value in plain.items())


def _example(encoder: Encoder, count: int) -> torch.Tensor:
    """(count, C, S, S): what the encoder sees, of random images."""
    d = encoder.description
    views = torch.rand(count, d.in_channels, d.image_size, d.image_size, generator=torch.Generator().manual_seed(count))
    return (views - encoder.mean) / encoder.std


def _difference(found: nn.Module, encoder: Encoder) -> float:
    difference = relative_difference(found, encoder.module, _example(encoder, 3))
    _require_equal(difference)
    return difference


def _require_equal(difference: float) -> None:
    if not difference <= TOLERANCE:
        raise EncoderError(f"What was written gives other features than the encoder (off by {difference:.1e}).")


def _empty(encoder: Encoder) -> nn.Module | None:
    """Where no name can rebuild the encoder: a copy to load into."""
    return copy.deepcopy(encoder.module) if encoder.description.name is None else None


def _equal(reader: str, difference: float) -> str:
    if difference == 0:
        return f"{reader} gives the same features, to the last bit."
    return f"{reader} gives the same features, up to a relative difference of {difference:.0e}."
