"""The training state: everything that changes during training, in one object that a checkpoint saves."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch.optim import Optimizer

from byol.diagnostics.collapse import CollapseWatch
from byol.engine.schedule import Segment
from byol.methods.network import Method


@dataclass
class State:
    """Weights, optimizer buffers, step and newest collapse check. Random numbers depend on the step alone, so none are kept."""

    method: Method
    optimizer: Optimizer
    step: int = 0
    num_skipped_steps: int = 0
    """Number of steps skipped because their gradient was not finite."""
    segments: tuple[Segment, ...] = ()
    """Changes of the schedule's number of steps, made by a deadline or by added time."""
    collapse: CollapseWatch | None = None
    measures: dict[str, float] = field(default_factory=dict)
    """Further measures of the newest collapse check (`diagnostics.measures.measure_step`)."""

    def state_dict(self) -> dict[str, Any]:
        """The state as tensors, numbers and plain containers, which torch.load reads with `weights_only`."""
        return {
            "step": self.step,
            "num_skipped_steps": self.num_skipped_steps,
            "segments": [dataclasses.asdict(segment) for segment in self.segments],
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "collapse": self.collapse.as_dict() if self.collapse is not None else None,
            "measures": dict(self.measures),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restores a `state_dict`. The optimizer keeps its own settings and takes only the saved buffers."""
        self.method.load_state_dict(saved["method"])
        pairs = zip(self.optimizer.state_dict()["param_groups"], saved["optimizer"]["param_groups"], strict=True)
        groups = [
            {**own, "params": group["params"]} for own, group in pairs
        ]  # its own setting `fused` decides the state's device
        self.optimizer.load_state_dict({**saved["optimizer"], "param_groups": groups})
        self.step = saved["step"]
        self.num_skipped_steps = saved["num_skipped_steps"]
        self.segments = saved_segments(saved)
        self.collapse = CollapseWatch(**saved["collapse"]) if saved["collapse"] is not None else None
        self.measures = dict(saved.get("measures", {}))


def saved_segments(saved: Mapping[str, Any]) -> tuple[Segment, ...]:
    """The segments in a state dict. Earlier versions saved only a corrected number of steps."""
    if steps := saved.get("planned_steps", 0):
        return (Segment(0, steps, 0.0),)
    return tuple(Segment(**segment) for segment in saved.get("segments", ()))
