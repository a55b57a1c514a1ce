"""A chain in a real Chromium: refused in a sentence, raced to its end, and found again after a reload."""

import re

from playwright.sync_api import Page, expect
from support.opened import tab

RACED = 60_000
"""Milliseconds within which a small chain is raced."""


def train_again(page: Page, steps: int, then: str = "uppercase") -> None:
    """Ask for a chain of the set-up's task and an entry of the list, of so many steps each."""
    page.get_by_label("Steps", exact=True).fill(f"{steps}")
    page.get_by_label("Steps", exact=True).press("Tab")
    page.click("#chain-tasks input")
    page.get_by_role("option", name=then, exact=True).click()
    page.keyboard.press("Escape")
    page.click("#chain-button")


def test_lanes_are_trained_again_and_the_chain_is_there_after_a_reload(page: Page) -> None:
    tab(page, "Chain")
    status = page.locator("#chain-status")
    expect(status).to_contain_text("trains the lanes of the set-up")
    page.click("#chain-button")
    expect(status).to_contain_text("choose the tasks")
    train_again(page, steps=4)
    expect(status).to_contain_text("finished", timeout=RACED)
    for _ in range(2):
        words = page.locator("#chain-words")
        expect(words).to_contain_text("Lowest mean loss over all tasks at the end")
        expect(words.locator("tbody tr")).to_have_count(3)
        matrix = page.locator("#chain-figures [data-figure=chain] .js-plotly-plot")
        matrix.scroll_into_view_if_needed()
        expect(matrix).to_be_visible()
        page.reload()
        tab(page, "Chain")
        expect(status).to_contain_text("finished", timeout=RACED)
    expect(page.locator("#chain-stop-button")).to_be_disabled()


def test_the_second_link_learns_from_rewards_and_the_card_says_so(page: Page) -> None:
    tab(page, "Chain")
    train_again(page, steps=2, then="sentiment, from rewards (REINFORCE)")
    expect(page.locator("#chain-status")).to_contain_text("finished", timeout=RACED)
    learned = "link 2 learned from rewards (REINFORCE)"
    expect(page.locator("#chain-words")).to_contain_text(learned)
    figures = page.locator("#chain-figures [data-figure]")
    expect(figures).to_have_text([re.compile(re.escape(learned))] * 3)


def test_a_chain_is_stopped_and_another_one_can_be_begun(page: Page) -> None:
    tab(page, "Chain")
    train_again(page, steps=300)
    expect(page.locator("#chain-status")).to_contain_text("link 1 of 2, number-words: step", timeout=RACED)
    page.click("#chain-stop-button")
    expect(page.locator("#chain-status")).to_contain_text("stopped")
    expect(page.locator("#chain-button")).to_be_enabled()
