"""Studies by name: those of the files in `questions`. Imports no torch."""

from importlib import import_module
from pkgutil import iter_modules

from byol.errors import ConfigError, nearest
from byol.studies import questions
from byol.studies.study import Study


def _found() -> tuple[dict[str, Study], list[str]]:
    """(the studies, a sentence for each file that cannot be read). Raises ValueError where two studies have one name."""
    found: dict[str, Study] = {}
    broken: list[str] = []
    for module in iter_modules(questions.__path__, f"{questions.__name__}."):
        try:
            content = vars(import_module(module.name))
        except Exception as error:  # whatever a file under work has; the other commands go on
            broken.append(f"{module.name} cannot be read: {type(error).__name__}: {error}.")
            continue
        for study in content.values():
            if isinstance(study, Study) and found.setdefault(study.name, study) is not study:
                raise ValueError(f"Two studies are called {study.name}, one of them in {module.name}.")
    return found, broken


STUDIES, BROKEN = _found()


def find_study(name: str) -> Study:
    """The study called `name`. Raises ConfigError with the nearest name."""
    if name not in STUDIES:
        told = "".join(f" {sentence}" for sentence in BROKEN) or nearest(name, STUDIES)
        raise ConfigError(f"There is no study {name!r}; there are {', '.join(STUDIES)}.{told}")
    return STUDIES[name]
