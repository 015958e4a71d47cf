#!/usr/bin/env bash
# Fetches Flink into work/flink, once, and compiles the jobs into work/classes.
# Needs a JDK 17 and python3 with pip: PyPI carries Flink's jars, and pip checks the hash of what it downloads.
set -euo pipefail
cd "$(dirname "$0")"

if [ ! -d work/flink/pyflink/lib ]; then
    mkdir -p work
    python3 -m pip download --no-deps --require-hashes --dest work/download --requirement requirements.txt
    rm -rf work/unpacked
    python3 -m zipfile -e work/download/apache_flink_libraries-*.whl work/unpacked
    mv work/unpacked work/flink # in one step, so that a setup that was stopped leaves no half of it
    rm -rf work/download
fi

rm -rf work/classes
javac --release 17 -Xlint:all,-classfile,-processing,-serial,-path,-try \
    -cp 'work/flink/pyflink/lib/*' -d work/classes src/bench/*.java
echo "setup.sh: ready" >&2
