"""Several processes compute what one computes."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import distributed, nn
from torch.nn import functional

import byol
from byol.commands.resume import resume
from byol.data.arrays import ArrayImages
from byol.engine.metrics import read_metrics
from byol.errors import ConfigError
from byol.nets.compiled.fused_norm import fuse_norms
from byol.nets.encoder import create_encoder
from byol.nets.norm import (
    Conventions,
    SynchronizedBatchNorm,
    SynchronizedBatchNormAct,
    batch_norm_1d,
    batch_norm_2d,
    synchronize_batch_norm,
)
from byol.runtime.ranks import Ranks
from tests.conftest import SMALL, picture
from tests.ranks import join_and_leave, run_ranks, start_ranks

PICTURES = np.stack([picture(i, 32, 32) for i in range(64)])


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    """In float32 another summation order alone moves the loss by percents within eight steps of 16 images."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def pretrain(out: Path, **overrides) -> byol.Run:
    torch.set_default_dtype(torch.float64)  # in the ranks too
    return byol.pretrain(
        PICTURES, "small", out=out, overrides={**SMALL, "epochs": 2, **overrides}, say=lambda line: None
    )


def losses(path: Path) -> list[float]:
    return [row["loss"] for row in read_metrics(path / "metrics.jsonl")]


def pretrain_rank(rank: int, out: Path, overrides: dict) -> None:
    pretrain(out, **overrides)


def resume_rank(rank: int, path: Path) -> None:
    torch.set_default_dtype(torch.float64)
    resume(path, source=ArrayImages(PICTURES), say=lambda line: None)


def same_weights(one: Path, other: Path, tolerance: float) -> bool:
    first, second = byol.load(one).module.state_dict(), byol.load(other).module.state_dict()
    return all(torch.allclose(value.double(), second[name].double(), atol=tolerance) for name, value in first.items())


@pytest.mark.parametrize(
    ("name", "micro"),
    [("resnet18", 4), *(pytest.param(name, 0, marks=pytest.mark.full) for name in ("resnet18", "convnext_atto"))],
)
def test_two_ranks_train_as_one_process_does(tmp_path: Path, name: str, micro: int) -> None:
    """With batch norm and without in the encoder, in one micro-batch and in two."""
    settings = {"encoder.name": name, "encoder.width": 0.125 if name == "resnet18" else 1.0}
    pretrain(tmp_path / "one", **settings, micro_batch_size=2 * micro)
    run_ranks(2, pretrain_rank, tmp_path / "two", {**settings, "micro_batch_size": micro})
    assert len(losses(tmp_path / "two")) == 8
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-6)
    assert same_weights(tmp_path / "one", tmp_path / "two", 1e-6)


@pytest.mark.parametrize("name", ["simclr", "infonce"])
def test_two_ranks_share_their_negatives(tmp_path: Path, name: str) -> None:
    settings = {"method.name": name, "method.temperature": 0.5, "encoder.name": "resnet10"}
    pretrain(tmp_path / "one", **settings)
    run_ranks(2, pretrain_rank, tmp_path / "two", settings)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-6)
    assert same_weights(tmp_path / "one", tmp_path / "two", 1e-6)


def test_two_ranks_share_the_correlation_of_a_closed_form_predictor(tmp_path: Path) -> None:
    """In two micro-batches, with both correlations."""
    settings = {"heads.predictor": "neumann", "encoder.name": "resnet10"}
    pretrain(tmp_path / "one", **settings, micro_batch_size=8)
    run_ranks(2, pretrain_rank, tmp_path / "two", {**settings, "micro_batch_size": 4})
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-6)
    assert same_weights(tmp_path / "one", tmp_path / "two", 1e-6)


def test_two_ranks_probe_between_two_lines_of_the_log(tmp_path: Path) -> None:
    """The first rank alone looks at the encoder; what all of them have to do together stays in step."""
    run_ranks(2, probe_rank, tmp_path / "run")
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [row["step"] for row in rows if "online_knn" in row] == [2, 5, 7]
    assert [row["step"] for row in rows] == [0, 2, 4, 5, 7]


def probe_rank(rank: int, out: Path) -> None:
    overrides = {**SMALL, "epochs": 2, "online_probe_epochs": 0.75, "log_interval_steps": 5}
    byol.pretrain(
        ArrayImages(PICTURES, np.arange(64) % 4), "small", out=out, overrides=overrides, say=lambda line: None
    )


