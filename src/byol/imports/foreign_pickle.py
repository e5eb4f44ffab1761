"""A reader for pickles of arrays that runs nothing in them.

A pickle is a program. This module reads its instructions with `pickletools`, which does not run them, and interprets
those that create arrays, numbers, strings and plain containers. It never imports a class or function: the few names
that occur in DeepMind's checkpoints (numpy, dill, haiku) have their own implementations here; other names are refused.
"""

import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from byol.errors import CheckpointError

DTYPES = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}
LITERALS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
RECALLS = {"GET", "BINGET", "LONG_BINGET"}
TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Array:
    """An array of the file; `value` is None until its content has been read."""

    __slots__ = ("value",)

    def __init__(self, value: np.ndarray | None = None) -> None:
        self.value = value


@dataclass(frozen=True)
class Name:
    """Name of a class or function that the file refers to."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}" if self.name else self.module


@dataclass(frozen=True)
class NamedFields:
    """A namedtuple class that the file describes; its instances become dicts."""

    fields: tuple[str, ...]


class _Dtype:
    __slots__ = ("code", "order")

    def __init__(self, code: str) -> None:
        self.code, self.order = code, "="


class _RefusedError(Exception):
    """The file is refused; the message is the reason, a clause about the file that starts with "it"."""


def read_pickle(path: Path) -> Any:
    """Content of the file: dicts, lists, tuples, numbers, strings and `Array`s. Namedtuples and Haiku's mappings are dicts.

    Raises CheckpointError, with the name, if the file holds anything else, and if it is no complete pickle.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            bounded: Any = _Bounded(stream, size)
            recalled = {argument for opcode, argument, _ in pickletools.genops(bounded) if opcode.name in RECALLS}
            stream.seek(0)
            return _Reader(size, recalled).read(bounded)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be opened ({error.strerror or error}).") from None
    except _RefusedError as error:
        raise CheckpointError(f"{path} was refused, and nothing of it was run: {error}.") from None
    except Exception as error:  # pickletools raises many kinds for bytes that are no pickle
        raise CheckpointError(
            f"{path} is not a whole pickle ({type(error).__name__}), and nothing of it was run; download or copy it again."
        ) from None


