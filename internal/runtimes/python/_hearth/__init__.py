"""Hearth's Python runtime: it loads the function's handler and serves events.

What a function sees is what AWS's runtime shows it. Whatever a plain function
does not need (logging, tracebacks, HTTP, rare JSON) is in modules of this
package that are imported when first used: a start costs little more than the
interpreter's own.
"""
import os
import sys

request_id = None  # of the current event, for log records
tenant_id = None

_environ = os.environ
_PREVIEW = "AWS_Lambda_python3.15"


class Fault(Exception):
    """An error of the runtime itself, reported with a Runtime.… type."""

    def __init__(self, kind, message, trace=None):
        self.kind = kind
        self.message = message
        self.trace = trace


class Unbuffered(object):
    """A text stream that keeps nothing back: a function may be frozen or killed at any time."""

    def __init__(self, stream):
        self.stream = stream

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def write(self, text):
        self.stream.write(text)
        self.stream.flush()

    def writelines(self, lines):
        self.stream.writelines(lines)
        self.stream.flush()


class LambdaContext(object):
    """The second argument of a handler."""

    def __init__(self, invoke_id, client_context, cognito_identity, deadline_ms, arn, tenant):
        get = _environ.get
        self.aws_request_id = invoke_id
        self.log_group_name = get("AWS_LAMBDA_LOG_GROUP_NAME")
        self.log_stream_name = get("AWS_LAMBDA_LOG_STREAM_NAME")
        self.function_name = get("AWS_LAMBDA_FUNCTION_NAME")
        self.memory_limit_in_mb = get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        self.function_version = get("AWS_LAMBDA_FUNCTION_VERSION")
        self.invoked_function_arn = arn
        self.tenant_id = tenant
        self._trace_fields = {}
        if isinstance(client_context, dict) and "w3c" in client_context:
            fields = client_context.pop("w3c")
            if isinstance(fields, dict):
                for name in ("traceparent", "tracestate", "baggage"):
                    if isinstance(fields.get(name), str):
                        self._trace_fields[name] = fields[name]
        self.client_context = None
        if client_context is not None:
            self.client_context = _fill(ClientContext(), client_context)
            if self.client_context.client is not None:
                self.client_context.client = _fill(Client(), self.client_context.client)
        self.identity = identity = CognitoIdentity()
        if cognito_identity is None:
            identity.cognito_identity_id = identity.cognito_identity_pool_id = None
        else:
            identity.cognito_identity_id = cognito_identity.get("cognitoIdentityId")
            identity.cognito_identity_pool_id = cognito_identity.get("cognitoIdentityPoolId")
        self._epoch_deadline_time_in_ms = deadline_ms

    def get_remaining_time_in_millis(self):
        left = self._epoch_deadline_time_in_ms - int(_time() * 1000)
        return left if left > 0 else 0

    def w3c(self):
        return dict(self._trace_fields)

    def log(self, msg):
        if "logging" in sys.modules:
            for handler in sys.modules["logging"].getLogger().handlers:
                if hasattr(handler, "log_sink"):
                    handler.log_sink.log(str(msg))
                    return
            sys.stdout.write(str(msg))
        else:
            # The handler would be there if anything had imported logging.
            sink().log(str(msg))

    def __repr__(self):
        names = ("aws_request_id", "log_group_name", "log_stream_name", "function_name", "memory_limit_in_mb",
                 "function_version", "invoked_function_arn", "client_context", "identity", "tenant_id")
        return _repr(self, names)


class CognitoIdentity(object):
    __slots__ = ["cognito_identity_id", "cognito_identity_pool_id"]

    def __repr__(self):
        return _repr(self, self.__slots__)


class Client(object):
    __slots__ = ["installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name"]

    def __repr__(self):
        return _repr(self, self.__slots__)


class ClientContext(object):
    __slots__ = ["custom", "env", "client"]

    def __repr__(self):
        return _repr(self, self.__slots__)


def _repr(o, names):
    return "%s([%s])" % (o.__class__.__name__, ",".join("%s=%s" % (n, getattr(o, n)) for n in names))


def _fill(o, values):
    for name in o.__class__.__slots__:
        setattr(o, name, values.get(name, None))
    return o


from time import time as _time  # noqa: E402

_sink = None
_telemetry_fd = None


def sink():
    """Where log records of the runtime and of logging go: the telemetry pipe, or standard output."""
    global _sink
    if _sink is None:
        from . import logs

        _sink = logs.FramedSink(_telemetry_fd) if _telemetry_fd is not None else logs.StandardSink()
    return _sink


def ascii_only():
    """Answers escape what is not ASCII up to Python 3.11, as in AWS's runtimes."""
    return _environ.get("AWS_EXECUTION_ENV") not in (
        "AWS_Lambda_python3.12", "AWS_Lambda_python3.13", "AWS_Lambda_python3.14", "AWS_Lambda_python3.15")


# ---- JSON


