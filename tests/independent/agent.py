"""An agent that shares no code with ours, written from proto/AGENT.md and the .proto files alone.

agent.py PROTO STATE enrol HOST_NAME                      lets the machine in; the token comes on standard input
agent.py PROTO STATE report PRODUCT=STATE[=VERSION] ...   looks once: puts a report into the spool, sends nothing
agent.py PROTO STATE talk SECONDS                         hands in what is not acknowledged, then beats and answers so long
agent.py PROTO STATE standby SECONDS                      stands by and beats so long, or until it is called
agent.py PROTO STATE lie WHAT                             says what no agent may: forged, other=MACHINE, fork, gap, garbage
agent.py PROTO STATE leave                                is retired
agent.py PROTO STATE examples PAGE                        compares itself with the examples of the page

PROTO is the folder of seatbeat/v1, STATE a folder of its own. What happens is a JSON object on a line each.
"""

import hashlib
import json
import queue
import select
import socket
import ssl
import struct
import sys
import threading
import time
from datetime import datetime

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

import agent_words as words

MESSAGE_LENGTH_MAX = 256 * 1024
WINDOW = 256
VERSION = "independent-1"
NAME = "seatbeat-collector"
BEAT_S = 60


def say(**what):
    print(json.dumps(what), flush=True)


def now_ms():
    return time.time_ns() // 1_000_000


def certificate_of(key):
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a machine")])
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, datetime(2000, 1, 1), datetime(2100, 1, 1))
    return made.sign(key, None).public_bytes(Encoding.PEM)


def send_frame(tls, message):
    body = message.SerializeToString()
    tls.sendall(struct.pack(">H", len(body)) + body)


def read_frame(tls):
    def read(count):
        data = b""
        while len(data) < count:
            data += tls.recv(count - len(data)) or sys.exit("the connection is over")
        return data

    (length,) = struct.unpack(">H", read(2))
    return read(length)


