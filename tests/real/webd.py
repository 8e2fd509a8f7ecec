#!/usr/bin/python3
"""webd.py DIR ROOT: a web server on loopback for the files below ROOT, in
the ways in which servers differ.  DIR/url says where it listens, DIR/log,
flushed before any answer, what was asked: METHOD TARGET.

    /plain/F      HEAD, Last-Modified and Content-Length
    /tag/F        an ETag, too: the size and time of F
    /nohead/F     405 to HEAD
    /nodate/F     no Last-Modified
    /nolength/F   no Content-Length: in chunks
    /signed/F     403 to HEAD, and without ?X-Amz-Signature=good
    /moved/F      302 to /plain/F
    /loop/F       302 to itself
    /off/F        503

Where DIR/tls.pem is, a key and its certificate, it speaks TLS.
SPDX-License-Identifier: ISC
"""
import http.server
import urllib.parse
import os
import socketserver
import ssl
import sys
from email.utils import formatdate

TOP, ROOT = sys.argv[1:3]
LOG = os.open(os.path.join(TOP, 'log'),
              os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def only(self, status, *headers):
        self.send_response(status)
        for k, v in headers:
            self.send_header(k, v)
        self.send_header('Content-Length', '0')
        self.end_headers()

    def headers_of(self, way, st):
        if way != 'nodate':
            self.send_header('Last-Modified',
                             formatdate(st.st_mtime, usegmt=True))
        if way == 'tag':
            self.send_header('ETag', '"%d-%d"' % (st.st_size,
                                                  st.st_mtime_ns))

    def answer(self, body):
        os.write(LOG, ('%s %s\n' % (self.command, self.path)).encode())
        path, _, query = self.path.partition('?')
        way, _, name = path[1:].partition('/')
        name = urllib.parse.unquote(name)
        if way == 'off':
            return self.only(503, ('Retry-After', '0'))
        if way == 'moved':
            return self.only(302, ('Location', '/plain/' + name))
        if way == 'loop':
            return self.only(302, ('Location', self.path))
        if way == 'nohead' and not body:
            return self.only(405)
        if way == 'signed' and (not body or
                                query != 'X-Amz-Signature=good'):
            return self.only(403)
        try:
            with open(os.path.join(ROOT, name), 'rb') as f:
                data, st = f.read(), os.fstat(f.fileno())
        except OSError:
            return self.only(404)
        self.send_response(200)
        self.headers_of(way, st)
        if way != 'nolength':
            self.send_header('Content-Length', str(len(data)))
            self.end_headers()
            if body:
                self.wfile.write(data)
            return None
        self.send_header('Transfer-Encoding', 'chunked')
        self.end_headers()
        if body:
            for i in range(0, len(data), 4096):
                piece = data[i:i + 4096]
                self.wfile.write(b'%x\r\n%s\r\n' % (len(piece), piece))
            self.wfile.write(b'0\r\n\r\n')
        return None

    def do_GET(self):
        try:
            self.answer(True)
        except OSError:
            self.close_connection = True

    def do_HEAD(self):
        self.answer(False)


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


server = Server(('127.0.0.1', 0), Handler)
SCHEME = 'http'
if os.path.exists(os.path.join(TOP, 'tls.pem')):
    SCHEME = 'https'
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(os.path.join(TOP, 'tls.pem'))
    # the handshake is its thread's, not that of who accepts
    server.socket = tls.wrap_socket(server.socket, server_side=True,
                                    do_handshake_on_connect=False)
with open(os.path.join(TOP, 'url.new'), 'w') as out:
    out.write('%s://127.0.0.1:%d' % (SCHEME, server.server_address[1]))
os.rename(os.path.join(TOP, 'url.new'), os.path.join(TOP, 'url'))
server.serve_forever()
