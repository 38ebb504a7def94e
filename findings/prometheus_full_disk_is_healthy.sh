#!/usr/bin/env bash
# Guess: a Prometheus whose disk is full says so where one looks first: the target turns unhealthy
#   with the error, or /-/healthy does.
# Instead: /-/healthy and /-/ready answer 200, the target stays "up" without an error; nothing is
#   stored, so once the look-back (five minutes, here shortened) is over every query is empty and
#   the alerts that were firing clear by themselves. Its log and one counter know; that counter
#   cannot be stored either.
# Seen with: Prometheus 2.42.0 (Debian 12's package, Linux x86_64, 2026-11-29).
# Why it matters: "no alert" from rules like `up == 0` or `drift == 1` then means nothing; a rule
#   on absent(up{job=...}) is what fires.
set -euo pipefail
command -v unshare dpkg-deb apt-get curl python3 >/dev/null || exit 2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download --quiet prometheus=2.42.0* >/dev/null 2>&1 || exit 2
dpkg-deb --extract prometheus_*.deb . || exit 2
mkdir storage
unshare --map-root-user --mount --fork --kill-child true 2>/dev/null || exit 2
cat >target.py <<'PYTHON'
import http.server
import time


class Metrics(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        rows = (f'row{{at="{time.time():.6f}", n="{n:0200d}"}} 1\n' for n in range(3000))
        body = "".join(rows).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metrics)
with open("port", "w") as file:
    file.write(str(server.server_port))
server.serve_forever()
PYTHON
export http_proxy='' no_proxy='*'
cat >inside.sh <<'INSIDE'
set -euo pipefail
mount -t tmpfs -o size=4m tmpfs storage
python3 target.py &
target=$!
for _ in $(seq 100); do [ -s port ] && break; sleep 0.1; done
web=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >rules.yml <<'RULES'
groups:
  - name: g
    rules:
      - {alert: Firing, expr: up == 1}
      - {alert: Unseen, expr: absent(up), for: 2s}
RULES
cat >prometheus.yml <<CONFIG
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [rules.yml]
scrape_configs:
  - {job_name: target, static_configs: [{targets: ["127.0.0.1:$(cat port)"]}]}
CONFIG
usr/bin/prometheus --config.file=prometheus.yml --storage.tsdb.path=storage/data \
    --query.lookback-delta=10s --web.listen-address="127.0.0.1:$web" >log 2>&1 &
prometheus=$!
trap 'kill $target $prometheus' EXIT
ask() { curl --silent --show-error "http://127.0.0.1:$web/$1"; }
for _ in $(seq 90); do
    sleep 1
    grep -q 'no space left on device' log || continue
    case $(ask api/v1/alerts) in *'"Unseen"'*'"firing"'*) break ;; esac
done
echo "disk: $(df --output=pcent storage | tail -1)"
echo "healthy: $(ask -/healthy)"
echo "ready: $(ask -/ready)"
echo "target: $(ask api/v1/targets | grep -o '"health":"[^"]*"\|"lastError":"[^"]*"' | tr '\n' ' ')"
echo "up: $(ask 'api/v1/query?query=up' | grep -o '"result":.*')"
echo "alerts: $(ask api/v1/alerts | grep -o '"alertname":"[^"]*"')"
echo "log: $(grep -o 'no space left on device' log | sort -u)"
INSIDE
unshare --map-root-user --mount --fork --kill-child bash inside.sh | tee seen
grep -q '^log: no space left' seen && grep -q 'Server is Healthy' seen && grep -q 'is Ready' seen &&
    grep -q '"health":"up"' seen && grep -q '"lastError":""' seen &&
    grep -q 'up: "result":\[\]' seen && grep -q '^alerts: "alertname":"Unseen"$' seen
