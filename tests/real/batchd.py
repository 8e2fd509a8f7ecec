#!/usr/bin/env python3
"""batchd.py: a small provider of OpenAI's batch interface, for tests.

    batchd.py serve DIR             on loopback; DIR/url says where
    batchd.py new DIR INPUT         a batch of these requests: prints its id
    batchd.py set DIR ID KEY=JSON   change its object (KEY may be a.b)
    batchd.py finish DIR ID [OPT=VALUE ...]
                                    its results: dim=4 status=completed
                                    fail=ID:STATUS,... (errors go to the
                                    error file, with into=output among the
                                    results) miss=ID,... (no answer)
                                    order=given|reverse  at=SECONDS
    batchd.py fault DIR STATUS N [RETRY_AFTER [PATH]]
                                    answer so N times (at paths that have
                                    PATH in them)

All state lies in DIR: batches/ID.json, files/ID (files/ID.bytes: what is
said of its size), key (the one that must be
sent; a file that is not there wants none), log (a line for each request).
A test may change any of it while the server runs.  Authorization is
wanted, Range is honoured, ETags are not given, as with the original.
SPDX-License-Identifier: ISC
"""
import hashlib
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LOCK = threading.Lock()
START = 1700000000


def path(top, *more):
    return os.path.join(top, *more)


def replace(name, data):
    with open(name + ".new", "wb") as f:
        f.write(data)
    os.rename(name + ".new", name)


def load(top, ident):
    with open(path(top, "batches", ident + ".json"), "rb") as f:
        return json.loads(f.read())


def store(top, ident, obj):
    replace(path(top, "batches", ident + ".json"),
            json.dumps(obj).encode())


# -- what a test does to it ------------------------------------------------

def fresh(top):
    for d in ("batches", "files"):
        os.makedirs(path(top, d), exist_ok=True)
    return len(os.listdir(path(top, "batches"))) + 1


def new(top, name):
    n = fresh(top)
    ident, given = "batch_%04d" % n, "file-in%04d" % n
    with open(name, "rb") as f:
        data = f.read()
    replace(path(top, "files", given), data)
    total = sum(1 for x in data.split(b"\n") if x.strip())
    store(top, ident, {
        "id": ident, "object": "batch", "endpoint": "/v1/embeddings",
        "errors": None, "input_file_id": given, "completion_window": "24h",
        "status": "validating", "output_file_id": None,
        "error_file_id": None, "created_at": START + n,
        "in_progress_at": None, "expires_at": START + n + 86400,
        "finalizing_at": None, "completed_at": None, "failed_at": None,
        "expired_at": None, "cancelling_at": None, "cancelled_at": None,
        "request_counts": {"total": total, "completed": 0, "failed": 0},
        "metadata": None})
    print(ident)


def change(top, ident, pairs):
    obj = load(top, ident)
    for p in pairs:
        key, value = p.split("=", 1)
        at = obj
        *way, last = key.split(".")
        for k in way:
            at = at[k]
        at[last] = json.loads(value)
    store(top, ident, obj)


def embedding(ident, dim):
    """Of an id always the same; cheap where dim is large."""
    seed = hashlib.sha256(ident.encode()).digest()
    head = ["%.7f" % (b / 256 - 0.5) for b in seed[:min(dim, 8)]]
    return "[" + ",".join(head + ["0.0123456"] * (dim - len(head))) + "]"


def result(n, ident, model, dim):
    return ('{"id": "batch_req_%d", "custom_id": %s, "response": '
            '{"status_code": 200, "request_id": "req_%d", "body": '
            '{"object": "list", "data": [{"object": "embedding", "index": 0,'
            ' "embedding": %s}], "model": %s, "usage": {"prompt_tokens": 3,'
            ' "total_tokens": 3}}}, "error": null}\n' % (
                n, json.dumps(ident), n, embedding(ident, dim),
                json.dumps(model)))


def failure(n, ident, status):
    """As the original writes them: with a status, in the body; of an
    expired batch without a response."""
    if status == "expired":
        return json.dumps({
            "id": "batch_req_%d" % n, "custom_id": ident, "response": None,
            "error": {"code": "batch_expired", "message": "This request "
                      "could not be executed in time."}}) + "\n"
    return json.dumps({
        "id": "batch_req_%d" % n, "custom_id": ident, "response": {
            "status_code": int(status), "request_id": "req_%d" % n,
            "body": {"error": {"message": "no luck with " + ident,
                               "type": "server_error", "param": None,
                               "code": None}}}, "error": None}) + "\n"


