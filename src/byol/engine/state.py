"""Everything that changes during training, as one object: to save it is to save the run."""

from dataclasses import dataclass
from typing import Any

from torch.optim import Optimizer

from byol.methods.byol import BYOL


@dataclass
class State:
    """Weights (online, target, heads), optimizer buffers and the step. All chance is a function of the step."""

    method: BYOL
    optimizer: Optimizer
    step: int = 0

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers and plain containers only, so that it loads with `weights_only`."""
        return {
            "step": self.step,
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        self.method.load_state_dict(saved["method"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.step = saved["step"]
