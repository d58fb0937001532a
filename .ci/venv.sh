#!/bin/sh
# Makes the venv of `make run` and `make install`, and says what to install if that is impossible.
#
#   venv.sh broken FOLDER...             print each FOLDER that exists and cannot be used
#   venv.sh why FOLDER                   print why FOLDER cannot be used, or nothing
#   venv.sh complete FOLDER              succeed if FOLDER can be used and its installation ended
#   venv.sh make FOLDER PYTHON...        make FOLDER with the first suitable PYTHON
#   venv.sh install FOLDER OPTION...     pip install OPTION..., with its progress
set -eu

OLDEST=3.11

# Prints why the venv cannot be used. A copy of a folder, or a moved one, runs the programs of the old place.
problem_of_venv='
import importlib.util, os, re, sys
folder = sys.argv[1]
oldest = tuple(map(int, sys.argv[2].split(".")))
with open(f"{folder}/bin/pip", encoding="utf-8") if os.path.exists(f"{folder}/bin/pip") else open(os.devnull) as file:
    place = re.search(r"(/[^\"\n]*)/python", file.read(1000))
if sys.version_info < oldest:
    print("its Python is older than", sys.argv[2])
elif not importlib.util.find_spec("pip") or not place:
    print("it has no pip for its Python")
elif not (os.path.isdir(place[1]) and os.path.samefile(place[1], f"{folder}/bin")):
    print("it was made at", os.path.dirname(place[1]))
'

why_broken() {
    [ -e "$1/bin/python" ] || { echo "its Python is gone"; return; }
    "$1/bin/python" -Ic "$problem_of_venv" "$1" "$OLDEST" 2>/dev/null || echo "its Python does not run"
}

# Print why a Python cannot make a venv, or nothing. $version is its version.
why_unsuitable() {
    command -v "$1" >/dev/null || { echo "is not installed"; return; }
    "$1" -c "import sys; sys.exit(sys.version_info < tuple(map(int, '$OLDEST'.split('.'))))" 2>/dev/null ||
        { echo "is Python $(version_of "$1"), and the service needs $OLDEST or newer"; return; }
    "$1" -c 'import venv, ensurepip' 2>/dev/null || echo "is Python $(version_of "$1") without its module venv or pip"
}

version_of() {
    "$1" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null || echo "of an unknown version"
}

# Say on standard error what to install.
explain() {
    echo "make: no Python on this machine can run the service." >&2
    lacks_venv=
    seen=
    for python in "$@"; do
        why=$(why_unsuitable "$python")
        case $seen in *"|$why|"*) continue ;; esac # two names of one Python
        seen="$seen|$why|"
        case $why in *"not installed"*) [ $# = 1 ] || [ "$python" = "$1" ] || continue ;; esac
        echo "  $python $why." >&2
        case $why in *"without its module"*) lacks_venv=${lacks_venv:-$python} ;; esac
    done
    case $lacks_venv in
        '') package=python3-venv ;;
        */*) package="python$(version_of "$lacks_venv" | cut -d. -f1,2)-venv" ;;
        *) package="$lacks_venv-venv" ;;
    esac
    if [ -n "$lacks_venv" ]; then
        echo "On Debian and Ubuntu, the module is a package of its own: apt install $package" >&2
    else
        echo "On Debian 12, Ubuntu 24.04 and newer: apt install python3 python3-venv" >&2
        echo "On older systems, install Python 3.13 beside the system's, for example by: uv python install 3.13" >&2
        echo "Then name it: make run PYTHON=/path/to/python3.13" >&2
    fi
}

make_venv() {
    folder=$1
    shift
    for python in "$@"; do
        [ -z "$(why_unsuitable "$python")" ] || continue
        if [ -e "$folder" ]; then
            why=$(why_broken "$folder")
            echo "$folder is made anew: ${why:-its installation did not end}."
        fi
        echo "Making $folder with Python $(version_of "$python") ($(command -v "$python")) ..."
        rm -rf "$folder"
        "$python" -m venv "$folder"
        return
    done
    explain "$@"
    return 1
}

# Read pip's output and show how far it is. A terminal shows one line, which changes.
show_progress() {
    count=0
    while read -r word what _; do
        case $word in
            Collecting | Processing | Requirement)
                count=$((count + 1))
                name=$(basename "${what%%==*}")
                if [ -t 1 ]; then
                    printf '\r\033[K  %s of %s: %s' "$count" "$1" "${name%%-[0-9]*}"
                elif [ $((count % 10)) = 0 ]; then
                    echo "  $count of $1"
                fi
                ;;
            Installing)
                [ ! -t 1 ] || printf '\r\033[K'
                echo "  all downloaded; unpacking"
                ;;
            FAILED)
                [ ! -t 1 ] || echo
                return 1
                ;;
        esac
    done
}

install_packages() {
    folder=$1
    shift
    total=0
    for word in "$@"; do
        case $word in *.lock) total=$((total + $(grep -c '^[A-Za-z0-9].*==' "$word"))) ;; esac
    done
    echo "Installing $total packages in $folder ..."
    # Warnings about the machine's pip settings help nobody whose installation succeeds.
    { "$folder/bin/pip" --disable-pip-version-check install --progress-bar off --require-hashes --no-deps "$@" \
        2>"$folder/pip-errors" || { cat "$folder/pip-errors" >&2; echo FAILED; }; } | show_progress "$total"
}

step=$1
shift
case $step in
    broken)
        for folder in "$@"; do
            [ ! -d "$folder" ] || [ -z "$(why_broken "$folder")" ] || echo "$folder"
        done
        ;;
    why) why_broken "$1" ;;
    complete) [ -e "$1/installed" ] && [ -z "$(why_broken "$1")" ] ;;
    make) make_venv "$@" ;;
    install) install_packages "$@" ;;
esac
