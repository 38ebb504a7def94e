#!/usr/bin/env bash
# Guess: HAProxy's `balance random(1)` gives each of four servers with equal weights a quarter of the
#   requests, as chance would.
# Instead: it draws a place on the ring of consistent hashing, on which a server of weight 1 has few
#   and uneven arcs: one server gets 28 to 30 % and another 17 to 18 %. With weight 256 for all it is
#   even. The shares do not depend on the draw: they are those of the servers' places.
# Seen with: HAProxy 2.6.12 of Debian 12 (Linux x86_64, 2026-11-29).
# Why it matters: at 80 % of capacity the first server has more than 90 %, and its queue makes the p99
#   of all nearly twice what four queues of chance have.
set -euo pipefail
command -v haproxy >/dev/null || { echo "no HAProxy: apt-get install haproxy"; exit 2; }
folder=$(mktemp -d)
trap '[ -z "${balancer:-}" ] || kill "$balancer" 2>/dev/null || true; rm -rf "$folder"' EXIT
"${PYTHON:-python3}" - "$folder" <<'PYTHON'
import socket
import sys

listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(6)]
plain, heavy, *servers = [each.getsockname()[1] for each in listeners]
lines = ["global", f"  stats socket {sys.argv[1]}/socket", "defaults", "  mode http",
         "  timeout connect 5s", "  timeout client 5s", "  timeout server 5s"]
for name, port, weight in (("plain", plain, 1), ("heavy", heavy, 256)):
    lines += [f"listen {name}", f"  bind 127.0.0.1:{port}", "  balance random(1)"]
    lines += [f"  server s{n} 127.0.0.1:{at} weight {weight}" for n, at in enumerate(servers)]
lines += ["frontend servers", *(f"  bind 127.0.0.1:{port}" for port in servers),
          "  http-request return status 200"]
with open(f"{sys.argv[1]}/haproxy.cfg", "w") as file:
    file.write("\n".join(lines) + "\n")
with open(f"{sys.argv[1]}/ports", "w") as file:
    file.write(f"{plain} {heavy}")
PYTHON
haproxy -db -f "$folder/haproxy.cfg" 2>/dev/null &
balancer=$!
"${PYTHON:-python3}" - "$folder" <<'PYTHON'
import http.client
import os
import socket
import sys
import time

folder = sys.argv[1]
until = time.monotonic() + 10
while not os.path.exists(f"{folder}/socket") and time.monotonic() < until:
    time.sleep(0.05)
time.sleep(0.2)
for port in open(f"{folder}/ports").read().split():
    connection = http.client.HTTPConnection("127.0.0.1", int(port))
    for _ in range(4000):
        connection.request("GET", "/")
        connection.getresponse().read()
with socket.socket(socket.AF_UNIX) as asked:
    asked.connect(f"{folder}/socket")
    asked.sendall(b"show stat\n")
    text = b""
    while part := asked.recv(65536):
        text += part
shares = {"plain": [], "heavy": []}
for line in text.decode().splitlines():
    fields = line.split(",")
    if fields[0] in shares and fields[1].startswith("s"):
        shares[fields[0]].append(int(fields[7]) / 4000)
print({name: [f"{share:.1%}" for share in found] for name, found in shares.items()})
uneven = max(shares["plain"]) > 0.27 and min(shares["plain"]) < 0.20
even = max(shares["heavy"]) < 0.27 and min(shares["heavy"]) > 0.23
sys.exit(0 if uneven and even else 1)
PYTHON
