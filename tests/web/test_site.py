"""The static pages: what they show is what the page shows, and a folder is written whole or not at all."""

import html
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from support.needs import NEEDS_JAX
from support.nightly import at_night
from support.verbs import run

import olora_viz as ov
from olora_viz.figures.live.bundle import pack
from olora_viz.learn.gallery import GALLERY
from olora_viz.learn.lessons import LESSONS
from olora_viz.learn.terms import with_terms
from olora_viz.machine.files import folder_size
from olora_viz.races import run as runs
from olora_viz.races.fields import IMITATION
from olora_viz.views.inside import inside_view
from olora_viz.views.race import race_view
from olora_viz.views.reports import RUN
from olora_viz.web.site import pages, write
from olora_viz.web.site import race as race_pages
from olora_viz.web.site.page import numbered, race_path


def over(below, above):
    """Return values with what others change of them, as the script of the pages does."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    now = dict(below)
    for key, value in above.items():
        if key.endswith("+"):
            now[key[:-1]] += value
        elif value is None:
            del now[key]
        else:
            now[key] = over(below.get(key), value)
    return now


@pytest.mark.parametrize("name", ["first", *at_night(*sorted({*GALLERY} - {"first"}))])
def test_at_every_step_a_page_shows_what_the_server_would(name: str, static_site: Path) -> None:
    race, shown = GALLERY[name], {}
    _, _, numbers = (static_site / race_path(name)).read_text("utf-8").partition('class="olora-viz-numbers">')
    frames = json.loads(numbers.partition("</script>")[0])["frames"]
    for step, frame in zip(race_pages._steps(race), frames, strict=True):
        shown = over(shown, frame)
        view = race_view(race, upto=step, run=RUN)
        texts = {name: with_terms(getattr(view, name)) for name in ("verdict", "story")}
        texts |= {name: getattr(view, name) for name in ("results", "answers")}
        texts |= {"bet-score": view.bet} if view.bet else {}
        figures = {key: numbered(pack(figure)) for key, figure in view.figures.items()}
        texts = {key: str(text) for key, text in texts.items()}
        assert {key: value for key, value in shown.items() if key != "inside"} == {
            "at": step, "texts": texts, "figures": figures,
        }  # fmt: skip
        for layer, inside in shown["inside"].items():
            assert {**inside, "lanes": list(inside["lanes"].values())} == inside_view(race, layer, step)
        assert list(shown["inside"]) == (race.inside.ends if race.inside else [])


def test_a_long_race_has_frames_of_its_evaluations_and_some_between() -> None:
    race = GALLERY["one-rate"]
    steps = list(race_pages._steps(race))
    assert steps == list(range(len(race.steps) + 1))
    longer = SimpleNamespace(steps=race.steps * 40, config=race.config)
    steps = list(race_pages._steps(longer))
    assert steps[0] == 0
    assert steps[-1] == len(longer.steps)
    assert len(steps) <= 2 * race_pages.MOST_FRAMES + 2
    many = GALLERY["rewards"]
    steps = list(race_pages._steps(many))
    assert {0, *(step.step for step in many.steps if step.eval_loss is not None), 60} <= {*steps}
    assert len(steps) * len(many.config.lanes) <= 2 * race_pages.MOST_DRAWN


@pytest.mark.parametrize("name", GALLERY)
def test_where_a_page_has_no_menus_of_lanes_and_layers_it_says_what_it_shows(name: str, static_site: Path) -> None:
    race = GALLERY[name]
    body = (static_site / race_path(name)).read_text("utf-8")
    measured = {
        "Gradients by layer": any(step.gradients is not None for step in race.steps),
        "Spectra of the adapters": any(step.update_spectra is not None for step in race.steps),
    }
    shown = [title for title, is_measured in measured.items() if is_measured]
    assert (
        re.findall(rf"<summary>([^<]*)</summary><p class=.hint.>[^<]* {re.escape(race_pages.CHOOSE)}", body) == shown
    )


class Links(HTMLParser):
    """The addresses and the ids of a page."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.ids: set[str] = set()
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for key, value in attrs:
            if key in ("href", "src") and value is not None:
                self.addresses.append(value)
            if key == "id" and value:
                self.ids.add(value)


def test_every_link_leads_somewhere_within_the_folder(static_site: Path) -> None:
    known = {page: Links(page) for page in static_site.rglob("*.html") if "docs" not in page.parts}
    assert len(known) > len(LESSONS) + len(GALLERY)
    for page, links in known.items():
        for address in links.addresses:
            parts = urlsplit(address)
            assert not parts.scheme, (page, address)
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            assert target.is_file(), (page, address)
            if parts.fragment and target in known:
                assert parts.fragment in known[target].ids, (page, address)


