# Makes the Python environment: finds or installs uv, then installs what uv.lock names into .venv.
# Sourced by the Makefile from the work tree's root, under `set -euo pipefail`; puts uv on PATH.

UV_VERSION=0.13.9
uv_home="${XDG_CACHE_HOME:-$HOME/.cache}/model-conversion-operator/uv-$UV_VERSION"

say() { printf '%s\n' "$*" >&2; }

is_new_enough() { # is_new_enough PROGRAM: uv 0.9 or later
    local version
    version=$("$1" --version 2>/dev/null | awk '{ print $2 }') &&
        [ "$(printf '0.9.0\n%s\n' "$version" | sort -V | head -n 1)" = 0.9.0 ]
}

fail() { # fail MESSAGE: what is missing, and what to do
    say "error: $*"
    exit 1
}

install_uv() { # into $uv_home/bin, by the first way that this Python offers
    local python log
    python=$(command -v python3) || fail "python3 is missing: install Python 3.11 or newer"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$("$python" --version) is too old: install Python 3.11 or newer"
    say "Installing uv $UV_VERSION into $uv_home"
    mkdir -p "$(dirname "$uv_home")"
    log=$(mktemp)
    rm -rf "$uv_home"
    try_pip "$python" "$log" || {
        # Debian packs venv and pip apart from Python.
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            say "Installing python3-venv with apt-get"
            { apt-get update && apt-get install -y --no-install-recommends python3-venv; } >>"$log" 2>&1
            rm -rf "$uv_home"
            try_pip "$python" "$log"
        else
            false
        fi
    } || {
        tail -n 20 "$log" >&2
        rm -rf "$uv_home" "$log"
        fail "uv could not be installed: install uv 0.9 or newer, or pip for $python (on Debian and Ubuntu" \
            "the package python3-venv), and try again"
    }
    rm -f "$log"
}

try_pip() { # try_pip PYTHON LOG
    { "$1" -m venv "$uv_home" && "$uv_home/bin/pip" install "uv==$UV_VERSION"; } >>"$2" 2>&1 && return
    rm -rf "$uv_home"
    "$1" -m pip install --target "$uv_home" "uv==$UV_VERSION" >>"$2" 2>&1
}

if ! is_new_enough uv; then
    is_new_enough "$uv_home/bin/uv" || install_uv
    export PATH="$uv_home/bin:$PATH"
fi

# The file says which lock the environment was made from, so that an up-to-date one costs nothing.
stamp=.venv/.installed-from
if ! cmp -s <(cat uv.lock pyproject.toml) "$stamp"; then
    say "Installing the Python packages into .venv (2.8 GB with TensorFlow, once)"
    uv sync --all-extras --locked
    cat uv.lock pyproject.toml >"$stamp"
fi
