"""The run directory: everything about one run, in plain files.

run.json         format_version, config, recipe, data, derived values, machine, versions, commands
metrics.jsonl    one JSON object a line
checkpoints/     step_00000100.CHECKSUM.pt, ...
encoder.safetensors, encoder.json
result.json      how the run ended
skipped.jsonl    images that could not be decoded
"""

import contextlib
import json
import math
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from byol.errors import RunError

FORMAT_VERSION = 1


def write_atomically(path: Path, content: bytes) -> None:
    """Writes beside, syncs and renames: `path` holds the old content or the new one, never a part."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """`write_atomically` of an object."""
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file; None where there is none, or it cannot be read."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write to, which takes the place of `path` where the block ends without an error.

    Raises RunError where the disk refuses (full, read-only), leaving `path` as it was.
    """
    temporary = path
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        with contextlib.suppress(PermissionError):  # a file system without permissions
            temporary.chmod(0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise RunError(
            f"{path} cannot be written ({error.strerror or error}). Free some space or choose another --out."
        ) from error
    finally:
        if temporary != path:
            temporary.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Makes `path` and what is above it, where it is not there. Raises RunError where the disk refuses."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"The folder {path} cannot be made ({error.strerror}). Choose another --out.") from error


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `path` where the block ends without an error; else nothing is left.

    Raises RunError where something lies at `path`, or the disk refuses.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunError(f"{path} exists already and is not an empty folder. Choose another --out.")
    writing = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writing = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        yield writing
        writing.chmod(0o755)
        writing.replace(path)
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror or error}). Choose another --out.") from error
    finally:
        if writing is not None:
            shutil.rmtree(writing, ignore_errors=True)


_locks: set[TextIO] = set()


def _leave_locks_to_the_parent() -> None:
    """In a worker just forked, which may outlive a training that was killed and would keep its run locked."""
    for stream in _locks:
        stream.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_locks_to_the_parent)


class RunDirectory:
    """Paths and JSON files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.metrics = path / "metrics.jsonl"
        self.skipped = path / "skipped.jsonl"

    @classmethod
    def create(cls, path: Path) -> "RunDirectory":
        """A new run directory. Raises RunError where something lies there, so that nothing is overwritten."""
        cls.require_free(path)
        make_folder(path)
        return cls(path)

    @staticmethod
    def require_free(path: Path) -> None:
        """Raises RunError where something lies at `path`."""
        if path.exists() and (not path.is_dir() or any(not f.name.startswith(".run.json.") for f in path.iterdir())):
            hint = f"Continue it with --resume {path}, or" if (path / "run.json").exists() else "It is not empty:"
            raise RunError(f"{path} exists already. {hint} choose another --out.")

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """An existing run directory. Raises RunError where it is none."""
        if not path.is_dir():
            raise RunError(f"{path} is not a directory. Name the directory of a run.")
        run = cls(path)
        version = run.record().get("format_version")
        if version != FORMAT_VERSION:
            raise RunError(f"{path} has format version {version}; this byol reads {FORMAT_VERSION}.")
        return run

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Held while a process writes here; one that dies lets go. Raises RunError where another holds it."""
        try:
            import fcntl
        except ImportError:  # Windows: not guarded
            yield
            return
        with (self.path / ".lock").open("a+") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                stream.seek(0)
                raise RunError(
                    f"{self.path} is being written by another process ({stream.read().strip() or 'unknown'}). "
                    f"Wait until it ends, or choose another --out."
                ) from None
            except OSError:  # the file system knows no locks: not guarded
                pass
            stream.truncate(0)
            stream.write(f"process {os.getpid()} on {platform.node()}\n")
            stream.flush()
            _locks.add(stream)
            try:
                yield
            finally:
                _locks.discard(stream)

    def record(self) -> dict[str, Any]:
        """What run.json says. Raises RunError where it is missing or damaged."""
        file = self.path / "run.json"
        try:
            content = json.loads(file.read_text())
        except FileNotFoundError:
            raise RunError(f"{self.path} is not a run directory: it has no run.json.") from None
        except (OSError, ValueError) as error:
            raise RunError(f"{file} cannot be read ({error}).") from error
        if not isinstance(content, dict):
            raise RunError(f"{file} does not hold a run.")
        return content

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Writes a JSON file of the run."""
        write_json(self.path / name, content)

    def write_skipped(self, images: Mapping[tuple[str, int | str], tuple[str, str]]) -> None:
        """Adds the images that could not be decoded, each once: (name, reason) by the data and the place in it."""
        if not images:
            return
        rows: dict[int | str, dict[str, Any]] = {}
        if self.skipped.exists():
            for line in self.skipped.read_text(errors="replace").splitlines():
                with contextlib.suppress(ValueError, KeyError, TypeError):  # a line that was not written to its end
                    row = json.loads(line)
                    rows[row.get("place", row["name"])] = row
        for (_, place), (name, reason) in images.items():
            rows[place] = {"name": name, "place": place, "reason": reason}
        write_atomically(self.skipped, "".join(json.dumps(row) + "\n" for row in rows.values()).encode())


def finite(tree: Any) -> Any:
    """The same with None for what JSON has no number for: NaN and the infinities."""
    if isinstance(tree, Mapping):
        return {name: finite(value) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [finite(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
