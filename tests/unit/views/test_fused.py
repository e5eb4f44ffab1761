"""The compiled views beside torch's: the same numbers for every option, layout and number of threads."""

import dataclasses

import numpy as np
import pytest
import torch

from byol.runtime import kernels
from byol.views import fused
from byol.views.asymmetric import Asymmetry, asymmetric
from byol.views.augment import augment, distort, random_crop
from byol.views.parameters import ViewParameters, draw
from byol.views.policy import T_PRIME, Semantics, T, ViewPolicy
from byol.views.views import Views, pair, single
from tests.parity.test_components import golden, pictures

BUSY = ViewPolicy(blur_probability=0.7, solarize_probability=0.5)
SENSOR = ViewPolicy(
    blur_probability=0.5, solarize_probability=0.3, vertical_flip_probability=0.5, rotation_probability=0.75,
    band_jitter_probability=0.8, band_drop_probability=0.3, noise_probability=0.7, noise_sigma=(0.05, 0.3),
)  # fmt: skip


TOLERANCE = 1e-5


def noise(count: int, channels: int, height: int, width: int, bits: int = 8) -> torch.Tensor:
    random = np.random.default_rng(height)
    return torch.from_numpy(random.integers(0, 2**bits, (count, channels, height, width), dtype=f"uint{bits}"))


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    assert one.shape == other.shape
    return float((one - other).abs().max())


@pytest.mark.parametrize("semantics", ["deepmind", "torchvision"])
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(
    ("channels", "height", "width", "size"),
    [
        (3, 32, 32, 32), (3, 256, 200, 224), (3, 150, 301, 96), (3, 41, 7, 8), (1, 40, 61, 17), (1, 90, 90, 96),
        (4, 61, 40, 33), (3, 1, 1, 8), (2, 3, 200, 21), (7, 20, 20, 41),
    ],
)  # fmt: skip
def test_fused_views_equal_torchs(
    channels: int, height: int, width: int, size: int, bits: int, antialias: bool, semantics: Semantics
) -> None:
    images = noise(6, channels, height, width, bits)
    for policy in (BUSY, SENSOR):
        parameters = draw(policy, 6, 3, 0, 1)
        native, fused = (
            augment(images, parameters, policy, size, semantics=semantics, antialias=antialias, kernels=kernels)
            for kernels in ("native", "fused")
        )
        assert difference(native, fused) < TOLERANCE
        assert float(fused.std()) > 0.01


