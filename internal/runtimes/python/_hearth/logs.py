"""Log records as AWS's Python runtime writes them."""
import os
import sys
import time

import _hearth

_LEVELS = (0, 10, 20, 30, 40, 50)
# The type of a telemetry frame says format and level.
_JSON_TYPES = dict(zip(_LEVELS, (0xA55A0002, 0xA55A000A, 0xA55A000E, 0xA55A0012, 0xA55A0016, 0xA55A001A)))
_TEXT_TYPES = dict(zip(_LEVELS, (0xA55A0003, 0xA55A000B, 0xA55A000F, 0xA55A0013, 0xA55A0017, 0xA55A001B)))
_DATE = "%Y-%m-%dT%H:%M:%SZ"
_OWN = frozenset(
    "name msg args levelname levelno pathname filename module exc_info exc_text stack_info lineno funcName created msecs "
    "relativeCreated thread threadName processName process aws_request_id tenant_id _frame_type".split())

is_json = (os.environ.get("AWS_LAMBDA_LOG_FORMAT") or "").upper() == "JSON"
_level = os.environ.get("AWS_LAMBDA_LOG_LEVEL") or ""
_level = "DEBUG" if _level == "TRACE" else _level.upper()
_TYPES = _JSON_TYPES if is_json else _TEXT_TYPES

_WARNING = "LAMBDA_WARNING: "
UNHANDLED = (
    _WARNING + "Unhandled exception. The most likely cause is an issue in the function code. "
    "However, in rare cases, a Lambda runtime update can cause unexpected function behavior. "
    "For functions using managed runtimes, runtime updates can be triggered by a function change, or can be applied automatically. "
    "To determine if the runtime has been updated, check the runtime version in the INIT_START log entry. "
    "If this error correlates with a change in the runtime version, you may be able to mitigate this error by temporarily rolling back to the previous runtime version. "
    "For more information, see https://docs.aws.amazon.com/lambda/latest/dg/runtimes-update.html\r")


def warn_of_preview():
    import logging

    china = os.environ.get("AWS_REGION", "").startswith("cn-")
    logging.warning(
        _WARNING + "This is a preview runtime version and should not be used for production workloads. "
        "For further information and to provide feedback, see https://docs."
        + ("amazonaws.cn" if china else "aws.amazon.com") + "/lambda/latest/dg/lambda-runtimes.html\r")


class StandardSink(object):
    def log(self, msg, frame_type=None):
        sys.stdout.write(msg)

    def log_error(self, lines):
        # One record, although of several lines: standard output is cut at newlines.
        sys.stdout.write("\r".join(lines) + "\n")


class FramedSink(object):
    def __init__(self, fd):
        self.fd = fd

    def log(self, msg, frame_type=None):
        data = msg.encode("utf8")
        kind = frame_type or _TEXT_TYPES[0]
        data = kind.to_bytes(4, "big") + len(data).to_bytes(4, "big") + (time.time_ns() // 1000).to_bytes(8, "big") + data
        n = os.write(self.fd, data)
        while n < len(data):
            data = memoryview(data)[n:]
            n = os.write(self.fd, data)

    def log_error(self, lines):
        self.log("\n".join(lines), _TYPES[40])


def timestamp():
    return time.strftime(_DATE, time.gmtime())


def setup(logging):
    """Gives the root logger Lambda's handler."""
    logging.Formatter.converter = time.gmtime
    root = logging.getLogger()

    class LambdaLoggerHandler(logging.Handler):
        def __init__(self, log_sink):
            logging.Handler.__init__(self)
            self.log_sink = log_sink

        def emit(self, record):
            self.log_sink.log(self.format(record))

    class LambdaLoggerHandlerWithFrameType(LambdaLoggerHandler):
        def emit(self, record):
            # The formatter sets the record's type, so it comes first.
            text = self.format(record)
            self.log_sink.log(text, getattr(record, "_frame_type", None) or _TEXT_TYPES.get(level_of(record)))

    class LambdaLoggerFilter(logging.Filter):
        def filter(self, record):
            record.aws_request_id = _hearth.request_id or ""
            record.tenant_id = _hearth.tenant_id
            return True

    if is_json:
        handler = LambdaLoggerHandlerWithFrameType(_hearth.sink())
        handler.setFormatter(_json_formatter(logging))
    else:
        handler = (LambdaLoggerHandlerWithFrameType if _level else LambdaLoggerHandler)(_hearth.sink())
        handler.setFormatter(logging.Formatter(
            "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n", "%Y-%m-%dT%H:%M:%S"))
    if _level in logging._nameToLevel:
        root.setLevel(_level)
    handler.addFilter(LambdaLoggerFilter())
    root.addHandler(handler)


def level_of(record):
    return min(50, max(0, record.levelno)) // 10 * 10


def _json_formatter(logging):
    import json
    import traceback

    encode = json.JSONEncoder(ensure_ascii=False, default=str).encode

    class JsonFormatter(logging.Formatter):
        def __init__(self):
            super().__init__(datefmt=_DATE)

        def format(self, record):
            record.levelno = level_of(record)
            record.levelname = logging.getLevelName(record.levelno)
            record._frame_type = _JSON_TYPES.get(record.levelno, _JSON_TYPES[0])
            exc = record.exc_info or None
            whole = isinstance(record.msg, dict) and not record.args
            result = {
                "timestamp": self.formatTime(record, self.datefmt),
                "level": record.levelname,
                "message": record.msg if whole else record.getMessage(),
                "logger": record.name,
                "stackTrace": exc and traceback.format_tb(exc[2]),
                "errorType": exc and exc[0].__name__,
                "errorMessage": exc and str(exc[1]),
                "requestId": getattr(record, "aws_request_id", None),
                "location": exc and "%s:%s:%s" % (record.pathname, record.funcName, record.lineno),
            }
            if getattr(record, "tenant_id", None) is not None:
                result["tenantId"] = record.tenant_id
            for key, value in record.__dict__.items():
                if key not in _OWN and key not in result:
                    result[key] = value
            return encode({k: v for k, v in result.items() if v is not None}) + "\n"

    return JsonFormatter()
