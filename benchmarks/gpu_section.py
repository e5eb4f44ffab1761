"""One section of `benchmarks.gpu_check`, in a process of its own: a crash, or a call that hangs, ends this section alone.

A section is a function of a `Job` that yields parts of its entry in the record. Each is written at once, so that a
section that is stopped keeps what it found.
"""

import json
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from byol.runtime.files import finite

Part = dict[str, Any]
"""Entries of a section's record. The last `sentence` is the one that stays."""
PASSED, FAILED, IMPOSSIBLE = "passed", "failed", "not possible"


class ImpossibleError(Exception):
    """The section cannot run on this machine; the message is the reason."""


class WrongError(Exception):
    """A check of the section failed; the message says what was found."""


@dataclass(frozen=True)
class Job:
    """What a section is given."""

    device_name: str
    """cuda or cpu."""
    seconds: float
    """Time that the section should take, in seconds."""
    place: Path
    """An empty folder, which is deleted afterwards."""

    @property
    def device(self) -> torch.device:
        return torch.device(self.device_name)

    @property
    def is_small(self) -> bool:
        """Whether sizes are those of a test: on the CPU they tell nothing about speed."""
        return self.device_name == "cpu"

    def synchronize(self) -> None:
        """Waits until the device has done all that is queued."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()


Section = Callable[[Job], Iterator[Part]]


def run(function: str, job: Job, parts: Path) -> None:
    """Writes the parts of the section `function`, MODULE:NAME, as lines of JSON, then its status. Raises nothing."""

    def put(part: Part) -> None:
        with parts.open("a") as stream:
            stream.write(json.dumps(finite(part)) + "\n")

    try:
        module, name = function.split(":")
        section: Section = getattr(import_module(module), name)
        for part in section(job):
            put(part)
        put({"status": PASSED})
    except ImpossibleError as error:
        put({"status": IMPOSSIBLE, "sentence": str(error)})
    except WrongError as error:
        put({"status": FAILED, "sentence": str(error)})
    except ModuleNotFoundError as error:
        put({"status": IMPOSSIBLE, "sentence": f"the Python package {error.name} is not installed"})
    except Exception as error:
        sentence = f"{type(error).__name__}: {(str(error).splitlines() or ['no message'])[0]}"
        put({"status": FAILED, "sentence": sentence, "traceback": traceback.format_exc()[-4000:]})


if __name__ == "__main__":
    task = json.loads(sys.argv[1])
    run(task["function"], Job(task["device"], task["seconds"], Path(task["place"])), Path(task["parts"]))
