"""Many visitors at once: all finish, each sees its own race alone, and memory comes back."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.served import Server, Visitor, inherited, serve

from olora_viz.web.guard.limits import Limits

VISITORS, FIT = 6, 20
"""Visitors who race at once here, and how many must fit; a campaign of `reliability` has them all.
"""
MOST_MIB = 150
"""What the server may hold more after their races than after the first two, in MiB: less than
the Python objects of two loaded models would take, were they kept for each."""

LANES = [{"init": "olora", "r": 2, "alpha": "", "lr": "1e-3", "seed": 0}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment = inherited() | {"OLORA_VIZ_MODELS": "glassllm", "OLORA_VIZ_KEEP_RACES": "4"}
    with serve(tmp_path_factory.mktemp("visited"), environment) as running:
        yield running
        assert running.process.poll() is None


def visit(server: Server, number: int) -> tuple[Visitor, str, dict]:
    """Race three steps with a seed of one's own, and wait for the end."""
    visitor = Visitor(server.url, f"visitor{number}")
    job = visitor.race(steps=3, lanes=LANES, seed=number)
    return visitor, job, visitor.finished(job)


def test_visitors_at_once_all_finish_and_nobody_sees_another_s_race(server: Server) -> None:
    first = [visit(server, 100 + k)[2] for k in range(2)]
    assert [run["summary"]["state"] for run in first] == ["finished"] * 2
    before = server.resident_mib
    with ThreadPoolExecutor(VISITORS) as pool:
        visits = list(pool.map(lambda k: visit(server, k), range(VISITORS)))
    assert len({job for _, job, _ in visits}) == VISITORS
    for number, (_, _, run) in enumerate(visits):
        assert run["summary"]["state"] == "finished"
        assert run["config"]["seed"] == number
        assert len(run["steps"]) == 3
    assert len({str(run["steps"]) for _, _, run in visits}) == VISITORS
    visit(server, 99)  # what has ended is forgotten when the next one comes
    assert server.resident_mib - before < MOST_MIB
    kept = [path for path in server.runs.iterdir() if path.is_dir()]
    assert len(kept) <= 4 + 1


def test_one_who_does_not_know_a_race_s_id_can_neither_see_nor_stop_it(server: Server) -> None:
    owner, other = Visitor(server.url, "owner"), Visitor(server.url, "other")
    job = owner.race(steps=30, lanes=LANES)
    for button in ("stop_1" if "stop_1" in other.functions else "stop", "pause", "reset"):
        fn = other.functions[button]
        other.call(button, other.payload(fn))
    for guess in (job[:-1], job.lower() + "x", "", None, 0, [job]):
        assert "problem" in other.ask("taken", [guess, "json"])
    assert owner.finished(job)["summary"]["state"] == "finished"


def elsewhere(server: Server, page: str, address: str) -> Visitor:
    """Open a page from another address, which a proxy on this machine names."""
    visitor = Visitor(server.url, page)
    visitor.client.headers["x-forwarded-for"] = address
    opened = visitor.functions["opened"]
    visitor.call("opened", visitor.payload(opened))
    return visitor


def test_many_races_of_one_client_evict_no_race_of_another(server: Server) -> None:
    owner = elsewhere(server, "owner of one", "203.0.113.1")
    job = owner.race(steps=1, lanes=LANES)
    run = owner.finished(job)
    client = elsewhere(server, "client", "203.0.113.2")
    for number in range(6):
        client.visit = f"client {number}"
        client.finished(client.race(steps=1, lanes=LANES))
    assert owner.finished(job)["steps"] == run["steps"]


@pytest.mark.nightly
def test_forty_pages_of_one_client_leave_places_and_the_next_turn_to_others(server: Server) -> None:
    limits = Limits()
    assert limits.address_waiting >= FIT
    client = elsewhere(server, "client", "203.0.113.3")
    said = []
    for number in range(40):
        client.visit = f"many {number}"
        client.call("opened", client.payload(client.functions["opened"]))
        said.append(client.race(steps=200, lanes=LANES, seed=number))  # equal races would be one
    refused = [words for words in said if "from your network are already waiting" in words]
    assert f"{limits.address_waiting} races from your network" in refused[-1]
    assert len(refused) >= 40 - limits.address_waiting - 10
    other = elsewhere(server, "other", "203.0.113.4")
    run = other.finished(other.race(steps=3, lanes=LANES))
    assert run["summary"]["state"] == "finished"
    waiting = [job for job in said if job not in refused]
    begun = [job for job in waiting if "text" in client.ask("taken", [job, "csv"])]
    left = [job for job in begun if len(client.ask("taken", [job, "csv"])["text"].split()) < 20]
    assert len(left) > limits.address_waiting / 2, "the other did not wait for all of the client's"


def test_a_full_queue_answers_with_a_sentence_and_twenty_fit(server: Server) -> None:
    room = Limits().max_waiting
    assert room >= FIT
    said = []
    visitor = elsewhere(server, "many", "198.51.100.0")
    for number in range(room + 2):
        visitor.visit = f"many {number}"
        visitor.client.headers["x-forwarded-for"] = f"198.51.100.{number}"
        visitor.call("opened", visitor.payload(visitor.functions["opened"]))
        said.append(visitor.race(steps=2000, lanes=LANES, seed=number))
    assert f"{room} races are already waiting, the maximum on this server" in said[-1]
    assert len([words for words in said if "races wait" in words]) <= 2
