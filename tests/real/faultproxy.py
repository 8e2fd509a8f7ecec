#!/usr/bin/python3
"""faultproxy.py DIR HOST:PORT: stands before an HTTP server on loopback and
fails just those requests that DIR/rules names; all others pass, byte for
byte, Host included, so that signatures hold.  Only "Expect: 100-continue" is
answered here.  It is no cache, knows no TLS, and nothing in it is random.

DIR/url says where it listens.  DIR/rules is read anew when it was replaced
(write it aside and rename it), and then all counts begin anew.  A line:

    METHOD REGEX WHICH WHERE ACTION [ARG...] [after=S] [first=CMD] [then=CMD]

METHOD and REGEX (searched in the request's target; no spaces) say what it is
about, * is any method; WHICH of those: *, N, N-M or N-.  Each rule counts all
that it is about; the first whose turn it is is done.  # begins a comment.
WHICH may also be N%: so many of a hundred of them.  Each request has one lot,
the same in every run, so that the shares of rules about it add up.

WHERE   not    the server never sees the request
        done   the server has answered before anything is done here
ACTION  pass            what the server says (nothing, when not)
        reset | empty   RST | FIN, without a byte of an answer
        hang            silence, until the client goes
        status N [CODE] that status, with S3's error CODE in the body
        error [CODE]    200 with an error in the body
        redirect [URL]  307 to URL; to itself without one
        cut N | tear N  N bytes of the answer's body, then FIN | RST
        stall N         N bytes of it, then silence, until the client goes
        flip N          one bit of its byte N is wrong
        length N        Content-Length says N more (or, -N, fewer)
        slow N          N bytes of it a second
        delay S         up to S seconds late, by lot; half of that before the
                        server sees it
        header H VALUE  the answer's header H is VALUE
after=S is a Retry-After; CMD, an executable, is run as "CMD METHOD TARGET"
before the request goes on (first=), or between what the server did or did
not do and the answer (then=).

DIR/log, flushed before the client sees anything of it:
    ask N METHOD TARGET RULE WHERE ACTION   RULE: 0 none, 1 the first line
    hook N STATUS                           of a CMD that failed
    end N UPSTREAM STATUS IN OUT            what the server said, what the
            client was told (- nothing), bytes of both bodies
Every ask is followed by its end, which may come after the client has gone.
SPDX-License-Identifier: ISC
"""
import hashlib
import os
import re
import select
import socket
import struct
import subprocess
import sys
import threading
import time

PIECE = 1 << 18         # bytes moved at once
HEAD_MAX = 1 << 17      # bytes of a request's or an answer's head
IDLE = 2                # s a connection to the server is kept unused

WITH_NOT = ('pass', 'reset', 'empty', 'hang', 'status', 'error', 'redirect')
NEEDS = {'status': 1, 'cut': 1, 'tear': 1, 'stall': 1, 'flip': 1,
         'length': 1, 'slow': 1, 'header': 2, 'delay': 1}
CODES = {400: 'InvalidRequest', 403: 'AccessDenied', 404: 'NoSuchKey',
         409: 'ConditionalRequestConflict', 412: 'PreconditionFailed',
         429: 'TooManyRequests', 500: 'InternalError', 503: 'SlowDown'}


class Gone(Exception):
    """One of the two sides has ended the connection, or we do."""


def lot(n, what):
    """That of request n, from 0 to less than 1."""
    h = hashlib.sha256(b'%d %s' % (n, what)).digest()
    return int.from_bytes(h[:4], 'big') / 2.0 ** 32


class Rule:
    def __init__(self, line):
        words, self.opt = [], {}
        for w in line.split():
            k, eq, v = w.partition('=')
            if eq and k in ('after', 'first', 'then'):
                self.opt[k] = v
            else:
                words.append(w)
        if len(words) < 5:
            raise ValueError('short: ' + line)
        self.method, regex, which, self.where, self.action = words[:5]
        self.args = words[5:]
        self.regex = re.compile(regex)
        self.share = None
        if which.endswith('%'):
            self.share, which = float(which[:-1]), '*'
        low, dash, high = which.partition('-')
        self.low = 1 if which == '*' else int(low)
        self.high = None if which == '*' or (dash and not high) else \
            int(high if dash else low)
        self.seen = 0
        if self.where not in ('not', 'done') or \
                self.action not in WITH_NOT + tuple(NEEDS) or \
                (self.where == 'not' and self.action not in WITH_NOT) or \
                len(self.args) < NEEDS.get(self.action, 0):
            raise ValueError('not a rule: ' + line)

    def about(self, method, target):
        return self.method in ('*', method) and \
            self.regex.search(target) is not None

    def turn(self):
        """Counts, and says whether it is this one's turn."""
        self.seen += 1
        return self.low <= self.seen and \
            (self.high is None or self.seen <= self.high)

    def number(self):
        return int(self.args[0])


