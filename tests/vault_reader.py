"""Opens a vault as docs/vault-format.md describes it, without a line of Egret.

    python vault_reader.py VAULT [--key-file FILE] [--passphrase-file FILE]

Prints one JSON document: the header, the tenants' keys and every item with its description and its value (in base64).
For tests and recovery: it prints secrets.
"""

import argparse
import base64
import hmac
import json
import struct
import sys

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

MAGIC = b"EGRVAULT"
VERSION = 2
PASSPHRASE, KEY_FILE, EXTERNAL = 1, 2, 4
REMOVED = 2


class Damaged(Exception):
    """The file is no vault of this version, or not as it was written."""


class Reader:
    """Takes fields from the front of some bytes; remembers how each stood there."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, length):
        if self.at + length > len(self.data):
            raise Damaged("cut off")
        self.at += length
        return self.data[self.at - length : self.at]

    def number(self, form):
        return struct.unpack(">" + form, self.take(struct.calcsize(">" + form)))[0]

    def sized(self, form):
        return self.take(self.number(form))

    def end(self):
        flag, date = self.number("B"), self.number("q")
        if flag > 1 or (flag == 0 and date != 0):
            raise Damaged("an end has another form")
        return date if flag else None

    def removed_end(self):
        self.take(1)
        return self.number("q")

    def envelope(self):
        salt, commitment, nonce, tag = self.take(32), self.take(32), self.take(12), self.take(16)
        return salt, commitment, nonce, tag, self.sized("I")


def expand(key, info, length):
    return HKDFExpand(algorithm=hashes.SHA256(), length=length, info=info).derive(key)


def proof(key, label, data):
    return hmac.digest(expand(key, label, 32), data, "sha256")


def open_envelope(key, envelope, context):
    salt, commitment, nonce, tag, ciphertext = envelope
    both = expand(key, b"egret vault 2 data key" + salt, 64)
    if not hmac.compare_digest(both[32:], commitment):
        raise Damaged("an envelope is under another key")
    return AESGCM(both[:32]).decrypt(nonce, ciphertext + tag, context)


def read_header(reader):
    if reader.take(8) != MAGIC:
        raise Damaged("not a vault")
    if reader.number("H") != VERSION:
        raise Damaged("another format version")
    header = {"sources": reader.number("B")}
    header["argon2id"] = [reader.number("I") for _ in range(3)]
    header["hint"] = reader.sized("H")
    header["salt"] = reader.take(32)
    header["generation"] = reader.number("Q")
    header["wrappings"] = reader.number("Q")
    memory, passes, lanes = header["argon2id"]
    if header["sources"] & PASSPHRASE:
        if not (19 * 1024 <= memory <= 4 << 20 and 2 <= passes <= 32 and 1 <= lanes <= 64):
            raise Damaged("the parameters of Argon2id are outside their bounds")
    elif (memory, passes, lanes) != (0, 0, 0):
        raise Damaged("parameters without a passphrase")
    return header


def kek_of(header, passphrase, key_file):
    parts = []
    if header["sources"] & PASSPHRASE:
        memory, passes, lanes = header["argon2id"]
        stretch = Argon2id(salt=header["salt"], length=32, iterations=passes, lanes=lanes, memory_cost=memory)
        parts.append(stretch.derive(passphrase))
    if header["sources"] & KEY_FILE:
        if len(key_file) != 32:
            raise Damaged("a key file has 32 bytes")
        parts.append(key_file)
    if header["sources"] & EXTERNAL or not parts:
        raise Damaged("the vault is locked with an external key")
    info = b"egret vault 2 kek" + bytes([header["sources"]])
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=header["salt"], info=info).derive(b"".join(parts))


def read_keys(reader, kek, generation):
    keys, last = {}, None
    for _ in range(reader.number("I")):
        begin = reader.at
        tenant = reader.sized("B")
        key = {"id": reader.number("I"), "created": reader.number("q"), "generation": reader.number("Q")}
        context = b"egret vault 2 tenant key" + struct.pack(">H", VERSION) + reader.data[begin : reader.at]
        key["sealings"] = reader.number("Q")
        key["key"] = open_envelope(kek, reader.envelope(), context)
        if (last is not None and tenant <= last) or key["generation"] > generation:
            raise Damaged("the keys are out of order")
        last = tenant
        keys[tenant] = key
    return keys


def read_items(reader, keys, generation):
    items, last = [], None
    for _ in range(reader.number("I")):
        begin = reader.at
        tenant, name = reader.sized("B"), reader.sized("B")
        item = {"tenant": tenant.decode(), "name": name.decode(), "version": reader.number("I")}
        item["key"], item["generation"] = reader.number("I"), reader.number("Q")
        item["created"], item["updated"] = reader.number("q"), reader.number("q")
        item["expires"] = reader.end()
        label = struct.pack(">H", VERSION) + reader.data[begin : reader.at]
        item["removed"] = reader.data[reader.at] == REMOVED
        item["superseded"] = reader.removed_end() if item["removed"] else reader.end()
        place = (tenant, name, item["version"])
        if (last is not None and place <= last) or item["generation"] > generation:
            raise Damaged("the items are out of order")
        last = place
        key = keys[tenant]
        if key["id"] != item["key"]:
            raise Damaged("an item is under a key that its tenant does not have")
        description = open_envelope(key["key"], reader.envelope(), b"egret vault 2 description" + label)
        context = b"egret vault 2 value" + label + struct.pack(">I", len(description)) + description
        value = open_envelope(key["key"], reader.envelope(), context)
        item["description"] = json.loads(description) if description else None
        item["value"] = base64.b64encode(value).decode()
        items.append(item)
    return items


def read_vault(data, passphrase=b"", key_file=b""):
    reader = Reader(data)
    header = read_header(reader)
    kek = kek_of(header, passphrase, key_file)
    if not hmac.compare_digest(proof(kek, b"egret vault 2 header", data[: reader.at]), reader.take(32)):
        raise Damaged("not this key, or a damaged header")
    content, trailer = data[:-32], data[-32:]
    if not hmac.compare_digest(proof(kek, b"egret vault 2 file", content), trailer):
        raise Damaged("changed, moved, cut off or added to")
    reader.data = content
    keys = read_keys(reader, kek, header["generation"])
    items = read_items(reader, keys, header["generation"])
    if reader.at != len(content):
        raise Damaged("something is left over")
    return header, keys, items


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vault")
    parser.add_argument("--key-file")
    parser.add_argument("--passphrase-file")
    given = parser.parse_args()
    read = lambda path: open(path, "rb").read() if path else b""
    try:
        passphrase = read(given.passphrase_file).removesuffix(b"\n").removesuffix(b"\r")
        header, keys, items = read_vault(read(given.vault), passphrase, read(given.key_file))
    except (Damaged, ValueError, KeyError) as error:
        sys.exit(f"the vault does not open: {error!r}")
    shown = {name: {field: key[field] for field in ("id", "created", "generation", "sealings")} for name, key in keys.items()}
    document = {
        "generation": header["generation"],
        "wrappings": header["wrappings"],
        "keys": {name.decode(): key for name, key in shown.items()},
        "items": items,
    }
    json.dump(document, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
