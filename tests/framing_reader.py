"""Reads the messages that Egret wrote with h11, and compares each with what it means.

Usage: framing_reader.py FOLDER, with the files requests.jsonl and responses.jsonl that the tests of egret-proxy write there.
"""

import json
import sys
from pathlib import Path

import h11

# As many bytes as a head may have.
LARGEST = 1 << 20


class Differs(Exception):
    """A message means something else to h11."""


def events(connection):
    """All events that h11 finds in its input."""
    found = []
    while True:
        event = connection.next_event()
        if event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed):
            return found
        found.append(event)


def fields(listed):
    return [(name.encode(), bytes.fromhex(value)) for name, value in listed]


def by_name(all_fields, left_out=()):
    kept = [(bytes(name), bytes(value)) for name, value in all_fields if bytes(name) not in left_out]
    return sorted(kept, key=lambda field: field[0])


def expect(what, got, wanted):
    if got != wanted:
        raise Differs(f"{what}: {got!r}, not {wanted!r}")


def check_rest(connection, found, message):
    """The body, the trailers, and nothing after them."""
    head, *data, end = found
    expect("last event", type(end), h11.EndOfMessage)
    expect("events of the body", {type(event) for event in data} - {h11.Data}, set())
    expect("body", b"".join(bytes(event.data) for event in data), bytes.fromhex(message["body"]))
    expect("trailers", by_name(end.headers), by_name(fields(message["trailers"])))
    expect("bytes left over", connection.trailing_data[0], b"")
    expect("version", head.http_version, message["version"].encode())


def check_request(message):
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=LARGEST)
    connection.receive_data(bytes.fromhex(message["bytes"]))
    found = events(connection)
    head = found[0]
    expect("first event", type(head), h11.Request)
    expect("method", head.method, message["method"].encode())
    expect("target", head.target, message["target"].encode())
    expect("fields", by_name(head.headers, [b"transfer-encoding"]), by_name(fields(message["fields"])))
    check_rest(connection, found, message)


def check_response(message):
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=LARGEST)
    method = "HEAD" if message["to_head"] else "GET"
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(bytes.fromhex(message["bytes"]))
    found = events(connection)
    if not isinstance(found[-1], h11.EndOfMessage):
        connection.receive_data(b"")
        found += events(connection)
    head = found[0]
    expect("first event", type(head), h11.Response)
    expect("status", head.status_code, message["status"])
    of_connection = [b"transfer-encoding", b"connection"]
    expect("fields", by_name(head.headers, of_connection), by_name(fields(message["fields"])))
    check_rest(connection, found, message)


def main(folder):
    failed = 0
    for name, check in (("requests", check_request), ("responses", check_response)):
        count = 0
        for line in (folder / f"{name}.jsonl").read_text().splitlines():
            message = json.loads(line)
            count += 1
            try:
                check(message)
            except (Differs, h11.ProtocolError) as error:
                failed += 1
                print(f"{name}: {error}: {bytes.fromhex(message['bytes'])!r}", file=sys.stderr)
        print(f"h11 {h11.__version__} read {count} {name}")
        if count < 1000:
            failed += 1
            print(f"{name}: too few", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
