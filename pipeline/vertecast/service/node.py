"""The DICOM node: C-ECHO and C-STORE, answered only when the image is on disk."""

from __future__ import annotations

import logging
from contextlib import suppress
from io import BytesIO
from socket import SHUT_RDWR, socket
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

from pydicom import uid as uids
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode_file_meta
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from pynetdicom.transport import AssociationSocket

from vertecast.core.errors import ConfigurationError, UnreadableError, VertecastError
from vertecast.service.inbox import GIGABYTE, Content, DiskFullError, Inbox, Stored
from vertecast.service.options import NodeOptions

SUCCESS: Final = 0x0000
OUT_OF_RESOURCES: Final = 0xA700
CANNOT_UNDERSTAND: Final = 0xC000
PROCESSING_FAILURE: Final = 0x0110
"""Status of a C-STORE response (PS3.4 B.2.3, PS3.7 C)."""

TRANSFER_SYNTAXES: Final = tuple(
    str(syntax)
    for syntax in (
        uids.ExplicitVRLittleEndian,
        uids.ImplicitVRLittleEndian,
        uids.DeflatedExplicitVRLittleEndian,
        uids.ExplicitVRBigEndian,
        uids.RLELossless,
        uids.JPEGBaseline8Bit,
        uids.JPEGExtended12Bit,
        uids.JPEGLossless,
        uids.JPEGLosslessSV1,
        uids.JPEGLSLossless,
        uids.JPEGLSNearLossless,
        uids.JPEG2000Lossless,
        uids.JPEG2000,
        uids.HTJ2KLossless,
        uids.HTJ2KLosslessRPCL,
        uids.HTJ2K,
    )
)
"""What our readers decode. A sender that offers an image in several of them chooses by the order of its own list."""

GREETING_S: Final = 10.0
"""Who opens the port and says nothing, or is gone already as a probe of it is, holds an association for so long."""

LARGEST_MESSAGE: Final = 1 << 20
"""Bytes of a request for an association: one of 128 contexts with all transfer syntaxes has a third of it. Parts of
images are bounded by ``max_pdu``, which is never more."""

_REJECTED: Final = (0x01, 0x01, 0x03)
"""For good, by the user of the service: calling AE title not recognised (PS3.8 9.3.4)."""

_log = logging.getLogger(__name__)


class Node:
    """Takes images into the inbox. Every storage class is taken: what is no image is told apart at the analysis."""

    def __init__(self, options: NodeOptions, inbox: Inbox) -> None:
        """Prepare the node; `start` opens its port."""
        self._options = options
        self._inbox = inbox
        self._server: Any = None
        self._received_bytes: WeakKeyDictionary[Association, int] = WeakKeyDictionary()
        self._entity = AE(ae_title=options.ae_title)
        self._entity.maximum_associations = options.max_associations
        self._entity.maximum_pdu_size = options.max_pdu
        self._entity.require_called_aet = True
        self._entity.dimse_timeout = self._entity.network_timeout = options.timeout_s
        self._entity.acse_timeout = min(options.timeout_s, GREETING_S)
        self._entity.add_supported_context(Verification)
        for context in AllStoragePresentationContexts:
            self._entity.add_supported_context(str(context.abstract_syntax), list(TRANSFER_SYNTAXES))

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1]) if self._server else self._options.port

    @property
    def is_listening(self) -> bool:
        """Whether senders can reach it."""
        return self._server is not None

    @property
    def senders(self) -> int:
        """How many associations are open."""
        return len(self._entity.active_associations)

    def start(self) -> None:
        """Listen, in threads of its own.

        Raises:
            ConfigurationError: the port is taken or the address is none of this machine.
        """
        handlers = [
            (evt.EVT_CONN_OPEN, self._on_connection),
            (evt.EVT_REQUESTED, self._on_request),
            (evt.EVT_DATA_RECV, self._on_data),
            (evt.EVT_C_STORE, self._on_store),
        ]
        place = (self._options.host, self._options.port)
        try:
            self._server = self._entity.start_server(place, block=False, evt_handlers=handlers)  # type: ignore[arg-type]
        except OSError as error:
            raise ConfigurationError(
                f"node: cannot listen on {place[0]}:{place[1]} ({error.strerror}); choose another host or port"
            ) from error

    def stop(self) -> None:
        """End every association and close the port."""
        if self._server is not None:
            self._entity.shutdown()
            self._server = None

    def _on_connection(self, event: evt.Event) -> None:
        """Have a message that announces more than `LARGEST_MESSAGE` end the connection before it is read."""
        connection = cast(AssociationSocket, event.assoc.dul.socket)
        receive, host = connection.recv, str(event.assoc.requestor.address)

        def bounded(nr_bytes: int) -> bytearray:
            if nr_bytes <= LARGEST_MESSAGE:
                return receive(nr_bytes)
            _log.warning("a message of %d bytes from %s was not read", nr_bytes, host)
            with suppress(OSError):  # the peer may have left
                cast(socket, connection.socket).shutdown(SHUT_RDWR)
            return bytearray()

        connection.recv = bounded  # type: ignore[method-assign]

    def _on_request(self, event: evt.Event) -> None:
        """Turn callers away that are not on the list."""
        request = cast(A_ASSOCIATE, event.assoc.requestor.primitive)
        title, host = str(request.calling_ae_title).strip(), str(event.assoc.requestor.address)
        peers = self._options.peers
        if not peers or any(title == peer.ae_title and peer.host in (None, host) for peer in peers):
            return
        _log.warning(
            "a caller from %s with the AE title %s was turned away; it is not among the peers", host, ascii(title)
        )
        event.assoc.acse.send_reject(*_REJECTED)
        # Sends what is to be sent before the connection is closed.
        event.assoc.kill()

    def _on_data(self, event: evt.Event) -> None:
        """End an association whose image grows beyond what is held in memory."""
        received = self._received_bytes.get(event.assoc, 0) + len(event.data)
        self._received_bytes[event.assoc] = received
        if received > self._options.max_image_gb * GIGABYTE:
            _log.warning("an image of more than %g GB was refused", self._options.max_image_gb)
            event.assoc.abort()

    def _on_store(self, event: evt.Event) -> int:
        """Store an image; what is returned is the status that its sender gets."""
        self._received_bytes[event.assoc] = 0
        request = cast(C_STORE, event.request)
        uid = str(request.AffectedSOPInstanceUID or "")
        try:
            stored = self._inbox.store(_content(event, request), expected_uid=uid)
        except DiskFullError as error:
            _log.error("image %s was not taken: %s", ascii(uid), error)
            return OUT_OF_RESOURCES
        except UnreadableError as error:
            _log.warning("image %s was not taken: %s", ascii(uid), error)
            return CANNOT_UNDERSTAND
        except VertecastError as error:
            _log.error("image %s was not taken: %s", ascii(uid), error)
            return PROCESSING_FAILURE
        if stored is Stored.OWN:
            _log.info("image %s is a result of ours and was not kept", uid)
        return SUCCESS


def _content(event: evt.Event, request: C_STORE) -> Content:
    """The file of a received image: the data set as it was sent, never decoded and encoded again."""
    yield b"\0" * 128 + b"DICM" + encode_file_meta(event.file_meta)
    yield cast(BytesIO, request.DataSet).getbuffer()
