#!/usr/bin/python3
"""unknown.py DIR ENDPOINT: publishes to a real S3 server, each time with one
fault at one request, and says what came of it: what dpublish claimed, what
lies there, and whether the next run finds and leaves it in order.

    FAULTS="reset empty ..."   those of FAULT below, all but hang
    EVERY=1     of the cases at other requests than the commit's and the
                pointer's, one in so many
    HANG=0      1: hang, too, at these two; 2: at every request
    BIG=0       1: of 40 MB, which go up in parts; silence does not end soon
                where they are put together: not with HANG
    JOBS=2      at once                 ONLY=REGEX  at these requests alone

Each line of stdout: OUTCOME, then tabs, request, fault, applied or not,
whether another publisher came then, exit status, what lies there, and what
dpublish said.  OUTCOME is ok, or what must never be.  Keys as in s3look.py;
dpublish and genrun are found in PATH.
SPDX-License-Identifier: ISC
"""
import collections
import concurrent.futures
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import s3look

HERE = os.path.dirname(os.path.abspath(__file__))
FAULT = {
    'reset': 'reset', 'empty': 'empty', '500': 'status 500',
    '503': 'status 503', '409': 'status 409', '412': 'status 412',
    '404': 'status 404', 'error': 'error', 'hang': 'hang',
    'kill': 'reset',    # and dpublish is killed before
    'down': 'reset',    # this one and all that follow
}
CENTRAL = ('PUT commits/', 'PUT latest-pointer')  # what all hangs on
WAYS = (('not', False), ('done', False), ('not', True), ('done', True))
TARGET_LIFE = 12        # cases on one target, then a new one


def names_of(name):
    """The deltas of one publish."""
    if os.environ.get('BIG', '0') == '0':
        return [name]
    return ['big-%s-%d' % (name, i) for i in range(5)]


def run(args, env, **kw):
    return subprocess.run(args, env=env, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, **kw)


def call_of(line):
    """A request as METHOD and what it is about, names taken out."""
    method, target = line.split(' ')[2:4]
    path, _, query = target.partition('?')
    query = query.replace('%2F', '/')
    path = re.sub(r'^/[^/]*/?(t[0-9]+/)?', '', path)
    path = re.sub(r'/[0-9]{8}T[0-9.]*Z-[0-9a-f]{8}', '/VERSION', path)
    path = re.sub(r'^staging/[^/]*', 'staging/RUN', path)
    path = re.sub(r'probe-[0-9a-f]*-', 'probe-', path)
    path = re.sub(r'^commits/[0-9]+', 'commits/N', path)
    path = re.sub(r'heir-of-.*', 'heir', path)
    m = re.search(r'prefix=t[0-9]*/([^&]*)', query)
    if m:
        about = re.sub(r'/[0-9]{8}T[0-9.]*Z-[0-9a-f]{8}', '/VERSION',
                       m.group(1))
        about = re.sub(r'^staging/[^/]+', 'staging/RUN', about)
        path = ('uploads ' if 'uploads' in query else 'list ') + about
    elif query:
        path += '?' + re.sub(r'(Id|Number)=[^&]*', r'\1', query)
    return method + ' ' + path


