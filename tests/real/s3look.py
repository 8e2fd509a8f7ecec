#!/usr/bin/python3
"""s3look.py ENDPOINT s3://bucket/prefix: what lies at a publishing target, as
readers find it (DESIGN section 8), told by eyes of its own: nothing here is
shared with the programs under test, not even the signing of requests.

    commit G RUN    one for each commit; RUN made it
    pointer G       the commit whose version the pointer names
    source NAME     the last part of each source's URL, of the newest version
    stray V         a version that no commit names
    staging NAME    an upload's claim
    upload KEY      an upload in parts that is under way
    bad TEXT        what must never be: a hole in the commits, a version that
                    is gone or not to the byte what its commit says, one that
                    has lost a source of its parent, a pointer to no commit

Keys from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
SPDX-License-Identifier: ISC
"""
import datetime
import hashlib
import hmac
import http.client
import json
import os
import re
import sys
import urllib.parse


class S3:
    """One connection, path style, signature version 4."""
    def __init__(self, endpoint):
        self.host = endpoint.split('//')[1].rstrip('/')
        self.conn = http.client.HTTPConnection(self.host, timeout=60)
        self.id = os.environ['AWS_ACCESS_KEY_ID']
        self.secret = os.environ['AWS_SECRET_ACCESS_KEY']

    def ask(self, method, path, query=()):
        """Status and body."""
        def quote(s):
            return urllib.parse.quote(s, safe='-._~')
        now = datetime.datetime.now(datetime.timezone.utc)
        when = now.strftime('%Y%m%dT%H%M%SZ')
        path = urllib.parse.quote(path, safe='/-._~')
        asked = '&'.join(sorted('%s=%s' % (quote(k), quote(v))
                                for k, v in query))
        none = hashlib.sha256(b'').hexdigest()
        signed = 'host;x-amz-content-sha256;x-amz-date'
        text = '\n'.join((method, path, asked, 'host:' + self.host,
                          'x-amz-content-sha256:' + none,
                          'x-amz-date:' + when, '', signed, none))
        scope = when[:8] + '/us-east-1/s3/aws4_request'
        key = ('AWS4' + self.secret).encode()
        for part in scope.split('/'):
            key = hmac.new(key, part.encode(), 'sha256').digest()
        text = '\n'.join(('AWS4-HMAC-SHA256', when, scope, hashlib.sha256(
            text.encode()).hexdigest()))
        self.conn.request(method, path + ('?' + asked if asked else ''),
                          headers={
            'x-amz-date': when, 'x-amz-content-sha256': none,
            'Authorization': 'AWS4-HMAC-SHA256 Credential=%s/%s, '
            'SignedHeaders=%s, Signature=%s' % (
                self.id, scope, signed, hmac.new(
                    key, text.encode(), 'sha256').hexdigest())})
        r = self.conn.getresponse()
        return r.status, r.read()

    def get(self, bucket, key):
        """The bytes, or None when it is not there."""
        status, got = self.ask('GET', '/%s/%s' % (bucket, key))
        if status == 404:
            return None
        if status != 200:
            raise IOError('%s: %d %s' % (key, status, got[:200]))
        return got

    def keys(self, bucket, prefix):
        """Key and ETag of each."""
        out, more = {}, ()
        while True:
            status, got = self.ask('GET', '/' + bucket, (
                ('list-type', '2'), ('prefix', prefix)) + more)
            if status != 200:
                raise IOError('%s: %d %s' % (prefix, status, got[:200]))
            got = got.decode()
            out.update(re.findall('<Key>(.*?)</Key>.*?<ETag>(.*?)</ETag>',
                                  got, re.S))
            token = re.search('<NextContinuationToken>(.*?)<', got)
            if token is None:
                return out
            more = (('continuation-token', token.group(1)),)

    def uploads(self, bucket, prefix):
        status, got = self.ask('GET', '/' + bucket, (('uploads', ''),
                                                     ('prefix', prefix)))
        if status != 200:
            raise IOError('%s: %d %s' % (prefix, status, got[:200]))
        return re.findall('<Key>(.*?)</Key>', got.decode())