def test_two_ranks_record_each_broken_image_once(photos: Path, tmp_path: Path) -> None:
    for name, content in (("cat/00.jpg", b"junk"), ("dog/19.jpg", b"")):
        (photos / name).write_bytes(content)
    run_ranks(2, pretrain_on_photos, photos, tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run" / "skipped.jsonl").read_text().splitlines()]
    assert sorted(row["name"] for row in rows) == ["cat/00.jpg", "dog/19.jpg"]


def pretrain_on_photos(rank: int, photos: Path, out: Path) -> None:
    byol.pretrain(str(photos), out=out, overrides={**SMALL, "epochs": 1}, say=lambda line: None)


@pytest.mark.full
def test_run_of_two_ranks_resumes_with_one_and_four(tmp_path: Path) -> None:
    pretrain(tmp_path / "one")
    run_ranks(2, stop_at_four, tmp_path / "run")
    assert len(losses(tmp_path / "run")) == 4
    run_ranks(4, resume_rank, tmp_path / "run")
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "one"), rel=1e-6)


def test_ranks_that_are_not_at_one_say_so(tmp_path: Path) -> None:
    pretrain(tmp_path / "run")
    run_ranks(2, of_other_images, tmp_path / "new")
    run_ranks(2, begin_and_go_on, tmp_path / "run")


def of_other_images(rank: int, out: Path) -> None:
    with pytest.raises(ConfigError, match="have different images"):
        byol.pretrain(PICTURES[rank:], "small", out=out, overrides=SMALL, say=lambda line: None)


def begin_and_go_on(rank: int, run: Path) -> None:
    """As where each machine has a disk of its own at the same path."""
    with pytest.raises(ConfigError, match="start a run and others continue"):
        pretrain(run.with_name("elsewhere")) if rank else resume_rank(rank, run)


def test_each_rank_needs_a_gpu_of_its_own() -> None:
    with pytest.raises(ConfigError, match=r"set device to cuda instead of cuda:0"):
        Ranks(1, 2, 1).device(torch.device("cuda", 0))


def stop_at_four(rank: int, out: Path) -> None:
    """A signal that reaches the second rank alone stops both after the same step."""
    from byol.engine import loop

    original = loop.Log.write

    def write(self, state) -> None:
        original(self, state)
        if rank == 1 and state.step == 4:
            os.kill(os.getpid(), 15)

    loop.Log.write = write
    ended = pretrain(out)
    assert not ended.finished


def test_rank_that_dies_ends_all_with_a_sentence(tmp_path: Path) -> None:
    pretrain(tmp_path / "one")
    script = "import sys; from pathlib import Path; from tests.integration import test_ranks as t; t.die_at_four(Path(sys.argv[1]))"
    (tmp_path / "script.py").write_text(script)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", str(tmp_path / "script.py")]
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    ended = subprocess.run(
        [*command, str(tmp_path / "run")], capture_output=True, text=True, timeout=120, env=environment
    )
    assert ended.returncode != 0
    assert "RankError: Another process of this training ended" in ended.stderr, ended.stderr
    resume_rank(0, tmp_path / "run")
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "one"), rel=1e-6)


def die_at_four(out: Path) -> None:
    """The second rank dies; the first is slow enough to tell of it that torchrun's SIGTERM comes before."""
    from byol.engine import loop

    original, train = loop.Log.write, loop.Loop.run

    def write(self, state) -> None:
        original(self, state)
        if os.environ["RANK"] == "1" and state.step == 4:
            os.kill(os.getpid(), 9)

    def train_and_dawdle(training):
        try:
            return train(training)
        except RuntimeError:
            time.sleep(2)
            raise

    loop.Log.write, loop.Loop.run = write, train_and_dawdle
    pretrain(out, checkpoint_interval_minutes=0)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux lists the threads of a process")
def test_no_thread_of_gloo_outlives_the_training() -> None:
    """One that does aborts the process at its end, now and then. In processes that have imported nothing before."""
    start_ranks(2, join_and_leave, method="spawn")


def test_torchrun_trains_from_the_command_line(photos: Path, tmp_path: Path) -> None:
    settings = [f"--{key}={value}" for key, value in SMALL.items()]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "byol", "pretrain"]
    command += ["--data", str(photos), "--out", str(tmp_path / "run"), "--epochs", "1", *settings]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("finished after") == 1, ended.stdout
    assert "on 2 ranks" in ended.stdout
    assert byol.load(tmp_path / "run")(torch.zeros(1, 3, 32, 32)).shape == (1, 64)


def test_batch_norm_over_ranks_equals_one_process() -> None:
    run_ranks(3, of_both_conventions, compare_batch_norm)


def of_both_conventions(rank: int, compare: Callable[[int, Conventions], None]) -> None:
    compare(rank, "torch")
    compare(rank, "deepmind")


