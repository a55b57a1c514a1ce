"""Shapes in signatures are checked in every test; tests use one thread a core at most."""

import os

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from jaxtyping import install_import_hook

install_import_hook("olora_viz", "checked.check")
