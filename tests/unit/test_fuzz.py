"""What strangers may give us: broken images, foreign files, absurd settings. Never more than one of our errors."""

import contextlib
import io
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from byol.config import Config, from_dict, replaced, to_dict, validate
from byol.data.decode import decode, stored_kind
from byol.data.file_index import _read
from byol.data.open import open_source
from byol.data.order import Order
from byol.encoder.encoder_file import load_encoder
from byol.engine.metrics import read_metrics
from byol.errors import BrokenImageError, ByolError, CheckpointError, ConfigError, DataError
from byol.optim.schedules import learning_rate, target_tau, total_steps
from byol.recipes import RECIPES, recipe
from byol.runtime import checkpoint
from byol.runtime.run_directory import RunDirectory
from tests.conftest import encoded, picture

KINDS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
FUZZ = settings(max_examples=150, deadline=None, derandomize=True)
IN_A_FOLDER = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def reads_or_refuses(content: bytes) -> None:
    for channels in (1, 3):
        try:
            pixels = decode(content, channels)
        except BrokenImageError:
            pass
        else:
            assert pixels.dtype == np.uint8
            assert pixels.shape[2] == channels
    with contextlib.suppress(BrokenImageError):
        assert stored_kind(io.BytesIO(content))[1]


@FUZZ
@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 2**32 - 1), cut=st.booleans())
def test_decode_damaged_images_never_crash(kind: str, seed: int, cut: bool) -> None:
    random = np.random.default_rng(seed)
    content = bytearray(encoded(picture(1, 16, 20), kind))
    for place in random.integers(0, len(content), random.integers(1, 9)):
        content[place] = random.integers(0, 256)
    reads_or_refuses(bytes(content[: random.integers(0, len(content))] if cut else content))


@FUZZ
@given(content=st.binary(max_size=300))
def test_decode_random_bytes_never_crash(content: bytes) -> None:
    reads_or_refuses(content)
    for start in (
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0",
        b"RIFF\x20\x00\x00\x00WEBPVP8 ",
        b"BM",
        b"II*\x00",
        b"GIF89a",
    ):
        reads_or_refuses(start + content)


def test_decode_bomb_is_refused_before_it_is_unpacked() -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )
    with pytest.raises(BrokenImageError, match="3,600,000,000 pixels are more than --max-megapixels allows"):
        decode(bomb, 3)


def test_decode_odd_modes_follow_the_stated_rule() -> None:
    pixels = picture(2)

    def stored(image: Image.Image, kind: str, **options) -> bytes:
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        return stream.getvalue()

    rgb = Image.fromarray(pixels)
    cmyk = decode(stored(rgb.convert("CMYK"), "TIFF"), 3)
    assert np.abs(cmyk.astype(int) - pixels).max() <= 2
    frames = [Image.fromarray(picture(i)) for i in (2, 3)]
    first = decode(stored(frames[0], "TIFF", save_all=True, append_images=frames[1:]), 3)
    assert np.array_equal(first, pixels)
    assert decode(stored(rgb.convert("1"), "PNG"), 1).max() == 255
    see_through = rgb.convert("P")
    see_through.info["transparency"] = 0
    assert np.array_equal(
        decode(stored(see_through, "PNG", transparency=0), 3), np.asarray(rgb.convert("P").convert("RGB"))
    )
    clear = Image.fromarray(np.dstack([pixels[..., 0], np.zeros((40, 48), np.uint8)]), "LA")
    assert np.array_equal(decode(stored(clear, "PNG"), 1)[..., 0], pixels[..., 0])


FOREIGN: dict[str, Callable[[Path], object]] = {
    "a.parquet": lambda path: open_source(str(path)),
    "a.tar": lambda path: open_source(str(path)),
    "a.npy": lambda path: open_source(str(path)),
    "run.json": lambda path: RunDirectory.open(path.parent),
    "encoder.json": lambda path: load_encoder(path.parent),
}


@pytest.mark.parametrize("name", FOREIGN)
@example(content=b"PK\x05\x06" + bytes(18))
@example(content=b"PK\x03\x04torn")
@IN_A_FOLDER
@given(
    content=st.binary(max_size=600) | st.sampled_from([b"{}", b"[]", b'{"format_version": 1}', b"null", b"PAR1" * 9])
)
def test_foreign_file_is_one_of_our_errors(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / "encoder.safetensors").write_bytes(content)
    readable = name == "run.json" and b'"format_version": 1' in content
    with contextlib.nullcontext() if readable else pytest.raises(ByolError, match=r"\w+ .{15}"):
        FOREIGN[name](tmp_path / name)


