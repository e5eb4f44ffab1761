"""Settings of runs as rows of text, and those that differ."""

from typing import Any

from byol.report.summary import RunSummary


def config_differences(runs: list[RunSummary]) -> list[tuple[str, list[str]]]:
    """Settings that differ between the runs, as (name, value in each run)."""
    flat = [_flat({"recipe": run.record["recipe"], "data": run.record["data"], **run.record["config"]}) for run in runs]
    names = list(dict.fromkeys(name for settings in flat for name in settings))
    rows = [(name, [plain(settings.get(name, "–")) for settings in flat]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def settings(run: RunSummary) -> list[tuple[str, str]]:
    """Every resolved setting as (name, value)."""
    return [(name, plain(value)) for name, value in _flat(run.record["config"]).items()]


def plain(value: Any) -> str:
    """The value of a setting as text."""
    if isinstance(value, float):
        return f"{value:g}"
    return " to ".join(map(plain, value)) if isinstance(value, list) and len(value) == 2 else str(value)


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
