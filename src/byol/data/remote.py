"""Tar shards at an http address, fetched once to the cache folder and then read like local ones.

Addresses are written as for WebDataset, `https://host/photos-{000000..000146}.tar`. That library is not used: it opens
addresses by a shell command, and reads a stream whose order a resumed run could not repeat.
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
    """Whether `data` is an http or https address."""
    return data.startswith(("http://", "https://"))


def fetch_shards(data: str, cache: Path | None = None, listener: Listener = SILENT) -> list[Path]:
    """Local files of all shards that the address names, in its order. Shards that are already there are not fetched again.

    Raises DataError if a shard cannot be fetched whole; the shards before it are kept.
    """
    addresses = expand(data)
    folder = (cache or cache_folder("shards")) / hashlib.sha256(data.encode()).hexdigest()[:32]
    files = [folder / f"{number:06d}.tar" for number in range(len(addresses))]
    with one_at_a_time(folder):
        missing = [number for number, file in enumerate(files) if not file.exists()]
        if missing:
            listener.say(f"fetching {len(missing)} of {len(files)} shards to {folder}")
        for number in missing:
            _fetch(addresses[number], files[number])
            listener.say(f"  {addresses[number]}: {files[number].stat().st_size / 1e6:.1f} MB")
    return files


def expand(address: str) -> list[str]:
    """Expands `{000..146}` and `{a,b}` in an address or path. Raises DataError if the braces hold neither."""
    braces = re.search(r"\{([^{}]*)\}", address)
    if not braces:
        return [address]
    first, dots, last = braces[1].partition("..")
    if dots and first.isdecimal() and last.isdecimal() and int(first) <= int(last):
        count, parts = int(last) - int(first) + 1, (f"{n:0{len(first)}d}" for n in range(int(first), int(last) + 1))
    elif "," in braces[1]:
        parts = braces[1].split(",")
        count = len(parts)
    else:
        raise DataError(
            f"{{{braces[1]}}} in {address} is not a range of shards like {{000000..000146}}, nor a list like {{a,b}}."
        )
    tails = expand(address[braces.end() :])
    if count * len(tails) > MAX_SHARDS:
        raise DataError(f"{address} names more than {MAX_SHARDS} shards.")
    return [f"{address[: braces.start()]}{part}{tail}" for part in parts for tail in tails]


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
    except (OSError, ValueError, HTTPException) as error:  # urllib's own errors are OSErrors
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        reason = error.reason if type(error) is urllib.error.URLError else error
        raise DataError(f"{address} cannot be fetched ({reason}). Finished shards are kept; try again.") from error
    finally:
        temporary.unlink(missing_ok=True)
