"""Progress output: a line that updates itself in a terminal, plain lines elsewhere."""

import base64
import math
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from byol.runtime.duration import in_words
from byol.runtime.listener import Listener

if TYPE_CHECKING:
    from byol.engine.progress import Progress


PLAIN_INTERVAL_SECONDS = 600
"""Longest time between two lines of progress where there is no live line."""
PLAIN_LINES = 4
"""Number of equal parts of a training; each but the last ends with a line of progress where there is no live line."""
WORK_INTERVAL_SECONDS = 15
"""Time between two lines of progress of any other task."""
SHORTEST_BAR, LONGEST_BAR = 8, 40
WORDS_WIDTH = 70
"""Largest width of the text beside the progress bar, in columns."""
COLOURS = {"healthy": "green", "partially collapsed": "yellow", "collapsed": "bold red"}


class Console:
    """Prints messages and progress. Use it as a context manager, so that the live line is removed at the end."""

    def __init__(self) -> None:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        class RaisingConsole(RichConsole):
            def on_broken_pipe(self) -> None:
                raise  # rich would end the process, in the middle of a training

        self._console = RaisingConsole(highlight=False, soft_wrap=True)
        bar = min(LONGEST_BAR, max(SHORTEST_BAR, self._console.width - WORDS_WIDTH))
        self._live = (
            RichProgress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=bar),
                TextColumn("{task.percentage:>3.0f} %"),
                TextColumn("{task.fields[note]}"),
                console=self._console,
                transient=True,
            )
            if self._console.is_terminal
            else None
        )
        self._task = None
        self._shown_at = 0.0
        self._shown_part = 0

    def __enter__(self) -> "Console":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.stop()

    def say(self, line: str) -> None:
        """Prints a line above the live line."""
        self._console.print(line, markup=False)
        sys.stdout.flush()

    def show(self, progress: "Progress") -> None:
        """Shows the progress of a training. The live line fits into 80 columns."""
        p = progress
        left = f", {in_words(p.remaining_seconds)} left" if math.isfinite(p.remaining_seconds) else ""
        speed = f"{p.images_per_second:.0f} images/s{left}"
        if self._live:
            colour = COLOURS.get(p.health, "default")
            self._update(f"[{colour}]{p.health}[/]", p.step, p.total_steps, f"loss {p.loss:.3f}, {speed}")
        else:
            self._show_plain(p, f"loss {p.loss:.3f}, {p.health}, {speed}")

    def work(self, what: str, done: int, total: int) -> None:
        """Shows that `done` of `total` items of the task `what` are finished."""
        self._update(what, done, total, f"{done} of {total}")

    @property
    def listener(self) -> Listener:
        """A listener that prints to this console."""
        return Listener(self.say, self.work, self.show)

    def overall(self, share: float, note: str) -> None:
        """Shows the progress of several runs together. `share`: finished fraction, from 0 to 1."""
        self._update("all runs", share, 1, note)

    def table(self, header: list[str], rows: list[list[str]]) -> None:
        """Prints a table whose columns are as wide as their longest cell."""
        widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
        for row in [header, ["-" * w for w in widths], *rows]:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    def _update(self, what: str, done: float, total: int, note: str) -> None:
        if self._live:
            if self._task is None:
                self._task = self._live.add_task(what, total=total, note=note)
            self._live.update(
                self._task, description=what, completed=done, total=total, note=note, visible=done < total
            )
        elif done >= total or time.monotonic() - self._shown_at > WORK_INTERVAL_SECONDS:
            self._shown_at = time.monotonic()
            self.say(f"{what}: {note}")

    def _show_plain(self, progress: "Progress", note: str) -> None:
        step, total, now = progress.step, progress.total_steps, time.monotonic()
        part = PLAIN_LINES * step // total
        self._shown_at = self._shown_at or now
        if step < total and (part != self._shown_part or now - self._shown_at > PLAIN_INTERVAL_SECONDS):
            self._shown_part, self._shown_at = part, now
            self.say(f"pretraining {step}/{total}: {note}")


def show_picture(path: Path) -> bool:
    """Shows a PNG file in the terminal if it supports the image protocol of kitty or iTerm2. Returns whether it did."""
    if not sys.stdout.isatty() or os.environ.get("TMUX"):
        return False
    code = picture_code(path.read_bytes(), os.environ)
    if code:
        print(code)
    return bool(code)


def picture_code(content: bytes, environment: Mapping[str, str]) -> str:
    """The control sequence that shows a PNG picture; empty if the terminal is not known to support one."""
    packed = base64.b64encode(content).decode()
    program, kind = environment.get("TERM_PROGRAM", ""), environment.get("TERM", "")
    if "KITTY_WINDOW_ID" in environment or "kitty" in kind or program == "ghostty":
        parts = [packed[start : start + 4096] for start in range(0, len(packed), 4096)]
        heads = ["a=T,f=100," if number == 0 else "" for number in range(len(parts))]
        return "".join(
            f"\033_G{head}m={int(number < len(parts) - 1)};{part}\033\\"
            for number, (head, part) in enumerate(zip(heads, parts, strict=True))
        )
    if program in ("iTerm.app", "WezTerm"):
        return f"\033]1337;File=inline=1;size={len(content)}:{packed}\a"
    return ""
