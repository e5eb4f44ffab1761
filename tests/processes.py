"""Processes of their own that start in milliseconds: forked from one that has imported what a training needs."""

import os
import sys
import tempfile
from multiprocessing import get_context, set_start_method
from pathlib import Path

METHOD = "forkserver"
CONTEXT = get_context(METHOD)
CONTEXT.set_forkserver_preload(
    [
        "byol.commands.pretrain",
        "byol.report.write",
        "byol.cli.console",
        "timm",
        "torchvision",
        "torch._dynamo",
        "rich.live",
        "rich.table",
    ]
)


class Command:
    """`byol` with `arguments`, started in a process of its own."""

    def __init__(self, *arguments: str | Path, num_threads: int | None = None) -> None:
        descriptor, name = tempfile.mkstemp()
        os.close(descriptor)
        self._output = Path(name)
        self.process = CONTEXT.Process(target=_run, args=([*map(str, arguments)], name, os.getcwd(), num_threads))
        self.process.start()

    def wait(self, timeout: float = 600) -> tuple[int, str]:
        """(exit code, or minus the signal; all that it printed). Kills it where it lasts longer than `timeout` seconds."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        output = self._output.read_text()
        self._output.unlink()
        assert self.process.exitcode is not None
        return self.process.exitcode, output


def _run(arguments: list[str], output: str, folder: str, num_threads: int | None) -> None:
    import torch

    from byol.cli.main import main

    with open(output, "a") as stream:
        for descriptor in (1, 2):
            os.dup2(stream.fileno(), descriptor)
    os.chdir(folder)
    set_start_method(None, force=True)  # the platform's own for what it starts itself, as the command has it
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    sys.argv = ["byol", *arguments]
    main(arguments)
