#!/bin/sh
# check_methods.sh ROOT HOLDFAST: every method of the program has a page whose front matter and
# options are its descriptor's, a recipe that runs it with options it has, its paper in papers.bib,
# and its tests; and there is no page and no recipe of anything else.
house=$(cd "$(dirname "$0")" && pwd)
self=$house/check_methods.sh
. "$house/common.sh"

# One line a method: NAME TAB NEUTRAL ("" : none) TAB PAPER TAB its options, each between blanks.
methods() {
    "$holdfast" list methods --json | awk -f "$root/tools/json.awk" | awk -F '\t' '
        {
            split($1, at, ".")
            i = at[1]
            if (!(i in seen)) { seen[i] = 1; order[++n] = i }
            if (at[2] == "options" && at[4] == "name")
                options[i] = options[i] " " $2
            else
                v[i "." at[2]] = $2
        }
        END {
            for (k = 1; k <= n; k++) {
                i = order[k]
                print v[i ".name"] "\t" v[i ".neutral"] "\t" v[i ".paper"] "\t" options[i] " "
            }
        }'
}

arms() {
    sed -n '/^arms:/,$p' "$1"
}

# Option names that a recipe's arms give a method: "NAME: {a: 1, b: x}", over lines too, texts left out.
given() {
    arms "$2" | tr '\n' ' ' | sed 's/"[^"]*"//g' | grep -o "[^A-Za-z_.]$1: {[^}]*}" |
        sed "s/^.$1: {//; s/}\$//" | tr ',' '\n' | sed 's/^ *//; s/:.*$//; /^ *$/d' | sort -u
}

check_page() {
    page=docs/methods/$1.md
    if [ ! -f "$root/$page" ]; then
        echo "$page:1: missing; tools/newpage $1 begins it"
        return
    fi
    if ! HOLDFAST=$holdfast "$root/tools/newpage" "$1" --stdout | cmp -s - "$root/$page"; then
        echo "$page:1: not what the descriptor says; tools/newpage $1 rewrites it"
    fi
    for heading in Idea Formula Options Deviations 'What it needs' Costs Paper; do
        awk -v want="## $heading" '
            $0 == want { on = 1; next }
            /^## / { on = 0 }
            on && NF { found = 1 }
            END { exit !found }' "$root/$page" || echo "$page:1: nothing under '## $heading'"
    done
}

check_recipe() {
    recipe=recipes/methods/$1.yaml
    if [ ! -f "$root/$recipe" ]; then
        echo "$recipe:1: missing"
        return
    fi
    [ "$(head -n 1 "$root/$recipe")" = "# holdfast run $recipe" ] ||
        echo "$recipe:1: expected the first line \"# holdfast run $recipe\""
    arms "$root/$recipe" | grep -q "[ {]$1\([]:},]\|\$\)" ||
        echo "$recipe:1: does not use $1"
    for option in $(given "$1" "$root/$recipe"); do
        case $2 in
        *" $option "*) ;;
        *) echo "$recipe:1: $1 has no option '$option'" ;;
        esac
    done
}

