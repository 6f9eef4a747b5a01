"""JSON beyond the plain types, by the rules of AWS's runtime: its serializer writes
bytes as text, objects with _asdict as objects and Decimals as numbers."""
import json
import sys

import _hearth


def loads(text):
    return json.loads(text)


_quote = json.encoder.encode_basestring_ascii if _hearth.ascii_only() else json.encoder.encode_basestring


def dumps(o):
    chunks = []
    _write(o, chunks.append, set())
    return "".join(chunks)


def _float(o):
    if o != o:
        return "NaN"
    if o in (float("inf"), float("-inf")):
        return "Infinity" if o > 0 else "-Infinity"
    return float.__repr__(o)


def _string(o):
    if isinstance(o, bytes):
        o = str(o, "utf-8")
    elif type(o) is not str:
        o = str.__str__(o)
    return _quote(o)


def _key(o):
    if isinstance(o, (str, bytes)):
        return _string(o)
    if isinstance(o, float):
        return '"%s"' % _float(o)
    if o is True or o is False or o is None:
        return '"%s"' % {True: "true", False: "false", None: "null"}[o]
    if isinstance(o, int):
        return '"%d"' % o if type(o) is int else '"%s"' % int(o)
    raise TypeError("keys must be str, int, float, bool or None, not %s" % o.__class__.__name__)


def _note(e, text):
    if sys.version_info >= (3, 11):
        e.add_note(text)


_DICTS = (dict, frozendict) if sys.version_info >= (3, 15) else dict  # noqa: F821


def _write(o, put, open_):
    if isinstance(o, (str, bytes)):
        put(_string(o))
    elif o is None:
        put("null")
    elif o is True:
        put("true")
    elif o is False:
        put("false")
    elif isinstance(o, int):
        put(str(int(o)))
    elif isinstance(o, float):
        put(_float(o))
    else:
        if id(o) in open_:
            raise ValueError("Circular reference detected")
        open_.add(id(o))
        _write_other(o, put, open_)
        open_.discard(id(o))


def _write_other(o, put, open_):
    as_dict = getattr(o, "_asdict", None)
    if callable(as_dict):
        try:
            as_dict = as_dict()
        except TypeError:
            as_dict = None
        if as_dict is not None:
            if not isinstance(as_dict, dict):
                raise TypeError("_asdict() must return a dict, not %s" % type(as_dict).__name__)
            _write_dict(as_dict, put, open_)
            return
    if isinstance(o, (list, tuple)):
        put("[")
        for i, v in enumerate(o):
            if i:
                put(", ")
            try:
                _write(v, put, open_)
            except BaseException as e:
                _note(e, "when serializing %s item %d" % (type(o).__name__, i))
                raise
        put("]")
    elif isinstance(o, _DICTS):
        _write_dict(o, put, open_)
    else:
        # No function has a Decimal unless it has imported the module.
        decimal = sys.modules.get("decimal")
        if decimal is None or not isinstance(o, decimal.Decimal):
            raise TypeError("Object of type %s is not JSON serializable" % o.__class__.__name__)
        put("NaN" if o.is_nan() else str(o))


def _write_dict(o, put, open_):
    put("{")
    first = True
    for k, v in o.items():
        put(("" if first else ", ") + _key(k) + ": ")
        first = False
        try:
            _write(v, put, open_)
        except BaseException as e:
            _note(e, "when serializing %s item %r" % (type(o).__name__, k))
            raise
    put("}")
