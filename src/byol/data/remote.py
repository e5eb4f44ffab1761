"""Tar shards behind http: fetched once to the cache folder, then read like local ones.

The names are WebDataset's, `https://host/photos-{000000..000146}.tar`. Its library is not used: it opens addresses by a
shell command, and reads them as a stream, whose order no resumed run could repeat.
"""

import hashlib
import os
import re
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

from byol.errors import DataError
from byol.runtime.listener import SILENT, Listener
from byol.runtime.locks import one_at_a_time

DEFAULT_CACHE = Path("~/.cache/byol/shards").expanduser()
TIMEOUT_SECONDS = 60
BLOCK_BYTES = 1 << 20
MAX_SHARDS = 100_000


def is_remote(data: str) -> bool:
    """Whether `data` is an address."""
    return data.startswith(("http://", "https://"))


def fetch_shards(data: str, cache: Path = DEFAULT_CACHE, listener: Listener = SILENT) -> list[Path]:
    """The local files of all shards that the address stands for, in its order; those already there are not fetched.

    Raises DataError where one cannot be had whole; those before it are kept.
    """
    addresses = expand(data)
    folder = cache / hashlib.sha256(data.encode()).hexdigest()[:32]
    files = [folder / f"{number:06d}.tar" for number in range(len(addresses))]
    with one_at_a_time(folder):
        missing = [number for number, file in enumerate(files) if not file.exists()]
        if missing:
            listener.say(f"{len(missing)} of {len(files)} shards to fetch to {folder}")
        for number in missing:
            _fetch(addresses[number], files[number])
            listener.say(f"  {addresses[number]}: {files[number].stat().st_size / 1e6:.1f} MB")
    return files


def expand(address: str) -> list[str]:
    """Every address that `{000..146}` in one stands for. Raises DataError where the range is none."""
    found = re.search(r"\{([^{}]*)\}", address)
    if not found:
        return [address]
    first, dots, last = found[1].partition("..")
    if not (dots and first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
        raise DataError(f"{{{found[1]}}} in {address} is not a range of shards like {{000000..000146}}.")
    tails = expand(address[found.end() :])
    if (int(last) - int(first) + 1) * len(tails) > MAX_SHARDS:
        raise DataError(f"{address} stands for more than {MAX_SHARDS} shards.")
    numbers = range(int(first), int(last) + 1)
    return [f"{address[: found.start()]}{number:0{len(first)}d}{tail}" for number in numbers for tail in tails]


def _fetch(address: str, file: Path) -> None:
    temporary = file.with_suffix(f".{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(address, timeout=TIMEOUT_SECONDS) as answer, temporary.open("wb") as stream:
            while block := answer.read(BLOCK_BYTES):
                stream.write(block)
            wanted = answer.headers.get("Content-Length")
            if wanted is not None and stream.tell() != int(wanted):
                raise OSError(f"{stream.tell()} of {wanted} bytes arrived")
        os.replace(temporary, file)
    except (OSError, ValueError, HTTPException) as error:  # urllib's own are OSErrors
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        reason = error.reason if type(error) is urllib.error.URLError else error
        raise DataError(f"{address} cannot be fetched ({reason}). What has arrived is kept; try again.") from error
    finally:
        temporary.unlink(missing_ok=True)
