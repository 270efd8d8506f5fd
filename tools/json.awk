# json.awk: JSON, one document a line, as lines "path TAB value" ("options.0.name TAB rho"), so that
# shell scripts can read what the program says with --json.  null is an empty value; \" \\ \/ are
# undone in texts, other escapes stay as they are.

function skip() {
    while (substr(s, i, 1) ~ /[ \t]/)
        i++
}
function text(out, c) {
    out = ""
    for (i++; (c = substr(s, i, 1)) != "\"" && c != ""; i++) {
        if (c == "\\" && substr(s, i + 1, 1) ~ /["\\\/]/)
            c = substr(s, ++i, 1)
        out = out c
    }
    i++
    return out
}
function value(path, c, n, key) {
    skip()
    c = substr(s, i, 1)
    if (c == "{" || c == "[") {
        n = 0
        i++
        skip()
        while (substr(s, i, 1) !~ /^[]}]?$/) {
            key = n
            if (c == "{") {
                key = text()
                skip()
                i++ # the colon
            }
            value(path == "" ? key : path "." key)
            n++
            skip()
            if (substr(s, i, 1) == ",")
                i++
            skip()
        }
        i++
        return
    }
    if (c == "\"") {
        print path "\t" text()
        return
    }
    match(substr(s, i), /^[^],}[:space:]]*/)
    c = substr(s, i, RLENGTH > 0 ? RLENGTH : 1)
    i += length(c)
    print path "\t" (c == "null" ? "" : c)
}
{ s = $0; i = 1; value("") }
