"""The command line `byol`. Parsing imports no torch, so that help is quick; each command imports what it needs."""

import io
import os
import re
import shlex
import shutil
import sys
from dataclasses import fields, is_dataclass, replace
from typing import Any

import tyro

from byol.cli import adapt, classify, curate, evaluate, explore, export, prepare, pretrain, report, study
from byol.cli.completion import Completion, script
from byol.cli.options import USAGE_ERROR, Commands
from byol.config import settings_on_command_line
from byol.errors import AmbiguousDataError, ByolError, ConfigError, nearest
from byol.recipes import recipe
from byol.runtime.paths import user_path
from byol.runtime.version import VERSION

SHARED = ("pretrain", "study")
"""Commands that may run under torchrun. `study` prints its own message there."""
WITH_RECIPE = (pretrain.Pretrain, adapt.Adapt, prepare.Preview, prepare.Doctor)
"""Options whose defaults are the settings of a recipe."""
WITHOUT_POSITIONAL = (pretrain.Pretrain, prepare.Preview, prepare.Doctor, prepare.CheckData)
"""Options of commands that take their images by --data alone."""
FLAT = ("config", "options", "place")
"""Groups of options that have no prefix."""
NARROWEST = 40
"""Narrowest width of help, in columns; narrower terminals get this width."""
LARGEST_NUMBER = 2**53
"""Largest number in an option: larger ones are typing errors, and no integer of torch holds them."""
RENAMED = {
    "knn": "byol evaluate RUN --data LABELLED --protocol knn --knn.k 200 --knn.temperature 0.1",
    "linear": "byol evaluate RUN --data LABELLED --protocol linear-fast",
}
"""Commands of earlier versions, each with the command that replaces it."""


def main(arguments: list[str] | None = None) -> None:
    """Runs one command and exits with its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    if shutil.get_terminal_size().columns < NARROWEST:
        os.environ["COLUMNS"] = str(NARROWEST)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(
                errors="backslashreplace"
            )  # a file name may contain characters that the terminal cannot show
    try:
        try:
            code = _run([_with_home(argument) for argument in arguments])
        finally:
            sys.stdout.flush()  # here, so that a closed pipe is handled below
        sys.exit(code)
    except ByolError as error:
        print(f"byol: {error}", file=sys.stderr)
        if isinstance(error, AmbiguousDataError):
            for choice in error.choices:
                print(f"  {_with_data(arguments, error.name, choice)}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("byol: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        try:
            print(flush=True)
        except BrokenPipeError:  # the reader of the output has closed it, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        raise
    except (OSError, MemoryError, RuntimeError) as error:
        message = _environment_error(error)
        if not message:
            raise
        print(f"byol: {message}", file=sys.stderr)
        sys.exit(1)


def _with_home(argument: str) -> str:
    """The argument with `~` expanded at the start of a path, which a shell leaves as it is in --out=~/x."""
    option, path = re.fullmatch(r"(-?[-\w.]*=)?(.*)", argument, re.DOTALL).groups("")  # pyright: ignore[reportOptionalMemberAccess]
    return f"{option}{user_path(path)}" if path.startswith("~") else argument


def _with_data(arguments: list[str], name: str, data: str) -> str:
    """The command to paste that has `data` where the arguments have the images `name`."""
    words = ["byol"]
    for argument in arguments:
        option = re.fullmatch(r"(--(?:test-)?data=)?(.*)", argument, re.DOTALL)
        prefix, value = option.groups("") if option else ("", argument)
        is_data = value == name and (prefix or words[-1] in ("--data", "--test-data"))
        words.append(f"{prefix}{data}" if is_data else argument)
    return shlex.join(words)


def _environment_error(error: BaseException) -> str:
    """A message for errors caused by the machine (disk, memory); empty if the error is a bug of this package."""
    if isinstance(error, OSError):
        place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        return f"{place}{error.strerror or error}. Correct this, or choose another path."
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        reason = (str(error).splitlines() or ["MemoryError"])[0]
        return f"The memory is full ({reason}). Close other programs, or use a smaller batch, smaller views or a smaller encoder."
    return ""


def _run(arguments: list[str]) -> int:
    if arguments and arguments[0] == "--version":
        print(f"byol {VERSION}")
        return 0
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    name, *rest = arguments
    if name in RENAMED:
        print(f"byol: {name} is now {RENAMED[name]}", file=sys.stderr)
        return USAGE_ERROR
    if name not in COMMANDS:
        print(
            f"byol: there is no command {name!r}.{nearest(name, COMMANDS)} Commands: {', '.join(COMMANDS)}",
            file=sys.stderr,
        )
        return USAGE_ERROR
    if name not in SHARED and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        print(f"byol: {name} runs in one process: start it without torchrun", file=sys.stderr)
        return USAGE_ERROR
    return COMMANDS[name][1](parse(name, rest))


def parse(name: str, arguments: list[str]) -> Any:
    """The options of the command `name`. Exits with a message if they cannot be parsed, and after `--help`."""
    kind, _ = COMMANDS[name]
    if kind in WITHOUT_POSITIONAL and arguments and not arguments[0].startswith("-"):
        command = shlex.join(["byol", name, "--data", *arguments])
        print(f"byol: {name} needs an option for its images: {command}", file=sys.stderr)
        sys.exit(USAGE_ERROR)
    if kind in WITH_RECIPE:
        default = kind(
            config=recipe(_chosen_recipe(arguments)).config,
            **({"data": tyro.MISSING} if kind is prepare.Preview else {}),
        )
        options = tyro.cli(kind, prog=f"byol {name}", args=arguments, default=default)
    else:
        options = tyro.cli(kind, prog=f"byol {name}", args=arguments)
    _require_numbers(options)
    if kind in (*WITH_RECIPE, pretrain.Demo):
        options = replace(options, given=settings_on_command_line(arguments))
    return options


def _require_numbers(options: Any, prefix: str = "--") -> None:
    """Raises ConfigError for a number that is not finite, or larger than any use."""
    for field in fields(options):
        value = getattr(options, field.name)
        if is_dataclass(value):
            _require_numbers(value, prefix if field.name in FLAT else f"{prefix}{field.name}.")
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int | float) and not abs(number) <= LARGEST_NUMBER:
                raise ConfigError(
                    f"{prefix}{field.name.replace('_', '-')} must be a number of usual size; found {number:.4g}."
                )


def _overview() -> str:
    lines = ["usage: byol COMMAND [OPTIONS]", ""]
    lines += [f"  {name:15} {(kind.__doc__ or '').splitlines()[0]}" for name, (kind, _) in COMMANDS.items()]
    return "\n".join([*lines, "", "byol COMMAND --help shows the options of a command."])


def _chosen_recipe(arguments: list[str]) -> str:
    for place, argument in enumerate(arguments):
        if argument == "--recipe" and place + 1 < len(arguments):
            return arguments[place + 1]
        if argument.startswith("--recipe="):
            return argument.partition("=")[2]
    return "small"


def run_completion(options: Completion) -> int:
    print(script(options.shell, {name: kind for name, (kind, _) in COMMANDS.items()}), end="")
    return 0


COMMANDS: Commands = {
    **pretrain.COMMANDS,
    **adapt.COMMANDS,
    **evaluate.COMMANDS,
    **classify.COMMANDS,
    **report.COMMANDS,
    **curate.COMMANDS,
    **explore.COMMANDS,
    **export.COMMANDS,
    **prepare.COMMANDS,
    **study.COMMANDS,
    "completion": (Completion, run_completion),
}
