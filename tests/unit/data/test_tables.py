"""Types and columns of tables: what is read, what is said, what is refused."""

import base64
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import byol
from byol.assembly.subject import with_trained_columns
from byol.cli.options import DataPlace
from byol.commands.embed import embed
from byol.data.check_data import check_data
from byol.data.open import open_source
from byol.data.parquet import open_parquet
from byol.data.spec import DataSpec
from byol.data.subset import Subset
from byol.data.table import TableImages
from byol.errors import DataError
from byol.runtime.listener import Listener
from tests.conftest import SMALL, encoded, picture

FILES = [encoded(picture(i, 16, 16)) for i in range(6)]
NAMES = ["b", "a", "c"] * 2
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write(path: Path, **columns) -> Path:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=4)
    return path


IMAGES = {
    "binary": pa.array(FILES, pa.binary()),
    "large_binary": pa.array(FILES, pa.large_binary()),
    "dictionary": pa.array(FILES, pa.binary()).dictionary_encode(),
    **({"view": pa.array(FILES, pa.binary_view())} if hasattr(pa, "binary_view") else {}),
}
LABELS = {
    "string": pa.array(NAMES),
    "large_string": pa.array(NAMES, pa.large_string()),
    "dictionary": pa.array(NAMES).dictionary_encode(),
    "large dictionary": pa.array(NAMES, pa.large_string()).dictionary_encode(),
    **({"view": pa.array(NAMES, pa.string_view())} if hasattr(pa, "string_view") else {}),
}


def equal(source: TableImages, count: int = 1) -> bool:
    """Whether the rows are `FILES` and `NAMES`, `count` times."""
    assert source.labels is not None and source.class_names == ["a", "b", "c"]
    names = [["a", "b", "c"][code] for code in source.labels]
    pixels = [source.read(i, 3) for i in range(len(source))]
    return names == NAMES * count and all(np.array_equal(p, picture(i % 6, 16, 16)) for i, p in enumerate(pixels))


@pytest.mark.parametrize("limit", [10**9, 0])
@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("image", IMAGES)
def test_types_that_hold_the_same_are_the_same(tmp_path: Path, image: str, label: str, limit: int) -> None:
    write(tmp_path / "d" / "0.parquet", image=IMAGES[image], label=LABELS[label])
    write(tmp_path / "d" / "1.parquet", image=IMAGES["binary"], label=LABELS["string"], more=[1] * 6)
    assert equal(open_parquet(tmp_path / "d", limit, tmp_path / "cache"), 2)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_paths_of_other_types_are_paths(tmp_path: Path, kind: pa.DataType) -> None:
    for number, file in enumerate(FILES):
        (tmp_path / f"{number}.png").write_bytes(file)
    names = pa.array([f"{number}.png" for number in range(6)]).cast(kind)
    assert equal(open_parquet(write(tmp_path / "a.parquet", file_name=names, label=NAMES)))


@pytest.mark.parametrize("limit", [10**9, 0])
@pytest.mark.parametrize(
    ("first", "second"), [(pa.int32(), pa.int64()), (pa.uint8(), pa.float32()), (pa.int64(), pa.int8())]
)
def test_labels_of_shards_may_be_numbers_of_any_width(tmp_path: Path, limit: int, first, second) -> None:
    for number, kind in enumerate((first, second)):
        write(tmp_path / "d" / f"{number}.parquet", image=FILES, label=pa.array([0, 1, 2, 2, 1, 0]).cast(kind))
    source = open_parquet(tmp_path / "d", limit, tmp_path / "cache")
    assert source.labels is not None
    assert source.labels.tolist() == [0, 1, 2, 2, 1, 0] * 2


@pytest.mark.parametrize("limit", [10**9, 0])
@pytest.mark.parametrize("second", ["struct", "text"])
def test_shards_that_differ_are_named_with_the_column_and_both_types(tmp_path: Path, limit: int, second: str) -> None:
    other = pa.array([{"bytes": file, "path": None} for file in FILES], STRUCT) if second == "struct" else NAMES
    kind = "struct<bytes: binary, path: string>" if second == "struct" else "string"
    write(tmp_path / "d" / "0.parquet", image=FILES)
    write(tmp_path / "d" / "1.parquet", image=other)
    with pytest.raises(DataError) as caught:
        open_parquet(tmp_path / "d", limit, tmp_path / "cache")
    one, two = tmp_path / "d" / "0.parquet", tmp_path / "d" / "1.parquet"
    assert f"Column 'image' is binary in {one} and {kind} in {two}." in str(caught.value)
    write(two, x=NAMES)
    with pytest.raises(DataError, match=rf"{two} has no column 'image', which {one} has; it has x\."):
        open_parquet(tmp_path / "d", limit, tmp_path / "cache")


@pytest.mark.parametrize("limit", [10**9, 0])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_shard_without_rows_has_any_type(tmp_path: Path, order: tuple[int, int], limit: int) -> None:
    write(tmp_path / "d" / f"{order[0]}.parquet", image=FILES, label=NAMES)
    write(tmp_path / "d" / f"{order[1]}.parquet", image=[], label=[])
    assert equal(open_parquet(tmp_path / "d", limit, tmp_path / "cache"))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_shard_without_labels_is_named(tmp_path: Path, order: tuple[int, int]) -> None:
    write(tmp_path / "d" / f"{order[0]}.parquet", image=FILES, label=NAMES)
    write(tmp_path / "d" / f"{order[1]}.parquet", image=FILES)
    source = open_parquet(tmp_path / "d")
    assert source.labels is None
    assert f"{order[1]}.parquet has no column 'label'" in source.description


