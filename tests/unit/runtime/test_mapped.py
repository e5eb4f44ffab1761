"""Files of tensors that are mapped into memory."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from byol.runtime.mapped import read_mapped, write_mapped
from tests.memory import mapped_from

TENSORS = {
    "bytes": torch.arange(7, dtype=torch.uint8),
    "floats": torch.arange(12.0).view(3, 4).T,
    "numbers": torch.tensor([3, -1]),
    "small": torch.tensor([[5], [6]], dtype=torch.int32),
    "none": torch.empty(0, 16, dtype=torch.uint8),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_mapped(tmp_path / "new" / "a.safetensors", "these", TENSORS)
    return tmp_path / "new" / "a.safetensors"


def test_tensors_are_mapped_and_are_those_that_were_written(file: Path) -> None:
    found = read_mapped(file, "these")
    assert found.keys() == TENSORS.keys() == load_file(file).keys()
    for name, tensor in TENSORS.items():
        assert torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype
        assert not tensor.numel() or mapped_from(found[name]) == str(file)
    found["numbers"][0] = 9
    assert read_mapped(file, "these")["numbers"][0] == 3


@pytest.mark.parametrize(
    "content", [b"", b"torn", (10**9).to_bytes(8, "little") + b"{}", (2).to_bytes(8, "little") + b"[]"]
)
def test_a_file_that_is_torn_or_about_something_else_is_not_read(file: Path, content: bytes) -> None:
    assert read_mapped(file, "others") == {} == read_mapped(file.parent / "missing", "these")
    file.write_bytes(file.read_bytes()[:-1])
    assert read_mapped(file, "these") == {}
    file.write_bytes(content)
    assert read_mapped(file, "these") == {}
