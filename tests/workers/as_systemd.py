"""Opens sockets as systemd does for a .socket unit, then executes a program: ``as_systemd.py UNIX_PATH PROGRAM``."""

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
FIRST_DESCRIPTOR = 3
duplicates = [os.dup2(one.fileno(), FIRST_DESCRIPTOR + 10 + index) for index, one in enumerate(opened)]
for index, descriptor in enumerate(duplicates):
    os.dup2(descriptor, FIRST_DESCRIPTOR + index)
environ = {**os.environ, "LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "web:local"}
os.execve(program[0], program, environ)  # noqa: S606 - the program is an argument of the test
