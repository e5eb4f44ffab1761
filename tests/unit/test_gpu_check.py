"""The check of a GPU keeps what each section found, whatever becomes of it; at tiny sizes on a CPU it runs whole."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks import gpu_check, gpu_correctness
from benchmarks.gpu_check import Planned
from benchmarks.gpu_section import ImpossibleError, Job, Part, WrongError, run


def finds(job: Job) -> Iterator[Part]:
    yield {"found": job.seconds, "sentence": "found"}


def raises(job: Job) -> Iterator[Part]:
    yield {"found": 1}
    raise ValueError("not so\nand more")


def is_wrong(job: Job) -> Iterator[Part]:
    yield {"found": float("nan")}
    raise WrongError("1 is not 2")


def is_impossible(job: Job) -> Iterator[Part]:
    yield {"found": 1}
    raise ImpossibleError("two ranks need two GPUs")


def misses_a_package(job: Job) -> Iterator[Part]:
    yield {"found": 1}
    import not_there  # noqa: F401


def crashes(job: Job) -> Iterator[Part]:
    yield {"found": 7}
    os.kill(os.getpid(), signal.SIGKILL)


def parts(function: str, folder: Path) -> dict[str, Any]:
    path = folder / "parts.jsonl"
    run(f"{__name__}:{function}", Job("cpu", 5.0, folder), path)
    entry: dict[str, Any] = {}
    for line in path.read_text().splitlines():
        entry |= json.loads(line)
    return entry


def test_section_ends_with_a_status_and_keeps_what_it_found(tmp_path: Path) -> None:
    assert parts("finds", tmp_path) == {"found": 5.0, "sentence": "found", "status": "passed"}


@pytest.mark.parametrize(
    ("function", "status", "sentence"),
    [
        ("raises", "failed", "ValueError: not so"),
        ("is_wrong", "failed", "1 is not 2"),
        ("is_impossible", "not possible", "two ranks need two GPUs"),
        ("misses_a_package", "not possible", "the Python package not_there is not installed"),
        ("is_not_there", "failed", "AttributeError: module"),
    ],
)
def test_section_that_fails_is_an_entry_with_its_sentence(
    function: str, status: str, sentence: str, tmp_path: Path
) -> None:
    entry = parts(function, tmp_path)
    assert entry["status"] == status and entry["sentence"].startswith(sentence)
    assert ("found" in entry) == (function != "is_not_there")


def test_process_that_is_killed_keeps_what_it_found() -> None:
    entry = gpu_check.run_section(f"{__name__}:crashes", "cpu", 5.0, 300)
    assert entry["found"] == 7 and entry["status"] == "failed"
    assert "ended with code -9" in entry["sentence"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux shows processes as files")
def test_section_that_hangs_is_stopped_with_its_processes(tmp_path: Path) -> None:
    code = "import subprocess; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True); p.wait()"
    said = tmp_path / "said"
    assert gpu_check._wait([sys.executable, "-S", "-c", code], {}, said, 3) is None
    until = time.monotonic() + 30
    while not is_gone(int(said.read_text())) and time.monotonic() < until:
        time.sleep(0.01)
    assert is_gone(int(said.read_text()))


def is_gone(process: int) -> bool:
    """Whether a process has ended, though its parent may not have asked for its exit code."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def test_check_goes_on_after_failures_and_says_what_had_no_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, written = [0.0], []
    out = tmp_path / "new" / "check.json"

    def section(function: str, device: str, seconds: float, limit: float) -> dict[str, Any]:
        written.append((json.loads(out.read_text())["sections"].keys() if out.exists() else (), seconds, limit))
        clock[0] += 40
        return {"status": "failed", "sentence": f"{function} on {device}", "seconds": 40}

    monkeypatch.setattr(gpu_check.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(gpu_check, "run_section", section)
    planned = {name: Planned(f"m:{name}", 96) for name in ("a", "b", "c")}
    record = gpu_check.check("cuda", 80, out, planned)
    assert json.loads(out.read_text()) == record
    assert {name: entry["status"] for name, entry in record["sections"].items()} == {
        "a": "failed", "b": "failed", "c": "not run",
    }  # fmt: skip
    assert [list(names) for names, _, _ in written] == [[], ["a"]]
    assert [(seconds, limit) for _, seconds, limit in written] == [(16, 40), (16, 40)]  # a sixth of 480 s


def test_check_never_writes_over_a_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "gpu_check-1.json").write_text("{}")
    assert gpu_check.free_file(tmp_path).name == "gpu_check-2.json"
    with pytest.raises(SystemExit):
        gpu_check.main(["--device", "cpu", "--out", str(tmp_path / "gpu_check-1.json")])
    assert "exists already; choose another --out" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_check_without_a_gpu_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpu_check.main(["--out", str(tmp_path / "x.json")])
    assert "no CUDA device here; --device cpu" in capsys.readouterr().err


def test_every_section_exists() -> None:
    for planned in gpu_check.SECTIONS.values():
        module, name = planned.function.split(":")
        assert callable(getattr(__import__(module, fromlist=[name]), name))
    assert sum(planned.seconds for planned in gpu_check.SECTIONS.values()) <= gpu_check.SECONDS


def test_views_and_machine_are_sections(tmp_path: Path) -> None:
    found: dict[str, Any] = {}
    for section in (gpu_correctness.machine, gpu_correctness.views):
        for part in section(Job("cpu", 5.0, tmp_path)):
            found |= part
    assert found["versions"]["torch"] == torch.__version__ and found["device"] == "cpu"
    assert found["40 px, whole images"]["largest"] == 0
    assert 0 < found["40 px, crops of workers"]["largest"] < 1e-5


def test_distance_of_states_is_that_of_all_their_numbers() -> None:
    one, other = (
        {"a": torch.tensor([3.0, 4.0]), "n": torch.tensor(1)},
        {"a": torch.tensor([3.0, 4.5]), "n": torch.tensor(1)},
    )
    assert gpu_correctness.distance(one, one) == {"is_equal": True, "largest": 0.0, "relative": 0.0}
    assert gpu_correctness.distance(one, other) == {"is_equal": False, "largest": 0.5, "relative": 0.1}


def test_tests_of_a_section_are_counted_and_named(tmp_path: Path) -> None:
    (tmp_path / "test_three.py").write_text(
        "import pytest\ndef test_a(): pass\ndef test_b(): assert 1 == 2\n@pytest.mark.skip('no')\ndef test_c(): pass\n"
    )
    section = gpu_correctness._tests(Job("cpu", 5.0, tmp_path), [str(tmp_path)])
    found = next(section)
    assert (found["passed"], found["failed"], found["skipped"]) == (1, 1, 1)
    assert [line.split(": ")[1].rpartition(".")[2] for line in found["not_passed"]] == ["test_b", "test_c"]
    with pytest.raises(WrongError, match="1 passed, 1 failed, 1 skipped; pytest ended with code 1"):
        next(section)


@pytest.mark.full
def test_whole_check_passes_on_a_cpu(tmp_path: Path) -> None:
    assert gpu_check.main(["--device", "cpu", "--seconds", "1500", "--out", str(tmp_path / "check.json")]) == 0
    sections = json.loads((tmp_path / "check.json").read_text())["sections"]
    assert list(sections) == list(gpu_check.SECTIONS)
    assert {entry["status"] for entry in sections.values()} == {"passed"}
    assert all(entry["sentence"] for entry in sections.values())
