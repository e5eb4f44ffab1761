"""Files of a run's directory."""

import json
from pathlib import Path

from byol.runtime.run_directory import RunDirectory


def test_skipped_images_survive_a_line_that_was_not_written_to_its_end(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.write_skipped({("photos", 4): ("a.jpg", "torn")})
    with directory.skipped.open("a") as stream:
        stream.write('{"name": "b.j')
    found = {("photos", 4): ("a.jpg", "torn"), ("photos", 7): ("c.jpg", "empty"), ("photos", 9): ("c.jpg", "torn")}
    directory.write_skipped(found)
    rows = [json.loads(line) for line in directory.skipped.read_text().splitlines()]
    assert rows == [{"name": name, "place": place, "reason": why} for (_, place), (name, why) in found.items()]
