"""What a check found, as the page shows it."""

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from olora_viz.checks.check import CPU, Check, Outcome
from olora_viz.checks.run import Checking
from olora_viz.web import about
from olora_viz.web.race.controls import help_button

ROWS = (
    Check("good <b>", "A < B", lambda bench: Outcome(True, "it & all")),
    Check("bad", "it is good too", lambda bench: Outcome(False, "it is not")),
)


@pytest.fixture
def client(tmp_path, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setenv("OLORA_VIZ_CACHE", str(tmp_path))
    return TestClient(Starlette(routes=[about.route()]))


def test_a_server_that_was_never_checked_says_how(client: TestClient) -> None:
    page = client.get(about.PATH)
    assert page.status_code == 200
    assert "has not been checked yet: <code>python -m olora_viz check</code>" in page.text


def test_the_latest_check_is_shown_as_soon_as_it_has_ended_and_its_words_are_escaped(client: TestClient) -> None:
    checking = Checking(CPU, ROWS)
    list(checking.run(lambda part, words: None))
    checking.keep()
    page = client.get(about.PATH).text
    assert "on CPU 1 check holds, and bad falls short" in page
    assert "good &lt;b&gt;" in page
    assert 'it &amp; all<br><span class="hint">A &lt; B</span>' in page
    assert "FALLS SHORT" in page
    assert "UTC, with olora_viz 0.1.0 and torch" in page


def test_the_help_leads_to_it() -> None:
    assert f'<a href=".{about.PATH}" target="_blank">About this server</a>' in help_button().value
