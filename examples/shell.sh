#!/bin/sh
# `aplex map` runs the functions of texts.py from a shell.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT

echo "words of each line of this script, the most of them:"
aplex map texts:count_words --chunk auto -a shell.sh | sort -n | tail -n 1

echo "coroutines, in order:"
printf 'A short title\nA title that is longer than it should be\n' | aplex map texts:shorten -k

echo "objects as keyword arguments; one fails, and is kept for later:"
printf '%s\n' '{"meters": 100, "seconds": 8}' '{"meters": 5, "seconds": 0}' \
    > "$work/runs.jsonl"
aplex map texts:speed --kwargs --joblog "$work/log" --failures "$work/again" -a "$work/runs.jsonl" ||
    echo "exit code $?, to be run again: $(cat "$work/again")"

echo "a second run does only what is new:"
echo '{"meters": 42, "seconds": 7}' >> "$work/runs.jsonl"
aplex map texts:speed --kwargs --joblog "$work/log" --resume -a "$work/runs.jsonl"
