"""The upstream and the anchors: configuration templates for programs of Debian's packages."""
import getpass
import pathlib
import shutil
import subprocess

from processes import HERE, LOAD_CORE, PROXY_CORE, free_port

PACKAGES = {"nginx": "nginx-light", "haproxy": "haproxy", "wrk": "wrk", "varnishd": "varnish", "redis-server": "redis-server",
            "node": "nodejs", "openssl": "openssl", "taskset": "util-linux", "g++": "g++"}
ANSWER = '{"id":"ch_' + "0" * 24 + '","object":"charge","description":"' + "x" * 230 + '"}'  # 300 bytes
ANSWER = ANSWER[:298 - len('"}')] + 'xx"}'
assert len(ANSWER) == 300, len(ANSWER)


def find(program):
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/local/sbin")


def install():
    """Packages whose program is missing; their services are not started."""
    missing = [package for program, package in PACKAGES.items() if not find(program)]
    if not missing:
        return
    print("installing", *missing, flush=True)
    sudo = [] if getpass.getuser() == "root" else ["sudo"]
    subprocess.run([*sudo, "apt-get", "update", "-qq"], check=True)
    policy = pathlib.Path("/usr/sbin/policy-rc.d")
    hold = not policy.exists() and not sudo
    if hold:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        subprocess.run([*sudo, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq",
                        "--no-install-recommends", *missing], check=True, stdout=subprocess.DEVNULL)
    finally:
        if hold:
            policy.unlink()


def certificates(work):
    """A CA of our own, and a P-256 certificate for *.bench.example."""
    def openssl(*arguments):
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
    for name in ("ca", "host"):
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", work.path(name + ".key"))
    openssl("req", "-x509", "-new", "-key", work.path("ca.key"), "-subj", "/CN=bench", "-days", 2, "-out", work.path("ca.pem"))
    openssl("req", "-new", "-key", work.path("host.key"), "-subj", "/CN=bench.example", "-out", work.path("host.csr"))
    extensions = work.write("host.ext", "subjectAltName=DNS:*.bench.example\n")
    openssl("x509", "-req", "-in", work.path("host.csr"), "-CA", work.path("ca.pem"), "-CAkey", work.path("ca.key"),
            "-CAcreateserial", "-days", 2, "-extfile", extensions, "-out", work.path("host.pem"))


def nginx(work, name, core, http):
    """One worker, no access log, no limits on a connection's requests."""
    port = free_port()
    for folder in ("body", "proxy", "fastcgi", "uwsgi", "scgi"):
        work.path(f"{name}-{folder}").mkdir(exist_ok=True)
    temporary = "".join(f"{kind}_temp_path {work.path(f'{name}-{folder}')};\n" for kind, folder in
                        (("client_body", "body"), ("proxy", "proxy"), ("fastcgi", "fastcgi"), ("uwsgi", "uwsgi"), ("scgi", "scgi")))
    text = f"""
user {getpass.getuser()};
daemon off; worker_processes 1; pid {work.path(name + '.pid')}; error_log {work.path(name + '.err')};

events {{ worker_connections 4000; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; default_type application/json; sendfile on; tcp_nopush on;
  {temporary}
  {http.replace("PORT", str(port))}
}}
"""
    process = work.start(name, core, [find("nginx"), "-c", work.write(name + ".conf", text)])
    work.wait_for_port(process, port)
    process.port = port
    return process


def upstream(work):
    """Answers on the load's core: 300 bytes, 100 KB below /large; the same over TLS, and over TLS that knows nobody again."""
    work.path("files").mkdir()
    work.path("files/large").write_bytes(b"x" * 100_000)
    tls, tls_once = free_port(), free_port()
    certificate = f"ssl_certificate {work.path('host.pem')}; ssl_certificate_key {work.path('host.key')};"
    served = f"""
    location / {{ add_header Cache-Control max-age=3600; return 200 '{ANSWER}'; }}
    location /large {{ root {work.path('files')}; error_page 405 =200 $uri; open_file_cache max=10; }}"""
    process = nginx(work, "upstream", LOAD_CORE, f"""
  server {{ listen 127.0.0.1:PORT backlog=4096 reuseport; {served} }}
  server {{ listen 127.0.0.1:{tls} ssl backlog=4096; {certificate} ssl_session_cache shared:s:10m; {served} }}
  server {{ listen 127.0.0.1:{tls_once} ssl backlog=4096; {certificate} ssl_session_cache off; ssl_session_tickets off;
           keepalive_timeout 0; {served} }}""")
    process.tls_port, process.tls_once_port = tls, tls_once
    return process


