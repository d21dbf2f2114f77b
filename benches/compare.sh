#!/usr/bin/env bash
# CPU per request of Hedgerow beside nginx, in the same run:
#
#   benches/compare.sh [BINARY]          default target/release/hedgerow
#   ROUNDS=3 DURATION=8 CONNECTIONS=64 EDGES="nginx hedgerow" benches/compare.sh
#
# One edge at a time has a core for itself; wrk and the origin share another, so requests per second say more about them
# than about the edge. CPU time is what the edge used while wrk ran, divided by the requests wrk completed: that holds on
# a machine that is not quiet, where throughput and latency do not.
#
#   hit    1 KiB from the cache
#   miss   1 KiB that the origin forbids to store, on a route with a cache
#   pass   the same on a route without one
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
binary=${1:-$here/../target/release/hedgerow}
rounds=${ROUNDS:-3}
duration=${DURATION:-8}
connections=${CONNECTIONS:-64}
read -ra edges <<<"${EDGES:-nginx hedgerow}"
kinds=(hit miss pass)
PATH=$PATH:/usr/sbin:/sbin # where nginx is, out of the PATH of most users

fail() {
    echo "compare: $*" >&2
    exit 1
}

missing=()
for tool in nginx wrk taskset curl awk; do
    command -v "$tool" >/dev/null || missing+=("$tool")
