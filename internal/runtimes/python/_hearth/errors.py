"""How failures are put in words, for the answer and for the log."""
import os
import sys
import traceback

import _hearth

from . import logs, rare

dumps = rare.dumps
_HERE = os.path.dirname(__file__)


def payload(message, kind, trace, invoke_id=None):
    return {
        "errorMessage": message if message else "",
        "errorType": kind if kind else "",
        "requestId": invoke_id if invoke_id is not None else "",
        "stackTrace": trace if trace else [],
    }


def _frames(tb):
    """The traceback's frames without the runtime's own at its top."""
    frames = [(f.filename, f.lineno, f.name, f.line) for f in traceback.extract_tb(tb)]
    for i, frame in enumerate(frames):
        if not frame[0].startswith(_HERE):
            return frames[i:]
    return frames


def describe(exc_info, invoke_id=None):
    kind, value, tb = exc_info
    return payload(str(value), kind.__name__, traceback.format_list(_frames(tb)), invoke_id)


def xray_parts(exc_info):
    kind, value, tb = exc_info
    return kind.__name__, str(value), _frames(tb)


def xray_fault(kind, message, frames):
    """The failure as X-Ray takes it."""
    return dumps({
        "working_directory": os.getcwd(),
        "exceptions": [{
            "message": message,
            "type": kind,
            "stack": [{"label": name, "path": file, "line": line} for file, line, name, _ in frames],
        }],
        "paths": list({f[0] for f in frames}),
    })


def log(failure):
    if logs.is_json:
        record = {"timestamp": logs.timestamp(), "level": "ERROR"}
        record.update(failure)
        _hearth.sink().log_error([dumps(record)])
        return
    kind, message = failure.get("errorType"), failure.get("errorMessage")
    first = "[ERROR]"
    if kind:
        first += " " + kind
    if message:
        first += (": " if kind else " ") + message
    lines = [first]
    if failure.get("stackTrace") is not None:
        lines.append("Traceback (most recent call last):")
        for element in failure["stackTrace"]:
            if element == "":
                lines.append("")
            for line in element.splitlines():
                # Log viewers drop leading spaces, but not these.
                text = line.lstrip(" ")
                lines.append("\u00a0" * (len(line) - len(text)) + text)
    _hearth.sink().log_error(lines)


def init(init_failed, failure, kind=None, status=1):
    """Reports that INIT failed, and ends the process."""
    import logging

    if status == 1:
        logging.warning(logs.UNHANDLED)
    log(failure)
    init_failed(kind or failure["errorType"], dumps(failure))
    sys.exit(status)
