"""No barrier on any page, in light and in dark: axe-core in a real Chromium."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, expect

from olora_viz.web.page import PAGES

SET_UP = "steps=2&batch=4&eval_size=8&lane=olora:lr=1e-3,r=4&lane=lora:lr=1e-3,r=4"
"""A race of two lanes has one of every part; axe would look at each part of more of them."""


def violations(page: Page, rules: dict[str, object]) -> list[str]:
    """Return what axe finds on every page, in words."""
    found = []
    for name in PAGES:
        page.evaluate("(name) => { location.hash = name; }", name)
        page.wait_for_function("(name) => document.documentElement.dataset.page === name", arg=name)
        page.wait_for_timeout(300)  # charts are drawn in the next frames
        result = Axe().run(page, options={"resultTypes": ["violations"], **rules})
        found += [
            f"{name}: {wrong['id']} ({wrong['impact']}): "
            + "; ".join(f"{node['target']} {node['html'][:150]}" for node in wrong["nodes"][:6])
            for wrong in result.response["violations"]
        ]
    return found


def test_no_page_has_a_violation_in_light_and_its_colours_none_in_dark(context: BrowserContext, address: str) -> None:
    page = context.new_page()
    page.emulate_media(color_scheme="light")
    page.goto(f"{address}/?{SET_UP}&start=1")
    expect(page.locator("#status .state")).to_have_text("finished")
    expect(page.locator("#adapters button").first).to_be_visible()
    found = violations(page, {})
    page.evaluate("document.body.classList.add('dark')")
    page.wait_for_timeout(600)  # the charts take the other palette, and buttons fade into theirs
    found += [f"dark {one}" for one in violations(page, {"runOnly": ["color-contrast"]})]
    assert not found, "\n".join(found)
