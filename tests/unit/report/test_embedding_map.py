"""Maps of an embedding against scikit-learn."""

import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from byol.report.embedding_map import maps, spectrum
from byol.runtime.listener import Listener
from tests.unit.report.unit_vectors import blobs


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
    assert list(maps(unit, spectrum(unit)[1], slow=False)) == ["t-SNE", "PCA"]
    assert list(maps(unit[:19], spectrum(unit[:19])[1], slow=False)) == ["PCA"]
    assert maps(unit, spectrum(unit)[1], slow=False, most_points=50)["t-SNE"].shape == (50, 2)


def kept_neighbours(vectors: torch.Tensor, points: np.ndarray, count: int = 10) -> float:
    """Fraction of each vector's nearest neighbours that are among its nearest neighbours on the map."""
    plane = torch.from_numpy(points)
    near, shown = (torch.cdist(x, x).fill_diagonal_(9).topk(count, largest=False).indices for x in (vectors, plane))
    return float((near[:, :, None] == shown[:, None, :]).any(dim=2).float().mean())


def test_tsne_keeps_more_neighbours_than_pca() -> None:
    """The points of a closed curve in 16 dimensions, whose first two principal axes fold it onto itself."""
    angle = torch.linspace(0, 2 * torch.pi, 401)[:-1]
    waves = torch.stack([f(k * angle) for k in range(1, 9) for f in (torch.sin, torch.cos)], dim=1)
    unit = torch.nn.functional.normalize(waves[torch.randperm(400, generator=torch.Generator().manual_seed(0))])
    drawn = maps(unit, spectrum(unit)[1], slow=False)
    assert kept_neighbours(unit, drawn["t-SNE"]) > 0.7
    assert kept_neighbours(unit, drawn["t-SNE"]) > kept_neighbours(unit, drawn["PCA"]) + 0.1


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
