#!/usr/bin/env bash
# Resolves setup.cfg into requirements/*.txt, which pin each package, with its hashes, for every
# Python and platform: tools/lock.sh UV [OPTION ...]. Versions that are still allowed stay; the
# option --upgrade takes the newest instead.
set -euo pipefail

uv=$1
shift
compile() {
  "$uv" pip compile --quiet --universal --python-version 3.9 --generate-hashes --no-annotate \
    --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' "$@"
}

# What development needs, first; the other files agree with it.
echo 'setuptools>=64' | compile "$@" --extra test --extra lint --extra coverage \
  --output-file requirements/dev.txt setup.cfg -
compile "$@" --constraint requirements/dev.txt --output-file requirements/run.txt setup.cfg
echo 'setuptools>=64' | compile "$@" --constraint requirements/dev.txt \
  --output-file requirements/build.txt -
