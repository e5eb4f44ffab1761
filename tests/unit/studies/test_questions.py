"""Studies are found by name; each trains what its question asks."""

from dataclasses import replace
from pathlib import Path

import pytest

from byol import studies
from byol.errors import ConfigError
from byol.recipes import recipe
from byol.studies import STUDIES, find_study, questions
from byol.studies.questions import heads
from byol.studies.runs import images_per_run, tasks_of
from byol.studies.study_report import protocol


def test_studies_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "AGAIN", replace(heads.HEADS, question="Another?"), raising=False)
    with pytest.raises(
        ValueError, match=r"Two studies have the name heads; one of them is in byol\.studies\.questions\.heads"
    ):
        studies._read_studies()


def test_study_whose_file_is_broken_says_so_and_breaks_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert not studies.BROKEN
    (tmp_path / "temperature.py").write_text("from byol.studies.study import Varient\n")
    (tmp_path / "torn.py").write_text("TORN = Study(\n")
    monkeypatch.setattr(questions, "__path__", [*questions.__path__, str(tmp_path)])
    found, broken = studies._read_studies()
    assert found == STUDIES
    monkeypatch.setattr(studies, "BROKEN", broken)
    with pytest.raises(ConfigError, match="no study 'temperature'") as refused:
        find_study("temperature")
    assert "questions.temperature cannot be read: ImportError: cannot import name 'Varient'" in str(refused.value)
    assert "questions.torn cannot be read: SyntaxError: '(' was never closed (torn.py, line 1)." in str(refused.value)


def test_study_settings_differ_between_variants_alone() -> None:
    tasks = tasks_of(find_study("batch-size"), "tiny", 2, Path("out"))
    assert len(tasks) == 2 * (6 + 1)
    assert {t.config.batch_size for t in tasks} == {256}
    assert [t.config.micro_batch_size for t in tasks[:7]] == [0, 256, 32, 8, 256, 32, 8]
    assert tasks[7].config.seed == 1
    papers = tasks_of(find_study("batch-size"), "paper", 1, Path("out"))
    halves = [4096 >> power for power in range(7)]
    assert [t.config.micro_batch_size for t in papers] == [0, *halves, *halves]


@pytest.mark.parametrize(
    ("scale", "batch", "sizes", "of"),
    [
        ("tiny", 256, (256, 32, 8), ""),
        ("small", 256, (256, 128, 64, 32, 16, 8, 4), ""),
        ("paper", 4096, (4096, 2048, 1024, 512, 256, 128, 64), " of 4096"),
    ],
)
def test_batch_size_study_names_the_batches_that_it_trains_with(
    scale, batch: int, sizes: tuple[int, ...], of: str
) -> None:
    """Those of tiny and small name folders too, in which stopped studies go on."""
    tasks = tasks_of(find_study("batch-size"), scale, 1, Path("out"))
    named = {t.variant: t for t in tasks if t.variant and "true batch" not in t.variant}
    assert list(named) == [f"{method} {size}{of}" for method in ("byol", "simclr") for size in sizes]
    assert [t.path.name for t in named.values()] == [f"{name.replace(' ', '-')}-seed-0" for name in named]
    for name, task in named.items():
        assert name == f"{task.config.method.name} {task.config.micro_batch_size}{of}"
        assert task.config.batch_size == batch
    papers = {v.name: v.paper for v in find_study("batch-size").variants}
    smallest = [(papers[f"{method} {sizes[-1]}{of}"]) for method in ("byol", "simclr")]
    assert smallest == ([69.6, 63.6] if scale == "tiny" else [59.7, 59.2])
    said = protocol(find_study("batch-size"), scale, 1, images_per_run(tasks, 5000), "photos")
    assert said[0].endswith(f"in small batches, at one optimizer batch of {batch}?")
    judged_by = "the linear probe" if scale == "paper" else "kNN"
    expected = [
        line.strip() for line in said[said.index(f"  expected beforehand, of accuracies by {judged_by}:") + 1 :]
    ]
    assert f"SimCLR loses more than BYOL from {batch} to {batch // 8}" in expected
    assert f"BYOL is ahead of SimCLR at {batch}" in expected
    assert (f"BYOL breaks at {batch // 64}" in expected) == (scale != "tiny")


@pytest.mark.parametrize("name", ["batch-size", "augmentations"])
def test_simclr_at_paper_scale_has_the_heads_of_its_recipe(name: str) -> None:
    heads = {"byol": recipe("imagenet-300").config.heads, "simclr": recipe("simclr-imagenet").config.heads}
    tasks = [task for task in tasks_of(find_study(name), "paper", 1, Path("out")) if task.variant]
    assert {task.config.method.name for task in tasks} == set(heads)
    assert all(task.config.heads == heads[task.config.method.name] for task in tasks)
    for task in tasks_of(find_study(name), "tiny", 1, Path("out")):
        assert task.config.heads == replace(recipe("sample").config.heads, projector_depth=2)


def test_study_trains_all_variants_on_as_many_images_or_says_which_fewer() -> None:
    fewer = {}
    for name, scale in [(study, scale) for study in STUDIES for scale in find_study(study).scales]:
        images = images_per_run(tasks_of(find_study(name), scale, 1, Path("out")), 50_000)
        fewer |= {(name, scale, v): n for v, n in images.items() if n != max(images.values())}
        told = protocol(find_study(name), scale, 1, images, "photos")[1]
        assert told.endswith("the same for all") == (len(set(images.values())) == 1)
    key = ("asymmetry", "small", "MultiCrop, source, at equal compute")
    assert fewer.keys() == {key, ("asymmetry", "tiny", key[2])}
    assert fewer[key] == round(500_000 * 8 / (8 + 18 * (24 / 32) ** 2))
    images = images_per_run(tasks_of(find_study("asymmetry"), "small", 1, Path("out")), 50_000)
    told = protocol(find_study("asymmetry"), "small", 1, images, "photos")[1]
    assert told.endswith(f"500,000 images per run, but {fewer[key]:,} for {key[2]}, which costs more for each")
