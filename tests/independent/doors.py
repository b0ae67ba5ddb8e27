"""Has testssl.sh look at both doors of a real collector: the agents', whose certificate is its own and pinned, and the
operators', whose certificate is of an authority. Loopback only, and nothing is looked up elsewhere.

doors.py PROGRAM
PROGRAM is `seatbeat`. Ends with 1 where something is found that doors.tsv beside it does not explain, or where a door offers
another protocol than it should.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RANK = ["OK", "DEBUG", "INFO", "WARN", "LOW", "MEDIUM", "HIGH", "CRITICAL"]
# From here on a finding needs a reason.
TELLING = RANK.index("WARN")
OFFERED = {
    "agents": {"TLS1_3"},
    "operators": {"TLS1_2", "TLS1_3"},
}
PROTOCOLS = ["SSLv2", "SSLv3", "TLS1", "TLS1_1", "TLS1_2", "TLS1_3"]
TIME_MAX_S = 1500
READY_S = 60

OPERATOR_CERTIFICATE = """subjectAltName=DNS:localhost,IP:127.0.0.1
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth
basicConstraints=critical,CA:FALSE
"""


def explained():
    """Severity and reason by door and finding."""
    table = {}
    for line in Path(__file__).with_suffix(".tsv").read_text(encoding="utf-8").splitlines()[1:]:
        door, finding, severity, reason = line.split("\t")
        table[door, finding] = severity, reason
    return table


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def run(folder, *command):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout}\n{done.stderr}")


def certificates(folder):
    """An authority, and the operators' certificate of it."""
    (folder / "extensions").write_text(OPERATOR_CERTIFICATE)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    authority = ["-keyout", "ca.key", "-out", "ca.pem", "-days", "400", "-subj", "/CN=an authority"]
    run(folder, "openssl", "req", "-x509", *key, *authority)
    run(folder, "openssl", "req", *key, "-keyout", "operators.key", "-out", "csr", "-subj", "/CN=localhost")
    signing = ["-CA", "ca.pem", "-CAkey", "ca.key", "-days", "90", "-extfile", "extensions"]
    run(folder, "openssl", "x509", "-req", "-in", "csr", *signing, "-out", "operators.pem")


def serve(program, folder, ports):
    """A collector whose doors both speak TLS."""
    os.environ |= {"HOME": str(folder), "SEATBEAT_OPERATOR": str(folder / "operator.toml")}
    listens = [[f"--{door[:-1]}-listen", f"127.0.0.1:{port}"] for door, port in ports.items()]
    run(folder, program, "init", "--store", "store", *sum(listens, []))
    settings = folder / "store/seatbeat.toml"
    given = f'operator_certificate = "{folder}/operators.pem"\noperator_key = "{folder}/operators.key"\n'
    settings.write_text(given + settings.read_text())
    log = open(folder / "log", "w")
    child = subprocess.Popen([program, "serve", "--store", "store"], cwd=folder, stdout=log, stderr=log)
    for _ in range(READY_S * 10):
        if child.poll() is None and all(answers(port) for port in ports.values()):
            return child
        time.sleep(0.1)
    child.kill()
    sys.exit(f"the collector did not get ready:\n{(folder / 'log').read_text()}")


def answers(port):
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def look(testssl, folder, door, port):
    options = ["--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--ip", "127.0.0.1"]
    if door == "operators":
        options += ["--add-ca", folder / "ca.pem"]
    said = open(folder / f"{door}.txt", "w")
    command = [testssl, *options, "--jsonfile", folder / f"{door}.json", f"localhost:{port}"]
    return subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said)


def judge(door, findings, table):
    """What is wrong with a door."""
    wrong, seen = [], {one["id"]: one for one in findings}
    for protocol in PROTOCOLS:
        said = seen.get(protocol, {"finding": "not looked at"})["finding"]
        if said.startswith("offered") != (protocol in OFFERED[door]) or said == "not looked at":
            wrong.append(f"{door}: {protocol} is {said}")
    if "scanTime" not in seen or "scanProblem" in seen:
        wrong.append(f"{door}: testssl.sh did not come to its end")
    for one in findings:
        rank = RANK.index(one["severity"]) if one["severity"] in RANK else len(RANK)
        severity, reason = table.get((door, one["id"])) or table.get(("both", one["id"])) or ("INFO", "")
        if rank < TELLING:
            continue
        line = f"{door}: {one['id']} {one['severity']}: {one['finding']}"
        if rank > RANK.index(severity):
            wrong.append(line)
        else:
            print(f"{line} ({reason})")
    return wrong


def main(program):
    testssl = shutil.which("testssl") or shutil.which("testssl.sh")
    if not (testssl and shutil.which("openssl")):
        print("skipped: needs testssl.sh (apt-get install testssl.sh)")
        return 1 if os.environ.get("CI") == "true" else 0
    program, table, wrong = Path(program).resolve(), explained(), []
    ports = {"agents": free_port(), "operators": free_port()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        certificates(folder)
        collector = serve(program, folder, ports)
        looks = {door: look(testssl, folder, door, port) for door, port in ports.items()}
        try:
            end = time.monotonic() + TIME_MAX_S
            for door, looking in looks.items():
                looking.wait(max(end - time.monotonic(), 1))
                findings = json.loads((folder / f"{door}.json").read_text())
                print(f"{door}: {len(findings)} findings")
                wrong += judge(door, findings, table)
        except subprocess.TimeoutExpired:
            wrong.append(f"testssl.sh was not done after {TIME_MAX_S} s")
        finally:
            for child in [*looks.values(), collector]:
                child.terminate()
                child.wait()
        kept = os.environ.get("SEATBEAT_DOORS")
        if kept:
            shutil.copytree(folder, kept, dirs_exist_ok=True, ignore=lambda _, names: {"store"} & set(names))
    for line in wrong:
        print(f"not explained: {line}")
    print("doors: looked at" if not wrong else f"doors: {len(wrong)} findings are not explained")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
