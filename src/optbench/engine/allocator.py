"""The C library's memory allocator: by default glibc gives large tensors back to the kernel and has them zeroed again, step by step."""

from __future__ import annotations

import ctypes
import os
import platform
from pathlib import Path

#: `default` leaves the allocator alone, `tuned` is the default; set by `optbench run --allocator`, inherited by its processes
ASKED = "OPTBENCH_ALLOCATOR"
_DONE = "OPTBENCH_ALLOCATOR_TUNED"  # the id of the process that was tuned: those that it starts are not
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_NEVER_MMAP, _NEVER_TRIM = 1 << 30, 0x7FFFFFFF
_LARGEST_MMAP_THRESHOLD = 32 << 20  # that every glibc accepts
_REPLACEMENTS = ("jemalloc", "tcmalloc", "mimalloc")


def tune(device_type: str) -> None:
    """Keep freed memory in this process, from now on: call before the first tensor. Changes times and page faults, never results.

    Only for training on a CPU, with glibc, unless asked not to or the user's environment has settings of its own.
    """
    if device_type != "cpu" or os.environ.get(ASKED, "tuned") == "default" or name() != "glibc":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    kept = mallopt(_M_MMAP_THRESHOLD, _NEVER_MMAP) or mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    if kept and mallopt(_M_TRIM_THRESHOLD, _NEVER_TRIM):
        os.environ[_DONE] = str(os.getpid())


def in_use() -> str:
    """For the record: the allocator's name, and whether its thresholds were set here."""
    return f"{name()}, tuned" if os.environ.get(_DONE) == str(os.getpid()) else name()


def name() -> str:
    """glibc, one that replaces it, or the platform's own."""
    try:
        loaded = Path("/proc/self/maps").read_text(errors="replace")
    except OSError:
        loaded = ""
    replaced = next((found for found in _REPLACEMENTS if f"lib{found}" in loaded), None)
    if replaced:
        return replaced
    if not _is_glibc():
        return "musl" if "ld-musl" in loaded else f"{platform.system()}'s own"
    return "glibc, set by the environment" if _set_by_environment() else "glibc"


def _is_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (ValueError, OSError, AttributeError):  # a C library without the name, Windows
        return False


def _set_by_environment() -> bool:
    own = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TOP_PAD_")
    return any(key in os.environ for key in own) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
