"""What a visitor opens on the Race page before a card is seen."""

import json
from typing import Any

from playwright.sync_api import Page, expect
from support.served import Visitor


def tab(page: Page, title: str) -> None:
    """Open a tab, such as Gradients."""
    page.get_by_role("tab", name=title, exact=True).click()


def press(page: Page, button: str) -> None:
    """Press a button of the bar while a race is on, at once.

    Playwright's own click first waits for two frames in which nothing moves, for seconds on a busy machine: a visitor
    does not, and a short race would be over.
    """
    expect(page.locator(button)).to_be_enabled()
    page.locator(button).dispatch_event("click")


def on_the_server(page: Page, address: str) -> dict[str, Any]:
    """Return the run that a page shows as the server has it: its set-up, steps and state."""
    run = page.evaluate("sessionStorage.getItem('olora-viz-run')")
    return json.loads(Visitor(address, "looks").ask("taken", [run, "json"])["text"])