done
((${#missing[@]} == 0)) || fail "missing: ${missing[*]} (Debian has them in nginx-light, wrk, util-linux, curl and mawk)"
[[ -r /proc/self/stat ]] || fail "this reads CPU times from /proc, which is Linux's"
[[ " ${edges[*]} " != *" hedgerow "* || -x $binary ]] || fail "there is no $binary; \`make build\` makes it"

# The first two cores this process may use.
mapfile -t cores < <(taskset -pc $$ | sed 's/.*: //' | tr , '\n' | awk -F- '{ for (i = $1; i <= ($2 == "" ? $1 : $2); i++) print i }')
((${#cores[@]} >= 2)) || fail "two cores are needed, one for the edge and one for the load"

dir=$(mktemp -d)
declare -A pid port
stop() {
    # Those alone that were started here: each is a child of this script.
    for name in "${!pid[@]}"; do kill "${pid[$name]}" 2>/dev/null || true; done
    wait
    rm -rf "$dir"
}
trap stop EXIT
trap 'exit 130' INT TERM

# A port nobody answers at, not given out before.
next_port=$((20000 + RANDOM % 10000))
free_port() {
    while next_port=$((next_port + 1)); (exec 3<>"/dev/tcp/127.0.0.1/$next_port") 2>/dev/null; do :; done
}

fill() { # TEMPLATE EDGE_PORT
    local user=
    ((EUID != 0)) || user='user root;' # or its worker cannot enter the directory
    sed -e "s|@DIR@|$dir|; s|@ORIGIN@|${port[origin]:-}|; s|@EDGE@|$2|; s|@USER@|$user|; s|@BODY@|$body|" "$here/peers/$1"
}

start() { # NAME CORE COMMAND...
    local name=$1 core=$2
    shift 2
    taskset -c "$core" "$@" >"$dir/$name.log" 2>&1 </dev/null &
    pid[$name]=$!
    for _ in {1..100}; do
        if curl -sf --noproxy '*' -o /dev/null "http://127.0.0.1:${port[$name]}/pass"; then return; fi
        kill -0 "${pid[$name]}" 2>/dev/null || break
        sleep 0.1
    done
    cat "$dir/$name.log" >&2
    fail "$name does not answer on port ${port[$name]}"
}

cpu_ticks() { # of a process and its children, all threads
    local one
    for one in "$1" $(cat "/proc/$1/task"/*/children); do
        # Fields 14 and 15 of stat, counted after the name, which may hold anything. nginx's cache loader ends on its own
        # after a minute, having done nothing.
        sed 's/.*) //' "/proc/$one/stat" 2>/dev/null || true
    done | awk '{ ticks += $12 + $13 } END { print ticks + 0 }'
}

load() { # SECONDS URL
    taskset -c "${cores[1]}" wrk --latency -t 1 -c "$connections" -d "$1s" "$2"
}

body=$(printf '%01024d' 0)
for name in origin "${edges[@]}"; do
    free_port
    port[$name]=$next_port
done
mkdir -p "$dir/cache"
fill origin.conf 0 >"$dir/origin.conf"
start origin "${cores[1]}" nginx -p "$dir" -c "$dir/origin.conf"
for edge in "${edges[@]}"; do
    case $edge in
        nginx)
            fill nginx.conf "${port[nginx]}" >"$dir/nginx.conf"
            start nginx "${cores[0]}" nginx -p "$dir" -c "$dir/nginx.conf"
            ;;
        hedgerow)
            fill hedgerow.toml "${port[hedgerow]}" >"$dir/hedgerow.toml"
            start hedgerow "${cores[0]}" "$binary" run --config "$dir/hedgerow.toml"
            ;;
        *) fail "no edge is called $edge" ;;
    esac
done

measure() { # ROUND EDGE KIND -> a line of results
    local round=$1 edge=$2 kind=$3 url="http://127.0.0.1:${port[$2]}/$3" status before after
    load 1 "$url" >/dev/null # connections, caches and branch predictors get warm
    status=$(curl -s --noproxy '*' -o /dev/null -D - "$url" | tr -d '\r' | awk 'tolower($1) == "x-cache-status:" { print $2 }')
    case $kind:$status in
        hit:HIT) ;;
        hit:* | *:HIT) fail "/$kind of $edge has X-Cache-Status '$status'" ;;
    esac
    before=$(cpu_ticks "${pid[$edge]}")
    load "$duration" "$url" >"$dir/wrk"
    after=$(cpu_ticks "${pid[$edge]}")
    if grep -E 'Socket errors|Non-2xx' "$dir/wrk" >&2; then fail "$edge failed requests for /$kind"; fi
    awk -v ticks=$((after - before)) -v hertz="$(getconf CLK_TCK)" -v round="$round" -v edge="$edge" -v kind="$kind" '
        / requests in / { requests = $1 }
        $1 == "99%" { p99 = $2 }
        /^Requests\/sec/ { rate = $2 }
        END {
            if (!requests) { print "compare: wrk completed no request" > "/dev/stderr"; exit 1 }
            printf "%s %s %s %.2f %.0f %s\n", kind, edge, round, ticks / hertz / requests * 1e6, rate, p99
        }' "$dir/wrk"
}

nginx -v 2>&1 | sed 's/.*: //'
[[ " ${edges[*]} " != *" hedgerow "* ]] || "$binary" --version
echo "$(awk -F': ' '/model name/ { print $2; exit }' /proc/cpuinfo), edge on core ${cores[0]}, wrk and origin on core ${cores[1]}"
echo "$rounds rounds of $duration s, $connections connections, 1 KiB"
echo
printf '%-5s %-9s %5s %16s %12s %10s\n' kind edge round 'CPU us/request' requests/s p99
for ((round = 1; round <= rounds; round++)); do
    for kind in "${kinds[@]}"; do
        for ((i = 0; i < ${#edges[@]}; i++)); do
            # Every other round in the other order, so that drift of the machine favours nobody.
            edge=${edges[$((round % 2 ? i : ${#edges[@]} - 1 - i))]}
            measure "$round" "$edge" "$kind" | tee -a "$dir/results" |
                awk '{ printf "%-5s %-9s %5d %16.2f %12d %10s\n", $1, $2, $3, $4, $5, $6 }'
        done
    done
done

echo
printf '%-5s' kind
for edge in "${edges[@]}"; do printf ' %21s' "$edge us (median)"; done
((${#edges[@]} != 2)) || printf ' %18s' "${edges[1]}/${edges[0]}"
echo
median() { # KIND EDGE
    awk -v kind="$1" -v edge="$2" '$1 == kind && $2 == edge { print $4 }' "$dir/results" | sort -n |
        awk '{ v[NR] = $1 } END { print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'
}
for kind in "${kinds[@]}"; do
    printf '%-5s' "$kind"
    values=()
    for edge in "${edges[@]}"; do
        values+=("$(median "$kind" "$edge")")
        printf ' %21.2f' "${values[-1]}"
    done
    ((${#edges[@]} != 2)) || awk -v a="${values[0]}" -v b="${values[1]}" 'BEGIN { printf " %18.2f", b / a }'
    echo
done
