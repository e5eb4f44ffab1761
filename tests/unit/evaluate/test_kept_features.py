"""Rows that are kept in a file by image: used again, added to, and brought into the order of the images."""

from pathlib import Path

import numpy as np
import pytest
import torch

from byol.errors import RunError
from byol.evaluate.kept_features import Indices, kept_rows
from byol.runtime.listener import Listener
from tests.memory import mapped_from


def keys(*numbers: int) -> np.ndarray:
    return np.array([number.to_bytes(16, "big") for number in numbers], "V16")


class Maker:
    """Makes the rows [number, 2 number] of images with these numbers; those of negative ones cannot be read."""

    def __init__(self, numbers: list[int]) -> None:
        self.numbers, self.made = np.array(numbers), []

    def __call__(self, missing: Indices) -> tuple[dict[str, torch.Tensor], Indices]:
        found = missing[self.numbers[missing] >= 0]
        self.made += self.numbers[missing].tolist()
        rows = torch.from_numpy(self.numbers[found])
        return {"rows": torch.stack((rows, 2 * rows), dim=1).float()}, found


def kept(
    file: Path, *numbers: int, about: str = "this", part: bool = False
) -> tuple[list[float], list[int], list[int], torch.Tensor]:
    """(first number of each row, the images of the rows, the numbers that were made, the tensor)."""
    maker = Maker(list(numbers))
    tensors, indices = kept_rows(file, about, keys(*(abs(number) for number in numbers)), maker, part=part)
    assert torch.equal(tensors["rows"][:, 1], 2 * tensors["rows"][:, 0])
    return tensors["rows"][:, 0].tolist(), indices.tolist(), maker.made, tensors["rows"]


def test_rows_are_made_once_mapped_and_in_the_order_of_the_images(tmp_path: Path) -> None:
    file = tmp_path / "new" / "rows.safetensors"
    assert kept(file, 5, 3, 8)[:3] == ([5, 3, 8], [0, 1, 2], [5, 3, 8])
    found = kept(file, 5, 3, 8)
    assert found[:3] == ([5, 3, 8], [0, 1, 2], []) and mapped_from(found[3]) == str(file)
    assert kept(file, 9, 8, 1, 5, 3)[:3] == ([9, 8, 1, 5, 3], [0, 1, 2, 3, 4], [9, 1])
    assert kept(file, 3, 9)[:3] == ([3, 9], [0, 1], [])
    assert kept(file, 3, 9, 5)[:3] == ([3, 9, 5], [0, 1, 2], [5])  # those of other images did not stay


def test_rows_of_a_part_are_added_and_those_of_others_stay(tmp_path: Path) -> None:
    file = tmp_path / "rows.safetensors"
    kept(file, 5, 3, 8)
    assert kept(file, 8, 5, part=True)[:3] == ([8, 5], [0, 1], [])
    found = kept(file, 9, 3, 1, part=True)
    assert found[:3] == ([9, 3, 1], [0, 1, 2], [9, 1]) and mapped_from(found[3]) == str(file)
    again = kept(file, 9, 3, 1, part=True)
    assert again[2] == [] and mapped_from(again[3]) == str(file)
    assert kept(file, 5, 3, 8, 1)[:3] == ([5, 3, 8, 1], [0, 1, 2, 3], [])
    assert kept(file, 9, 5, part=True)[2] == [9]  # all images without it have no row of it


def test_images_without_a_row_are_tried_again(tmp_path: Path) -> None:
    file = tmp_path / "rows.safetensors"
    for made in ([4, -7, 6], [-7]):
        assert kept(file, 4, -7, 6)[:3] == ([4, 6], [0, 2], made)
    assert kept(file, 4, 7, 6)[:3] == ([4, 7, 6], [0, 1, 2], [7])


def test_rows_about_something_else_or_of_a_torn_file_are_not_used(tmp_path: Path) -> None:
    file = tmp_path / "rows.safetensors"
    kept(file, 1, 2)
    assert kept(file, 1, 2, about="that")[2] == [1, 2]
    file.write_bytes(file.read_bytes()[:-3])
    assert kept(file, 1, 2, about="that")[2] == [1, 2]


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RunError("The disk is full.")

    monkeypatch.setattr("byol.evaluate.kept_features.write_mapped", refuse)
    said: list[str] = []
    tensors, indices = kept_rows(tmp_path / "a.safetensors", "", keys(1, 2), Maker([1, 2]), Listener(said.append))
    assert tensors["rows"][:, 0].tolist() == [1, 2] and indices.tolist() == [0, 1]
    assert said == ["a.safetensors is not kept for the next time: The disk is full."]
