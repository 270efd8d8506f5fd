#!/bin/sh
# docs.sh PROGRAM ROOT [--write]: the sections of docs/cli.md are what --help prints; --write makes
# them so.
write=${3:-}
. "$(dirname "$0")/common.sh"
page=$root/docs/cli.md

{
    sed '/^<!-- from --help/q' "$page"
    holdfast --help | sed -n 's/^  \([a-z][a-z ]*[a-z]\)  .*/\1/p' | while read -r command; do
        printf '\n## %s\n\n```text\n' "$command"
        # The words of a command are meant to be split.
        holdfast $command --help
        printf '```\n'
    done
} >wanted.md
[ "$(grep -c '^## ' wanted.md)" -ge 20 ] || fail "fewer than 20 sections"
if [ "$write" = --write ]; then
    cp wanted.md "$page"
elif ! cmp -s wanted.md "$page"; then
    diff "$page" wanted.md | head -20
    fail "docs/cli.md differs from --help; 'sh tests/cli/docs.sh PROGRAM ROOT --write' makes it new"
fi
finish
