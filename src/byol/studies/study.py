"""What a study is: a question, variants that differ in one thing, and the shapes expected of their results.

Imports no torch: the command line names the studies from here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

ScaleName = Literal["tiny", "small", "paper"]
EVERY_SCALE: tuple[ScaleName, ...] = ("tiny", "small", "paper")
UNTRAINED = "encoder, untrained"
"""The encoder before training, whose accuracies each study measures beside its variants'."""
Probe = Literal["l-bfgs", "sgd"]
"""The linear probe: on cached features, or the paper's protocol (`evaluate.linear_sgd`), which is slower and needs less memory."""
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
    """One setting of what the study varies."""

    name: str
    settings: Mapping[str, Any]
    """Dotted settings over the scale's."""
    paper: float | None = None
    """What the source reports for it, in the study's `paper_metric`."""
    paper_settings: Mapping[str, Any] | None = None
    """In place of `settings` at scale paper, where the numbers differ."""
    paper_name: str = ""
    """What the source calls it, where `name` says something else."""
    passes: float = 1.0
    """The part of the others' epochs that it trains: 1 / cost, where one of its images costs more and compute shall be equal."""


@dataclass(frozen=True)
class Contrast:
    """Expects a weighted sum of the variants' results to be above 0: {a: 1, b: -1} says that a is above b."""

    text: str
    weights: Mapping[str, float]
    gap: float | None
    """The source's own, in the measure's unit (of its accuracy, for kNN and the linear probe): where the interval is wider, it cannot be seen.
    None where the source gives no number."""
    measure: Measure = "knn"
    scales: tuple[ScaleName, ...] = EVERY_SCALE
    """Where the source lets expect it."""


@dataclass(frozen=True)
class Collapse:
    """Expects a variant to collapse, or not to, in every seed."""

    text: str
    variant: str
    expected: bool = True
    scales: tuple[ScaleName, ...] = EVERY_SCALE
    """Where the source lets expect it."""


Shape = Contrast | Collapse


@dataclass(frozen=True)
class Scale:
    """How large the runs of a study are; the same for all its variants."""

    recipe: str
    data: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    variants: tuple[str, ...] = ()
    """The names that are run; empty: all."""
    question: str = ""
    """In place of the study's, where its numbers differ."""
    minutes: float | None = None
    """For the whole study: each run sees as many images as fit. None: as many as the settings say."""
    probe: Probe = "l-bfgs"


TWO_LAYERS = {"heads.projector_depth": 2}
"""The paper's projector: the recipe `sample` has one of one layer."""
TINY = Scale("sample", "sample", {**TWO_LAYERS, "encoder.width": 0.25}, minutes=60.0)
"""Half the recipe's width, for twice the images in the time."""
TINY_COLOUR = replace(TINY, data="cifar10")
SMALL = Scale("sample", "cifar10", {**TWO_LAYERS, "epochs": 10.0})
"""500,000 images a run: about a quarter of an hour on two cores."""
PAPER = Scale("imagenet-300", "imagenet", probe="sgd")
SIMCLRS_HEADS = {"heads.projector_hidden": 2048, "heads.projector_output": 128, "heads.projector_output_norm": True}
"""Of the paper's reproduction of SimCLR, which its augmentations and batches are compared with; with BYOL's: 69.2 (F.5)."""
PAPERS_ABLATIONS = "300 epochs of ResNet-50"
"""The training of BYOL's own tables, which scale paper repeats."""


@dataclass(frozen=True)
class Study:
    """A question and how it is asked; what it expects is written down before it runs."""

    name: str
    question: str
    variants: tuple[Variant, ...]
    shapes: tuple[Shape, ...]
    """Those that name a variant which a scale leaves out are left out too."""
    scales: Mapping[ScaleName, Scale]
    source: str
    """Where the paper's numbers come from."""
    paper_metric: str
    paper_training: str
    """What the paper's numbers are measured on."""
    paper_untrained: float | None = None
    """The source's number for the encoder before training."""
    needs_colour: bool = False

    def __post_init__(self) -> None:
        folders = [slug(variant.name) for variant in self.variants]
        if twice := {folder for folder in folders if folders.count(folder) > 1}:
            raise ValueError(f"{self.name} has two variants whose folders are called {', '.join(sorted(twice))}.")
        names = {UNTRAINED, *(variant.name for variant in self.variants)}
        for shape in self.shapes:
            unknown = named(shape) - names
            if unknown:
                raise ValueError(f"{self.name} expects something of {', '.join(sorted(unknown))}, no variant of it.")

    @property
    def repeats_paper(self) -> bool:
        """Whether scale paper is the training that the paper's numbers come from."""
        return self.paper_training == PAPERS_ABLATIONS

    @property
    def paper_measure(self) -> str:
        """What the paper's numbers are."""
        return f"{self.paper_metric}, after {self.paper_training}"

    def asked(self, scale: ScaleName) -> str:
        """The question, with the numbers of a scale."""
        return self.scales[scale].question or self.question

    def chosen(self, scale: ScaleName) -> tuple[Variant, ...]:
        """The variants of a scale."""
        names = self.scales[scale].variants
        return tuple(v for v in self.variants if not names or v.name in names)

    def expected(self, scale: ScaleName) -> tuple[Shape, ...]:
        """The shapes that a scale can show. At scale paper accuracy is that of the linear probe, as in the sources."""
        names = {UNTRAINED, *(v.name for v in self.chosen(scale))}
        shapes = tuple(shape for shape in self.shapes if scale in shape.scales and named(shape) <= names)
        return tuple(map(_by_linear_probe, shapes)) if scale == "paper" else shapes


def _by_linear_probe(shape: Shape) -> Shape:
    return replace(shape, measure="linear") if isinstance(shape, Contrast) and shape.measure == "knn" else shape


def slug(name: str) -> str:
    """A name as a folder is called."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")


def variant_settings(variant: Variant, scale: ScaleName) -> Mapping[str, Any]:
    """What a variant sets at a scale."""
    return variant.paper_settings if scale == "paper" and variant.paper_settings is not None else variant.settings


def named(shape: Shape) -> set[str]:
    """The variants that a shape is about."""
    return {shape.variant} if isinstance(shape, Collapse) else set(shape.weights)
