"""Protocols that train: their grids, their parts by hand, and what they do on pictures that can be told apart."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import nn

import byol
from byol.cli.main import main
from byol.commands.evaluate import Result, evaluate
from byol.data.arrays import ArrayImages
from byol.data.image_folder import ImageFolder
from byol.data.labelled import labelled_splits
from byol.encoder.encoder import EncoderDescription
from byol.encoder.encoder_file import save_encoder
from byol.errors import ByolError, ConfigError, DataError, RunError
from byol.evaluate.protocols import finetune, linear_fast, linear_sgd, semi, training
from byol.evaluate.protocols.options import PROTOCOLS, KnnOptions, LinearOptions, ProtocolOptions, SemiOptions
from byol.evaluate.protocols.protocol import Job
from byol.nets.encoder import create_encoder
from byol.nets.norm import DeepMindBatchNorm, set_newest_share
from byol.views.policy import CROP_AND_FLIP, T
from byol.views.views import Views, single
from tests.conftest import SMALL, encoded, picture

TINY = {"width": 0.125}


@pytest.fixture(autouse=True)
def _one_thread(_two_threads: None) -> None:
    torch.set_num_threads(1)


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    module = create_encoder("resnet10", in_channels=3, image_size=16, **TINY)
    (tmp_path / "encoder").mkdir()
    description = EncoderDescription("resnet10", TINY, module.num_features, 3, 16, (0.5,) * 3, (0.25,) * 3, True)
    save_encoder(tmp_path / "encoder", module, description)
    return tmp_path / "encoder"


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """train (60) and test (30) pictures of 16 px in three classes that a colour tells apart, and noise."""
    generator = np.random.default_rng(0)
    for part, count in (("train", 20), ("test", 10)):
        for label, name in enumerate(("red", "green", "blue")):
            folder = tmp_path / "colours" / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = generator.integers(0, 120, (16, 16, 3)).astype(np.uint8)
                pixels[..., label] += 90
                Image.fromarray(pixels).save(folder / f"{part}-{name}-{i:02d}.png")
    return tmp_path / "colours"


def test_paper_budget_is_the_papers_grid() -> None:
    assert linear_sgd.RATES["paper"] == (0.4, 0.3, 0.2, 0.1, 0.05)
    assert (linear_sgd.EPOCHS["paper"], linear_sgd.BATCH_SIZE["paper"]) == (80, 1024)
    assert set(semi.RATES["paper"]) == {0.005, 0.01, 0.02, 0.05, 0.1}
    assert (semi.EPOCHS["paper"], semi.BATCH_SIZE["paper"]) == ((30, 50), 1024)
    cells = finetune.grid(finetune.RATES["paper"], finetune.DECAYS["paper"], "paper", 50_000, finetune.STEPS)
    assert len(cells) == 7 * 8
    assert {(cell.steps, cell.batch_size) for cell in cells} == {(20_000, 256)}
    assert (cells[0].rate, cells[-1].rate) == pytest.approx((1e-4, 1e-1))
    assert cells[0].weight_decay == 0
    assert cells[-1].weight_decay == pytest.approx(1e-3 / 1e-1)
    scratch = finetune.grid(
        finetune.SCRATCH_RATES["paper"], finetune.SCRATCH_DECAYS["paper"], "paper", 50_000, finetune.SCRATCH_STEPS
    )
    assert (len(scratch), scratch[0].steps) == (56, 40_000)
    assert (scratch[0].rate, scratch[-1].rate) == pytest.approx((1e-3, 1))
    decays = sorted({round(cell.weight_decay * cell.rate, 9) for cell in scratch})
    assert decays == pytest.approx([10**-e for e in (5, 4.5, 4, 3.5, 3, 2.5, 2, 1.5)], rel=1e-3)
    strengths = linear_fast.STRENGTHS["paper"]
    assert len(strengths) == 45
    assert (strengths[0], strengths[-1]) == pytest.approx((1e5, 1e-6))


def test_small_budgets_are_small() -> None:
    for rates in (semi.RATES, finetune.RATES, finetune.SCRATCH_RATES):
        assert len(rates["default"]) <= 3
    assert linear_sgd.LEAST_STEPS["default"] * linear_sgd.BATCH_SIZE["default"] <= 10 * 9000
    assert max(linear_sgd.EPOCHS["default"], *semi.EPOCHS["default"], finetune.EPOCHS["default"]) <= 10


def test_clipped_loss_by_hand() -> None:
    logits = torch.tensor([[0.0, 20.0]])
    clipped = 20 * np.tanh(1.0)
    expected = np.log1p(np.exp(clipped)) + 0.01 * clipped**2 / 2
    assert float(linear_sgd.classification_loss(logits, torch.tensor([0]), clips=True)) == pytest.approx(expected)
    assert float(linear_sgd.classification_loss(logits, torch.tensor([0]))) == pytest.approx(20.0)


def test_layers_side_by_side_are_trained_as_if_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    steps = [(torch.randn(32, 5, generator=generator), torch.randint(3, (32,), generator=generator)) for _ in range(6)]

    def train(rates: tuple[float, ...]) -> nn.ModuleList:
        heads = linear_sgd.make_heads(len(rates), 5, 3)
        groups = [{"params": head.parameters()} for head in heads]
        optimizer = torch.optim.SGD(groups, lr=1.0, momentum=0.9, nesterov=True)
        for step, (features, labels) in enumerate(steps):
            linear_sgd.train_step(heads, optimizer, rates, features, labels, step, len(steps), clips=False)
        return heads

    rates = (0.4, 0.1, 4.0)
    for head, rate in zip(train(rates), rates, strict=True):
        (alone,) = train((rate,))
        torch.testing.assert_close(head.weight, alone.weight, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(head.bias, alone.bias, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("steps_per_epoch", "expected"), [(50, 0.1), (1000, 0.01)])
def test_norm_averages_keep_what_the_paper_says(steps_per_epoch: float, expected: float) -> None:
    assert finetune.newest_share(steps_per_epoch) == pytest.approx(expected)


@pytest.mark.parametrize("kind", [nn.BatchNorm1d, DeepMindBatchNorm])
def test_share_of_the_newest_batch_reaches_both_kinds_of_norm(kind: type[nn.Module]) -> None:
    norm, inputs = kind(3), torch.randn(2, 64, 3) + 2
    norm(inputs[0])
    before = norm.get_buffer("running_mean").clone()
    set_newest_share(norm, 0.02)
    torch.testing.assert_close(norm.get_buffer("running_mean"), before)
    norm(inputs[1])
    share = 0.02 if kind is nn.BatchNorm1d else 0.02 / (1 - 0.98**2)  # Haiku's averages forget that they began at 0
    expected = before + share * (inputs[1].mean(dim=0) - before)
    torch.testing.assert_close(norm.get_buffer("running_mean"), expected)


def test_one_view_is_a_pure_function_and_workers_make_the_same() -> None:
    images = np.stack([picture(i, 24, 24) for i in range(6)])
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
    view = Views(single(T, 16), 6, seed=1)
    whole = view(tensor, 3).view1
    assert torch.equal(whole[2:4], view(tensor[2:4], 3, 2).view1)
    crops = torch.stack([view.crop(image, 3, row) for row, image in enumerate(images)])
    torch.testing.assert_close(view.finish(crops, 3).view1, whole, rtol=0, atol=1e-5)
    assert not torch.equal(whole, view(tensor, 4).view1)
    assert (CROP_AND_FLIP.jitter_probability, CROP_AND_FLIP.blur_probability, CROP_AND_FLIP.crop_area) == (
        0,
        0,
        (0.08, 1.0),
    )


def test_every_protocol_learns_colours_and_writes_its_record(encoder: Path, colours: Path) -> None:
    before = {file.name: file.read_bytes() for file in encoder.iterdir()}
    options = ProtocolOptions(semi=SemiOptions(per_class=12))
    results = evaluate(encoder, str(colours), tuple(PROTOCOLS), options=options)
    assert [result.protocol for result in results] == list(PROTOCOLS)
    for result in results:
        assert result.score.value > (40 if result.protocol == "cluster" else 60), result.protocol
        assert result.score.low <= result.score.value <= result.score.high
        record = json.loads(result.path.read_text())
        assert record["metrics"][next(iter(result.metrics))]["value"] == result.score.value
        assert record["test"]["num_images"] == 30
        assert len(record["test"]["fingerprint"]) == 16
        assert record["differs"], "none of these is the paper's own"
        assert "top-5" not in result.metrics, "of three classes"
    assert results[3].path.name == "semi-12-per-class.json"
    assert before == {file.name: file.read_bytes() for file in encoder.iterdir() if file.is_file()}


def test_cluster_of_one_class_is_refused_and_the_others_run(encoder: Path, tmp_path: Path) -> None:
    column = pa.array([encoded(picture(i)) for i in range(20)])
    for name, labels in (("train", [0, 1] * 10), ("test", [1] * 20)):
        pq.write_table(pa.table({"image": column, "label": labels}), tmp_path / f"{name}.parquet")
    done: list[Result] = []
    train, test = (str(tmp_path / f"{name}.parquet") for name in ("train", "test"))
    with pytest.raises(DataError, match=r"cluster needs test images of at least two classes; .* has one\."):
        evaluate(encoder, train, ("cluster", "knn"), test_data=test, budget="smoke", done=done.append)
    assert [result.protocol for result in done] == ["knn"]


def test_linear_on_few_images_has_its_least_number_of_steps_but_for_budget_paper(encoder: Path, colours: Path) -> None:
    default, paper = (
        evaluate(encoder, str(colours), ["linear"], budget=budget)[0].record for budget in ("default", "paper")
    )
    assert (default["settings"]["steps"], default["settings"]["epochs"]) == (350, 350)
    assert (paper["settings"]["steps"], paper["settings"]["epochs"]) == (80, 80)
    assert default["settings"]["rates"][-1] > 100 * paper["settings"]["rates"][0]
    assert paper["settings"]["rates"] == [0.4, 0.3, 0.2, 0.1, 0.05]


def test_rate_at_an_end_of_its_grid_is_told() -> None:
    assert training.end_of_grid([(0.1, 50.0), (0.4, 70.0), (0.2, 60.0)]).startswith(
        "the highest of 3 rates, 0.4, did best"
    )
    assert training.end_of_grid([(0.1, 80.0), (0.4, 70.0), (0.2, 60.0)]).startswith(
        "the lowest of 3 rates, 0.1, did best"
    )
    assert training.end_of_grid([(0.1, 50.0), (0.4, 70.0), (0.2, 70.0)]) == "", "one between does as well"
    assert training.end_of_grid([(0.1, 50.0), (0.4, 70.0)]) == "", "two rates are ends alone"


def test_caution_is_recorded_and_printed(
    encoder: Path, colours: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(linear_sgd.RATES, "smoke", (1e-9, 2e-9, 0.4))
    monkeypatch.setitem(linear_sgd.LEAST_STEPS, "smoke", 40)
    with pytest.raises(SystemExit, match="0"):
        main(["evaluate", str(encoder), "--data", str(colours), "--protocol", "linear", "--budget", "smoke"])
    assert "linear: the highest of 3 rates, 0.4, did best on the validation images" in capsys.readouterr().out
    record = json.loads((encoder / "evaluation" / "linear.json").read_text())
    assert record["caution"].startswith("the highest of 3 rates")


def test_linear_leaves_the_encoder_as_it_is(encoder: Path, colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from byol.commands import evaluate as command

    jobs, make = [], command.make_job
    monkeypatch.setattr(command, "make_job", lambda *a: jobs.append(make(*a)) or jobs[-1])
    before = byol.load(encoder).state_dict()
    options = ProtocolOptions(linear=LinearOptions(clip_logits=True))
    (result,) = evaluate(encoder, str(colours), ["linear"], budget="smoke", options=options)
    assert result.path.name == "linear-logits-clipped.json"
    assert not jobs[0].encoder.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in jobs[0].encoder.state_dict().items())


def test_test_labels_choose_nothing(encoder: Path, colours: Path) -> None:
    protocols = ["knn", "linear", "linear-fast", "semi", "finetune"]
    options = ProtocolOptions(semi=SemiOptions(fraction=0.5))
    plain = evaluate(encoder, str(colours), protocols, options=options)
    (colours / "test" / "red").rename(colours / "test" / "spare")
    (colours / "test" / "blue").rename(colours / "test" / "red")
    (colours / "test" / "spare").rename(colours / "test" / "blue")
    turned = evaluate(encoder, str(colours), protocols, options=options)
    for one, other in zip(plain, turned, strict=True):
        assert one.record["settings"] == other.record["settings"]
        assert one.record["extras"] == other.record["extras"]
        assert one.score.value > other.score.value


def test_same_seed_gives_the_same_result(encoder: Path, colours: Path) -> None:
    found = [evaluate(encoder, str(colours), ["finetune"], budget="smoke", seed=seed)[0] for seed in (1, 1, 2)]
    assert found[0].record["extras"] == found[1].record["extras"]
    assert found[0].metrics == found[1].metrics


def test_features_are_read_once_for_all_protocols(
    encoder: Path, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from byol.commands import evaluate as command

    read, extract = [], command.extract
    monkeypatch.setattr(command, "extract", lambda *a, **k: read.append(a[1].description) or extract(*a, **k))
    evaluate(encoder, str(colours), ["knn", "linear-fast", "retrieval", "cluster"])
    assert len(read) == 2


def test_semi_takes_the_same_share_of_every_class_or_the_named_images(colours: Path, tmp_path: Path) -> None:
    train, _ = labelled_splits(str(colours))
    part = semi.labelled_part(train, SemiOptions(fraction=0.25), 0)
    assert np.bincount(part.labels).tolist() == [5, 5, 5]  # pyright: ignore[reportArgumentType]
    assert len(semi.labelled_part(train, SemiOptions(per_class=2), 0)) == 6
    listed = tmp_path / "list.txt"
    other = next(train.name(i) for i in range(len(train)) if train.name(i).endswith("train-blue-11.png"))
    listed.write_text(f"train-red-03.png\n{other}\n\n")
    part = semi.labelled_part(train, SemiOptions(subset=str(listed)), 0)
    assert sorted(Path(part.name(i)).name for i in range(len(part))) == ["train-blue-11.png", "train-red-03.png"]
    listed.write_text("train-red-03.png\nmissing.png\n")
    with pytest.raises(DataError, match=r"1 of the 2 names in .* are no image of .*: missing\.png\."):
        semi.labelled_part(train, SemiOptions(subset=str(listed)), 0)


def test_semi_list_of_a_name_that_two_images_have_is_refused(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / "set" / label).mkdir(parents=True)
        for number in range(2):
            (tmp_path / "set" / label / f"{number}.png").write_bytes(encoded(picture(number)))
    source = ImageFolder(tmp_path / "set")
    listed = tmp_path / "list.txt"
    listed.write_text("1.png\n")
    with pytest.raises(DataError, match=r"1\.png in .* is the name of 2 images .* List paths, such as cat/1\.png\."):
        semi.labelled_part(source, SemiOptions(subset=str(listed)), 0)
    listed.write_text("cat/1.png\ndog/0.png\n")
    part = semi.labelled_part(source, SemiOptions(subset=str(listed)), 0)
    assert [part.name(i) for i in range(len(part))] == ["cat/1.png", "dog/0.png"]


def test_folder_called_as_a_public_set_has_a_fifth_held_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the same images for training and test."""
    column = pa.array([encoded(picture(i)) for i in range(20)])
    (tmp_path / "cifar10").mkdir()
    pq.write_table(pa.table({"image": column, "label": [0, 1] * 10}), tmp_path / "cifar10" / "all.parquet")
    monkeypatch.chdir(tmp_path)
    train, test = labelled_splits("cifar10")
    assert (len(train), len(test)) == (16, 4)


