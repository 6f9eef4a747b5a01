package runtimestest

// py is a case of one file, app.py.
func py(name, code string, payloads ...string) Case {
	c := Case{Name: name, Files: map[string]string{"app.py": code}, Handler: "app.handler"}
	for _, p := range payloads {
		c.Events = append(c.Events, Event{Payload: p})
	}
	return c
}

// pySnap is a case that is snapshotted after INIT.
func pySnap(name, code string) Case {
	c := py(name, "from snapshot_restore_py import *\n"+code+"def handler(event, context):\n    return 'served'\n")
	return c.with("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
}

func (c Case) with(env ...string) Case {
	c.Env = map[string]string{}
	for i := 0; i < len(env); i += 2 {
		c.Env[env[i]] = env[i+1]
	}
	return c
}

func (c Case) named(name, handler string) Case {
	c.Name, c.Handler = name, handler
	return c
}

func (c Case) file(name, text string) Case {
	c.Files[name] = text
	return c
}

const pyEcho = "def handler(event, context):\n    return event\n"

const pyLogging = `
import logging
logging.warning("at import")
log = logging.getLogger("mine")
def handler(event, context):
    logging.debug("debug")
    log.setLevel("DEBUG")
    log.debug("mine %s", event)
    logging.info("info")
    log.warning("two\nlines and ünïcödé")
    log.error({"a": 1, "b": object})
    log.critical("with extra", extra={"order": 7, "who": {"x": [1]}})
    try:
        1 / 0
    except ZeroDivisionError:
        log.exception("it %s", "failed")
    context.log("plain\n")
    print("printed")
    return context.aws_request_id
`

var pythonCases = []Case{
	py("echo", pyEcho, `{"a":1,"b":[true,false,null,"x"]}`, `[]`, `"text"`, `1`, `null`, `{}`),
	py("unicode", pyEcho, `{"ключ":"значение 😀 \u2028\u2029 \u00e9 \ud83d\ude00 \u007f"}`, `"日本語"`, `"\u0000\u001f\"\\\/\b\f\n\r\t"`),
	py("numbers", pyEcho, `[0,-0,-0.0,1e400,-1e400,1.0,1e16,1e-7,123456789012345678901234567890,0.1,1E5,5e-324]`),
	py("none", "def handler(event, context):\n    pass\n"),
	py("nan", "def handler(event, context):\n    return [float('nan'), float('inf'), -float('inf')]\n"),
	py("spaces around", pyEcho, ` {"a" : 1 } `, "\n[1]\n"),
	py("deep", "def handler(event, context):\n    r = event\n    for i in range(60):\n        r = [r, {'k': r if i < 3 else i}]\n    return r\n"),
	py("large", "def handler(event, context):\n    return {'n': len(event['x']), 'back': event['x'] * 2}\n", `{"x":"`+repeat("ab é", 300_000)+`"}`),
	py("bytes", "def handler(event, context):\n    return b'\\x00\\xffraw'\n"),
	py("bytes inside", "def handler(event, context):\n    return {'b': b'text \\xc3\\xa9', b'k': 1}\n"),
	py("bad bytes inside", "def handler(event, context):\n    return {'b': b'\\xff'}\n"),
	py("bytearray", "def handler(event, context):\n    return bytearray(b'x')\n"),
	py("decimal", `
from decimal import Decimal
def handler(event, context):
    return {"a": Decimal("1.10"), "b": [Decimal("NaN"), Decimal("1E+3"), Decimal("-0.0")], "c": Decimal("Infinity")}
`),
	py("namedtuple", `
from collections import namedtuple, OrderedDict, defaultdict
P = namedtuple("P", "x y")
def handler(event, context):
    d = defaultdict(list)
    d["k"].append(P(5, P(6, 7)))
    return {"p": P(1, 2), "t": (1, 2), "l": [P(3, 4)], "o": OrderedDict(b=1, a=2), "d": d}
`),
	py("keys", "def handler(event, context):\n    return {1: 'a', 2.5: 'b', True: 'c', None: 'd', float('nan'): 'e', 's': 'f', 10**30: 'g'}\n"),
	py("bad key", "def handler(event, context):\n    return {'a': {(1, 2): 'a'}}\n"),
	py("enums", `
import enum
class I(enum.IntEnum):
    A = 3
class S(str, enum.Enum):
    B = "b"
class F(float):
    def __repr__(self):
        return "odd"
def handler(event, context):
    return {"i": I.A, "s": S.B, I.A: S.B, "f": F(2.5), "t": True}
`),
	py("set", "def handler(event, context):\n    return {'a': {1}}\n"),
	py("object", "class Thing:\n    pass\ndef handler(event, context):\n    return Thing()\n"),
	py("circular", "def handler(event, context):\n    a = []\n    a.append(a)\n    return a\n"),
	py("datetime", "import datetime\ndef handler(event, context):\n    return [datetime.date(2026, 1, 2)]\n"),
	py("generator", "def handler(event, context):\n    yield 1\n"),
	py("coroutine", "async def handler(event, context):\n    return 1\n").dropping(`(?s)[^\n]*:\d+: RuntimeWarning: .*`),
	py("exception", "def inner(x):\n    raise ValueError('bad ünï ' + x)\ndef handler(event, context):\n    inner('value')\n", `{}`, `{}`),
	py("exception with cause", `
class Mine(Exception):
    pass
def handler(event, context):
    try:
        try:
            {}["k"]
        except KeyError as e:
            raise Mine("outer\nsecond line") from e
    except Mine:
        raise
`),
	py("exception without text", "class Empty(Exception):\n    pass\ndef handler(event, context):\n    raise Empty\n"),
	py("exception in a library", "import json\ndef handler(event, context):\n    return json.loads('{')\n"),
	py("exception group", "def handler(event, context):\n    raise RuntimeError('a', 1, None)\n"),
	py("assertion", "def handler(event, context):\n    assert event == 1, 'not one'\n"),
	py("recursion", "def f(n):\n    return f(n + 1)\ndef handler(event, context):\n    f(0)\n").dropping(`(?s)"stackTrace": \[.*?\]|Traceback.*`),
	py("sys.exit", "import sys\ndef handler(event, context):\n    print('before')\n    sys.exit(3)\n"),
	py("sys.exit with words", "import sys\ndef handler(event, context):\n    sys.exit('good bye')\n"),
	py("exit", "def handler(event, context):\n    exit(7)\n"),
	py("os._exit", "import os\ndef handler(event, context):\n    os._exit(9)\n"),
	py("killed", "import os, signal\ndef handler(event, context):\n    os.kill(os.getpid(), signal.SIGKILL)\n"),
	py("exit at import", "import sys\nsys.exit(5)\n"),
	py("exception at import", "def f():\n    return 1 / 0\nf()\n"),
	py("import error", "import nowhere_to_be_found\n"),
	py("import error inside", "from json import nothing_there\n"),
	py("missing module", pyEcho).named("missing module", "other.handler"),
	py("missing handler", pyEcho).named("missing handler", "app.nothing"),
	py("malformed handler", pyEcho).named("malformed handler", "app"),
	py("builtin module", pyEcho).named("builtin module", "sys.exit"),
	py("not callable", "handler = 5\n").differing("the only frame is the client's own call of the handler"),
	py("wrong arguments", "def handler(event):\n    return 1\n").differing("the only frame is the client's own call of the handler"),
	py("syntax error", "def handler(event, context)\n    return 1\n"),
	py("indentation error", "def handler(event, context):\nreturn 1\n"),
	py("package with slashes", "").file("pkg/sub/mod.py", pyEcho).named("package with slashes", "pkg/sub/mod.handler"),
	py("package with dots", "").file("pkg/__init__.py", "from . import mod\n").file("pkg/mod.py", pyEcho).named("package with dots", "pkg.mod.handler"),
	py("module state", "n = 0\ndef handler(event, context):\n    global n\n    n += 1\n    return n\n", `{}`, `{}`, `{}`),
	py("callable object", "class H:\n    def __call__(self, event, context):\n        return 'called'\nhandler = H()\n"),
	{
		Name: "context", Handler: "app.handler", Files: map[string]string{"app.py": `
import os
def handler(event, context):
    left = context.get_remaining_time_in_millis()
    cc = context.client_context
    print(context.client_context, context.identity)
    print(repr(context).replace(type(context).__name__, "C"))
    return {
        "left": isinstance(left, int) and 0 < left <= 60000,
        "names": sorted(n for n in dir(context) if not n.startswith("_")),
        "id": context.aws_request_id, "group": context.log_group_name, "stream": context.log_stream_name,
        "name": context.function_name, "memory": context.memory_limit_in_mb, "version": context.function_version,
        "arn": context.invoked_function_arn, "tenant": context.tenant_id, "w3c": context.w3c(),
        "client": cc and [cc.custom, cc.env, cc.client and [cc.client.installation_id, cc.client.app_title]],
        "identity": [context.identity.cognito_identity_id, context.identity.cognito_identity_pool_id],
        "trace": os.environ.get("_X_AMZN_TRACE_ID"),
    }
`}, Events: []Event{
			{},
			{ClientContext: `{"custom":{"a":1},"env":{"b":"2"},"client":{"installation_id":"i","app_title":"t"},"w3c":{"traceparent":"00-1","x":1}}`,
				CognitoIdentity: `{"cognitoIdentityId":"id","cognitoIdentityPoolId":"pool"}`, TraceID: "Root=1-2-3;Parent=4;Sampled=1", TenantID: "blue"},
			{ClientContext: `{"custom":{}}`},
			{ClientContext: `{"broken`},
			{CognitoIdentity: `oops`},
			{TraceID: "Root=5"},
		},
	},
	py("environment", `
import os, sys
def handler(event, context):
    hidden = ("LC_", "PYTHON", "AWS_LAMBDA_RUNTIME_API", "_HEARTH")
    return [sorted(k for k in os.environ if not k.startswith(hidden)), [k for k in os.environ if "HEARTH" in k or "TELEMETRY" in k],
            os.getcwd() == os.environ["LAMBDA_TASK_ROOT"], sys.path[0] == os.environ["LAMBDA_TASK_ROOT"], sys.path[1:3]]
`),
	py("encoding", "import sys\ndef handler(event, context):\n    print('ünï', file=sys.stderr)\n    return [sys.stdout.encoding, open(__file__).encoding.lower(), sys.getfilesystemencoding()]\n"),
	py("printing", "import sys\nprint('at import')\ndef handler(event, context):\n    print('a', 1, None)\n    print('no newline', end='')\n    sys.stderr.write('error stream\\n')\n    sys.stdout.writelines(['x\\n', 'y\\n'])\n    print('two\\nlines')\n", `{}`, `{}`),
	py("logging", pyLogging, `{}`, `{"b":2}`),
	py("logging with a level", pyLogging, `{}`).with("AWS_LAMBDA_LOG_LEVEL", "INFO").named("logging with a level", "app.handler"),
	py("logging as JSON", pyLogging, `{}`, `{"b":2}`).with("AWS_LAMBDA_LOG_FORMAT", "JSON"),
	py("logging as JSON with a level", pyLogging).with("AWS_LAMBDA_LOG_FORMAT", "json", "AWS_LAMBDA_LOG_LEVEL", "ERROR"),
	py("logging as JSON with TRACE", pyLogging).with("AWS_LAMBDA_LOG_FORMAT", "JSON", "AWS_LAMBDA_LOG_LEVEL", "TRACE"),
	py("logging imported late", "def handler(event, context):\n    import logging\n    logging.getLogger().warning('late %d', 1)\n    return [type(h).__name__ for h in logging.getLogger().handlers]\n", `{}`, `{}`),
	py("logging set up by the function", "import logging\nlogging.basicConfig(level='DEBUG')\nlogging.getLogger().setLevel('INFO')\ndef handler(event, context):\n    logging.info('shown')\n    logging.debug('not shown')\n"),
	py("exception as JSON", "def handler(event, context):\n    raise ValueError('bad ünï')\n").with("AWS_LAMBDA_LOG_FORMAT", "JSON"),
	py("import error as JSON", "import nowhere_to_be_found\n").with("AWS_LAMBDA_LOG_FORMAT", "JSON"),
	{
		Name: "logging with a tenant", Handler: "app.handler", Env: map[string]string{"AWS_LAMBDA_LOG_FORMAT": "JSON"},
		Files:  map[string]string{"app.py": "import logging\ndef handler(event, context):\n    logging.error('x')\n"},
		Events: []Event{{TenantID: "blue"}, {}},
	},
	py("warnings", "import warnings\ndef handler(event, context):\n    warnings.warn('careful')\n    return 1\n"),
	py("threads", "import threading\ndef handler(event, context):\n    r = []\n    ts = [threading.Thread(target=r.append, args=(i,)) for i in range(4)]\n    [t.start() for t in ts]\n    [t.join() for t in ts]\n    return sorted(r)\n"),
	py("subprocess", "import subprocess\ndef handler(event, context):\n    subprocess.run(['echo', 'child'])\n    return subprocess.run(['cat'], input=b'x', stdout=subprocess.PIPE).stdout.decode()\n"),
	py("asyncio", "import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    return 'done'\ndef handler(event, context):\n    return asyncio.run(f())\n"),
	py("surrogates", "def handler(event, context):\n    return 'a\\ud800b'\n").dropping(`(?s)Traceback.*`),
	py("several events at once", "import logging, os\ndef handler(event, context):\n    logging.error('x')\n    print('printed')\n    return [event, '_X_AMZN_TRACE_ID' in os.environ]\n", `{"a":1}`).with("AWS_LAMBDA_MAX_CONCURRENCY", "2"),
	py("exception with several events at once", "def handler(event, context):\n    return 1 / 0\n").with("AWS_LAMBDA_MAX_CONCURRENCY", "2"),
	pySnap("snapshot", "register_before_snapshot(print, 'before 1')\nregister_before_snapshot(print, 'before 2')\n@register_after_restore\ndef after():\n    print('after')\n"),
	pySnap("exception before a snapshot", "register_before_snapshot(lambda: 1 / 0)\n").differing("the first frame is the client's own call of the hook"),
	pySnap("exception after a restore", "register_after_restore(lambda: 1 / 0)\n").differing("the first frame is the client's own call of the hook"),
	py("builtins of site", "def handler(event, context):\n    return [repr(exit), repr(quit), repr(help)]\n"),
}

func (c Case) dropping(pattern string) Case { c.Drop = pattern; return c }
func (c Case) differing(why string) Case    { c.Differs = why; return c }

func repeat(s string, n int) string {
	b := make([]byte, 0, len(s)*n)
	for range n {
		b = append(b, s...)
	}
	return string(b)
}
