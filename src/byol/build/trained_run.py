"""A run directory, opened: what run.json says, typed, and the networks of its newest checkpoint."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from byol.build.encoder import encoder_description
from byol.build.networks import build_method
from byol.config import Config, from_dict
from byol.data.spec import DataSpec
from byol.encoder.encoder import Encoder
from byol.errors import CheckpointError, RunError
from byol.methods.network import Method
from byol.runtime import checkpoint
from byol.runtime.run_directory import RunDirectory


@dataclass(frozen=True)
class TrainedRun:
    """A run, finished or not."""

    directory: RunDirectory
    record: dict[str, Any] = field(repr=False)
    """All of run.json."""
    config: Config
    """The resolved settings."""
    asked: Config
    """The settings before weights and data decided the rest."""
    recipe: str
    data: DataSpec
    """Empty where the images came from Python."""
    channels: int
    num_images: int
    num_ranks: int
    own_encoder: bool
    """Whether the encoder is a module of the user's own, which no name can rebuild."""

    @classmethod
    def open(cls, path: Path) -> "TrainedRun":
        """Raises RunError where `path` is not a run directory, or its run.json does not hold a run."""
        directory = RunDirectory.open(path)
        return cls.of(directory, directory.record())

    @classmethod
    def of(cls, directory: RunDirectory, record: dict[str, Any]) -> "TrainedRun":
        """The run whose run.json holds `record`. Raises RunError where it does not hold a run."""
        try:
            data = record["data"]
            return cls(
                directory,
                record,
                from_dict(Config, record["config"]),
                from_dict(Config, record["asked"]),
                record["recipe"],
                DataSpec(
                    data["data"],
                    data["root"],
                    data["download"],
                    data.get("image_column", ""),
                    data.get("label_column", ""),
                ),
                int(data["channels"]),
                int(data["num_images"]),
                int(record["derived"]["num_ranks"]),
                bool(record["own_encoder"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{directory.path / 'run.json'} does not hold a run ({error!r}).") from error

    @property
    def images_per_norm(self) -> int:
        """Images that batch norm sees at a time: a micro-batch of every rank."""
        return self.config.micro_batch_size * self.num_ranks

    @property
    def has_checkpoint(self) -> bool:
        """Whether a checkpoint is left."""
        return bool(checkpoint.saved(self.directory.checkpoints))

    def method(self) -> Method:
        """The networks of the newest checkpoint. Raises CheckpointError where there is none, or it does not fit."""
        return self.method_and_state()[0]

    def method_and_state(self) -> tuple[Method, dict[str, Any]]:
        """`method`, and all that the checkpoint holds (`engine.state`)."""
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

    def encoder(self) -> Encoder:
        """The encoder of the newest checkpoint, with its preprocessing."""
        num_features = int(self.record["derived"]["num_features"])
        description = encoder_description(self.config, self.channels, num_features, own_module=False)
        return Encoder(self.method().encoder, description)


def without_start(config: Config) -> Config:
    """A copy that starts from no weights: the checkpoint holds them."""
    return replace(config, encoder=replace(config.encoder, init="", pretrained=False))
