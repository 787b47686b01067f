#!/usr/bin/env bash
# Makes a Python environment and installs nst in it, so that it runs from the sources here:
#
#   tools/environment.sh FOLDER [EXTRAS [VERSION]]
#   tools/environment.sh --versions
#
# The packages are those of requirements/run.txt, or with EXTRAS (test, lint, coverage) those of
# requirements/dev.txt, compared with their hashes. With LOCK=no they are the newest ones that
# setup.cfg allows. VERSION is a Python's, such as 3.13. Without it
# any Python from 3.9 on will do; those below 3.13, for which pip installs MXNet, are tried first.
# --versions lists the versions, from 3.9 on, that this machine has on the PATH, by pyenv or by uv.
set -euo pipefail
shopt -s nullglob

# Prints the Pythons to try. Some do not work: a pyenv shim, or Debian's without its venv package.
candidates() {
  local name
  type -aP "$@" || true
  for name in "$@"; do
    printf '%s\n' "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/${name#python}".*/bin/python
  done
}

# Whether a Python has the right version, if one is asked for, and the modules that are named.
has() {
  "$1" -c "import sys${2:+, $2}
version = sys.version_info[:2]
sys.exit(not version >= (3, 9) or '$version' not in ('', '%d.%d' % version))" 2>/dev/null
}

# Prints what makes the environment, a word a line.
maker() {
  local python lacking= names=(python3.12 python3.11 python3.10 python3.9 python3.13 python3 python)
  if [ -n "$version" ]; then
    names=("python$version")
  fi
  while IFS= read -r python; do
    if has "$python" 'ensurepip, venv'; then
      printf '%s\n' "$python" -m venv --clear
      return
    elif has "$python" ''; then
      lacking=${lacking:-$python}
    fi
  done < <(candidates "${names[@]}")
  if type -P uv >/dev/null; then
    printf '%s\n' uv venv --quiet --clear --seed --python "${version:-3.12}"
  elif [ -n "$lacking" ]; then
    echo "$lacking cannot make environments: install its venv package (Debian, Ubuntu:" \
      "apt install python3-venv), or uv (https://docs.astral.sh/uv)." >&2
    return 1
  else
    echo "No Python ${version:-3.9 or later} found: install one, or uv" \
      "(https://docs.astral.sh/uv), which gets its own." >&2
    return 1
  fi
}

# Prints the versions that are installed.
versions() {
  local version python
  for version in 3.{9..19}; do
    while IFS= read -r python; do
      if has "$python" ''; then
        echo "$version"
        break
      fi
    done < <(candidates "python$version"; uv python find --no-python-downloads "$version" 2>/dev/null)
  done
}

if [ "$1" = --versions ]; then
  versions
  exit
fi
folder=$1 extras=${2:-} version=${3:-}
if [ "${LOCK:-yes}" != no ]; then
  for extra in ${extras//,/ }; do
    case $extra in
      test | lint | coverage) ;;
      *)
        echo "requirements/dev.txt has no packages for $extra: install them by pip afterwards." >&2
        exit 2
        ;;
    esac
  done
fi

# An environment that works is kept.
if ! has "$folder/bin/python" pip; then
  words=$(maker)
  mapfile -t command <<<"$words"
  echo "Making $folder with ${command[0]}."
  "${command[@]}" "$folder"
fi

python=$folder/bin/python
install() {
  if type -P uv >/dev/null; then
    uv pip install --quiet --python "$python" "$@"
  else
    "$python" -m pip install --quiet --disable-pip-version-check "$@"
  fi
}

if [ "${LOCK:-yes}" = no ]; then
  echo "Installing nst${extras:+[$extras]} in $folder: the newest versions that setup.cfg allows."
  install -e ".${extras:+[$extras]}"
else
  lock=requirements/run.txt
  if [ -n "$extras" ]; then
    lock=requirements/dev.txt
  fi
  echo "Installing nst in $folder, with the versions of $lock."
  if ! install --no-deps --require-hashes -r requirements/build.txt -r "$lock"; then
    echo "The versions of $lock cannot be installed here; LOCK=no installs the newest ones that" \
      "setup.cfg allows, and \`make lock\` makes the file anew." >&2
    exit 1
  fi
  install --no-deps --no-build-isolation -e .
fi
# From Python 3.13 on pip does not install MXNet.
if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 13))'; then
  "$python" -m nst_cli mxnet install >/dev/null
fi
