"""The encoder alone: its weights, and `encoder.json` that says how to rebuild it and how to preprocess.

The weights are `encoder.safetensors`; in an export `model.safetensors` (timm, torchvision, hub) or `encoder.onnx`.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from byol.errors import CheckpointError, EncoderError, RunError
from byol.nets.encoder import create_encoder
from byol.runtime import checkpoint
from byol.runtime.record import replacing, write_json
from byol.views.evaluation import centre_view

WEIGHTS, DESCRIPTION = "encoder.safetensors", "encoder.json"
PLAIN_WEIGHTS, ONNX_WEIGHTS = "model.safetensors", "encoder.onnx"
IN_CHECKPOINT = "online.encoder."
"""What the encoder's tensors are called after in a checkpoint."""


ELSEWHERE = "with weights that were not trained here"
"""How an imported encoder came about."""
KEPT_AVERAGES = "batch norm's are those of the weights that it started from"
"""What is told of an encoder that was trained with norm frozen."""


@dataclass(frozen=True)
class EncoderDescription:
    """How to rebuild an encoder and what it expects."""

    name: str | None
    """Name for `create_encoder`; None for a module of the user's own."""
    settings: dict[str, Any]
    """The other arguments of `create_encoder`."""
    num_features: int
    in_channels: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    antialias: bool
    """Whether images are resized with antialiasing before the encoder sees them."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """How the weights came about, for the model card of an export."""


class Encoder(nn.Module):
    """A trained encoder with its preprocessing, in eval mode: uint8 or float images of any size -> features."""

    mean: Tensor
    std: Tensor

    def __init__(self, module: nn.Module, description: EncoderDescription) -> None:
        super().__init__()
        self.module = module
        self.description = description
        self.num_features = description.num_features
        self.register_buffer("mean", torch.tensor(description.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(description.std).view(1, -1, 1, 1))
        self.eval()

    def preprocess(self, images: Tensor) -> Tensor:
        """(N, C, H, W) uint8, or float in [0, 1] -> (N, C, S, S) normalised centre views."""
        view = centre_view(images, self.description.image_size, antialias=self.description.antialias)
        return (view - self.mean) / self.std

    @torch.no_grad()
    def encode_views(self, views: Tensor) -> Tensor:
        """(N, C, S, S) views in [0, 1], not normalised -> (N, num_features) float32."""
        return self.encode_preprocessed((views - self.mean) / self.std)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) uint8, or float in [0, 1] -> (N, num_features) float32. Raises EncoderError for anything else."""
        if not isinstance(images, Tensor) or images.ndim != 4:
            shape = getattr(images, "shape", None)
            found = type(images).__name__ + (f" of shape {tuple(shape)}" if shape is not None else "")
            raise EncoderError(
                f"An encoder takes a tensor of images, (N, C, H, W), uint8 or float in [0, 1]; found {found}. byol.embed "
                "reads folders and files."
            )
        return self.encode_preprocessed(self.preprocess(images))

    @torch.no_grad()
    def encode_preprocessed(self, normalised: Tensor) -> Tensor:
        """What `preprocess` gives -> (N, num_features) float32, in the memory layout in which convolutions are faster."""
        return self.module(normalised.contiguous(memory_format=torch.channels_last)).float()

    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with any weight, average or line of the description."""
        digest = hashlib.sha256(json.dumps(asdict(self.description)).encode())
        self._add_weights(digest)
        return digest.hexdigest()[:16]

    def _add_weights(self, digest: "hashlib._Hash") -> None:
        for name, tensor in sorted(self.module.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())


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
    folder = Path(folder)
    description = read_description(run_of(folder))
    if folder.is_file():
        named = checkpoint.load(folder)["method"]
        tensors = {n.removeprefix(IN_CHECKPOINT): t for n, t in named.items() if n.startswith(IN_CHECKPOINT)}
    else:
        names = (WEIGHTS, PLAIN_WEIGHTS, ONNX_WEIGHTS)
        weights = folder / next((name for name in names if (folder / name).exists()), WEIGHTS)
        try:
            if weights.name == ONNX_WEIGHTS:
                from byol.export.onnx_file import OnnxEncoder

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
    path = Path(name)
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
