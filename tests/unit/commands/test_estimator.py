"""The scikit-learn transformer, with scikit-learn itself, and what notebooks show."""

import os
import pickle
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import byol
from byol.engine.progress import Log
from byol.errors import ByolError
from tests.conftest import SMALL, picture

PICTURES = np.stack([picture(i, 24, 24) for i in range(40)])


@pytest.fixture
def estimator(tmp_path: Path) -> "byol.Estimator":
    return byol.Estimator(epochs=1, settings=SMALL, out=tmp_path / "run", device="cpu", verbose=False)


def test_vectors_are_the_encoders_in_order(estimator: "byol.Estimator", tmp_path: Path) -> None:
    vectors = estimator.fit_transform(PICTURES)
    assert vectors.shape == (40, estimator.encoder_.num_features)
    encoder = byol.load(tmp_path / "run")
    expected = encoder(torch.from_numpy(PICTURES).permute(0, 3, 1, 2)).numpy()
    np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(estimator.transform(PICTURES[::-1].copy()), vectors[::-1], rtol=1e-4, atol=1e-5)
    copied = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_allclose(copied.transform(PICTURES[:1]), vectors[:1], rtol=1e-4, atol=1e-5)
    assert list(estimator.get_feature_names_out()[:2]) == ["byol0", "byol1"]


def test_clone_and_parameters(estimator: "byol.Estimator") -> None:
    other = clone(estimator)
    assert other.get_params() == estimator.get_params()
    assert set(other.get_params()) == {"recipe", "epochs", "settings", "out", "device", "verbose", "layout"}
    assert other.set_params(epochs=3).epochs == 3
    with pytest.raises(NotFittedError):
        other.transform(PICTURES)


def test_pipeline_with_a_classifier(estimator: "byol.Estimator") -> None:
    labels = np.arange(40) % 2
    pipeline = make_pipeline(estimator, LogisticRegression(max_iter=2000)).fit(PICTURES, labels)
    assert pipeline.predict(PICTURES[:5]).shape == (5,)


def test_folder_with_a_broken_image_is_a_sentence(estimator: "byol.Estimator", photos: Path) -> None:
    estimator.fit(photos)
    assert len(estimator.transform(str(photos))) == 40
    (photos / "cat").mkdir(exist_ok=True)
    (photos / "cat" / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(ByolError, match=r"1 of 41 images cannot be read, first cat/broken.jpg"):
        estimator.transform(photos)


def test_interrupt_keeps_what_was_learned(estimator: "byol.Estimator", monkeypatch: pytest.MonkeyPatch) -> None:
    original = Log.write

    def write(self, state, more=None) -> None:
        original(self, state, more or {})
        if state.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Log, "write", write)
    estimator.set_params(epochs=50).fit(PICTURES)
    assert not estimator.run_.finished
    assert np.isfinite(estimator.transform(PICTURES)).all()


def test_device_among_the_settings_is_refused(estimator: "byol.Estimator") -> None:
    with pytest.raises(ByolError, match=r"Estimator\(device=...\)"):
        estimator.set_params(settings={"device": "cpu"}).fit(PICTURES)


def test_notebooks_show_runs_and_results_as_text(estimator: "byol.Estimator", photos: Path, tmp_path: Path) -> None:
    (photos / "dog").rename(photos / "<b>dog")
    run = estimator.set_params(out=tmp_path / "<i>run").fit(photos).run_
    shown = run._repr_html_()
    assert "<i>" not in shown
    assert "&lt;i&gt;run" in shown
    assert "<td" in shown and "last loss" in shown and "finished" in shown
    (result,) = byol.evaluate_encoder(run.path, str(photos), ["knn"], budget="smoke")
    shown = result._repr_html_()
    assert str(result.score) in shown
    assert "&lt;i&gt;run" in shown and "<i>" not in shown
