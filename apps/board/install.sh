#!/bin/sh
# Installs this bundle into its own folder: nothing outside of it is changed, except with --service.
#   ./install.sh             runtimes and packages, then every artifact is run once
#   ./install.sh --engines   Jetson: also builds the TensorRT engines (minutes)
#   ./install.sh --service   as root: also a systemd service, a page on http://127.0.0.1:8000
#   ./install.sh --remove-service
# PYTHON=/path/to/python3 chooses the interpreter.
set -eu
umask 022 # the service, a user of its own, has to read what is made here
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
cd -- "$here"
unit=/etc/systemd/system/edgesr.service
about=http://127.0.0.1:8000/about
asks='import sys, urllib.request as web; web.build_opener(web.ProxyHandler({})).open(sys.argv[1], timeout=5)'
wanted_python='@PYTHON@'
machine='@MACHINE@'
oldest='3.11'

fail() {
  echo "Error: $*" >&2
  exit 1
}

engines=no
service=no
for option in "$@"; do
  case $option in
    --engines) engines=yes ;;
    --service) service=yes ;;
    --remove-service) service=remove ;;
    *) fail "unknown option $option. Known: --engines, --service, --remove-service." ;;
  esac
done

if [ "$service" = remove ]; then
  systemctl disable --now edgesr.service || true
  rm -f -- "$unit"
  systemctl daemon-reload
  echo "The service is removed. The bundle stays in $here."
  exit 0
fi

if [ "$service" = yes ]; then
  [ "$(id -u)" = 0 ] || fail "--service needs root: sudo ./install.sh --service"
  command -v systemctl >/dev/null || fail "--service needs systemd, which is not here. Start ./serve by other means."
  case $here in *[!A-Za-z0-9/._-]*) fail "--service needs a path of plain letters; this is $here. Move the bundle." ;; esac
  # Home folders are often closed to others, and the service runs as a user of its own.
  setpriv --reuid=65534 --regid=65534 --clear-groups test -x "$here/serve" -a -r "$here/run" ||
    fail "the service, which runs as a user of its own, cannot read $here. Move the bundle, for example to /opt."
fi

echo "Checking the files ..."
sha256sum --check --quiet --strict SHA256SUMS || fail "files of the bundle are missing or were changed. Unpack it again."

python=${PYTHON:-}
if [ -z "$python" ]; then
  for name in "python$wanted_python" python3 python3.14 python3.13 python3.12 python3.11; do
    if command -v "$name" >/dev/null && "$name" -c "import sys; sys.exit(sys.version_info < (3, 11))" 2>/dev/null; then
      if [ -d wheels ] && [ "$("$name" -c 'import sys; print("%d.%d" % sys.version_info[:2])')" != "$wanted_python" ]; then
        continue
      fi
      python=$(command -v "$name")
      break
    fi
  done
fi
if [ -z "$python" ]; then
  if [ -d wheels ]; then
    fail "this bundle's wheels are for Python $wanted_python, which is not here. Make the bundle with --python VERSION" \
      "for the one that is, or without --offline."
  fi
  fail "no Python $oldest or newer here. Debian, Ubuntu: apt-get install python3"
fi
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || fail "$python does not start."
"$python" -c "import sys; sys.exit(sys.version_info < (3, 11))" || fail "$python is Python $version; $oldest or newer is needed."

rm -rf -- site.unfinished
mkdir site.unfinished
if [ -d wheels ]; then
  [ "$version" = "$wanted_python" ] || fail "the wheels are for Python $wanted_python; $python is $version."
  [ "$(uname -m)" = "$machine" ] || fail "the wheels are for $machine; this is $(uname -m). Make the bundle without --offline."
  echo "Unpacking the wheels ..."
  mkdir site.unfinished/incoming
  cp -- wheels/*.whl site.unfinished/incoming/
  "$python" tools/unpack.py site.unfinished/incoming site.unfinished/packages >/dev/null || fail "the wheels cannot be unpacked."
  rmdir site.unfinished/incoming
else
  "$python" -m pip --version >/dev/null 2>&1 || fail "pip is not there. Debian, Ubuntu: apt-get install python3-pip"
  echo "pip fetches the packages of requirements.txt ..."
  "$python" -m pip --disable-pip-version-check install --quiet --no-input --only-binary=:all: \
    --target site.unfinished/packages/all -r requirements.txt || fail "pip could not install requirements.txt."
fi
printf '%s\n' "$python" >site.unfinished/python
rm -rf -- site
mv -- site.unfinished site

if [ "$engines" = yes ]; then
  [ -f engines.sh ] || fail "there is no artifact for TensorRT in this bundle."
  sh engines.sh
fi

echo "Running every artifact once ..."
./run check || fail "an artifact does not run here."

if [ "$service" = yes ]; then
  sed "s|@HERE@|$here|g" edgesr.service >"$unit.new"
  chmod 644 "$unit.new"
  mv -- "$unit.new" "$unit"
  systemctl daemon-reload
  systemctl enable edgesr.service
  systemctl restart edgesr.service # one that runs already still has the files of before
  echo "Waiting for the service ..."
  left=60
  until systemctl is-active --quiet edgesr.service && "$python" -c "$asks" "$about" 2>/dev/null; do
    left=$((left - 1))
    [ "$left" -gt 0 ] || fail "the service does not answer at $about. What it says: journalctl -u edgesr"
    sleep 1
  done
  echo "The service runs: http://127.0.0.1:8000/ (systemctl status edgesr)"
fi
echo "Ready: ./upscale PHOTO   ./bench   ./serve"
