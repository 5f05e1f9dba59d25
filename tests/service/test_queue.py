from __future__ import annotations

import threading
from pathlib import Path

import pytest

from vertecast.service.options import RetryOptions
from vertecast.service.queue import INTERRUPTED, MOST_INTERRUPTIONS, State, StudyQueue, StudyRecord

UID = "1.2.3"


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(tmp_path: Path, clock: Clock) -> StudyQueue:
    return open_queue(tmp_path, clock)


def open_queue(folder: Path, clock: Clock) -> StudyQueue:
    retry = RetryOptions(first_s=10.0, longest_s=25.0, attempts=3, archive_attempts=3)
    return StudyQueue(folder / "queue.sqlite", retry=retry, clock=clock)


def receive(queue: StudyQueue, image: int = 1, *, uid: str = UID, modified_ns: int = 5) -> bool:
    return queue.received(uid, f"{uid}.{image}", size_bytes=100, modified_ns=modified_ns)


def claimed(queue: StudyQueue, *, uid: str = UID) -> StudyRecord:
    receive(queue, uid=uid)
    queue.settle(0)
    study = queue.claim()
    assert study is not None
    return study


def state(queue: StudyQueue, uid: str = UID) -> State:
    study = queue.study(uid)
    assert study is not None
    return study.state


def test_a_study_goes_all_the_way(queue: StudyQueue, clock: Clock) -> None:
    receive(queue, 1)
    receive(queue, 2)
    assert (queue.settle(60), queue.claim()) == (0, None)
    clock.now += 60
    assert queue.settle(60) == 1
    study = queue.claim()
    assert study is not None
    assert (study.state, study.images, study.source) == (State.ANALYZING, 2, "dicom")
    assert queue.claim() is None
    assert queue.analyzed(study, ["a", "b"], ["9.1"])
    waiting = queue.archives.claim("a")
    assert waiting is not None
    assert waiting.deliveries == {"a": "waiting", "b": "waiting"}
    assert queue.archives.delivered(waiting, "a")
    assert state(queue) is State.ANALYZED
    assert queue.archives.claim("a") is None
    assert queue.archives.delivered(waiting, "b")
    done = queue.study(UID)
    assert done is not None
    assert (done.state, done.deliveries) == (State.DELIVERED, {"a": "delivered", "b": "delivered"})
    assert queue.counts()[State.DELIVERED] == sum(queue.counts().values()) == 1
    assert (queue.finished_since(clock.now), queue.finished_since(clock.now + 1)) == (1, 0)


def test_without_an_archive_nothing_is_called_delivered(queue: StudyQueue) -> None:
    queue.analyzed(claimed(queue), [], [])
    assert state(queue) is State.ANALYZED


def test_each_step_is_there_for_the_next_process(queue: StudyQueue, clock: Clock, tmp_path: Path) -> None:
    receive(queue)
    assert state(open_queue(tmp_path, clock)) is State.RECEIVING
    queue.settle(0)
    assert state(open_queue(tmp_path, clock)) is State.READY
    queue.claim()
    after = open_queue(tmp_path, clock)
    after.recover()
    study = after.claim()
    assert study is not None
    after.analyzed(study, ["a"], [])
    after.recover()
    assert after.archives.claim("a") is not None


@pytest.mark.parametrize("late", ["receiving", "ready", "analyzing", "analyzed", "delivered", "failed", "skipped"])
def test_a_late_image_opens_a_study_again_wherever_it_stands(queue: StudyQueue, late: str) -> None:
    receive(queue)
    study = None
    if late != "receiving":
        queue.settle(0)
    if late not in ("receiving", "ready"):
        study = queue.claim()
        assert study is not None
    if study is not None and late in ("analyzed", "delivered"):
        queue.analyzed(study, ["a"], [])
    if study is not None and late == "delivered":
        queue.archives.delivered(study, "a")
    if study is not None and late == "skipped":
        queue.skipped(study, "nothing")
    if study is not None and late == "failed":
        for _ in range(3):
            queue.failed(study, "no")
            queue.retry(UID)
            study = queue.claim() or study
    assert receive(queue, 2)
    again = queue.study(UID)
    assert again is not None
    assert (again.state, again.images, again.attempts, again.deliveries) == (State.RECEIVING, 2, 0, {})


def test_work_on_earlier_images_is_dropped(queue: StudyQueue) -> None:
    study = claimed(queue)
    receive(queue, 2)
    assert not queue.analyzed(study, ["a"], [])
    queue.settle(0)
    newer = queue.claim()
    assert newer is not None
    assert not queue.failed(study, "no")
    assert queue.analyzed(newer, ["a"], [])
    delivering = queue.archives.claim("a")
    assert delivering is not None
    receive(queue, 3)
    assert not queue.archives.delivered(delivering, "a")
    assert state(queue) is State.RECEIVING


def test_the_same_image_again_changes_nothing(queue: StudyQueue) -> None:
    queue.analyzed(claimed(queue), [], [])
    assert not receive(queue)
    assert state(queue) is State.ANALYZED
    assert receive(queue, modified_ns=6)
    assert state(queue) is State.RECEIVING


def test_an_image_that_comes_again_keeps_the_study_waiting(queue: StudyQueue, clock: Clock) -> None:
    receive(queue)
    clock.now += 50
    assert not receive(queue)
    clock.now += 50
    assert queue.settle(60) == 0


def test_a_notice_makes_a_study_ready_at_once(queue: StudyQueue) -> None:
    receive(queue)
    assert queue.notice(UID)
    assert not queue.notice(UID)
    assert state(queue) is State.READY


