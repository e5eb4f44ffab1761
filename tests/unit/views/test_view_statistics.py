"""Every random draw of the views: range, probability, distribution, independence.

Seeds are fixed, so a result never changes by itself. Thresholds are set where a right implementation would fail for
less than one seed in 10,000 per check.
"""

import itertools
import math

import pytest
import torch

from byol.views.geometry import crop_window
from byol.views.parameters import CROP_TRIES, SEEDS, ViewParameters, draw
from byol.views.policy import T_PRIME, T, ViewPolicy
from byol.views.views import Views, pair

COUNT = 20_000
SENSOR = ViewPolicy(
    blur_probability=0.5, solarize_probability=0.5, vertical_flip_probability=0.5, rotation_probability=0.75,
    band_jitter_probability=0.8, band_drop_probability=0.2, noise_probability=0.5,
)  # fmt: skip


NORMAL = 4.0  # two-sided p = 6e-5


KOLMOGOROV = 2.3  # sqrt(n) D: p = 5e-5


def uniformity(values: torch.Tensor, low: float, high: float) -> float:
    """sqrt(n) times the Kolmogorov-Smirnov distance from the uniform distribution on [low, high]."""
    place = ((values.double().flatten() - low) / (high - low)).sort().values
    n = len(place)
    steps = torch.arange(n + 1, dtype=torch.float64) / n
    return math.sqrt(n) * float(torch.maximum((place - steps[:-1]).abs(), (steps[1:] - place).abs()).max())