# Tests are run: a function that no list names is none.
check_tests() {
    kinds='golden behaviour'
    [ -n "$2" ] && kinds="$kinds neutral"
    for kind in $kinds; do
        cat "$root"/tests/methods/*.c | grep -q "cmocka_unit_test(${1}_$kind)" ||
            echo "tests/methods:1: no test ${1}_$kind"
    done
}

check_strangers() {
    for file in "$root"/docs/methods/*.md "$root"/recipes/methods/*.yaml; do
        [ -f "$file" ] || continue
        name=$(basename "${file%.*}")
        case $names in
        *" $name "*) ;;
        *) echo "${file#"$root"/}:1: there is no method '$name'" ;;
        esac
    done
}

check_all() {
    list=$(methods)
    [ -n "$list" ] || echo "$holdfast: lists no methods"
    names=" $(printf '%s\n' "$list" | cut -f 1 | tr '\n' ' ')"
    tab=$(printf '\t')
    printf '%s\n' "$list" | while IFS= read -r line; do
        name=${line%%"$tab"*}
        rest=${line#*"$tab"}
        neutral=${rest%%"$tab"*}
        rest=${rest#*"$tab"}
        paper=${rest%%"$tab"*}
        check_page "$name"
        check_recipe "$name" "${rest#*"$tab"}"
        check_tests "$name" "$neutral"
        grep -qF "eprint = {${paper#arXiv }}" "$root/docs/papers.bib" ||
            echo "docs/papers.bib:1: $name's paper is missing: $paper"
    done
    check_strangers
}

self_test() {
    # A program with one method.
    json='{"name":"m","kind":"defense","stage":"tune","paper":"arXiv 1.2","title":"T.","options":[{"name":"rho","type":"real","default":1.0,"min":0.0,"max":9.0,"choices":null,"help":"h"}],"version":1,"neutral":"rho=0","where":"eq. 1"}'
    good() {
        new_tree
        mkdir -p "$tree/tools" "$tree/docs/methods"
        cp "$house/../../tools/newpage" "$house/../../tools/json.awk" "$tree/tools/"
        put holdfast "#!/bin/sh\\n[ \$1 = list ] && echo '[$json]' || echo '$json'\\n"
        chmod +x "$tree/holdfast"
        (cd "$tree" && HOLDFAST=$tree/holdfast tools/newpage m >out) || exit 2
        awk '{ print } /^## / && !/Options/ { print ""; print "Words." }' \
            "$tree/docs/methods/m.md" >"$tree/page"
        mv "$tree/page" "$tree/docs/methods/m.md"
        put docs/papers.bib '@misc{a, eprint = {1.2}}\n'
        put recipes/methods/m.yaml '# holdfast run recipes/methods/m.yaml\narms:\n  - {tune: {m: {rho: 1}}}\n'
        put tests/methods/t.c 'cmocka_unit_test(m_golden) cmocka_unit_test(m_neutral) cmocka_unit_test(m_behaviour)\n'
    }
    fails() {
        expect_fail "$1" "$tree" "$tree/holdfast"
    }
    good
    expect_pass "a method with all it needs" "$tree" "$tree/holdfast"
    rm "$tree/docs/methods/m.md"
    fails 'docs/methods/m.md:1: missing'
    good
    sed 's/| 1.0 |/| 2.0 |/' "$tree/docs/methods/m.md" >"$tree/page"
    mv "$tree/page" "$tree/docs/methods/m.md"
    fails 'docs/methods/m.md:1: not what the descriptor says'
    good
    sed 's/^version: 1/version: 2/' "$tree/docs/methods/m.md" >"$tree/page"
    mv "$tree/page" "$tree/docs/methods/m.md"
    fails 'docs/methods/m.md:1: not what the descriptor says'
    good
    awk '/^## Costs/ { print; getline; getline; next } { print }' "$tree/docs/methods/m.md" >"$tree/page"
    mv "$tree/page" "$tree/docs/methods/m.md"
    fails "nothing under '## Costs'"
    good
    rm "$tree/recipes/methods/m.yaml"
    fails 'recipes/methods/m.yaml:1: missing'
    good
    put recipes/methods/m.yaml '# holdfast run recipes/methods/m.yaml\narms:\n  - {tune: {m: {rho: 1,\n    roh: 2}}}\n'
    fails "m has no option 'roh'"
    good
    put recipes/methods/m.yaml '# holdfast run it\narms:\n  - {tune: m}\n'
    fails 'expected the first line'
    good
    put recipes/methods/m.yaml '# holdfast run recipes/methods/m.yaml\ndata: {m: {files: a}}\narms:\n  - {tune: other}\n'
    fails 'does not use m'
    good
    put tests/methods/t.c 'cmocka_unit_test(m_golden) cmocka_unit_test(m_behaviour) void m_neutral(void);\n'
    fails 'no test m_neutral'
    good
    put docs/papers.bib '@misc{a, eprint = {1.3}}\n'
    fails "m's paper is missing: arXiv 1.2"
    good
    put docs/methods/n.md 'a page\n'
    fails "docs/methods/n.md:1: there is no method 'n'"
    good
    put holdfast "#!/bin/sh\\necho '[]'\\n"
    fails 'lists no methods'
    end_self_test
}

[ "$1" = --self-test ] && self_test
root=$1
holdfast=$2
check_all | report