def nginx_proxy(work, origin):
    """Pass-through, and a cache of POSTs by URL and body below /cached/."""
    work.path("cache").mkdir()
    return nginx(work, "nginx", PROXY_CORE, f"""
  upstream origin {{ server 127.0.0.1:{origin.port}; keepalive 256; keepalive_requests 1000000000; }}
  proxy_cache_path {work.path('cache')} keys_zone=calls:10m;
  proxy_http_version 1.1; proxy_set_header Connection "";
  server {{ listen 127.0.0.1:PORT backlog=4096;
    location / {{ proxy_pass http://origin; }}
    location /cached/ {{ proxy_pass http://origin; proxy_cache calls; proxy_cache_methods POST; proxy_cache_valid 200 1h;
      client_body_in_single_buffer on; proxy_cache_key $request_method$uri$request_body; }} }}""")


def nginx_tls(work, origin):
    """TLS to TLS, the upstream's certificate verified, upstream connections kept and sessions resumed."""
    return nginx(work, "nginx-tls", PROXY_CORE, f"""
  upstream origin {{ server 127.0.0.1:{origin.tls_port}; keepalive 256; keepalive_requests 1000000000; }}
  proxy_http_version 1.1; proxy_set_header Connection "";
  proxy_ssl_verify on; proxy_ssl_trusted_certificate {work.path('ca.pem')}; proxy_ssl_name api.bench.example; proxy_ssl_server_name on;
  server {{ listen 127.0.0.1:PORT ssl backlog=4096; ssl_certificate {work.path('host.pem')}; ssl_certificate_key {work.path('host.key')};
    ssl_protocols TLSv1.2 TLSv1.3; location / {{ proxy_pass https://origin; }} }}""")


def haproxy(work, origin):
    """Pass-through, and its cache, which takes GET alone, below /cached/."""
    port = free_port()
    text = f"""
global
  nbthread 1
  maxconn 2000
defaults
  mode http
  timeout connect 10s
  timeout client 600s
  timeout server 600s
  http-reuse always
cache calls
  total-max-size 64
  max-age 3600
frontend in
  bind 127.0.0.1:{port} backlog 4096
  default_backend plain
  use_backend cached if {{ path_beg /cached/ }}
backend plain
  server origin 127.0.0.1:{origin.port}
backend cached
  http-request cache-use calls
  http-response cache-store calls
  server origin 127.0.0.1:{origin.port}
"""
    process = work.start("haproxy", PROXY_CORE, [find("haproxy"), "-db", "-f", work.write("haproxy.cfg", text)])
    work.wait_for_port(process, port)
    process.port = port
    return process


def varnish(work, origin):
    """A cache of GETs. Varnish has no cache of POSTs without a module, and many threads by design."""
    port = free_port()
    vcl = work.write("bench.vcl", f'vcl 4.1;\nbackend origin {{ .host = "127.0.0.1"; .port = "{origin.port}"; }}\n')
    process = work.start("varnish", PROXY_CORE, [find("varnishd"), "-F", "-n", work.path("varnish"), "-a", f"127.0.0.1:{port}",
                                                 "-f", vcl, "-s", "default,64m", "-j", "none"])
    work.wait_for_port(process, port)
    process.port = port
    return process


class NodeRedis:
    """An analogue of a library-made idempotency layer (Powertools' shape: a conditional put before, an update after)."""

    def __init__(self, work, origin):
        redis_port, self.port = free_port(), free_port()
        work.path("redis").mkdir()
        redis = work.start("redis", PROXY_CORE, [find("redis-server"), "--port", redis_port, "--bind", "127.0.0.1", "--save", "", "--dir",
                                                 work.path("redis"), "--appendonly", "yes", "--appendfsync", "always"])
        work.wait_for_port(redis, redis_port)
        node = work.start("node", PROXY_CORE, [find("node"), HERE / "node_redis.js", self.port, redis_port, origin.port])
        work.wait_for_port(node, self.port)
        self.pids = [redis.pid, node.pid]
