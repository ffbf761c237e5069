#!/bin/sh
# The programs that the tests run for real, from Debian's packages. Installs what is missing if this user may.
set -eu

missing=""
for pair in pushpin:pushpin redis-server:redis-server memcached:memcached chromium:chromium \
    chromedriver:chromium-driver; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair##*:}"
done
# Debian keeps the server's programs off PATH, one folder for each version.
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null 2>&1 ||
    missing="$missing postgresql"
[ -z "$missing" ] && exit 0

as_root=""
if [ "$(id -u)" -ne 0 ]; then
    as_root="sudo -n"
    if ! sudo -n true 2>/dev/null; then
        as_root="none"
    fi
fi
if [ "$as_root" = "none" ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "The tests that need them will be skipped, because these packages are missing and cannot be installed" >&2
    echo "by this user:$missing" >&2
    echo "On Debian or Ubuntu: sudo apt-get install$missing" >&2
    exit 0
fi

echo "Installing$missing"
$as_root apt-get update -q >/dev/null
# shellcheck disable=SC2086 # a list of words
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >/dev/null
