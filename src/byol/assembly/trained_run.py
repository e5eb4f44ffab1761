"""An opened run directory: the typed content of run.json, and the networks of the newest checkpoint."""

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from byol.assembly.encoder import encoder_description
from byol.assembly.networks import build_method
from byol.config import Config, from_dict
from byol.data.spec import DataSpec
from byol.encoder.encoder import Encoder
from byol.errors import CheckpointError, RunError
from byol.methods.network import Method
from byol.runtime import checkpoint
from byol.runtime.number_format import NumberFormat
from byol.runtime.run_directory import RunDirectory


@dataclass(frozen=True)
class TrainedRun:
    """A run from its directory, finished or not."""

    directory: RunDirectory
    record: dict[str, Any] = field(repr=False)
    """Content of run.json."""
    config: Config
    """Resolved settings."""
    asked: Config
    """Settings before they were resolved with the data and the initial weights."""
    recipe: str
    data: DataSpec
    """Location of the images; empty if they were passed from Python."""
    channels: int
    num_images: int
    num_ranks: int
    own_encoder: bool
    """Whether the user passed the encoder as a module, which cannot be rebuilt from its name."""

    @classmethod
    def open(cls, path: Path) -> "TrainedRun":
        """Opens a run directory. Raises RunError if `path` is not one, or if its run.json is invalid."""
        directory = RunDirectory.open(path)
        return cls.of(directory, directory.record())

    @classmethod
    def of(cls, directory: RunDirectory, record: dict[str, Any]) -> "TrainedRun":
        """The run of a directory, from the content of its run.json. Raises RunError if that is invalid."""
        try:
            data = record["data"]
            return cls(
                directory,
                record,
                from_dict(Config, record["config"]),
                from_dict(Config, record["asked"]),
                record["recipe"],
                _spec(data),
                int(data["channels"]),
                int(data["num_images"]),
                int(record["derived"]["num_ranks"]),
                bool(record["own_encoder"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{directory.path / 'run.json'} is not a valid record of a run ({error!r}).") from error

    @property
    def images_per_norm(self) -> int:
        """Number of images that batch norm sees at a time: one micro-batch on every rank."""
        return self.config.micro_batch_size * self.num_ranks

    @property
    def has_checkpoint(self) -> bool:
        """Whether the directory has a checkpoint."""
        return bool(checkpoint.saved(self.directory.checkpoints))

    def method(self) -> Method:
        """The networks of the newest checkpoint. Raises CheckpointError if there is none, or if it does not fit the config."""
        return self.method_and_state()[0]

    def method_and_state(self) -> tuple[Method, dict[str, Any]]:
        """The networks of the newest checkpoint, and its whole content (`engine.state`)."""
        networks = build_method(without_start(self.config), self.channels)
        newest, state = checkpoint.load_newest(self.directory.checkpoints)
        weights = {n: t for n, t in state["method"].items() if not n.startswith("classifier.")}
        try:
            networks.load_state_dict(weights)
        except RuntimeError as error:
            raise CheckpointError(
                f"{newest} does not fit the run's config ({str(error).splitlines()[-1].strip()})."
            ) from error
        return networks, state

    @property
    def rule(self) -> NumberFormat | None:
        """Rule by which images with more than 8 bits became pixels; None if there were none."""
        entries = self.record["data"].get("rule")
        return NumberFormat.read(entries) if entries else None

    def encoder(self) -> Encoder:
        """The encoder of the newest checkpoint, with its preprocessing."""
        num_features = int(self.record["derived"]["num_features"])
        description = encoder_description(self.config, self.channels, num_features, own_module=False, rule=self.rule)
        return Encoder(self.method().encoder, description)


def _spec(data: dict[str, Any]) -> DataSpec:
    """The images of a run: where they were when it started, or as they were named where that is gone."""
    named = {field.name: data[field.name] for field in fields(DataSpec) if field.name in data}
    absolute = data.get("path", "")
    if absolute and (not absolute.startswith("/") or Path(absolute).exists()):
        named["data"] = absolute
    return DataSpec(**named)


def without_start(config: Config) -> Config:
    """A copy of `config` without initial weights, for networks whose weights come from a checkpoint."""
    return replace(config, encoder=replace(config.encoder, init="", pretrained=False))
