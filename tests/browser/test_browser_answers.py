"""The answers of lanes in a real Chromium: names can be read beside answers of any length."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser

import olora_viz
from olora_viz.figures.theme import lane_styles
from olora_viz.lanes.generation import Answer
from olora_viz.lanes.lane import Lane
from olora_viz.studies.contest import seed_groups
from olora_viz.views.html import answers

STYLES = (Path(olora_viz.__file__).parent / "figures" / "live" / "fragments.css").read_text()

COVERED = """() => [...document.querySelectorAll('.asked li')].filter((row) => {
    const [who, answer] = [row.children[0].getBoundingClientRect(), row.children[1].getBoundingClientRect()];
    const names = [...row.querySelectorAll('.who .word')].map((word) => word.getBoundingClientRect());
    const beside = answer.top < who.bottom - 1;
    return names.some((name) => name.right > (beside ? answer.left : row.getBoundingClientRect().right) + 1);
}).map((row) => row.textContent)"""


@pytest.mark.parametrize("plain_text", [False, True])
def test_no_answer_covers_the_name_of_a_lane(browser: Browser, plain_text: bool) -> None:
    lanes = [Lane(init, lr=lr) for init in ("lora", "random_orthonormal") for lr in (1e-3, 3e-3)]
    texts = ("seven", "one hundred and twenty three thousand four hundred and fifty six " * 2, "a" * 70, "")
    asked = [Answer("three and four make", texts[1], texts[1], texts, 10)]
    groups = seed_groups(lanes)
    html = answers(lane_styles(lanes), groups, range(len(groups)), asked, plain_text)
    page = browser.new_page()
    for width in (1000, 500, 350, 280):  # of the card
        page.set_content(f"<style>.card {{ width: {width}px }} {STYLES}</style><div class=card>{html}</div>")
        assert page.evaluate(COVERED) == []
        box = page.locator(".card").bounding_box()
        assert box
        assert page.evaluate("document.querySelector('.card').scrollWidth") <= box["width"]
    page.close()