class Target:
    """All that lies there, looked at once."""
    def __init__(self, s3, bucket, prefix, known=None):
        self.s3, self.bucket, self.top = s3, bucket, prefix + '/'
        # versions that were whole, and of which nothing has changed
        self.known = known if known is not None else {}
        self.bad, self.commits = [], {}
        self.keys = s3.keys(bucket, self.top)
        names = [k[len(self.top):] for k in self.keys]
        for n in names:
            m = re.fullmatch(r'commits/([0-9]+)\.json', n)
            if m:
                self.commits[int(m.group(1))] = json.loads(self.seen(n))
        self.runs = {g: c['run'] for g, c in self.commits.items()}
        self.newest = max(self.commits, default=0)
        self.check_commits()
        self.check_pointer()
        named = {c['version'] for c in self.commits.values()}
        versions = {n.split('/')[1] for n in names
                    if n.startswith('timestamped/')}
        self.stray = sorted(versions - named)
        self.staging = sorted({n.split('/')[1] for n in names
                               if n.startswith('staging/')})
        self.uploads = s3.uploads(bucket, self.top)
        for n in names:
            if n.split('/')[0] not in ('commits', 'timestamped', 'staging',
                                       'latest-pointer.txt'):
                self.bad.append('%s: nobody knows it' % n)

    def get(self, name):
        return self.s3.get(self.bucket, self.top + name)

    def seen(self, name):
        """The bytes, as they were when its ETag was seen first."""
        etag = self.keys.get(self.top + name)
        had, raw = self.known.get('bytes of ' + self.top + name, (None, None))
        if etag is None or had != etag:
            raw = self.get(name)
            self.known['bytes of ' + self.top + name] = (etag, raw)
        return raw

    def check_commits(self):
        self.sources, before = set(), None
        for g in range(1, self.newest + 1):
            c = self.commits.get(g)
            if c is None:
                self.bad.append('commit %d is missing' % g)
                continue
            if c['generation'] != g or c.get('parent') != before:
                self.bad.append('commit %d: not onto the one before' % g)
            before = c['version']
            had, self.sources = self.sources, self.check_version(g, c)
            if had - self.sources:
                self.bad.append('commit %d: lost %s' % (
                    g, ' '.join(sorted(had - self.sources))))

    def check_version(self, g, c):
        """Its sources, when every byte of it is what was committed."""
        where = 'timestamped/%s/' % c['version']
        raw = self.seen(where + 'manifest.json')
        if raw is None:
            self.bad.append('commit %d: %s is gone' % (g, where))
            return set()
        sha = hashlib.sha256(raw).hexdigest()
        if sha != c['manifest_sha256']:
            self.bad.append('commit %d: another manifest' % g)
        m = json.loads(raw)
        for f in m['files']:
            name = self.top + where + f['name']
            seen = (f['sha256'], self.keys.get(name))
            if self.known.get(name) == seen:
                continue
            got = self.get(where + f['name'])
            if got is None:
                self.bad.append('%s%s is gone' % (where, f['name']))
            elif len(got) != f['size'] or \
                    hashlib.sha256(got).hexdigest() != f['sha256']:
                self.bad.append('%s%s is not what it was' % (
                    where, f['name']))
            else:
                self.known[name] = seen
        return {s['url'].split('/')[-1] for s in m['sources']}

    def check_pointer(self):
        raw = self.get('latest-pointer.txt')
        self.pointer = 0
        if raw is None:
            if self.newest > 1:
                self.bad.append('no pointer')
            return
        for g, c in self.commits.items():
            if c['version'].encode() == raw:
                self.pointer = max(g, self.pointer)
        if self.pointer == 0:
            self.bad.append('the pointer names %r' % raw[:100])


def main():
    endpoint, url = sys.argv[1:]
    bucket, _, prefix = url[len('s3://'):].partition('/')
    t = Target(S3(endpoint), bucket, prefix)
    for g in sorted(t.runs):
        print('commit', g, t.runs[g])
    print('pointer', t.pointer)
    for word, v in (('source', sorted(t.sources)), ('stray', t.stray),
                    ('staging', t.staging), ('upload', t.uploads),
                    ('bad', t.bad)):
        for x in v:
            print(word, x)


if __name__ == '__main__':
    main()
