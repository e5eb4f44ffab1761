"""Distillation: a trained encoder of another architecture as the target network (`method.teacher`)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import byol
from byol.assembly.subject import open_subject
from byol.assembly.trained_run import TrainedRun
from byol.data.arrays import ArrayImages
from byol.errors import ConfigError, EncoderError
from byol.methods.network import Normalize, Teacher
from byol.runtime.files import read_json
from tests.integration.small_runs import PICTURES, losses, run, stop_at

IMAGES = torch.from_numpy(PICTURES[:4]).permute(0, 3, 1, 2)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose vectors have another width than those of the students."""
    return run(tmp_path_factory.mktemp("teacher") / "teacher", **{"encoder.width": 0.25}).path


def test_student_learns_the_teachers_vectors_and_the_teacher_stays(teacher: Path, tmp_path: Path) -> None:
    student = run(tmp_path / "student", **{"method.teacher": str(teacher), "epochs": 20})
    first, last = losses(student.path)[0], losses(student.path)[-1]
    assert last < 0.7 * first
    target = TrainedRun.open(student.path).method().target
    assert isinstance(target, Teacher)
    weights = byol.load(teacher).module.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in target.encoder.state_dict().items())
    assert byol.load(student.path).num_features == 64
    assert read_json(student.path / "run.json")["config"]["method"]["teacher"] == str(teacher)  # pyright: ignore[reportOptionalSubscript]


def test_teacher_is_given_what_its_own_preprocessing_gives() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    own, of_views = Normalize((0.2, 0.3, 0.4), (0.5, 0.4, 0.3)), Normalize((0.5,) * 3, (0.25,) * 3)
    images = torch.rand(4, 3, 16, 16)
    expected = module.eval()(own(images))
    teacher = Teacher(module, own, of_views).train()
    assert torch.allclose(teacher(of_views(images))[1], expected, atol=1e-5)
    assert torch.allclose(teacher(of_views(images))[1], expected, atol=1e-5)  # no average has moved
    resized = Teacher(module, own, of_views, size=32)
    assert not torch.allclose(resized(of_views(images))[1], expected, atol=1e-5)


def test_stopped_run_with_a_teacher_continues(teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(tmp_path / "whole", **{"method.teacher": str(teacher)})
    with monkeypatch.context() as context:
        stop_at(6, context)
        run(tmp_path / "stopped", **{"method.teacher": str(teacher)})
    continued = byol.resume(tmp_path / "stopped", source=PICTURES, say=lambda line: None)
    assert torch.equal(byol.load(continued.path)(IMAGES), byol.load(whole.path)(IMAGES))


def test_what_no_teacher_can_do_is_one_sentence(teacher: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"leave method\.name at byol"):
        run(tmp_path / "a", **{"method.teacher": str(teacher), "method.name": "simclr"})
    with pytest.raises(ConfigError, match="takes images of 3 channels; these have 1"):
        run(tmp_path / "b", np.ascontiguousarray(PICTURES[..., 0]), **{"method.teacher": str(teacher)})
    student = run(tmp_path / "student", **{"method.teacher": str(teacher), "epochs": 1})
    with pytest.raises(EncoderError, match="is its teacher; evaluate"):
        open_subject(str(student.path), ArrayImages(PICTURES), network="target")
