"""Vertecast inside Orthanc: tells the service of studies that have come to rest, and shows their reports.

Orthanc's Python plugin loads this one file into its own interpreter; it uses the standard library alone. In Orthanc's
configuration::

    "PythonScript": "/usr/share/vertecast/vertecast_plugin.py",
    "Vertecast": {"Url": "http://127.0.0.1:8080", "Token": "", "Automatic": true, "Source": "orthanc", "CaFile": ""}

``Url`` is where ``vertecast serve`` answers, ``Token`` its token if it has one, ``Source`` the name that its
configuration gives this Orthanc. With ``Automatic`` every study that becomes stable is announced; without, only those
that someone asks for. Routes, below the root of Orthanc's REST interface:

==== ============================ =========================================================
POST /vertecast/studies/ID        fetch and analyse this study now
GET  /vertecast/studies/ID        what the service knows of it, as JSON
GET  /vertecast/studies/ID/report its report page
GET  /vertecast/studies/ID/pdf    the same as PDF
==== ============================ =========================================================

``ID`` is a StudyInstanceUID, or Orthanc's own name of the study.
"""

from __future__ import annotations

import hashlib
import json
import ssl
import threading
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import orthanc

OWN_NAME = "Vertecast"
"""Manufacturer and ManufacturerModelName of what Vertecast writes."""

LAST_CHANGE = 4801
"""Global property of Orthanc that holds the number of the last change that was worked off."""

ANNOUNCED = 4801
"""Metadata of a study: of which images it was announced."""

PAGE = 100
TIMEOUT_S = 30
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 300.0

SETTINGS: dict[str, Any] = {
    "Url": "http://127.0.0.1:8080",
    "Token": "",
    "Automatic": True,
    "Source": "orthanc",
    "CaFile": "",
    **json.loads(orthanc.GetConfiguration()).get("Vertecast", {}),
}

# The service is a neighbour: no proxy of the environment stands between.
OPENER = urllib.request.build_opener(
    urllib.request.ProxyHandler({}),
    urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=SETTINGS["CaFile"] or None)),
)


class RefusedError(Exception):
    """The service answered, and said no.

    Attributes:
        status: HTTP status.
        body: What it said.
    """

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"HTTP {status}")
        self.status, self.body = status, body


def ask_service(path: str, document: Any = None) -> tuple[bytes, str]:
    """Body and media type of an answer of the service; a document makes it a POST.

    Raises:
        RefusedError: it answered with an error.
        OSError: it cannot be reached.
    """
    request = urllib.request.Request(SETTINGS["Url"].rstrip("/") + path)
    if document is not None:
        request.data = json.dumps(document).encode()
        request.add_header("Content-Type", "application/json")
    if SETTINGS["Token"]:
        request.add_header("Authorization", f"Bearer {SETTINGS['Token']}")
    try:
        with OPENER.open(request, timeout=TIMEOUT_S) as answer:
            return answer.read(), answer.headers.get("Content-Type", "application/octet-stream")
    except urllib.error.HTTPError as error:
        raise RefusedError(error.code, error.read()) from error


def ask_orthanc(path: str) -> Any:
    """A resource of this Orthanc."""
    return json.loads(orthanc.RestApiGet(path))


def uid_of(study: str) -> str:
    """StudyInstanceUID of a study, given Orthanc's name of it; safe in a path, whatever its sender wrote there."""
    return urllib.parse.quote(str(ask_orthanc(f"/studies/{study}")["MainDicomTags"]["StudyInstanceUID"]), safe="")


def images_of(study: str) -> str:
    """A hash of the images of a study that are not Vertecast's own results; empty where there are none."""
    lines = [
        f"{series['ID']} {len(series['Instances'])} {series.get('LastUpdate', '')}"
        for series in ask_orthanc(f"/studies/{study}/series")
        if not is_own_result(series)
    ]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest() if lines else ""


def is_own_result(series: dict[str, Any]) -> bool:
    """Whether Vertecast wrote a series. The model's name decides, which Orthanc has to read from the file."""
    if series["MainDicomTags"].get("Manufacturer") != OWN_NAME:
        return False
    model = orthanc.RestApiGet(f"/instances/{series['Instances'][0]}/content/0008-1090")
    return bytes(model).strip(b" \0") == OWN_NAME.encode()


