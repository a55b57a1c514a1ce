"""Claims of papers, each a file of this folder: what decides it, and the verdict on it.

>>> list(CLAIMS)[:3]
['subset', 'depth', 'landscape']
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from olora_viz.machine.tables import Catalogue
from olora_viz.studies.claims.claim import Claim

_FILES = [import_module(f"{__name__}.{file.name}") for file in pkgutil.iter_modules(__path__)]
_ALL: list[Claim] = [file.CLAIM for file in _FILES if hasattr(file, "CLAIM")]

CLAIMS: Catalogue[Claim] = Catalogue(
    "claim", sorted(_ALL, key=lambda claim: claim.number), ("name", "sentence", "source", "measured"), "sentence"
)
"""All claims by name, in their order.

Examples:
    >>> import olora_viz as ov
    >>> print(ov.CLAIMS["subset"].sentence)
    The singular values of Q_rR_r are a subset of those of W.
    >>> list(ov.CLAIMS)[:3]
    ['subset', 'depth', 'landscape']
"""
