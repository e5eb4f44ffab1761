"""Views that differ between source and target."""

import dataclasses
import random

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.auto_augment import rand_augment_transform

from byol.runtime.view_roles import ViewBatch
from byol.views.asymmetric import Asymmetry, asymmetric
from byol.views.policy import T_PRIME, T, crop_and_flip
from byol.views.views import Views, boxes, pair
from tests.conftest import picture

PICTURES = np.stack([picture(i, 32, 32) for i in range(32)])


IMAGES = torch.from_numpy(PICTURES[:12]).permute(0, 3, 1, 2)


PLAIN = Views(pair(T, T_PRIME, 16), 12, seed=3)


EVERYTHING = Asymmetry(2, 8, (0.05, 0.14), "source", "target", "both", "source")


def differing(asymmetry: Asymmetry) -> Views:
    return Views(asymmetric(T, T_PRIME, 16, asymmetry), 12, seed=3)


def named(views: ViewBatch) -> dict[str, torch.Tensor]:
    return {f"{role}.{i}": view for role, made in vars(views).items() for i, view in enumerate(made)}


def made(asymmetry: Asymmetry, step: int = 0, rows: slice = slice(0, 12)) -> dict[str, torch.Tensor]:
    return named(differing(asymmetry)(IMAGES[rows], step, rows.start))


def test_asymmetric_views_without_asymmetry_are_the_pair() -> None:
    assert differing(Asymmetry()) == PLAIN


def test_asymmetric_views_are_a_pure_function_of_seed_step_and_row() -> None:
    whole = made(EVERYTHING)
    assert set(whole) == {
        "sources1.0", "sources1.1", "sources2.0", "sources2.1", "targets1.0", "targets1.1", "targets2.0", "targets2.1", "small.0", "small.1",
    }  # fmt: skip
    for name, view in made(EVERYTHING, rows=slice(4, 9)).items():
        assert torch.allclose(view, whole[name][4:9], atol=1e-6), name
    for name, view in made(EVERYTHING, step=1).items():
        assert not torch.equal(view, whole[name]), name
    assert whole["small.0"].shape == (12, 3, 8, 8)
    kinds = list(whole)
    for i, one in enumerate(kinds):  # no two are the same view
        for other in kinds[i + 1 :]:
            assert whole[one].shape != whole[other].shape or not torch.equal(whole[one], whole[other]), (one, other)


def test_asymmetric_views_from_workers_are_the_same() -> None:
    views = differing(EVERYTHING)
    crops = torch.stack([views.crop(PICTURES[row], 2, row) for row in range(4, 9)])
    direct = made(EVERYTHING, 2, slice(4, 9))
    for name, view in named(views.finish(crops, 2, 4)).items():
        assert torch.allclose(view, direct[name], atol=1e-5), name


def test_asymmetric_views_weak_target_is_the_source_without_colour() -> None:
    weak = made(Asymmetry(weak="target"))
    view1, view2 = Views(pair(crop_and_flip(T), crop_and_flip(T_PRIME), 16), 12, seed=3)(IMAGES, 0)
    assert torch.equal(weak["targets1.0"], view1)
    assert torch.equal(weak["targets2.0"], view2)
    assert torch.equal(weak["sources1.0"], PLAIN(IMAGES, 0).view1)
    assert "targets1.0" not in made(Asymmetry(weak="both"))


def test_asymmetric_views_strong_source_passes_through_timms_rand_augment() -> None:
    """Each image's crop as timm makes it from that image's own number; the target as it was; nobody's chance touched."""
    state = random.getstate(), np.random.get_state()[1].tolist()
    policy = dataclasses.replace(crop_and_flip(T), flip_probability=0.0)
    plain = Views(pair(policy, policy, 16), 12, seed=3)
    views = Views(asymmetric(policy, policy, 16, Asymmetry(strong="source")), 12, seed=3)
    strong = named(views(IMAGES, 0))
    assert (random.getstate(), np.random.get_state()[1].tolist()) == state
    view1 = plain(IMAGES, 0).view1
    assert torch.equal(strong["targets1.0"], view1)
    for row, number in enumerate(np.random.default_rng([3, 0, 1]).integers(2**32, size=12)):
        random.seed(int(number))
        np.random.seed(number)
        pixels = (view1[row].permute(1, 2, 0) * 255).round().byte().numpy()
        expected = np.asarray(rand_augment_transform("rand-m10-n2-mstd0.5", {})(Image.fromarray(pixels)))
        assert np.abs(strong["sources1.0"][row].permute(1, 2, 0).numpy() * 255 - expected).max() < 1e-3
    changed = (strong["sources1.0"] - view1).abs().amax(dim=(1, 2, 3)) > 0.02
    assert 4 < changed.sum() < 12  # three of four, less those of no effect


def test_asymmetric_views_scale_mix_holds_two_views_of_the_image() -> None:
    mixed = made(Asymmetry(scale_mix="source"))
    plain = PLAIN(IMAGES, 0).view1
    assert torch.equal(mixed["targets1.0"], plain)
    inside = boxes(12, 3, 0, 1 + 64, 16)[:, None].expand_as(plain)
    assert torch.equal(mixed["sources1.0"][~inside], plain[~inside])
    assert not torch.equal(mixed["sources1.0"][inside], plain[inside])


def test_boxes_are_rectangles_of_uniform_area_cut_off_at_the_border() -> None:
    found = boxes(4000, 0, 0, 7, 32)
    rows, columns = found.any(dim=2), found.any(dim=1)
    assert torch.equal(found, rows[:, :, None] & columns[:, None, :])
    generator = np.random.default_rng(1)  # an independent draw of the same law
    side, centre = np.sqrt(1 - generator.random(200_000)), generator.random((2, 200_000))
    low, high = (centre - side / 2).clip(0, 1), (centre + side / 2).clip(0, 1)
    assert float(found.float().mean()) == pytest.approx((high - low).prod(axis=0).mean(), abs=0.02)
