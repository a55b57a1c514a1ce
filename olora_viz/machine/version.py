"""The version of this package, which is the same whether it is installed or only lies there."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import version

__version__ = "0.1.0"
"""The version of this package.

Examples:
    >>> from packaging.version import Version
    >>> import olora_viz as ov
    >>> Version(ov.__version__) >= Version("0.1")
    True
"""


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python, of this package and of installed packages, by name.

    >>> list(versions("torch"))
    ['Python', 'olora_viz', 'torch']
    """
    others = {name: _version(name) for name in packages}
    return {"Python": platform.python_version(), "olora_viz": __version__} | others


@cache
def _version(package: str) -> str:
    return version(package)
