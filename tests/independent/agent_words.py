"""What an agent is made of besides its conversation: token, key, signatures, facts, and the spool on disk.

From proto/AGENT.md alone; agent.py says how it is used.
"""

import base64
import hashlib
import hmac
import json
import os
import secrets
import struct
import sys
import tempfile
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def compiled(proto):
    """The modules of the .proto files: evidence, link, orders, and the stub of the service."""
    import importlib
    from grpc_tools import protoc

    files = [f"seatbeat/v1/{name}.proto" for name in ("evidence", "link", "orders")]
    with tempfile.TemporaryDirectory() as made:
        if protoc.main(["", f"-I{proto}", f"--python_out={made}", f"--grpc_python_out={made}", *files]):
            raise SystemExit(f"the .proto files in {proto} cannot be compiled")
        sys.path.insert(0, made)
        names = ("evidence_pb2", "link_pb2", "orders_pb2", "link_pb2_grpc")
        return [importlib.import_module(f"seatbeat.v1.{name}") for name in names]


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def read_token(text, link):
    text = text.strip()
    if not text.startswith("sb1.") or len(text) > 2048:
        raise SystemExit("that is no token: it begins with `sb1.`")
    encoded = text[4:]
    data = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    body, check = data[:-4], data[-4:]
    if struct.pack("<I", crc32c(body)) != check:
        raise SystemExit("the token is damaged")
    token = link.TokenText.FromString(body)
    lengths = [len(token.secret), len(token.pin), len(token.salt), len(token.service_key)]
    if lengths != [16, 32, 32, 32] or not token.addresses:
        raise SystemExit("the token is not whole")
    return token


def characters(data):
    return "".join(ALPHABET[byte & 31] for byte in data[:20])


def public_bytes(key):
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def machine_id(public_key):
    return "mch_" + characters(hashlib.sha256(public_key).digest())


def fact(salt, kind, value):
    return hmac.digest(salt, kind.encode() + b"\0" + value.encode(), "sha256")[:16]


def sign(evidence, key, domain, payload):
    """A `Signed`: the bytes, and the signature over domain, zero byte and bytes."""
    signature = key.sign(domain.encode() + b"\0" + payload)
    return evidence.Signed(payload=payload, signature=signature)


def holds(public_key, domain, signed):
    try:
        key = Ed25519PublicKey.from_public_bytes(public_key)
        key.verify(signed.signature, domain.encode() + b"\0" + signed.payload)
        return True
    except (InvalidSignature, ValueError):
        return False


def framed(signed):
    data = signed.SerializeToString()
    return struct.pack(">I", len(data)) + data


class Folder:
    """What is kept of a machine. Whatever is written is on the disk when the call returns."""

    def __init__(self, path):
        self.path = Path(path)
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def write(self, name, data):
        made = self.path / f"new-{name}"
        with open(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        made.rename(self.path / name)
        self.sync()

    def sync(self):
        folder = os.open(self.path, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def read(self, name):
        path = self.path / name
        return path.read_bytes() if path.exists() else None

    def json(self, name, otherwise):
        data = self.read(name)
        return otherwise if data is None else json.loads(data)

    def keep_json(self, name, value):
        self.write(name, json.dumps(value).encode())

    def key(self):
        """The machine's key: on the disk before anybody hears of it."""
        if self.read("key") is None:
            self.write("key", secrets.token_bytes(32))
        return Ed25519PrivateKey.from_private_bytes(self.read("key"))

    def seal_key(self):
        if self.read("seal-key") is None:
            self.write("seal-key", secrets.token_bytes(32))
        return X25519PrivateKey.from_private_bytes(self.read("seal-key"))


class Spool:
    """The newest chain of a machine: `links` are what was signed, as bytes, with the sequence of the first."""

    def __init__(self, folder, evidence):
        self.folder, self.evidence = folder, evidence
        files = sorted(folder.path.glob("spool-*-spl_*"))
        self.ordinal = len(files)
        if files:
            self.name = files[-1].name
            self.links = list(self.read(files[-1]))
            self.id = self.name.split("-", 2)[2]
        else:
            self.name_anew()
            self.folder.write(self.name, b"")

    def name_anew(self):
        self.ordinal += 1
        self.id = "spl_" + characters(secrets.token_bytes(20))
        self.name = f"spool-{self.ordinal:06}-{self.id}"
        self.links = []

    def read(self, path):
        data, at = path.read_bytes(), 0
        while at + 4 <= len(data):
            (length,) = struct.unpack_from(">I", data, at)
            if at + 4 + length > len(data):
                break
            yield self.evidence.Signed.FromString(data[at + 4 : at + 4 + length])
            at += 4 + length
        if at < len(data):
            # The power went while this was written: nobody was sent it.
            os.truncate(path, at)

    def tip(self):
        """Sequence and hash of the newest; 0 and nothing before the first."""
        return len(self.links), self.hash(len(self.links))

    def hash(self, sequence):
        return hashlib.sha256(self.links[sequence - 1].payload).digest() if sequence else b""

    def next(self, machine, observed_at_ms, offset_ms, checkpoint, body):
        """The next evidence, not yet signed or kept."""
        sequence, previous = self.tip()
        return self.evidence.Evidence(
            machine=machine,
            spool=self.id,
            sequence=sequence + 1,
            previous=previous,
            observed_at_ms=observed_at_ms,
            clock_offset_ms=offset_ms,
            checkpoint=checkpoint,
            **body,
        )

    def keep(self, signed):
        with open(self.folder.path / self.name, "ab") as file:
            file.write(framed(signed))
            file.flush()
            os.fsync(file.fileno())
        self.links.append(signed)

    def start_over(self, sign_one, carry_after):
        """A new chain with what the old one has after a sequence, signed anew; whole on the disk or not at all."""
        carried = [self.evidence.Evidence.FromString(link.payload) for link in self.links[carry_after:]]
        self.name_anew()
        for old in carried:
            which = old.WhichOneof("body")
            body = {which: getattr(old, which)} if which else {}
            one = self.next(old.machine, old.observed_at_ms, old.clock_offset_ms, old.checkpoint, body)
            self.links.append(sign_one(one))
        self.folder.write(self.name, b"".join(map(framed, self.links)))
