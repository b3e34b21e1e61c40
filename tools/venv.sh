#!/bin/sh
# Makes a virtual environment in $1 with the quickest Python there is on PATH, 3.11 or later; PYTHON=... names another.
# Builds of Python differ by a quarter: distributions' are optimised by profile, those built from source mostly are not.
# On a Debian without any that can make environments, root gets python3-venv installed; anybody else is told how.
set -eu
target=$1

# Prints the microseconds of a lap and where the interpreter is; fails for one that is too old.
race='
import os, sys, time
if sys.version_info < (3, 11):
    sys.exit(1)
class Account:
    __slots__ = ("balance", "number")
    def __init__(self, number, balance):
        self.number, self.balance = number, balance
    def credit(self, amount):
        self.balance += amount
        return self.balance
def lap():
    began, accounts = time.process_time(), {}
    for number in range(8000):
        account = accounts[number] = Account(number, 3 * number)
        account.credit(len(b"%d" % number)), [each for each in (number, 2, 3)]
    return time.process_time() - began
print(round(min(lap() for _ in range(12)) * 1e6), os.path.realpath(sys.executable))
'

can_make_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

# All there are, the newest first: an older one has to be quicker by a tenth.
all_pythons() {
    if [ -n "${PYTHON:-}" ]; then
        command -v "$PYTHON"
        return
    fi
    for name in python3.14 python3.13 python3.12 python3.11 python3; do
        IFS=:
        for directory in $PATH; do
            [ -x "$directory/$name" ] && [ ! -d "$directory/$name" ] && echo "$directory/$name"
        done
        unset IFS
    done
}

seen="|"
chosen=
least=
able=
IFS='
'
for candidate in $(all_pythons); do
    told=$("$candidate" -c "$race" 2>/dev/null) || continue
    micros=${told%% *}
    python=${told#* }
    case $seen in *"|$python|"*) continue ;; esac
    seen="$seen$python|"
    [ -z "$able" ] && can_make_venv "$python" && able=$python
    if [ -z "$chosen" ] || [ $((micros * 10)) -lt $((least * 9)) ]; then
        chosen=$python
        least=$micros
    fi
done
unset IFS

if [ -z "$chosen" ]; then
    echo "Hivecore needs Python 3.11 or newer, and ${PYTHON:-none of python3.14 to python3.11 and python3} is ${PYTHON:+not }that." >&2
    exit 1
fi

if [ -z "$able" ]; then
    version=$("$chosen" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "$chosen cannot make virtual environments: install its venv module first," >&2
        echo "on Debian and Ubuntu with:  sudo apt-get install python$version-venv" >&2
        exit 1
    fi
    echo "$chosen cannot make virtual environments yet: installing python$version-venv with apt-get"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "python$version-venv" >/dev/null 2>&1 || {
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "python$version-venv"
    }
    able=$chosen
fi

rm -rf "$target"
echo "Making $target with $("$chosen" --version) ($chosen)"
if can_make_venv "$chosen"; then
    "$chosen" -m venv "$target"
else
    # It only lacks pip, which another one has: a wheel is of no version of Python, and runs as it is.
    "$chosen" -m venv --without-pip "$target"
    wheel=$("$able" -c 'import ensurepip, glob, os; print(*glob.glob(os.path.dirname(ensurepip.__file__) + "/_bundled/pip-*.whl"))')
    "$target/bin/python" "$wheel/pip" --quiet --disable-pip-version-check install --no-index "$wheel"
fi
