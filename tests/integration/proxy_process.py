"""nginx and HAProxy with the files of etc/, adapted only in addresses, ports, paths and numbers of descriptors."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import tls_material
from processes import DEADLINE, free_port, wait_until

ETC = Path(__file__).parents[2] / "etc"
MODULES = Path("/etc/nginx/modules-enabled")

CLIENT = "127.0.0.2"
"""The address from which clients connect; the proxies connect to the gateways from 127.0.0.1."""


def program(name: str) -> str:
    """Return the path of a program, also if that folder is not on the user's path."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert found, f"{name} is not installed; tests/run installs it"
    return found


def replaced(text: str, replacements: Mapping[str, str]) -> str:
    """Return a text with each replacement made; each must apply, so that the example itself stays the source."""
    for old, new in replacements.items():
        assert old in text, f"{old!r} is not in the example"
        text = text.replace(old, new)
    return text


class Proxy:
    """A proxy in front of gateways.

    Attributes:
        web_port, amp_port: the ports of clients and of daemons; both have TLS.
        certificate: the certificate that clients must trust.

    Args:
        check_interval: the time between two checks of a node by HAProxy; nginx checks none.
    """

    def __init__(self, folder: Path, name: str, nodes: Sequence[tuple[int, int]], check_interval: str = "1s") -> None:
        self.folder = folder
        self._check_interval = check_interval
        self.name = name
        self.web_port, self.amp_port = free_port(), free_port()
        self.certificate, key = tls_material.make_certificate(folder)
        (folder / "both.pem").write_bytes(self.certificate.read_bytes() + key.read_bytes())
        # The third node of the examples is down.
        ports = [*nodes, *[(free_port(), free_port())] * (3 - len(nodes))]
        addresses = {}
        for number, (web, amp) in enumerate(ports, 11):
            addresses |= {f"192.0.2.{number}:8080": f"127.0.0.1:{web}", f"192.0.2.{number}:8081": f"127.0.0.1:{amp}"}
        adapt = {"nginx": self._nginx, "haproxy": self._haproxy}[name]
        command = adapt(addresses, [web for web, _ in ports], key)
        with (folder / f"{name}.log").open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_until(self._listens, f"{name} to listen")
        except BaseException:
            self.stop()
            raise

    def _nginx(self, addresses: Mapping[str, str], _: Sequence[int], key: Path) -> list[str]:
        text = replaced(
            (ETC / "nginx.conf").read_text(),
            {
                **addresses,
                "listen 443 ssl": f"listen 127.0.0.1:{self.web_port} ssl",
                "listen 8081 ssl": f"listen 127.0.0.1:{self.amp_port} ssl",
                "/etc/nginx/gateway.pem": str(self.certificate),
                "/etc/nginx/gateway.key": str(key),
                "/run/nginx.pid": str(self.folder / "nginx.pid"),
                "/var/log/nginx/": f"{self.folder}/",
                "worker_connections 50000;": "worker_connections 500;",
                "worker_rlimit_nofile 200000;": "worker_rlimit_nofile 1024;",
                "worker_processes auto;": "worker_processes 2;",
                # www-data may not read the folders of tests.
                "user www-data;": f"user {getpass.getuser()};" if os.geteuid() == 0 else "",
            },
        )
        # Only the module that the example is about: another one of this machine may not fit.
        module = MODULES / "50-mod-stream.conf"
        text = replaced(text, {"include /etc/nginx/modules-enabled/*.conf;": f"include {module};"})
        # The folders of temporary files belong to root; a user's nginx needs others.
        folders = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        paths = "\n".join(f"{name}_temp_path {self.folder}/{name};" for name in folders)
        (self.folder / "nginx.conf").write_text(replaced(text, {"http {\n": f"http {{\n{paths}\n"}))
        options = ["-c", str(self.folder / "nginx.conf"), "-g", "daemon off;"]
        return [program("nginx"), "-e", str(self.folder / "error.log"), *options]

    def _haproxy(self, addresses: Mapping[str, str], web_ports: Sequence[int], key: Path) -> list[str]:
        text = replaced(
            (ETC / "haproxy.cfg").read_text(),
            {
                **addresses,
                "bind :443 ": f"bind 127.0.0.1:{self.web_port} ",
                "bind :8081 ": f"bind 127.0.0.1:{self.amp_port} ",
                "/etc/haproxy/gateway.pem": str(self.folder / "both.pem"),
                "maxconn 100000": "maxconn 200",
                "maxconn 50000": "maxconn 100",
                "inter 1s": f"inter {self._check_interval}",
                # Each request with the node that answered it, the retries, and how it ended: see ``stop``.
                "log /dev/log local0 notice": "log stdout format raw local0",
                "frontend web\n": "frontend web\n    option httplog\n",
                "frontend amp\n": "frontend amp\n    option tcplog\n",
            },
        )
        ports = iter(web_ports)
        text = re.sub(r"check port 8080", lambda _: f"check port {next(ports)}", text)
        if os.geteuid() != 0:
            # Only root may change its user and its root folder.
            text = re.sub(r"^ +(chroot|user|group) .*\n", "", text, flags=re.MULTILINE)
        (self.folder / "haproxy.cfg").write_text(text)
        # In the foreground.
        return [program("haproxy"), "-db", "-f", str(self.folder / "haproxy.cfg")]

    @property
    def log(self) -> str:
        """What the proxy has written."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def _listens(self) -> bool:
        assert self.process.poll() is None, self.log
        try:
            for port in (self.web_port, self.amp_port):
                socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            return False
        return True

    def tls(self, port: int) -> ssl.SSLSocket:
        """Open a TLS connection from the address of a client."""
        raw = socket.create_connection(("127.0.0.1", port), DEADLINE, source_address=(CLIENT, 0))
        return self.context.wrap_socket(raw, server_hostname="127.0.0.1")

    @property
    def context(self) -> ssl.SSLContext:
        """The TLS settings of a client that trusts the proxy's certificate."""
        return ssl.create_default_context(cafile=str(self.certificate))

    def stop(self) -> None:
        """Stop the proxy, and print its log, which pytest shows if the test has failed."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        sys.stdout.write(self.log)
