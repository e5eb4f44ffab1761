"""The edits of `tests.mutations` are of lines that are there."""

from tests.mutations import MUTATIONS, ROOT


def test_every_edit_is_of_text_that_its_file_holds_once() -> None:
    texts = {m.file: (ROOT / "src" / "byol" / m.file).read_text() for m in MUTATIONS}
    assert {m.name: texts[m.file].count(m.before) for m in MUTATIONS if texts[m.file].count(m.before) != 1} == {}
    for mutation in MUTATIONS:
        assert all((ROOT / test).is_file() for test in mutation.tests.split()), mutation.name
