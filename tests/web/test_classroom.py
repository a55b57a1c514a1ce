"""Classes: what a class of 25 bets and answers is counted, never mixed, limited, and gone at its end."""

import asyncio
import random
from collections import Counter
from functools import partial
from itertools import pairwise

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from olora_viz.initializers import INITIALIZERS
from olora_viz.lanes.lane import Lane
from olora_viz.learn.lessons import LESSONS
from olora_viz.views.bet import Question, question_of
from olora_viz.web.classroom import routes as addresses
from olora_viz.web.classroom import votes as rules
from olora_viz.web.classroom.routes import LONGEST_MESSAGE, routes
from olora_viz.web.classroom.votes import Classrooms, NotOpenError, ballot_of
from olora_viz.web.guard.limits import Limits, Visitor
from olora_viz.web.race.arrival import read

BET = "lora,olora 1e-3 60"
TEACHER = "t" * 32


def member(n: int) -> str:
    return f"{n:032d}"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def opened(*names: str) -> Classrooms:
    rooms = Classrooms(Clock())
    for name in names:
        assert rooms.open(name, TEACHER)
    return rooms


def test_the_last_bets_and_the_first_answers_of_25_are_counted_and_two_classes_never_mix() -> None:
    rng, rooms = random.Random(0), opened("ours", "theirs")
    last: dict[tuple[str, int], str] = {}
    first: dict[tuple[str, int], str] = {}
    for _ in range(150):
        name, n = rng.choice(["ours", "Theirs"]), rng.randrange(25)
        bet, answer = rng.choice(list(ballot_of(BET).options)), rng.choice("ABC")
        assert rooms.vote(name, member(n), BET, bet) == rooms.tally(name, BET)
        rooms.vote(name, member(n), "qr", answer)
        last[name.lower(), n] = bet
        first.setdefault((name.lower(), n), answer)
    for name in ("ours", "theirs"):
        for question, counted in ((BET, last), ("qr", first)):
            assert rooms.tally(name, question).counts == Counter(v for (room, _), v in counted.items() if room == name)


def test_a_version_changes_exactly_when_a_count_does() -> None:
    rooms, seen = opened("ours"), []
    for choice in ("olora", "olora", "lora", "nobody", "nobody"):
        tally = rooms.vote("ours", member(0), BET, choice)
        seen.append((tally.counts, tally.version))
    counts, versions = zip(*seen, strict=True)
    assert [a == b for a, b in pairwise(counts)] == [a == b for a, b in pairwise(versions)]


@pytest.mark.parametrize("rate", [1e-3, 2.5e-4, 0.5, 0.0012345])
def test_every_question_that_a_race_asks_can_be_voted_on(rate: float) -> None:
    asked = question_of([Lane(init, lr=rate) for init in INITIALIZERS if not INITIALIZERS[init].needs], 60)
    assert asked is not None
    assert Question.of_key(asked.key).key == asked.key
    assert set(asked.starts) < set(ballot_of(asked.key).options)


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        ({"name": "1"}, "name of 3 to 24"),
        ({"name": "a" * 25}, "name of 3 to 24"),
        ({"name": "ours<b>"}, "name of 3 to 24"),
        ({"name": None}, "name of 3 to 24"),
        ({"name": "others"}, "no class 'others' is open"),
        ({"member": "me"}, "random number of 16 to 40"),
        ({"member": ["x"] * 20}, "random number of 16 to 40"),
        ({"of": "one-rates"}, "unknown lesson 'one-rates'; did you mean 'one-rate'"),
        ({"of": None}, "unknown lesson 'None'"),
        ({"of": "lora,olorra 1e-3 60"}, "unknown initialization 'olorra'"),
        ({"of": "lora,lora 1e-3 60"}, "two or more different starts"),
        ({"of": "lora,olora 0.001 60"}, "a rate written as 1e-3"),
        ({"of": "lora,olora e 60"}, "a rate written as 1e-3"),
        ({"of": "lora,olora 1e-3 0"}, "a bet names starts, a rate and steps"),
        ({"of": "lora,olora 1e-3 60\n"}, "a bet names starts, a rate and steps"),
        ({"choice": "pissa"}, "unknown answer 'pissa'"),
        ({"choice": {"olora": 1}}, "unknown answer"),
        ({"of": "qr", "choice": "D"}, "unknown answer 'D'; choose from A, B, C"),
    ],
)
def test_what_is_no_vote_is_refused_in_a_sentence_and_changes_nothing(sent: dict, sentence: str) -> None:
    rooms = opened("ours")
    vote = {"name": "ours", "member": member(0), "of": BET, "choice": "olora"} | sent
    with pytest.raises(ValueError, match=sentence):
        rooms.vote(**vote)
    assert rooms.tally("ours", BET).counts == {}


