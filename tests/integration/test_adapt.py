"""`byol adapt`, whole: from a start to the kept encoder, its record and its page."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

import byol
from byol.assembly.settings import Asked
from byol.cli.main import main
from byol.commands.adapt import Adaptation, continue_adaptation
from byol.commands.pretrain import Request
from byol.data.profile import DataProfile
from byol.errors import ConfigError, NonFiniteError, RunError
from byol.report.change import write_change
from byol.training.plan import _sizes
from tests.conftest import SMALL
from tests.integration.small_runs import PICTURES, run, stop_at

IMAGES = torch.from_numpy(PICTURES[:4]).permute(0, 3, 1, 2)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that adaptations start from."""
    return run(tmp_path_factory.mktemp("start") / "start").path


def adapt(start: Path, data: Any, out: Path, **more: Any) -> tuple[Adaptation, list[str]]:
    lines: list[str] = []
    settings = {name: value for name, value in SMALL.items() if not name.startswith("encoder.")} | {"epochs": 4}
    overrides = {**settings, "views.size": 32, **more.pop("overrides", {})}
    return byol.adapt(start, data, out=out, overrides=overrides, say=lines.append, **more), lines


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "adapt.json").read_text())


def test_start_and_milestones_are_measured_alike_with_labels(start: Path, photos: Path, tmp_path: Path) -> None:
    result, lines = adapt(start, str(photos), tmp_path / "out", labelled=str(photos))
    written = record(result.path)
    assert [each["step"] for each in written["measured"]] == [0, 2, 4, 6, 8, 10]
    assert all({"knn", "linear"} <= each.keys() for each in written["measured"])
    assert result.decision is not None
    assert written["verdict"] == result.decision.verdict
    assert any(result.decision.words in line for line in lines)
    assert torch.equal(byol.load(result.path / "start")(IMAGES), byol.load(start)(IMAGES))


def test_training_that_hurts_leaves_the_start(start: Path, photos: Path, tmp_path: Path) -> None:
    hurting = {"optimizer.encoder_rate": 10.0, "optimizer.base_learning_rate": 2.0, "encoder.norm": "batch"}
    result, _ = adapt(start, str(photos), tmp_path / "out", labelled=str(photos), overrides=hurting)
    assert result.decision is not None
    assert result.decision.verdict != "better"
    assert torch.equal(result.encoder()(IMAGES), byol.load(start)(IMAGES))
    trained = byol.load(result.path / "run")
    assert not torch.equal(trained(IMAGES), byol.load(start)(IMAGES))


def test_training_that_diverges_leaves_the_start(start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Asked] = []

    def diverge(request: Request, listener: object) -> None:
        asked.append(request.asked)
        raise NonFiniteError("The loss is not finite at step 3.", 3)

    monkeypatch.setattr("byol.commands.adapt.start", diverge)
    (tmp_path / "out" / "run").mkdir(parents=True)  # as the training leaves it
    monkeypatch.setattr("byol.commands.adapt._require_free", lambda path: None)
    result, lines = adapt(start, PICTURES, tmp_path / "out")
    assert result.decision is not None
    assert result.decision.verdict == "no better"
    assert "no better: the start is kept: the training failed" in lines
    (size,) = _sizes(asked[0], DataProfile(3, 32, (0.5,) * 3, (0.2,) * 3))
    assert size[1].method.name == "byol"  # whatever the time
    assert torch.equal(result.encoder()(IMAGES), byol.load(start)(IMAGES))