@pytest.mark.parametrize("text", [base64.b64encode(FILES[0]).decode(), "data:image/png;base64,AAAA", "x" * 2000])
def test_images_as_text_are_refused_without_them(tmp_path: Path, text: str) -> None:
    write(tmp_path / "a.parquet", image=[None, text])
    with pytest.raises(DataError, match=r"Column 'image' of .* holds images as text") as caught:
        open_source(tmp_path / "a.parquet")
    assert text[:40] not in str(caught.value)


def test_choice_among_columns_is_said_and_can_be_made(tmp_path: Path) -> None:
    columns = {
        "a_mask": FILES[::-1],
        "picture": FILES,
        "fine_label": NAMES,
        "target": NAMES[::-1],
        "kind": [0, 1, 1] * 2,
    }
    path = str(write(tmp_path / "a.parquet", **columns))
    said: list[str] = []
    source = open_source(path, labelled=True, listener=Listener(say=said.append))
    assert np.array_equal(source.read(0, 3), picture(5, 16, 16))
    assert any("'a_mask', not 'picture'; --data.image-column" in line for line in said)
    assert any("'fine_label', not 'target'; --data.label-column" in line for line in said)
    said.clear()
    place = DataPlace(image_column="picture", label_column="kind")
    source = open_source(place.spec(path), labelled=True, listener=Listener(say=said.append))
    assert source.labels is not None
    assert (source.labels.tolist(), said) == ([0, 1, 1] * 2, [])
    assert np.array_equal(source.read(0, 3), picture(0, 16, 16))


@pytest.mark.parametrize("limit", [10**9, 0])
@pytest.mark.parametrize(
    "other",
    {
        "id": [bytes([number] * 16) for number in range(6)],
        "audio": pa.array([{"bytes": b"RIFF", "path": "x.wav"}] * 6, STRUCT),
        "image": [b"not an image"] * 6,
        "none": pa.nulls(6, pa.binary()),
    }.items(),
    ids=lambda item: item[0],
)
def test_columns_of_other_bytes_give_way_to_images(tmp_path: Path, other: tuple, limit: int) -> None:
    path = write(tmp_path / "a.parquet", **{other[0]: other[1], "photo": FILES, "label": NAMES})
    source = open_parquet(path, limit, tmp_path / "cache")
    assert equal(source)
    assert (
        Subset(source, np.arange(3), "part").notes
        == source.notes
        == [f"{path}: the image column is 'photo', not {other[0]!r}; --data.image-column takes another"]
    )


def test_bytes_that_are_no_images_give_way_to_paths(tmp_path: Path) -> None:
    for number, file in enumerate(FILES):
        (tmp_path / f"{number}.png").write_bytes(file)
    columns = {"id": [bytes([number] * 16) for number in range(6)], "file": [f"{number}.png" for number in range(6)]}
    source = open_parquet(write(tmp_path / "a.parquet", **columns, label=NAMES))
    assert equal(source) and "'file', not 'id'" in source.notes[0]
    assert not open_parquet(write(tmp_path / "b.parquet", **{**columns, "id": FILES}, label=NAMES)).notes


def test_columns_that_are_not_there_or_hold_no_images_are_refused(tmp_path: Path, photos: Path) -> None:
    path = str(write(tmp_path / "a.parquet", image=FILES, kind=[1] * 6))
    for option, name in (("image", "photo"), ("label", "class")):
        spec = DataSpec(
            path, image_column=name if option == "image" else "", label_column=name if option == "label" else ""
        )
        with pytest.raises(DataError, match=rf"no column '{name}' \(--data\.{option}-column\); it has image, kind"):
            open_source(spec)
    with pytest.raises(DataError, match=r"Column 'kind' of .* holds int64, neither images nor paths"):
        open_source(DataSpec(path, image_column="kind"))
    with pytest.raises(DataError, match="is not a table"):
        open_source(DataSpec(str(photos), label_column="kind"))


def test_columns_are_recorded_in_a_run_and_read_again(tmp_path: Path) -> None:
    files = [encoded(picture(i, 32, 32)) for i in range(32)]
    path = write(tmp_path / "a.parquet", mask=files[::-1], photo=files, kind=["b", "a"] * 16)
    spec = DataSpec(str(path), image_column="photo", label_column="kind")
    byol.pretrain(spec, epochs=1, out=tmp_path / "run", overrides=SMALL, say=lambda _: None)
    record = json.loads((tmp_path / "run" / "run.json").read_text())["data"]
    assert (record["image_column"], record["label_column"], record["classes"]) == ("photo", "kind", ["a", "b"])
    assert with_trained_columns(str(tmp_path / "run"), str(path)) == spec
    assert with_trained_columns(str(tmp_path / "run"), "other.parquet") == DataSpec("other.parquet")
    for number, data in enumerate((str(path), spec)):
        embed(tmp_path / "run", data, tmp_path / f"{number}.npz")
    one, two = (np.load(tmp_path / f"{number}.npz") for number in range(2))
    assert one["label_name"].tolist() == two["label_name"].tolist() == ["b", "a"] * 16
    assert np.array_equal(one["vector"], two["vector"])


@pytest.mark.parametrize("limit", [10**9, 0])
@pytest.mark.parametrize(
    "images",
    [
        pa.array([FILES[0], None], pa.binary()),
        pa.array([{"bytes": FILES[0], "path": None}, None], STRUCT),
        pa.array([{"bytes": FILES[0], "path": None}, {"bytes": None, "path": None}], STRUCT),
    ],
    ids=["bytes", "structs", "bytes of structs"],
)
def test_rows_without_an_image_are_broken(tmp_path: Path, images: pa.Array, limit: int) -> None:
    source = open_parquet(write(tmp_path / "a.parquet", image=images), limit, tmp_path / "cache")
    assert check_data(source).broken == {"row 1": "the row holds no image"}
