"""Studies by name, read from the files in `questions`. This module imports no torch."""

from importlib import import_module
from pkgutil import iter_modules

from byol.errors import ConfigError, nearest
from byol.studies import questions
from byol.studies.study import Study


def _read_studies() -> tuple[dict[str, Study], list[str]]:
    """(studies by name, a sentence for each unreadable file). Raises ValueError if two studies have the same name."""
    studies: dict[str, Study] = {}
    broken: list[str] = []
    for module in iter_modules(questions.__path__, f"{questions.__name__}."):
        try:
            content = vars(import_module(module.name))
        except Exception as error:  # a broken file must not stop the other commands
            broken.append(f"{module.name} cannot be read: {type(error).__name__}: {error}.")
            continue
        for study in content.values():
            if isinstance(study, Study) and studies.setdefault(study.name, study) is not study:
                raise ValueError(f"Two studies have the name {study.name}; one of them is in {module.name}.")
    return studies, broken


STUDIES, BROKEN = _read_studies()


def find_study(name: str) -> Study:
    """The study with this name. Raises ConfigError with the nearest name if there is none."""
    if name not in STUDIES:
        hint = "".join(f" {sentence}" for sentence in BROKEN) or nearest(name, STUDIES)
        raise ConfigError(f"There is no study {name!r}; there are {', '.join(STUDIES)}.{hint}")
    return STUDIES[name]
