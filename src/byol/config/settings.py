"""Functions on settings by dotted name, such as `views.size` and `optimizer.name`."""

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from byol.config.config import Config
from byol.errors import ConfigError, nearest

T = TypeVar("T")


def to_dict(config: Any) -> dict[str, Any]:
    """The config as nested dicts and lists, ready for JSON."""
    return {
        name: to_dict(value) if dataclasses.is_dataclass(value) else list(value) if isinstance(value, tuple) else value
        for name, value in ((f.name, getattr(config, f.name)) for f in dataclasses.fields(config))
    }


def from_dict(kind: type[T], values: Mapping[str, Any], path: str = "") -> T:
    """The inverse of `to_dict`. Raises ConfigError for unknown names and wrong types."""
    hints = get_type_hints(kind)
    arguments = {}
    for name, value in values.items():
        if name not in hints:
            raise ConfigError(f"There is no setting {path + name!r}.{nearest(name, hints)}")
        arguments[name] = _convert(hints[name], value, path + name)
    return kind(**arguments)


def replaced(config: Config, overrides: Mapping[str, Any]) -> Config:
    """A copy of `config` with some dotted settings replaced, e.g. {"optimizer.name": "sgd", "epochs": 20}.

    Raises ConfigError for unknown names and wrong types.
    """
    tree = to_dict(config)
    for dotted, value in overrides.items():
        *parents, leaf = dotted.split(".")
        place: Any = tree
        for part in parents:
            place = place.get(part) if isinstance(place, dict) else None
        if not isinstance(place, dict) or leaf not in place:
            raise ConfigError(f"There is no setting {dotted!r}.{nearest(dotted, dotted_names(to_dict(config)))}")
        place[leaf] = value
    return from_dict(Config, tree)


def changed_settings(old: Config, new: Config) -> dict[str, Any]:
    """The settings of `new` that differ from `old`, by dotted name: `replaced(old, changed_settings(old, new))` is `new`."""
    before, after = dotted_names(to_dict(old)), dotted_names(to_dict(new))
    return {name: after[name] for name in before if before[name] != after[name]}


def settings_on_command_line(arguments: Sequence[str]) -> frozenset[str]:
    """Dotted names of the settings on a command line, given as `--optimizer.name sgd` or `--optimizer.name=sgd`."""
    named = {word.partition("=")[0].removeprefix("--") for word in arguments if word.startswith("--")}
    names = {name.replace("-", "_") for name in named}
    plain = {re.sub(r"(^|\.)no_", r"\1", name) for name in names}  # a flag: --no-channels-last
    return frozenset((names | plain) & dotted_names(to_dict(Config())).keys())


def as_options(settings: Mapping[str, Any]) -> list[str]:
    """The command-line words that set these dotted settings."""
    words: list[str] = []
    for name, value in settings.items():
        *groups, leaf = name.replace("_", "-").split(".")
        if isinstance(value, bool):
            words.append("--" + ".".join([*groups, leaf if value else f"no-{leaf}"]))
        else:
            words.append("--" + ".".join([*groups, leaf]))
            words += map(str, value if isinstance(value, list | tuple) else [value])
    return words


def pick(config: Config, names: Collection[str]) -> dict[str, Any]:
    """The values of the dotted settings in `names`."""
    return {name: value for name, value in dotted_names(to_dict(config)).items() if name in names}


def differences(old: Config, new: Config) -> list[str]:
    """One line per setting that differs: `name: old -> new`."""
    before = dotted_names(to_dict(old))
    return [f"{name}: {before[name]} -> {value}" for name, value in changed_settings(old, new).items()]


def dotted_names(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flat dict of a nested one: {"a": {"b": 1}} becomes {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat.update(dotted_names(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value})
    return flat


def _convert(hint: Any, value: Any, path: str) -> Any:
    if dataclasses.is_dataclass(hint):
        if dataclasses.is_dataclass(value):
            value = to_dict(value)
        if not isinstance(value, Mapping):
            raise ConfigError(f"{path} must be a group of settings; found {value!r}.")
        return from_dict(hint, value, f"{path}.")  # pyright: ignore[reportArgumentType]
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise ConfigError(f"{path} must be one of {', '.join(get_args(hint))}; found {value!r}.")
        return value
    if get_origin(hint) is tuple:
        item, *rest = get_args(hint)
        wanted = None if rest == [Ellipsis] else 1 + len(rest)
        if not isinstance(value, list | tuple) or (wanted is not None and len(value) != wanted):
            raise ConfigError(f"{path} must be a list of {wanted or 'any number of'} numbers; found {value!r}.")
        return tuple(_convert(item, entry, path) for entry in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ConfigError(f"{path} must be of type {hint.__name__}; found {value!r}.")
    return value
