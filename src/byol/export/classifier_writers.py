"""Writers of a classifier, one per kind of export; each runs the written files and compares their logits with the classifier's."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from byol.encoder.classifier import CLASSIFIER, Classifier, load_classifier, save_classifier
from byol.encoder.encoder_file import PLAIN_WEIGHTS, save_tensors
from byol.errors import EncoderError
from byol.export import snippet
from byol.export.backbone import TOLERANCE, WHAT_WORKS_INSTEAD, TimmBackbone, find_backbone
from byol.export.snippet import ONNX_CLASSIFIER, Use, class_use
from byol.export.writers import CHECKED_BATCHES, Written, equal_words, example, timm_config
from byol.runtime.files import write_json


def _write_safetensors(classifier: Classifier, folder: Path) -> Written:
    classifier.about = dataclasses.replace(classifier.about, weights=classifier.fingerprint())  # with its licence
    save_classifier(folder, classifier)
    own = None if classifier.description.name else classifier.module
    read = load_classifier(folder, own)
    difference = _difference(_logits(read, example(read, 3)), classifier, example(classifier, 3))
    return Written(
        lambda out: snippet.byol_snippet(out, classifier.description, _use(out, "byol", classifier)),
        equal_words("byol.load_classifier", difference),
        "byol",
    )


def _write_timm(classifier: Classifier, folder: Path) -> Written:
    backbone, model = _timm_model(classifier)
    save_tensors(folder / PLAIN_WEIGHTS, model.state_dict())
    _write_classes(classifier, folder)
    with torch.no_grad():
        difference = _difference(model.eval()(example(classifier, 3)), classifier, example(classifier, 3))
    return Written(
        lambda out: snippet.plain_snippet(out, classifier.description, backbone, _use(out, "timm", classifier)),
        equal_words("timm", difference),
        "timm",
    )


def _write_hub(classifier: Classifier, folder: Path) -> Written:
    backbone, model = _timm_model(classifier)
    save_tensors(folder / PLAIN_WEIGHTS, model.state_dict())
    _write_classes(classifier, folder)
    write_json(folder / "config.json", timm_config(classifier.description, backbone, classifier.classes))
    import timm

    read = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    with torch.no_grad():
        difference = _difference(read(example(classifier, 3)), classifier, example(classifier, 3))
    return Written(
        lambda out: snippet.hub_snippet(out, classifier.description, _use(out, "timm", classifier)),
        equal_words("timm from this folder", difference),
        "timm",
    )


def _write_onnx(classifier: Classifier, folder: Path) -> Written:
    from byol.encoder.onnx_encoder import import_onnx_library
    from byol.export.onnx_file import write_onnx

    write_onnx(folder / ONNX_CLASSIFIER, classifier)
    _write_classes(classifier, folder)
    runtime = import_onnx_library("onnxruntime")
    session = runtime.InferenceSession(str(folder / ONNX_CLASSIFIER), providers=["CPUExecutionProvider"])
    largest = 0.0
    for count in CHECKED_BATCHES:
        normalised = example(classifier, count)
        views = (normalised * classifier.std + classifier.mean).numpy()
        logits, found = map(torch.from_numpy, session.run(["logits", "probabilities"], {"images": views}))
        largest = max(largest, _difference(logits, classifier, normalised))
        if not float((found - classifier.probabilities(logits)).abs().max()) <= TOLERANCE:
            raise EncoderError("The written file gives other probabilities than its logits.")
    batches = ", ".join(map(str, CHECKED_BATCHES))
    return Written(
        lambda out: snippet.onnx_snippet(out, classifier.description, _use(out, "onnx", classifier)),
        f"onnxruntime gives PyTorch's logits and probabilities in batches of {batches} (largest relative difference {largest:.0e}).",
        "onnx",
    )


def _write_torchvision(classifier: Classifier, folder: Path) -> Written:
    raise EncoderError(
        "--to torchvision writes encoders without a head. --to timm, --to hub and --to onnx write the classifier."
    )


CLASSIFIER_WRITERS: dict[str, Callable[[Classifier, Path], Written]] = {
    "timm": _write_timm,
    "torchvision": _write_torchvision,
    "safetensors": _write_safetensors,
    "onnx": _write_onnx,
    "hub": _write_hub,
}


def _timm_model(classifier: Classifier) -> tuple[TimmBackbone, nn.Module]:
    """timm's network with the head as its classifier. Raises EncoderError if timm has no equal one."""
    found = find_backbone(classifier.description, "timm")
    assert isinstance(found, TimmBackbone)
    backbone = TimmBackbone(found.name, {**found.arguments, "num_classes": len(classifier.classes)})
    model: Any = backbone.build()
    layer = model.get_classifier()
    place = next((name for name, module in model.named_modules() if module is layer), "")
    if not isinstance(layer, nn.Linear) or layer.weight.shape != classifier.weight.shape:
        raise EncoderError(f"timm's {found.name} has no linear classifier on these features. {WHAT_WORKS_INSTEAD}")
    head = {f"{place}.weight": classifier.weight, f"{place}.bias": classifier.bias}
    try:
        model.load_state_dict({**classifier.module.state_dict(), **head})
    except RuntimeError as error:
        cause = str(error).splitlines()[-1].strip()
        raise EncoderError(f"The weights do not fit {backbone.lines()[0]} ({cause}). {WHAT_WORKS_INSTEAD}") from error
    return backbone, model


def _write_classes(classifier: Classifier, folder: Path) -> None:
    """Writes classifier.json with the classes, and the preprocessing that other exports have in encoder.json."""
    about, d = classifier.about, classifier.description
    content = dataclasses.asdict(about) | {"preprocessing": dataclasses.asdict(d)}
    write_json(folder / CLASSIFIER, content)


@torch.no_grad()
def _logits(classifier: Classifier, normalised: Tensor) -> Tensor:
    return classifier.logits(classifier.module(normalised).float())


def _difference(found: Tensor, classifier: Classifier, normalised: Tensor) -> float:
    """Relative difference of logits from the classifier's. Raises EncoderError if it is too large."""
    expected = _logits(classifier, normalised)
    difference = float((found - expected).norm() / expected.norm().clamp_min(1e-30))
    if not difference <= TOLERANCE:
        raise EncoderError(
            f"The written files give other logits than the classifier (relative difference {difference:.1e}). {WHAT_WORKS_INSTEAD}"
        )
    return difference


def _use(out: str, library: str, classifier: Classifier) -> Use:
    return class_use(out, library, several=classifier.about.several)
