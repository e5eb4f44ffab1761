"""The command as a user runs it: real processes."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from byol.cli.main import COMMANDS, main
from byol.cli.pretrain import Recipes
from tests.conftest import encoded, picture
from tests.processes import Command

FAST = [
    "--encoder.width",
    "0.125",
    "--heads.projector-hidden",
    "32",
    "--heads.projector-output",
    "16",
    "--heads.predictor-hidden",
    "32",
    "--views.size",
    "32",
    "--batch-size",
    "16",
    "--workers",
    "1",
    "--log-interval-steps",
    "1",
]


def byol(*arguments: str | Path, code: int = 0) -> str:
    """Runs the command, checks its exit code and that there is no traceback; returns all it printed."""
    ended, output = Command(*arguments).wait(timeout=300)
    assert "Traceback" not in output, output
    assert ended == code, output
    return output


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(run directory, folder of 40 photos in two classes, one of them broken)."""
    folder = tmp_path_factory.mktemp("cli")
    for label in ("cat", "dog"):
        (folder / "photos" / label).mkdir(parents=True)
        for i in range(20):
            content = encoded(picture(i + 100 * (label == "dog"), 40 + 8 * (i % 2)), "JPEG")
            (folder / "photos" / label / f"{i:02d}.jpg").write_bytes(content)
    (folder / "photos" / "cat" / "07.jpg").write_bytes(b"broken")
    output = byol("pretrain", "--data", folder / "photos", "--out", folder / "run", "--epochs", "2", *FAST)
    assert "1 broken image skipped" in output
    assert "finished" in output
    return folder / "run", folder / "photos"


