# Sourced by the other scripts: where the project is, how to speak, how to find Rust.
#
# Sets ROOT (the project's folder) and TARGET (where cargo builds), and changes into ROOT.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$ROOT"
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
case $TARGET in /*) ;; *) TARGET=$ROOT/$TARGET ;; esac
NGINX_BINARY=${NGINX_BINARY:-/usr/sbin/nginx}

# rustup puts cargo where only login shells look.
if ! command -v cargo >/dev/null && [ -x "${HOME:-/root}/.cargo/bin/cargo" ]; then
    PATH="${HOME:-/root}/.cargo/bin:$PATH"
fi

# Tests call these scripts from under a cargo of their own. What it tells its
# children would make build scripts of dependencies (ring's) run again, and with
# them minutes of compiling, each time the caller changes.
unset CARGO_MANIFEST_DIR CARGO_MANIFEST_PATH CARGO_MANIFEST_LINKS "${!CARGO_PKG_@}"

say() { printf '==> %s\n' "$*"; }
warn() { printf '%s: warning: %s\n' "${0##*/}" "$*" >&2; }
die() { # STATUS MESSAGE...
    local status=$1
    shift
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit "$status"
}
