"""What the help and `byol recipes` show."""

import re

import pytest

from byol.cli.main import main, parse
from byol.config import Config, changed_settings, pick, settings_on_command_line
from byol.recipes import RECIPES, recipe


@pytest.mark.parametrize(
    ("command", "name"),
    [
        *((command, "ENCODER") for command in ("evaluate", "transfer", "embed", "explore", "export")),
        ("report", "RUN [RUN ...]"),
        ("diagnose", "RUN"),
        ("import-deepmind", "FILE"),
        ("import-timm", "MODEL"),
        ("study", "STUDY"),
        ("recipes", "[RECIPE]"),
    ],
)
def test_positional_arguments_are_named_by_what_they_are(
    command: str, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit, match="0"):
        parse(command, ["--help"])
    usage = capsys.readouterr().out.splitlines()[0]
    assert re.fullmatch(rf"usage: byol {command} \[-h\] (\[([A-Z-]+ )?OPTIONS\] )?{re.escape(name)}( --.*)?", usage)


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_is_shown_alone_with_all_settings_that_differ(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["recipes", name])
    head, *lines = capsys.readouterr().out.splitlines()
    assert head == name and recipe(name).source in lines[0]
    words = [word for line in lines if line.startswith("  --") for word in line.split()]
    given = settings_on_command_line(words)
    assert given == changed_settings(Config(), recipe(name).config).keys()
    options = parse("pretrain", ["--data", "x", "--recipe", "small", *words])
    assert pick(options.config, given) == pick(recipe(name).config, given)


def test_unknown_recipe_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        main(["recipes", "smal"])
    assert "Did you mean 'small'?" in capsys.readouterr().err