class Place:
    """A bucket, a proxy before it, a target in it; one case at a time."""
    lock = threading.Lock()
    made = 0

    def __init__(self, top, endpoint):
        with Place.lock:
            Place.made += 1
            n = Place.made
        self.bucket = 'bucket-%d-%d' % (os.getpid(), n)
        self.top = os.path.join(top, self.bucket)
        os.mkdir(self.top)
        self.proxy = os.path.join(top, 'proxy-%d' % n)
        self.direct = dict(os.environ, AWS_ENDPOINT_URL=endpoint)
        subprocess.run([os.path.join(HERE, 'faultproxy.sh'), self.proxy,
                        endpoint.split('//')[1]], check=True)
        with open(os.path.join(self.proxy, 'url')) as f:
            self.proxied = dict(os.environ, AWS_ENDPOINT_URL=f.read().strip())
        self.s3 = s3look.S3(endpoint)
        status, text = self.s3.ask('PUT', '/' + self.bucket)
        if status != 200:
            raise IOError('bucket: %d %s' % (status, text))
        self.n = self.targets = self.cases = 0
        self.known, self.name = {}, None

    def down(self):
        subprocess.run([os.path.join(HERE, 'down.sh'), self.proxy])
        shutil.rmtree(self.top)

    def look(self):
        return s3look.Target(self.s3, self.bucket, self.name, self.known)

    def publish(self, env, names, begun=None):
        """The run, its status and what it said."""
        self.n += 1
        run_id = '%s-%d' % (self.bucket, self.n)
        stage = os.path.join(self.top, 'intact.' + run_id)
        url = 's3://%s/%s' % (self.bucket, self.name)
        made = run(['genrun', url, stage] + names, self.direct)
        if made.returncode != 0:
            return run_id, made.returncode, 'genrun: ' + made.stderr
        p = subprocess.Popen(['dpublish', '--json', '--json-in', '--stage',
                              stage, url], env=env, text=True,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
        if begun is not None:
            with open(begun + '.new', 'w') as f:
                f.write('%d\n' % p.pid)
            os.rename(begun + '.new', begun)
        said = p.communicate(made.stdout)
        shutil.rmtree(stage, ignore_errors=True)
        return run_id, p.returncode, said[1].strip()

    def sweep(self):
        """The server keeps all of it in memory."""
        for key in self.s3.keys(self.bucket, self.name + '/') \
                if self.name is not None else ():
            self.s3.ask('DELETE', '/%s/%s' % (self.bucket, key))

    def fresh(self):
        """A target in order, with a first version in it."""
        if self.cases % (2 if len(names_of('')) > 1 else TARGET_LIFE) == 0:
            self.sweep()
            self.targets += 1
            self.name = 't%d' % self.targets
            self.known.clear()
            _, status, said = self.publish(self.direct, ['first'])
            if status != 0:
                raise IOError('first: %d %s' % (status, said))
            self.sources = {'first'}
        self.cases += 1

    def rules(self, *lines):
        path = os.path.join(self.proxy, 'rules')
        with open(path + '.new', 'w') as f:
            f.write(''.join(x + '\n' for x in lines))
        open(os.path.join(self.proxy, 'log'), 'w').close()
        os.rename(path + '.new', path)

    def log(self):
        """Its lines, when every request has its end."""
        for _ in range(1200):
            with open(os.path.join(self.proxy, 'log')) as f:
                v = f.read().splitlines()
            if sum(x.startswith('ask') for x in v) == \
                    sum(x.startswith('end') for x in v):
                return v
            time.sleep(0.05)
        raise IOError('requests without an end')

    def calls(self):
        """Those of a clean run, one name for each."""
        self.fresh()
        self.rules()
        _, status, said = self.publish(self.proxied, names_of('clean'))
        if status != 0:
            raise IOError('clean: %d %s' % (status, said))
        self.sources |= set(names_of('clean'))
        return [call_of(x) for x in self.log() if x.startswith('ask')]

    def script(self, name, text):
        path = os.path.join(self.top, name)
        with open(path, 'w') as f:
            f.write('#!/bin/sh\n' + text)
        os.chmod(path, 0o755)
        return path

    def hook(self, fault, other, name):
        """The rule's words for what happens in between."""
        text = ''
        if other:
            self.n += 1
            self.other = '%s-%d' % (self.bucket, self.n)
            text += '''cd %s && rm -f other.*
AWS_ENDPOINT_URL=%s
export AWS_ENDPOINT_URL
genrun s3://%s/%s intact.%s o%s >other.json 2>other.err &&
    dpublish --json-in --stage intact.%s s3://%s/%s <other.json \\
    >other.out 2>>other.err
echo $? >other.status
rm -rf intact.%s
''' % (self.top, self.direct['AWS_ENDPOINT_URL'], self.bucket, self.name,
                self.other, name, self.other, self.bucket, self.name,
                self.other)
        if fault == 'kill':
            text += '''until [ -s %s/pid ]; do sleep 0.01; done
kill -9 "$(cat %s/pid)"
''' % (self.top, self.top)
        return ' then=' + self.script('hook', text) if text else ''

    def case(self, k, call, fault, where, other):
        """A line of the table."""
        self.fresh()
        name = 'c%d' % self.cases
        pid = os.path.join(self.top, 'pid')
        if os.path.exists(pid):
            os.unlink(pid)
        self.rules('* . %s %s %s%s' % (
            '%d-' % k if fault == 'down' else k, where, FAULT[fault],
            self.hook(fault, other, name)))
        mine, status, said = self.publish(self.proxied, names_of(name), pid)
        log = self.log()
        hit = [x for x in log if x.startswith('ask') and ' 1 ' + where in x]
        bad = []
        if not hit or (fault != 'down' and len(hit) != 1):
            bad.append('hit %d times' % len(hit))
        else:
            call = call_of(hit[0])
        if status == 0 and where == 'done' and [
                x for x in log if re.match('end [0-9]+ - - ', x)]:
            bad.append('the server failed by itself')
        theirs = None
        if other:
            with open(os.path.join(self.top, 'other.status')) as f:
                theirs = int(f.read())
        t = self.look()
        bad += t.bad
        lies = self.judge(t, mine, status, theirs, bad)
        again = self.follow(t, mine, name, theirs == 0, bad)
        if again:
            said += ' | again: ' + again
        return [', '.join(bad) or 'ok', call, fault,
                'applied' if where == 'done' else 'not',
                'another' if other else 'alone', str(status), lies, said]

    def judge(self, t, mine, status, theirs, bad):
        """What lies there, in words, and what must not be claimed of it."""
        ours = [g for g, r in t.runs.items() if r == mine]
        if status == 0 and not ours:
            bad.append('FALSE SUCCESS')
        if status == 73 and ours:
            bad.append('FALSE LOSS')
        if status == 73 and theirs != 0:
            bad.append('73, and nobody won')
        if len(ours) > 1:
            bad.append('COMMITTED TWICE')
        if theirs not in (None, 0):
            bad.append('the other one: %d' % theirs)
        newest = t.runs.get(t.newest)
        if not ours:
            lies = 'theirs' if theirs == 0 else 'the old version'
        elif newest == mine:
            lies = 'ours'
        else:
            lies = 'ours, then theirs'
        if t.pointer != t.newest:
            lies += ', pointer behind'
        if t.stray or t.staging:
            lies += ', leftovers'
        return lies

    def follow(self, t, mine, name, theirs, bad):
        """The same again, undisturbed: then all must be in order."""
        if theirs:
            self.sources.add('o' + name)
        mine_is_in = mine in t.runs.values()
        names = ['f' + name] + ([] if mine_is_in else names_of(name))
        self.sources |= {'f' + name}.union(names_of(name))
        _, status, said = self.publish(self.direct, names)
        if status != 0:
            bad.append('again: %d' % status)
        t = self.look()
        bad += ['again: ' + x for x in t.bad]
        if t.pointer != t.newest:
            bad.append('again: pointer %d of %d' % (t.pointer, t.newest))
        if t.stray:
            bad.append('again: stray ' + ' '.join(t.stray))
        if t.staging or t.uploads:
            bad.append('again: left ' + ' '.join(t.staging + t.uploads))
        if t.sources != self.sources:
            bad.append('LOST ' + ' '.join(self.sources - t.sources))
        if bad:
            self.cases = 0      # the next one on a target of its own
        return said if status != 0 else ''


def steps(calls):
    """Number and name of each, of equal neighbours the first alone."""
    return [(i + 1, c) for i, c in enumerate(calls)
            if i == 0 or c != calls[i - 1]]


def matrix(calls, faults, every, only):
    n, out = 0, []
    for k, call in steps(calls):
        if only and not re.search(only, call):
            continue
        for fault in faults:
            if fault == 'error' and call.startswith('HEAD'):
                continue        # it has no body that could say so
            for where, other in WAYS[:1] if fault == 'down' else WAYS:
                n += 1
                if call.startswith(CENTRAL) or n % every == 0:
                    out.append((k, call, fault, where, other))
    return out


def main():
    top, endpoint = sys.argv[1:]
    env = os.environ.get
    jobs, hangs = int(env('JOBS', '2')), int(env('HANG', '0'))
    places = collections.deque()

    def one(case):
        try:
            p = places.popleft()
        except IndexError:
            p = Place(top, endpoint)
        try:
            row = p.case(*case)
        except Exception as e:
            row = ['%s: %s' % (type(e).__name__, e)] + [str(x) for x in case]
        places.append(p)
        sys.stdout.write('\t'.join(' '.join(x.split()) for x in row) + '\n')
        sys.stdout.flush()

    p = Place(top, endpoint)
    places.append(p)
    calls = p.calls()
    for k, call in steps(calls):
        print('# request %d: %s' % (k, call))
    only = env('ONLY', '')
    faults = env('FAULTS', ' '.join(x for x in FAULT if x != 'hang')).split()
    todo = matrix(calls, faults, int(env('EVERY', '1')), only)
    # silence costs time and nothing else: all of it at once, beside the rest
    silent = matrix(calls, ['hang'], 1 if hangs > 1 else 10**9, only) \
        if hangs else []
    print('# %d cases' % (len(todo) + len(silent)))
    with concurrent.futures.ThreadPoolExecutor(16) \
            as slow, concurrent.futures.ThreadPoolExecutor(jobs) as quick:
        all_of = [slow.submit(one, x) for x in silent]
        all_of += [quick.submit(one, x) for x in todo]
        for x in all_of:
            x.result()
    for p in places:
        p.down()


main()
