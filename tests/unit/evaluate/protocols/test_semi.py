"""Semi-supervised evaluation: which images are labelled, and which choose the rate."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from byol.commands.evaluate import evaluate
from byol.data.arrays import ArrayImages
from byol.data.image_folder import ImageFolder
from byol.data.labelled import labelled_splits
from byol.errors import DataError
from byol.evaluate.protocols import semi, training
from byol.evaluate.protocols.options import ProtocolOptions, SemiOptions
from tests.conftest import encoded, picture


def test_semi_takes_the_same_share_of_every_class_or_the_named_images(colours: Path, tmp_path: Path) -> None:
    train, _ = labelled_splits(str(colours))
    part = semi.labelled_part(train, SemiOptions(fraction=0.25), 0)
    assert np.bincount(part.labels).tolist() == [5, 5, 5]  # pyright: ignore[reportArgumentType]
    assert len(semi.labelled_part(train, SemiOptions(per_class=2), 0)) == 6
    listed = tmp_path / "list.txt"
    other = next(train.name(i) for i in range(len(train)) if train.name(i).endswith("train-blue-11.png"))
    listed.write_text(f"train-red-03.png\n{other}\n\n")
    part = semi.labelled_part(train, SemiOptions(subset=str(listed)), 0)
    assert sorted(Path(part.name(i)).name for i in range(len(part))) == ["train-blue-11.png", "train-red-03.png"]
    listed.write_text("train-red-03.png\nmissing.png\n")
    with pytest.raises(DataError, match=r"1 of the 2 names in .* are no image of .*: missing\.png\."):
        semi.labelled_part(train, SemiOptions(subset=str(listed)), 0)


def test_semi_list_of_a_name_that_two_images_have_is_refused(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / "set" / label).mkdir(parents=True)
        for number in range(2):
            (tmp_path / "set" / label / f"{number}.png").write_bytes(encoded(picture(number)))
    source = ImageFolder(tmp_path / "set")
    listed = tmp_path / "list.txt"
    listed.write_text("1.png\n")
    with pytest.raises(DataError, match=r"1\.png in .* is the name of 2 images .* List paths, such as cat/1\.png\."):
        semi.labelled_part(source, SemiOptions(subset=str(listed)), 0)
    listed.write_text("cat/1.png\ndog/0.png\n")
    part = semi.labelled_part(source, SemiOptions(subset=str(listed)), 0)
    assert [part.name(i) for i in range(len(part))] == ["cat/1.png", "dog/0.png"]


@pytest.mark.parametrize("labelled_per_class", [5, 20])
def test_semi_chooses_on_images_it_does_not_train_on(labelled_per_class: int) -> None:
    labels = np.repeat([0, 1, 2], 20)
    source = ArrayImages(np.zeros((60, 1, 1, 1), np.uint8), labels)
    job = SimpleNamespace(train=source, budget="default", seed=0)
    given = semi.labelled_part(source, SemiOptions(per_class=labelled_per_class), 0)
    labelled, validation = semi._with_validation(job, given)  # pyright: ignore[reportArgumentType]
    assert not set(labelled.indices) & set(validation.indices)
    assert len(labelled) == (15 if labelled_per_class == 5 else 54)  # of 60 labelled, a tenth is held out
    assert len(validation) == 6 if labelled_per_class == 20 else len(validation) >= 3


def test_semi_tells_that_its_rates_are_for_a_batch_of_256(
    encoder: Path, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peaks, set_rate = set(), training.set_rate
    monkeypatch.setattr(
        training, "set_rate", lambda optimizer, peak, *at: peaks.add(peak) or set_rate(optimizer, peak, *at)
    )
    evaluate(encoder, str(colours), ["semi"], budget="smoke", options=ProtocolOptions(semi=SemiOptions(per_class=12)))
    assert peaks == {0.05 * 32 / 256}
    assert "Differs from the paper: rates are multiplied by batch / 256" in str(semi.semi.__doc__)


def test_semi_from_scratch_has_a_file_of_its_own(encoder: Path, colours: Path) -> None:
    options = ProtocolOptions(semi=SemiOptions(fraction=0.5, from_scratch=True))
    (result,) = evaluate(encoder, str(colours), ["semi"], budget="smoke", options=options)
    assert result.path.name == "semi-from-scratch-50-percent.json"
