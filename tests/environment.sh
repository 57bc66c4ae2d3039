# Sourced by ./demo and tests/run: makes a virtual environment with the project installed.
# The caller sets `root` to the folder of the project. POSIX sh.

log() {
    printf '%s\n' "callcenter-ws: $*" >&2
}

fail() {
    log "$*"
    exit 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

# install_packages PACKAGE…: installs packages of the system.
install_packages() {
    command -v apt-get >/dev/null 2>&1 || fail "please install with your system's package manager: $*"
    [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null 2>&1 || fail "please run as root: apt-get install $*"
    log "installing with apt-get: $*"
    as_root apt-get update -qq || log "apt-get update failed; using the existing package lists"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null ||
        fail "could not install: $*"
}

# install_stopped PACKAGE…: installs packages of services without starting the services.
install_stopped() {
    policy=/usr/sbin/policy-rc.d
    if [ -e "$policy" ]; then
        install_packages "$@"
        return
    fi
    # Debian's packages ask this program before they start a service; 101 means no.
    printf '#!/bin/sh\nexit 101\n' | as_root sh -c "cat >$policy && chmod 755 $policy"
    status=0
    (install_packages "$@") || status=$?
    as_root rm -f "$policy"
    [ "$status" -eq 0 ] || exit "$status"
}

# unpack_prometheus FOLDER: puts promtool and prometheus of Debian's package into FOLDER. The package is not installed: that
# would start a server, which fails in a chroot and takes a port elsewhere. Its other dependencies are of the web pages.
unpack_prometheus() {
    [ ! -x "$1/promtool" ] || return 0
    command -v apt-get >/dev/null 2>&1 || fail "please install promtool and prometheus"
    log "unpacking promtool and prometheus from Debian's package prometheus"
    unpacked=$(mktemp -d)
    (cd "$unpacked" && apt-get download -qq prometheus >/dev/null 2>&1) || {
        as_root apt-get update -qq || log "apt-get update failed; using the existing package lists"
        (cd "$unpacked" && apt-get download -qq prometheus) || fail "could not download: prometheus"
    }
    dpkg-deb --fsys-tarfile "$unpacked"/prometheus_*.deb |
        tar -x -C "$unpacked" ./usr/bin/prometheus ./usr/bin/promtool || fail "could not unpack: prometheus"
    mkdir -p "$1"
    mv "$unpacked/usr/bin/prometheus" "$unpacked/usr/bin/promtool" "$1"
    rm -r "$unpacked"
}

is_recent_python() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

# Print the name of a Python that is recent enough; $PYTHON takes precedence.
find_python() {
    for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3 python3.12 python3.13 python3.14; do
        if is_recent_python "$candidate"; then
            printf '%s\n' "$candidate"
            return 0
        fi
    done
    return 1
}

# Print what an environment is made from; when this changes, the environment is made again. The path is part of it,
# because a virtual environment does not work in a folder that was moved.
describe_environment() {
    printf '%s\n' "$root" "$1"
    "$2" -VV
    cat "$root/pyproject.toml" "$root/setup.py" "$root/callcenter_ws/__init__.py"
}

# make_environment FOLDER EXTRAS: EXTRAS as "[test,docs]" or "".
make_environment() {
    python=$(find_python) || {
        install_packages python3 python3-venv
        python=$(find_python) || fail "Python 3.11 or later is needed; set PYTHON to its path"
    }
    description=$(describe_environment "$2" "$python" | cksum)
    if [ -x "$1/bin/python" ] && [ "$description" = "$(cat "$1/made-from" 2>/dev/null)" ]; then
        return 0
    fi
    if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        # On Debian ensurepip is in a separate package.
        install_packages "python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
    fi
    log "making the environment ${1##*/} (once; a minute or two)"
    "$python" -m venv --clear "$1" || fail "cannot make the environment $1"
    # Editable: changes in the folder take effect at the next start without a new installation.
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$root$2" ||
        fail "pip could not install the project; its message is above"
    printf '%s\n' "$description" >"$1/made-from"
}

# Print the path of a Python 2.7, the version of the legacy daemons, from PATH, pyenv or /opt.
find_python27() {
    for candidate in python2.7 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/2.7*/bin/python2.7 /opt/python2.7/bin/python2.7; do
        "$candidate" -c 'import sys; print(sys.executable)' 2>/dev/null && return 0
    done
    return 1
}

# make_python27 FOLDER ENVIRONMENT: makes an environment of Python 2.7 with the Twisted version of the legacy daemons,
# with the tools in ENVIRONMENT. Without Python 2.7, or if a package cannot be installed, the tests that need it are
# skipped.
make_python27() {
    [ ! -x "$1/bin/twistd" ] && python27=$(find_python27) || return 0
    log "making the environment ${1##*/} for $python27"
    # The last version of virtualenv that supports Python 2.7.
    { "$2/bin/python" -m pip install --quiet --disable-pip-version-check 'virtualenv==20.21.1' &&
        "$2/bin/python" -m virtualenv --quiet --python "$python27" "$1" &&
        "$1/bin/python" -m pip install --quiet --disable-pip-version-check 'Twisted==20.3.0'; } 2>/dev/null ||
        log "without Python 2.7: the legacy sender is tested on Python 3 only"
}