def compare_batch_norm(rank: int, conventions: Conventions) -> None:
    for shape, make in (((12, 5, 4, 3), batch_norm_2d), ((12, 5), batch_norm_1d)):
        torch.manual_seed(0)
        whole, network = make(5, conventions).double(), nn.Sequential(make(5, conventions).double())
        assert synchronize_batch_norm(network) == 1
        part = network[0]
        rows = slice(4 * rank, 4 * rank + 4)
        for _ in range(3):  # each rank's own images differ in mean and spread
            data = torch.randn(shape, dtype=torch.float64) * torch.arange(1, 13).double().view(
                12, *[1] * (len(shape) - 1)
            )
            weight = torch.randn(shape, dtype=torch.float64)
            x, y = data.clone().requires_grad_(), data[rows].clone().requires_grad_()
            (whole(x).sin() * weight).sum().backward()
            (part(y).sin() * weight[rows]).sum().backward()
            assert x.grad is not None
            assert y.grad is not None
            assert torch.allclose(y.grad, x.grad[rows], atol=1e-12)
            assert torch.allclose(part(y), whole(x)[rows], atol=1e-12)
        for parameter, ours in zip(whole.parameters(), part.parameters(), strict=True):
            assert ours.grad is not None
            distributed.all_reduce(ours.grad)
            assert torch.allclose(ours.grad, parameter.grad, atol=1e-11)  # pyright: ignore[reportArgumentType]
        assert part.state_dict().keys() == whole.state_dict().keys()
        for name, value in whole.state_dict().items():
            assert torch.allclose(part.state_dict()[name], value, atol=1e-12), name
        assert torch.allclose(part.eval()(data), whole.eval()(data), atol=1e-12)


def test_fused_batch_norm_over_ranks_equals_one_process() -> None:
    run_ranks(2, of_both_conventions, compare_fused_batch_norm)


def compare_fused_batch_norm(rank: int, conventions: Conventions) -> None:
    torch.manual_seed(0)
    whole = batch_norm_2d(16, conventions).double()
    part = nn.Sequential(batch_norm_2d(16, conventions))
    assert synchronize_batch_norm(part) == fuse_norms(part) == 1
    rows, shape = slice(4 * rank, 4 * rank + 4), (8, 16, 3, 3)
    spread = torch.arange(1, 9).double().view(8, 1, 1, 1)
    for has_residual in (True, False):
        data, residual, weight = (torch.randn(shape, dtype=torch.float64) * spread for _ in range(3))
        x, y = data.clone().requires_grad_(), data[rows].float().requires_grad_()
        out = functional.relu(whole(x) + (residual if has_residual else 0))
        found = part[0](y, residual[rows].float() if has_residual else None, relu=True)
        assert "FusedNorm" in type(found.grad_fn).__name__
        assert torch.allclose(found.double(), out[rows], atol=1e-4)
        (out * weight).sum().backward()
        (found * weight[rows].float()).sum().backward()
        assert x.grad is not None and y.grad is not None
        assert torch.allclose(y.grad.double(), x.grad[rows], atol=1e-4)
    for parameter, ours in zip(whole.parameters(), part.parameters(), strict=True):
        assert ours.grad is not None and parameter.grad is not None
        distributed.all_reduce(ours.grad)
        assert torch.allclose(ours.grad.double(), parameter.grad, rtol=1e-5, atol=1e-3)
    for name, value in whole.state_dict().items():
        assert torch.allclose(part[0].state_dict()[name].double(), value.double(), rtol=1e-5, atol=1e-6), name
    few = torch.randn(4, 16)  # not a map: torch's operators, over the ranks too
    gathered = [torch.empty_like(few) for _ in range(2)]
    distributed.all_gather(gathered, few)
    if conventions == "torch":
        expected = functional.batch_norm(torch.cat(gathered), None, None, training=True)[rows]
        plain = nn.Sequential(batch_norm_1d(16, conventions))
        synchronize_batch_norm(plain)
        fuse_norms(plain)
        assert torch.allclose(plain(few), expected, atol=1e-5)


def test_synchronize_batch_norm_keeps_timms_activations() -> None:
    network = timm.create_model("mobilenetv3_small_050", num_classes=0).eval()
    names, images = list(network.state_dict()), torch.rand(2, 3, 64, 64)
    before = network(images)
    synchronize_batch_norm(network)
    assert list(network.state_dict()) == names
    assert any(isinstance(module, SynchronizedBatchNormAct) for module in network.modules())
    assert torch.equal(network(images), before)


def test_synchronize_batch_norm_keeps_names_and_weights() -> None:
    net = create_encoder("resnet18", width=0.125, image_size=32)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert synchronize_batch_norm(net) == 20
    assert not any(type(m) is nn.BatchNorm2d for m in net.modules())
    assert isinstance(net.get_submodule("layer1.0.bn1"), SynchronizedBatchNorm)
    assert {name: value.tolist() for name, value in net.state_dict().items()} == {
        n: v.tolist() for n, v in before.items()
    }