def test_a_class_belongs_to_the_browser_that_opened_it_and_is_gone_at_its_end() -> None:
    clock = Clock()
    rooms = Classrooms(clock)
    assert rooms.open("ours", TEACHER, "lesson=qr#learn")
    assert not rooms.open("ours", member(0), "lesson=cost#learn")
    assert rooms.link("ours") == "lesson=qr#learn"
    rooms.vote("ours", member(0), BET, "olora")
    with pytest.raises(ValueError, match="belongs to the browser that has opened it"):
        rooms.end("ours", member(0))
    rooms.end("ours", TEACHER)
    for reopened in (False, True):
        with pytest.raises(NotOpenError, match="no class 'ours' is open here"):
            rooms.vote("ours", member(0), BET, "olora")
        assert rooms.open("ours", TEACHER)
        assert rooms.tally("ours", BET).counts == {}
        clock.now += rules.HOURS * 3600 * (not reopened)


def at(address: str) -> Visitor:
    return Visitor(address=address)


def is_open(rooms: Classrooms, name: str) -> bool:
    try:
        rooms.link(name)
    except NotOpenError:
        return False
    return True


def test_an_address_has_a_few_classes_and_those_in_use_are_nobody_s_but_theirs() -> None:
    clock = Clock()
    rooms = Classrooms(clock)
    for n in range(rules.ADDRESS_CLASSES):
        rooms.open(f"ours-{n}", TEACHER, owner=at("ours"))
    with pytest.raises(ValueError, match=f"^{rules.ADDRESS_CLASSES} classes are the most of one address"):
        rooms.open("one-more", TEACHER, owner=at("ours"))
    clock.now += rules.IDLE
    for n in range(1, rules.ADDRESS_CLASSES):
        rooms.tally(f"ours-{n}", "qr")  # a page looks at it
    assert rooms.open("one-more", TEACHER, owner=at("ours"))
    assert not is_open(rooms, "ours-0"), "it was idle"
    for n in range(rules.MOST_CLASSES - rules.ADDRESS_CLASSES):
        rooms.open(f"theirs-{n}", TEACHER, owner=at(f"{n}"))
    with pytest.raises(ValueError, match=f"^{rules.ADDRESS_CLASSES} classes are the most of one address"):
        rooms.open("another", TEACHER, owner=at("ours"))
    assert sum(is_open(rooms, f"theirs-{n}") for n in range(rules.MOST_CLASSES)) == 32


def test_few_addresses_cannot_hold_all_classes_and_each_address_may_have_as_many_as_any_other() -> None:
    clock = Clock()
    rooms = Classrooms(clock)
    for n in range(rules.MOST_CLASSES):
        rooms.open(f"held-{n}", TEACHER, owner=at(f"{n // rules.ADDRESS_CLASSES}"))
    most, held = rules.MOST_CLASSES, rules.MOST_CLASSES // rules.ADDRESS_CLASSES
    for n in range(most - held):
        clock.now += 60
        for k in range(most):
            if is_open(rooms, f"held-{k}"):  # and so it is in use, as a script can have it
                rooms.vote(f"held-{k}", member(k), BET, "olora")
        rooms.open(f"class-{n}", TEACHER, owner=at(f"school {n}"))
        for k in range(n):
            rooms.tally(f"class-{k}", "qr")
    with pytest.raises(ValueError, match=f"^{most} classes are the most at once: end one, or try again later"):
        rooms.open("too-late", TEACHER, owner=at("late"))
    assert all(is_open(rooms, f"class-{n}") for n in range(most - held)), "no class gave way to what has as many"
    clock.now += rules.IDLE
    assert rooms.open("too-late", TEACHER, owner=at("late"))


