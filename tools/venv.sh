#!/bin/sh
# Makes a virtual environment in $1 with the newest Python there is, 3.11 or later.
# On a Debian without python3-venv, root gets it installed; anybody else is told how.
set -eu
target=$1

for_python() { command -v "$1" >/dev/null 2>&1 && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

can_make_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

newest=
able=
for candidate in python3.14 python3.13 python3.12 python3.11 python3; do
    for_python "$candidate" || continue
    newest=${newest:-$candidate}
    if can_make_venv "$candidate"; then
        able=$candidate
        break
    fi
done

if [ -z "$newest" ]; then
    echo "Hivecore needs Python 3.11 or newer, and none of python3.14 to python3.11 and python3 is that." >&2
    exit 1
fi

if [ -z "$able" ]; then
    version=$("$newest" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "$newest cannot make virtual environments: install its venv module first," >&2
        echo "on Debian and Ubuntu with:  sudo apt-get install python$version-venv" >&2
        exit 1
    fi
    echo "$newest cannot make virtual environments yet: installing python$version-venv with apt-get"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "python$version-venv" >/dev/null 2>&1 || {
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "python$version-venv"
    }
    able=$newest
fi

rm -rf "$target"
echo "Making $target with $("$able" --version)"
"$able" -m venv "$target"
