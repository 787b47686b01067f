#!/usr/bin/env bash
# Builds the wheel, installs it without extras in an empty environment, and tries it there, away
# from the sources: tools/try-wheel.sh PYTHON FOLDER [REQUIREMENTS]. FOLDER is made anew. The wheel
# is built from what docker/Dockerfile copies, and from nothing else, so that an image has enough.
# With the folder REQUIREMENTS, all packages are those that it pins, compared with their hashes.
set -euo pipefail

python=$1 folder=$2 requirements=${3:+$(cd "$3" && pwd)}
install=(-m pip install --quiet --disable-pip-version-check)

rm -rf "$folder"
mkdir -p "$folder/sources" "$folder/work"
folder=$(cd "$folder" && pwd)
read -ra sources <<<"$(sed -nE 's/^COPY ([^-].*) [^ ]+$/\1/p' docker/Dockerfile | tr '\n' ' ')"
cp -r "${sources[@]}" "$folder/sources"
wheel=(-m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$folder")
"$python" -m venv "$folder/venv"
python=$folder/venv/bin/python nst=$folder/venv/bin/nst
if [ -n "$requirements" ]; then
  locked=("${install[@]}" --no-deps --require-hashes)
  "$python" "${locked[@]}" -r "$requirements/build.txt"
  "$python" "${wheel[@]}" --no-build-isolation "$folder/sources"
  "$python" "${locked[@]}" -r "$requirements/run.txt"
  "$python" "${install[@]}" --no-deps "$folder"/*.whl
  "$python" -m pip check
else
  "$python" "${wheel[@]}" "$folder/sources"
  "$python" "${install[@]}" "$folder"/*.whl
fi
cd "$folder/work"
# From Python 3.13 on pip does not install MXNet.
if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 13))'; then
  "$nst" mxnet install
fi

"$nst" --help >/dev/null
mapfile -t pair < <("$python" -c \
  'from nst_cli import samples; print(samples.CONTENT, samples.STYLES[0], sep="\n")')
"$nst" stylize "${pair[@]}" -o picture.png --weights builtin --size 32 --iterations 2 --quiet
"$nst" report .
echo "The wheel works: $(ls "$folder"/*.whl)."
