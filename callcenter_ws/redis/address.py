"""RedisAddress: parses ``store.url``."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv6Address
from urllib.parse import SplitResult, parse_qsl, unquote

REDIS_PORT = 6379
SENTINEL_PORT = 26379

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")

Host = tuple[str, int]

_NOT_A_URL = "this is not a URL"


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """The address of a Redis, and the credentials for it.

    Attributes:
        hosts: the server, or the sentinels; empty if ``path`` is set.
        path: the path of a Unix socket.
        master: the name of the server that the sentinels monitor; None: the server is addressed directly.
        tls: whether connections are encrypted and certificates verified.
        database: the number of the database.
    """

    hosts: tuple[Host, ...] = ()
    path: str | None = None
    master: str | None = None
    tls: bool = False
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """Return the address for log lines, without the credentials."""
        if self.path is not None:
            return f"unix:{self.path}"
        hosts = ", ".join(f"{host}:{port}" for host, port in self.hosts)
        return hosts if self.master is None else f"{self.master} of the sentinels {hosts}"


def redis_address(url: str, password: str | None = None) -> RedisAddress:
    """Parse the URL of a Redis.

    The forms are ``redis://[user:password@]host[:port][/database]``, the same with ``rediss``,
    ``unix:/path[?db=number]``, and ``redis+sentinel://host[:port][,host[:port]…]/master[/database]``, the same with
    ``rediss+sentinel``. Names and passwords are percent-decoded.

    Args:
        password: overrides the one in the URL.

    Raises:
        ValueError: the URL is in none of these forms; the text never contains the password.
    """
    scheme, colon, _ = url.partition(":")
    if scheme not in SCHEMES or not colon:
        raise ValueError("write redis://host:6379/0, rediss://…, unix:/path or redis+sentinel://host:26379/master")
    parts = _split(url)
    if parts.fragment:
        raise ValueError("a # in the password has to be written %23")
    if scheme == "unix":
        return _unix(parts, password)
    if parts.query:
        raise ValueError("a query (?) is not allowed; the number of the database follows a /")
    hosts, user, own_password = _authority(parts.netloc, SENTINEL_PORT if "sentinel" in scheme else REDIS_PORT)
    segments = [unquote(segment) for segment in parts.path.split("/")[1:] if segment]
    master = None
    if "sentinel" in scheme:
        if not segments:
            raise ValueError("name the master, as redis+sentinel://host:26379/mymaster")
        master = segments.pop(0)
    elif len(hosts) > 1:
        raise ValueError("name one host; several are for redis+sentinel://")
    if len(segments) > 1:
        raise ValueError("too many parts in the path; it is the number of the database")
    return RedisAddress(
        hosts=hosts,
        master=master,
        tls=scheme.startswith("rediss"),
        database=_database(segments[0] if segments else "0"),
        username=user,
        password=password if password is not None else own_password,
    )


def _split(url: str) -> SplitResult:
    """Split a URL as RFC 3986, appendix B, does.

    ``urllib.parse.urlsplit`` expects one host: in most releases since Python 3.11.4 it refuses several hosts with an
    IPv6 address among them.

    Raises:
        ValueError: the URL contains a control character.
    """
    if any(character < " " or character == "\x7f" for character in url):
        raise ValueError(f"{_NOT_A_URL}: it contains a control character")
    scheme, _, rest = url.partition(":")
    rest, _, fragment = rest.partition("#")
    rest, _, query = rest.partition("?")
    authority = ""
    if rest.startswith("//"):
        authority, slash, rest = rest[2:].partition("/")
        rest = slash + rest
    return SplitResult(scheme, authority, rest, query, fragment)


def _unix(parts: SplitResult, password: str | None) -> RedisAddress:
    if parts.netloc or not parts.path.startswith("/"):
        raise ValueError("write unix: and the absolute path of the socket, as unix:/run/redis/redis.sock")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if not options.keys() <= {"db", "username", "password"}:
        raise ValueError("only db, username and password are allowed after the ?")
    return RedisAddress(
        path=unquote(parts.path),
        database=_database(options.get("db", "0")),
        username=options.get("username"),
        password=password if password is not None else options.get("password"),
    )


def _authority(text: str, default_port: int) -> tuple[tuple[Host, ...], str | None, str | None]:
    credentials, _, addresses = text.rpartition("@")
    user, _, password = credentials.partition(":")
    hosts = tuple(_host(address, default_port) for address in addresses.split(","))
    return hosts, unquote(user) or None, unquote(password) or None


def _host(text: str, default_port: int) -> Host:
    if text.startswith("["):
        name, bracket, rest = text[1:].partition("]")
        if not bracket or rest[:1] not in ("", ":") or not _is_ipv6(name):
            raise ValueError(f"{_NOT_A_URL}: write an IPv6 address between [ and ], then at most :port")
        port = rest[1:]
    else:
        name, _, port = text.lower().partition(":")
    if not name or (port and not _is_port(port)):
        raise ValueError("a host is missing, or its port is not a number up to 65535")
    return name, int(port) if port else default_port


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65_535


def _database(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5:
        raise ValueError("the database is a number, as in redis://host:6379/0")
    return int(text)