@pytest.mark.parametrize("semantics", ["deepmind", "torchvision"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("policy", [BUSY, SENSOR])
def test_fused_halves_equal_torchs_and_the_whole(policy: ViewPolicy, bits: int, semantics: Semantics) -> None:
    images, p = noise(6, 3, 70, 50, bits), draw(policy, 6, 3, 0, 1)
    crops = random_crop(images, p, 48, semantics=semantics, kernels="fused")
    assert difference(crops, random_crop(images, p, 48, semantics=semantics)) < TOLERANCE
    kept = crops.clone()
    finished = distort(crops, p, policy, semantics=semantics, kernels="fused")
    assert torch.equal(crops, kept)
    assert difference(finished, distort(crops, p, policy, semantics=semantics)) < TOLERANCE
    assert torch.equal(finished, augment(images, p, policy, 48, semantics=semantics, kernels="fused"))


@pytest.mark.parametrize("bits", [8, 16])
def test_fused_layouts_of_images_and_views_change_no_number(bits: int) -> None:
    images, p = noise(5, 3, 60, 44, bits), draw(BUSY, 5, 3, 0, 1)
    plain = augment(images, p, BUSY, 32, kernels="fused")
    for source in (images, images.contiguous(memory_format=torch.channels_last), images.mT.contiguous().mT):
        view = augment(source, p, BUSY, 32, kernels="fused", channels_last=True)
        assert view.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(view, plain)
    every_second = noise(10, 3, 60, 44, bits)[::2]
    assert torch.equal(
        augment(every_second, p, BUSY, 32, kernels="fused"),
        augment(every_second.contiguous(), p, BUSY, 32, kernels="fused"),
    )
    native = augment(images, p, BUSY, 32, channels_last=True)
    assert native.is_contiguous(memory_format=torch.channels_last)
    assert difference(native, plain) < TOLERANCE


def test_fused_threads_change_no_number() -> None:
    images, p = noise(9, 3, 40, 40), draw(SENSOR, 9, 3, 0, 1)
    torch.set_num_threads(3)
    many = augment(images, p, SENSOR, 32, kernels="fused")
    torch.set_num_threads(1)
    assert torch.equal(many, augment(images, p, SENSOR, 32, kernels="fused"))


def test_fused_extreme_colours_stay_in_range_and_equal_torchs() -> None:
    """Black, white, pure and nearly grey pixels, with strengths far beyond the paper's."""
    corners = torch.tensor([[r, g, b] for r in (0, 255) for g in (0, 255) for b in (0, 255)], dtype=torch.uint8)
    nearly = torch.tensor([[127, 128, 127], [1, 0, 0], [254, 255, 255], [9, 9, 8]], dtype=torch.uint8)
    images = torch.cat((corners, nearly)).T.reshape(1, 3, 3, 4).repeat(24, 1, 2, 2)
    policy = ViewPolicy(jitter_probability=1.0, brightness=0.9, contrast=0.95, saturation=0.99, hue=0.5)
    p = draw(policy, 24, 0, 0, 1)
    for semantics in ("deepmind", "torchvision"):
        native, fused = (augment(images, p, policy, 8, semantics=semantics, kernels=k) for k in ("native", "fused"))  # pyright: ignore[reportArgumentType]
        assert difference(native, fused) < TOLERANCE
        assert float(fused.min()) >= 0.0
        assert float(fused.max()) <= 1.0


def only(name: str, amount: float, count: int) -> tuple[ViewPolicy, ViewParameters]:
    """Parameters under which one operation alone happens, by that amount."""
    policy = ViewPolicy(jitter_probability=1.0, grayscale_probability=0.0, blur_probability=0.0)
    nothing = {n: torch.zeros(count) for n in ("brightness", "contrast", "saturation", "hue")}
    return policy, dataclasses.replace(draw(policy, count, 0, 0, 1), **nothing | {name: torch.full((count,), amount)})


@pytest.mark.parametrize("name", ["brightness_delta", "contrast_factor", "saturation_factor", "hue_delta"])
def test_fused_color_operations_agree_with_deepminds_numbers(name: str) -> None:
    z = golden("augment_ops")
    operation, kind = name.split("_")
    for parameter, expected in zip(z[f"{name}.params"], z[f"{name}.out"], strict=True):
        policy, p = only(operation, float(parameter) - (1 if kind == "factor" else 0), 4)
        found = distort(pictures(z), p, policy, kernels="fused").permute(0, 2, 3, 1)
        assert difference(found, torch.from_numpy(expected)) <= TOLERANCE


def test_fused_blur_grayscale_and_solarize_agree_with_deepminds_numbers() -> None:
    z = golden("augment_ops")
    images = pictures(z)
    policy = ViewPolicy(jitter_probability=0.0, grayscale_probability=0.0, blur_probability=1.0)
    for sigma, expected in zip(z["blur.sigma"], z["blur.out"], strict=True):
        p = dataclasses.replace(draw(policy, 4, 0, 0, 1), sigma=torch.full((4,), float(sigma)))
        found = distort(images, p, policy, kernels="fused").permute(0, 2, 3, 1)
        assert difference(found, torch.from_numpy(expected)) <= TOLERANCE
    for name in ("grayscale", "solarize"):
        alone = dataclasses.replace(policy, blur_probability=0.0, **{f"{name}_probability": 1.0})
        found = distort(images, draw(alone, 4, 0, 0, 1), alone, kernels="fused").permute(0, 2, 3, 1)
        assert difference(found, torch.from_numpy(z[f"{name}.out"])) <= TOLERANCE


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", ["pair", "single", "asymmetric"])
def test_fused_views_of_every_kind_equal_torchs(kind: str, bits: int) -> None:
    roles = {
        "pair": pair(T, T_PRIME, 16),
        "single": single(SENSOR, 16),
        "asymmetric": asymmetric(T, T_PRIME, 16, Asymmetry(2, 8, (0.05, 0.14), "source", "target", "both")),
    }[kind]
    images = noise(5, 3, 40, 48, bits)
    native, fused = (list(Views(roles, 12, 3, kernels=kernels)(images, 1, 4)) for kernels in ("native", "fused"))
    assert len(native) == len(fused) == {"pair": 2, "single": 1, "asymmetric": 10}[kind]
    for ours, theirs in zip(fused, native, strict=True):
        assert difference(ours, theirs) < TOLERANCE


def test_fused_leaves_float_images_and_machines_without_a_compiler_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    images, p = noise(3, 3, 20, 20), draw(T, 3, 0, 0, 1)
    assert fused.takes(images, torch.uint8) and fused.takes(noise(1, 1, 8, 8, 16), torch.uint8, torch.uint16)
    assert not fused.takes(noise(1, 1, 8, 8, 16), torch.uint8)
    assert not fused.takes(images.to("meta"), torch.uint8)
    floats = images / 255
    assert torch.equal(augment(floats, p, T, 16, kernels="fused"), augment(floats, p, T, 16))
    monkeypatch.setattr(kernels, "prepare", lambda: "no C++ compiler (c++) is installed")
    monkeypatch.setattr(kernels, "library", lambda source: pytest.fail("asked for the compiled operator"))
    monkeypatch.setattr(fused, "augment", lambda *_, **__: pytest.fail("asked for the compiled operator"))
    assert torch.equal(augment(images, p, T, 16, kernels="fused"), augment(images, p, T, 16))
    assert torch.equal(random_crop(images, p, 16, kernels="fused"), random_crop(images, p, 16))
    assert torch.equal(distort(floats, p, T, kernels="fused"), distort(floats, p, T))


def test_policies_with_an_operation_of_their_own_are_computed_by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclasses.dataclass(frozen=True)
    class Posterizing(ViewPolicy):
        posterize_probability: float = 0.5

    for name in ("augment", "distort"):
        monkeypatch.setattr(fused, name, lambda *_, **__: pytest.fail("asked for the compiled operator"))
    images, policy = noise(3, 3, 20, 20), Posterizing()
    p = draw(policy, 3, 0, 0, 1)
    assert torch.equal(augment(images, p, policy, 16, kernels="fused"), augment(images, p, policy, 16))
    assert torch.equal(distort(images / 255, p, policy, kernels="fused"), distort(images / 255, p, policy))
    assert not fused.knows(policy)
    assert fused.knows(Posterizing(posterize_probability=0.0)) and fused.knows(T_PRIME)
    assert fused.knows(SENSOR)
