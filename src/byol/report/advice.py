"""Advice for the step after a training: a sentence, and commands to paste."""

import math
from typing import Any

from byol.config import as_options, changed_settings
from byol.diagnostics.collapse import FEWEST_STEPS, TOO_SHORT
from byol.recipes import recipe
from byol.report.comparison import Comparison
from byol.report.summary import RunSummary
from byol.runtime.words import command

Advice = tuple[str, list[str]]
"""A sentence and commands."""


def advice(run: RunSummary, comparison: Comparison | None = None) -> Advice:
    """Advice for the next step, by the state of the run and its accuracy beside the baselines."""
    resume = command("pretrain", "--resume", run.path)
    if run.state == "collapsed":
        half = float(run.record["config"]["optimizer"]["base_learning_rate"]) / 2
        return "Train again with half the learning rate; with BYOL, a higher --method.tau-base may help, too.", _again(
            run, 1, {"optimizer.base_learning_rate": half}
        )
    if run.result is None:
        again = command("report", run.path)
        return "The run is still training, or was killed. Look again later, or continue it.", [again, resume]
    if not run.finished:
        return "The run was stopped before its end. Continue it.", [resume]
    if run.state == TOO_SHORT:
        needed = int(run.record["derived"]["warmup_steps"]) + FEWEST_STEPS
        return "Train longer.", _again(run, 2 * math.ceil(needed / max(1, run.step)))
    if run.state == "partially collapsed":
        return "Train longer, and check that the views (below) still show the objects.", _again(run, 2)
    if comparison is not None and not comparison.is_ahead:
        return "Train longer: the encoder is not ahead of both baselines yet.", _again(run, 4)
    return _use(run)


def _use(run: RunSummary) -> Advice:
    data = run.record["data"]["data"] or "IMAGES"
    explore = command("explore", run.path, "--data", data)
    embed = command("embed", run.path, "--data", data, "--out", "vectors.parquet")
    evaluate = command("evaluate", run.path, "--data", "LABELLED")
    if run.measured:
        return "Search your images by example, or write one feature vector for each image.", [explore, embed]
    return "Search your images by example, write one feature vector for each image, or measure on labelled images.", [
        explore,
        embed,
        evaluate,
    ]


def _again(run: RunSummary, factor: int, settings: dict[str, Any] | None = None) -> list[str]:
    """The command of the same training with `factor` times its length, and with `settings` changed."""
    data, plan, trained = run.record["data"]["data"], run.record.get("plan"), run.trained
    if not data or trained.own_encoder:
        return []
    length = (
        ["--minutes", f"{factor * plan['minutes']:g}"] if plan else ["--epochs", f"{factor * trained.config.epochs:g}"]
    )
    asked = changed_settings(recipe(trained.recipe).config, trained.asked) | (settings or {})
    asked.pop("epochs", None)
    return [command("pretrain", "--data", data, "--recipe", trained.recipe, *length, *as_options(asked))]