@IN_A_FOLDER
@given(content=st.binary(max_size=600))
def test_foreign_checkpoint_is_refused_with_a_right_checksum_too(tmp_path: Path, content: bytes) -> None:
    for old in tmp_path.glob("*"):
        old.unlink()
    path = tmp_path / "x"
    path.write_bytes(content)
    path = path.rename(tmp_path / f"step_00000001.{checkpoint._checksum(path)}.pt")
    with pytest.raises(CheckpointError):
        checkpoint.load_newest(tmp_path)


def test_foreign_state_of_a_saved_dataset_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.arrow").write_bytes(b"no arrow")
    for state in (
        b"",
        b"[]",
        b'{"_data_files": 3}',
        b'{"_data_files": [{"filename": "a.arrow"}]}',
        b'{"_data_files": []}',
    ):
        (tmp_path / "state.json").write_bytes(state)
        with pytest.raises(DataError):
            open_source(str(tmp_path))


@FUZZ
@given(content=st.binary(max_size=300))
def test_foreign_index_and_metrics_are_left_alone(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("foreign") / "x"
    path.write_bytes(content)
    assert _read(path) is None
    assert all(isinstance(row, dict) for row in read_metrics(path))


VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats()
    | st.text(max_size=8)
    | st.lists(st.floats(), max_size=3)
)


@FUZZ
@given(data=st.data(), name=st.sampled_from(sorted(RECIPES)))
def test_settings_any_value_is_taken_or_refused_by_name(data: st.DataObject, name: str) -> None:
    config = recipe(name).config
    tree = to_dict(config)
    key = data.draw(st.sampled_from(sorted(tree)))
    dotted = f"{key}.{data.draw(st.sampled_from(sorted(tree[key])))}" if isinstance(tree[key], dict) else key
    if isinstance(tree.get(dotted.split(".")[0], {}), dict) and "view1" in dotted.split("."):
        dotted += "." + data.draw(st.sampled_from(sorted(tree["views"]["view1"])))
    refused = ""
    try:
        changed = replaced(config, {dotted: data.draw(VALUES)})
        validate(changed)
        assert from_dict(Config, to_dict(changed)) == changed
    except ConfigError as error:
        refused = str(error)
    assert not refused or dotted.split(".")[-1] in refused


@FUZZ
@given(num=st.integers(1, 60), seed=st.integers(0, 2**31), start=st.integers(0, 500), count=st.integers(0, 200))
def test_order_any_slice_is_that_of_the_whole(num: int, seed: int, start: int, count: int) -> None:
    order = Order(num, seed)
    whole = order.indices(0, start + count)
    assert np.array_equal(order.indices(start, count), whole[start:])
    for epoch in range((start + count) // num):
        assert sorted(whole[epoch * num : (epoch + 1) * num]) == list(range(num))


@FUZZ
@given(
    epochs=st.floats(1e-3, 5000), num=st.integers(1, 10**8), batch=st.integers(1, 65536), step=st.integers(0, 10**9),
    warmup=st.floats(0, 1), base=st.floats(0, 10), tau=st.floats(0, 1),
)  # fmt: skip
def test_schedules_any_setting_stays_in_range(epochs, num, batch, step, warmup, base, tau) -> None:
    total = total_steps(epochs, num, batch)
    if total < 1:
        return
    rate = learning_rate(step, base=base, batch_size=batch, total=total, warmup=int(warmup * (total - 1)))
    assert 0 <= rate <= base * batch / 256 * (1 + 1e-12)
    assert min(tau, 1) - 1e-12 <= target_tau(step, base=tau, total=total) <= 1


def test_warnings_of_foreign_checkpoints_do_not_reach_the_user(tmp_path: Path) -> None:
    torch.save({"step": 1}, tmp_path / "x")
    path = (tmp_path / "x").rename(tmp_path / f"step_00000001.{checkpoint._checksum(tmp_path / 'x')}.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(CheckpointError, match="not a checkpoint of this package"):
            checkpoint.load(path)
