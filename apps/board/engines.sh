#!/bin/sh
# Builds a TensorRT engine of every artifact that is for it, here, for this device; needs trtexec (JetPack).
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
mkdir -p "$here/engines"
for script in "$here"/models/*/build_engine.sh; do
  name=$(basename -- "$(dirname -- "$script")")
  echo "Building the engine of $name (minutes) ..."
  if ! bash "$script" "$here/engines/$name.engine.unfinished"; then
    rm -f -- "$here/engines/$name.engine.unfinished"
    echo "Error: the engine of $name could not be built." >&2
    exit 1
  fi
  mv -- "$here/engines/$name.engine.unfinished" "$here/engines/$name.engine"
done
