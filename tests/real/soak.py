#!/usr/bin/python3
"""soak.py DIR SECONDS [ENDPOINT PROXY]: three publishers, five readers and a
collector at work on one target for so long, in a directory below DIR, or,
through the proxy, in the S3 server at ENDPOINT; then what is left of it is
looked at.  What a snapshot must hold is known here from the deltas; how it is
found and read is told by DESIGN section 8, with nothing of the programs'.

A publisher makes a delta (new records, changes of two, deletions of some that
are old), on S3 every other one placed there by dpublish -a, and publishes it
again and again until that is said to be done.  Two readers fetch the current
snapshot as a base, two lease a version and hold it for a while, one follows
the pointer with nothing but its eyes.  Each proves all it reads to the byte
and to the record: all deltas that were said to be published before it began,
and all that it has ever seen, each whole, and nothing else.

Each line of stdout: a name and a number; or "bad", a kind (snapshot, lost,
status, left, descriptor, memory) and what must never be.
EXITS, a preload (tests/crash/exits.c), is put into all processes.
    LEAST=3     what each of them does at least, however long that takes
    PEAK=65536  KiB that no process may ever have
Keys as in s3look.py; the programs and gendelta are found in PATH.
SPDX-License-Identifier: ISC
"""
import collections
import ctypes
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import s3look

PUBLISHERS = 3
NEW = 8                 # records of a delta that are no other's
CHANGED = 2             # of the delta before that it changes
OLD = 30                # deltas; then their records are deleted
BASE = 300              # records that stay
DIM = 16
BIG_EVERY = 8           # deltas of a publisher between two artefacts in parts
BIG = 36 << 20          # bytes of one
PATIENCE = 300          # s for one command
LAG = 2                 # s that the eyes may be slower than an age says
GOOD = (0, 73, 75)      # what a command may say while this goes on
PROGRAMS = ('dfetch', 'dcheck', 'dmerge', 'dpublish', 'drun')
# descriptors that stay until a program ends: dcheck's pipe to itself
STAY = {'dcheck': 1}
MORE = 1.25             # times as much memory in the end as in the beginning
MORE_KB = 2048          # and so much
MORE_OF = 30            # processes of a kind, from which on that can be told


class Local:
    """A target in a directory, as a stranger sees it."""
    def __init__(self, top):
        self.top = self.url = os.path.join(top, 'target')

    def get(self, name):
        try:
            with open(os.path.join(self.top, name), 'rb') as f:
                return f.read()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def names(self):
        out = []
        for at, _, files in os.walk(self.top):
            out += [os.path.relpath(os.path.join(at, f), self.top)
                    for f in files]
        return out

    def uploads(self):
        return []


class S3(s3look.S3):
    """A connection may have ended while it was not needed."""
    def ask(self, *args):
        try:
            return s3look.S3.ask(self, *args)
        except ConnectionError:
            self.conn.close()
            return s3look.S3.ask(self, *args)


class Remote:
    """The same on S3, straight to the server."""
    def __init__(self, endpoint):
        self.endpoint, self.bucket = endpoint, 'soak-%d' % os.getpid()
        self.url = 's3://%s/target' % self.bucket
        self.mine = threading.local()
        status, text = self.s3().ask('PUT', '/' + self.bucket)
        if status != 200:
            raise IOError('bucket: %d %s' % (status, text))

    def s3(self):
        """A connection for each thread."""
        if not hasattr(self.mine, 's3'):
            self.mine.s3 = S3(self.endpoint)
        return self.mine.s3

    def get(self, name):
        return self.s3().get(self.bucket, 'target/' + name)

    def names(self):
        return [k[len('target/'):]
                for k in self.s3().keys(self.bucket, 'target/')]

    def uploads(self):
        return self.s3().uploads(self.bucket, '')

    def take(self, prefix):
        """Remove what lies there; its names, without the prefix."""
        keys = list(self.s3().keys(self.bucket, prefix))
        for k in keys:
            self.s3().ask('DELETE', '/%s/%s' % (self.bucket, k))
        return sorted(k[len(prefix):] for k in keys)


