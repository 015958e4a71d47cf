#!/usr/bin/env bash
# Runs one job in a local Flink cluster and prints one line of JSON; README.md says what is in it.
#
#   run.sh WORKLOAD PARALLELISM EVENTS [--check] [--object-reuse on|off] [--source DIR] [--sink files]
#
# WORKLOAD: q0 q1 q2 count heavy wordcount, or q1-files and count-files, which read NDJSON from DIR (made in work/ when
# none is given); q1-files also writes files. EVENTS are lines for wordcount. Object reuse is on unless it is
# switched off. The log is work/last.log.
set -euo pipefail
home=$(cd "$(dirname "$0")" && pwd)
work=$home/work

fail() {
    echo "run.sh: $1" >&2
    exit "${2:-1}"
}

[ $# -ge 3 ] || fail "usage: run.sh WORKLOAD PARALLELISM EVENTS [--check] [--object-reuse on|off] [--source DIR] [--sink files]" 2
workload=$1 parallelism=$2 events=$3
shift 3
[[ $parallelism =~ ^[1-9][0-9]*$ ]] || fail "PARALLELISM is a number from 1, not '$parallelism'" 2
[[ $events =~ ^[1-9][0-9]*$ ]] || fail "EVENTS is a number from 1, not '$events'" 2
case $workload in
    q0 | q1 | q2 | count | heavy | wordcount) reads=generator sink=count ;;
    count-files) reads=files sink=count ;;
    q1-files) reads=files sink=files ;;
    *) fail "there is no workload '$workload': q0 q1 q2 count heavy wordcount q1-files count-files" 2 ;;
esac

check=false reuse=true source=
while [ $# -gt 0 ]; do
    case $1 in
        --check) check=true && shift ;;
        --object-reuse)
            case ${2:-} in
                on) reuse=true ;;
                off) reuse=false ;;
                *) fail "--object-reuse: '${2:-}' is neither 'on' nor 'off'" 2 ;;
            esac
            shift 2
            ;;
        --source)
            [ $reads = files ] || fail "only q1-files and count-files read files" 2
            [ -d "${2:-}" ] || fail "--source: '${2:-}' is no folder" 2
            source=$(cd "$2" && pwd) && shift 2
            ;;
        --sink)
            [ "${2:-}" = $sink ] || fail "the sink of $workload is '$sink'" 2
            shift 2
            ;;
        *) fail "'$1' is no option: --check --object-reuse --source --sink" 2 ;;
    esac
done

[ -d "$work/flink" ] && [ -d "$work/classes" ] || fail "Flink is not here yet: run $home/setup.sh first"

if [ $reads = files ]; then
    if [ -z "$source" ]; then
        source=$work/input/nexmark-$events-$parallelism
        if [ ! -d "$source" ]; then
            rm -rf "$source.part"
            java -cp "$work/classes:$work/flink/pyflink/lib/*" bench.InputFiles "$source.part" "$events" "$parallelism"
            mv "$source.part" "$source"
        fi
    fi
    cat "$source"/* > /dev/null # input comes from the page cache, not from the disk
fi

run=$work/run/$$
mkdir -p "$run"
trap 'rm -rf "$run"' EXIT
# G1 by name: bound to one core, Java would choose another collector.
java -Xmx8g -XX:+UseG1GC \
    -Dlog4j2.configurationFile="$home/log4j2.properties" -cp "$work/classes:$work/flink/pyflink/lib/*" \
    bench.Main "$run" "$workload" "$parallelism" "$events" "$check" "$reuse" "$source" \
    > "$run/result" 2> "$work/last.log" || fail "the job failed; $work/last.log says why"
cat "$run/result"
