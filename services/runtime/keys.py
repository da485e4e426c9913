"""Names inside the object store: what is allowed, checked in one place."""

from __future__ import annotations

import re
from typing import NoReturn

from services.runtime.errors import InvalidArgument

MAX_NAME_LENGTH = 200
"""Characters of a name that a caller gives; what we append to it must still fit into a key."""

MAX_KEY_LENGTH = 1000
"""Bytes of a key, under S3's 1024."""

_PART = re.compile(r"[A-Za-z0-9._-]+")


def check_name(name: str, *, field: str, under: tuple[str, ...] = ()) -> str:
    """Returns the name that a caller gave when it is a relative name made of plain parts, and refuses everything else.

    Args:
        name: A name inside the object store, such as `datasets/my_voice`.
        field: What the caller calls it, for the error.
        under: Prefixes of which one must start the name, each with its final slash; empty allows any.

    Raises:
        InvalidArgument: Absolute, longer than 200 characters, an empty, `.` or `..` part, a character outside
            `[A-Za-z0-9._-]`, or not below one of `under`.
    """
    problem = _problem(name, MAX_NAME_LENGTH)
    if not problem and under and not any(name.startswith(prefix) for prefix in under):
        problem = f"it must lie under {' or '.join(under)}"
    if problem:
        _refuse(name, field, problem)
    return name


def check_key(key: str, *, field: str = "key") -> str:
    """Returns an object key when it is well formed: as `check_name`, but up to 1000 characters.

    Raises:
        InvalidArgument: It is not.
    """
    if problem := _problem(key, MAX_KEY_LENGTH):
        _refuse(key, field, problem)
    return key


def _problem(name: str, longest: int) -> str:
    if not name:
        return "it must not be empty"
    if len(name) > longest:
        return f"it must be at most {longest} characters long"
    for part in name.split("/"):
        if part in ("", ".", "..") or not _PART.fullmatch(part):
            return "it must be a relative name whose parts use only letters, digits, '.', '_' and '-'"
    return ""


def _refuse(name: str, field: str, problem: str) -> NoReturn:
    shown = name if len(name) <= 80 else f"{name[:77]}..."
    raise InvalidArgument(f"{field} is {shown!r}: {problem}.", reason="INVALID_NAME", fields={field: problem})