def chi_squared_is_usual(counts: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether the statistic lies within its mean + 4.5 standard deviations (p < 1e-4 for 10 cells and more)."""
    statistic, freedom = float(((counts - expected) ** 2 / expected).sum()), len(counts) - 1
    return statistic < freedom + 4.5 * math.sqrt(2 * freedom)


def numbers(p: ViewParameters) -> dict[str, torch.Tensor]:
    """Every independent draw of an image as a column of numbers."""
    columns = {name: getattr(p, name).double() for name in (
        "flip", "jitter", "brightness", "contrast", "saturation", "hue", "grayscale", "blur", "sigma", "solarize",
        "vertical_flip", "quarter_turns", "band_jitter", "band_jitter_seed", "band_drop_seed", "noise", "noise_sigma", "noise_seed",
    )}  # fmt: skip
    columns |= {"area": p.area[:, 0].double(), "aspect": p.log_aspect[:, 0].double()}
    columns |= {"top": p.offset[:, 0].double(), "left": p.offset[:, 1].double(), "first": p.order[:, 0].double()}
    return {name: column for name, column in columns.items() if float(column.std()) > 0}


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    """sqrt(n) times the correlation: standard normal where there is none."""
    return math.sqrt(len(a)) * float(torch.corrcoef(torch.stack((a, b)))[0, 1])


@pytest.mark.parametrize("policy", [T, T_PRIME, SENSOR])
def test_draw_probabilities_are_the_policys(policy: ViewPolicy) -> None:
    p = draw(policy, COUNT, 11, 5, 2)
    for name in ("flip", "jitter", "grayscale", "blur", "solarize", "vertical_flip", "band_jitter", "noise"):
        wanted = getattr(policy, f"{name}_probability")
        found = float(getattr(p, name).double().mean())
        assert abs(found - wanted) <= NORMAL * math.sqrt(wanted * (1 - wanted) / COUNT), name


def test_draw_amounts_are_uniform_over_their_ranges() -> None:
    p = draw(T, COUNT, 11, 5, 2)
    ranges = {
        "area": (0.08, 1.0), "log_aspect": (math.log(3 / 4), math.log(4 / 3)), "offset": (0, 1), "sigma": (0.1, 2.0),
        "brightness": (-0.4, 0.4), "contrast": (-0.4, 0.4), "saturation": (-0.2, 0.2), "hue": (-0.1, 0.1),
    }  # fmt: skip
    for name, (low, high) in ranges.items():
        values = getattr(p, name)
        columns = values if values.dim() == 2 else values[:, None]
        assert columns.shape[1] in (1, 2, CROP_TRIES)
        for column in columns.T:
            assert low <= float(column.min()) + 1e-6
            assert float(column.max()) <= high + 1e-6
            assert uniformity(column, low, high) < KOLMOGOROV, name


def test_draw_rotations_are_equally_likely_and_seeds_and_noise_uniform() -> None:
    p = draw(SENSOR, COUNT, 11, 5, 2)
    counts = p.quarter_turns.bincount(minlength=4).double()
    expected = COUNT * torch.tensor([0.25, 0.25, 0.25, 0.25], dtype=torch.float64)
    assert (
        len(counts) == 4 and float(((counts - expected) ** 2 / expected).sum()) < 21
    )  # 3 degrees of freedom: p = 1e-4
    for name in ("band_jitter_seed", "band_drop_seed", "noise_seed"):
        assert uniformity(getattr(p, name), 0, SEEDS) < KOLMOGOROV, name
        assert float(getattr(p, name).max()) < SEEDS
    assert uniformity(p.noise_sigma, 0.01, 0.05) < KOLMOGOROV


def test_draw_orders_of_the_colour_operations_are_equally_likely() -> None:
    order = draw(T, COUNT, 11, 5, 2).order
    code = (order * torch.tensor([64, 16, 4, 1])).sum(dim=1)
    kinds = [a * 64 + b * 16 + c * 4 + d for a, b, c, d in itertools.permutations(range(4))]
    counts = torch.tensor([int((code == kind).sum()) for kind in kinds], dtype=torch.float64)
    assert int(counts.sum()) == COUNT
    assert chi_squared_is_usual(counts, torch.full((24,), COUNT / 24, dtype=torch.float64))


def test_draw_settings_of_one_image_are_independent() -> None:
    columns = numbers(draw(BUSY, COUNT, 3, 0, 1))
    assert len(columns) == 15
    for (one, a), (other, b) in itertools.combinations(columns.items(), 2):
        assert abs(correlation(a, b)) < 4.6, (one, other)  # 105 pairs: p = 4e-4 for all together
    columns = numbers(draw(SENSOR, COUNT, 3, 0, 1))
    assert len(columns) == 23
    for (one, a), (other, b) in itertools.combinations(columns.items(), 2):
        assert abs(correlation(a, b)) < 4.8, (one, other)  # 253 pairs: p = 4e-4 for all together


BUSY = ViewPolicy(blur_probability=0.5, solarize_probability=0.5)


@pytest.mark.parametrize(
    ("one", "other"), [((3, 0, 1), (3, 0, 2)), ((3, 0, 1), (3, 1, 1)), ((3, 0, 1), (4, 0, 1)), ((3, 1, 1), (3, 0, 2))]
)
def test_draw_views_steps_and_seeds_are_independent(one: tuple[int, int, int], other: tuple[int, int, int]) -> None:
    first, second = numbers(draw(BUSY, COUNT, *one)), numbers(draw(BUSY, COUNT, *other))
    for name, column in first.items():
        assert abs(correlation(column, second[name])) < 4.4, name  # 15 pairs: p = 2e-4 together


def test_draw_neighbouring_images_are_independent() -> None:
    for name, column in numbers(draw(BUSY, COUNT, 3, 0, 1)).items():
        assert abs(correlation(column[:-1], column[1:])) < 4.4, name


def test_crop_windows_are_placed_uniformly_and_have_the_drawn_area() -> None:
    p = draw(T, COUNT, 2, 0, 1)
    top, left, height, width = crop_window(p, 64, 64, "deepmind").unbind(1)
    for start, length in ((top, height), (left, width)):
        room = 64 - length
        free = room >= 12  # enough places for the fraction to be near uniform
        fraction = (start[free] + 0.5) / (room[free] + 1)
        assert abs(float(fraction.mean()) - 0.5) < NORMAL * math.sqrt(1 / 12 / int(free.sum()))
        assert abs(float(fraction.var()) - 1 / 12) < 0.004
    whole = (height < 64) & (width < 64)  # not clamped
    drawn = (height * width)[whole] / 64**2 - p.area[whole, 0]
    assert float(drawn.abs().max()) < 0.02  # rounding to whole pixels, nothing else
    assert float(drawn.mean().abs()) < 5e-4
    aspect = (width / height)[whole & (p.area[:, 0] > 0.3)].log() - p.log_aspect[whole & (p.area[:, 0] > 0.3), 0]
    assert float(aspect.abs().max()) < 0.04


def test_crop_windows_clamped_to_the_image_are_the_share_that_geometry_says() -> None:
    """A side is clamped where area * aspect > 1; the share follows by integration over both draws."""
    p = draw(T, COUNT, 2, 0, 1)
    _, _, height, width = crop_window(p, 1000, 1000, "deepmind").unbind(1)
    low, high = math.log(3 / 4), math.log(4 / 3)
    # P(area > exp(-|log aspect|)) for area ~ U(0.08, 1), log aspect ~ U(low, high)
    expected = (1 - (1 - math.exp(-high)) / high) / 0.92
    share = float(((height == 1000) | (width == 1000)).double().mean())
    assert low == pytest.approx(-high)
    assert abs(share - expected) < NORMAL * math.sqrt(expected * (1 - expected) / COUNT) + 1e-3


def test_two_views_differ_in_every_image() -> None:
    images = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    first, second = Views(pair(T, T_PRIME, 24), 64, 0)(images, step=0)
    again, _ = Views(pair(T, T_PRIME, 24), 64, 0)(images, step=1)
    assert float((first - second).flatten(1).abs().amax(1).min()) > 0.01
    assert float((first - again).flatten(1).abs().amax(1).min()) > 0.01
