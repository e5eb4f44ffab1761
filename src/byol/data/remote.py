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
from byol.runtime.paths import cache_folder

TIMEOUT_SECONDS = 60
BLOCK_BYTES = 1 << 20
MAX_SHARDS = 100_000


def is_remote(data: str) -> bool:
    """Whether `data` is an address."""
    return data.startswith(("http://", "https://"))


def fetch_shards(data: str, cache: Path | None = None, listener: Listener = SILENT) -> list[Path]:
    """The local files of all shards that the address stands for, in its order; those already there are not fetched.

    Raises DataError where one cannot be had whole; those before it are kept.
    """
    addresses = expand(data)
    folder = (cache or cache_folder("shards")) / hashlib.sha256(data.encode()).hexdigest()[:32]
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
    """Every address or path that `{000..146}` or `{a,b}` in one stands for. Raises DataError where the braces hold neither."""
    found = re.search(r"\{([^{}]*)\}", address)
    if not found:
        return [address]
    first, dots, last = found[1].partition("..")
    if dots and first.isdecimal() and last.isdecimal() and int(first) <= int(last):
        count, parts = int(last) - int(first) + 1, (f"{n:0{len(first)}d}" for n in range(int(first), int(last) + 1))
    elif "," in found[1]:
        parts = found[1].split(",")
        count = len(parts)
    else:
        raise DataError(
            f"{{{found[1]}}} in {address} is not a range of shards like {{000000..000146}}, nor a list like {{a,b}}."
        )
    tails = expand(address[found.end() :])
    if count * len(tails) > MAX_SHARDS:
        raise DataError(f"{address} stands for more than {MAX_SHARDS} shards.")
    return [f"{address[: found.start()]}{part}{tail}" for part in parts for tail in tails]


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
