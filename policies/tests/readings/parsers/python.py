"""One target a line; for each a line of what Python makes of its path, as `d:HEX` (decoded) or `r:HEX` (not decoded)."""

import posixpath
import sys
from urllib.parse import unquote, unquote_to_bytes, urljoin, urlparse, urlsplit

BASE = "http://host.example/"


def item(kind, text):
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    return f"{kind}:{data.hex()}"


def readings(target):
    bare = target.split("?")[0]
    yield lambda: ("r", urlsplit(target).path or "/")
    yield lambda: ("r", urlsplit("http://host.example" + target).path)
    yield lambda: ("r", urlparse("http://host.example" + target).path)
    yield lambda: ("d", unquote(urlparse("http://host.example" + target).path))
    yield lambda: ("r", urlsplit(urljoin(BASE, target)).path or "/")
    yield lambda: ("d", unquote_to_bytes(bare))
    yield lambda: ("d", posixpath.normpath(unquote(bare)))
    yield lambda: ("d", unquote(posixpath.normpath(bare)))
    yield lambda: ("d", posixpath.normpath(unquote(unquote(bare))))
    yield lambda: ("d", posixpath.normpath(unquote(bare).split(";")[0]))
    yield lambda: ("d", posixpath.join("/", posixpath.normpath("/" + unquote(bare).lstrip("/"))))


def frameworks():
    """Routers that are installed: what a handler behind them gets."""
    found = []
    try:
        import yarl

        found.append(lambda target: ("d", yarl.URL("http://host.example" + target, encoded=True).path))
        found.append(lambda target: ("r", yarl.URL("http://host.example" + target).raw_path))
        found.append(lambda target: ("d", yarl.URL(target, encoded=True).path or "/"))
    except ImportError:
        pass
    try:
        from werkzeug.routing import Map, RequestRedirect, Rule
        from werkzeug.test import EnvironBuilder
        from werkzeug.wrappers import Request

        adapter = Map([Rule("/<path:rest>", endpoint="all"), Rule("/", endpoint="root")]).bind("host.example", "/")

        def routed(target):
            path = Request(EnvironBuilder(path="/", base_url=BASE).get_environ() | {
                "PATH_INFO": unquote(target.split("?")[0], "latin-1"),
            }).path
            try:
                endpoint, values = adapter.match(path)
                return "d", "/" + values.get("rest", "")
            except RequestRedirect as redirect:
                return "d", unquote(urlsplit(redirect.new_url).path)

        found.append(routed)
    except ImportError:
        pass
    try:
        import h11

        def received(target):
            connection = h11.Connection(our_role=h11.SERVER)
            connection.receive_data(f"GET {target} HTTP/1.1\r\nHost: host.example\r\n\r\n".encode())
            return "r", connection.next_event().target.split(b"?")[0]

        found.append(received)
    except ImportError:
        pass
    return found


ROUTERS = frameworks()
for line in sys.stdin:
    target = line.rstrip("\n")
    items = []
    for reading in list(readings(target)) + [lambda router=router: router(target) for router in ROUTERS]:
        try:
            items.append(item(*reading()))
        except Exception:  # a parser that refuses the target reaches nothing
            pass
    print(" ".join(items), flush=False)
