"""Compiled operators for CPUs: C++ files of this package, built on first use by the machine's own compiler.

Each file has a plain C interface and does not include torch, so it builds in seconds and works with every version of
torch. Built libraries stay in the cache folder; their names depend on content, compiler and processor. Threads come from
the OpenMP library that torch has loaded already, so `torch.set_num_threads` applies to both.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from byol.runtime.paths import cache_folder

PACKAGE = Path(__file__).parent.parent
SOURCES = tuple(sorted(PACKAGE.glob("**/*.cpp")))
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-ffp-contract=fast", "-fopenmp", "-shared", "-fPIC")
COMPILERS = ("c++", "g++", "clang++")
COMPILE_SECONDS = 120


class KernelError(Exception):
    """The operators cannot be built here; the message is the reason. Callers fall back to torch's operators."""


def find_compiler() -> str | None:
    """Path of the C++ compiler: $CXX, or the first of `COMPILERS` that is installed; None if there is none."""
    named = os.environ.get("CXX", "")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, COMPILERS)), None)


@cache
def library(source: Path) -> ctypes.CDLL:
    """The compiled `source`, from the cache folder or built now. Raises KernelError if it cannot be built."""
    if reason := prepare():
        raise KernelError(reason)
    return ctypes.CDLL(str(_place(source, find_compiler() or "")))


@cache
def prepare() -> str:
    """Builds all files that are not in the cache, in parallel; returns the reason of a failure, or an empty string."""
    compiler = find_compiler()
    if compiler is None:
        return f"no C++ compiler ({', '.join(COMPILERS)}) is installed"
    try:
        missing = [(source, place) for source in SOURCES if not (place := _place(source, compiler)).exists()]
        if missing:
            cache_folder("kernels").mkdir(parents=True, exist_ok=True, mode=0o700)
            _build(compiler, missing)
        for source in SOURCES:
            ctypes.CDLL(str(_place(source, compiler)))
    except (KernelError, OSError, subprocess.SubprocessError) as error:
        return (str(error).splitlines() or [type(error).__name__])[0]
    return ""


def _build(compiler: str, missing: list[tuple[Path, Path]]) -> None:
    """Compiles into temporary files and renames them, so that several processes can build at the same time."""
    running = []
    for source, place in missing:
        temporary = place.with_suffix(f".{os.getpid()}.so")
        command = [compiler, *FLAGS, str(source), "-o", str(temporary)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        running.append((process, source, place, temporary))
    try:
        for process, source, place, temporary in running:
            _, said = process.communicate(timeout=COMPILE_SECONDS)
            if process.returncode:
                raise KernelError(
                    f"{compiler} cannot build {source.name} ({(said.splitlines() or ['no reason given'])[0]})"
                )
            os.replace(temporary, place)
    finally:
        for process, _, _, temporary in running:
            process.kill()
            process.wait()
            if process.stderr:
                process.stderr.close()
            temporary.unlink(missing_ok=True)


def _place(source: Path, compiler: str) -> Path:
    """Path of the built file; its name has a hash of source, headers in the same folder, flags and target."""
    files = (source, *sorted(source.parent.glob("*.h")))
    parts = (*(file.read_text() for file in files), repr(FLAGS), _target(compiler))
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
    return cache_folder("kernels") / f"{source.stem}-{key}.so"


@cache
def _target(compiler: str) -> str:
    """The compiler's predefined macros, which name its version and the processor's instruction sets."""
    command = [compiler, "-march=native", "-dM", "-E", "-x", "c++", os.devnull]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise KernelError(f"{compiler} does not know this processor ({(done.stderr.splitlines() or ['?'])[0]})")
    return done.stdout
