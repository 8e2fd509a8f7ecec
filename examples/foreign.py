#!/usr/bin/python3
"""foreign.py: a stage that is not ours in a pipeline of ours.  It passes
every record on and counts them by type on stderr.  Needs python3-msgpack.

    drun 'dfetch -B lines deltas/ | dcheck | foreign.py | dmerge | dpublish lines'

What every stage owes the stream (dstream(5)): hello first; unknown keys and
types untouched; end only after the end of everything, fail passed on,
nothing after either; a status other than 0 when the stream broke.
"""
# SPDX-License-Identifier: ISC
import collections
import sys

try:
    import msgpack
except ImportError as e:
    print("foreign.py: %s: want python3-msgpack" % e, file=sys.stderr)
    sys.exit(66)

PROTOCOL, IOERR = 76, 74


class Broken(Exception):
    pass


def pairs(items):
    if len(dict(items)) != len(items):
        raise Broken("a key twice")
    return dict(items)


def depth(v):
    inner = v.values() if isinstance(v, dict) else \
        v if isinstance(v, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


def put(rec):
    sys.stdout.buffer.write(msgpack.packb(rec))
    sys.stdout.buffer.flush()


def stage():
    """Records out as they come in; returns the last: end or fail."""
    # raw: records are handled as they arrive, not when a buffer is full
    src = msgpack.Unpacker(sys.stdin.buffer.raw, max_buffer_size=1 << 20,
                           object_pairs_hook=pairs)
    seen, last, at = collections.Counter(), None, 0
    for rec in src:
        kind = rec.get("t") if isinstance(rec, dict) else None
        if not isinstance(kind, str) or not kind or kind[0].isupper():
            raise Broken(f"{str(kind)[:40]}: not a type that I know")
        if (kind == "hello") != (last is None):
            raise Broken("want one hello, as the first record")
        if kind == "hello" and rec.get("v") != 1:
            raise Broken("want version 1 of the format")
        if last and last["t"] in ("end", "fail"):
            raise Broken(f"a record after {last['t']}")
        if depth(rec) > 8:
            raise Broken("deeper than 8")
        last, at = rec, src.tell()
        seen[kind] += 1
        if kind not in ("end", "fail"):     # those wait for the end of file
            put(rec)
    if last is None or last["t"] not in ("end", "fail"):
        raise Broken("no end record: upstream died")
    if src.tell() != at:
        raise Broken(f"bytes after {last['t']}")
    print("foreign.py:", dict(seen), file=sys.stderr)
    return last


def main():
    try:
        try:
            last = stage()
        except (Broken, ValueError, msgpack.UnpackException) as e:
            last = {"t": "fail", "prog": "foreign.py", "status": PROTOCOL,
                    "reasons": [f"foreign.py: stream: {e}"], "n_reasons": 1}
            print(last["reasons"][0], file=sys.stderr)
        put(last)
    except BrokenPipeError:
        return PROTOCOL
    except OSError as e:
        print(f"foreign.py: {e}", file=sys.stderr)
        return IOERR
    return 0 if last["t"] == "end" else PROTOCOL


status = main()
try:
    sys.stdout.close()
except OSError:
    pass
sys.exit(status)
