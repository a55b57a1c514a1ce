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


EXTRAS = {
    "charts": ("matplotlib", "pandas", "plotly", "pyarrow"),
    "hub": ("datasets", "gguf"),
    "notebook": ("anywidget", "ipywidgets"),
    "page": ("gradio", "latex2mathml", "segno"),
}
"""Packages beyond those of a race, by the extra that installs them."""


def without(missing: ModuleNotFoundError) -> str:
    """Return a sentence on a package that is not installed, and how to install it; empty if no extra has it.

    >>> without(ModuleNotFoundError(name="plotly.graph_objects"))
    'this needs plotly, which is not installed: pip install plotly, or install this package with its extra charts'
    """
    package = (missing.name or "").partition(".")[0]
    extra = next((extra for extra, packages in EXTRAS.items() if package in packages), None)
    how = f"pip install {package}, or install this package with its extra {extra}"
    return f"this needs {package}, which is not installed: {how}" if extra else ""


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
