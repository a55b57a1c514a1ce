"""A server is killed in the middle of a race and started again: its visitors find their runs."""

from pathlib import Path

from playwright.sync_api import Browser, Error, Page, Route, expect
from support.opened import tab
from support.served import free_port, inherited, serve
from support.shared import at_workbench

STEPS = 80
"""Of which some are left when the server is killed, however late that is."""

SETUP = "?task=addition&batch=32&steps={}&lane=lora:lr=1e-3,r=2"


def state(page: Page, word: str) -> None:
    expect(page.locator("#status .state")).to_have_text(word)


def reload(page: Page) -> None:
    """Reload a page, unless Gradio's client, which found its server again, just does it."""
    try:
        page.reload()
    except Error as error:
        if "ERR_ABORTED" not in str(error):
            raise
        page.wait_for_load_state()


def test_two_tabs_find_their_runs_after_the_server_was_killed(browser: Browser, tmp_path: Path) -> None:
    port, environment = free_port(), inherited()
    context = at_workbench(browser.new_context(viewport={"width": 1440, "height": 900}))
    ended, going = context.new_page(), context.new_page()
    with serve(tmp_path, environment, port=port) as server:
        # Race is pressed while the server still looks what the page is to show.
        late: list[Route] = []
        ended.route("**/run/predict*", lambda route: late.append(route), times=1)
        ended.goto(server.url + SETUP.format(3))
        ended.click("#race-button")
        while not late:
            ended.wait_for_timeout(50)
        late.pop().continue_()
        state(ended, "finished")
        going.goto(server.url + SETUP.format(STEPS))
        state(going, "ready")
        going.click("#race-button")
        going.wait_for_function("Number(document.querySelector('#status b')?.innerText) > 5")
        server.process.kill()
        server.process.wait()
    with serve(tmp_path, environment, port=port) as server:
        reload(going)
        state(going, "paused")
        expect(going.locator("#status")).to_contain_text("the server was restarted")
        assert 5 < int(going.locator("#status b").inner_text()) < STEPS
        reload(ended)
        state(ended, "finished")
        expect(ended.locator("#status")).to_contain_text("3 / 3")
        expect(ended.locator("#adapters button")).to_have_count(1)
        for page in (going, ended):
            expect(page.locator("#shelf li")).to_have_count(2)
            expect(page.locator("#shelf li").nth(0)).to_contain_text("steps")
        tab(going, "Earlier runs")
        with context.expect_page() as opened:
            going.locator("#shelf li").nth(1).get_by_role("link").click()
        other = opened.value
        state(other, "finished")
        expect(other.locator("#status")).to_contain_text("3 / 3")
        assert "run=" not in other.url
        going.click("#race-button")
        state(going, "finished")
        expect(going.locator("#status")).to_contain_text(f"{STEPS} / {STEPS}")
    context.close()
