#!/usr/bin/env bash
# What the tests run against, from the system's packages: a PostgreSQL server, a browser.
# Quick where they are there. Without root or apt it says what to install; those tests then skip.
set -euo pipefail
missing=()
found_postgres() { compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null || command -v initdb >/dev/null; }
found_postgres || missing+=(postgresql)
command -v chromedriver >/dev/null || missing+=(chromium chromium-driver)
[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "not installed, so their tests will be skipped: ${missing[*]}" >&2
    exit 0
fi
echo "installing ${missing[*]} ..." >&2
export DEBIAN_FRONTEND=noninteractive
# No database cluster of its own: the tests start their server in a temporary folder.
mkdir -p /etc/postgresql-common
[ -e /etc/postgresql-common/createcluster.conf ] ||
    echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
install() { apt-get install -y --no-install-recommends "${missing[@]}" >/dev/null; }
install 2>/dev/null || { apt-get update >/dev/null && install; } ||
    echo "could not be installed, so their tests will be skipped: ${missing[*]}" >&2
