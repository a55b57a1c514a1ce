"""Measurements as the Conditioning page asks for them."""

import html
import re

from olora_viz.races.config import RaceConfig
from olora_viz.web.guard.config import checked_config
from olora_viz.web.guard.limits import Limits

ROWS = [
    {"init": init, "r": 4, "alpha": alpha, "lr": lr, "seed": 0}
    for init, alpha, lr in [("olora", "", "1e-3"), ("lora", "", "1e-3"), ("lora", "4", "3e-3"), ("olora", "8", "1e-3")]
]
LAYER = "model.layers.3.mlp.down_proj"


def asked(**changes: object) -> RaceConfig:
    """Return the set-up that the server makes of a page's values; some of them are others."""
    values = {"model": "glassllm", "task": "addition", "steps": 300, "batch": 3, "lanes": ROWS}
    return checked_config(Limits(), **(values | changes))


def words(markup: str) -> str:
    """Return what a reader sees of some HTML."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", markup)))
