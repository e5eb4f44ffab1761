"""A study: its variants and scales, and what is expected of them."""

from dataclasses import replace
from pathlib import Path

import pytest

from byol.config import replaced, validate
from byol.errors import ConfigError
from byol.recipes import recipe
from byol.studies import STUDIES, find_study
from byol.studies.run_study import begin
from byol.studies.runs import tasks_of
from byol.studies.study import Collapse, Contrast, Variant


@pytest.mark.parametrize(("name", "scale"), [(name, scale) for name in STUDIES for scale in STUDIES[name].scales])
def test_study_variants_are_possible_and_differ(name: str, scale) -> None:
    chosen = STUDIES[name]
    variants, base = chosen.variants_at(scale), chosen.scales[scale]
    assert len(variants) >= 2 and (scale != "tiny" or len(variants) <= 6)
    assert chosen.shapes_at(scale), "nothing is expected of it"
    assert set(base.variants) <= {v.name for v in chosen.variants}
    epochs = replaced(recipe(base.recipe).config, base.settings).epochs
    passes = {v.name: v.passes for v in variants}
    tasks = tasks_of(chosen, scale, 1, Path("out"))[1:]
    assert len({repr(task.config) for task in tasks}) == len(variants), "two variants are the same training"
    for task in tasks:
        validate(task.config)
        assert task.config.epochs == epochs * passes.get(task.variant or "", 1)


def test_study_expects_nothing_of_a_variant_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="predictor has a shape about no such, which is no variant of it"):
        replace(find_study("predictor"), shapes=(Collapse("", "no such"),))


def test_study_of_two_folders_alike_or_without_the_scale_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="heads has two variants with the same folder name, one-two"):
        replace(find_study("heads"), variants=(Variant("one, two", {}), Variant("one two", {})), shapes=())
    monkeypatch.setitem(
        STUDIES, "heads", replace(find_study("heads"), scales={"tiny": find_study("heads").scales["tiny"]})
    )
    with pytest.raises(ConfigError, match="The study heads has no scale small; it has tiny"):
        begin("heads", scale="small")


def test_study_expects_at_a_scale_what_the_source_says_of_it() -> None:
    whole = find_study("normalization")
    texts = {scale: {shape.text for shape in whole.shapes_at(scale)} for scale in ("tiny", "small", "paper")}
    early, late = (
        "no batch norm in the heads collapses early on",
        "no batch norm in the heads recovers in a long training",
    )
    assert early in texts["tiny"] & texts["small"] and early not in texts["paper"]
    assert late in texts["paper"] and late not in texts["tiny"] | texts["small"]


def test_papers_scale_compares_linear_accuracies_as_the_sources_do() -> None:
    measures = {
        scale: {shape.measure for shape in find_study("normalization").shapes_at(scale) if isinstance(shape, Contrast)}
        for scale in ("tiny", "paper")
    }
    assert measures == {"tiny": {"knn", "negative_cosine"}, "paper": {"linear", "negative_cosine"}}
    for name in STUDIES:
        expected = find_study(name).shapes_at("paper") if "paper" in find_study(name).scales else ()
        assert all(shape.measure != "knn" for shape in expected if isinstance(shape, Contrast))