def private_bytes(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def connected(address, pin, protocol, own=None):
    """A TLS connection with the holder of the pinned key."""
    host, port = address.rsplit(":", 1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([protocol])
    if own is not None:
        context.load_cert_chain(own)
    tls = context.wrap_socket(socket.create_connection((host.strip("[]"), int(port)), 10))
    key = x509.load_der_x509_certificate(tls.getpeercert(True)).public_key()
    if hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest() != pin:
        raise SystemExit(f"whoever answers at {address} is not the collector of the token")
    return tls


def channel(addresses, pin, key=None):
    """The first address that answers, as the holder of the pinned key."""
    for address in addresses:
        try:
            with connected(address, pin, "h2") as tls:
                root = ssl.DER_cert_to_PEM_cert(tls.getpeercert(True)).encode()
        except OSError as error:
            say(unreachable=address, why=str(error))
            continue
        own = [None, None]
        if key is not None:
            own = [private_bytes(key), certificate_of(key)]
        options = [
            ("grpc.ssl_target_name_override", NAME),
            ("grpc.max_receive_message_length", MESSAGE_LENGTH_MAX),
            ("grpc.enable_http_proxy", 0),
        ]
        return grpc.secure_channel(address, grpc.ssl_channel_credentials(root, *own), options)
    raise SystemExit(3)


class Agent:
    def __init__(self, proto, state):
        self.evidence, self.link, self.orders, self.services = words.compiled(proto)
        self.folder = words.Folder(state)
        self.key = self.folder.key()

    def enrol(self, host_name):
        token = words.read_token(sys.stdin.read(), self.link)
        # Of a machine that is made up: nothing of this one is read.
        facts = self.evidence.Facts(
            os="linux",
            os_id=words.fact(token.salt, "os-id", hashlib.md5(host_name.encode()).hexdigest()),
            host_name=words.fact(token.salt, "host-name", host_name),
        )
        claim = self.evidence.EnrolmentClaim(
            public_key=words.public_bytes(self.key),
            token=token.token,
            claimed_at_ms=now_ms(),
            facts=facts,
            agent_version=VERSION,
        )
        signed = words.sign(self.evidence, self.key, "seatbeat/v1/enrolment-claim", claim.SerializeToString())
        request = self.link.EnrolRequest(token_secret=token.secret, claim=signed, host_name=host_name)
        stub = self.services.AgentLinkStub(channel(token.addresses, token.pin))
        answer = stub.Enrol(request, timeout=20)
        assert answer.machine == words.machine_id(words.public_bytes(self.key)), answer.machine
        self.folder.keep_json("facts", facts.SerializeToString().hex())
        self.folder.keep_json(
            "order-keys",
            {
                "revision": token.order_keys_revision,
                "keys": [key.hex() for key in token.order_keys],
                "recovery": token.recovery_key.hex(),
            },
        )
        self.folder.keep_json(
            "identity",
            {
                "machine": answer.machine,
                "customer": answer.customer,
                "addresses": list(token.addresses),
                "pin": token.pin.hex(),
                "service_key": token.service_key.hex(),
                "host_name": host_name,
            },
        )
        say(machine=answer.machine, customer=answer.customer)

    def remember(self):
        """What an enrolled machine knows."""
        self.identity = self.folder.json("identity", None) or sys.exit("this machine is not enrolled")
        self.machine = self.identity["machine"]
        self.service_key = bytes.fromhex(self.identity["service_key"])
        self.trust = self.folder.json("order-keys", None)
        self.spool = words.Spool(self.folder, self.evidence)
        self.memory = self.folder.json("memory", {"offset_ms": 0, "checkpoint": "", "settings": 0, "beat_s": BEAT_S})
        self.book = self.folder.json("book", {"floors": {}, "answered": [], "issued_at_ms": 0})

    def dial(self):
        pin = bytes.fromhex(self.identity["pin"])
        return self.services.AgentLinkStub(channel(self.identity["addresses"], pin, self.key))

    def sign(self, one):
        return words.sign(self.evidence, self.key, "seatbeat/v1/evidence", one.SerializeToString())

    def next(self, body):
        offset_ms = self.memory["offset_ms"]
        return self.spool.next(self.machine, now_ms() + offset_ms, offset_ms, self.memory["checkpoint"], body)

    def report(self, found, reason="START"):
        products = [self.product(*one.split("=")) for one in found]
        facts = self.evidence.Facts.FromString(bytes.fromhex(self.folder.json("facts", "")))
        report = self.evidence.Report(
            reason=f"REPORT_REASON_{reason}", products=products, facts=facts, agent_version=VERSION
        )
        if self.trust["revision"]:
            report.seal_key.public_key = words.public_bytes(self.folder.seal_key())
            report.seal_key.order_keys_revision = self.trust["revision"]
        self.folder.keep_json("found", found)
        self.keep({"report": report})

    def keep(self, body):
        self.spool.keep(self.sign(self.next(body)))
        say(kept=self.spool.tip()[0], spool=self.spool.id)

    def product(self, product, state, version=""):
        return self.evidence.FoundProduct(
            product=product, state=f"PRODUCT_STATE_{state}", version=version, signals=["deb:ds-agent"]
        )

    def hello(self, sent_at_ms):
        sequence, tip = self.spool.tip()
        return self.link.Hello(
            protocol=1,
            agent_version=VERSION,
            spool=self.spool.id,
            sequence=sequence,
            hash=tip,
            sent_at_ms=sent_at_ms,
            settings_revision=self.memory["settings"],
            host_name=self.identity["host_name"],
            order_keys_revision=self.trust["revision"],
        )

    def standby(self, seconds):
        """Beats on a connection of its own, and hears how that is answered, until it is called."""
        self.folder.write("standby.pem", private_bytes(self.key) + certificate_of(self.key))
        own, pin = self.folder.path / "standby.pem", bytes.fromhex(self.identity["pin"])
        end, beat_at, said = time.monotonic() + float(seconds), time.monotonic() + self.memory["beat_s"], "hello"
        with connected(self.identity["addresses"][0], pin, "seatbeat-standby/1", own) as tls:
            send_frame(tls, self.link.AgentMessage(hello=self.hello(now_ms())))
            while time.monotonic() < end:
                wait_s = max(beat_at - time.monotonic(), 0)
                if not (tls.pending() or select.select([tls], [], [], wait_s)[0]):
                    beat_at, said = time.monotonic() + self.memory["beat_s"], "beat"
                    send_frame(tls, self.link.AgentMessage(beat=self.link.Beat(sent_at_ms=now_ms(), answer=True)))
                    continue
                message = self.link.CollectorMessage.FromString(read_frame(tls))
                if message.WhichOneof("body") != "standby":
                    say(passed_over=message.WhichOneof("body"))
                elif message.standby.come or message.standby.after_ms:
                    return say(come=message.standby.come, after_ms=message.standby.after_ms)
                else:
                    say(well=said)

    def leave(self):
        self.dial().Leave(self.link.LeaveRequest(), timeout=20)
        say(left=self.machine)

    def lie(self, what):
        """One piece of evidence that has to be refused; nothing of it is kept here."""
        said, _, whom = what.partition("=")
        report = {"report": self.evidence.Report(agent_version="a lie")}
        one, key = self.next(report), self.key
        if said == "forged":
            key = words.Ed25519PrivateKey.generate()
        elif said == "other":
            one.machine = whom
        elif said == "fork":
            one.sequence, one.previous = 1, b""
        elif said == "gap":
            one.sequence += 1
        payload = b"\xff" * 40 if said == "garbage" else one.SerializeToString()
        signed = words.sign(self.evidence, key, "seatbeat/v1/evidence", payload)
        stream = Stream(self)
        if stream.greet():
            stream.send(evidence=signed)
            stream.until(time.monotonic() + 5, lambda: stream.refused)
            stream.until(time.monotonic() + 1, lambda: stream.ended)
        stream.close()


class Stream:
    """One conversation, from Hello on."""

    def __init__(self, agent):
        self.agent, self.up, self.down = agent, queue.SimpleQueue(), queue.SimpleQueue()
        self.acknowledged = self.sent = 0
        self.refused, self.ended = None, False
        self.call = agent.dial().Link(iter(self.up.get, None))
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        try:
            for message in self.call:
                self.down.put(message)
        except grpc.RpcError:
            pass
        self.down.put(None)

    def send(self, **body):
        self.up.put(self.agent.link.AgentMessage(**body))
        self.beat_at = time.monotonic() + self.agent.memory["beat_s"]

    def close(self):
        self.up.put(None)
        while not self.ended:
            self.hear(time.monotonic() + 10)

    def greet(self):
        """Says Hello and waits for Welcome; learns the clock, and from where on to send."""
        agent, spool = self.agent, self.agent.spool
        sequence, sent_at_ms = spool.tip()[0], now_ms()
        self.send(hello=agent.hello(sent_at_ms))
        message = self.next_message(time.monotonic() + 45)
        if message is None:
            return False
        assert message.WhichOneof("body") == "welcome", message
        welcome, came_at_ms = message.welcome, now_ms()
        assert (welcome.hello_sent_at_ms, welcome.spool) == (sent_at_ms, spool.id), welcome
        agent.memory["offset_ms"] = welcome.now_ms - (sent_at_ms + (came_at_ms - sent_at_ms) // 2)
        agent.memory["checkpoint"] = welcome.checkpoint
        agent.folder.keep_json("memory", agent.memory)
        say(welcome=welcome.sequence, offset_ms=agent.memory["offset_ms"])
        held = welcome.sequence
        if held > sequence or spool.hash(held) != welcome.hash:
            self.start_over(min(agent.memory.get("acknowledged", 0), sequence, max(held - 1, 0)))
            return False
        self.sent = self.acknowledged = held
        return True

    def start_over(self, carry_after):
        self.agent.spool.start_over(self.agent.sign, carry_after)
        self.agent.memory["acknowledged"] = 0
        self.agent.folder.keep_json("memory", self.agent.memory)
        say(new_spool=self.agent.spool.id, carried=self.agent.spool.tip()[0])

    def next_message(self, until):
        try:
            message = self.down.get(timeout=max(until - time.monotonic(), 0))
        except queue.Empty:
            return None
        if message is None:
            self.ended = True
            say(ended=self.call.code().name, why=self.call.details())
        return message

    def until(self, end, done=lambda: False):
        """Sends what waits, hears, and beats, until it is done, over, or late."""
        while not (self.ended or done() or time.monotonic() >= end):
            spool = self.agent.spool
            while self.sent < spool.tip()[0] and self.sent - self.acknowledged < WINDOW:
                self.sent += 1
                self.send(evidence=spool.links[self.sent - 1])
            if time.monotonic() >= self.beat_at:
                self.send(beat=self.agent.link.Beat(sent_at_ms=now_ms(), waiting=spool.tip()[0] - self.acknowledged))
                say(beat=True)
            self.hear(min(end, self.beat_at, time.monotonic() + 0.5))

    def hear(self, until):
        message = self.next_message(until)
        kind = message.WhichOneof("body") if message is not None else None
        if kind is not None:
            getattr(self, f"hear_{kind}", lambda _: say(passed_over=kind))(getattr(message, kind))

    def hear_ack(self, ack):
        if ack.spool == self.agent.spool.id and self.acknowledged < ack.sequence <= self.sent:
            self.acknowledged = self.agent.memory["acknowledged"] = ack.sequence
            self.agent.folder.keep_json("memory", self.agent.memory)
            say(ack=ack.sequence)

    def hear_refusal(self, refusal):
        reason = self.agent.link.RefusalReason.Name(refusal.reason).removeprefix("REFUSAL_REASON_")
        self.refused, self.refused_at = reason, refusal.sequence
        say(refused=reason, sequence=refusal.sequence, detail=refusal.detail)

    def hear_checkpoint(self, checkpoint):
        self.agent.memory["checkpoint"] = checkpoint
        self.agent.folder.keep_json("memory", self.agent.memory)

    def hear_settings(self, signed):
        agent = self.agent
        settings = agent.orders.Settings.FromString(signed.payload)
        if not words.holds(agent.service_key, "seatbeat/v1/settings", signed):
            say(forged="settings")
        elif settings.revision > agent.memory["settings"]:
            agent.memory["settings"] = settings.revision
            agent.memory["beat_s"] = min(max(settings.beat_interval_s or BEAT_S, 5), 3600)
            agent.folder.keep_json("memory", agent.memory)
            self.beat_at = min(self.beat_at, time.monotonic() + agent.memory["beat_s"])
            say(settings=settings.revision, beat_s=agent.memory["beat_s"])

    def hear_order_keys(self, signed):
        trust = self.agent.trust
        signers = [bytes.fromhex(key) for key in [*trust["keys"], trust["recovery"]] if key]
        keys = self.agent.orders.OrderKeys.FromString(signed.payload)
        is_next = keys.revision == trust["revision"] + 1
        if is_next and any(words.holds(key, "seatbeat/v1/order-keys", signed) for key in signers):
            trust.update(
                revision=keys.revision, keys=[key.hex() for key in keys.keys], recovery=keys.recovery_key.hex()
            )
            self.agent.folder.keep_json("order-keys", trust)
            say(order_keys=keys.revision)
            self.agent.report(self.agent.folder.json("found", []), "CHANGE")

    def hear_order(self, delivery):
        agent, orders = self.agent, self.agent.orders
        order = orders.Order.FromString(delivery.order.payload)
        if order.machine != agent.machine or order.order in agent.book["answered"]:
            return
        outcome, detail = self.judge(order, delivery)
        action = orders.Action.Name(order.action).removeprefix("ACTION_")
        if outcome == "DONE":
            agent.book["floors"][order.product] = [order.epoch, order.sequence]
            agent.book["issued_at_ms"] = max(agent.book["issued_at_ms"], order.issued_at_ms)
        agent.book["answered"].append(order.order)
        agent.folder.keep_json("book", agent.book)
        if outcome == "DONE" and action == "REPORT_NOW":
            agent.report(agent.folder.json("found", []), "REQUESTED")
        result = agent.evidence.OrderResult(
            order=order.order,
            order_sequence=order.sequence,
            outcome=f"OUTCOME_{outcome}",
            product=order.product,
            detail=detail,
        )
        agent.keep({"order_result": result})
        say(order=action, product=order.product, outcome=outcome)

    def judge(self, order, delivery):
        """What the page says of an order for this machine, for a client that can switch nothing."""
        agent, orders = self.agent, self.agent.orders
        operators = [bytes.fromhex(key) for key in agent.trust["keys"]]
        by_operator = any(words.holds(key, "seatbeat/v1/order", delivery.order) for key in operators)
        by_service = words.holds(agent.service_key, "seatbeat/v1/order", delivery.order)
        if not (by_operator or by_service):
            return "REFUSED", "it is not signed by a key that this machine takes orders from"
        now = max(now_ms() + agent.memory["offset_ms"], agent.book["issued_at_ms"])
        if now >= order.expires_at_ms:
            return "EXPIRED", "the order came after its time was over"
        may = {orders.ACTION_CANCEL: by_operator or by_service, orders.ACTION_REPORT_NOW: by_service}
        switches = (orders.ACTION_SWITCH_OFF, orders.ACTION_SWITCH_ON, orders.ACTION_UNENROL)
        if not (may.get(order.action) or order.action in switches and by_operator):
            return "REFUSED", "this client does not know the action, or the key may not order it"
        if [order.epoch, order.sequence] <= agent.book["floors"].get(order.product, [0, 0]):
            return "REFUSED", "a newer order was taken before this one"
        if order.secrets_hash and order.secrets_hash != hashlib.sha256(delivery.sealed).digest():
            return "REFUSED", "the secrets of the order did not come with it as they were signed"
        if order.action in switches:
            return "REFUSED", "this client only reports"
        return "DONE", "nothing waited" if order.action == orders.ACTION_CANCEL else "a report was made"


def talk(agent, seconds):
    """Hands in, answers and beats; opens a new spool where the page says so, and connects anew."""
    end = time.monotonic() + seconds
    while True:
        stream, spool = Stream(agent), agent.spool.id
        if stream.greet():
            done = lambda: stream.acknowledged == agent.spool.tip()[0] and time.monotonic() >= end
            stream.until(end + 20, lambda: stream.refused or done())
        if stream.refused == "BROKEN_CHAIN":
            stream.start_over(stream.acknowledged)
        elif stream.refused in ("FORKED", "MALFORMED"):
            stream.start_over(max(stream.acknowledged, stream.refused_at))
        stream.close()
        if agent.spool.id == spool:
            return


def examples(proto, page):
    """Every value that the page gives, worked out here."""
    block = open(page, encoding="utf-8").read().split("```examples\n")[1].split("```")[0]
    given = dict(line.split(None, 1) for line in block.splitlines())
    key = words.Ed25519PrivateKey.from_private_bytes(bytes.fromhex(given["seed"]))
    payload = bytes.fromhex(given["payload"])
    signature = key.sign(b"seatbeat/v1/evidence\0" + payload)
    token = words.read_token(given["token"], words.compiled(proto)[1])
    made = {
        "public_key": words.public_bytes(key).hex(),
        "machine": words.machine_id(words.public_bytes(key)),
        "signature": signature.hex(),
        "hash": hashlib.sha256(payload).hexdigest(),
        "fact": words.fact(bytes.fromhex(given["salt"]), "os-id", given["os_id"]).hex(),
        "token_id": token.token,
        "token_address": token.addresses[0],
        "token_secret": token.secret.hex(),
    }
    wrong = {name: value for name, value in made.items() if given.get(name) != value}
    say(compared=len(made), wrong=wrong)
    return 1 if wrong else 0


def main(proto, state, what, *more):
    if what == "examples":
        return examples(proto, *more)
    agent = Agent(proto, state)
    try:
        if what != "enrol":
            agent.remember()
        acts = {"enrol": agent.enrol, "leave": agent.leave, "lie": agent.lie, "standby": agent.standby}
        acts |= {"report": lambda *found: agent.report(found), "talk": lambda seconds: talk(agent, float(seconds))}
        acts[what](*more)
    except grpc.RpcError as error:
        say(ended=error.code().name, why=error.details())
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