@pytest.mark.parametrize("labelled_per_class", [5, 20])
def test_semi_chooses_on_images_it_does_not_train_on(labelled_per_class: int) -> None:
    labels = np.repeat([0, 1, 2], 20)
    source = ArrayImages(np.zeros((60, 1, 1, 1), np.uint8), labels)
    job = SimpleNamespace(train=source, budget="default", seed=0)
    given = semi.labelled_part(source, SemiOptions(per_class=labelled_per_class), 0)
    labelled, validation = semi._with_validation(job, given)  # pyright: ignore[reportArgumentType]
    assert not set(labelled.indices) & set(validation.indices)
    assert len(labelled) == (15 if labelled_per_class == 5 else 54)  # of 60 labelled, a tenth is held out
    assert len(validation) == 6 if labelled_per_class == 20 else len(validation) >= 3


def test_semi_tells_that_its_rates_are_for_a_batch_of_256(
    encoder: Path, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peaks, set_rate = set(), training.set_rate
    monkeypatch.setattr(
        training, "set_rate", lambda optimizer, peak, *at: peaks.add(peak) or set_rate(optimizer, peak, *at)
    )
    evaluate(encoder, str(colours), ["semi"], budget="smoke", options=ProtocolOptions(semi=SemiOptions(per_class=12)))
    assert peaks == {0.05 * 32 / 256}
    assert "Differs from the paper: rates are multiplied by batch / 256" in str(semi.semi.__doc__)


def test_semi_from_scratch_has_a_file_of_its_own(encoder: Path, colours: Path) -> None:
    options = ProtocolOptions(semi=SemiOptions(fraction=0.5, from_scratch=True))
    (result,) = evaluate(encoder, str(colours), ["semi"], budget="smoke", options=options)
    assert result.path.name == "semi-from-scratch-50-percent.json"


def test_small_budget_cuts_both_parts_and_keeps_the_shares_of_the_classes() -> None:
    labels = np.repeat([0, 1], [9_000, 3_000])
    source = ArrayImages(np.zeros((12_000, 1, 1, 1), np.uint8), labels)
    for own in (None, np.concatenate((np.arange(3_000), np.arange(9_000, 10_000)))):
        job = SimpleNamespace(train=source, budget="default", seed=0, validation=own)
        job.held_out = lambda share, job=job: Job.held_out(job, share)
        train, validation = training.split(job)  # pyright: ignore[reportArgumentType]
        assert train.labels is not None
        assert np.mean(train.labels) == pytest.approx(0.25, abs=0.01)
        assert (len(train), len(validation)) == (9_000 if own is None else 8_000, 1_000)
        assert not set(train.indices) & set(validation.indices)


def test_baselines_by_name(colours: Path, tmp_path: Path) -> None:
    (pixels,) = evaluate("pixels", str(colours), ["knn"], out=tmp_path / "pixels")
    assert pixels.record["num_features"] == 3 * 16 * 16
    assert pixels.path == tmp_path / "pixels" / "evaluation" / "knn.json"
    one, other = (
        evaluate("timm:resnet10t", str(colours), ["knn"], out=tmp_path / "timm", seed=seed)[0] for seed in (0, 0)
    )
    assert one.record["network"] == "untrained, eval mode"
    assert one.metrics == other.metrics


def test_results_of_a_baseline_stay_when_it_is_measured_on_other_images(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(colours, tmp_path / "more" / "colours")
    for data, name in (("colours", "colours"), ("./more/colours/", "more-colours"), (str(colours), None)):
        (result,) = evaluate("pixels", data, "knn", budget="smoke")
        assert name is None or result.path == Path(f"runs/pixels/{name}/evaluation/knn.json")
    assert len(list(Path("runs/pixels").glob("*/evaluation/knn.json"))) == 3


def test_target_network_is_named_and_is_another_one(photos: Path, tmp_path: Path) -> None:
    run = byol.pretrain(photos, epochs=2, out=tmp_path / "run", overrides=SMALL, say=lambda _: None)
    online, target = (
        evaluate(run.path, str(photos), ["linear-fast"], network=network)[0] for network in ("online", "target")
    )
    assert online.record["network"].startswith("online")
    assert target.record["network"].startswith("target")
    assert target.path.name == "linear-fast-target.json"
    (view,) = evaluate(
        run.path,
        str(photos),
        ["linear"],
        budget="smoke",
        options=ProtocolOptions(linear=LinearOptions(pretraining_views=True)),
    )
    assert view.record["variant"] == "pretraining-views"


@pytest.mark.parametrize(
    ("encoder_name", "protocol", "options", "said"),
    [
        ("pixels", "finetune", {}, "pixels has no weights to train"),
        ("hog", "finetune", {}, "hog has no weights to train"),
        ("{encoder}", "kn", {}, "no protocol 'kn'. Did you mean 'knn'"),
        ("{encoder}", "linear", {"linear": LinearOptions(pretraining_views=True)}, "does not tell its augmentations"),
        ("{encoder}", "semi", {"semi": SemiOptions(fraction=1.5)}, "semi.fraction must be above 0 and at most 1"),
        ("{encoder}", "semi", {"semi": SemiOptions(per_class=-3)}, "semi.per_class must be 0 .* or more; found -3"),
        ("{encoder}", "semi", {"semi": SemiOptions(subset="nowhere.txt")}, "nowhere.txt cannot be read"),
        ("{encoder}", "knn", {"knn": KnnOptions(k=-5)}, "knn.k and knn.temperature must be 0 .* found -5 and 0"),
        ("{encoder}", "knn", {"knn": KnnOptions(temperature=-0.1)}, "found 0 and -0.1"),
        ("timm:resnet10t:best", "knn", {}, "write timm:resnet10t or timm:resnet10t:pretrained"),
        ("nowhere", "knn", {}, "holds no encoder.json"),
    ],
)
def test_bad_request_is_one_sentence(
    encoder: Path, colours: Path, encoder_name: str, protocol: str, options: dict, said: str
) -> None:
    with pytest.raises(ByolError, match=said):
        evaluate(encoder_name.format(encoder=encoder), str(colours), [protocol], options=ProtocolOptions(**options))


def test_one_protocol_that_fails_keeps_no_other_from_running(
    encoder: Path, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(job: Job) -> None:
        raise DataError("too few")

    monkeypatch.setattr(semi, "semi", fail)
    said, done = list[str](), list[Result]()
    with pytest.raises(DataError, match="too few"):
        evaluate(encoder, str(colours), ["semi", "knn"], budget="smoke", workers=0, say=said.append, done=done.append)
    assert said[2:] == ["semi: too few"] and [result.protocol for result in done] == ["knn"]


def test_results_of_other_images_or_budgets_are_moved_not_lost(encoder: Path, colours: Path) -> None:
    for budget in ("smoke", "default", "smoke"):
        evaluate(encoder, str(colours), "knn", budget=budget, workers=0)
    earlier = [json.loads((encoder / "evaluation" / "earlier" / f"knn-{n}.json").read_text()) for n in (1, 2)]
    newest = json.loads((encoder / "evaluation" / "knn.json").read_text())
    assert [record["budget"] for record in (*earlier, newest)] == ["smoke", "default", "smoke"]


def test_unknown_names_and_the_same_images_twice_are_refused(encoder: Path, colours: Path) -> None:
    with pytest.raises(ConfigError, match="There is no budget 'Paper'; there are paper, default, smoke"):
        evaluate(encoder, str(colours), "knn", budget="Paper")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="There is no network 'Target'; there are online, target"):
        evaluate(encoder, str(colours), "knn", network="Target")  # pyright: ignore[reportArgumentType]
    train = str(colours / "train")
    with pytest.raises(DataError, match="Training and test images are the same"):
        evaluate(encoder, train, "knn", test_data=f"{train}/")


def test_results_that_cannot_be_written_are_told_before_the_work(
    encoder: Path, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from byol.commands import evaluate as command

    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(command, "make_job", lambda *given: pytest.fail("worked first"))
    with pytest.raises(RunError, match=r"cannot be made \(Not a directory\)"):
        evaluate(encoder, str(colours), ["knn"], out=tmp_path / "file" / "results")


def test_network_target_of_an_encoder_alone_is_refused(encoder: Path, colours: Path) -> None:
    with pytest.raises(ByolError, match="has no target network"):
        evaluate(encoder, str(colours), ["knn"], network="target")


def test_labels_that_do_not_allow_it_are_one_sentence(encoder: Path, colours: Path, tmp_path: Path) -> None:
    column = pa.array([encoded(picture(i)) for i in range(20)])
    pq.write_table(pa.table({"image": column, "label": pa.array([4] * 20)}), tmp_path / "one.parquet")
    with pytest.raises(ByolError, match="has one class only"):
        evaluate(encoder, str(tmp_path / "one.parquet"), ["knn"])
    (colours / "train" / "red").rename(tmp_path / "red")
    with pytest.raises(ByolError, match=r"test has classes that .*train has not: red\. "):
        evaluate(encoder, str(colours), ["knn"])
    with pytest.raises(ByolError, match="has no labels"):
        evaluate(encoder, str(colours / "train" / "blue"), ["knn"])


def test_all_rates_too_high_is_one_sentence(encoder: Path, colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(finetune.RATES, "smoke", (1e30,))
    with pytest.raises(ByolError, match="its rate is too high"):
        evaluate(encoder, str(colours), ["finetune"], budget="smoke")
