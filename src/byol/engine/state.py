"""Everything that changes during training, as one object: to save it is to save the run."""

from dataclasses import dataclass, field
from typing import Any

from torch.optim import Optimizer

from byol.diagnostics.collapse import CollapseWatch
from byol.methods.network import Method


@dataclass
class State:
    """Weights (online, target, heads), optimizer buffers, the step, the last collapse watch. Chance follows the step."""

    method: Method
    optimizer: Optimizer
    step: int = 0
    num_skipped_steps: int = 0
    """Steps whose gradient was not finite, where such are skipped."""
    planned_steps: int = 0
    """The steps of the whole training where a plan by time was corrected on the way; 0: as many as the config says."""
    collapse: CollapseWatch | None = None
    measures: dict[str, float] = field(default_factory=dict)
    """What the same look found besides (`diagnostics.measures.measure_step`)."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers and plain containers only, so that it loads with `weights_only`."""
        return {
            "step": self.step,
            "num_skipped_steps": self.num_skipped_steps,
            "planned_steps": self.planned_steps,
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "collapse": self.collapse.as_dict() if self.collapse is not None else None,
            "measures": dict(self.measures),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restores what `state_dict` gave; the optimizer's settings stay those that it was made with."""
        self.method.load_state_dict(saved["method"])
        pairs = zip(self.optimizer.state_dict()["param_groups"], saved["optimizer"]["param_groups"], strict=True)
        groups = [{**own, "params": group["params"]} for own, group in pairs]  # `fused` tells where the state goes
        self.optimizer.load_state_dict({**saved["optimizer"], "param_groups": groups})
        self.step = saved["step"]
        self.num_skipped_steps = saved["num_skipped_steps"]
        self.planned_steps = saved.get("planned_steps", 0)
        self.collapse = CollapseWatch(**saved["collapse"]) if saved["collapse"] is not None else None
        self.measures = dict(saved.get("measures", {}))
