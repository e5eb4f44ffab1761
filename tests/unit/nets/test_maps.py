"""Feature maps: their places, strides and channels, for our ResNets, timm's networks and modules of a user."""

import pytest
import torch
from torch import Tensor, nn

from byol.errors import EncoderError
from byol.nets.encoder import create_encoder
from byol.nets.maps import choose_stage, compute_map, map_strides


@torch.no_grad()
def all_maps(module: nn.Module, height: int, width: int) -> list[Tensor]:
    images = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    return [compute_map(module, images, index) for index in range(len(map_strides(module)))]


@pytest.mark.parametrize(("stem", "strides"), [("small", (1, 2, 4, 8)), ("imagenet", (4, 8, 16, 32))])
def test_resnet_maps_have_the_strides_and_the_last_ones_mean_is_the_vector(stem, strides) -> None:
    network = create_encoder("resnet10", width=0.125, stem=stem).eval()
    assert map_strides(network) == strides
    maps = all_maps(network, 64, 96)
    assert [tuple(part.shape[2:]) for part in maps] == [(64 // s, 96 // s) for s in strides]
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(maps[-1].mean(dim=(2, 3)), network(images))


def test_cell_of_a_map_sees_its_own_part_of_the_image() -> None:
    """A change in one corner reaches the cells there and, within the first group's field of view, no others."""
    network = create_encoder("resnet10", width=0.125, stem="imagenet").eval()
    images = torch.zeros(2, 3, 128, 192)
    images[1, :, :16, -16:] = 1
    with torch.no_grad():
        plain, marked = compute_map(network, images, 0)
    rows, columns = (plain - marked).abs().sum(dim=0).nonzero(as_tuple=True)
    assert rows.min() == 0 and rows.max() <= 8 and columns.max() == 47 and columns.min() >= 39


@pytest.mark.parametrize(
    ("name", "strides"),
    [("test_vit2", (16,) * 8), ("test_efficientnet", (2, 4, 8, 16, 32)), ("test_resnet", (2, 4, 8, 16, 32))],
)
def test_timm_maps_have_the_strides_of_larger_and_oblong_images(name, strides) -> None:
    network = create_encoder(name, image_size=64).eval()
    with torch.no_grad():
        before = network(torch.ones(1, 3, 64, 64))
        found = map_strides(network)
        maps = all_maps(network, 96, 160)
        assert torch.equal(network(torch.ones(1, 3, 64, 64)), before), "the network itself is not changed"
    assert found == strides
    assert [tuple(part.shape[2:]) for part in maps] == [(96 // s, 160 // s) for s in found]


def test_vit_maps_are_its_patch_tokens_without_the_class_token() -> None:
    network = create_encoder("vit_tiny_patch16_224", image_size=64).eval()
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        tokens = network.forward_features(images)  # pyright: ignore[reportCallIssue]
        (values,) = compute_map(network, images, 11)
    assert tokens.shape == (1, 17, 192)
    torch.testing.assert_close(values.flatten(1).T, tokens[0, 1:])


def test_stage_is_counted_from_either_end_and_the_default_has_at_most_16_px() -> None:
    strides = (4, 8, 16, 32)
    assert [choose_stage(strides, stage) for stage in (1, 4, -1, -4, 0)] == [0, 3, 3, 0, 2]
    assert choose_stage((1, 2, 4, 8), 0) == 3 and choose_stage((32,), 0) == 0
    with pytest.raises(EncoderError, match="4 stages, with strides of 4, 8, 16, 32 px; there is no stage 5"):
        choose_stage(strides, 5)


class Own(nn.Module):
    """A user's module that offers maps."""

    strides = (2,)

    def maps(self, images: Tensor) -> list[Tensor]:
        return [images[..., ::2, ::2]]


def test_module_with_maps_of_its_own_gives_them() -> None:
    (values,) = all_maps(Own(), 8, 12)
    assert values.shape == (2, 3, 4, 6)


def test_module_without_maps_says_what_it_needs() -> None:
    with pytest.raises(EncoderError, match="Linear gives no feature maps: give it a method maps"):
        map_strides(nn.Linear(2, 2))
    mixer = create_encoder("mixer_s32_224")
    with pytest.raises(EncoderError, match="MlpMixer gives no maps of images of 64 x 64 px"):
        compute_map(mixer.eval(), torch.rand(1, 3, 64, 64), 0)
