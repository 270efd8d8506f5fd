# strip.awk: writes "FILE <tab> LINE <tab> CODE" for C sources: comments become a space, and what
# stands in quotes is emptied unless keep=1 is given.
FNR == 1 { inside = 0 }
{
    line = $0
    out = ""
    while (line != "") {
        if (inside) {
            end = index(line, "*/")
            if (!end)
                break
            line = substr(line, end + 2)
            out = out " "
            inside = 0
            continue
        }
        if (!match(line, /["'\/]/)) {
            out = out line
            break
        }
        out = out substr(line, 1, RSTART - 1)
        line = substr(line, RSTART)
        two = substr(line, 1, 2)
        one = substr(line, 1, 1)
        if (two == "/*") {
            inside = 1
            line = substr(line, 3)
        } else if (two == "//") {
            break
        } else if (one == "/") {
            out = out one
            line = substr(line, 2)
        } else {
            if (one == "\"")
                found = match(line, /^"([^"\\]|\\.)*"/)
            else
                found = match(line, /^'([^'\\]|\\.)*'/)
            size = found ? RLENGTH : length(line)
            out = out (keep ? substr(line, 1, size) : one one)
            line = substr(line, size + 1)
        }
    }
    print FILENAME "\t" FNR "\t" out
}
