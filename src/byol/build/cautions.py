"""What may surprise in a training that is about to begin, one line each."""

import math
from collections.abc import Collection

from byol.build.networks import method_parts
from byol.build.starts import starts_elsewhere
from byol.config import Config
from byol.engine.step import Schedule
from byol.optim.schedules import scale_tau
from byol.recipes.recipe import Recipe

START_LEFT = 0.05
ADVICE = {"lars": " (the paper: --optimizer.base-learning-rate 0.2 --optimizer.weight-decay 1.5e-6)"}
LEAST_TAU = 0.9
"""That is advised: the paper has no result between it and 0, with which BYOL collapsed (Table 5a)."""
FEW_IMAGES = 128


def cautions(
    config: Config, chosen: Recipe, given: Collection[str], schedule: Schedule, num_ranks: int = 1
) -> list[str]:
    """Of a resolved config beside its recipe's; `given` are the settings that the user named."""
    return [
        *_of_the_target(config, chosen, schedule),
        *_of_the_optimizer(config, chosen, given),
        *_of_norms(config, num_ranks),
        *_of_heads(config),
        *_of_weights_to_start_from(config, given),
        *_of_few_images(config, chosen, schedule),
    ]


def start_left(schedule: Schedule) -> float:
    """The share of its initial weights that the target ends with: the product of tau over all steps."""
    total = schedule.total_steps
    looked = range(0, total, max(1, total // 1000))
    taus = [schedule.tau(step) for step in looked]
    return 0.0 if min(taus) <= 0 else math.exp(total / len(looked) * sum(map(math.log, taus)))


def _of_the_target(config: Config, chosen: Recipe, schedule: Schedule) -> list[str]:
    if method_parts(config).target != "average" or config.encoder.has_weights:
        return []
    left, total = start_left(schedule), schedule.total_steps
    if left > START_LEFT:
        kept = f"the target keeps {100 * left:.0f} % of its random start to the end of {total} steps"
        shorter = 1 - 2 * math.log(100) / total
        if shorter < LEAST_TAU:
            return [f"{kept}: too few to learn much"]
        return [f"{kept}; --method.tau-base {shorter:.2g} would leave about 1 %"]
    recipes = chosen.config.batch_size
    if config.batch_size == recipes or config.method.tau_reference_batch:
        return []
    scaled = scale_tau(config.method.tau_base, config.batch_size, recipes)
    return [
        f"tau_base {config.method.tau_base:g} is the recipe's for a batch of {recipes}; at this one --method.tau-reference-batch {recipes} would make it {scaled:.4g}"
    ]


def _of_few_images(config: Config, chosen: Recipe, schedule: Schedule) -> list[str]:
    """Where `--minutes` would take another method, since so little can be trained on (docs/trials.md)."""
    seen = schedule.total_steps * config.batch_size
    has_other = any("method.name" in size.settings for size in chosen.sizes)
    is_new_byol = config.method.name == "byol" and not config.encoder.has_weights
    if not (has_other and is_new_byol and seen < chosen.sizes[0].least_images):
        return []
    return [
        f"{seen:,} images are trained on, every pass counted: few for BYOL, which begins slowly; below "
        f"{chosen.sizes[0].least_images:,} --minutes takes SimCLR, and weights to start from may be the better choice (docs/export.md)"
    ]


def _of_the_optimizer(config: Config, chosen: Recipe, given: Collection[str]) -> list[str]:
    now, before = config.optimizer, chosen.config.optimizer
    kept = [
        f"{name.replace('_', ' ')} {getattr(now, name):g}"
        for name in ("base_learning_rate", "weight_decay")
        if getattr(now, name) == getattr(before, name) and f"optimizer.{name}" not in given
    ]
    if now.name == before.name or not kept:
        return []
    return [
        f"{' and '.join(kept)} {'are' if len(kept) > 1 else 'is'} the recipe's for {before.name}, not for {now.name}{ADVICE.get(now.name, '')}"
    ]


def _of_weights_to_start_from(config: Config, given: Collection[str]) -> list[str]:
    """Measured with ImageNet's in docs/trials.md; a start from a run of one's own gained without."""
    if not starts_elsewhere(config.encoder):
        return []
    advice = []
    if config.encoder.norm == "batch" and "encoder.norm" not in given:
        advice.append("--encoder.norm frozen, where they have batch norm, whose averages would move")
    if config.optimizer.encoder_rate == 1 and "optimizer.encoder_rate" not in given:
        advice.append("--optimizer.encoder-rate 0.1")
    return [f"weights to start from can be lost by training on; what kept them: {'; '.join(advice)}"] if advice else []


def _of_heads(config: Config) -> list[str]:
    """Measured in docs/study-results.md."""
    h = config.heads
    is_measured = config.method.name == "byol" and h.predictor in ("auto", "mlp") and not h.weight_standardization
    if not is_measured or h.projector_norm not in ("none", "layer") or h.predictor_norm != h.projector_norm:
        return []
    found = {"none": "no norm", "layer": "layer norm"}[h.projector_norm]
    return [
        f"{found} in both heads: so the projections collapsed and the encoder gained nothing in 3 of 3 short trainings of "
        "byol study normalization; batch norm in one of them was enough"
    ]


def _of_norms(config: Config, num_ranks: int) -> list[str]:
    norms = (config.encoder.norm, config.heads.projector_norm, config.heads.predictor_norm)
    seen = config.micro_batch_size * num_ranks
    if "batch" not in norms or seen >= min(FEW_IMAGES, config.batch_size):
        return []
    return [
        f"batch norm sees {seen} images at a time, not {config.batch_size}: BYOL was 2.9 points worse with 128 than with 4096 (Table 16)"
    ]
