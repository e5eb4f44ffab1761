"""Provenance of exported weights, from the files of their run."""

from pathlib import Path
from typing import Any

from byol.assembly.networks import method_parts
from byol.assembly.trained_run import TrainedRun
from byol.config import Config, changed_settings
from byol.encoder.encoder_file import read_description, run_of
from byol.errors import ByolError
from byol.evaluate.results import read_results
from byol.recipes import recipe
from byol.runtime import checkpoint
from byol.runtime.files import read_json


def provenance_of_run(run: Path, weights: str) -> dict[str, Any]:
    """Data, settings and results behind the weights of a run or a checkpoint; empty if the folder is not a run.

    `weights`: their fingerprint, as in results.
    """
    folder = run_of(run)
    result = read_json(folder / "result.json") or {}
    if folder != run:
        result = {"finished": False, "step": checkpoint.step_of(run)}
    try:
        trained = TrainedRun.open(folder)
        config = trained.config
        changed = changed_settings(recipe(trained.recipe).config, trained.asked)
        name = Path(trained.data.data).name or "images from Python"
        tau = f"tau from {config.method.tau_base:g} ({config.method.tau_schedule})"
        training = {
            "data": f"{name}, {trained.num_images} images, no labels used",
            "recipe": trained.recipe + "".join(f", {key} {value}" for key, value in changed.items()),
            "length": f"{config.epochs:g} epochs in steps of {config.batch_size} images"
            + ("" if result.get("finished", True) else f", stopped at step {result['step']}"),
            "optimizer": f"{config.optimizer.name}, base rate {config.optimizer.base_learning_rate:g} per 256 images, "
            f"weight decay {config.optimizer.weight_decay:g}",
            **({"target": tau} if method_parts(config).target == "average" else {}),
            "seed": config.seed,
            "collapse watch": result.get("verdict", "not recorded"),
            "started from": _start(config),
        }
    except (ByolError, KeyError, TypeError):
        return {}
    title = method_parts(config).title
    how = {} if config.method.name == "byol" else {"how": f"pretrained without labels by {title}"}
    return {**how, **_licence_of_start(config), "training": training, "metrics": _measured(run, weights)}


def _start(config: Config) -> str:
    if config.encoder.init:
        return f"the encoder {Path(config.encoder.init).name}"
    return f"timm's {config.encoder.name}" if config.encoder.pretrained else "random weights"


def _licence_of_start(config: Config) -> dict[str, str]:
    """The licence of the initial weights, which also applies to the trained ones; empty if unknown."""
    if not config.encoder.init:
        return {}
    try:
        start = read_description(config.encoder.init).provenance
    except ByolError:  # the folder no longer exists
        return {}
    name = Path(config.encoder.init).name
    return (
        {"licence": start["licence"], "licence_source": f"licence of the initial weights, {name}"}
        if start.get("licence")
        else {}
    )


def _measured(run: Path, weights: str) -> list[dict[str, Any]]:
    """The results for exactly these weights, without the target network, earlier steps, and training from scratch."""
    results = []
    for record in read_results(run):
        if (
            record.get("weights") != weights
            or record["protocol"] == "supervised"
            or "from-scratch" in record["variant"]
        ):
            continue
        test = f"{record['test']['num_images']} of {Path(record['test']['images']).name}"
        detail = "; ".join(part for part in (_settings(record["settings"]), record["differs"]) if part)
        for metric, score in list(record["metrics"].items())[:1]:
            results.append({"protocol": f"{record['protocol']}, {metric} ({detail})", "test": test, **score})
    return results


def _settings(settings: dict[str, Any]) -> str:
    plain = {n: v for n, v in settings.items() if isinstance(v, int | float | str) and not isinstance(v, bool)}
    return ", ".join(f"{name} {value}" for name, value in plain.items())