class Rules:
    """DIR/rules, DIR/log and the number of the request."""
    def __init__(self, top):
        self.path = os.path.join(top, 'rules')
        self.log = os.open(os.path.join(top, 'log'),
                           os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        self.hooks = open(os.path.join(top, 'hooks'), 'ab')
        self.lock = threading.Lock()
        self.key, self.rules, self.n = None, [], 0

    def say(self, *words):
        os.write(self.log, (' '.join(map(str, words)) + '\n').encode())

    def load(self):
        try:
            st = os.stat(self.path)
        except FileNotFoundError:
            self.key, self.rules = None, []
            return
        key = (st.st_ino, st.st_mtime_ns, st.st_size)
        if key == self.key:
            return
        self.key, self.rules = key, []
        with open(self.path) as f:
            for line in f:
                if line.strip() and not line.startswith('#'):
                    try:
                        self.rules.append(Rule(line))
                    except (ValueError, re.error) as e:
                        print(e, file=sys.stderr, flush=True)
                        os._exit(64)    # a test with a wrong rule fails

    def take(self, method, target):
        """The number of a request and the rule for it, or None."""
        with self.lock:
            self.load()
            self.n += 1
            mine, at, left = None, 0, 100 * lot(self.n, b'turn')
            for i, r in enumerate(self.rules):
                if not r.about(method, target):
                    continue
                turn = r.turn()
                if r.share is not None:
                    turn = 0 <= left < r.share
                    left -= r.share
                if turn and mine is None:
                    mine, at = r, i + 1
            self.say('ask', self.n, method, target, at,
                     *([mine.where, mine.action] + mine.args if mine
                       else ['done', 'pass']))
            return self.n, mine

    def hook(self, n, rule, key, method, target):
        if rule is None or key not in rule.opt:
            return
        rv = subprocess.run([rule.opt[key], method, target],
                            stdin=subprocess.DEVNULL, stdout=self.hooks,
                            stderr=self.hooks).returncode
        if rv != 0:
            self.say('hook', n, rv)


class Side:
    """A socket and what was read from it too early."""
    def __init__(self, sock):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.rest = b''
        self.buf = None
        self.used = time.monotonic()

    def more(self, most):
        """Up to most bytes; valid until the next call."""
        if self.rest:
            p, self.rest = self.rest[:most], self.rest[most:]
            return p
        if self.buf is None:
            self.buf = memoryview(bytearray(PIECE))
        n = self.sock.recv_into(self.buf, min(most, PIECE))
        if n == 0:
            raise Gone
        return self.buf[:n]

    def until(self, mark):
        got = b''
        while mark not in got:
            if len(got) > HEAD_MAX:
                raise Gone
            got += self.more(PIECE)
        at = got.index(mark) + len(mark)
        self.rest = got[at:] + self.rest
        return got[:at]

    def send(self, p):
        self.sock.sendall(p)

    def is_read(self):
        """Has the other end, a process of this machine, read all that was
        sent to it?  (1 where the system does not tell.)"""
        ends = ['%s:%04X' % (socket.inet_aton(a)[::-1].hex().upper(), p)
                for a, p in (self.sock.getpeername(),
                             self.sock.getsockname())]
        unread = 0
        try:
            with open('/proc/net/tcp') as f:
                for line in f:
                    v = line.split()
                    if v[1:3] == ends:          # its receive queue
                        unread += int(v[4].split(':')[1], 16)
                    elif v[1:3] == ends[::-1]:  # what is on its way
                        unread += int(v[4].split(':')[0], 16)
        except OSError:
            pass
        return unread == 0

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                             struct.pack('ii', 1, 0))
        self.sock.close()

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()

    def wait_gone(self):
        try:
            while self.sock.recv(65536):
                pass
        except OSError:
            pass


def header(head, name):
    m = re.search(rb'(?im)^' + name.encode() + rb':[ \t]*([^\r\n]*)', head)
    return m.group(1).decode('latin-1').strip() if m else None


