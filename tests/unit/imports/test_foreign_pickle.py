"""A stranger's pickle: arrays and plain containers come out, everything else is refused and nothing runs."""

import builtins
import collections
import contextlib
import importlib
import io
import os
import pickle
import pickletools
import resource
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from byol.errors import CheckpointError
from byol.imports.foreign_pickle import Array, read_pickle
from byol.imports.import_deepmind import import_deepmind
from tests.parity.haiku import GOLDEN

AS_SAVED = GOLDEN / "synthetic_checkpoint_asaved_dill032_flatmapping.pkl"
FUZZ = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
ARRAYS = {
    "f4": np.arange(6, dtype="f4").reshape(2, 3),
    "f8 big-endian": np.arange(4, dtype=">f8"),
    "fortran": np.asfortranarray(np.arange(6, dtype="i8").reshape(2, 3)),
    "bool": np.array([True, False]),
    "empty": np.zeros((0, 3), "f2"),
    "scalar": np.array(3, "u1"),
}


def plain(value: Any) -> Any:
    """With arrays in place of `Array`."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain(inner) for inner in value)
    return value.value if isinstance(value, Array) else value


def refusal(folder: Path, content: bytes) -> str:
    (folder / "x.pkl").write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_pickle(folder / "x.pkl")
    said = str(caught.value)
    assert "\n" not in said
    assert "nothing of it was run" in said
    return said


def read_or_refused(path: Path) -> None:
    """Anything but these two is a failure."""
    with contextlib.suppress(CheckpointError):
        read_pickle(path)


@pytest.mark.parametrize("protocol", range(6))
def test_read_pickle_plain_content_is_what_pickle_reads(protocol: int, tmp_path: Path) -> None:
    content = {
        "arrays": ARRAYS, "numbers": [1, -5, 2**40, 2**70, 1.5, True, None], 3: ("text \u00e9", (), (1,), (1, 2, 3, 4)),
        "numpy": [np.float32(2.5), np.int64(7)], "bytes": b"abc", "ordered": collections.OrderedDict(a=1),
    }  # fmt: skip
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content, protocol))
    found = plain(read_pickle(tmp_path / "x.pkl"))
    np.testing.assert_equal(found, content)
    for name, array in content["arrays"].items():
        assert found["arrays"][name].dtype == array.dtype, name


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.how = (function, arguments)

    def __reduce__(self) -> Any:
        return self.how


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("function", "named"),
    [
        (os.system, f"{os.name}.system"),
        (builtins.eval, "builtin"),
        (builtins.exec, "builtin"),
        (builtins.getattr, "builtin"),
        (builtins.__import__, "builtin"),
        (subprocess.Popen, "Popen"),
        (importlib.import_module, "importlib.import_module"),
        (np.load, "numpy.load"),
        (np.fromfile, "fromfile"),
        (pickle.loads, "pickle.loads"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_read_pickle_call_of_a_function_is_refused_by_name(
    function: Any, named: str, protocol: int, tmp_path: Path
) -> None:
    harm = Calls(function, f"open({str(tmp_path / 'harmed')!r}, 'w')")
    for content in (harm, {"experiment_state": {"online_params": [harm]}}, [np.ones(2), (harm,)]):
        assert named in refusal(tmp_path, pickle.dumps(content, protocol))
    assert not (tmp_path / "harmed").exists()


DILL = (
    b"\x80\x02cdill._dill\n_get_attr\n(cdill._dill\n_import_module\nX\x02\x00\x00\x00os\x85RX\x06\x00\x00\x00systemtR"
)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (DILL + b"X\x04\x00\x00\x00true\x85R.", "os.system"),
        (b"(S'true'\nios\nsystem\n.", "os.system"),
        (b"cos\nsystem\n(S'true'\ntR.", "os.system"),
        (b"(cos\nsystem\nS'true'\no.", "os.system"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.", "os.system"),
        (b"cdill._dill\n_create_function\n.", "dill._dill._create_function"),
        (b"cdill._dill\n_load_type\n.", "dill._dill._load_type"),
        (b"cnumpy.core.multiarray\n_reconstruct.__globals__\n.", "_reconstruct.__globals__"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"Psomething\n.", "PERSID"),
        (b"\x80\x05\x97.", "NEXT_BUFFER"),
        (b"cnumpy\nndarray\n(tR.", "wants to call numpy.ndarray"),
        (b"cnumpy\nndarray\n}b.", "set attributes of numpy.ndarray"),
        (b"](K\x01K\x02tR.", "wants to call list"),
        (b"}(]K\x01u.", "key that is neither text nor number"),
        (b"cnumpy\ndtype\n(S'O8'\ntRcnumpy.core.multiarray\nscalar\n(h\x00K\x00tR.", "is not a whole pickle"),
        (b"c" + b"a" * 500 + b"\nx\n.", "more than 200 characters"),
        (b"0.", "ask for more than there is"),
        (b"(((", "ends early"),
        (b"", "ends early"),
    ],
)
def test_read_pickle_crafted_bytes_are_refused(content: bytes, says: str, tmp_path: Path) -> None:
    assert says in refusal(tmp_path, content)


def array_of(shape: bytes, data: bytes, code: bytes = b"f4") -> bytes:
    """The instructions of one array."""
    kind = b"cnumpy\ndtype\n(S'" + code + b"'\nI00\nI01\ntR(K\x03S'<'\nNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    empty = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR"
    return empty + b"(K\x01" + shape + kind + b"I00\nB" + struct.pack("<I", len(data)) + data + b"tb."


def test_read_pickle_crafted_array_is_read_so_that_its_refusals_mean_something(tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(array_of(b"K\x02\x85", b"\0\0\x80?\0\0\0@"))
    assert plain(read_pickle(tmp_path / "x.pkl")).tolist() == [1.0, 2.0]


HUGE = struct.pack("<Q", 2**62)
MANY = b"\x8a\x06\x00\x00\x00\x00\x00\x01"  # 2**40


@pytest.mark.parametrize(
    "content",
    [
        array_of(MANY + b"\x85", b"\0" * 4),
        array_of(b"K\x00" + MANY + b"\x86", b""),
        array_of(b"J\xff\xff\xff\xffJ\xfc\xff\xff\xff\x86", b"\0" * 16),
        array_of(b"K\x03\x85", b"\0" * 4),
        array_of(b"K\x01\x85", b"\0" * 8, b"O8"),
        array_of(b"K\x01\x85", b"\0" * 8, b"V8"),
        b"\x80\x04\x8e" + HUGE + b"abc.",
        b"\x80\x04\x8d" + HUGE + b"abc.",
        b"\x80\x05\x96" + HUGE + b"abc.",
        b"\x80\x04\x95" + HUGE + b".",
        b"B\xff\xff\xff\xffabc.",
        b"X\xff\xff\xff\xffabc.",
        b"\x8b\xff\xff\xff\x7fabc.",
        b"I" + b"9" * 100_000 + b"\n.",
        b"c_codecs\nencode\n0X\x10'\x00\x00" + b"a" * 10_000 + b"q\x010" + b"c_codecs\nencode\nh\x01\x85R" * 20_000 + b".",
        b"}(" + b"".join(b"J" + struct.pack("<i", i) + b"N" for i in range(5000)) + b"uq\x010"
        + b"chaiku._src.data_structures\nFlatMapping\n)\x81}X\x01\x00\x00\x00ah\x01sb" * 5000 + b".",
        b"K\x00" + b"\x85" * 300_000 + b"}(" + b"K\x00" + b"\x85" * 300_000 + b"K\x01u.",
    ],
    ids=range(17),
)  # fmt: skip
def test_read_pickle_claims_of_size_take_no_memory(content: bytes, tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refusal(tmp_path, content)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "KiB"


def test_read_pickle_far_place_in_memory_is_only_a_number(tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(b"K\x07r\xff\xff\xff\xff0j\xff\xff\xff\xff.")
    assert read_pickle(tmp_path / "x.pkl") == 7


def test_read_pickle_truncated_anywhere_is_refused(tmp_path: Path) -> None:
    whole = AS_SAVED.read_bytes()
    for end in [*range(0, 400, 23), *range(400, len(whole), len(whole) // 12), len(whole) - 1]:
        refusal(tmp_path, whole[:end])


@FUZZ
@given(content=st.binary(max_size=300))
def test_read_pickle_random_bytes_are_read_or_refused(content: bytes, tmp_path: Path) -> None:
    for start in (b"", b"\x80\x02", b"\x80\x04\x95"):
        (tmp_path / "x.pkl").write_bytes(start + content)
        read_or_refused(tmp_path / "x.pkl")


CODES = sorted(opcode.code.encode("latin-1") for opcode in pickletools.opcodes)
NAMES = [
    b"cnumpy\nndarray\n", b"cnumpy\ndtype\n", b"cnumpy.core.multiarray\n_reconstruct\n", b"c_codecs\nencode\n",
    b"cdill._dill\n_create_namedtuple\n", b"cdill._dill\n_create_array\n", b"cdill._dill\n_get_attr\n",
    b"cdill._dill\n_import_module\n", b"chaiku._src.data_structures\nFlatMapping\n", b"cjax.core\nx\n",
    b"cos\nsystem\n", b"K\x01", b"X\x02\x00\x00\x00os", b"X\x02\x00\x00\x00f4", b"h\x00", b"q\x00", b"}", b"(", b"t",
]  # fmt: skip


@FUZZ
@given(parts=st.lists(st.sampled_from(CODES + NAMES), max_size=40))
def test_read_pickle_random_programs_are_read_or_refused(parts: list[bytes], tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(b"".join(parts) + b".")
    read_or_refused(tmp_path / "x.pkl")


@settings(FUZZ, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1))
def test_import_damaged_checkpoint_is_imported_or_refused(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    random, content = np.random.default_rng(seed), bytearray(AS_SAVED.read_bytes())
    for place in random.integers(0, len(content), random.integers(1, 6)):
        content[place] = random.integers(0, 256)
    (folder / "x.pkl").write_bytes(content)
    with contextlib.suppress(CheckpointError):
        import_deepmind(folder / "x.pkl", folder / "out")
        assert (folder / "out" / "encoder.safetensors").exists()
        return
    assert not (folder / "out").exists()


def test_read_pickle_never_imports_what_a_file_names(tmp_path: Path) -> None:
    stream = io.BytesIO()
    pickle.dump(Calls(os.system, "true"), stream)
    (tmp_path / "x.pkl").write_bytes(stream.getvalue())
    before = set(sys.modules)
    for content in (
        stream.getvalue(),
        b"cantigravity\nfly\n.",
        b"cdill._dill\n_import_module\nX\x0b\x00\x00\x00antigravity\x85R.",
    ):
        (tmp_path / "x.pkl").write_bytes(content)
        read_or_refused(tmp_path / "x.pkl")
    assert set(sys.modules) == before
    assert "dill" not in sys.modules
