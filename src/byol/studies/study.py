"""Studies: a question, variants that differ in one setting, and the expected shapes of their results.

This module imports no torch, because the command line lists the studies.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

ScaleName = Literal["tiny", "small", "paper"]
EVERY_SCALE: tuple[ScaleName, ...] = ("tiny", "small", "paper")
UNTRAINED = "encoder, untrained"
"""Name of the encoder before training; each study also measures its accuracies."""
Probe = Literal["l-bfgs", "sgd"]
"""Kind of linear probe. l-bfgs: on cached features. sgd: the paper's protocol (`protocols.linear_sgd`), slower, less memory."""
Measure = Literal[
    "knn",
    "linear",
    "std_ratio",
    "effective_rank",
    "positive_cosine",
    "negative_cosine",
    "source_variance",
    "target_variance",
]


@dataclass(frozen=True)
class Variant:
    """One of the compared trainings of a study."""

    name: str
    settings: Mapping[str, Any]
    """Settings by dotted name, which replace the scale's."""
    paper: float | None = None
    """Result in the source, in the study's `paper_metric`; None if the source has none."""
    paper_settings: Mapping[str, Any] | None = None
    """Settings at scale paper instead of `settings`; None: the same."""
    paper_name: str = ""
    """The source's name for the variant, if it differs from `name`."""
    passes: float = 1.0
    """Epochs as a fraction of the other variants': 1 / relative cost of an image, for a comparison at equal compute."""


@dataclass(frozen=True)
class Contrast:
    """Expectation that a weighted sum of the variants' results is above 0: {a: 1, b: -1} expects a to be above b."""

    text: str
    weights: Mapping[str, float]
    gap: float | None
    """The weighted sum in the source, in the measure's unit (accuracy for kNN and the linear probe); None if unknown.

    If the interval of our result is wider, the shape is underpowered.
    """
    measure: Measure = "knn"
    scales: tuple[ScaleName, ...] = EVERY_SCALE
    """Scales at which the source gives reason to expect it."""


@dataclass(frozen=True)
class Collapse:
    """Expectation that a variant collapses, or does not collapse, in every seed."""

    text: str
    variant: str
    expected: bool = True
    scales: tuple[ScaleName, ...] = EVERY_SCALE
    """Scales at which the source gives reason to expect it."""


Shape = Contrast | Collapse


@dataclass(frozen=True)
class Scale:
    """Size of a study's runs, the same for all variants."""

    recipe: str
    data: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    variants: tuple[str, ...] = ()
    """Names of the variants at this scale; empty: all."""
    question: str = ""
    """Question with this scale's numbers, instead of the study's; empty: the study's."""
    minutes: float | None = None
    """Minutes for the whole study, from which the images per run follow; None: the settings give the epochs."""
    probe: Probe = "l-bfgs"


TWO_LAYERS = {"heads.projector_depth": 2}
"""Settings of the paper's projector with two layers; the recipe `sample` has one layer."""
TINY = Scale("sample", "sample", {**TWO_LAYERS, "encoder.width": 0.25}, minutes=60.0)
"""Scale tiny. Half the recipe's width allows twice the images in the same time."""
TINY_COLOUR = replace(TINY, data="cifar10")
SMALL = Scale("sample", "cifar10", {**TWO_LAYERS, "epochs": 10.0})
"""Scale small: 500,000 images per run, about a quarter of an hour on two cores."""
PAPER = Scale("imagenet-300", "imagenet", probe="sgd")
SIMCLRS_HEADS = {"heads.projector_hidden": 2048, "heads.projector_output": 128, "heads.projector_output_norm": True}
"""Heads of the paper's SimCLR in its studies of augmentations and batch sizes. With BYOL's heads it reports 69.2 (F.5)."""
PAPERS_ABLATIONS = "300 epochs of ResNet-50"
"""Training behind the tables in the BYOL paper, which scale paper repeats."""


@dataclass(frozen=True)
class Study:
    """A question, the variants that answer it, and the results expected before the first run."""

    name: str
    question: str
    variants: tuple[Variant, ...]
    shapes: tuple[Shape, ...]
    """Expected shapes; a scale leaves out shapes about variants that it leaves out."""
    scales: Mapping[ScaleName, Scale]
    source: str
    """Source of the paper's numbers."""
    paper_metric: str
    """Metric of the paper's numbers."""
    paper_training: str
    """Training behind the paper's numbers."""
    paper_untrained: float | None = None
    """The source's result for the untrained encoder."""
    needs_colour: bool = False
    """Whether the images must have three channels."""

    def __post_init__(self) -> None:
        folders = [slug(variant.name) for variant in self.variants]
        if twice := {folder for folder in folders if folders.count(folder) > 1}:
            raise ValueError(f"{self.name} has two variants with the same folder name, {', '.join(sorted(twice))}.")
        names = {UNTRAINED, *(variant.name for variant in self.variants)}
        for shape in self.shapes:
            unknown = variant_names(shape) - names
            if unknown:
                raise ValueError(
                    f"{self.name} has a shape about {', '.join(sorted(unknown))}, which is no variant of it."
                )

    @property
    def repeats_paper(self) -> bool:
        """Whether scale paper repeats the training behind the paper's numbers."""
        return self.paper_training == PAPERS_ABLATIONS

    @property
    def paper_measure(self) -> str:
        """Metric and training of the paper's numbers."""
        return f"{self.paper_metric}, after {self.paper_training}"

    def question_at(self, scale: ScaleName) -> str:
        """The question with the numbers of a scale."""
        return self.scales[scale].question or self.question

    def variants_at(self, scale: ScaleName) -> tuple[Variant, ...]:
        """Variants of a scale."""
        names = self.scales[scale].variants
        return tuple(v for v in self.variants if not names or v.name in names)

    def shapes_at(self, scale: ScaleName) -> tuple[Shape, ...]:
        """Expected shapes at a scale. At scale paper they are about the linear probe instead of kNN, as in the sources."""
        names = {UNTRAINED, *(v.name for v in self.variants_at(scale))}
        shapes = tuple(shape for shape in self.shapes if scale in shape.scales and variant_names(shape) <= names)
        return tuple(map(_by_linear_probe, shapes)) if scale == "paper" else shapes


def _by_linear_probe(shape: Shape) -> Shape:
    return replace(shape, measure="linear") if isinstance(shape, Contrast) and shape.measure == "knn" else shape


def slug(name: str) -> str:
    """Folder name of a variant."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")


def variant_settings(variant: Variant, scale: ScaleName) -> Mapping[str, Any]:
    """Settings of a variant at a scale."""
    return variant.paper_settings if scale == "paper" and variant.paper_settings is not None else variant.settings


def variant_names(shape: Shape) -> set[str]:
    """Names of the variants that a shape is about."""
    return {shape.variant} if isinstance(shape, Collapse) else set(shape.weights)