def test_failures_pause_twice_as_long_each_time_and_end(queue: StudyQueue, clock: Clock) -> None:
    study = claimed(queue)
    for pause in (10, 20):
        assert queue.failed(study, "no luck")
        clock.now += pause - 1
        assert queue.claim() is None
        clock.now += 1
        again = queue.claim()
        assert again is not None
        assert again.reason == "no luck"
        study = again
    queue.failed(study, "no luck")
    assert (state(queue), queue.claim()) == (State.FAILED, None)
    assert queue.retry(UID)
    assert queue.claim() is not None
    assert not queue.retry(UID)
    assert not queue.retry("9.9")


def test_what_failed_stands_behind_what_did_not(queue: StudyQueue, clock: Clock) -> None:
    queue.failed(claimed(queue), "no")
    clock.now += 100
    receive(queue, uid="1.2.4")
    queue.settle(0)
    order = [queue.claim(), queue.claim()]
    assert [study.study_instance_uid for study in order if study] == ["1.2.4", UID]


def test_an_archive_that_refuses_is_asked_again_and_then_given_up(queue: StudyQueue, clock: Clock) -> None:
    queue.analyzed(claimed(queue), ["a", "b"], [])
    for pause in (10, 20, 25):
        study = queue.archives.claim("a")
        assert study is not None
        queue.archives.refused(study, "a", "out of resources")
        assert queue.archives.claim("a") is None
        clock.now += pause
    assert queue.archives.claim("a") is None
    assert state(queue) is State.ANALYZED
    study = queue.archives.claim("b")
    assert study is not None
    assert study.deliveries == {"a": "failed: out of resources", "b": "waiting"}
    queue.archives.delivered(study, "b")
    failed = queue.study(UID)
    assert failed is not None
    assert (failed.state, failed.reason) == (State.FAILED, "a: out of resources")
    assert queue.retry(UID)
    again = queue.archives.claim("a")
    assert again is not None
    assert again.deliveries == {"a": "waiting: out of resources", "b": "delivered"}
    queue.archives.delivered(again, "a")
    assert state(queue) is State.DELIVERED


def test_a_study_that_ends_the_service_again_and_again_is_given_up(queue: StudyQueue) -> None:
    claimed(queue)
    for _ in range(MOST_INTERRUPTIONS - 1):
        queue.recover()
        assert queue.claim() is not None
    queue.recover()
    study = queue.study(UID)
    assert study is not None
    assert (study.state, study.reason) == (State.FAILED, INTERRUPTED)


def test_a_requested_study_is_ready_when_all_of_it_was_fetched(queue: StudyQueue) -> None:
    queue.request(UID, "web")
    assert queue.claim() is None
    assert queue.claim(State.REQUESTED, source="other") is None
    study = queue.claim(State.REQUESTED, source="web")
    assert study is not None
    assert queue.claim(State.REQUESTED, source="web") is None
    receive(queue)
    queue.settle(0)
    assert state(queue) is State.REQUESTED
    queue.fetched(study)
    assert state(queue) is State.READY


def test_fetching_fails_and_is_tried_again(queue: StudyQueue, clock: Clock) -> None:
    queue.request(UID, "web")
    study = queue.claim(State.REQUESTED)
    assert study is not None
    receive(queue)
    assert queue.failed(study, "archive down")
    assert queue.claim(State.REQUESTED) is None
    clock.now += 10
    again = queue.claim(State.REQUESTED)
    assert again is not None
    assert queue.released(again)
    assert queue.claim(State.REQUESTED) is not None


def test_a_request_during_the_analysis_makes_its_result_unwanted(queue: StudyQueue) -> None:
    study = claimed(queue)
    queue.request(UID, "web")
    assert not queue.analyzed(study, ["a"], [])
    assert state(queue) is State.REQUESTED


def test_images_are_forgotten_only_when_every_archive_is_served(queue: StudyQueue, clock: Clock) -> None:
    queue.analyzed(claimed(queue), ["a"], ["9.1"])
    clock.now += 100
    assert queue.expired(clock.now) == []
    assert not queue.forget_images(UID, clock.now)
    study = queue.archives.claim("a")
    assert study is not None
    queue.archives.delivered(study, "a")
    assert queue.expired(clock.now) == []
    assert queue.archives.known_instances(UID) == {f"{UID}.1", "9.1"}
    clock.now += 100
    assert queue.expired(clock.now) == [UID]
    assert queue.forget_images(UID, clock.now)
    assert (queue.expired(clock.now), queue.size_bytes(UID)) == ([], 0)
    assert receive(queue)


def test_four_threads_and_two_processes_lose_no_image_and_claim_nothing_twice(
    queue: StudyQueue, clock: Clock, tmp_path: Path
) -> None:
    other = open_queue(tmp_path, clock)
    taken: list[StudyRecord] = []

    def send(number: int) -> None:
        for image in range(25):
            receive(queue if number % 2 else other, image, uid=f"1.2.{image % 5}")

    def take(mine: StudyQueue) -> None:
        while (study := mine.claim()) is not None:
            taken.append(study)

    for work in ([(send, n) for n in range(4)], [(take, q) for q in (queue, other, queue, other)]):
        threads = [threading.Thread(target=function, args=(value,)) for function, value in work]  # type: ignore[arg-type]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        queue.settle(0)
    assert sorted(study.study_instance_uid for study in taken) == [f"1.2.{n}" for n in range(5)]
    assert [study.images for study in taken] == [5] * 5
