"""Building the compiled operators: once, by content, and without leftovers."""

import os
from pathlib import Path

import pytest

from byol.runtime import kernels


def test_operators_are_built_here() -> None:
    """All other tests of this file mean something only where there is a compiler; this machine has one."""
    assert kernels.prepare() == ""
    assert {source.name for source in kernels.SOURCES} >= {"fused_norm.cpp", "matrix_conv.cpp", "depthwise_conv.cpp"}


def test_kernels_are_built_once_and_a_broken_compiler_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "twice.cpp"
    source.write_text('extern "C" int twice(int x) { return 2 * x; }\n')
    monkeypatch.setattr(kernels, "SOURCES", (source,))
    monkeypatch.setattr(kernels, "cache_folder", lambda name: tmp_path / "cache")
    kernels.prepare.cache_clear()
    try:
        assert kernels.prepare() == ""
        (built,) = (tmp_path / "cache").iterdir()
        assert kernels.library(source).twice(21) == 42
        when = built.stat().st_mtime_ns
        kernels.prepare.cache_clear()
        assert kernels.prepare() == "" and built.stat().st_mtime_ns == when
        (tmp_path / "three.h").write_text("constexpr int THREE = 3;\n")
        source.write_text('#include "three.h"\nextern "C" int twice(int x) { return THREE * x; }\n')
        kernels.prepare.cache_clear()
        kernels.library.cache_clear()
        assert kernels.prepare() == "" and kernels.library(source).twice(7) == 21
        (tmp_path / "three.h").write_text("constexpr int THREE = 4;\n")
        kernels.prepare.cache_clear()
        kernels.library.cache_clear()
        assert kernels.prepare() == "" and kernels.library(source).twice(7) == 28
        source.write_text("no C++\n")
        kernels.prepare.cache_clear()
        assert "cannot build twice.cpp" in kernels.prepare()
    finally:
        kernels.prepare.cache_clear()


def test_a_build_that_fails_leaves_neither_files_nor_compilers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler, started = tmp_path / "compiler", tmp_path / "started"
    compiler.write_text(
        f"""#!/bin/sh
case "$*" in
*-dM*) exit 0 ;;
*bad.cpp*)
    while [ ! -s {started} ]; do sleep 0.01; done
    echo "bad.cpp: not today" >&2
    exit 1 ;;
esac
for last; do :; done
touch "$last"
echo $$ > {started}
exec sleep 60
"""
    )
    compiler.chmod(0o755)
    sources = tuple(tmp_path / name for name in ("bad.cpp", "slow.cpp"))
    for source in sources:
        source.write_text(source.name)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setattr(kernels, "SOURCES", sources)
    monkeypatch.setattr(kernels, "cache_folder", lambda name: tmp_path / "cache")
    kernels.prepare.cache_clear()
    try:
        assert kernels.prepare() == f"{compiler} cannot build bad.cpp (bad.cpp: not today)"
    finally:
        kernels.prepare.cache_clear()
    assert list((tmp_path / "cache").iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)