def finish(top, ident, pairs):
    o = {"dim": "4", "status": "completed", "fail": "", "miss": "",
         "into": "errors", "order": "given", "at": str(START + 3600)}
    o.update(p.split("=", 1) for p in pairs)
    fail = dict(x.rsplit(":", 1) for x in o["fail"].split(",") if x)
    miss = set(o["miss"].split(","))
    obj = load(top, ident)
    num = ident.split("_")[1]
    ok, bad = [], []
    with open(path(top, "files", obj["input_file_id"]), "rb") as f:
        for n, line in enumerate(f, 1):
            if not line.strip():
                continue
            req = json.loads(line)
            name = req["custom_id"]
            if name in miss:
                continue
            if name not in fail:
                ok.append(result(n, name, req["body"]["model"],
                                 int(o["dim"])))
            elif o["into"] == "errors":
                bad.append(failure(n, name, fail[name]))
            else:
                ok.append(failure(n, name, fail[name]))
    if o["order"] == "reverse":
        ok.reverse()
        bad.reverse()
    for key, kind, lines in (("output_file_id", "out", ok),
                             ("error_file_id", "err", bad)):
        obj[key] = None
        if lines:
            obj[key] = "file-%s%s" % (kind, num)
            replace(path(top, "files", obj[key]), "".join(lines).encode())
    obj["status"] = o["status"]
    obj[o["status"] + "_at"] = int(o["at"])
    good = len(ok) if o["into"] == "errors" else len(ok) - len(fail)
    obj["request_counts"].update(completed=good, failed=len(fail))
    store(top, ident, obj)


def fault(top, status, times, after="", where=""):
    replace(path(top, "fault"), json.dumps(
        [int(status), int(times), after, where]).encode())


# -- the server ------------------------------------------------------------

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    top = None

    def log_message(self, format, *args):
        pass

    def note(self, status):
        with LOCK, open(path(self.top, "log"), "a") as f:
            f.write("%s %s %s %s\n" % (self.command, self.path, status,
                                       self.headers.get("Range", "-")))

    def say(self, status, body, kind="application/json", more=()):
        self.note(status)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for k, v in more:
            self.send_header(k, v)
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status, text, more=()):
        self.say(status, json.dumps({"error": {
            "message": text, "type": "invalid_request_error", "param": None,
            "code": None}}).encode(), more=more)

    def faulty(self):
        name = path(self.top, "fault")
        with LOCK:
            try:
                with open(name, "rb") as f:
                    status, left, after, where = json.loads(f.read())
            except FileNotFoundError:
                return False
            if left <= 0 or where not in self.path:
                return False
            replace(name, json.dumps([status, left - 1, after,
                                      where]).encode())
        self.refuse(status, "asked to fail",
                    [("Retry-After", after)] if after else [])
        return True

    def allowed(self):
        try:
            with open(path(self.top, "key")) as f:
                key = f.read().strip()
        except FileNotFoundError:
            return True
        got = self.headers.get("Authorization", "")
        if got == "Bearer " + key:
            return True
        # the original quotes it, too, if not whole
        self.refuse(401, "Incorrect API key provided: %s." %
                    got.replace("Bearer ", ""))
        return False

    def content(self, name):
        size = os.stat(name).st_size
        first, status, more = 0, 200, []
        r = self.headers.get("Range", "")
        if r.startswith("bytes=") and r.endswith("-"):
            first = int(r[6:-1])
            if first >= size:
                return self.refuse(416, "no such range")
            status = 206
            more.append("bytes %d-%d/%d" % (first, size - 1, size))
        self.note(status)
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(size - first))
        for v in more:
            self.send_header("Content-Range", v)
        self.end_headers()
        with open(name, "rb") as f:
            f.seek(first)
            while True:
                piece = f.read(65536)
                if not piece:
                    return None
                self.wfile.write(piece)

    def do_GET(self):
        if self.faulty() or not self.allowed():
            return
        way = self.path.split("?")[0].strip("/").split("/")
        if way[:1] != ["v1"] or len(way) < 3 or ".." in way:
            return self.refuse(404, "no such thing")
        name = path(self.top, way[1], way[2])
        if way[1] == "batches" and len(way) == 3:
            try:
                with open(name + ".json", "rb") as f:
                    return self.say(200, f.read())
            except FileNotFoundError:
                return self.refuse(404, "No batch found with id '%s'." %
                                   way[2])
        if way[1] != "files" or not os.path.exists(name):
            return self.refuse(404, "No such File object: " + way[2])
        if way[3:] == ["content"]:
            return self.content(name)
        size = os.stat(name).st_size
        if os.path.exists(name + ".bytes"):
            with open(name + ".bytes") as f:
                size = int(f.read())
        return self.say(200, json.dumps({
            "id": way[2], "object": "file", "bytes": size,
            "created_at": START, "filename": way[2] + ".jsonl",
            "purpose": "batch_output", "status": "processed"}).encode())


def serve(top):
    fresh(top)
    Handler.top = top
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    replace(path(top, "url"), b"http://127.0.0.1:%d/v1\n" %
            server.server_port)
    server.serve_forever()


def main():
    verb, top, args = sys.argv[1], sys.argv[2], sys.argv[3:]
    if verb == "serve":
        serve(top)
    elif verb == "new":
        new(top, args[0])
    elif verb == "set":
        change(top, args[0], args[1:])
    elif verb == "finish":
        finish(top, args[0], args[1:])
    elif verb == "fault":
        fault(top, *args)
    else:
        sys.exit("batchd.py: no such verb: " + verb)


if __name__ == "__main__":
    main()
