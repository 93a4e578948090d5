"""`drybag hub serve`: storage, certificates, application and server put together."""

import asyncio
import contextlib
import ipaddress
import logging
import os
import signal
import socket
import ssl
from shlex import quote

import uvicorn

from drybag_host.errors import HostFile, Usage
from drybag_host.hub import accounts, stats
from drybag_host.hub.app import Hub, make_app
from drybag_host.hub.blobstore import open_blobs
from drybag_host.hub.certs import Certificates, host_names
from drybag_host.hub.places import blobs_url, make_data, storage_url
from drybag_host.hub.requests import in_thread
from drybag_host.hub.service import Service
from drybag_host.hub.storage import open_storage
from drybag_host.hub.wire import GuardedProtocol

__all__ = ["serve"]

KEEP_ALIVE_S = 60
SEEN_EVERY_S = 60
MOST_CONNECTIONS = 4000
STOP_S = 5
CLOCK_ALARM_S = 300
BACKLOG = 512


class _Server(uvicorn.Server):
    """Stops by our own signal handlers, and ends with our exit code."""

    @contextlib.contextmanager
    def capture_signals(self):
        yield


def serve(args):
    """Run the hub until a signal comes; returns the exit code. Raises Usage and storage errors."""
    host, port = _address(args.listen)
    if args.insecure_loopback and not _is_loopback(host):
        raise Usage(
            "--insecure-loopback is for this computer alone, not for %s" % host,
            "--listen 127.0.0.1:8443, or leave the option away: the hub has certificates",
        )
    if args.ack == "offsite" and not args.offsite:
        raise Usage("--ack offsite needs --offsite URL", "name where the off-site copy is")
    make_data(args)
    _prepare()
    with contextlib.ExitStack() as stack:
        storage = stack.enter_context(open_storage(storage_url(args), serve=True))
        blobs = stack.enter_context(open_blobs(blobs_url(args)))
        certificates = None
        if not args.insecure_loopback:
            certificates = Certificates(os.path.join(args.data, "tls"), host_names(host))
        copies = _offsite(stack, args, storage, blobs)
        service = Service(
            storage, blobs, offsite=copies is not None, ack_offsite=args.ack == "offsite"
        )
        hub = Hub(
            service, certificates.ca_der if certificates else b"", copies, rate=args.rate,
            burst=args.rate * 8,
        )  # fmt: skip
        stack.callback(hub.close)
        bound = stack.enter_context(_socket(host, port))
        bound.listen(BACKLOG)
        _announce(args, storage, certificates, host, bound.getsockname()[1])
        behind_s = stats.clock_behind_s(storage, service.now_ms())
        if behind_s > CLOCK_ALARM_S:
            args.out.warn(
                "this computer's clock is %d minutes behind the newest version here: set it "
                "right, or the times of what comes now are wrong" % (behind_s // 60)
            )
        server = _Server(_config(make_app(hub), certificates))
        _run(server, bound, hub)
    args.out.say("stopped; what was acknowledged is on this disk")
    return 0


def _prepare():
    """As many connections as the system allows; a log on stderr of what is the hub's own fault."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.ERROR)


def _offsite(stack, args, storage, blobs):
    """The running off-site copy, or None."""
    if not args.offsite:
        return None
    from drybag_host.hub.offsite import start_offsite

    return stack.enter_context(start_offsite(args.offsite, storage, blobs))


def _address(text):
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise Usage("%s is no address to listen at" % text, "HOST:PORT, such as 0.0.0.0:8443")
    return host, int(port)


def _is_loopback(host):
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _socket(host, port):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise HostFile(
            "cannot listen at %s port %d: %s" % (host, port, error.strerror or error),
            "stop what uses the port, or choose another: --listen %s:8444" % host,
        ) from error
    return bound


def _config(app, certificates):
    def context(config, default):
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.minimum_version = ssl.TLSVersion.TLSv1_2
        tls.load_cert_chain(certificates.server_cert, certificates.server_key)
        return tls

    return uvicorn.Config(
        app, http=GuardedProtocol, ws="none", lifespan="off", log_config=None, access_log=False,
        server_header=False, date_header=False, timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_S, limit_concurrency=MOST_CONNECTIONS, backlog=BACKLOG,
        ssl_context_factory=context if certificates else None,
    )  # fmt: skip


def _run(server, bound, hub):
    async def main():
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, _stop, server)
        await in_thread(int)  # loads what it takes: a third of a second that nobody waits for
        notes = loop.create_task(_write_seen(hub))
        try:
            await server.serve(sockets=[bound])
        finally:
            notes.cancel()

    factory = None
    with contextlib.suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


def _stop(server):
    server.force_exit = server.should_exit
    server.should_exit = True


async def _write_seen(hub):
    while True:
        await asyncio.sleep(SEEN_EVERY_S)
        if hub.service.seen:
            with contextlib.suppress(Exception):  # shown again by the next request
                await hub.job(hub.service.write_seen)


def _announce(args, storage, certificates, host, port):
    """Where the hub is, and what to do next."""
    scheme = "https" if certificates else "http"
    shown = host
    if host in ("0.0.0.0", "::"):
        names = [n for n in host_names(host) if not n.startswith(("127.", "localhost", "::1"))]
        addresses = [n for n in names if n.replace(".", "").isdecimal()]
        shown = (addresses or names or ["localhost"])[0]
    url = "%s://%s:%d" % (scheme, "[%s]" % shown if ":" in shown else shown, port)
    out = args.out
    print_of = certificates.fingerprint() if certificates else None
    out.document({"url": url, "port": port, "ca_sha256": print_of, "data": args.data})
    if certificates and certificates.fresh:
        out.line("made a certificate authority of this hub's own in %s/tls" % args.data)
    out.line("hub at %s" % url)
    if certificates:
        out.line("fingerprint of its CA: sha256=%s" % print_of)
    if not accounts.owners(storage):
        out.line("next, add an owner:     drybag hub users add NAME --data %s" % quote(args.data))
    if not storage.scan("devices", limit=1):
        there = url + ("/#sha256=" + print_of if print_of else "")
        out.line("next, pair a handset:   drybag pair TARGET --hub %s --wifi SSID" % quote(there))
    out.finish()
    out.json_mode = False  # the document is printed: nothing else goes to stdout