class _Scan:
    strict = True
    object_hook = object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = {"-Infinity": float("-inf"), "Infinity": float("inf"), "NaN": float("nan")}.__getitem__
    memo = {}


def codec():
    """Returns (loads, dumps): of text to a value, and of a value to text."""
    try:
        import _json
    except ImportError:
        from . import rare

        return rare.loads, rare.dumps
    scan = _json.make_scanner(_Scan)

    def loads(text):
        try:
            value, end = scan(text, 0)
            if end == len(text):
                return value
            text = text.strip(" \t\n\r")
            value, end = scan(text, 0)
            if end == len(text):
                return value
        except Exception:
            pass  # The scanner's errors depend on json being imported.
        # Space before the value, or an error to be put in words.
        from . import rare

        return rare.loads(text)

    def unusual(o):
        raise TypeError

    quote = _json.encode_basestring_ascii if ascii_only() else _json.encode_basestring
    encode = _json.make_encoder(None, unusual, quote, None, ": ", ", ", False, False, True)
    leaves = frozenset((str, int, float, bool, type(None)))
    keys = frozenset((str,))

    def plain(o, kind):
        # Whether o holds nothing that AWS's serializer treats in its own way.
        if kind is dict:
            if not keys.issuperset(map(type, o)):
                return False
            o = o.values()
        if leaves.issuperset(map(type, o)):
            return True
        for v in o:
            kind = type(v)
            if kind in leaves:
                continue
            if kind is not dict and kind is not list and kind is not tuple or not plain(v, kind):
                return False
        return True

    def dumps(o):
        kind = type(o)
        if kind is str:
            return quote(o)
        if o is None:
            return "null"
        try:
            if kind in leaves or (kind is dict or kind is list or kind is tuple) and plain(o, kind):
                return "".join(encode(o, 0))
        except Exception:
            pass
        from . import rare

        return rare.dumps(o)

    return loads, dumps


# ---- the function


def load(name):
    """Imports the handler that _HANDLER names."""
    modname, dot, fname = name.rpartition(".")
    if not dot:
        raise Fault("Runtime.MalformedHandlerName",
                    "Bad handler '%s': not enough values to unpack (expected 2, got 1)" % name)
    import importlib

    try:
        if modname.split(".")[0] in sys.builtin_module_names:
            raise Fault("Runtime.BuiltInModuleConflict", "Cannot use built-in module %s as a handler module" % modname)
        module = importlib.import_module(modname.replace("/", "."))
    except ImportError as e:
        raise Fault("Runtime.ImportModuleError", "Unable to import module '%s': %s" % (modname, e))
    except SyntaxError as e:
        raise Fault("Runtime.UserCodeSyntaxError", "Syntax error in module '%s': %s" % (modname, e),
                    ['  File "%s" Line %s\n    %s' % (e.filename, e.lineno, e.text)])
    try:
        return getattr(module, fname)
    except AttributeError:
        raise Fault("Runtime.HandlerNotFound", "Handler '%s' missing on module '%s'" % (fname, modname))


def _parse(loads, text, name):
    try:
        return loads(text)
    except Exception as e:
        raise Fault("Runtime.LambdaContextUnmarshalError", "Unable to parse %s JSON: %s" % (name, e))


class _LoggingWatch:
    """Sets up logging's root handler once a function imports logging, before its code goes on."""

    def find_spec(self, name, path=None, target=None):
        if name != "logging":
            return None
        sys.meta_path.remove(self)
        import _frozen_importlib

        spec = _frozen_importlib._find_spec(name, path)
        if spec is None or spec.loader is None:
            return spec
        self.loader = spec.loader
        spec.loader = self
        return spec

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        from . import logs

        logs.setup(module)


# ---- how events come


def framed(fd):
    """Returns (receive, send, fail, init_failed) over the agent's framed socket."""
    import io

    os.set_blocking(fd, True)
    os.set_inheritable(fd, False)
    readinto = io.FileIO(fd, "rb", closefd=False).readinto
    write = os.write
    buf = bytearray(65536)
    view = memoryview(buf)
    number = int.from_bytes
    ready = b"\0\0\0\1N"

    def put(data):
        n = write(fd, data)
        while n < len(data):
            data = memoryview(data)[n:]
            n = write(fd, data)

    def receive():
        nonlocal ready
        if ready:
            put(ready)
            ready = b""
        n = readinto(buf)
        while n < 4:
            m = readinto(view[n:])
            if not m:
                sys.exit(0)  # The environment is going.
            n += m
        end = number(buf[:4], "big") + 4
        v = view
        if n < end:
            if end > len(buf):
                v = memoryview(bytearray(end))
                v[:n] = view[:n]
            while n < end:
                m = readinto(v[n:end])
                if not m:
                    sys.exit(0)
                n += m
        head = 9 + number(v[5:9], "big")
        rid, deadline, arn, trace, client, identity, tenant = str(v[9:head], "utf-8").split("\0")
        return rid, int(deadline), arn, trace, client, identity, tenant or None, "application/json", v[head:end]

    def send(data, content_type):
        if content_type != "application/json":
            data = content_type.encode() + b"\0" + data
            put((len(data) + 1).to_bytes(4, "big") + b"T" + data)
        else:
            put((len(data) + 1).to_bytes(4, "big") + b"R" + data)

    def fail(kind, body, _fault, letter=b"F"):
        data = kind.replace("\0", "").encode("utf-8", "replace") + b"\0" + body.encode("utf-8")
        put((len(data) + 1).to_bytes(4, "big") + letter + data)

    def init_failed(kind, body):
        fail(kind, body, None, b"I")

    return receive, send, fail, init_failed


