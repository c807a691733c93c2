"""The secret that the keys of the audit chains are derived from."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

_SECRET_BYTES = 32
_SHORTEST = 32


def audit_secret(configured: str, data_dir: Path, *, shared: bool) -> bytes:
    """What is configured, or what the file `audit.key` of `data_dir` has, which is made once, for its owner alone.

    With a database that others share (`shared`) a file of one's own will not do.

    Raises:
        OSError: there is none that can be used; the message says what to do.
    """
    if configured:
        if len(configured) < _SHORTEST:
            raise OSError(f"ASAHI_AUDIT_KEY has {len(configured)} characters; it needs {_SHORTEST} or more")
        return configured.encode()
    if shared:
        raise OSError("ASAHI_AUDIT_KEY is not set; with DATABASE_URL every replica needs the same one, kept elsewhere")
    path = data_dir / "audit.key"
    try:
        secret = _read(path) or _made(path)
    except OSError as error:
        raise OSError(f"cannot use {path}: {error.strerror}; restore it, or set ASAHI_AUDIT_KEY") from error
    if len(secret) < _SHORTEST:
        raise OSError(f"{path} has no key; restore it, or set ASAHI_AUDIT_KEY")
    return secret


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes().strip()
    except FileNotFoundError:
        return None


def _made(path: Path) -> bytes:
    """Makes the file; of several who do, one wins, and none reads half of it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    mine = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(_SECRET_BYTES).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(mine, path)
        _sync_folder(path.parent)
    finally:
        mine.unlink()
    return path.read_bytes().strip()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
