"""Warnings about a training before it starts, one line each."""

import math
from collections.abc import Collection

from byol.assembly.networks import method_parts
from byol.assembly.starts import starts_elsewhere
from byol.config import Config
from byol.data.things import Things
from byol.engine.schedule import Schedule
from byol.optim.schedules import scale_tau
from byol.recipes.recipe import Recipe

START_LEFT = 0.05
"""Largest fraction of its initial weights that the target may end with, without a warning."""
ADVICE = {"lars": " (the paper: --optimizer.base-learning-rate 0.2 --optimizer.weight-decay 1.5e-6)"}
"""Hint after the warning about settings of another optimizer, by optimizer."""
LEAST_TAU = 0.9
"""Smallest tau_base that a warning advises. The paper has no result between it and 0, and BYOL collapsed with 0 (Table 5a)."""
MOST_BESIDE = 0.5
"""Largest expected number of other pictures of an image's thing in its batch without a warning, where the loss has negatives."""
FEW_IMAGES = 128
"""Batch norm over fewer images than this gives a warning."""


def cautions(
    config: Config, recipe: Recipe, given: Collection[str], schedule: Schedule, num_ranks: int = 1
) -> list[str]:
    """Warnings about a resolved config. `recipe`: the recipe it is based on; `given`: dotted settings that the user gave."""
    return [
        *_about_target(config, recipe, schedule),
        *_about_optimizer(config, recipe, given),
        *_about_norms(config, num_ranks),
        *_about_heads(config),
        *_about_initial_weights(config, given),
        *_about_few_images(config, recipe, schedule),
    ]


def about_pairs(config: Config, things: Things | None) -> list[str]:
    """A warning if a loss with negatives often pushes pictures of one thing apart. `things`: those of `views.pairs`."""
    method = config.method
    has_negatives = method.name == "simclr" or (method.name == "infonce" and method.beta > 0)
    if things is None or not has_negatives or (beside := things.beside(config.batch_size)) <= MOST_BESIDE:
        return []
    return [
        f"{method.name} pushes the images of a batch apart, and a batch of {config.batch_size} has on average {beside:.1f} other "
        "pictures of an image's own thing: a smaller --batch-size has fewer, and --method.name byol pushes none apart"
    ]


def start_left(schedule: Schedule) -> float:
    """Fraction of its initial weights that the target ends with: the product of tau over all steps."""
    total = schedule.total_steps
    sampled = range(0, total, max(1, total // 1000))
    taus = [schedule.tau(step) for step in sampled]
    return 0.0 if min(taus) <= 0 else math.exp(total / len(sampled) * sum(map(math.log, taus)))


def _about_target(config: Config, recipe: Recipe, schedule: Schedule) -> list[str]:
    if method_parts(config).target != "average" or config.encoder.has_weights:
        return []
    left, total = start_left(schedule), schedule.total_steps
    if left > START_LEFT:
        finding = f"after {total} steps the target still has {100 * left:.0f} % of its random initial weights"
        advised = 1 - 2 * math.log(100) / total
        if advised < LEAST_TAU:
            return [f"{finding}: too few steps to learn much"]
        return [f"{finding}; --method.tau-base {advised:.2g} would leave about 1 %"]
    recipe_batch = recipe.config.batch_size
    if config.batch_size == recipe_batch or config.method.tau_reference_batch:
        return []
    scaled = scale_tau(config.method.tau_base, config.batch_size, recipe_batch)
    return [
        f"tau_base {config.method.tau_base:g} is the recipe's value for batches of {recipe_batch} images; --method.tau-reference-batch {recipe_batch} would scale it to {scaled:.4g} for this batch size"
    ]


def _about_few_images(config: Config, recipe: Recipe, schedule: Schedule) -> list[str]:
    """A warning if `--minutes` would choose another method for so few images (docs/trials.md)."""
    num_trained = schedule.total_steps * config.batch_size
    has_other = any("method.name" in size.settings for size in recipe.sizes)
    is_new_byol = config.method.name == "byol" and not config.encoder.has_weights
    if not (has_other and is_new_byol and num_trained < recipe.sizes[0].least_images):
        return []
    return [
        f"{num_trained:,} images in all passes together are few for BYOL, which learns slowly at first. Below "
        f"{recipe.sizes[0].least_images:,} --minutes chooses SimCLR; pretrained initial weights may be better still (byol adapt)"
    ]


def _about_optimizer(config: Config, recipe: Recipe, given: Collection[str]) -> list[str]:
    now, before = config.optimizer, recipe.config.optimizer
    unchanged = [
        f"{name.replace('_', ' ')} {getattr(now, name):g}"
        for name in ("base_learning_rate", "weight_decay")
        if getattr(now, name) == getattr(before, name) and f"optimizer.{name}" not in given
    ]
    if now.name == before.name or not unchanged:
        return []
    return [
        f"{' and '.join(unchanged)} {'are' if len(unchanged) > 1 else 'is'} the recipe's for {before.name}, not for {now.name}{ADVICE.get(now.name, '')}"
    ]


def _about_initial_weights(config: Config, given: Collection[str]) -> list[str]:
    """A warning for weights that were trained elsewhere, as measured with ImageNet weights (docs/trials.md).

    Weights from a run of one's own improved without these settings.
    """
    if not starts_elsewhere(config.encoder):
        return []
    advice = []
    if config.encoder.norm == "batch" and "encoder.norm" not in given:
        advice.append("--encoder.norm frozen, which keeps batch-norm averages fixed")
    if config.optimizer.encoder_rate == 1 and "optimizer.encoder_rate" not in given:
        advice.append("--optimizer.encoder-rate 0.03")
    return (
        [f"training can destroy what pretrained weights have learned. These settings kept it: {'; '.join(advice)}"]
        if advice
        else []
    )


def _about_heads(config: Config) -> list[str]:
    """A warning about heads without batch norm, as measured in docs/study-results.md."""
    h = config.heads
    is_measured = config.method.name == "byol" and h.predictor in ("auto", "mlp") and not h.weight_standardization
    if not is_measured or h.projector_norm not in ("none", "layer") or h.predictor_norm != h.projector_norm:
        return []
    norm = {"none": "no norm", "layer": "layer norm"}[h.projector_norm]
    return [
        f"{norm} in both heads: in byol study normalization the projections collapsed and the encoder learned nothing in 3 of 3 "
        "short trainings; batch norm in one of the heads was enough"
    ]


def _about_norms(config: Config, num_ranks: int) -> list[str]:
    norms = (config.encoder.norm, config.heads.projector_norm, config.heads.predictor_norm)
    images_per_norm = config.micro_batch_size * num_ranks
    if "batch" not in norms or images_per_norm >= min(FEW_IMAGES, config.batch_size):
        return []
    return [
        f"batch norm sees {images_per_norm} images at a time, not {config.batch_size}: BYOL was 2.9 points worse with 128 than with 4096 (Table 16)"
    ]
