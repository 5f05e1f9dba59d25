"""Images sent to the node by programs of others."""

from __future__ import annotations

import logging
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage, EncapsulatedPDFStorage
from pynetdicom import AE, AllStoragePresentationContexts

from archives import answers, free_port, store, until
from fakes import SECRET_NAME
from pacs_light import study_uid, write_image, write_own
from vertecast.service.inbox import Inbox, Stored, is_safe_uid
from vertecast.service.node import TRANSFER_SYNTAXES, Node
from vertecast.service.options import DiskOptions, NodeOptions, PeerOptions
from vertecast.service.queue import State, StudyQueue

TITLE = "VERTECAST"


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[StudyQueue]:
    opened = StudyQueue(tmp_path / "service" / "queue.sqlite")
    yield opened
    opened.close()


def inbox(folder: Path, queue: StudyQueue, **disk: Any) -> Inbox:
    return Inbox(folder / "service", DiskOptions(**{"reserve_gb": 0.0, **disk}), queue)


@contextmanager
def listening(to: Inbox, **options: Any) -> Iterator[int]:
    node = Node(NodeOptions(port=free_port(), timeout_s=options.pop("timeout_s", 5.0), **options), to)
    node.start()
    try:
        yield node.port
        until(lambda: node.senders == 0)
    finally:
        node.stop()


def images_of(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder / "service" / "inbox").as_posix() for path in folder.glob("service/inbox/*/*")
    )


def status_of(port: int, item: Any) -> int:
    """What the node answers to one object, sent as it is."""
    entity = AE()
    entity.add_requested_context(item.SOPClassUID)
    association = entity.associate("127.0.0.1", port, ae_title=TITLE)
    assert association.is_established
    answer = association.send_c_store(item)
    association.release()
    return int(answer.Status)


def test_an_image_is_on_disk_as_it_was_sent(tmp_path: Path, queue: StudyQueue) -> None:
    sent = [write_image(tmp_path / "in" / f"{n}.dcm", image=n) for n in range(3)]
    with listening(inbox(tmp_path, queue)) as port:
        assert answers(port, TITLE)()
        result = store(sent, port, TITLE)
        assert result.returncode == 0, result.stderr
        assert store(sent, port, TITLE).returncode == 0
    assert images_of(tmp_path) == [f"{study_uid(1)}/{study_uid(1)}.1.{n}.dcm" for n in range(3)]
    for path in sent:
        kept = tmp_path / "service" / "inbox" / study_uid(1) / f"{dcmread(path).SOPInstanceUID}.dcm"
        assert dcmread(kept) == dcmread(path)
    [study] = queue.studies()
    assert (study.state, study.images, study.revision) == (State.RECEIVING, 3, 3)
    assert list((tmp_path / "service" / "incoming").iterdir()) == []


def test_compressed_images_are_kept_as_they_are(tmp_path: Path, queue: StudyQueue) -> None:
    source = write_image(tmp_path / "raw.dcm")
    with listening(inbox(tmp_path, queue)) as port:
        for number, (program, option) in enumerate([("dcmcjpls", "-xt"), ("dcmcjpeg", "-xs"), ("dcmcrle", "-xr")]):
            item = dcmread(source)
            item.SOPInstanceUID = item.file_meta.MediaStorageSOPInstanceUID = f"{study_uid(1)}.1.{number}"
            item.save_as(tmp_path / "one.dcm")
            packed = tmp_path / f"{number}.dcm"
            subprocess.run([program, str(tmp_path / "one.dcm"), str(packed)], check=True)
            assert store([packed], port, TITLE, option).returncode == 0
            kept = tmp_path / "service" / "inbox" / study_uid(1) / f"{item.SOPInstanceUID}.dcm"
            assert dcmread(kept).file_meta.TransferSyntaxUID == dcmread(packed).file_meta.TransferSyntaxUID
            assert dcmread(kept).PixelData == dcmread(packed).PixelData


def test_every_storage_class_is_taken_in_every_encoding_that_is_read(tmp_path: Path, queue: StudyQueue) -> None:
    with listening(inbox(tmp_path, queue)) as port:
        for wanted in ([c.abstract_syntax for c in AllStoragePresentationContexts][:128], [CTImageStorage]):
            entity = AE()
            for sop_class in wanted:
                for syntax in TRANSFER_SYNTAXES if len(wanted) == 1 else TRANSFER_SYNTAXES[:1]:
                    entity.add_requested_context(str(sop_class), syntax)
                    if len(wanted) == 1:
                        association = entity.associate("127.0.0.1", port, ae_title=TITLE)
                        assert [c.transfer_syntax for c in association.accepted_contexts] == [[syntax]]
                        association.release()
                        entity.requested_contexts = []
            if len(wanted) > 1:
                association = entity.associate("127.0.0.1", port, ae_title=TITLE)
                assert len(association.accepted_contexts) == len(wanted)
                association.release()


