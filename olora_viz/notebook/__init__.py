"""Panels for notebooks: the charts and controls of the page.

    from olora_viz.notebook import RacePanel
    panel = RacePanel()
    panel

Each panel is one widget, which runs wherever anywidget does, in Jupyter or in marimo. Its traits
can be observed and linked. Training runs in a thread, so the cell returns at once.
`panel.steps` is a table of the measurements so far, and `panel.result()` waits for the trained
lanes. In a saved notebook, a picture below each panel shows its last state to readers without a
kernel.
"""

try:
    import anywidget  # noqa: F401
    import ipywidgets  # noqa: F401
except ImportError as missing:
    raise ImportError(
        f"the notebook panels need {missing.name}, which is not installed here: pip install anywidget ipywidgets"
    ) from None

from olora_viz.notebook.conditioning_panel import ConditioningPanel
from olora_viz.notebook.decide_panel import DecidePanel
from olora_viz.notebook.race_panel import RacePanel
from olora_viz.notebook.spectrum_panel import SpectrumPanel

__all__ = ["ConditioningPanel", "DecidePanel", "RacePanel", "SpectrumPanel"]
