"""Opens sockets as systemd does for a .socket unit, and becomes the program: ``as_systemd.py UNIX_PATH PROGRAM``."""

from __future__ import annotations

import os
import socket
import sys

path, *program = sys.argv[1:]
opened = [socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX)]
opened[1].bind(path)
os.chmod(path, 0o600)
opened[1].listen()
sys.stdout.write(f"systemd's port is {opened[0].getsockname()[1]}\n")
sys.stdout.flush()
FIRST = 3
above = [os.dup2(one.fileno(), FIRST + 10 + place) for place, one in enumerate(opened)]
for place, descriptor in enumerate(above):
    os.dup2(descriptor, FIRST + place)
environ = {**os.environ, "LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "web:local"}
os.execve(program[0], program, environ)  # noqa: S606 - that is the point
