"""Turns among visitors: nobody is lost, nobody waits for more than one piece of each other at a time."""

import threading
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archsr.app.work_queue import FairQueue, JobCancelledError, QueuedJob, Worker

VISITORS = st.lists(st.sampled_from("abcd"), max_size=30)


def nothing(job):
    return job


def filled(visitors):
    queue, jobs = FairQueue(), []
    for visitor in visitors:
        jobs.append(QueuedJob(visitor, nothing))
        queue.put(jobs[-1])
    return queue, jobs


@given(VISITORS)
def test_every_job_is_taken_once_and_each_visitors_own_stay_in_order(visitors):
    queue, jobs = filled(visitors)
    taken = []
    while (job := queue.take()) is not None:
        taken.append(job)
    assert Counter(map(id, taken)) == Counter(map(id, jobs))
    for visitor in set(visitors):
        assert [j for j in taken if j.visitor == visitor] == [j for j in jobs if j.visitor == visitor]


@given(VISITORS)
def test_between_two_turns_of_one_visitor_each_other_has_at_most_one(visitors):
    queue, _ = filled(visitors)
    order = []
    while (job := queue.take()) is not None:
        order.append(job.visitor)
    for visitor in set(order):
        places = [n for n, who in enumerate(order) if who == visitor]
        for first, second in pairwise(places):
            between = order[first + 1 : second]
            assert len(between) == len(set(between))


@given(VISITORS, st.data())
def test_the_place_that_is_told_is_the_place_that_comes(visitors, data):
    queue, jobs = filled(visitors)
    for _ in range(data.draw(st.integers(0, len(jobs)))):
        queue.take()
    expected = {id(job): queue.jobs_ahead(job) for job in jobs}
    order = []
    while (job := queue.take()) is not None:
        order.append(job)
    for place, job in enumerate(order):
        assert expected[id(job)] == place


@given(VISITORS.filter(bool), st.data())
def test_what_is_dropped_is_gone_and_nothing_else(visitors, data):
    queue, jobs = filled(visitors)
    gone = data.draw(st.sampled_from(jobs))
    queue.remove(gone)
    left = []
    while (job := queue.take()) is not None:
        left.append(job)
    assert sorted(map(id, left)) == sorted(id(j) for j in jobs if j is not gone)


def test_one_at_a_time_and_every_outcome_arrives():
    worker, running, most = Worker(), [], []

    def work(job):
        running.append(job)
        most.append(len(running))
        running.remove(job)
        if job.visitor == "b":
            raise ValueError("b's own fault")
        return job.visitor

    jobs = [worker.submit(v, work) for v in "abcabc"]
    assert [j.future.result(10) for j in jobs if j.visitor != "b"] == ["a", "c", "a", "c"]
    with pytest.raises(ValueError, match="own fault"):
        jobs[1].future.result(10)
    assert set(most) == {1}
    worker.close()


def test_who_gives_up_ends_at_the_next_report_and_the_next_is_served():
    worker, begun = Worker(), threading.Event()

    def endless(job):
        begun.set()
        while True:
            job.report(0.5)

    first, second, third = (worker.submit(v, run) for v, run in (("a", endless), ("b", nothing), ("c", nothing)))
    assert begun.wait(10)
    assert (worker.jobs_ahead(first), worker.jobs_ahead(second), worker.jobs_ahead(third)) == (0, 1, 2)
    worker.cancel(second)
    assert worker.jobs_ahead(third) == 1
    worker.cancel(first)
    assert third.future.result(10) is third
    with pytest.raises(JobCancelledError):
        first.future.result(10)
    assert second.future.cancelled()
    worker.close()


def test_closing_ends_what_runs_and_what_waits():
    worker, begun = Worker(), threading.Event()

    def endless(job):
        begun.set()
        while True:
            job.report(0.5)

    jobs = [worker.submit("a", endless), worker.submit("a", nothing)]
    assert begun.wait(10)
    worker.close()
    assert isinstance(jobs[0].future.exception(0), JobCancelledError)
    assert jobs[1].future.cancelled()
