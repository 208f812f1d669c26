#!/usr/bin/env bash
# Slow clients against a running daemon: slow headers (-H), slow bodies (-B), slow readers (-X).
# slowhttptest (a Debian package) plays them, the practice backend stands behind. With 200 clients
# /health must answer within a second, and clients that do not finish their requests must be gone
# by the deadlines. Slow readers may stay: who takes a byte now and then is slow, not stalled.
# One line per mode; exit code 1 where one fails.
set -euo pipefail
cd "$(dirname "$0")/.."

PYTHON=.venv/bin/python
CLIENTS=200
LONGEST=30      # seconds of one mode
HEADERS=5       # the deadlines that the daemon gets, in seconds
BODY=10
ROOM=5          # seconds beside a deadline: deadlines are looked at twice a second, clients are busy
ANSWER=1000     # models to list, so that an answer is larger than what a slow reader takes
SETTLED=10      # seconds after which each slow reader has its answer waiting
GROWTH=16384    # KiB that the daemon may take more from then on

for tool in slowhttptest curl ss; do
    if ! command -v "$tool" >/dev/null; then
        echo "slow-clients: $tool is missing (Debian: slowhttptest, curl, iproute2); nothing was tried"
        exit 0
    fi
done

folder=$(mktemp -d)
daemon=
stop() {
    if [ -n "$daemon" ]; then kill "$daemon" 2>/dev/null && wait "$daemon" || true; fi
    rm -rf "$folder"
}
trap stop EXIT

port=$("$PYTHON" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
{
    echo "[server]"
    echo "port = $port"
    echo "[limits]"
    echo "header_seconds = $HEADERS"
    echo "body_seconds = $BODY"
    for number in $(seq "$ANSWER"); do
        echo "[[models]]"
        echo "alias = \"practice-$number\""
        echo 'type = "openai"'
        echo 'target = { url = "practice:", model = "echo" }'
    done
} >"$folder/config.toml"
"$PYTHON" -c 'from twisted.scripts.twistd import run; run()' \
    -n --pidfile= lmbroker --config "$folder/config.toml" >"$folder/log" 2>&1 &
daemon=$!
url=http://127.0.0.1:$port
for _ in $(seq 100); do
    curl -s -o "$folder/health" -m 1 "$url/health" && break
    kill -0 "$daemon" || { cat "$folder/log"; exit 1; }
    sleep 0.2
done

memory() { awk '/^VmRSS/ { print $2 }' "/proc/$daemon/status"; }
connections() { ss -Htn state established "sport = :$port" | wc -l; }

failed=0
# mode NAME DEADLINE OPTIONS...   DEADLINE 0: they may stay
mode() {
    local name=$1 deadline=$2 before slowest=0 most=0 unwell=0 settled=0 now took begun ended verdict=ok
    shift 2
    before=$(memory)
    begun=$SECONDS
    timeout $((LONGEST + 15)) slowhttptest "$@" -c "$CLIENTS" -r "$CLIENTS" -l "$LONGEST" -i 1 -p 1 \
        >"$folder/said" 2>&1 &
    local clients=$!
    while kill -0 "$clients" 2>/dev/null; do
        took=$(curl -s -o "$folder/health" -m 1 -w '%{time_total}' "$url/health") || unwell=$((unwell + 1))
        slowest=$(printf '%s\n%s\n' "$slowest" "$took" | sort -g | tail -1)
        now=$(connections)
        most=$((now > most ? now : most))
        if [ "$settled" -eq 0 ] && [ $((SECONDS - begun)) -ge "$SETTLED" ]; then settled=$(memory); fi
        sleep 0.5
    done
    wait "$clients" || verdict="FAILED: slowhttptest ended badly"
    ended=$((SECONDS - begun))
    if [ "$unwell" -gt 0 ]; then verdict="FAILED: /health was late $unwell times"; fi
    if [ "$most" -lt $((CLIENTS / 2)) ]; then verdict="FAILED: not enough connections to say anything"; fi
    if [ "$most" -gt $((CLIENTS + 10)) ]; then verdict="FAILED: more connections than clients"; fi
    if [ "$deadline" -gt 0 ]; then
        if ! grep -q "No open connections left" "$folder/said" || [ "$ended" -gt $((deadline + ROOM)) ]; then
            verdict="FAILED: connections outlived their deadline of $deadline s"
        fi
    elif [ "$settled" -eq 0 ] || [ $(($(memory) - settled)) -gt "$GROWTH" ]; then
        verdict="FAILED: memory grew from $((settled / 1024)) MiB after $SETTLED s"
    fi
    if [ "$verdict" != ok ]; then failed=1; fi
    echo "$name: $verdict; at most $most connections, over after $ended s, /health within $slowest s," \
        "RSS $((before / 1024)) -> $(($(memory) / 1024)) MiB"
}

mode "slow headers (-H)" "$HEADERS" -H -u "$url/v1/models"
mode "slow bodies (-B)" "$BODY" -B -s 100000 -f application/json -u "$url/v1/chat/completions"
mode "slow readers (-X)" 0 -X -n 1 -w 512 -y 1024 -z 32 -u "$url/v1/models?limit=1000"
if grep -q Traceback "$folder/log"; then
    grep -m 1 -A 20 Traceback "$folder/log"
    failed=1
fi
exit "$failed"