def test_our_own_results_are_taken_and_start_nothing(tmp_path: Path, queue: StudyQueue) -> None:
    with listening(inbox(tmp_path, queue)) as port:
        assert status_of(port, dcmread(write_own(tmp_path / "own.dcm"))) == 0
    assert (images_of(tmp_path), queue.studies()) == ([], [])
    assert queue.archives.known_instances(study_uid(1)) == {f"{study_uid(1)}.9.1"}


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI", "ignore:The value length")
@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("StudyInstanceUID", None),
        ("StudyInstanceUID", "../../x"),
        ("StudyInstanceUID", "1" * 65),
        ("StudyInstanceUID", ""),
    ],
)
def test_what_names_no_study_is_refused(
    tmp_path: Path, queue: StudyQueue, caplog: pytest.LogCaptureFixture, keyword: str, value: str | None
) -> None:
    item = dcmread(write_image(tmp_path / "1.dcm"))
    if value is None:
        del item[keyword]
    else:
        item[keyword].validation_mode = 0
        item[keyword]._value = value
    with listening(inbox(tmp_path, queue)) as port, caplog.at_level(logging.INFO):
        assert status_of(port, item) & 0xF000 == 0xC000
    assert (images_of(tmp_path), queue.studies()) == ([], [])
    assert "no valid StudyInstanceUID" in caplog.text
    assert SECRET_NAME not in caplog.text


def test_bytes_that_are_no_dataset_are_refused(tmp_path: Path, queue: StudyQueue) -> None:
    to = inbox(tmp_path, queue)
    for content in (b"", b"\0" * 200, b"\0" * 128 + b"DICM" + b"\xff" * 64):
        with pytest.raises(Exception, match=r"cannot be read as DICOM|no valid StudyInstanceUID"):
            to.store([content])
    assert images_of(tmp_path) == list((tmp_path / "service" / "incoming").iterdir()) == []


def test_an_image_under_another_name_is_refused(tmp_path: Path, queue: StudyQueue) -> None:
    content = write_image(tmp_path / "1.dcm").read_bytes()
    with pytest.raises(Exception, match="another SOPInstanceUID"):
        inbox(tmp_path, queue).store([content], expected_uid="1.2.9")


def test_a_full_disk_is_told(tmp_path: Path, queue: StudyQueue) -> None:
    free_gb = shutil.disk_usage(tmp_path).free / 1e9
    item = dcmread(write_image(tmp_path / "1.dcm"))
    with listening(inbox(tmp_path, queue, reserve_gb=2 * free_gb + 10)) as port:
        assert status_of(port, item) == 0xA700
    assert (images_of(tmp_path), queue.studies()) == ([], [])
    with listening(inbox(tmp_path, queue)) as port:
        assert status_of(port, item) == 0