def connect():
    """Chooses between the framed socket and the Runtime API."""
    fd, api = _environ.pop("_HEARTH_FD", None), _environ.pop("_HEARTH_RUNTIME_API", None)
    if fd is not None and fd.isdigit():
        try:
            if api == _environ.get("AWS_LAMBDA_RUNTIME_API") and "AWS_LAMBDA_MAX_CONCURRENCY" not in _environ:
                return framed(int(fd))
            os.set_inheritable(int(fd), False)
        except OSError:
            pass  # A wrapper has closed it.
    from . import http

    return http.connect(_environ["AWS_LAMBDA_RUNTIME_API"])


def serve(handler_name, connection):
    """Loads the function and serves events until the process ends."""
    global request_id, tenant_id
    receive, send, fail, init_failed = connection
    loads, dumps = codec()
    snapshot = _environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start"
    try:
        if _environ.get("AWS_EXECUTION_ENV") == _PREVIEW and not _environ.get("LAMBDA_DISABLE_PREVIEW_WARN"):
            from . import logs

            logs.warn_of_preview()
        handler = load(handler_name)
    except Fault as e:
        from . import errors

        errors.init(init_failed, errors.payload(e.message, e.kind, e.trace))
    except Exception:
        from . import errors

        errors.init(init_failed, errors.describe(sys.exc_info()))
    if snapshot:
        from . import http

        http.snapshot(init_failed)
    xray = _environ.pop("_X_AMZN_TRACE_ID", "")
    while True:
        rid, deadline, arn, trace, client, identity, tenant, content_type, body = receive()
        request_id = rid
        tenant_id = tenant
        if trace != xray:
            xray = trace
            if trace:
                _environ["_X_AMZN_TRACE_ID"] = trace
            else:
                _environ.pop("_X_AMZN_TRACE_ID", None)
        failure = None
        try:
            context = LambdaContext(
                rid,
                _parse(loads, client, "Client Context") if client else None,
                _parse(loads, identity, "Cognito Identity") if identity else None,
                deadline, arn, tenant)
            if content_type == "application/json":
                try:
                    event = loads(str(body, "utf-8"))
                except Exception as e:
                    raise Fault("Runtime.UnmarshalError", "Unable to unmarshal input: %s" % e)
            else:
                event = bytes(body)
            response = handler(event, context)
            if isinstance(response, bytes):
                result, content_type = response, "application/unknown"
            else:
                try:
                    result = dumps(response)
                except Exception as e:
                    raise Fault("Runtime.MarshalError", "Unable to marshal response: %s" % e)
                content_type = "application/json"
        except Fault as e:
            from . import errors

            failure = errors.payload(e.message, e.kind, e.trace, rid)
            fault = errors.xray_fault("LambdaValidationError", e.message, [])
        except Exception:
            from . import errors

            failure = errors.describe(sys.exc_info(), rid)
            fault = errors.xray_fault(*errors.xray_parts(sys.exc_info()))
        if failure is not None:
            errors.log(failure)
        context = event = response = body = None  # What the function left goes before the answer does.
        if failure is None:
            send(result if isinstance(result, bytes) else result.encode("utf-8"), content_type)
            result = None
        else:
            fail(failure["errorType"], errors.dumps(failure), fault)


def main():
    # -S leaves these to us, in the same order: the interpreter's packages come last.
    from . import site

    site.setup()
    task, opt = _environ.get("LAMBDA_TASK_ROOT", "/var/task"), _environ.pop("_HEARTH_OPT", "/opt")
    sys.path[0:1] = [task, "%s/python/lib/python%d.%d/site-packages" % ((opt,) + sys.version_info[:2]), opt + "/python"]
    sys.stdout = Unbuffered(sys.stdout)
    sys.stderr = Unbuffered(sys.stderr)
    global _telemetry_fd
    fd = _environ.pop("_LAMBDA_TELEMETRY_LOG_FD", None)
    if fd is not None:
        _telemetry_fd = int(fd)
        os.set_inheritable(_telemetry_fd, False)
    sys.meta_path.insert(0, _LoggingWatch())
    if "AWS_LAMBDA_MAX_CONCURRENCY" in _environ:
        from . import workers

        workers.run(_environ["_HANDLER"])
    else:
        serve(_environ["_HANDLER"], connect())