def test_it_is_small_and_names_no_folder_of_this_machine(static_site: Path) -> None:
    assert folder_size(static_site) < 20e6
    for page in static_site.rglob("*.html"):
        assert str(static_site.parent) not in page.read_text("utf-8"), page
    for page in (static_site / "races").glob("run*"):
        assert "mine.jsonl" in page.read_text("utf-8") or page.suffix == ".csv"


def test_a_user_s_race_and_study_have_pages_beside_the_documentation(static_site: Path) -> None:
    race = (static_site / "races" / "run.html").read_text("utf-8")
    assert "Ranking at step 4" in race
    assert (static_site / "docs" / "RESULTS.html").is_file()
    study = (static_site / "studies" / "study.html").read_text("utf-8")
    assert "Verdicts against lora" in study
    assert 'href="races/run.html"' in (static_site / "index.html").read_text("utf-8")


def test_without_a_script_a_lesson_has_all_its_words(static_site: Path) -> None:
    for name, lesson in LESSONS.items():
        text = (static_site / "learn" / f"{name}.html").read_text("utf-8")
        words = re.sub(r"<[^>]+>|\s+", " ", text)
        assert lesson.title in words
        plain = [one for one in (lesson.ask, lesson.do) if "$" not in one]
        assert all(" ".join(one.split())[:40].replace("'", "&#39;") in " ".join(words.split()) for one in plain)


@NEEDS_JAX
def test_a_lesson_s_race_can_be_raced_where_it_is_read(static_site: Path) -> None:
    linked = {}
    for name in LESSONS:
        page = (static_site / "learn" / f"{name}.html").read_text("utf-8")
        if found := re.search(r'href="\.\./index\.html\?(task=[^"]*)"', page):
            linked[name] = dict(parse_qsl(html.unescape(found[1])))
    races = {name for name, lesson in LESSONS.items() if lesson.page == "race" and lesson.recording}
    rewarded = {name for name in races if GALLERY[LESSONS[name].recording or ""].config.objective != IMITATION}
    assert rewarded == {"rewards"}, "which a browser cannot race"
    assert set(linked) == races - rewarded
    first = (static_site / "index.html").read_text("utf-8")
    for name, asked in linked.items():
        assert asked["lesson"] == f"{name}-here"
        assert f'data-guide="{name}-here"' in first
        guide = race_pages.live_guide(LESSONS[name])
        assert guide
        assert len(guide.steps) == 4
        for step in guide.steps[:-1]:
            assert re.search(f'id="{step.where}"', first) or step.where == "race-button"
        lanes = GALLERY[LESSONS[name].recording or ""].config.lanes
        assert set(asked["starts"].split(",")) == {lane.init for lane in lanes} & set(race_pages.LIVE_STARTS)
        assert (float(asked["rate"]), int(asked["rank"])) in {(lane.lr, lane.r) for lane in lanes}
        for choice in (f'<option value="{asked["task"]}"', f">{asked['steps']}</option>"):
            assert choice in first


def test_a_folder_that_is_not_empty_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = run("site", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr == f"error: the folder of the site must be new or empty: {str(tmp_path)!r} is not\n"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was left after its first step."""
    folder = tmp_path_factory.mktemp("left") / "run"
    config = ov.RaceConfig(lanes=(ov.Lane("lora"),), steps=4, batch_size=4, eval_size=8)
    next(iter(runs.start(config, folder)))
    return folder


def test_a_race_that_has_not_finished_is_one_sentence_and_nothing_is_written(unfinished: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the race in .*run' has not finished: it has 1 of 4 steps"):
        write.write_site(tmp_path / "site", [unfinished])
    assert list(tmp_path.iterdir()) == []


def test_a_study_that_has_not_finished_or_is_newer_is_one_sentence(static_site: Path, tmp_path: Path) -> None:
    study = shutil.copytree(static_site.parent / "study", tmp_path / "study")
    setup = study / "study.toml"
    setup.write_text(setup.read_text("utf-8").replace("seeds = 2", "seeds = 3"), "utf-8")
    with pytest.raises(ValueError, match=r"the study in .*study' has not finished: it has 2 lanes left to run"):
        write.write_site(tmp_path / "site", studies=[study])
    setup.write_text(re.sub(r"format = \d+", "format = 99", setup.read_text("utf-8")), "utf-8")
    with pytest.raises(ValueError, match=r"study\.toml.* has format 99"):
        write.write_site(tmp_path / "site", studies=[study])
    with pytest.raises(ValueError, match="is not the folder of a study"):
        write.write_site(tmp_path / "site", studies=[tmp_path])
    assert not (tmp_path / "site").exists()


def test_two_runs_of_one_name_have_two_addresses() -> None:
    names = [
        write._named(Path(name), [Path("a/run"), Path("b/run"), Path("first")]) for name in ("a/run", "b/run", "first")
    ]
    assert names == ["run", "run-2", "first-2"]
    assert pages.slug("/my folder/Mein Lauf!") == "Mein-Lauf"