def test_one_browser_cannot_fill_a_class_nor_push_out_whom_another_address_has_there() -> None:
    clock = Clock()
    rooms = Classrooms(clock)
    rooms.open("ours", TEACHER, owner=at("school"))
    for n in range(40):  # a class behind one address
        rooms.vote("ours", member(n), BET, "lora", at("school"))
    for minute in range(10, 20):
        clock.now += 61
        for n in range(rules.NEW_MEMBERS):
            rooms.vote("ours", member(1000 * minute + n), BET, "olora", at("one browser"))
        with pytest.raises(ValueError, match=f"^{rules.NEW_MEMBERS} new members of classes a minute are the most"):
            rooms.vote("ours", member(999), BET, "olora", at("one browser"))
        rooms.vote("ours", member(0), "qr", "A", at("one browser"))
    assert rooms.tally("ours", BET).counts == {"lora": 40, "olora": rules.MOST_MEMBERS - 40}
    for n in range(40, 80):
        rooms.vote("ours", member(n), BET, "lora", at("school"))
    assert rooms.tally("ours", BET).counts == {"lora": 80, "olora": rules.MOST_MEMBERS - 80}
    assert rooms.tally("ours", "qr").counts == {"A": 1}, "whoever is in it already is not new"


def test_of_one_address_alone_whoever_voted_the_longest_ago_gives_way_to_a_new_member() -> None:
    clock = Clock()
    rooms = Classrooms(clock)
    rooms.open("ours", TEACHER)
    for n in range(rules.MOST_MEMBERS + 1):
        clock.now += 1
        rooms.vote("ours", member(n), BET, "olora" if n else "lora", at("school"))
    assert rooms.tally("ours", BET).counts == {"olora": rules.MOST_MEMBERS}


def test_a_member_s_votes_push_out_that_member_s_alone_and_nothing_is_left_of_them() -> None:
    rooms = opened("ours")
    rooms.vote("ours", member(1), BET, "lora")
    bets = [f"lora,olora 1e-3 {steps}" for steps in range(100, 100 + 2 * rules.MOST_QUESTIONS)]
    for of in (BET, *bets):
        rooms.vote("ours", member(0), of, "olora")
    assert rooms.tally("ours", BET).counts == {"lora": 1}
    assert [of for of in bets if rooms.tally("ours", of).counts] == bets[-rules.MOST_QUESTIONS :]
    assert bets[0] not in repr(rooms._open["ours"])
    with pytest.raises(ValueError, match="at most 2,000 characters"):
        rooms.open("ours", TEACHER, "x" * 2001)


def test_the_teacher_can_clear_the_votes_and_the_class_goes_on() -> None:
    rooms = opened("ours")
    for of, choice in ((BET, "olora"), ("qr", "A")):
        rooms.vote("ours", member(0), of, choice)
    with pytest.raises(ValueError, match="belongs to the browser that has opened it"):
        rooms.clear("ours", member(0))
    assert rooms.tally("ours", BET).counts == {"olora": 1}
    before = rooms.tally("ours", "qr").version
    rooms.clear("ours", TEACHER)
    assert rooms.tally("ours", BET).counts == rooms.tally("ours", "qr").counts == {}
    assert rooms.tally("ours", "qr").version != before, "the pages hear of it"
    assert rooms.vote("ours", member(0), "qr", "B").counts == {"B": 1}


@pytest.fixture(scope="module")
def client() -> TestClient:
    pages = ("race", "learn")
    return TestClient(Starlette(routes=routes(partial(read, Limits()), pages)), follow_redirects=False)


def test_25_clients_bet_over_http_and_only_what_is_new_is_sent(client: TestClient) -> None:
    opens = {"do": "open", "member": TEACHER, "link": "?task=addition&class=ours&projector=1&lane=olora:lr=1e-3,r=4"}
    assert client.post("/class/ours", json=opens | {"page": "race"}).json() == {"teacher": True}
    for n in range(25):
        choice = "olora" if n < 14 else "lora"
        answer = client.post("/class/ours", json={"do": "vote", "member": member(n), "of": BET, "choice": choice})
        assert answer.status_code == 200
    shown = client.get("/class/ours", params={"of": BET, "since": ""}).json()
    assert "14 bet on OLoRA, 11 on LoRA." in shown["html"]
    again = client.get("/class/ours", params={"of": BET, "since": shown["version"]})
    assert (again.status_code, again.content) == (204, b"")
    assert client.get("/class/ours").status_code == 204
    asked = client.get("/class/ours", params={"of": "cost", "since": ""}).json()
    assert "Nobody yet." in asked["html"]
    joined = client.get("/c/OURS")
    assert joined.status_code == 307
    assert joined.headers["location"] == "../?class=ours&task=addition&lane=olora:lr=1e-3,r=4#race"


