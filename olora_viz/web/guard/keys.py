"""The keys to a run: its owner's, its readers', and a name that opens nothing.

The owner's key is random and never leaves the owner's browser; links carry the readers' key, and
what is saved or drawn the name. Both are derived from the owner's key, also after a restart, and
neither leads back to it.
"""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from hashlib import blake2b
from typing import NamedTuple

from olora_viz.views.background_race import BackgroundRace
from olora_viz.views.race_record import RaceRecord


class Shown(NamedTuple):
    """What a key opens."""

    record: RaceRecord
    """What may be seen of the run."""
    job: BackgroundRace | None = None
    """The run as it changes; None for a recorded race."""
    readers_key: str = ""
    """What opens it for reading; empty for a recorded race."""
    owned: bool = True
    """Whether the key is the owner's, who may also pause, step, resume and stop the run, take its
    adapters and race on its own file again."""


def new_key() -> str:
    """Return an owner's key: 128 random bits."""
    return secrets.token_urlsafe(16)


def reading_key(key: str) -> str:
    """Return the key that opens an owner's run for reading.

    >>> reading_key("a" * 22)
    'mnZUaxxlNYv1j6uRk0wNjQ'
    """
    return _derived(key, b"read", 16)


def public_name(key: str) -> str:
    """Return the name of an owner's run in charts and files."""
    return _derived(key, b"name", 9)


def _derived(key: str, use: bytes, size: int) -> str:
    digest = blake2b(key.encode(), digest_size=size, person=use).digest()
    return urlsafe_b64encode(digest).decode().rstrip("=")
