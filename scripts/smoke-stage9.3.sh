#!/usr/bin/env bash
# The whole way of an artifact, in one command, against a fresh instance of its own: mock sign-in, the offer, a test PDF into
# the store, its download by the presigned URL, the list of one's files. The exit code is the verdict.
#
#     ./scripts/smoke-stage9.3.sh
#
# The instance takes free ports and keeps everything (SQLite, objects, keys) in a temporary directory, which is REMOVED at the
# end, whatever happened: that is this script's `docker compose down -v`. Nothing else on the machine is touched.
# CLOAKROOM_BIN names the program; without it the newest build of this checkout is taken, or one is made.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
home=$(mktemp -d "${TMPDIR:-/tmp}/cloakroom-stage9.3.XXXXXX")
pid=

say() { printf '%s\n' "$*"; }

stop() {
    status=$?
    trap - EXIT INT TERM
    if [ -n "$pid" ]; then
        kill -TERM "$pid" 2>/dev/null || true
        if ! wait "$pid" && [ "$status" = 0 ]; then
            say "FAIL  the instance did not stop cleanly"
            status=1
        fi
    fi
    if [ "$status" != 0 ] && [ -f "$home/log" ]; then
        say "----- the end of the instance's log (no secrets are in it)"
        tail -n 30 "$home/log"
    fi
    rm -rf "$home"
    [ "$status" = 0 ] && say "PASS  stage 9.3"
    exit "$status"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
    say "FAIL  $*"
    exit 1
}

# The value of a text field of the JSON on standard input.
field() { sed -n 's/.*"'"$1"'" *: *"\([^"]*\)".*/\1/p' | head -n 1; }

program=${CLOAKROOM_BIN:-}
if [ -z "$program" ]; then
    program=$(ls -t "$root"/target/{release,debug}/cloakroom 2>/dev/null | head -n 1 || true)
fi
if [ -z "$program" ]; then
    say "      building the program"
    (cd "$root" && cargo build --quiet -p cloakroom)
    program=$root/target/debug/cloakroom
fi
[ -x "$program" ] || fail "$program is no program"
program=$(cd "$(dirname "$program")" && pwd)/$(basename "$program")

# Everything that configures the instance is set here; of the caller's environment nothing reaches it.
secret=$(od -An -N20 -tx1 /dev/urandom | tr -d ' \n')
mkdir "$home/data"
chmod 700 "$home" "$home/data"
(
    cd "$home"
    exec env -i PATH="$PATH" HOME="$home" TMPDIR="$home" \
        DEBUG=1 \
        DATABASE_URL="sqlite://$home/data/smoke.db" \
        S3_BUCKET=artifacts S3_REGION=us-east-1 S3_USE_SSL=false \
        S3_ACCESS_KEY=SMOKESTAGE93 S3_SECRET_KEY="$secret" \
        CLOAKROOM_DIALECTS=artifacts CLOAKROOM_UPLOADS_OFFER=stage-9.3 \
        "$program" serve --dev --data-dir "$home/data" --listen 127.0.0.1:0 --s3-listen 127.0.0.1:0 \
        --ready-file "$home/ready.json" >"$home/log" 2>&1
) &
pid=$!
for _ in $(seq 600); do
    [ -f "$home/ready.json" ] && break
    kill -0 "$pid" 2>/dev/null || fail "the instance ended before it was ready"
    sleep 0.1
done
[ -f "$home/ready.json" ] || fail "the instance is not ready after a minute"
api=$(field api_url <"$home/ready.json")
say "ok    started at $api"

# call METHOD PATH [JSON]: the answer's body; fails unless the status is 2xx. The token stays out of the process list.
token=
call() {
    local arguments=(--silent --show-error --max-time 60 --request "$1" --output "$home/answer" --write-out '%{http_code}')
    [ -n "${3:-}" ] && arguments+=(--header 'Content-Type: application/json' --data "$3")
    printf 'header = "Authorization: Bearer %s"\n' "$token" >"$home/curl"
    status=$(curl --config "$home/curl" "${arguments[@]}" "$api$2") || return 1
    case $status in 2*) cat "$home/answer" ;; *) say "$1 $2: $status $(cat "$home/answer")" >&2 && return 1 ;; esac
}

health=$(call GET /health/s3) || fail "/health/s3"
case $health in *'"ok":true'*) ;; *) fail "/health/s3 says $health" ;; esac
say "ok    /health/s3: bucket $(printf %s "$health" | field bucket)"

phone=+79990001122
code=$(call POST /auth/otp/request "{\"phone\":\"$phone\"}" | field code) || fail "the code"
signed_in=$(call POST /auth/otp/verify "{\"phone\":\"$phone\",\"code\":\"$code\"}") || fail "signing in"
token=$(printf %s "$signed_in" | field access_token)
session=$(printf %s "$signed_in" | field session_id)
[ -n "$token" ] && [ -n "$session" ] || fail "no token or no session"
say "ok    signed in by mock OTP"

if call POST /debug/s3/put-test-pdf >/dev/null 2>&1; then fail "an upload before the offer was accepted"; fi
accepted=$(call POST /offer/accept) || fail "accepting the offer"
case $accepted in *'"accepted":true'*) ;; *) fail "the offer: $accepted" ;; esac
say "ok    offer accepted, and demanded before"

made=$(call POST /debug/s3/put-test-pdf "{\"session_id\":\"$session\",\"doc_id\":\"smoke-doc\"}") || fail "the test PDF"
file=$(printf %s "$made" | field file_id)
url=$(printf %s "$made" | field download_url)
[ -n "$file" ] && [ -n "$url" ] || fail "no file_id or no download_url"
say "ok    test PDF stored as $file"

# A presigned URL is as good as a password: by a file, so that it is not in the process list.
fetch() {
    printf 'url = "%s"\n' "$1" >"$home/curl"
    curl --silent --show-error --fail --max-time 60 --config "$home/curl" --output "$home/test.pdf"
    [ "$(head -c 4 "$home/test.pdf")" = %PDF ]
}
fetch "$url" || fail "the presigned URL does not give a PDF"
url=$(call GET "/files/$file/download" | field download_url) || fail "/files/$file/download"
fetch "$url" || fail "the URL of /files/$file/download does not give a PDF"
say "ok    downloaded by presigned URL, begins with %PDF"

files=$(call GET /me/files) || fail "/me/files"
case $files in *"\"file_id\":\"$file\""*) ;; *) fail "/me/files does not list $file" ;; esac
case $files in *'"doc_id":"smoke-doc"'*) ;; *) fail "/me/files does not tell the doc_id" ;; esac
say "ok    listed in /me/files, with its doc_id"

token=
if call GET "/files/$file/download" >/dev/null 2>&1; then fail "a download without a token"; fi
if call GET /me/files >/dev/null 2>&1; then fail "a list without a token"; fi
say "ok    nothing without a token"

printf '%s\n' "$secret" "$(printf %s "$signed_in" | field access_token)" X-Amz-Signature= >"$home/secrets"
if grep -qFf "$home/secrets" "$home/log"; then fail "a secret is in the log"; fi
for event in s3_upload_start s3_upload_ok s3_presign_ok file_presigned file_created; do
    grep -q "$event" "$home/log" || fail "the log has no event $event"
done
say "ok    log: every event, no secret"
