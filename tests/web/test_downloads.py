"""Of what a run leaves on the server, finished downloads alone are served, for a while."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import pytest
from support.queued import asked, wait
from support.served import Visitor, launched

from olora_viz.background.race import BackgroundRace
from olora_viz.lanes.lane import Lane
from olora_viz.races.run import load_run
from olora_viz.web import page
from olora_viz.web.guard.limits import Limits
from olora_viz.web.guard.visitor_files import DOWNLOADS, EXPIRED, Downloads
from olora_viz.web.jobs.job import own_folder, readers_key, record_of
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts.export import ALL_LANES, adapter_zip, find

ROWS = "prompt,answer\n" + "".join(f"{n} and one is,{n + 1}\n" for n in range(12))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served") / "jobs"


@pytest.fixture(scope="module")
def jobs(folder: Path) -> Iterator[Jobs]:
    made = Jobs(folder=folder)
    yield made
    made.close()


@pytest.fixture(scope="module")
def job(jobs: Jobs, tmp_path_factory: pytest.TempPathFactory) -> BackgroundRace:
    """A race on a visitor's own file."""
    own = tmp_path_factory.mktemp("own") / "your-file.csv"
    own.write_text(ROWS, "utf-8")
    return wait(jobs.start(replace(asked(steps=1), task=str(own))))


@pytest.fixture(scope="module")
def visitor(jobs: Jobs) -> Iterator[Visitor]:
    with launched(page.build(Limits(), jobs)) as url:
        yield Visitor(url, "one")


def test_nothing_of_a_run_is_served_to_one_who_knows_where_it_is(
    visitor: Visitor, jobs: Jobs, job: BackgroundRace
) -> None:
    visitor.ask("adapter", [job.id, 0])
    left = [path for path in jobs.folder.rglob("*") if path.is_file()]
    names = {path.name for path in left}
    assert {"config.json", "steps.jsonl", "your-file.csv", record_of(job.folder).name} <= names
    assert own_folder(job.folder) / "your-file.csv" in left
    assert any(name.endswith(".zip") for name in names)
    for path in left:
        for before in ("/gradio_api/file=", "/file=", "/gradio_api/file/", "/download/"):
            answer = visitor.client.get(f"{before}{path}")
            assert answer.status_code in (403, 404), (path, answer.status_code)


def test_an_adapter_comes_by_an_address_that_tells_neither_its_race_nor_its_place(
    visitor: Visitor, jobs: Jobs, job: BackgroundRace
) -> None:
    first, second = (visitor.ask("adapter", [job.id, 0]) for _ in range(2))
    assert first["url"] != second["url"]
    for found in (first, second):
        assert job.id not in str(found)
        assert str(jobs.folder) not in str(found)
        answer = visitor.client.get(found["url"])
        assert answer.status_code == 200
        assert answer.content == adapter_zip(job, 0).read_bytes()
        assert f'filename="{found["name"]}"' in answer.headers["content-disposition"]
        assert answer.headers["cache-control"] == "no-store"


def test_a_lane_with_a_base_of_its_own_says_why_it_has_no_adapter(jobs: Jobs) -> None:
    lanes = Lane("lora", r=2), Lane("pissa", r=2, start_from="residual")
    job = wait(jobs.start(replace(asked(steps=1), lanes=lanes, base="nf4")))
    assert adapter_zip(job, 0).is_file()
    with pytest.raises(ValueError, match="has a base of its own, by start_from, which no adapter holds"):
        adapter_zip(job, 1)


def test_it_comes_below_the_path_of_a_proxy(visitor: Visitor, job: BackgroundRace) -> None:
    url = visitor.ask("adapter", [job.id, 0])["url"]
    for path in (url, f"/some/path{url}"):  # proxies may remove the path, or leave it there
        answer = visitor.client.get(path, headers={"x-forwarded-prefix": "/some/path"})
        assert answer.status_code == 200


@pytest.mark.parametrize("ticket", ["", "x", "x" * 22, "..%2f..", "%00", "ä" * 5, "x" * 5000])
def test_what_is_no_ticket_gets_the_same_answer_as_an_expired_one(visitor: Visitor, ticket: str) -> None:
    answer = visitor.client.get(f"/download/{ticket}")
    assert answer.status_code == 404
    if "%2f" not in ticket and ticket:
        assert answer.text == EXPIRED


def test_an_address_expires_with_time_with_newer_ones_and_with_its_file(tmp_path: Path) -> None:
    file = tmp_path / "a.zip"
    file.write_bytes(b"PK")

    def ticket(downloads: Downloads) -> str:
        return downloads.offer(file).rpartition("/")[2]

    brief = Downloads(seconds=0)
    assert brief.find(ticket(brief)) is None
    few = Downloads(most=2)
    old, *new = (ticket(few) for _ in range(3))
    assert [few.find(one) for one in (old, *new)] == [None, file, file]
    file.unlink()
    assert few.find(new[1]) is None


def test_what_the_page_itself_needs_is_served(visitor: Visitor) -> None:
    urls = set(re.findall(r"/gradio_api/file=[^\"?]+\.js", visitor.client.get("/config").text))
    assert {"plotly.min.js", "figure"} <= {url.rpartition("/")[2].partition("-")[0] for url in urls}
    for url in urls:
        assert visitor.client.get(url).status_code == 200


def test_one_file_has_the_run_its_report_its_adapters_and_code_and_names_no_folder_of_the_server(
    jobs: Jobs, job: BackgroundRace, tmp_path: Path
) -> None:
    assert "problem" in find(jobs, [readers_key(job.id), ALL_LANES])
    offered = find(jobs, [job.id, ALL_LANES])
    packed = DOWNLOADS.find(offered["url"].rsplit("/", 1)[1])
    assert packed is not None
    with ZipFile(packed) as archive:
        archive.extractall(tmp_path)
    (folder,) = tmp_path.iterdir()
    run = load_run(folder)
    assert run.config == job.config.replace(dtype="float32")  # that of the device
    assert run.steps == load_run(job.folder).steps
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"report.html", "steps.csv", "repeat.py", "repeat-peft.py", "your-file.csv"} <= names
    for label in job.config.labels:
        assert f"adapters/{label}/adapter_model.safetensors" in names
        assert "your-file.csv" in (folder / "adapters" / label / "README.md").read_text("utf-8")
    report = (folder / "report.html").read_text("utf-8")
    assert 'data-figure="loss"' in report
    assert report.count("</script>") == 3
    for path in folder.rglob("*"):
        if path.is_file():
            text = path.read_bytes().decode("utf-8", "ignore")
            assert str(jobs.folder) not in text, path
            assert job.id not in text, path
