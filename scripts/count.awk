# count.awk: what `ctest -V` says, as "PASSED FAILED SKIPPED".  A cmocka program counts by its own
# tests, any other test as one.  Options: -v names="A B": these tests only; -v only=failed: instead
# of counts, the lines of the tests that failed.
BEGIN {
    n = split(names, list, " ")
    for (i = 1; i <= n; i++)
        wanted[list[i]] = 1
}
# "12: [  PASSED  ] 3 test(s)."
/^[0-9]+: / {
    id = $0
    sub(/:.*/, "", id)
    text = substr($0, length(id) + 3)
    if (only == "failed")
        said[id] = said[id] $0 "\n"
    if (text ~ /^\[  PASSED  \] [0-9]+ test/)
        ok[id] += number(text)
    else if (text ~ /^\[  SKIPPED \] [0-9]+ test/)
        skip[id] += number(text)
    else if (text ~ /^\[  FAILED  \] [0-9]+ test/)
        bad[id] += number(text)
    next
}
# " 3/40 Test #12: test_x ........***Failed    0.10 sec"
/^ *[0-9]+\/[0-9]+ Test +#[0-9]+: / {
    id = $0
    sub(/^[^#]*#/, "", id)
    name = id
    sub(/:.*/, "", id)
    sub(/^[0-9]+: */, "", name)
    sub(/ .*/, "", name)
    if (n > 0 && !(name in wanted))
        next
    if ($0 ~ /[.] +Passed +[0-9.]+ sec/) {
        passed += (id in ok) ? ok[id] : !(id in skip)
        skipped += skip[id]
    } else if ($0 ~ /[*][*][*]Skipped/) {
        skipped++
    } else {
        passed += ok[id]
        skipped += skip[id]
        failed += (bad[id] > 0) ? bad[id] : 1
        if (only == "failed")
            printf "%s", said[id]
    }
}
END {
    if (only != "failed")
        print passed + 0, failed + 0, skipped + 0
}
function number(line) {
    sub(/^[^]]*] /, "", line)
    return line + 0
}
