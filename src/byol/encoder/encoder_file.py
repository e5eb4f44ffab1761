"""Encoder folders: a file of weights and `encoder.json`, which describes network and preprocessing.

The weights are `encoder.safetensors`; in an export `model.safetensors` (timm, torchvision, hub) or `encoder.onnx`.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from byol.encoder.encoder import Encoder, EncoderDescription
from byol.errors import CheckpointError, EncoderError, RunError
from byol.nets.encoder import converted, create_encoder, with_input_channels
from byol.runtime import checkpoint
from byol.runtime.files import replacing, write_json
from byol.runtime.number_format import NumberFormat
from byol.runtime.paths import user_path

WEIGHTS, DESCRIPTION = "encoder.safetensors", "encoder.json"
PLAIN_WEIGHTS, ONNX_WEIGHTS = "model.safetensors", "encoder.onnx"
IN_CHECKPOINT = "online.encoder."
"""Prefix of the encoder's tensors in a checkpoint."""
TRAINED_ELSEWHERE = "with weights that were not trained here"
"""Provenance of encoders imported from another library."""
KEPT_AVERAGES = "batch norm's are those of the weights that it started from"
"""Provenance of the batch-norm averages of an encoder that was trained with frozen norm layers."""


def save_encoder(folder: Path, module: nn.Module, description: EncoderDescription, weights: str = WEIGHTS) -> None:
    """Writes the weights and `encoder.json` into `folder`."""
    save_tensors(folder / weights, module.state_dict())
    write_description(folder, description)


def save_tensors(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes tensors by name, atomically."""
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with replacing(file) as temporary:
        try:
            save_file(copies, temporary)
        except SafetensorError as error:  # a full disk
            raise OSError(str(error)) from error


def write_description(folder: Path, description: EncoderDescription) -> None:
    """Writes `encoder.json` into `folder`."""
    write_json(folder / DESCRIPTION, asdict(description))


def read_description(folder: str | Path) -> EncoderDescription:
    """Reads `encoder.json` in `folder`. Raises RunError if it is missing or damaged."""
    folder = user_path(folder)
    if folder.is_file():
        raise RunError(
            f"{folder} is a file, not the folder of an encoder. `byol import-timm NAME --weights FILE --out FOLDER` makes one "
            "from a file of timm's weights."
        )
    try:
        content = json.loads((folder / DESCRIPTION).read_text())
        content["mean"], content["std"] = tuple(content["mean"]), tuple(content["std"])
        if rule := content.get("number_format"):
            content["number_format"] = NumberFormat.read(rule)
        return EncoderDescription(**content)
    except FileNotFoundError:
        inside = sorted(path.parent.name for path in folder.glob(f"*/{DESCRIPTION}"))
        if inside:
            reason = f"it holds runs; give one of them, {inside[0]} for example"
        elif Path(folder).exists():
            reason = "it is no run, or an old one that wrote no encoder"
        else:
            reason = "there is no such folder"
        raise RunError(f"{folder} holds no {DESCRIPTION}: {reason}.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"The encoder in {folder} cannot be read ({error}).") from error


def require_whole(name: str, empty: nn.Module, tensors: dict[str, Tensor], file: str | Path) -> None:
    """Checks that `tensors` from `file` have the names and shapes of the network `empty`, called `name`.

    `empty` may be on torch's meta device. Raises CheckpointError if a tensor is missing, unknown or of another shape.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in empty.state_dict().items()}
    in_file = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if wrong := sorted(n for n in expected.keys() | in_file.keys() if expected.get(n) != in_file.get(n)):
        n, fitting = wrong[0], len(expected) - sum(n in expected for n in wrong)
        raise CheckpointError(
            f"{file} is no complete {name}: {n} is {in_file.get(n, 'missing')} in the file and "
            f"{expected.get(n, 'unknown')} in the network; {fitting} of its {len(expected)} tensors fit. Name the network that the "
            f"weights were trained with."
        )


def load_encoder(folder: str | Path, module: nn.Module | None = None) -> Encoder:
    """Loads the encoder of a run directory, an export, another folder with weights and `encoder.json`, or a checkpoint.

    `module`: an untrained encoder of the same shape, needed for user-defined modules. Raises RunError if files are
    missing, CheckpointError or RunError if they are damaged, EncoderError if the weights do not fit the network.
    """
    folder = user_path(folder)
    description = read_description(run_of(folder))
    if folder.is_file():
        named = checkpoint.load(folder)["method"]
        tensors = {n.removeprefix(IN_CHECKPOINT): t for n, t in named.items() if n.startswith(IN_CHECKPOINT)}
    else:
        names = (WEIGHTS, PLAIN_WEIGHTS, ONNX_WEIGHTS)
        weights = folder / next((name for name in names if (folder / name).exists()), WEIGHTS)
        try:
            if weights.name == ONNX_WEIGHTS:
                from byol.encoder.onnx_encoder import OnnxEncoder

                return OnnxEncoder(weights, description)
            tensors = load_file(weights)
        except FileNotFoundError:
            raise RunError(f"{folder} holds no {weights.name}: {_hint(folder)}") from None
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise RunError(f"The encoder in {folder} cannot be read ({error}).") from error
    if module is None:
        module = rebuild(description, f"The encoder in {folder}")
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise EncoderError(
            f"The weights in {folder} do not fit {type(module).__name__} ({str(error).splitlines()[-1].strip()})."
        ) from error
    return Encoder(module, description)


def run_of(name: str | Path) -> Path:
    """Run directory of a checkpoint file; a folder stays as it is."""
    path = user_path(name)
    return path.parent.parent if path.is_file() else path


def _hint(folder: Path) -> str:
    if saved := checkpoint.saved(folder / "checkpoints"):
        return f"the run is not finished. Give its newest checkpoint, {saved[-1]}, to use the encoder saved there."
    return "it is no run, or the run has not written an encoder yet."


def rebuild(description: EncoderDescription, what: str = "This encoder") -> nn.Module:
    """The described encoder with new weights. Raises EncoderError if name and settings build no network."""
    if description.name is None:
        raise EncoderError(f"{what} is a module of your own: pass an untrained one of the same shape as `module`.")
    try:
        return create_encoder(
            description.name,
            in_channels=description.in_channels,
            image_size=description.image_size,
            **description.settings,
        )
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        cause = (str(error).splitlines() or [""])[0]
        raise EncoderError(f"{what} cannot be built from its described settings ({cause}).") from error


def copy_weights(folder: str | Path, module: nn.Module) -> nn.Module:
    """`module` with the weights of the encoder in `folder`, for another image size if it is a vision transformer, and for another number of channels if they are for RGB.

    Raises EncoderError if they do not fit.
    """
    saved = load_encoder(folder)
    try:
        module.load_state_dict(with_input_channels(module, converted(module, saved.module.state_dict())))
    except RuntimeError as error:
        d = saved.description
        settings = ", ".join(f"{name} {value}" for name, value in {"name": d.name, **d.settings}.items() if value)
        raise EncoderError(
            f"The encoder in {folder} has another shape than the requested one ({str(error).splitlines()[-1].strip()}). "
            f"It has {settings}: set --encoder.name and the other encoder settings accordingly."
        ) from error
    return module
