# Sourced by the other tools: a local environment in .venv, made or brought up to date when needed.
# Needs Python 3.11 or newer with venv and pip.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$top"

python=${PYTHON:-}
if [ -z "$python" ]; then
    for candidate in python3 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
fi
if [ -z "$python" ]; then
    echo "Python 3.11 or newer is needed: install it, or name it in PYTHON." >&2
    exit 2
fi

need_env() { # need_env EXTRAS: install this project in place, with extras ("" or "[test]")
    stamp=.venv/drybag-installed
    want="$(cat pyproject.toml) extras: $1"
    if [ -x .venv/bin/python ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; then
        return
    fi
    if [ "$1" = "" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$(cat pyproject.toml) extras: [test]" ]; then
        return
    fi
    echo "installing into .venv ..." >&2
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".$1" >&2
    printf '%s' "$want" >"$stamp"
}
