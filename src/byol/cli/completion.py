"""Shell completion: a script that completes the commands, their options and the options' values.

The script contains all names and starts no Python, so that completion is quick.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import tyro

from byol.evaluate.protocols.options import EVERY
from byol.recipes import RECIPES
from byol.studies import STUDIES

Shell = Literal["bash", "zsh", "fish"]
VALUES: dict[str, Sequence[str]] = {"--recipe": tuple(RECIPES), "--protocol": (*EVERY, "all")}
"""Values of options whose type does not list them."""
POSITIONAL: dict[str, Sequence[str]] = {
    "study": tuple(STUDIES),
    "recipes": tuple(RECIPES),
    "classify": ("fit", "predict"),
    "completion": get_args(Shell),
}
"""Values of the positional argument, by command. The other commands take file names."""
NO_OPTION = {get_args(tyro.conf.Positional[str])[1], get_args(tyro.conf.Suppress[str])[1]}


@dataclass(frozen=True)
class Completion:
    """Print a script that completes commands and options in bash, zsh or fish."""

    shell: tyro.conf.Positional[Shell]
    """Shell that the script is for."""


@dataclass(frozen=True)
class Option:
    """One command-line option."""

    name: str
    """Name with its dashes, such as `--data`."""
    takes_value: bool
    values: Sequence[str] = ()
    """Allowed values; empty if any value is allowed."""


def options(kind: type, prefix: str = "") -> Iterator[Option]:
    """The options that tyro derives from a dataclass, without positional and hidden arguments."""
    hints = get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        of, marks = _unwrapped(hints[field.name])
        name = next((mark.name for mark in marks if getattr(mark, "name", None)), field.name.replace("_", "-"))
        if any(mark in NO_OPTION for mark in marks):
            continue
        if dataclasses.is_dataclass(of):
            unnamed = any(getattr(mark, "name", None) == "" for mark in marks)
            yield from options(of, prefix if unnamed else f"{prefix}{name}.")  # pyright: ignore[reportArgumentType]
        elif of is bool:
            yield Option(f"--{prefix}{name}", False)
            yield Option(f"--{prefix}no-{name}", False)
        else:
            values = get_args(of) if get_origin(of) is Literal else VALUES.get(f"--{prefix}{name}", ())
            yield Option(f"--{prefix}{name}", True, values)


def script(shell: Shell, commands: Mapping[str, type]) -> str:
    """The completion script. `commands`: options class by command name."""
    table = {name: [*options(kind), Option("--help", False)] for name, kind in commands.items()}
    if shell == "fish":
        about = {name: (kind.__doc__ or "").splitlines()[0] for name, kind in commands.items()}
        return _fish(table, about)
    return (BASH if shell == "bash" else ZSH).format(
        commands=" ".join(table),
        values=_arms(
            {
                f'"{name} {option.name}"': option.values
                for name, command_options in table.items()
                for option in command_options
                if option.values
            }
        ),
        options=_arms({name: [option.name for option in command_options] for name, command_options in table.items()}),
        positional=_arms({name: POSITIONAL[name] for name in table if name in POSITIONAL}),
    )


def _unwrapped(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    return (get_args(hint)[0], get_args(hint)[1:]) if get_origin(hint) is Annotated else (hint, ())


def _arms(words: Mapping[str, Sequence[str]]) -> str:
    """The arms of a shell `case` statement; each sets the array `candidates`."""
    return "\n".join(f"        {pattern}) candidates=({' '.join(names)}) ;;" for pattern, names in words.items())


BASH = """\
# byol completion bash > ~/.local/share/bash-completion/completions/byol
_byol() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" command="${{COMP_WORDS[1]}}" candidates=()
    if ((COMP_CWORD == 1)); then
        candidates=({commands})
    else
        case "$command $before" in
{values}
        esac
        if ((${{#candidates[@]}} == 0)) && [[ $word == -* ]]; then
        case "$command" in
{options}
        esac
        elif ((${{#candidates[@]}} == 0)); then
        case "$command" in
{positional}
        esac
        fi
    fi
    COMPREPLY=($(compgen -W "${{candidates[*]}}" -- "$word"))
}}
complete -o default -F _byol byol
"""
ZSH = """\
#compdef byol
# byol completion zsh > a folder of $fpath, as the file _byol
_byol() {{
    local before="${{words[CURRENT-1]}}" command="${{words[2]}}"
    local -a candidates=()
    if ((CURRENT == 2)); then
        candidates=({commands})
    else
        case "$command $before" in
{values}
        esac
        if ((${{#candidates}} == 0)) && [[ $PREFIX == -* ]]; then
        case "$command" in
{options}
        esac
        elif ((${{#candidates}} == 0)); then
        case "$command" in
{positional}
        esac
        fi
    fi
    if ((${{#candidates}})); then compadd -- "${{candidates[@]}}"; else _files; fi
}}
if [[ "${{zsh_eval_context[-1]}}" == loadautofunc ]]; then _byol "$@"; else compdef _byol byol; fi
"""


def _fish(table: Mapping[str, Sequence[Option]], about: Mapping[str, str]) -> str:
    lines = ["# byol completion fish > ~/.config/fish/completions/byol.fish"]
    first = "test (count (commandline -opc)) -eq 1"
    lines += [f"complete -c byol -n '{first}' -f -a {name} -d {_quoted(about[name])}" for name in table]
    for name, command_options in table.items():
        command = f"complete -c byol -n '__fish_seen_subcommand_from {name}'"
        if name in POSITIONAL:
            lines.append(f"{command} -f -a '{' '.join(POSITIONAL[name])}'")
        for option in command_options:
            needs = f" -x -a '{' '.join(option.values)}'" if option.values else " -r" if option.takes_value else ""
            lines.append(f"{command} -l {option.name[2:]}{needs}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