def edit(head, name, value):
    """head with the header name as value, or without it (None)."""
    head = re.sub(rb'(?im)^' + re.escape(name.encode()) + rb':[^\r\n]*\r\n',
                  b'', head)
    if value is None:
        return head
    return head[:-2] + ('%s: %s\r\n\r\n' % (name, value)).encode('latin-1')


def is_chunked(head):
    return 'chunked' in (header(head, 'Transfer-Encoding') or '').lower()


def body(side, head, to_the_end):
    """The pieces of a body as they are on the wire."""
    length = header(head, 'Content-Length')
    if is_chunked(head):
        while True:
            line = side.until(b'\r\n')
            yield line
            n = int(line.split(b';')[0], 16)
            if n == 0:
                while line != b'\r\n':
                    line = side.until(b'\r\n')
                    yield line
                return
            n += 2
            while n > 0:
                p = side.more(n)
                n -= len(p)
                yield p
    elif length is not None:
        n = int(length)
        while n > 0:
            p = side.more(n)
            n -= len(p)
            yield p
    elif to_the_end:
        while True:
            try:
                p = side.more(PIECE)
            except Gone:
                return
            yield p


class Exchange:
    """One request and what becomes of it."""
    def __init__(self, rules, client, server, upstream):
        self.rules, self.client = rules, client
        self.server, self.upstream = server, upstream
        self.told = self.said = '-'
        self.n_in = self.n_out = 0
        self.last = False       # of this connection

    def run(self):
        self.head = self.client.until(b'\r\n\r\n')
        self.method, self.target = \
            self.head.split(b'\r\n')[0].decode('latin-1').split(' ')[:2]
        self.n, self.rule = self.rules.take(self.method, self.target)
        self.ended = False
        try:
            self.answer()
        finally:
            self.end()

    def end(self):
        if not self.ended:
            self.ended = True
            self.rules.say('end', self.n, self.said, self.told, self.n_in,
                           self.n_out)

    def answer(self):
        rule = self.rule
        self.hook('first')
        if (header(self.head, 'Expect') or '').lower() == '100-continue':
            self.client.send(b'HTTP/1.1 100 Continue\r\n\r\n')
            self.head = edit(self.head, 'Expect', None)
        if rule is not None and rule.where == 'not':
            for p in body(self.client, self.head, False):
                self.n_in += len(p)
            self.hook('then')
            self.act(None)
            return
        late = 0
        if rule is not None and rule.action == 'delay':
            late = float(rule.args[0]) * lot(self.n, b'late') / 2
        time.sleep(late)
        head = self.forward()
        time.sleep(late)
        if rule is not None and rule.action in WITH_NOT and \
                rule.action != 'pass':
            for p in self.reply_body(head):
                pass
            self.server_done(head)
            self.hook('then')
            self.act(head)
        else:
            self.hook('then')
            self.relay(head)

    def hook(self, key):
        self.rules.hook(self.n, self.rule, key, self.method, self.target)

    def connect(self):
        s = self.server
        if s is not None and (time.monotonic() - s.used > IDLE or
                              select.select([s.sock], [], [], 0)[0]):
            s.close()
            s = None
        if s is None:
            s = Side(socket.create_connection(self.upstream))
        self.server = s

    def forward(self):
        """To the server; the head of its answer."""
        self.connect()
        try:
            self.server.send(self.head)
            for p in body(self.client, self.head, False):
                self.n_in += len(p)
                self.server.send(p)
        except (BrokenPipeError, ConnectionResetError):
            self.last = True    # it has answered early, or is gone
        head = self.server.until(b'\r\n\r\n')
        while head.startswith(b'HTTP/1.1 100'):
            head = self.server.until(b'\r\n\r\n')
        self.said = int(head.split(b' ')[1])
        return head

    def has_body(self, head):
        return self.method != 'HEAD' and self.said not in (204, 304)

    def reply_body(self, head):
        return body(self.server, head, True) if self.has_body(head) else ()

    def server_done(self, head):
        """Its connection can be used again, or not."""
        if self.last or not head.startswith(b'HTTP/1.1') or \
                'close' in (header(head, 'Connection') or '').lower() or \
                (self.has_body(head) and not is_chunked(head) and
                 header(head, 'Content-Length') is None):
            self.server.close()
            self.server = None
        else:
            self.server.used = time.monotonic()

    def tell(self, status, reason, extra, code):
        text = '' if code is None else (
            '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>%s</Code>'
            '<Message>made here</Message></Error>' % code)
        if self.rule is not None and 'after' in self.rule.opt:
            extra += 'Retry-After: %s\r\n' % self.rule.opt['after']
        if self.last:
            extra += 'Connection: close\r\n'
        self.told = status
        self.n_out = 0 if self.method == 'HEAD' else len(text)
        self.end()
        self.client.send((
            'HTTP/1.1 %d %s\r\nContent-Type: application/xml\r\n'
            'Content-Length: %d\r\n%s\r\n%s' % (
                status, reason, len(text), extra,
                '' if self.method == 'HEAD' else text)).encode())

    def act(self, head):
        """All that is no answer of the server's."""
        action, args = self.rule.action, self.rule.args
        if action == 'status':
            n = int(args[0])
            self.tell(n, 'Fault', '', args[1] if len(args) > 1 else
                      CODES.get(n, 'Fault'))
        elif action == 'error':
            self.tell(200, 'OK', '', args[0] if args else 'InternalError')
        elif action == 'redirect':
            self.tell(307, 'Moved', 'Location: %s\r\n' % (
                args[0] if args else self.target), None)
        elif action == 'hang':
            self.end()
            self.client.wait_gone()
            raise Gone
        else:
            self.end()
            if action == 'reset':
                self.client.reset()
            raise Gone

    def relay(self, head):
        """What the server says, with what the rule does to it."""
        action = self.rule.action if self.rule is not None else 'pass'
        if self.rule is not None and 'after' in self.rule.opt:
            head = edit(head, 'Retry-After', self.rule.opt['after'])
        if action == 'header':
            head = edit(head, self.rule.args[0],
                        ' '.join(self.rule.args[1:]))
        elif action == 'length':
            self.last = True
            head = edit(head, 'Content-Length', int(
                header(head, 'Content-Length') or 0) + self.rule.number())
        if self.last:
            head = edit(head, 'Connection', 'close')
        self.told = self.said
        whole = not self.has_body(head)
        if whole:
            self.end()
        self.client.send(head)
        pieces = self.reply_body(head if action != 'length' else
                                 self.original(head))
        if action in ('cut', 'tear', 'stall'):
            self.part(pieces, self.rule.number())
        elif action == 'slow':
            self.slowly(pieces, self.rule.number())
        else:
            at = self.rule.number() if action == 'flip' else -1
            for p in pieces:
                if self.n_out <= at < self.n_out + len(p):
                    p = bytearray(p)
                    p[at - self.n_out] ^= 1
                self.client.send(p)
                self.n_out += len(p)
        self.server_done(head)

    def original(self, head):
        return edit(head, 'Content-Length', int(
            header(head, 'Content-Length')) - self.rule.number())

    def part(self, pieces, n):
        for p in pieces:
            p = p[:n - self.n_out]
            self.client.send(p)
            self.n_out += len(p)
            if self.n_out >= n:
                break
        self.end()
        self.server.close()
        self.server = None
        if self.rule.action == 'stall':
            self.client.wait_gone()
        elif self.rule.action == 'tear':
            # what was sent is to arrive first: a RST takes what is unread
            for _ in range(600):
                if self.client.is_read():
                    break
                time.sleep(0.05)
            self.client.reset()
        raise Gone

    def slowly(self, pieces, rate):
        begun = time.monotonic()
        for p in pieces:
            for i in range(0, len(p), max(1, rate // 20)):
                q = p[i:i + max(1, rate // 20)]
                self.client.send(q)
                self.n_out += len(q)
                time.sleep(max(0, begun + self.n_out / rate -
                               time.monotonic()))


def serve(rules, sock, upstream):
    client, server = Side(sock), None
    try:
        while True:
            x = Exchange(rules, client, server, upstream)
            try:
                x.run()
            finally:
                server = x.server
            if x.last:
                break
    except (Gone, OSError, ValueError):
        pass
    finally:
        client.close()
        if server is not None:
            server.close()


def main():
    top, host = sys.argv[1:]
    name, _, port = host.rpartition(':')
    rules = Rules(top)
    threading.stack_size(1 << 18)
    ls = socket.socket()
    ls.bind(('127.0.0.1', 0))
    ls.listen(512)
    with open(os.path.join(top, 'url.new'), 'w') as f:
        f.write('http://127.0.0.1:%d\n' % ls.getsockname()[1])
    os.rename(os.path.join(top, 'url.new'), os.path.join(top, 'url'))
    while True:
        sock, _ = ls.accept()
        threading.Thread(target=serve, daemon=True,
                         args=(rules, sock, (name, int(port)))).start()


main()