class Delta:
    """What it puts and deletes: digests of records by id."""
    def __init__(self, top, name, args, dead=()):
        self.name, self.dead = name, list(dead)
        self.path = os.path.join(top, 'made', name)
        words = ['gendelta', '--out', self.path, '--dim', str(DIM)] + \
            [str(x) for x in args]
        for x in self.dead:
            words += ['--delete', x]
        subprocess.run(words, check=True)
        # written now, not when gendelta says
        for x in (os.path.join(self.path, 'chroma.sqlite3'), self.path):
            os.utime(x)
        self.puts = {}
        for i, vector, meta in rows(
                os.path.join(self.path, 'chroma.sqlite3'),
                'SELECT id, vector, metadata FROM embeddings_queue '
                'WHERE operation = 0'):
            meta = json.loads(meta)
            doc = meta.pop('chroma:document', None)
            self.puts[i] = digest(vector, doc, meta)


def rows(path, sql):
    db = sqlite3.connect('file:%s?mode=ro&immutable=1' % path, uri=True)
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


def digest(vector, doc, meta):
    return hashlib.sha256(json.dumps([vector.hex(), doc, meta],
                                     sort_keys=True).encode()).digest()


def id_of(k):
    return 'IMAGE#%d#LINE#%05d' % (k // 40, k)


class Broken(Exception):
    """A snapshot that must not be; its kind and text."""


class Soak:
    def __init__(self, top, seconds, endpoint, proxy):
        self.top, self.lock = top, threading.Lock()
        self.place = Remote(endpoint) if endpoint else Local(top)
        self.url, self.remote = self.place.url, bool(endpoint)
        self.end = time.monotonic() + seconds
        self.age = max(2, min(10, int(seconds / 20)))
        self.least = int(os.environ.get('LEAST', '3'))
        self.statuses, self.n = collections.Counter(), collections.Counter()
        self.made, self.acked, self.over = {}, set(), False
        for d in ('made', 'read', 'tmp', 'cache'):
            os.mkdir(os.path.join(top, d))
        self.env = dict(os.environ, TMPDIR=os.path.join(top, 'tmp'),
                        DCACHE=os.path.join(top, 'cache'),
                        LD_PRELOAD=os.environ['EXITS'],
                        EXITS_LOG=os.path.join(top, 'exits'))
        if endpoint:
            self.env['AWS_ENDPOINT_URL'] = proxy

    # --- what is said
    def count(self, what, n=1):
        with self.lock:
            self.n[what] += n

    def bad(self, kind, text):
        with self.lock:
            self.n['bad'] += 1
            if self.n['bad'] <= 40:
                print('bad', kind, ' '.join(str(text).split())[:900],
                      flush=True)

    def call(self, what, args, good=GOOD):
        """Run a command: its status and stdout."""
        p = subprocess.Popen(args, env=self.env, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            out, err = p.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            p.kill()
            out, err = p.communicate()
            self.bad('status', '%s: no end after %d s' % (what, PATIENCE))
        err = err.decode(errors='replace')
        with self.lock:
            self.statuses[what, p.returncode] += 1
            if p.returncode != 0:
                with open(os.path.join(self.top, 'said'), 'a') as f:
                    f.write('%s: %d: %s\n' % (what, p.returncode, err))
        if p.returncode not in good:
            self.bad('status', '%s: %d: %s' % (what, p.returncode, err))
        return p.returncode, out.decode(errors='replace')

    def until(self, what, args, good=GOOD):
        """Again and again, as a user would, until it is done: stdout, or
        None when it never is."""
        for i in range(60):
            status, out = self.call(what, args, good)
            if status == 0:
                return out
            if status not in good:
                return None
            time.sleep(random.random() * min(i + 1, 5))
        self.bad('status', what + ': never done')
        return None

    def drun(self, what, pipe):
        return self.until(what, ['drun', '--retry', '4', '--summary',
                                 os.path.join(self.top, 'runs'), pipe])

    def done(self, k):
        return k >= self.least and time.monotonic() > self.end

    # --- publishers
    def make(self, who, k):
        first = who * 10**7 + k * NEW
        old = first - OLD * NEW
        d = Delta(self.top, 'p%d-%06d' % (who, k),
                  ['--records', NEW + CHANGED, '--start', first, '--seed',
                   who * 10**6 + k],
                  [id_of(old + i) for i in range(NEW)] if k >= OLD else [])
        with self.lock:
            self.made[d.name] = d
        return d

    def publish(self, d, placed):
        """Until it is said to be done."""
        url = d.path
        if placed:
            inbox = 's3://%s/inbox/' % self.place.bucket
            if self.until('place', ['dpublish', '-a', inbox, d.path]) is None:
                return False
            url = inbox + d.name + '/'
        if self.drun('publish', 'dfetch -B %s %s | dcheck | dmerge | '
                     'dpublish %s' % (self.url, url, self.url)) is None:
            return False
        with self.lock:
            self.acked.add(d.name)
        shutil.rmtree(d.path)
        if placed:
            left = self.place.take('inbox/' + d.name + '/')
            if left != ['chroma.sqlite3']:
                self.bad('left', 'inbox: %s: %s' % (d.name, left))
        return True

    def publisher(self, who):
        k = 0
        while not self.done(k):
            if not self.publish(self.make(who, k), self.remote and k % 2):
                return
            if self.remote and k % BIG_EVERY == BIG_EVERY - 1:
                self.artefact(who, k)
            k += 1

    def artefact(self, who, k):
        """One that goes up in parts, and away again."""
        name = 'big%d-%d' % (who, k)
        d = os.path.join(self.top, 'made', name)
        subprocess.run(['gendelta', '--out', d, '--dim', '1024', '--records',
                        str(BIG // 4096), '--seed', str(k)], check=True)
        subprocess.run(['tar', '-C', os.path.dirname(d), '-cf', d + '.tar',
                        name], check=True)
        shutil.rmtree(d)
        if self.until('place', ['dpublish', '-a', 's3://%s/big/' %
                                self.place.bucket, d + '.tar']) is not None:
            self.count('artefacts_in_parts')
            with open(d + '.tar', 'rb') as f:
                whole = f.read()
            if self.place.s3().get(self.place.bucket, 'big/%s.tar' %
                                   name) != whole:
                self.bad('snapshot', name + ' is not what was placed')
        os.unlink(d + '.tar')
        if self.place.take('big/' + name) != ['.tar']:
            self.bad('left', 'big: not ' + name)

    # --- readers
    def expect(self, seqs):
        """Live records of these deltas, each {name: seq}."""
        live = {}
        for name in sorted(seqs, key=lambda x: seqs[x]):
            d = self.made[name]
            live.update(d.puts)
            for i in d.dead:
                live.pop(i, None)
        return live

    def judge(self, manifest, store, needed):
        """The names of a snapshot's deltas, when it is what it must be."""
        seqs = {s['url'].rstrip('/').split('/')[-1]: s['seq']
                for s in manifest['sources']}
        if len(seqs) != len(manifest['sources']):
            raise Broken('snapshot', 'a source twice')
        with self.lock:
            known = set(self.made)
        if set(seqs) - known:
            raise Broken('snapshot', 'unknown: %s' % (set(seqs) - known))
        if needed - set(seqs):
            raise Broken('lost', '%s' % sorted(needed - set(seqs)))
        for who in range(1, PUBLISHERS + 1):
            ks = [int(x[3:]) for x in seqs if x.startswith('p%d-' % who)]
            if sorted(ks) != list(range(len(ks))):
                raise Broken('snapshot', 'p%d: a gap in %s' % (who, ks))
        want, got = self.expect(seqs), {}
        for i, v, doc, meta in rows(store, 'SELECT id, embedding, document, '
                                    'metadata FROM records'):
            if i in got:
                raise Broken('snapshot', i + ' is there twice')
            got[i] = digest(v, doc, json.loads(meta))
        if got != want or manifest['records'] != len(want):
            raise Broken('snapshot', '%d records, want %d; missing %s, '
                         'unknown %s, other %s' % (
                             len(got), len(want), sorted(set(want) -
                                                         set(got))[:5],
                             sorted(set(got) - set(want))[:5],
                             [i for i in want if i in got and
                              got[i] != want[i]][:5]))
        return set(seqs)

    def needs(self, seen):
        with self.lock:
            return seen | self.acked

    def fetching(self, who):
        """Through the programs: brought, checked, and written anew."""
        seen, k = set(), 0
        out = os.path.join(self.top, 'read', 'f%d' % who)
        while not self.done(k):
            needed = self.needs(seen)
            if self.drun('fetch', 'dfetch -b %s | dcheck | dmerge -o %s' % (
                    self.url, out)) is None:
                return
            if self.call('holds', ['dpublish', 'holds', out], (0,))[0] == 0:
                with open(os.path.join(out, 'manifest.json')) as f:
                    m = json.load(f)
                seen = self.read(m, os.path.join(out, 'store.sqlite3'),
                                 needed, seen)
            shutil.rmtree(out)
            k += 1

    def read(self, manifest, store, needed, seen):
        try:
            seen = self.judge(manifest, store, needed)
            self.count('snapshots_verified')
        except Broken as e:
            self.bad(*e.args)
        self.count('snapshots_read')
        return seen

    def bring(self, version, to):
        """A version's manifest, its files in a directory; None when it is
        gone, or goes meanwhile."""
        raw = self.place.get('timestamped/%s/manifest.json' % version)
        if raw is None:
            return None
        m = json.loads(raw)
        os.makedirs(to, exist_ok=True)
        for f in m['files']:
            got = self.place.get('timestamped/%s/%s' % (version, f['name']))
            if got is None:
                return None
            if len(got) != f['size'] or \
                    hashlib.sha256(got).hexdigest() != f['sha256']:
                raise Broken('snapshot', '%s/%s is not what its manifest '
                             'says' % (version, f['name']))
            with open(os.path.join(to, f['name']), 'wb') as g:
                g.write(got)
        return m

    def leasing(self, who):
        """A version that a lease keeps."""
        seen, k = set(), 0
        to = os.path.join(self.top, 'read', 'l%d' % who)
        while not self.done(k):
            needed = self.needs(seen)
            out = self.until('lease', [
                'dpublish', 'lease', '--json', '--name', 'r%d' % who, '--for',
                '1h', self.url])
            if out is None:
                return
            v = json.loads(out)
            try:
                m = self.bring(v['version'], to)
                if m is None:
                    raise Broken('lost', 'leased, and gone: ' + v['version'])
                seen = self.read(m, os.path.join(to, 'store.sqlite3'),
                                 needed, seen)
            except Broken as e:
                self.bad(*e.args)
            self.wait(random.random() * 2 * self.age)
            self.until('holds', ['dpublish', 'holds', '%s/timestamped/%s' % (
                self.url, v['version'])], (0, 75))
            self.until('unpin', ['dpublish', 'unpin', self.url, v['name']])
            k += 1

    def following(self, who):
        """The pointer, and no word to anybody."""
        seen, k = set(), 0
        to = os.path.join(self.top, 'read', 'e%d' % who)
        while not self.done(k):
            needed, began = self.needs(seen), time.monotonic()
            try:
                v = self.place.get('latest-pointer.txt')
                if v is None:
                    raise Broken('lost', 'no pointer')
                m = self.bring(v.decode(), to)
                if m is not None:
                    seen = self.read(m, os.path.join(to, 'store.sqlite3'),
                                     needed, seen)
                elif time.monotonic() - began < self.age - LAG or \
                        self.place.get('latest-pointer.txt') == v:
                    raise Broken('lost', 'the pointer named it: ' +
                                 v.decode())
                else:
                    self.count('snapshots_gone')
            except Broken as e:
                self.bad(*e.args)
            self.wait(random.random() / 2)
            k += 1

    # --- the collector
    def wait(self, seconds):
        time.sleep(max(0, min(seconds, self.end - time.monotonic())))

    def collecting(self, _):
        k = 0
        while not self.over:
            self.call('gc' if k % 2 else 'prune', [
                'dpublish', 'gc' if k % 2 else 'prune', '--keep', '2',
                '--keep-newer-than', str(self.age), self.url])
            k += 1
            time.sleep(1)

    # --- the end
    def versions(self):
        return sorted({x.split('/')[1] for x in self.place.names()
                       if x.startswith('timestamped/')})

    def sweep(self):
        """What a last gc, undisturbed, leaves."""
        names = self.place.names()
        self.n['left_before_gc'] = len({
            x.split('/')[1] for x in names if x.startswith('staging/') and
            x != 'staging/.lock'})
        if self.remote:
            self.env['AWS_ENDPOINT_URL'] = self.place.endpoint
        for _ in range(60):
            self.call('gc', ['dpublish', 'gc', '--keep', '1',
                             '--keep-newer-than', '1', self.url])
            if len(self.versions()) < 2:
                break
            time.sleep(0.5)

    def last(self):
        """The final snapshot, and what lies beside it."""
        to = os.path.join(self.top, 'read', 'last')
        v = (self.place.get('latest-pointer.txt') or b'none').decode()
        mine = ['latest-pointer.txt', 'staging/.lock',
                'timestamped/%s/manifest.json' % v]
        try:
            m = self.bring(v, to)
            if m is None:
                raise Broken('lost', 'the last version: ' + v)
            mine += ['timestamped/%s/%s' % (v, f['name'])
                     for f in m['files']]
            self.n['records_in_the_end'] = m['records']
            seen = self.judge(m, os.path.join(to, 'store.sqlite3'),
                              self.acked)
            if seen != self.acked:
                self.bad('snapshot', 'never acknowledged: %s' %
                         sorted(seen - self.acked))
        except Broken as e:
            self.bad(*e.args)
        for x in sorted(self.place.names()):
            if x not in mine and not x.startswith('commits/'):
                self.bad('left', x)
        g = sorted(int(x[8:-5]) for x in self.place.names()
                   if x.startswith('commits/'))
        self.n['generations'] = len(g)
        if g != list(range(1, len(g) + 1)):
            self.bad('lost', 'commits: %s' % g)
        if len(g) > len(self.acked):
            self.bad('snapshot', '%d commits of %d deltas' % (
                len(g), len(self.acked)))
        for x in self.place.uploads():
            self.bad('left', 'an upload in parts: ' + x)

    def here(self):
        """What is left on this machine: files, processes."""
        for x in os.listdir(self.env['TMPDIR']):
            self.bad('left', 'TMPDIR: ' + x)
        for d in ('made', 'cache'):
            for at, _, files in os.walk(os.path.join(self.top, d)):
                kind = os.path.relpath(at, os.path.join(self.top, d))
                for f in files:
                    self.count('files_in_cache')
                    # .swept is the mark of the day's sweep
                    if d == 'made' or kind.split('/')[0] != 'verdicts' or \
                            f.startswith('.') and f != '.swept':
                        self.bad('left', '%s: %s/%s' % (d, kind, f))
        # whoever has lost his parent is ours
        for _ in range(100):
            try:
                while os.waitpid(-1, os.WNOHANG)[0] != 0:
                    pass
            except ChildProcessError:
                return
            time.sleep(0.1)
        self.bad('left', 'a process: ' + subprocess.run(
            ['ps', '--ppid', str(os.getpid()), '-o', 'pid,args'],
            stdout=subprocess.PIPE, text=True).stdout)

    def ends(self):
        """Descriptors and memory of all processes of ours."""
        peak = {}
        with open(self.env['EXITS_LOG']) as f:
            for line in f:
                prog, arg, when, kb, had, has, what = line.rstrip(
                    '\n').split(' ', 6)
                if prog not in PROGRAMS:
                    continue
                self.n['processes'] += 1
                if prog in ('drun', 'dcheck', 'dmerge') or '/' in arg or \
                        arg.startswith('s3:'):
                    arg = '-'
                key = (prog + ' ' + arg).replace(' -', '').replace(' ', '_')
                peak.setdefault(key, []).append((int(when), int(kb)))
                if int(has) > int(had) + STAY.get(prog, 0):
                    self.bad('descriptor', '%s %s: given %s, %s at its end, '
                             '%s' % (prog, arg, had, has, what))
                if int(had) > 5:
                    self.bad('descriptor', '%s %s: given %s' % (prog, arg,
                                                                had))
        for key, v in sorted(peak.items()):
            v = [kb for _, kb in sorted(v)]
            third = max(1, len(v) // 3)
            # one in ten is higher
            a, b = (sorted(x)[len(x) * 9 // 10]
                    for x in (v[:third], v[-third:]))
            self.n['kb_%s_first_last_peak' % key] = '%d %d %d' % (
                a, b, max(v))
            if len(v) >= MORE_OF and b > a * MORE + MORE_KB:
                self.bad('memory', '%s: %d KiB, %d in the end' % (key, a, b))
            if max(v) > int(os.environ.get('PEAK', '65536')):
                self.bad('memory', '%s: %d KiB' % (key, max(v)))

    def runs(self):
        """What drun's summaries add up to."""
        with open(os.path.join(self.top, 'runs')) as f:
            for line in f:
                r = json.loads(line)
                what = 'publish' if 'dpublish' in r['command'] else 'fetch'
                for t in r['attempts']:
                    self.n['tries_%s_%d' % (what, t['status'])] += 1
                for x in ('requests', 'retries', 'breaker_openings'):
                    self.n[x] += r.get(x, 0)

    def main(self):
        base = Delta(self.top, 'base', ['--records', BASE, '--start',
                                        9 * 10**7])
        self.made['base'] = base
        if not self.publish(base, False):
            return
        todo = [(self.publisher, i + 1) for i in range(PUBLISHERS)]
        todo += [(self.fetching, 1), (self.fetching, 2), (self.leasing, 1),
                 (self.leasing, 2), (self.following, 1)]
        todo = [threading.Thread(target=self.guard, args=x) for x in todo]
        gc = threading.Thread(target=self.guard, args=(self.collecting, 0))
        for t in todo + [gc]:
            t.start()
        for t in todo:
            t.join()
        self.over = True
        gc.join()
        self.sweep()
        self.last()
        self.here()
        self.ends()
        self.runs()
        self.n['published'] = len(self.acked)
        for (what, status), n in self.statuses.items():
            self.n['status_%s_%d' % (what, status)] = n

    def guard(self, what, who):
        """A thread that dies is told."""
        try:
            what(who)
        except Exception as e:
            self.bad('status', '%s %d: %s: %s' % (
                what.__name__, who, type(e).__name__, e))


def main():
    top, seconds = sys.argv[1:3]
    # PR_SET_CHILD_SUBREAPER: orphans become ours
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    os.makedirs(top, exist_ok=True)
    s = Soak(os.path.abspath(top), float(seconds),
             *(sys.argv[3:5] if len(sys.argv) > 3 else (None, None)))
    s.main()
    for k in sorted(s.n):
        print(k, s.n[k])


main()
