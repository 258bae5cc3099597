#!/bin/sh
# Runs nginx, and reloads it when its configuration, its certificate or the addresses of its
# upstreams change. What nginx would refuse is told in the log and left aside: what runs goes on.
# Needs: sh, getent, sha256sum, sort, base64 and the usual file tools, as Alpine's and Debian's images have.
set -u
configs=${EDGE_CONFIGS:-/run/configs} # nginx.conf, upstreams
secrets=${EDGE_SECRETS:-/run/secrets} # tls.crt, tls.key
issued=${EDGE_ISSUED:-}               # folder with fullchain.pem and privkey.pem, once there are some
logs=${EDGE_LOGS:-}                   # folder whose logs are kept below so many kilobytes:
logs_size=${EDGE_LOGS_SIZE:-0}
linger=${EDGE_LINGER:-0} # seconds in which a load balancer learns that this one stops
interval=${EDGE_INTERVAL:-2}
run=${EDGE_RUN:-/run/nginx}
health="http://127.0.0.1:${EDGE_STATUS_PORT:-8081}/healthz"

say() { printf '%s edge: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*" >&2; }

# Whether it is healthy, with what the image has.
if [ "${1:-}" = health ]; then
    if command -v curl >/dev/null 2>&1; then
        exec curl --fail --silent --show-error --max-time 3 --output /dev/null "$health"
    elif command -v wget >/dev/null 2>&1; then
        exec wget -q -T 3 -O /dev/null "$health"
    fi
    kill -0 "$(cat "$run/nginx.pid")"
    exit
fi

certificate() { # of all there are, the one to use: sets crt and key
    crt=$secrets/tls.crt key=$secrets/tls.key
    [ -d "$issued" ] || return 0
    if [ -r "$issued/fullchain.pem" ] && [ -r "$issued/privkey.pem" ]; then
        crt=$issued/fullchain.pem key=$issued/privkey.pem
    elif [ -e "$run/now/tls.crt" ]; then
        # One is just being written: files are missing, or not ours to read yet. Until all of it is
        # there, the one that is served stays.
        crt=$run/now/tls.crt key=$run/now/tls.key
    fi
}

pem() { # a file's text; those that came in one line are in base64
    if grep -q -e -----BEGIN "$1"; then cat "$1"; else base64 -d "$1"; fi
}

fingerprint() { # of everything but addresses
    certificate
    cat "$configs/nginx.conf" "$configs/upstreams" "$crt" "$key" 2>/dev/null | sha256sum
}

# Writes the servers of each upstream into a folder. Says whether any changed.
resolve() {
    changed=1
    while read -r name host port; do
        servers=
        # One request that takes too long makes no replica a dead one.
        for address in $(getent ahostsv4 "$host" 2>/dev/null | while read -r address _; do
            printf '%s\n' "$address"
        done | sort -u); do
            servers="${servers}server $address:$port max_fails=3 fail_timeout=5s;
"
        done
        # A name that is not known for a moment keeps its addresses. Without any there is no server:
        # its requests get 502, all others are answered.
        if [ -z "$servers" ]; then
            [ -e "$1/upstreams/$name" ] && continue
            servers='server 127.0.0.1:1 down;
'
        fi
        if [ "$servers" != "$(cat "$1/upstreams/$name" 2>/dev/null)
" ]; then
            printf '%s' "$servers" >"$1/upstreams/$name.new"
            mv "$1/upstreams/$name.new" "$1/upstreams/$name"
            changed=0
        fi
    done <"$1/addresses"
    return $changed
}

# What not every nginx that is supported knows.
newer() {
    # shellcheck disable=SC2046 # three numbers
    set -- $(nginx -v 2>&1 | sed 's|.*nginx/\([0-9]*\)\.\([0-9]*\)\.\([0-9]*\).*|\1 \2 \3|')
    if [ $(($1 * 1000000 + $2 * 1000 + $3)) -ge 1027004 ]; then
        # A reload doesn't close connections on which a request may be on its way.
        echo 'keepalive_min_timeout 2s;'
    fi
}

# Makes a new folder of all that nginx reads, and takes it if nginx does.
generation=0
take() {
    generation=$((generation + 1))
    next=$run/$generation
    rm -rf "$next"
    mkdir -p "$next/upstreams"
    cp "$configs/nginx.conf" "$next/nginx.conf"
    cp "$configs/upstreams" "$next/addresses"
    newer >"$next/newer.conf"
    certificate
    if [ -e "$crt" ]; then
        pem "$crt" >"$next/tls.crt"
        (umask 077 && pem "$key" >"$next/tls.key")
    fi
    # Addresses that are known now may not be known in this moment.
    [ -d "$run/now/upstreams" ] && cp "$run/now/upstreams/"* "$next/upstreams/" 2>/dev/null
    resolve "$next"
    if ! said=$(nginx -e stderr -p "$run" -c "$next/nginx.conf" -t 2>&1); then
        say "nginx refuses the new configuration; the one that runs stays:"
        printf '%s\n' "$said" >&2
        rm -rf "$next"
        return 1
    fi
    before=$(readlink "$run/now")
    ln -s "$next" "$run/now.new"
    mv -T "$run/now.new" "$run/now" 2>/dev/null || { rm -f "$run/now" && mv "$run/now.new" "$run/now"; }
    [ -n "$before" ] && rm -rf "$before"
    return 0
}

# Keeps the logs of a volume small: four of requests, two of errors.
rotate() { # name, largest size in KiB, how many older ones
    size=$(wc -c <"$logs/$1" 2>/dev/null) || return 1
    [ "$size" -gt $(($2 * 1024)) ] || return 1
    older=$3
    while [ "$older" -gt 1 ]; do
        [ -e "$logs/$1.$((older - 1))" ] && mv -f "$logs/$1.$((older - 1))" "$logs/$1.$older"
        older=$((older - 1))
    done
    mv -f "$logs/$1" "$logs/$1.1"
}

stop() {
    trap '' TERM QUIT INT
    if [ "$linger" -gt 0 ]; then
        say "stopping in $linger seconds"
        sleep "$linger"
    fi
    kill -QUIT "$nginx" 2>/dev/null
    wait "$nginx"
    exit 0
}

umask 022
mkdir -p "$run/temp"
rm -f "$run/now" "$run/now.new"
if [ -n "$logs" ]; then
    # The image's own lead to the container's log, which has them already.
    for file in access.log error.log; do
        [ -L "$logs/$file" ] && rm -f "$logs/$file"
    done
fi
taken=$(fingerprint)
take || exit 1
nginx -e stderr -p "$run" -c "$run/now/nginx.conf" -g 'daemon off;' &
nginx=$!
trap stop TERM QUIT INT
while kill -0 "$nginx" 2>/dev/null; do
    sleep "$interval" &
    wait $!
    reload=
    seen=$(fingerprint)
    if [ "$seen" != "$taken" ]; then
        # Once: the same would be refused again.
        taken=$seen
        take && reload='a new configuration or certificate'
    fi
    if resolve "$run/now"; then
        reload="${reload:-new addresses}"
    fi
    if [ -n "$reload" ]; then
        say "reloading: $reload"
        kill -HUP "$nginx"
    fi
    if [ "$logs_size" -gt 0 ]; then
        if rotate access.log $((logs_size / 5)) 3 || rotate error.log $((logs_size / 20)) 1; then
            kill -USR1 "$nginx"
        fi
    fi
done
wait "$nginx"
code=$?
say "nginx ended by itself, with $code"
exit "$code"