def announce(study: str) -> None:
    """Ask the service to fetch and analyse a study, given Orthanc's name of it.

    Raises:
        RefusedError, OSError: as of `ask_service`.
        orthanc.OrthancException: the study has gone.
    """
    uid = uid_of(study)
    images = images_of(study)
    ask_service(f"/api/studies/{uid}", {"source": SETTINGS["Source"]})
    orthanc.RestApiPut(f"/studies/{study}/metadata/{ANNOUNCED}", images.encode())


class Announcer(threading.Thread):
    """Works off Orthanc's list of changes: no study is lost while the service or Orthanc itself is down.

    Results that come back make their study stable again; it is announced only when other images of it are new.
    """

    def __init__(self) -> None:
        super().__init__(name="vertecast", daemon=True)
        self._woken, self._ended = threading.Event(), threading.Event()

    def wake(self) -> None:
        """There may be something to do."""
        self._woken.set()

    def end(self) -> None:
        """Stop, and wait until it has."""
        self._ended.set()
        self._woken.set()
        self.join(TIMEOUT_S)

    def run(self) -> None:
        """Until the end: wait for changes and announce their studies; after a failure wait longer and longer."""
        pause_s = 0.0
        while not self._ended.is_set():
            try:
                self._work_off()
                pause_s = 0.0
                self._woken.wait()
                self._woken.clear()
            except (RefusedError, OSError) as error:
                pause_s = min(max(2 * pause_s, FIRST_PAUSE_S), LONGEST_PAUSE_S)
                orthanc.LogWarning(f"Vertecast cannot be told of new studies ({error}); next try in {pause_s:.0f} s")
                self._ended.wait(pause_s)
            except Exception as error:  # noqa: BLE001  whatever it was, the next change must find this thread alive
                pause_s = LONGEST_PAUSE_S
                orthanc.LogError(f"Vertecast plugin: {type(error).__name__}; next try in {pause_s:.0f} s")
                self._ended.wait(pause_s)

    def _work_off(self) -> None:
        since = orthanc.GetGlobalProperty(LAST_CHANGE, "")
        if not since:  # the first start beside a full archive: only what comes from now on is announced
            since = str(ask_orthanc("/changes?last")["Last"])
            orthanc.SetGlobalProperty(LAST_CHANGE, since)
        done = False
        while not done and not self._ended.is_set():
            page = ask_orthanc(f"/changes?since={since}&limit={PAGE}")
            for change in page["Changes"]:
                if change["ChangeType"] == "StableStudy":
                    _announce_if_new(change["ID"])
            since, done = str(page["Last"]), bool(page["Done"])
            orthanc.SetGlobalProperty(LAST_CHANGE, since)


def _announce_if_new(study: str) -> None:
    try:
        images = images_of(study)
        known = ask_orthanc(f"/studies/{study}/metadata?expand").get(str(ANNOUNCED))
        if images and images != known:
            announce(study)
    except orthanc.OrthancException:
        return  # deleted meanwhile
    except RefusedError as error:
        # A wrong token or a service in trouble passes; a study that is refused for itself will be refused again.
        if error.status in (401, 403, 408, 421, 429) or error.status >= 500:
            raise
        orthanc.LogWarning(f"Vertecast refuses Orthanc study {study}: {error}")


announcer = Announcer()


def on_change(change: Any, _level: Any, _resource: str) -> None:
    """Orthanc's own events; they only wake the thread, which reads the list of changes itself."""
    if change == orthanc.ChangeType.ORTHANC_STARTED:
        if SETTINGS["Automatic"]:
            announcer.start()
    elif change == orthanc.ChangeType.STABLE_STUDY:
        announcer.wake()
    elif change == orthanc.ChangeType.ORTHANC_STOPPED and announcer.is_alive():
        announcer.end()


def on_study(output: Any, _uri: str, **request: Any) -> None:
    """Start a study (POST) or tell its state (GET)."""
    with_study(output, request, "POST,GET", lambda study, uid: _start_or_tell(request["method"], study, uid))


def on_report(output: Any, _uri: str, **request: Any) -> None:
    """The report of a study, handed on from the service: the browser needs neither its address nor its token."""
    file = {"report": "report.html", "pdf": "report.pdf"}[request["groups"][1]]
    if file.endswith(".html"):  # it needs nothing of Orthanc, and gets nothing
        output.SetHttpHeader("Content-Security-Policy", "sandbox allow-scripts")
    with_study(output, request, "GET", lambda _study, uid: ask_service(f"/reports/{uid}/{file}"))


