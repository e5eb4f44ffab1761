"""Studies by name: those of the files in `questions`. Imports no torch."""

from importlib import import_module
from pkgutil import iter_modules

from byol.errors import ConfigError, nearest
from byol.studies import questions
from byol.studies.study import Study


def _found() -> dict[str, Study]:
    """Raises ValueError where two studies have one name."""
    found: dict[str, Study] = {}
    for module in iter_modules(questions.__path__, f"{questions.__name__}."):
        for study in vars(import_module(module.name)).values():
            if isinstance(study, Study) and found.setdefault(study.name, study) is not study:
                raise ValueError(f"Two studies are called {study.name}, one of them in {module.name}.")
    return found


STUDIES = _found()


def find_study(name: str) -> Study:
    """The study called `name`. Raises ConfigError with the nearest name."""
    if name not in STUDIES:
        raise ConfigError(f"There is no study {name!r}; there are {', '.join(STUDIES)}.{nearest(name, STUDIES)}")
    return STUDIES[name]
