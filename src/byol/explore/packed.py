"""Messages to the page with numbers as bytes: text for a hundred thousand points would take seconds to write and to read."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

KIND = "application/octet-stream"


def packed(content: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """One message: the length of the JSON in 4 bytes, the JSON, and each array, all lengths filled up to multiples of 4 bytes.

    The entry `arrays` of the JSON lists the name, type (such as `int32`) and number of values of each.
    """
    listed = [(name, str(array.dtype), array.size) for name, array in arrays.items()]
    head = json.dumps({**content, "arrays": listed}, separators=(",", ":")).encode()
    parts = [head + b" " * (-len(head) % 4)]
    for array in arrays.values():
        body = np.ascontiguousarray(array).tobytes()
        parts.append(body + bytes(-len(body) % 4))
    return b"".join((len(parts[0]).to_bytes(4, "little"), *parts))
