"""The Runtime API over HTTP, for when something stands between the function and the agent."""
import os
import sys

import _socket

_BASE = "/2018-06-01/runtime/"
_ERROR_TYPE = "Lambda-Runtime-Function-Error-Type"
_XRAY = "Lambda-Runtime-Function-XRay-Error-Cause"
_ID = "lambda-runtime-invocation-id"
_AGENT = "aws-lambda-python/%d.%d.%d-hearth" % sys.version_info[:3]


class Refused(Exception):
    def __init__(self, path, status, body):
        self.status = status
        super().__init__("Request to Lambda Runtime '%s' endpoint failed. Reason: '%s'. Response body: '%s'" % (path, status, body))


class Connection:
    """One connection to the Runtime API, kept open."""

    def __init__(self, address):
        self.address = address
        host, _, port = address.rpartition(":")
        self.host, self.port = (host, int(port)) if host else (address, 80)
        self.sock = None

    def call(self, method, path, expected, body=None, headers=()):
        request = "%s %s%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\n" % (method, _BASE, path, self.address, _AGENT)
        for name, value in headers:
            request += "%s: %s\r\n" % (name, value.replace("\r", " ").replace("\n", " "))
        data = request.encode("utf-8", "replace") + b"\r\n"
        if body is not None:
            data = data[:-2] + b"Content-Length: %d\r\n\r\n" % len(body) + body
        kept = self.sock is not None
        try:
            answer = self._exchange(data)
        except OSError:
            # A kept connection may have been closed while it was idle.
            if not kept or self.buf:
                raise
            answer = self._exchange(data)
        status, headers, body = answer
        if status // 100 != 2 if expected is None else status != expected:
            raise Refused(_BASE + path, status, body)
        return headers, body

    def _exchange(self, data):
        self.buf = b""
        try:
            if self.sock is None:
                self._connect()
            view = memoryview(data)
            while view:
                view = view[self.sock.send(view):]
            return self._response()
        except OSError:
            self.close()
            raise

    def _connect(self):
        last = None
        for family, kind, proto, _, address in _socket.getaddrinfo(self.host, self.port, 0, _socket.SOCK_STREAM):
            sock = _socket.socket(family, kind, proto)
            try:
                sock.connect(address)
            except OSError as e:
                sock.close()
                last = e
                continue
            sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
            self.sock = sock
            return
        raise last

    def close(self):
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def _more(self):
        data = self.sock.recv(262144)
        if not data:
            raise ConnectionError("the Runtime API closed the connection")
        self.buf += data

    def _line(self):
        while True:
            line, found, rest = self.buf.partition(b"\r\n")
            if found:
                self.buf = rest
                return line.decode("latin-1")
            self._more()

    def _exactly(self, n):
        if n > len(self.buf) + 65536:
            data = bytearray(n)
            got = len(self.buf)
            data[:got] = self.buf
            view = memoryview(data)
            while got < n:
                m = self.sock.recv_into(view[got:])
                if not m:
                    raise ConnectionError("the Runtime API closed the connection")
                got += m
            self.buf = b""
            return bytes(data)
        while len(self.buf) < n:
            self._more()
        data, self.buf = self.buf[:n], self.buf[n:]
        return data

    def _response(self):
        status = 100
        while status // 100 == 1:
            version, status = self._line().split(" ", 2)[:2]
            status = int(status)
            headers = {}
            while True:
                line = self._line()
                if not line:
                    break
                name, _, value = line.partition(":")
                # Values are UTF-8 where they are not ASCII.
                headers[name.strip().lower()] = value.strip().encode("latin-1").decode("utf-8", "replace")
        close = headers.get("connection", "").lower() == "close" or version == "HTTP/1.0"
        if status == 204:
            body = b""
        elif "chunked" in headers.get("transfer-encoding", "").lower():
            parts = []
            while True:
                size = int(self._line().split(";")[0], 16)
                if not size:
                    break
                parts.append(self._exactly(size))
                self._line()
            while self._line():
                pass
            body = b"".join(parts)
        elif "content-length" in headers:
            body = self._exactly(int(headers["content-length"]))
        else:
            close = True
            try:
                while True:
                    self._more()
            except ConnectionError:
                body, self.buf = self.buf, b""
        if close:
            self.close()
        return status, headers, body


def connect(address):
    """Returns (receive, send, fail, init_failed) over the Runtime API at host:port."""
    connection = Connection(address)
    current = ""
    echo = []  # What the answer repeats of the event's head.

    def receive():
        nonlocal current, echo
        headers, body = connection.call("GET", "invocation/next", None)
        get = headers.get
        current = get("lambda-runtime-aws-request-id", "")
        echo = [(_ID, get(_ID))] if _ID in headers else []
        return (
            current,
            int(get("lambda-runtime-deadline-ms") or 0),
            get("lambda-runtime-invoked-function-arn"),
            get("lambda-runtime-trace-id", ""),
            get("lambda-runtime-client-context", ""),
            get("lambda-runtime-cognito-identity", ""),
            get("lambda-runtime-aws-tenant-id") or None,
            get("content-type"),
            body,
        )

    def send(data, content_type):
        connection.call("POST", "invocation/%s/response" % current, None, data, [("Content-Type", content_type)] + echo)

    def fail(kind, body, fault):
        headers = [("Content-Type", "application/json")] + echo
        if fault.isascii() and len(fault) < 16384:  # Servers refuse long headers.
            headers.append((_XRAY, fault))
        connection.call("POST", "invocation/%s/error" % current, None, body.encode("utf-8"), headers)

    def init_failed(kind, body):
        connection.call("POST", "init/error", 202, body.encode("utf-8"), [("Content-Type", "application/json"), (_ERROR_TYPE, kind)])

    return receive, send, fail, init_failed


def snapshot(init_failed):
    """Runs the function's hooks around the moment at which it is snapshotted."""
    from . import errors

    connection = Connection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    hooks = sys.modules.get("snapshot_restore_py")  # Where functions register them.
    try:
        before = hooks.get_before_snapshot() if hooks else []
        while before:
            func, args, kwargs = before.pop()
            func(*args, **kwargs)
        connection.call("GET", "restore/next", 200)
    except BaseException:
        errors.init(init_failed, errors.describe(sys.exc_info()), "Runtime.BeforeSnapshotError", 64)
    try:
        for func, args, kwargs in hooks.get_after_restore() if hooks else []:
            func(*args, **kwargs)
    except BaseException:
        failure = errors.describe(sys.exc_info())
        errors.log(failure)
        connection.call("POST", "restore/error", 202, errors.dumps(failure).encode("utf-8"),
                        [("Content-Type", "application/json"), (_ERROR_TYPE, "Runtime.AfterRestoreError")])
        sys.exit(65)
    connection.close()
