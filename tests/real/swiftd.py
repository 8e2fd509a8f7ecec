#!/usr/bin/python3
"""swiftd.py DIR: Swift's proxy with its S3 interface in this process, and its
account, container and object servers in a child, on free ports of loopback,
one copy of everything below DIR.  DIR/url is written when it serves.

Swift wants a memcached, for which a dict does, and keys with a colon in
them, for which an alias does: both are filters defined here.
SPDX-License-Identifier: ISC
"""
import eventlet
eventlet.monkey_patch()

import eventlet.wsgi
import logging
import os
import pwd
import signal
import socket
import sys
import time
import types

top = os.path.abspath(sys.argv[1])
conf = os.path.join(top, 'conf')
disks = os.path.join(top, 'disks')
for d in (conf, os.path.join(disks, 'd0')):
    os.makedirs(d, exist_ok=True)
os.environ['TZ'] = 'UTC+0'
time.tzset()


def put(name, text):
    path = os.path.join(conf, name)
    with open(path, 'w') as f:
        f.write(text)
    return path


def listening():
    s = eventlet.listen(('127.0.0.1', 0), backlog=1024)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


put('swift.conf', '''[swift-hash]
swift_hash_path_prefix = a
swift_hash_path_suffix = b
[storage-policy:0]
name = default
default = yes
[swift-constraints]
max_header_size = 16384
''')

from swift.common import utils
utils.set_swift_dir(conf)
utils.validate_configuration()
from swift.common import constraints, storage_policy, wsgi
constraints.reload_constraints()
storage_policy.reload_storage_policies()
from swift.common.middleware import tempauth
from swift.common.ring import RingBuilder
try:
    from swift.common.http_protocol import SwiftHttpProtocol
except ImportError:
    from swift.common.wsgi import SwiftHttpProtocol


# What the configuration below names as loopback_filters.

class Cache:
    """As much of a memcached client as Swift calls."""

    def __init__(self):
        self.kept = {}

    def get(self, key, server_key=None, raise_on_error=False):
        value, end = self.kept.get(key, (None, 0))
        if end and end < time.time():
            del self.kept[key]
            return None
        return value

    def set(self, key, value, serialize=True, time=0, **more):
        end = time + sys.modules['time'].time() if time else 0
        self.kept[key] = (value, end)

    def incr(self, key, delta=1, time=0):
        value = max(int(self.get(key) or 0) + int(delta), 0)
        self.set(key, value, time=time)
        return value

    def decr(self, key, delta=1, time=0):
        return self.incr(key, -delta, time)

    def delete(self, key, server_key=None):
        self.kept.pop(key, None)

    def set_multi(self, mapping, server_key, serialize=True, time=0, **more):
        for k in mapping:
            self.set(k, mapping[k], time=time)

    def get_multi(self, keys, server_key):
        return [self.get(k) for k in keys]


def cache_filter(global_conf, **local):
    cache = Cache()

    def wrap(app):
        def call(env, start):
            env['swift.cache'] = cache
            return app(env, start)
        return call
    return wrap


def auth_filter(global_conf, **local):
    alias = local.pop('alias')
    inner = tempauth.filter_factory(global_conf, **local)

    def wrap(app):
        auth = inner(app)
        auth.users[alias] = auth.users['test:tester']
        return auth
    return wrap


to_file = logging.FileHandler(os.path.join(top, 'swift.log'))


def log_to_file(conf, name, console, route, fmt, logger, adapted):
    logger.handlers = [to_file]


own = types.ModuleType('loopback_filters')
own.cache_filter, own.auth_filter = cache_filter, auth_filter
own.log_to_file = log_to_file
sys.modules['loopback_filters'] = own

head = '''[DEFAULT]
swift_dir = %s
devices = %s
user = %s
mount_check = false
workers = 0
disable_fallocate = true
fallocate_reserve = 0
log_level = INFO
log_custom_handlers = loopback_filters.log_to_file
node_timeout = 60
conn_timeout = 10
client_timeout = 60
''' % (conf, disks, pwd.getpwuid(os.getuid()).pw_name)

back = {}
for name in ('account', 'container', 'object'):
    back[name] = listening()
    port = back[name].getsockname()[1]
    ring = RingBuilder(2, 1, 0)
    ring.add_dev({'id': 0, 'region': 1, 'zone': 1, 'weight': 1.0,
                  'ip': '127.0.0.1', 'port': port, 'device': 'd0',
                  'replication_ip': '127.0.0.1', 'replication_port': port,
                  'meta': ''})
    ring.rebalance(seed=1)
    ring.get_ring().save(os.path.join(conf, name + '.ring.gz'))
    put(name + '.conf', head + '''
[pipeline:main]
pipeline = server
[app:server]
use = egg:swift#%s
log_requests = false
allowed_headers = Content-Disposition, Content-Encoding, X-Delete-At,
 X-Object-Manifest, X-Static-Large-Object, Cache-Control, Content-Language
''' % name)

front = put('proxy.conf', head + '''
[pipeline:main]
pipeline = catch_errors gatekeeper cache listing_formats bulk s3api tempauth
 copy slo dlo versioned_writes symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
allow_account_management = true
account_autocreate = true
error_suppression_limit = 1000000
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:cache]
paste.filter_factory = loopback_filters:cache_filter
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
storage_domain = localhost
s3_acl = false
[filter:tempauth]
paste.filter_factory = loopback_filters:auth_filter
user_test_tester = testsecret .admin .reseller_admin
alias = testkey
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
rate_limit_after_segment = 100000
[filter:dlo]
use = egg:swift#dlo
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_versioned_writes = true
[filter:symlink]
use = egg:swift#symlink
''')


def serve(sock, path):
    app = wsgi.loadapp(path, global_conf={'log_name': os.path.basename(path)})
    return eventlet.spawn(eventlet.wsgi.server, sock, app, utils.NullLogger(),
                          custom_pool=eventlet.GreenPool(1024),
                          protocol=SwiftHttpProtocol, socket_timeout=60,
                          capitalize_response_headers=False)


eventlet.wsgi.MAX_HEADER_LINE = constraints.MAX_HEADER_SIZE
me = os.getpid()
child = os.fork()
if child == 0:
    for name in back:
        serve(back[name], os.path.join(conf, name + '.conf'))
    while os.getppid() == me:
        eventlet.sleep(0.3)
    os._exit(0)


def stop(*args):
    try:
        os.kill(child, signal.SIGTERM)
    except OSError:
        pass
    os._exit(0)


signal.signal(signal.SIGTERM, stop)
for s in back.values():
    s.close()
sock = listening()
serving = serve(sock, front)
eventlet.sleep(0)
with open(os.path.join(top, 'url.new'), 'w') as f:
    f.write('http://127.0.0.1:%d\n' % sock.getsockname()[1])
os.rename(os.path.join(top, 'url.new'), os.path.join(top, 'url'))
serving.wait()
