"""The encoder alone: its weights, and `encoder.json` that says how to rebuild it and how to preprocess.

The weights are `encoder.safetensors`; in an export `model.safetensors` (timm, torchvision, hub) or `encoder.onnx`.
"""

import json
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from byol.encoder.encoder import Encoder, EncoderDescription
from byol.errors import CheckpointError, EncoderError, RunError
from byol.nets.encoder import create_encoder
from byol.runtime import checkpoint
from byol.runtime.files import replacing, write_json
from byol.runtime.paths import user_path

WEIGHTS, DESCRIPTION = "encoder.safetensors", "encoder.json"
PLAIN_WEIGHTS, ONNX_WEIGHTS = "model.safetensors", "encoder.onnx"
IN_CHECKPOINT = "online.encoder."
"""What the encoder's tensors are called after in a checkpoint."""
ELSEWHERE = "with weights that were not trained here"
"""How an imported encoder came about."""
KEPT_AVERAGES = "batch norm's are those of the weights that it started from"
"""What is told of an encoder that was trained with norm frozen."""


def save_encoder(folder: Path, module: nn.Module, description: EncoderDescription, weights: str = WEIGHTS) -> None:
    """Writes both files into `folder`."""
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in module.state_dict().items()}
    with replacing(folder / weights) as temporary:
        try:
            save_file(tensors, temporary)
        except SafetensorError as error:  # of a full disk
            raise OSError(str(error)) from error
    write_description(folder, description)


def write_description(folder: Path, description: EncoderDescription) -> None:
    """Writes `encoder.json`."""
    write_json(folder / DESCRIPTION, asdict(description))


def read_description(folder: str | Path) -> EncoderDescription:
    """The `encoder.json` in `folder`. Raises RunError where there is none, or a damaged one."""
    if Path(folder).is_file():
        raise RunError(
            f"{folder} is a file, no encoder's folder. Of timm's weights `byol import-timm NAME --weights FILE --out FOLDER` makes one."
        )
    try:
        content = json.loads((Path(folder) / DESCRIPTION).read_text())
        content["mean"], content["std"] = tuple(content["mean"]), tuple(content["std"])
        return EncoderDescription(**content)
    except FileNotFoundError:
        inside = sorted(path.parent.name for path in Path(folder).glob(f"*/{DESCRIPTION}"))
        if inside:
            why = f"it holds runs of which one has to be named, {inside[0]} for example"
        elif Path(folder).exists():
            why = "it is no run, or an old one that wrote no encoder"
        else:
            why = "there is no such folder"
        raise RunError(f"{folder} holds no {DESCRIPTION}: {why}.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"The encoder in {folder} cannot be read ({error}).") from error


def require_whole(name: str, empty: nn.Module, tensors: dict[str, Tensor], file: str | Path) -> None:
    """Compares names and shapes with a network `name` (on torch's meta device, say). Raises CheckpointError where they differ."""
    expected = {name: tuple(tensor.shape) for name, tensor in empty.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if wrong := sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n)):
        n = wrong[0]
        raise CheckpointError(
            f"{file} is no whole {name}: {n} is {found.get(n, 'missing')} in it and {expected.get(n, 'unknown')} in the "
            f"network ({len(wrong)} such tensors)."
        )


def load_encoder(folder: str | Path, module: nn.Module | None = None) -> Encoder:
    """The encoder of a run directory, of an export, of any folder that holds weights and `encoder.json`, or of a checkpoint.

    `module`: an untrained encoder of the same shape, where the encoder is not one that a name can rebuild. Raises
    RunError where the files are missing, CheckpointError or RunError where they are damaged, EncoderError where they do not fit.
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
            raise RunError(f"{folder} holds no {weights.name}: {_instead(folder)}") from None
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
    """The folder of the run that a checkpoint is of; any other path as it is."""
    path = user_path(name)
    return path.parent.parent if path.is_file() else path


def _instead(folder: Path) -> str:
    if saved := checkpoint.saved(folder / "checkpoints"):
        return f"the run has not ended. Name its newest checkpoint, {saved[-1]}, for the encoder as it was there."
    return "it is no run, or the run wrote no encoder yet."


def rebuild(description: EncoderDescription, what: str = "This encoder") -> nn.Module:
    """The described encoder with new weights. Raises EncoderError where no name and settings build it."""
    if description.name is None:
        raise EncoderError(f"{what} is a module of your own: pass one of the same shape as `module`.")
    try:
        return create_encoder(
            description.name,
            in_channels=description.in_channels,
            image_size=description.image_size,
            **description.settings,
        )
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        cause = (str(error).splitlines() or [""])[0]
        raise EncoderError(f"{what} is described by settings that build no network ({cause}).") from error


def copy_weights(folder: str | Path, module: nn.Module) -> nn.Module:
    """`module` with the weights of the encoder in `folder`. Raises EncoderError where they are of another network."""
    saved = load_encoder(folder)
    try:
        module.load_state_dict(saved.module.state_dict())
    except RuntimeError as error:
        d = saved.description
        asked = ", ".join(f"{name} {value}" for name, value in {"name": d.name, **d.settings}.items() if value)
        raise EncoderError(
            f"The encoder in {folder} is of another shape than the one asked for ({str(error).splitlines()[-1].strip()}). "
            f"It has {asked}: set --encoder.name and the like so."
        ) from error
    return module