def test_a_disk_that_fills_up_while_an_image_is_written_is_told(
    tmp_path: Path, queue: StudyQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    to = inbox(tmp_path, queue)
    item = dcmread(write_image(tmp_path / "1.dcm"))
    with listening(to) as port:
        with monkeypatch.context() as patch:
            patch.setattr("vertecast.service.inbox.os.fsync", full)
            assert status_of(port, item) == 0xA700
        assert list((tmp_path / "service" / "incoming").iterdir()) == []
        assert status_of(port, item) == 0


def test_a_study_can_be_too_large(tmp_path: Path, queue: StudyQueue) -> None:
    items = [dcmread(write_image(tmp_path / "1.dcm", image=n)) for n in range(2)]
    with listening(inbox(tmp_path, queue, max_study_gb=(tmp_path / "1.dcm").stat().st_size * 1.5 / 1e9)) as port:
        assert [status_of(port, item) for item in items] == [0, 0xA700]


def test_an_object_that_is_too_large_ends_its_association(tmp_path: Path, queue: StudyQueue) -> None:
    item = dcmread(write_image(tmp_path / "1.dcm"))
    item.PixelData = bytes(3_000_000)
    with listening(inbox(tmp_path, queue), max_image_gb=0.001, max_pdu=16384) as port:
        item.save_as(tmp_path / "1.dcm")
        assert store([tmp_path / "1.dcm"], port, TITLE).returncode != 0
        small = dcmread(write_image(tmp_path / "2.dcm", image=2))
        assert status_of(port, small) == 0
    assert len(images_of(tmp_path)) == 1


@pytest.mark.parametrize("kind", [1, 4])
def test_a_message_that_announces_gigabytes_is_not_read(
    tmp_path: Path, queue: StudyQueue, caplog: pytest.LogCaptureFixture, kind: int
) -> None:
    """A-ASSOCIATE-RQ and P-DATA-TF: the connection ends at the header, whatever may follow, and others are served."""
    with listening(inbox(tmp_path, queue)) as port:
        sent = 0
        with socket.create_connection(("127.0.0.1", port), timeout=5) as peer, suppress(OSError):
            peer.sendall(struct.pack(">BBL", kind, 0, 0xFFFFFFFF))
            for _ in range(100):
                peer.sendall(bytes(1 << 20))
                sent += 1
        assert sent < 50
        assert status_of(port, dcmread(write_image(tmp_path / "1.dcm"))) == 0
    assert "4294967295 bytes from 127.0.0.1" in caplog.text
    assert len(images_of(tmp_path)) == 1


@pytest.mark.parametrize(
    ("peer", "calling", "called", "taken"),
    [
        (PeerOptions(ae_title="PACS"), "PACS", TITLE, True),
        (PeerOptions(ae_title="PACS", host="127.0.0.1"), "PACS", TITLE, True),
        (PeerOptions(ae_title="PACS", host="127.0.0.2"), "PACS", TITLE, False),
        (PeerOptions(ae_title="PACS"), "STRANGER", TITLE, False),
        (PeerOptions(ae_title="PACS"), "PACS", "OTHER", False),
    ],
)
def test_only_peers_are_heard(
    tmp_path: Path, queue: StudyQueue, peer: PeerOptions, calling: str, called: str, taken: bool
) -> None:
    path = write_image(tmp_path / "1.dcm")
    with listening(inbox(tmp_path, queue), peers=(peer,)) as port:
        result = store([path], port, called, "-aet", calling)
        assert (result.returncode == 0) is taken
        if called == TITLE and not taken:
            assert "Calling AE Title Not Recognized" in result.stderr
    assert bool(images_of(tmp_path)) is taken


def test_senders_beyond_the_limit_wait(tmp_path: Path, queue: StudyQueue) -> None:
    entity = AE()
    entity.add_requested_context(EncapsulatedPDFStorage)
    with listening(inbox(tmp_path, queue), max_associations=2) as port:
        held = [entity.associate("127.0.0.1", port, ae_title=TITLE) for _ in range(3)]
        assert [one.is_established for one in held] == [True, True, False]
        held[0].release()
        until(lambda: entity.associate("127.0.0.1", port, ae_title=TITLE).is_established)
        entity.shutdown()


def test_an_image_with_a_name_and_no_row_is_found_again(tmp_path: Path, queue: StudyQueue) -> None:
    to = inbox(tmp_path, queue)
    folder = to.folder(study_uid(1))
    folder.mkdir()
    write_image(folder / f"{study_uid(1)}.1.1.dcm")
    (tmp_path / "service" / "incoming" / "half.partial").write_bytes(b"x")
    (tmp_path / "service" / "incoming" / "old.removed").mkdir()
    to.recover()
    [study] = queue.studies()
    assert (study.study_instance_uid, study.images, study.state) == (study_uid(1), 1, State.RECEIVING)
    assert list((tmp_path / "service" / "incoming").iterdir()) == []
    to.recover()
    assert queue.studies()[0].revision == 1


def test_images_go_when_the_study_has_been_done_for_long(tmp_path: Path, queue: StudyQueue) -> None:
    content = write_image(tmp_path / "1.dcm").read_bytes()
    inbox(tmp_path, queue).store([content])
    queue.settle(0)
    study = queue.claim()
    assert study is not None
    inbox(tmp_path, queue, keep_days=0.0).clear()
    assert len(images_of(tmp_path)) == 1
    queue.analyzed(study, [], [])
    inbox(tmp_path, queue, keep_days=1.0).clear()
    assert len(images_of(tmp_path)) == 1
    inbox(tmp_path, queue, keep_days=0.0).clear()
    assert (images_of(tmp_path), queue.images(study_uid(1))) == ([], {})
    assert inbox(tmp_path, queue).store([content]) is Stored.NEW


def test_images_of_many_threads_are_all_there(tmp_path: Path, queue: StudyQueue) -> None:
    to = inbox(tmp_path, queue)
    contents = [write_image(tmp_path / f"{n}.dcm", study=n % 3, image=n).read_bytes() for n in range(30)]

    def send(first: int) -> None:
        for content in contents[first::2]:
            to.store([content])

    threads = [threading.Thread(target=send, args=(n % 2,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(images_of(tmp_path)) == 30
    assert sorted(study.images for study in queue.studies()) == [10, 10, 10]


@pytest.mark.parametrize("text", ["", ".", "..", "1.", ".1", "1..2", "a", "1/2", "1" * 65, "1.2\n", "١.٢"])
def test_what_is_no_uid_names_no_file(text: str) -> None:
    assert not is_safe_uid(text)
    assert is_safe_uid("1.2.840.01")