def _start_or_tell(method: str, study: str, uid: str) -> tuple[bytes, str]:
    if method == "POST":
        announce(study)
    return ask_service(f"/api/studies/{uid}")


def with_study(output: Any, request: dict[str, Any], methods: str, answer: Any) -> None:
    """Answer a request for a study with what a function of its two names gives, or with why it cannot be given."""
    if request["method"] not in methods.split(","):
        output.SendMethodNotAllowed(methods)
        return
    study = _orthanc_name(request["groups"][0])
    if study is None:
        refuse(output, 404, b"no such study in this Orthanc")
        return
    try:
        uid = uid_of(study)
        body, media_type = answer(study, uid)
    except RefusedError as error:
        refuse(output, error.status, error.body)
    except OSError as error:
        refuse(output, 502, f"Vertecast does not answer at {SETTINGS['Url']} ({error}); is it running?".encode())
    else:
        output.AnswerBuffer(body, media_type)


def refuse(output: Any, status: int, body: bytes) -> None:
    """Answer with an error."""
    try:
        output.SendHttpStatus(status, body)
    except TypeError:  # Orthanc's Python plugin up to 4.0 wants a text, and its length in bytes
        output.SendHttpStatus(status, body.decode("utf-8", "replace"), len(body))


def _orthanc_name(name: str) -> str | None:
    """Orthanc's name of a study, given that or its StudyInstanceUID; None where it has no such study."""
    try:
        if "-" in name:
            return str(ask_orthanc(f"/studies/{name}")["ID"])
        return orthanc.LookupStudy(name) or None
    except orthanc.OrthancException:
        return None


EXPLORER = """
// A button on the page of a study: its state at Vertecast, a click starts it or, once it is there, opens the report.
$('#study').live('pagebeforecreate', function() {
  var box = $('<div>').attr('id', 'vertecast');
  $('<a>').attr({'id': 'vertecast-start', 'data-role': 'button', 'data-icon': 'gear', 'href': '#'})
    .text('Analyse with Vertecast').appendTo(box);
  $('<a>').attr({'id': 'vertecast-report', 'data-role': 'button', 'data-icon': 'search', 'target': '_blank',
    'rel': 'external noopener', 'href': '#'}).text('Vertecast report').appendTo(box).hide();
  $('<p>').attr({'id': 'vertecast-state', 'role': 'status'}).appendTo(box);
  box.insertBefore($('#study-delete').closest('ul'));
  $('#vertecast-start').click(function(event) { event.preventDefault(); vertecastAsk('POST'); });
});
var vertecastTimer = null;
function vertecastAsk(method) {
  if (!$.mobile.pageData || !$.mobile.pageData.uuid) { return; }
  var uuid = $.mobile.pageData.uuid, place = '../vertecast/studies/' + uuid;
  clearTimeout(vertecastTimer);
  $.ajax({url: place, type: method, data: method === 'POST' ? '{}' : undefined, dataType: 'json', cache: false,
    success: function(study) {
      $('#vertecast-state').text('Vertecast: ' + study.state + (study.reason ? ', ' + study.reason : ''));
      $('#vertecast-report').attr('href', place + '/report').toggle(!!study.report);
      if (study.is_open) { vertecastTimer = setTimeout(function() { vertecastAsk('GET'); }, 3000); }
    },
    error: function(answer) {
      $('#vertecast-report').hide();
      $('#vertecast-state').text(answer.status === 404 ? '' : 'Vertecast: ' + (answer.responseText || 'no answer'));
    }});
}
$('#study').live('pageshow', function() { $('#vertecast-report').hide(); vertecastAsk('GET'); });
$('#study').live('pagehide', function() { clearTimeout(vertecastTimer); });
"""

orthanc.ExtendOrthancExplorer(EXPLORER)
orthanc.RegisterOnChangeCallback(on_change)
orthanc.RegisterRestCallback("/vertecast/studies/([^/]+)", on_study)
orthanc.RegisterRestCallback("/vertecast/studies/([^/]+)/(report|pdf)", on_report)