def cpu_seconds(*command: str) -> float:
    """Of a process of its own: other processes do not lengthen it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_is_quick() -> None:
    """Half a second, where the import of torch takes two: a ratio, since machines differ."""
    commands = (["-m", "byol", "pretrain", "--help"], ["-c", "import torch"])
    of_help, of_torch = (
        min(times) for times in zip(*([cpu_seconds(*c) for c in commands] for _ in range(3)), strict=True)
    )
    assert of_help < of_torch / 4


def test_pretrain_names_the_broken_image(trained: tuple[Path, Path]) -> None:
    (line,) = (trained[0] / "skipped.jsonl").read_text().splitlines()
    assert json.loads(line)["name"] == "cat/07.jpg"


def test_evaluate_writes_a_record_per_protocol(trained: tuple[Path, Path]) -> None:
    said = byol(
        "evaluate", trained[0], "--data", trained[1], "--protocol", "knn", "--knn.k", "5", "--knn.temperature", "0.1"
    )
    record = json.loads((trained[0] / "evaluation" / "knn.json").read_text())
    assert f"{record['metrics']['top-1']['value']:.1f} [" in said
    assert record["settings"] == {"k": 5, "temperature": 0.1}
    assert (record["train"]["num_images"], record["test"]["num_images"]) == (32, 8)
    assert "mean per class" in byol("evaluate", trained[0], "--data", trained[1], "--protocol", "linear-fast")
    record = json.loads((trained[0] / "evaluation" / "linear-fast.json").read_text())
    assert record["network"] == "online, eval mode"
    assert record["differs"].startswith("not the paper's protocol: budget default")


def test_check_data_finds_what_is_broken_and_what_is_twice(photos: Path, tmp_path: Path) -> None:
    (photos / "cat" / "torn.jpg").write_bytes((photos / "cat" / "00.jpg").read_bytes()[:300])
    (photos / "dog" / "again.png").write_bytes(encoded(picture(3)))
    (photos / "cat" / "once.png").write_bytes(encoded(picture(3)))
    (photos / "cat" / "grey.png").write_bytes(encoded(picture(3)[..., 0]))
    said = byol("check-data", "--data", photos, "--out", tmp_path / "report.json")
    assert "44 images, 2 labelled classes" in said
    assert "readable: 43 (1 with 1 channel, 42 with 3 channels), short side 40 to 48 px" in said
    assert "cat/torn.jpg: " in said
    assert "duplicates: 1 copy of another image" in said
    assert "cat/once.png = dog/again.png" in said
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["duplicates"] == [["cat/once.png", "dog/again.png"]]
    assert list(report["broken"]) == ["cat/torn.jpg"]


@pytest.mark.parametrize("ending", ["parquet", "npz"])
def test_embed_writes_name_label_and_vector(trained: tuple[Path, Path], tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"vectors.{ending}"
    assert "39 vectors" in byol("embed", trained[0], "--data", trained[1], "--out", out)
    table = pq.read_table(out).to_pydict() if ending == "parquet" else dict(np.load(out))
    assert list(table["name"][:2]) == ["cat/00.jpg", "cat/01.jpg"]
    assert np.asarray(table["vector"]).shape == (39, 64)
    assert sum(table["label"]) == 20
    assert "exists already" in byol("embed", trained[0], "--data", trained[1], "--out", out, code=1)
    assert "39 vectors" in byol("embed", "timm:resnet10t", "--data", trained[1], "--out", tmp_path / f"new.{ending}")


def test_reader_that_has_read_enough_ends_a_command_quietly() -> None:
    command = f"'{sys.executable}' -m byol study --help | true"  # gone before the first line
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert ended.stderr == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_stop_by_signal_saves_and_resume_finishes(
    trained: tuple[Path, Path], tmp_path: Path, number: signal.Signals
) -> None:
    """Sent to the whole group of processes and once more to each, as torchrun, timeout and SLURM do."""
    arguments = ["pretrain", "--data", trained[1], "--out", tmp_path / "run", "--epochs", "400", *FAST]
    process = subprocess.Popen(
        [sys.executable, "-m", "byol", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (metrics.exists() and metrics.read_text().count("\n") > 3):
        time.sleep(0.1)
    workers = _descendants(process.pid)
    assert workers  # that decode
    os.killpg(process.pid, number)
    for one in (*workers, process.pid):
        os.kill(one, number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number, errors
    assert b"Traceback" not in errors
    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert not json.loads((tmp_path / "run" / "result.json").read_text())["finished"]
    assert f"at step {steps[-1] + 1} of" in _resume_briefly(tmp_path / "run")
    assert not any(map(_is_running, workers))


def _descendants(pid: int) -> list[int]:
    """Processes that it started, and those that these started."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            children.setdefault(int(stat.read_text().rpartition(")")[2].split()[1]), []).append(int(stat.parent.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found[1:]


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def _resume_briefly(run: Path) -> str:
    """Resumes, reads the first lines, and stops again."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "byol", "pretrain", "--resume", str(run)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode in (130, -signal.SIGINT)
    return line


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["pretran"], 2, "Did you mean 'pretrain'"),
        (["pretrain"], 2, "--data"),
        (["pretrain", "--data", "nowhere"], 1, "not a folder or file here"),
        (["pretrain", "--data", "nowhere", "--minutes", "0"], 1, "minutes must be a number above 0; found 0"),
        (["pretrain", "photos/"], 2, "byol: pretrain needs an option for its images: byol pretrain --data photos/\n"),
        (["check-data", "my photos", "--out", "x"], 2, "images: byol check-data --data 'my photos' --out x\n"),
        (["pretrain", "--data", "sample", "--recipe", "cifr10"], 1, "Did you mean 'cifar10'"),
        (["pretrain", "--data", "sample", "--optimizer.nam", "sgd"], 2, "--optimizer.name"),
        (["pretrain", "--data", "sample", "--epochs", "-1"], 1, "epochs must be above 0"),
        (["pretrain", "--data", "sample", "--epochs", "many"], 2, "epochs"),
        (["pretrain", "--data", "sample", "--encoder.name", "resnet"], 1, "There is no encoder 'resnet'"),
        (["pretrain", "--data", "sample", "--encoder.name", "resnet10", "--encoder.pretrained"], 1, "timm has no 'resnet10', and so"),
        (["pretrain", "--data", "sample", "--recipe", "sample", "--optimizer.warmup-epochs", "16"], 1, "warm-up"),
        (["pretrain", "--data", "sample", "--device", "toaster"], 1, "toaster"),
        (["pretrain", "--resume", "nowhere"], 1, "not a directory"),
        (["evaluate", "nowhere", "--data", "sample"], 1, "holds no encoder.json"),
        (["knn", "runs/a", "--data", "sample"], 2, "knn is now byol evaluate RUN --data LABELLED --protocol knn"),
        (["embed", "nowhere", "--data", "sample", "--out", "vectors.csv"], 1, "must end in .parquet or .npz"),
        (["demo", "--seeds", "11"], 1, "from 1 to 10"),
    ],
)  # fmt: skip
def test_bad_input_gets_one_sentence(
    arguments: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, which is quicker: an error that `main` does not catch fails the test."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    said = capsys.readouterr()
    output = said.out + said.err
    assert ended.value.code == code, output
    assert says in output
    assert code == 2 or len(output.strip().splitlines()) == 1 or output.strip().splitlines()[-1].startswith("byol: ")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(28, "No space left on device", "runs/photos"), "runs/photos: No space left on device"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (RuntimeError("MPS backend out of memory (allocated: 9 GiB)\nmore"), "(MPS backend out of memory (allocated: 9 GiB))"),
        (MemoryError(), "memory is full"),
    ],
)  # fmt: skip
def test_what_the_machine_refuses_is_one_sentence(
    error: Exception, says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(options: Recipes) -> int:
        raise error

    monkeypatch.setitem(COMMANDS, "recipes", (Recipes, fail))
    with pytest.raises(SystemExit) as ended:
        main(["recipes"])
    said = capsys.readouterr().err
    assert ended.value.code == 1 and says in said and said.count("\n") == 1


def test_torchrun_is_told_what_is_for_one_process(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "nowhere", "--data", "nothing"])
    assert ended.value.code == 2 and "evaluate runs in one process" in capsys.readouterr().err


def test_training_goes_on_when_its_reader_has_gone(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """As in `byol pretrain ... | tee log`, where a Ctrl-C ends tee."""
    arguments = ["pretrain", "--data", trained[1], "--out", tmp_path / "run", "--epochs", "6", *FAST]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "byol", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        while b"run directory" not in process.stdout.readline():
            pass
        process.stdout.close()
        errors = process.stderr.read()
    assert b"Traceback" not in errors, errors
    assert json.loads((tmp_path / "run" / "result.json").read_text())["finished"]
    assert (tmp_path / "run" / "report.html").exists()


def test_our_own_mistake_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(options: Recipes) -> int:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setitem(COMMANDS, "recipes", (Recipes, fail))
    with pytest.raises(RuntimeError, match="mat1"):
        main(["recipes"])


def test_names_that_are_no_text_can_be_said(photos: Path, tmp_path: Path) -> None:
    strange = os.fsencode(tmp_path) + b"/caf\xe9"
    os.rename(photos, strange)
    os.rename(strange + b"/cat/00.jpg", strange + b"/cat/\xe9.jpg")
    Path(os.fsdecode(strange + b"/cat/\xe9.jpg")).write_bytes(b"broken")
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "byol", "pretrain", "--data", strange, "--out", str(tmp_path / "run")]
    ended = subprocess.run([*command, "--epochs", "1", *FAST], capture_output=True, text=True, env=environment)
    assert ended.returncode == 0, ended.stderr
    assert r"caf\udce9" in ended.stdout and "finished" in ended.stdout
    assert (tmp_path / "run" / "report.html").exists()


def test_a_run_goes_on_where_its_images_have_moved_to(photos: Path, tmp_path: Path) -> None:
    byol("pretrain", "--data", photos, "--out", tmp_path / "run", "--epochs", "1", *FAST)
    moved = photos.rename(tmp_path / "moved")
    again = ("pretrain", "--resume", tmp_path / "run")
    assert "If the images have moved, give their new location with --data." in byol(*again, code=1)
    said = byol(*again, "--data", moved)
    assert "resuming" in said and "already finished" in said and "finished after" not in said
    assert json.loads((tmp_path / "run" / "run.json").read_text())["data"]["data"] == str(moved)
    assert "resuming" in byol(*again)
    (moved / "cat" / "00.jpg").rename(moved / "cat" / "other.jpg")
    assert "started with other images" in byol(*again, "--data", moved, code=1)


def test_python_from_folder_to_encoder(trained: tuple[Path, Path]) -> None:
    code = f"import byol, torch; e = byol.load({str(trained[0])!r}); print(e(torch.zeros(2, 3, 50, 60, dtype=torch.uint8)).shape)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.stdout.strip() == "torch.Size([2, 64])"
