#!/bin/sh
# Prints step, proof and path of each checkpoint as it comes, one line each, ready for another program.
#   examples/published.sh <JOB_ID> <DIR> [options of sync]
set -eu
rcsync sync "$@" --output json |
  jq --raw-output --unbuffered 'select(.event == "published" and .kind == "checkpoint") | [.step, .evidence, .path] | @tsv'
