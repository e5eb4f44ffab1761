"""Properties that predict the class: planted ones are told, others are not."""

import numpy as np
import pytest

from byol.evaluate.shortcuts import name_pattern, shortcuts


def test_telling_properties_come_first_with_their_values() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(300) % 3
    properties = {
        "noise": generator.normal(size=300),
        "brightness": labels + 0.3 * generator.normal(size=300),
        "format": [
            ".png" if label == 2 and keep else ".jpg"
            for label, keep in zip(labels, generator.random(300) < 0.9, strict=True)
        ],
        "constant": np.ones(300),
        "unknown": np.full(300, np.nan),
    }
    found = shortcuts(properties, labels)
    assert [(each.name, each.is_telling) for each in found] == [
        ("brightness", True),
        ("format", True),
        ("noise", False),
    ]
    assert found[0].accuracy.value > 80 and found[0].guessing == pytest.approx(100 / 3)
    assert found[1].examples[0] == (".png", 2, 100.0)


def test_rule_is_counted_on_other_images_than_it_was_made_from() -> None:
    labels = np.arange(200) % 2
    (found,) = shortcuts({"file name": [f"name {n}" for n in range(200)]}, labels)
    assert not found.is_telling and found.accuracy.value < 60


@pytest.mark.parametrize(
    ("name", "pattern"),
    [("cat/IMG_0123.jpg", "IMG_0"), ("a/b/2019-07-01 x2.PNG", "0-0-0 x0"), ("scan.tif", "scan")],
)
def test_pattern_of_a_name_has_no_numbers_and_no_folder(name: str, pattern: str) -> None:
    assert name_pattern(name) == pattern
