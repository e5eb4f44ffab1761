"""Random data sets: the same images, classes and order whichever container holds them."""

import io
import json
import tempfile
import unicodedata
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from byol.data.labelled import labelled_splits
from byol.data.open import as_source, open_source
from byol.data.source import ImageSource
from byol.data.spec import DataSpec
from tests.unit.data.test_labels import Rows, as_folder, as_tar, of_class, rows

PLAIN = st.text("abé文Z09 -_().", min_size=1, max_size=6)
NUMBERS = st.integers(0, 120).map(str)


def usable(name: str) -> bool:
    return name == name.strip() == unicodedata.normalize("NFC", name) and not name.startswith(".")


CLASSES = st.one_of(
    *(st.lists(names.filter(usable), min_size=2, max_size=6, unique=True) for names in (PLAIN, NUMBERS))
)
PARTS = st.sampled_from(
    [("train", "test"), ("Train", "VAL"), ("training", "dev"), ("seg_train", "seg_test"), ("x/train2017", "x/val2017")]
)


def table(rows: Rows, kind: str, order: list[str]) -> pa.Table:
    """Labels as strings, as dictionaries, or as ClassLabel numbers whose names come in `order`."""
    images, names = [image for image, _ in rows], [name for _, name in rows]
    if kind != "class label":
        labels = pa.array(names)
        return pa.table({"image": images, "label": labels.dictionary_encode() if kind == "dictionary" else labels})
    features = json.dumps({"info": {"features": {"label": {"names": order}}}})
    found = pa.table({"image": images, "label": [order.index(name) for name in names]})
    return found.replace_schema_metadata({"huggingface": features})


def write(path: Path, container: str, part: str, rows: Rows, orders: list[list[str]]) -> None:
    """One part, in as many shards as there are orders."""
    place = path / part
    place.parent.mkdir(parents=True, exist_ok=True)
    if container == "folder":
        as_folder(place, rows)
        return
    cuts = np.linspace(0, len(rows), len(orders) + 1).astype(int)
    shards = [rows[start:end] for start, end in pairwise(cuts)]
    if container == "saved":
        place.mkdir()
        files = [f"data-{number:05d}.arrow" for number in range(len(shards))]
        for file, shard, order in zip(files, shards, orders, strict=True):
            content = table(shard, "class label", order)
            with pa.ipc.new_stream(str(place / file), content.schema) as writer:
                writer.write_table(content)
        (place / "state.json").write_text(json.dumps({"_data_files": [{"filename": file} for file in files]}))
        return
    for number, (shard, order) in enumerate(zip(shards, orders, strict=True)):
        if container == "tar":
            as_tar(Path(f"{place}-{number}.tar"), shard)
        else:
            pq.write_table(table(shard, container, order), f"{place}-{number}.parquet")


def content(source: ImageSource) -> tuple[list[str] | None, list[tuple[int, bytes]]]:
    assert source.labels is not None
    pixels = [source.read(index, 3).tobytes() for index in range(len(source))]
    return source.class_names, list(zip(source.labels.tolist(), pixels, strict=True))


@settings(max_examples=8, deadline=None)
@given(st.data(), CLASSES, PARTS, st.integers(1, 3))
def test_data_sets_are_the_same_in_every_container(
    data: st.DataObject, classes: list[str], parts: tuple[str, str], num_shards: int
) -> None:
    """A folder has its images in the order of its paths, the others in that of their rows."""
    orders = [data.draw(st.permutations(classes)) for _ in range(num_shards)]
    train, test = rows(classes, count=3), [(of_class(place, 5), name) for place, name in enumerate(classes[:-1])]
    found = []
    for container in ("folder", "string", "dictionary", "class label", "tar", "saved"):
        with tempfile.TemporaryDirectory() as folder:
            for part, content_of_part in zip(parts, (train, test), strict=True):
                write(Path(folder), container, part, content_of_part, orders)
            found.append([content(part) for part in labelled_splits(folder)])
    for first, second in zip(found[0], found[1], strict=True):
        assert (first[0], sorted(first[1])) == (second[0], sorted(second[1]))
    assert all(parts == found[1] for parts in found[2:])
    numbers = all(name.isdecimal() for name in classes)
    names = sorted(classes, key=(lambda name: (int(name), name)) if numbers else None)
    assert found[0][0][0] == found[0][1][0] == names
    for (_, images), given_rows in zip(found[1], (train, test), strict=True):
        assert [label for label, _ in images] == [names.index(name) for _, name in given_rows]


DEEP = st.sampled_from([8, 10, 12, 14, 16])
SIDES = st.integers(8, 20)


def as_png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(stream, "PNG")
    return stream.getvalue()


def sources_of(folder: Path, images: list[np.ndarray]) -> dict[str, ImageSource]:
    """The same (H, W, C) images in every container of files."""
    rows = [(as_png(pixels), "a") for pixels in images]
    (folder / "flat").mkdir()
    for number, (image, _) in enumerate(rows):
        (folder / "flat" / f"{number:03d}.png").write_bytes(image)
    pq.write_table(pa.table({"image": [image for image, _ in rows]}), folder / "images.parquet")
    as_tar(folder / "images.tar", rows)
    files = sorted((folder / "flat").iterdir())
    return {
        "folder": open_source(folder / "flat"),
        "pattern": open_source(f"{folder}/flat/*.png"),
        "list of files": as_source([str(file) for file in files]),
        "parquet": open_source(folder / "images.parquet"),
        "tar": open_source(folder / "images.tar"),
    }


def pixels_of(source: ImageSource, channels: int) -> list[bytes]:
    return [source.read(index, channels).tobytes() for index in range(len(source))]


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 6), SIDES, SIDES, st.sampled_from([1, 3]))
def test_pixels_are_the_same_in_every_container_and_layout(
    seed: int, count: int, height: int, width: int, channels: int
) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (count, height, width, channels), dtype=np.uint8)
    first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "last.npy", images)
        np.save(folder / "first.npy", first)
        sources = sources_of(folder, list(images)) | {
            "array": as_source(images, "NHWC"),
            "array with channels first": as_source(first, "NCHW"),
            "tensor": as_source(torch.from_numpy(first)),
            "list of arrays": as_source(list(images)),
            "npy": open_source(DataSpec(str(folder / "last.npy"), layout="NHWC")),
            "npy with channels first": open_source(DataSpec(str(folder / "first.npy"), layout="NCHW")),
        }
        wanted = [pixels.tobytes() for pixels in images]
        assert {kind for kind, source in sources.items() if pixels_of(source, channels) != wanted} == set()


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 6), SIDES, DEEP)
def test_deep_grey_is_scaled_alike_in_every_container(seed: int, count: int, side: int, bits: int) -> None:
    """The largest value is in some image, so that all containers have to find the same bits; a dark image follows the rule of all."""
    top = 2**bits - 1
    values = np.random.default_rng(seed).integers(0, top, (count, side, side, 1), endpoint=True).astype(np.uint16)
    values[-1, 0, 0] = top
    values[0] //= 16
    with tempfile.TemporaryDirectory() as name:
        sources = sources_of(Path(name), list(values))
        highest, kind = (255, np.uint8) if bits == 8 else (65535, np.uint16)
        wanted = [(pixels.astype(float) * (highest / top)).round().astype(kind).tobytes() for pixels in values]
        assert {kind for kind, source in sources.items() if pixels_of(source, 1) != wanted} == set()