class _Bounded:
    """A stream that refuses to read more bytes than the file has: a pickle may claim any length."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self._size = stream, size
        self.readline, self.tell = stream.readline, stream.tell

    def read(self, count: int = -1) -> bytes:
        left = self._size - self._stream.tell()
        if count > left:
            raise _RefusedError(f"it ends early or lies about a length ({count} bytes promised, {left} left)")
        return self._stream.read(count)


class _Reader:
    """Interpreter of one pickle, with its stack, marks and memory; it stores only the entries that are `recalled` later."""

    def __init__(self, size: int, recalled: set[int | None]) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.recalled, self.memory = recalled, dict[int, Any]()
        self.memorized = 0
        self.spent, self.size = 0, size
        self.calls: dict[str, Callable[..., Any]] = {
            "numpy.core.multiarray._reconstruct": lambda *_: Array(),
            "numpy.core._multiarray_umath._reconstruct": lambda *_: Array(),
            "numpy.core.multiarray.scalar": lambda dtype, data: Array(_array((), dtype, False, data)),
            "numpy.core._multiarray_umath.scalar": lambda dtype, data: Array(_array((), dtype, False, data)),
            "numpy.core.numeric._frombuffer": lambda data, dtype, shape, order: Array(
                _array(shape, dtype, order == "F", data)
            ),
            "numpy.dtype": lambda code, *_: _Dtype(_typed(code, str)[:8].lstrip("<=|")),
            "_codecs.encode": self._encode,
            "dill._dill._create_array": self._create_array,
            "dill._dill._create_namedtuple": lambda name, fields, *_: NamedFields(tuple(_typed(fields, tuple))),
            "dill._dill._import_module": lambda name, *_: Name(_typed(name, str), ""),
            "dill._dill._get_attr": lambda owner, name: self._name(_typed(owner, Name).module, name),
            "haiku._src.data_structures.FlatMapping": _mapping,
            "haiku._src.data_structures.frozendict": _mapping,
            "collections.OrderedDict": _mapping,
            "__builtin__.bytes": lambda: b"",  # empty bytes in old protocols
        }
        self.names = {*self.calls, "numpy.ndarray"}

    def read(self, stream: Any) -> Any:
        for opcode, argument, _ in pickletools.genops(stream):
            self._follow(opcode.name, argument)
        (value,) = self.stack
        return value

    def _follow(self, code: str, argument: Any) -> None:
        if code in LITERALS:
            self.stack.append(argument)
        elif code in CONSTANTS:
            self.stack.append(CONSTANTS[code])
        elif code in TUPLES:
            self.stack.append(self._pop(TUPLES[code]))
        elif code in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._remember(argument)
        elif code == "MEMOIZE":
            self._remember(self.memorized)
        elif code in RECALLS:
            self.stack.append(self.memory[argument])
        elif code == "GLOBAL":
            self.stack.append(self._name(*argument.split(" ", 1)))
        elif code == "STACK_GLOBAL":
            self.stack.append(self._name(*self._pop(2)))
        elif code in ("REDUCE", "NEWOBJ"):
            kind, arguments = self._pop(2)
            self.stack.append(self._make(kind, arguments))
        elif code == "BUILD":
            (state,) = self._pop(1)
            self._build(self._top(), state)
        elif code == "INST":
            raise _RefusedError(f"it wants to call {_short(self._name(*argument.split(' ', 1)))}")
        elif code not in ("PROTO", "FRAME", "STOP"):
            self._gather(code)

    def _gather(self, code: str) -> None:
        """Runs an instruction for marks or containers."""
        if code == "MARK":
            self.marks.append(len(self.stack))
        elif code == "POP":
            self._pop(1)
        elif code in ("EMPTY_LIST", "EMPTY_DICT"):
            self.stack.append([] if code == "EMPTY_LIST" else {})
        elif code == "TUPLE":
            self.stack.append(self._since_mark())
        elif code == "LIST":
            self.stack.append(list(self._since_mark()))
        elif code in ("APPEND", "APPENDS"):
            items = self._pop(1) if code == "APPEND" else self._since_mark()
            _typed(self._top(), list).extend(items)
        elif code in ("SETITEM", "SETITEMS", "DICT"):
            items = self._pop(2) if code == "SETITEM" else self._since_mark()
            if code == "DICT":
                self.stack.append({})
            filled = _typed(self._top(), dict)
            for key, value in zip(items[::2], items[1::2], strict=True):
                if not isinstance(key, str | int):
                    raise _RefusedError("a dict has a key that is neither text nor number")
                filled[key] = value
        else:
            raise _RefusedError(f"it uses the instruction {code}, which no file of arrays needs")

    def _remember(self, place: int) -> None:
        self.memorized += 1
        if place in self.recalled:
            self.memory[place] = self._top()

    def _top(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise _RefusedError("its instructions ask for more than there is")
        return self.stack[-1]

    def _pop(self, count: int) -> tuple[Any, ...]:
        place = len(self.stack) - count
        if place < (self.marks[-1] if self.marks else 0):
            raise _RefusedError("its instructions ask for more than there is")
        values = tuple(self.stack[place:])
        del self.stack[place:]
        return values

    def _since_mark(self) -> tuple[Any, ...]:
        return self._pop(len(self.stack) - self.marks.pop())

    def _name(self, module: Any, name: Any) -> Name:
        if len(_typed(module, str)) + len(_typed(name, str)) > 200:
            raise _RefusedError("it refers to something by a name of more than 200 characters")
        path = Name(module.replace("numpy._core", "numpy.core"), name)
        if str(path) not in self.names and not _of_jax(path):
            raise _RefusedError(f"it refers to {_short(path)}, which is no array, number, text or plain container")
        return path

    def _make(self, kind: Any, arguments: Any) -> Any:
        arguments = _typed(arguments, tuple)
        if isinstance(kind, NamedFields):
            self._spend(len(arguments))
            return dict(zip(kind.fields, arguments, strict=True))
        if isinstance(kind, Name) and _of_jax(kind):
            return None  # the random key of a run; nobody needs it
        if not isinstance(kind, Name) or str(kind) not in self.calls:
            raise _RefusedError(f"it wants to call {_short(kind)}")
        return self.calls[str(kind)](*arguments)

    def _build(self, owner: Any, state: Any) -> None:
        """Sets the state of `owner`, in place of its `__setstate__`."""
        if isinstance(owner, _Dtype):
            owner.order = {"<": "<", ">": ">"}.get(_typed(state, tuple)[1], "=")
        elif isinstance(owner, Array):
            _, shape, dtype, fortran, data = _typed(state, tuple)
            owner.value = _array(shape, dtype, bool(fortran), data)
        elif isinstance(owner, dict):  # a mapping of Haiku's, created empty and filled now
            for value in _typed(state, dict).values():
                if isinstance(value, dict):
                    self._spend(len(value))
                    owner.update(value)
        elif owner is not None:
            raise _RefusedError(f"it wants to set attributes of {_short(owner)}")

    def _encode(self, text: str, encoding: str = "latin1") -> bytes:
        if encoding not in ("latin1", "latin-1"):
            raise _RefusedError(f"it encodes texts as {_short(encoding)}, which no array needs")
        self._spend(len(text))
        return text.encode("latin-1")

    def _spend(self, amount: int) -> None:
        """Limits the total size of copies to the size of the file, so that a small file cannot fill the memory."""
        self.spent += amount
        if self.spent > self.size:
            raise _RefusedError("it repeats itself until it would be larger than its file")

    def _create_array(self, maker: Any, arguments: Any, state: Any, *_: Any) -> Any:
        array = self._make(maker, arguments)
        self._build(array, state)
        return array


def _array(shape: Any, dtype: Any, fortran: bool, data: Any) -> np.ndarray:
    """A read-only array over the bytes `data`. Refuses a shape that does not fit them."""
    if not isinstance(dtype, _Dtype) or dtype.code not in DTYPES:
        raise _RefusedError(f"it holds an array of {_short(getattr(dtype, 'code', dtype))}, not of numbers")
    kind, sizes, size = np.dtype(dtype.order + dtype.code), _typed(shape, tuple), len(_typed(data, bytes, bytearray))
    if len(sizes) > 32 or not all(type(n) is int and 0 <= n < 2**31 for n in sizes):
        raise _RefusedError("it holds an array with an impossible shape")
    if math.prod(sizes) * kind.itemsize != size:
        raise _RefusedError(f"it holds an array whose shape {sizes} does not fit its {size} bytes")
    return np.ndarray(sizes, kind, buffer=data, order="F" if fortran else "C")


def _mapping(content: Any = None, *_: Any) -> dict:
    return {} if content is None else _typed(content, dict)


def _of_jax(name: Name) -> bool:
    return name.module.split(".")[0] in ("jax", "jaxlib")


def _typed(value: Any, *kinds: type) -> Any:
    if not isinstance(value, kinds):
        raise _RefusedError(f"it has a {type(value).__name__} where a {kinds[0].__name__} belongs")
    return value


def _short(value: Any) -> str:
    text = str(value) if isinstance(value, str | Name) else type(value).__name__
    return ascii(text)[1:-1][:100]
