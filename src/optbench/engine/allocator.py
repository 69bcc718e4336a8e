"""Settings of the C library's memory allocator: by default glibc returns the memory of large tensors to the kernel at every step."""

from __future__ import annotations

import ctypes
import os
import platform
from pathlib import Path

_tuned = False  # whether this process, or the one that it was forked from, has set the thresholds
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_NEVER_MMAP, _NEVER_TRIM = 1 << 30, 0x7FFFFFFF
_LARGEST_MMAP_THRESHOLD = 32 << 20  # the largest value that every glibc accepts
_REPLACEMENTS = ("jemalloc", "tcmalloc", "mimalloc")


def keep_freed_memory(device_type: str) -> None:
    """Keep freed memory in this process. Call it before the first tensor. Changes times and page faults, never results.

    Has an effect only for training on a CPU with glibc, unless the user's environment sets otherwise.
    """
    global _tuned
    if device_type != "cpu" or allocator_name() != "glibc":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    kept = mallopt(_M_MMAP_THRESHOLD, _NEVER_MMAP) or mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    if kept and mallopt(_M_TRIM_THRESHOLD, _NEVER_TRIM):
        _tuned = True


def describe_allocator() -> str:
    """Return the allocator's name for the record, and whether its thresholds were set here."""
    return f"{allocator_name()}, tuned" if _tuned else allocator_name()


def allocator_name() -> str:
    """Return the name of the allocator: glibc, a preloaded replacement, or the platform's own."""
    try:
        loaded = Path("/proc/self/maps").read_text(errors="replace")
    except OSError:
        loaded = ""
    replacement = next((library for library in _REPLACEMENTS if f"lib{library}" in loaded), None)
    if replacement:
        return replacement
    if not _is_glibc():
        return "musl" if "ld-musl" in loaded else f"{platform.system()}'s own"
    return "glibc, set by the environment" if _set_by_environment() else "glibc"


def _is_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (ValueError, OSError, AttributeError):  # a C library without the name, Windows
        return False


def _set_by_environment() -> bool:
    keys = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TOP_PAD_")
    return any(key in os.environ for key in keys) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
