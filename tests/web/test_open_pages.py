"""Many pages at once on Gradio's own queue: none of them stops the events of the others."""

from gradio.utils import LRUCache
from support.races import small
from support.served import Visitor, launched

from olora_viz.web import page
from olora_viz.web.jobs.queue import Jobs

OPEN = 45
"""More pages than Gradio's default number of events at once."""


def test_pages_that_only_watch_leave_room_for_the_events_of_others(jobs: Jobs) -> None:
    job = jobs.start(small(steps=50), goal=1)
    job.wait_for_pause()
    with launched(page.build(jobs=jobs)) as url:
        last = Visitor(url, "the last")
        for n in range(OPEN):
            Visitor(url, f"page {n}", last.config).follow(job.id)
        next(last.heard({last.follow(job.id): "follow"}))
        assert "paused" in last.shown["status"]


def test_a_page_that_gradio_forgot_does_not_stop_the_events_of_others(jobs: Jobs) -> None:
    demo = page.build(jobs=jobs)
    with launched(demo) as url:
        queue = demo._queue
        queue.pending_messages_per_session = LRUCache(2)
        slots, queue.active_jobs = queue.active_jobs, [[]]  # so that events wait
        pages = [Visitor(url, f"page {n}") for n in range(4)]
        for one in pages:
            one.join("go_on_2", [None])
        queue.active_jobs = slots
        last = Visitor(url, "the last")
        next(last.heard({last.follow("recorded:one-rate"): "follow"}))
        assert "recorded" in last.shown["status"]