def test_a_class_follows_the_race_on_its_teachers_screen_and_hears_of_another_one(client: TestClient) -> None:
    opens = {"do": "open", "member": TEACHER, "link": "", "page": "race"}
    client.post("/class/follows", json=opens | {"run": "first-race"})
    assert client.get("/class/follows").json() == {"run": "first-race"}
    assert client.get("/class/follows", params={"run": "first-race"}).status_code == 204
    client.post("/class/follows", json=opens | {"member": member(1), "run": "mine"})  # not the teacher's browser
    assert client.get("/class/follows", params={"run": "first-race"}).status_code == 204
    client.post("/class/follows", json=opens | {"run": "second"})
    assert client.get("/class/follows", params={"run": "first-race"}).json() == {"run": "second"}


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"x" * (LONGEST_MESSAGE + 1), "at most 8,192 bytes"),
        (b"[" * LONGEST_MESSAGE, "an object in JSON"),
        (b"[]", "an object in JSON"),
        (b"\xff", "an object in JSON"),
        (b'{"do": "delete"}', "open, vote, clear or end, not 'delete'"),
        (b'{"do": "open", "member": "%b", "link": "steps=-3"}' % TEACHER.encode(), "steps"),
        (b'{"do": "open", "member": "%b", "link": "", "run": "../x"}' % TEACHER.encode(), "by the key of its readers"),
        (b'{"do": "end", "member": 3}', "belongs to the browser that has opened it"),
        (b'{"do": "clear", "member": 3}', "belongs to the browser that has opened it"),
    ],
)
def test_what_no_page_sends_gets_a_sentence(client: TestClient, body: bytes, sentence: str) -> None:
    client.post("/class/ours", json={"do": "open", "member": TEACHER, "link": "", "page": "nowhere"})
    answer = client.post("/class/ours", content=body)
    assert answer.status_code == 400
    assert sentence in answer.json()["problem"]


def test_addresses_that_lead_nowhere_say_so(client: TestClient) -> None:
    assert client.get("/c/others").status_code == 404
    gone = client.get("/c/others<b>")
    assert "A class has a name of" in gone.text
    assert "<b>" not in gone.text
    assert "<p>No class &#39;others&#39; is open here" in client.get("/c/others").text
    for at in ("", "javascript:alert(1)", "http://a b", "http://x/\n", "http://" + "x" * 300):
        assert client.get("/qr", params={"at": at}).status_code == 400
    for at in ("http://a/c/others", "http://a/others"):
        assert client.get("/qr", params={"at": at}).status_code in (400, 404), "a QR code is of an open class"
    client.post("/class/ours", json={"do": "open", "member": TEACHER, "link": "", "page": "race"})
    assert client.get("/qr", params={"at": "http://a/c/ours"}).headers["content-type"] == "image/svg+xml"


def test_a_qr_code_is_not_drawn_by_the_thread_that_serves_all_pages(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.post("/class/ours", json={"do": "open", "member": TEACHER, "link": "", "page": "race"})
    drew: list[bool] = []

    def drawn(_: str) -> bytes:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            drew.append(True)
        return b""

    monkeypatch.setattr(addresses, "qr_code", drawn)
    assert client.get("/qr", params={"at": "http://a/c/ours"}).status_code == 200
    assert drew == [True]


def test_that_a_class_is_not_open_is_an_answer_to_its_pages_and_no_error(client: TestClient) -> None:
    client.post("/class/brief", json={"do": "open", "member": TEACHER, "link": "", "page": "race"})
    assert client.post("/class/brief", json={"do": "end", "member": TEACHER}).json() == {}
    vote = {"do": "vote", "member": member(0), "of": BET, "choice": "olora"}
    for answer in (client.get("/class/brief"), client.post("/class/brief", json=vote)):
        assert answer.status_code == 200
        assert answer.json()["ended"]
        assert "no class 'brief' is open here" in answer.json()["problem"]


def test_a_question_of_every_lesson_can_be_answered() -> None:
    for name, lesson in LESSONS.items():
        assert list(ballot_of(name).options) == list(lesson.lettered)
