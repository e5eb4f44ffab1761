"""Every command of a page parses, and every one that can run here runs on a few pictures."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import byol
from byol.cli.main import COMMANDS, main, parse
from byol.cli.pretrain import Pretrain
from byol.cli.study import RunStudy
from byol.config import validate
from byol.studies import find_study
from tests.docs.pages import PAGES, ROOT, Command, commands, options, python_blocks, read
from tests.docs.sandbox import NOT_RUN, REPLACED, prepare, run_python, shortened

QUICK = {"README.md", "evaluation.md"}
"""Pages that are run by `make test`, too; all are by `make test-full`."""
ELSEWHERE = {"other-tools.md"}
"""Pages whose blocks need what is not installed here: tests/docs/test_other_tools.py runs them."""
OF_OTHERS = {
    "index-url", "nproc-per-node", "nnodes", "signals-to-handle", "rdzv-backend", "rdzv-endpoint", "rdzv-id",
    "job-name", "nodes", "ntasks-per-node", "gpus-per-node", "cpus-per-task", "time", "requeue", "signal", "version", "untrained", "threads", "keep",
    "shm-size", "held-out", "model",
}  # fmt: skip
"""Options of pip, torchrun, sbatch, docker, examples/detector.py and tools/search.py, and of `byol` itself."""


def ids(page: Path) -> str:
    return page.name


def test_page_commands_are_found_by_another_rule() -> None:
    for page in PAGES:
        plain = [line for line in read(page).splitlines() if re.match(r"(    )?(byol \w|.*torchrun .*-m byol)", line)]
        texts = [command.text for command in commands(page)]
        lost_lines = [line for line in plain if line.strip() not in texts and not line.startswith("byol")]
        assert lost_lines == [], page
    found = [command for page in ("export", "adapt") for command in commands(ROOT / "docs" / f"{page}.md")]
    assert len(found) > 20  # the two pages had been one with 13


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_page_commands_parse(page: Path) -> None:
    for command in commands(page):
        name, *rest = command.words
        assert name in COMMANDS, command.text
        if not command.is_run:
            continue
        if "--help" in rest:
            with pytest.raises(SystemExit, match=r"^0$"):
                parse(name, rest)
            continue
        parsed = parse(name, rest)
        if isinstance(parsed, Pretrain):
            validate(parsed.config)
        if isinstance(parsed, RunStudy):
            find_study(parsed.name)


def test_every_option_that_is_named_exists(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        with pytest.raises(SystemExit):
            main([name, "--help"])
    known = options(capsys.readouterr().out) | OF_OTHERS
    sources = sorted((ROOT / "src").rglob("*.py"))
    assert len(known) > 100
    assert {(page.name, name) for page in [*PAGES, *sources] for name in options(read(page)) - known} == set()


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_page_python_names_and_arguments_exist(page: Path) -> None:
    for block in python_blocks(page):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Call) and re.fullmatch(r"byol\.\w+", ast.unparse(node.func)):
                called = getattr(byol, ast.unparse(node.func).removeprefix("byol."))
                given = {keyword.arg: None for keyword in node.keywords if keyword.arg}
                inspect.signature(called).bind(*node.args, **given)


def runnable(page: Path) -> list[Command]:
    """The commands that are not in the table of those that cannot run."""
    return [
        c
        for c in commands(page)
        if c.is_run and "--help" not in c.words and not any(c.text.startswith(start) for start in NOT_RUN)
    ]


def test_table_of_commands_not_run_has_no_stale_line() -> None:
    texts = [command.text for page in PAGES for command in commands(page) if command.is_run]
    assert [start for start in NOT_RUN if not any(text.startswith(start) for text in texts)] == []
    assert [old for old in REPLACED if not any(old in text for text in texts)] == []


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[] if page.name in QUICK else pytest.mark.full, id=page.name)
        for page in PAGES
        if page.name not in ELSEWHERE and (runnable(page) or python_blocks(page))
    ],
)
def test_page_runs(page: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path, photos)
    for command in runnable(page):
        text = command.text
        for old, new in REPLACED.items():
            text = text.replace(old, new)
        with pytest.raises(SystemExit) as ended:
            main(shortened(Command(0, text).words))
        assert ended.value.code == 0, command.text
    for block in python_blocks(page):
        run_python(block, monkeypatch)
    if page.name in CHECKS:
        CHECKS[page.name]()


def check_evaluation() -> None:
    assert sorted(file.name for file in Path("runs/photos/evaluation").glob("*.json")) == [
        "knn.json",
        "linear-fast.json",
    ]
    assert Path("runs/photos/transfer/linear-fast-smoke/own.json").exists()


def check_export() -> None:
    kinds = {path.name for path in Path("exports").iterdir()}
    assert kinds == {"hub", "timm", "torchvision", "onnx", "safetensors", "deepmind"}
    assert (Path("exports") / "hub" / "config.json").exists()
    assert "onnxruntime.InferenceSession" in (Path("exports") / "onnx" / "README.md").read_text()


CHECKS = {"evaluation.md": check_evaluation, "export.md": check_export}
"""Checks of the files that a page's commands leave, by page."""
