"""What a visitor opens on the Race page before a card is seen."""

import json
from typing import Any

from playwright.sync_api import Page
from support.served import Visitor


def tab(page: Page, title: str) -> None:
    """Open a tab, such as Gradients."""
    page.get_by_role("tab", name=title, exact=True).click()


def on_the_server(page: Page, address: str) -> dict[str, Any]:
    """Return the run that a page shows as the server has it: its set-up, steps and state."""
    run = page.evaluate("sessionStorage.getItem('olora-viz-run')")
    return json.loads(Visitor(address, "looks").ask("taken", [run, "json"])["text"])
