"""Neighbours, clusters, maps, classes and pictures of a report, each against a slower or an older way."""

import base64
import io
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import confusion_matrix
from threadpoolctl import threadpool_limits
from torch.nn import functional

from byol.evaluate.kmeans import spherical_kmeans
from byol.evaluate.knn import knn_predict
from byol.report.classes import class_table
from byol.report.embedding_map import maps, spectrum
from byol.report.gallery import gallery
from byol.report.suitability import view_warnings
from byol.report.tile import mosaic, sheet, tile
from byol.report.view_grid import describe, spread, view_grid
from byol.runtime.listener import Listener
from byol.views.policy import T_PRIME, T
from byol.views.views import Views, pair
from tests.conftest import picture


@pytest.fixture(autouse=True)
def _one_thread(_two_threads: None) -> None:
    torch.set_num_threads(1)


def blobs(num_blobs: int = 3, each: int = 20, width: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """((N, width) unit vectors in tight groups, (N,) group)."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.eye(width)[:num_blobs]
    labels = torch.arange(num_blobs).repeat_interleave(each)
    return functional.normalize(centres[labels] + 0.05 * torch.randn(len(labels), width, generator=generator)), labels


def test_gallery_neighbours_equal_a_slow_loop() -> None:
    unit, _ = blobs()
    seen = gallery(unit, num_clusters=3, num_neighbours=4)
    for row in range(len(unit)):
        others = [(float(unit[row] @ unit[k]), k) for k in range(len(unit)) if k != row]
        best = sorted(others, reverse=True)[:4]
        assert seen.similarities[row].tolist() == pytest.approx([value for value, _ in best], abs=1e-6)
        assert seen.neighbours[row].tolist() == [k for _, k in best]


def test_gallery_finds_duplicate_odd_and_typical_images() -> None:
    unit, _ = blobs()
    unit[7] = unit[3]
    unit[59] = torch.eye(8)[7]
    seen = gallery(unit, num_clusters=3, shown=5)
    assert seen.pairs[0] == (3, 7, pytest.approx(1.0))
    assert seen.odd[0] == 59
    assert 59 not in seen.typical
    assert len(seen.pairs) == len(seen.odd) == len(seen.typical) == 5


def test_gallery_holds_what_lies_between_all_others_odd_and_not_typical() -> None:
    unit, _ = blobs(num_blobs=3, each=20)
    unit[30] = functional.normalize(torch.eye(8)[:3].sum(dim=0), dim=0)
    seen = gallery(unit, num_clusters=3, shown=30)
    assert int((unit @ unit.mean(dim=0)).argmax()) == seen.odd[0] == 30
    assert not set(seen.typical) & set(seen.odd)


def test_gallery_clusters_are_the_blobs_largest_first() -> None:
    unit, labels = blobs()
    kept = torch.cat((torch.arange(10), torch.arange(20, 60)))
    seen = gallery(unit[kept], num_clusters=3, shown=4)
    assert seen.sizes == [20, 20, 10]
    for number, members in enumerate(seen.members):
        inside = seen.cluster == number
        assert labels[kept][inside].unique().numel() == 1
        assert all(bool(inside[member]) for member in members)
    assert len(seen.members[2]) == 4


def test_gallery_of_two_images_works() -> None:
    seen = gallery(torch.eye(2), num_clusters=5)
    assert seen.neighbours.tolist() == [[1], [0]]
    assert seen.pairs == [(0, 1, 0.0)]
    assert sum(seen.sizes) == 2


def test_kmeans_is_as_tight_as_scikit_learns() -> None:
    unit = functional.normalize(torch.randn(200, 6, generator=torch.Generator().manual_seed(1)))
    cluster, centres = spherical_kmeans(unit, 5, seed=0)
    ours = float((unit * centres[cluster]).sum(dim=1).mean())
    theirs = KMeans(5, n_init=10, random_state=0).fit(unit.numpy()).cluster_centers_
    other = functional.normalize(torch.from_numpy(theirs))
    assert ours > float((unit @ other.T).amax(dim=1).mean()) - 0.02


@pytest.mark.parametrize("shape", [(40, 6), (6, 40)])
def test_spectrum_equals_scikit_learns_pca(shape: tuple[int, int]) -> None:
    vectors = torch.randn(*shape, generator=torch.Generator().manual_seed(2))
    shares, plane = spectrum(vectors)
    fitted = PCA().fit(vectors.double().numpy())
    wanted = fitted.explained_variance_ratio_
    assert shares[: len(wanted)].numpy() == pytest.approx(wanted, abs=1e-4)
    theirs = fitted.transform(vectors.double().numpy())[:, :2]
    assert np.abs(plane.numpy()) == pytest.approx(np.abs(theirs), abs=1e-3)


def test_spectrum_of_one_dimension_has_a_plane() -> None:
    shares, plane = spectrum(torch.tensor([[0.0], [1.0], [2.0]]))
    assert shares.tolist() == [1.0]
    assert plane.shape == (3, 2)


def only(monkeypatch: pytest.MonkeyPatch, *libraries: str) -> None:
    """Whatever is installed here, maps find these alone."""
    monkeypatch.setattr("byol.report.embedding_map.find_spec", lambda name: name if name in libraries else None)


def are_kept_together(points: np.ndarray, labels: torch.Tensor) -> bool:
    plane = torch.from_numpy(points)
    nearest = torch.cdist(plane, plane).fill_diagonal_(9).argmin(dim=1)
    return float((labels[nearest] == labels).float().mean()) > 0.95


def test_maps_are_within_one_and_tsne_keeps_blobs_together(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "sklearn")
    unit, labels = blobs(each=40)
    with threadpool_limits(1):
        found = maps(unit, spectrum(unit)[1], slow=True)
    assert list(found) == ["t-SNE", "PCA"]
    for points in found.values():
        assert points.shape == (120, 2)
        assert np.abs(points).max() == pytest.approx(1)
    assert are_kept_together(found["t-SNE"], labels)
    assert list(maps(unit, spectrum(unit)[1], slow=False)) == ["PCA"]


def test_libraries_of_maps_may_warn_or_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    class Warns:
        def __init__(self, **settings: int) -> None:
            warnings.warn(f"{settings} overridden", stacklevel=1)

        def fit_transform(self, unit: np.ndarray) -> np.ndarray:
            return unit[:, :2]

    only(monkeypatch, "umap", "pacmap")
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Warns))
    monkeypatch.setitem(sys.modules, "pacmap", SimpleNamespace())  # another library of that name, or a broken one
    unit, _ = blobs(each=40)
    said: list[str] = []
    assert list(maps(unit, spectrum(unit)[1], slow=True, listener=Listener(said.append))) == ["UMAP", "PCA"]
    assert len(said) == 1 and said[0].startswith("The PaCMAP map is missing because pacmap failed: ImportError")


@pytest.mark.full
def test_umap_and_pacmap_keep_blobs_together_and_say_nothing(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    unit, labels = blobs(each=60)
    said: list[str] = []
    found = maps(unit, spectrum(unit)[1], slow=True, listener=Listener(said.append))
    assert said == []
    assert list(found) == ["t-SNE", "UMAP", "PaCMAP", "PCA"]
    for name in ("UMAP", "PaCMAP"):
        assert found[name].shape == (180, 2)
        assert np.abs(found[name]).max() == pytest.approx(1)
        assert are_kept_together(found[name], labels)
    assert capfd.readouterr().out == ""
    assert caplog.records == []


def test_class_table_equals_leaving_each_image_out() -> None:
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(0, 3, (60,), generator=generator)
    noise = torch.randn(60, 5, generator=generator)
    unit = functional.normalize(torch.eye(5)[labels] + 0.8 * noise)
    predicted = []
    for row in range(60):
        others = torch.arange(60) != row
        predicted.append(int(knn_predict(unit[others], labels[others], unit[row : row + 1], k=20)))
    table = class_table(unit, labels)
    assert table.confusion == confusion_matrix(labels, predicted).tolist()
    right = sum(p == int(label) for p, label in zip(predicted, labels, strict=True))
    assert table.score.value == pytest.approx(100 * right / 60, abs=1e-3)
    assert table.recall[1].value == pytest.approx(100 * table.confusion[1][1] / sum(table.confusion[1]), abs=1e-3)
    assert table.precision[1] == pytest.approx(100 * table.confusion[1][1] / sum(row[1] for row in table.confusion))


def test_class_table_of_many_classes_keeps_the_largest() -> None:
    labels = torch.cat((torch.arange(50), torch.arange(40)))
    table = class_table(functional.normalize(torch.eye(50)[labels] + 0.01), labels)
    assert table.classes == list(range(40))
    assert len(table.confusion) == len(table.confusion[0]) == 40


def test_tile_of_a_wide_image_is_centred_on_grey() -> None:
    wide = np.full((2, 4, 1), 200, np.uint8)
    made = tile(wide, 4)
    assert made.shape == (4, 4, 3)
    assert (made[[0, 3]] == 128).all()
    assert (made[1:3] == 200).all()


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_tile_shows_any_number_of_channels(channels: int) -> None:
    pixels = np.arange(16 * channels, dtype=np.uint8).reshape(4, 4, channels)
    made = tile(pixels, 4)
    wanted = pixels[..., :3] if channels >= 3 else pixels[..., [0, 0, 0]]
    assert (made == wanted).all()


def test_sheet_holds_the_tiles_row_by_row() -> None:
    tiles = [np.full((8, 8, 3), value, np.uint8) for value in (10, 90, 170, 250, 40)]
    made = sheet(tiles, quality=95)
    assert (made.columns, made.rows) == (3, 2)
    with Image.open(io.BytesIO(base64.b64decode(made.uri.partition(",")[2]))) as opened:
        pixels = np.asarray(opened.convert("RGB")).astype(int)
    assert pixels.shape == (16, 24, 3)
    for number, value in enumerate((10, 90, 170, 250, 40)):
        top, left = 8 * (number // 3), 8 * (number % 3)
        assert np.abs(pixels[top + 2 : top + 6, left + 2 : left + 6] - value).max() < 12


def test_mosaic_leaves_gaps() -> None:
    made = mosaic([np.zeros((2, 2, 3), np.uint8)] * 3, columns=2, gap=1)
    assert made.shape == (5, 5, 3)
    assert made[2].min() == made[:, 2].min() == 255
    assert made[3:, 3:].min() == 255


def test_view_grid_shows_what_training_makes_of_the_images() -> None:
    views = Views(pair(T, T_PRIME, 32), batch_size=64, seed=5)
    images = [picture(seed) for seed in range(3)]
    grid = view_grid(views, images, ["a", "b", "c"], draws=2)
    assert (grid.columns, grid.rows, len(grid.tiles)) == (5, 3, 15)
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    for step in range(2):
        first, second = views(batch, step)
        for row in range(3):
            for offset, view in ((1, first), (2, second)):
                shown = torch.from_numpy(grid.tiles[5 * row + 2 * step + offset].copy()).permute(2, 0, 1) / 255
                assert float((shown - view[row]).abs().max()) < 0.01


def test_view_words_name_what_was_done_and_nothing_else() -> None:
    views = Views(pair(T, T_PRIME, 32), batch_size=200, seed=0)
    first, second = (views.parameters(view.draw, 0, slice(0, 200)) for view in views.roles)
    for row in range(200):
        for parameters, policy in ((first, T), (second, T_PRIME)):
            p = parameters[row : row + 1]
            words = describe(p, policy, views, np.zeros((40, 48, 3), np.uint8))
            assert ("flip" in words) == bool(p.flip)
            assert ("hue" in words) == ("brightness" in words) == bool(p.jitter)
            assert ("grayscale" in words) == bool(p.grayscale)
            assert (f"blur sigma {float(p.sigma):.2f}" in words) == bool(p.blur)
            assert ("solarize" in words) == bool(p.solarize)
            grey = describe(p, policy, views, np.zeros((40, 48, 1), np.uint8))
            assert "hue" not in grey
            assert "grayscale" not in grey


def test_spread_is_drawn_without_repetition() -> None:
    assert spread(3, 10) == [0, 1, 2]
    assert len(set(spread(1000, 50))) == 50
    assert spread(1000, 50) == spread(1000, 50)


def test_warnings_are_those_of_the_images() -> None:
    from byol.config import Config, replaced
    from byol.data.open import DataProfile
    from byol.recipes import recipe

    def told(config: Config, channels: int, side: int, mean: tuple[float, ...] = (0.5, 0.4, 0.3)) -> str:
        mean = mean[:channels]
        return " ".join(view_warnings(config, DataProfile(channels, side, mean, tuple(0.2 + m / 10 for m in mean))))

    paper, small = recipe("imagenet-300").config, recipe("small").config
    assert told(paper, 3, 400) == ""
    assert "antialiasing" in told(paper, 3, 1000)
    assert "is enlarged" in told(paper, 3, 32)
    assert "9 px wide" in told(paper, 3, 32)
    assert "1 channel" in told(paper, 1, 400)
    assert "stored as colour" in told(paper, 3, 400, (0.5, 0.5, 0.5))
    assert told(replaced(small, {"views.size": 224}), 3, 1000) == ""
    tiny = replaced(small, {"views.size": 32})
    assert "view1: a blur of up to 0.8 px" in told(tiny, 3, 32)
    assert told(replaced(tiny, {f"views.view{n}.blur_probability": 0.0 for n in (1, 2)}), 3, 32) == ""
    assert "no effect" in told(replaced(small, {"views.size": 16}), 3, 40)
    plain = {f"views.view{n}.{kind}_probability": 0.0 for n in (1, 2) for kind in ("jitter", "grayscale")}
    assert "histogram" in told(replaced(paper, plain), 3, 400)
