#!/usr/bin/env bash
# Makes .setup/lm-eval for the tests of lm-evaluation-harness: an environment that has it, and all else from .venv.
# Nothing is changed outside of that folder. Does nothing where it is there, made of the same lock and the same .venv.
set -euo pipefail
cd "$(dirname "$0")/../.."

lock=python/requirements-eval.lock
folder=.setup/lm-eval
made=$(sha256sum "$lock" .venv/pyvenv.cfg | sha256sum)
if [ "$(cat "$folder/.made" 2>/dev/null)" = "$made" ]; then exit 0; fi

rm -rf "$folder"
.venv/bin/python -I -m venv --without-pip "$folder"
base=$(.venv/bin/python -I -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
own=$("$folder/bin/python" -I -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
# Searched after the environment's own packages; lines of .pth files in there count too, so that our packages are found.
echo "import site; site.addsitedir('$base')" > "$own/base.pth"
.venv/bin/python -I -m pip --disable-pip-version-check --no-input --python "$folder/bin/python" \
  install -qq --progress-bar off --no-deps -r "$lock"
"$folder/bin/python" -I -c 'import lm_eval, datasets, transformers'
echo "$made" > "$folder/.made"
