"""Where a Redis is, as ``store.url`` says it."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

REDIS_PORT = 6379
SENTINEL_PORT = 26379

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")

Host = tuple[str, int]


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where a Redis is and who we are there.

    Attributes:
        hosts: the server, or all the sentinels that may be asked for it.
        path: of a unix socket, instead.
        master: the name under which the sentinels know the server; None: there are no sentinels.
        tls: the connections are encrypted and the certificates verified.
        database: its number.
    """

    hosts: tuple[Host, ...] = ()
    path: str | None = None
    master: str | None = None
    tls: bool = False
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """Name it for a person: without the password."""
        if self.path is not None:
            return f"unix:{self.path}"
        hosts = ", ".join(f"{host}:{port}" for host, port in self.hosts)
        return hosts if self.master is None else f"{self.master} of the sentinels {hosts}"


def redis_address(url: str, password: str | None = None) -> RedisAddress:
    """Return the address that a URL names.

    The forms are ``redis://[user:password@]host[:port][/database]``, the same with ``rediss``,
    ``unix:/path[?db=number]``, and ``redis+sentinel://host[:port][,host[:port]…]/master[/database]``, the same with
    ``rediss+sentinel``. Names and passwords are percent-decoded.

    Args:
        password: takes the place of the one in the URL.

    Raises:
        ValueError: it is none of these; the text never holds the password.
    """
    scheme, colon, _ = url.partition(":")
    if scheme not in SCHEMES or not colon:
        raise ValueError("write redis://host:6379/0, rediss://…, unix:/path or redis+sentinel://host:26379/master")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("this is no URL") from None
    if parts.fragment:
        raise ValueError("a # in the password has to be written %23")
    if scheme == "unix":
        return _unix(parts, password)
    if parts.query:
        raise ValueError("there is nothing to say behind a ?; the number of the database follows a /")
    hosts, user, own_password = _authority(parts.netloc, SENTINEL_PORT if "sentinel" in scheme else REDIS_PORT)
    places = [unquote(place) for place in parts.path.split("/")[1:] if place]
    master = None
    if "sentinel" in scheme:
        if not places:
            raise ValueError("name the master, as redis+sentinel://host:26379/mymaster")
        master = places.pop(0)
    elif len(hosts) > 1:
        raise ValueError("name one host; several are for redis+sentinel://")
    if len(places) > 1:
        raise ValueError("too many parts in the path; it is the number of the database")
    return RedisAddress(
        hosts=hosts,
        master=master,
        tls=scheme.startswith("rediss"),
        database=_database(places[0] if places else "0"),
        username=user,
        password=password if password is not None else own_password,
    )


def _unix(parts: SplitResult, password: str | None) -> RedisAddress:
    if parts.netloc or not parts.path.startswith("/"):
        raise ValueError("write unix: and the whole path of the socket, as unix:/run/redis/redis.sock")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if not options.keys() <= {"db", "username", "password"}:
        raise ValueError("behind the ? there may be db, username and password")
    return RedisAddress(
        path=unquote(parts.path),
        database=_database(options.get("db", "0")),
        username=options.get("username"),
        password=password if password is not None else options.get("password"),
    )


def _authority(text: str, usual_port: int) -> tuple[tuple[Host, ...], str | None, str | None]:
    who, _, where = text.rpartition("@")
    user, _, password = who.partition(":")
    hosts = tuple(_host(one, usual_port) for one in where.split(","))
    return hosts, unquote(user) or None, unquote(password) or None


def _host(text: str, usual_port: int) -> Host:
    try:
        found = urlsplit(f"//{text}")
        name, port = found.hostname, found.port
    except ValueError:
        name, port = None, None
    if not name:
        raise ValueError("a host is missing, or its port is not a number up to 65535")
    return name, usual_port if port is None else port


def _database(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5:
        raise ValueError("the database is a number, as in redis://host:6379/0")
    return int(text)