def test_stopped_adaptation_continues_to_the_same_encoder(
    start: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = adapt(start, str(photos), tmp_path / "whole", labelled=str(photos))
    with monkeypatch.context() as context:
        stop_at(4, context)
        stopped, _ = adapt(start, str(photos), tmp_path / "stopped", labelled=str(photos))
    assert stopped.decision is None
    assert not (stopped.path / "encoder.safetensors").exists()
    continued = continue_adaptation(stopped.path, say=lambda line: None)
    assert torch.equal(continued.encoder()(IMAGES), whole.encoder()(IMAGES))
    assert record(continued.path)["measured"] == record(whole.path)["measured"]
    with pytest.raises(RunError, match="holds no adaptation to continue"):
        continue_adaptation(start)


def test_without_labels_the_same_measures_are_taken_of_all(start: Path, tmp_path: Path) -> None:
    result, _ = adapt(start, PICTURES, tmp_path / "out")
    measured = record(result.path)["measured"]
    assert len(measured) == 5
    for each in measured:
        assert 0 <= each["recognised"] <= 1
        assert 0 <= each["rotation"] <= 1


def test_failed_adaptation_leaves_no_folder(start: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        adapt(start, PICTURES, tmp_path / "out", overrides={"batch_size": 1000})
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="goes with timm:MODEL"):
        adapt(start, PICTURES, tmp_path / "out", weights="weights.pth")
    (tmp_path / "w.pth").write_bytes(b"")
    with pytest.raises(ConfigError, match="byol adapt timm:MODEL --weights"):
        adapt(tmp_path / "w.pth", PICTURES, tmp_path / "out")


def test_command_says_what_was_kept_and_writes_the_page(
    start: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    words = [f"--{n.replace('_', '-')}={v}" for n, v in SMALL.items() if not n.startswith("encoder.")]
    with pytest.raises(SystemExit) as ended:
        main(
            ["adapt", str(start), "--data", str(photos), "--labelled", str(photos), "--epochs=3", "--out", out, *words]
        )
    said = capsys.readouterr().out
    assert ended.value.code == 0, said
    assert re.search(r"^kept: .*, in ", said, re.MULTILINE)
    page = (Path(out) / "change.html").read_text()
    assert "Moved most" in page
    assert "<td>the start</td>" in page
    with pytest.raises(SystemExit):
        main(["report", str(Path(out) / "start"), out, "--out", str(tmp_path / "again.html")])
    assert "before and after" in (tmp_path / "again.html").read_text()
    with pytest.raises(SystemExit) as ended:
        main(["adapt", "--data", str(photos)])
    assert ended.value.code == 2


def test_page_of_two_encoders_needs_no_adaptation(start: Path, tmp_path: Path) -> None:
    other = run(tmp_path / "other", **{"seed": 1}).path
    page = write_change(start, other, data=_folder(tmp_path), out=tmp_path / "page.html")
    assert "Two encoders on the same images" in page.read_text()


def _folder(tmp_path: Path) -> str:
    from tests.conftest import encoded

    folder = tmp_path / "flat"
    folder.mkdir()
    for number, pixels in enumerate(PICTURES[:30]):
        (folder / f"{number}.png").write_bytes(encoded(pixels))
    return str(folder)


@pytest.mark.parametrize("model", ["test_vit", "test_convnext", "test_efficientnet", "test_resnet"])
def test_networks_with_layer_norm_and_vision_transformers_start_from_a_file(tmp_path: Path, model: str) -> None:
    torch.manual_seed(0)
    torch.save(timm.create_model(model, num_classes=5).state_dict(), tmp_path / "weights.pth")
    settings = {name: value for name, value in SMALL.items() if not name.startswith(("encoder.", "views."))}
    lines: list[str] = []
    result = byol.adapt(
        f"timm:{model}",
        PICTURES,
        weights=tmp_path / "weights.pth",
        out=tmp_path / "out",
        overrides=settings,
        epochs=2,
        say=lines.append,
    )
    assert any(f"tensors of {model} found in weights.pth" in line for line in lines)
    assert f"start: {model} at 64 px" in "\n".join(lines)  # twice the side of the pictures, less than its own size
    assert result.encoder()(IMAGES).isfinite().all()
    trained, began = byol.load(result.path / "run"), byol.load(result.path / "start")
    assert not torch.equal(trained(IMAGES), began(IMAGES))
    assert trained.description.image_size == began.description.image_size == 64


def test_vision_transformer_trains_at_another_size_than_its_start(tmp_path: Path) -> None:
    torch.save(timm.create_model("test_vit", num_classes=5).state_dict(), tmp_path / "weights.pth")
    settings = {name: value for name, value in SMALL.items() if not name.startswith("encoder.")} | {"views.size": 32}
    result = byol.adapt(
        "timm:test_vit",
        PICTURES,
        weights=tmp_path / "weights.pth",
        out=tmp_path / "out",
        overrides=settings,
        epochs=1,
        say=lambda _: None,
    )
    sizes = [byol.load(result.path / name).description.image_size for name in ("start", "run")]
    assert sizes == [64, 32]
