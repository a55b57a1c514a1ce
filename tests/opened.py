"""What a visitor opens on the Race page before a card is seen."""

from playwright.sync_api import Page


def tab(page: Page, title: str) -> None:
    """Open a tab, such as Gradients."""
    page.get_by_role("tab", name=title, exact=True).click()
