"""The pages: one file per page, and what they share."""

import inspect
from typing import Any

_file_of = inspect.getfile


def _without_stubs(object: Any) -> str:
    """Return an object's file, but hide those of Gradio's classes.

    Gradio writes type stubs beside its components whenever it is imported, which takes as long as all the rest of the
    import. It leaves out those whose file it does not find.
    """
    if getattr(object, "__module__", "").startswith("gradio."):
        raise OSError
    return _file_of(object)


inspect.getfile = _without_stubs
try:
    import gradio  # noqa: F401 (before any other module does)
finally:
    inspect.getfile = _file_of
