#!/usr/bin/env bash
# Checks what `examples/` gives people to copy: each file by the tool that will read it, the pipeline for real.
#   tests/real/examples.sh [PATH OF rcsync]        default: target/release/rcsync
# What a missing tool would check is named and passed over.
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=$(realpath "${1:-target/release/rcsync}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
need() { command -v "$1" >/dev/null || { echo "passed over: $2 (there is no $1)"; return 1; }; }

mkdir -p "$work/bin"
export PATH="$work/bin:$PATH"

if need systemd-analyze "the systemd units"; then
  for unit in examples/systemd/*; do
    # Instances, since a template alone is not verified; the program's place is this machine's.
    name=$(basename "$unit"); sed "s|/usr/local/bin/rcsync|$binary|" "$unit" >"$work/${name/@/@job-1}"
  done
  (cd "$work" && systemd-analyze verify --man=no ./*job-1.service ./*job-1.timer ./rcsync-fleet.service ./rcsync-fleet.path)
  echo "systemd-analyze verify: five units pass"
fi

if need python3 "the launchd plist and the Compose file"; then
  python3 - <<'PYTHON'
import plistlib
agent = plistlib.load(open("examples/launchd/rcsync.plist", "rb"))
assert agent["Label"] and agent["ProgramArguments"][0].endswith("rcsync") and agent["StartInterval"] == 300, agent
print("launchd: the plist is read, and has label, program and interval")
PYTHON
  if python3 -c 'import yaml' 2>/dev/null; then
    python3 - <<'PYTHON'
import yaml
services = yaml.safe_load(open("examples/docker/compose.yaml"))["services"]
assert set(services) == {"rcsync", "comfyui"} and services["rcsync"]["command"][0] == "sync"
print("Compose: the file is read, and has both services")
PYTHON
  else
    echo "passed over: the Compose file (python3 has no yaml)"
  fi
fi

if need python3 "the Dockerfile"; then
  tests/real/dockerfile.py "$binary"
fi

# The commands in them are commands that this rcsync knows.
for words in "$(sed -n 's|.*ExecStart=/usr/local/bin/rcsync ||p' examples/systemd/rcsync@.service)" \
             "$(sed -n 's|.*ExecStart=/usr/local/bin/rcsync ||p' examples/systemd/rcsync-fleet.service)" \
             "$(sed -n 's|^[*/0-9 ]*/usr/local/bin/rcsync ||p' examples/crontab)"; do
  words=${words//%i/job-1}; words=${words//%h/$work}
  mkdir -p "$work/loras" && echo job-1 >"$work/loras/jobs.txt"
  # shellcheck disable=SC2086
  code=0; env -i HOME="$work" "$binary" $words >/dev/null 2>"$work/said" || code=$?
  [ "$code" = 77 ] || { echo "rcsync $words: ended with $code instead of 77 (no token)"; cat "$work/said"; exit 1; }
done
echo "crontab and service: rcsync takes their arguments (and asks for a token)"

if need jq "the pipeline on --output json"; then
  # The demo's events instead of a real job's: the same stream, over in half a minute.
  printf '#!/bin/sh\nexec "%s" demo "%s/out" --output json\n' "$binary" "$work" >"$work/bin/demo"
  chmod +x "$work/bin/demo" && mv "$work/bin/demo" "$work/bin/rcsync"
  examples/published.sh any-job any-folder >"$work/lines" 2>/dev/null
  grep -qP '^\d+\t(trainer-hash|structure)\t\S+\.safetensors$' "$work/lines"
  echo "jq: $(wc -l <"$work/lines") checkpoints, the first: $(head -n 1 "$work/lines")"
fi
