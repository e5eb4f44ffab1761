"""What the shells complete: every option that the help shows, and no other."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import tyro

from byol.cli.completion import options, script
from byol.cli.main import COMMANDS, main
from byol.recipes import RECIPES
from byol.studies import STUDIES


def bash(tmp_path: Path, *words: str) -> list[str]:
    """What bash offers for the last of the words after `byol`."""
    file = tmp_path / "byol.bash"
    file.write_text(script("bash", {name: kind for name, (kind, _) in COMMANDS.items()}))
    lines = [
        f"source '{file}'",
        "complete -p byol >/dev/null || exit 1",
        f"COMP_WORDS=(byol {' '.join(repr(word) for word in words)}); COMP_CWORD={len(words)}",
        '_byol; printf "%s\\n" "${COMPREPLY[@]}"',
    ]
    shell = shutil.which("bash")
    assert shell
    ended = subprocess.run(
        [shell, "--norc", "-uc", "\n".join(lines)], capture_output=True, text=True, check=True, timeout=30
    )
    assert ended.stderr == ""
    return ended.stdout.split()


@pytest.mark.parametrize("name", COMMANDS)
def test_options_are_those_of_the_help(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    kind, _ = COMMANDS[name]
    with pytest.raises(SystemExit):
        tyro.cli(kind, prog="byol", args=["--help"])
    shown = set(re.findall(r"(?m)(?:^|[│|,]|  ) *(--[a-z][a-z0-9.-]*)", capsys.readouterr().out))
    assert {option.name for option in options(kind)} == shown - {"--help"}


def test_bash_completes_commands_options_and_values(tmp_path: Path) -> None:
    assert bash(tmp_path, "") == list(COMMANDS)
    assert bash(tmp_path, "pre") == ["pretrain", "preview"]
    assert bash(tmp_path, "pretrain", "--data", "x", "--views.view1.bl") == [
        "--views.view1.blur-probability",
        "--views.view1.blur-sigma",
    ]
    assert bash(tmp_path, "pretrain", "--recipe", "") == list(RECIPES)
    assert bash(tmp_path, "export", "run", "--to", "t") == ["timm", "torchvision"]
    assert bash(tmp_path, "study", "") == list(STUDIES)
    assert bash(tmp_path, "completion", "") == ["bash", "zsh", "fish"]
    assert bash(tmp_path, "report", "runs/") == []  # bash then completes files
    assert bash(tmp_path, "nothing", "--") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_name_every_command_and_option(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["completion", shell])
    assert not ended.value.code
    words = set(re.findall(r"[a-z][\w.-]*", capsys.readouterr().out))
    for name, (kind, _) in COMMANDS.items():
        assert name in words
        assert {option.name[2:] for option in options(kind)} <= words
