"""make_properties.py: the tables of src/tokenizer/properties.c: what `tokenizers` counts in a category or script and the
PCRE2 of this machine does not.  Code points that only PCRE2 counts are told on standard error.

    make_properties.py        (needs tokenizers and libpcre2-8)
"""
import ctypes
import sys

from tokenizers import Regex, normalizers

CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co".split()
SCRIPTS = ("Han Hiragana Katakana Hangul Bopomofo Latin Cyrillic Greek Arabic Hebrew Thai Devanagari Bengali Tamil Telugu "
           "Gujarati Gurmukhi Kannada Malayalam Sinhala Ethiopic Georgian Armenian Khmer Lao Tibetan Myanmar Mongolian "
           "Common Inherited").split()
ALL = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
TEXT = "".join(map(chr, ALL))
PCRE2 = ctypes.CDLL("libpcre2-8.so.0")
PCRE2.pcre2_compile_8.restype = ctypes.c_void_p
UTF, UCP, GLOBAL, NO_CHECK = 0x00080000, 0x00020000, 0x00000100, 0x40000000


def pcre2_counts(name):
    """The code points that \\p{name} matches."""
    pattern = b"\\p{%s}" % name.encode()
    code, offset = ctypes.c_int(), ctypes.c_size_t()
    compiled = PCRE2.pcre2_compile_8(pattern, ctypes.c_size_t(len(pattern)), UTF | UCP, ctypes.byref(code),
                                     ctypes.byref(offset), None)
    assert compiled, name
    text = TEXT.encode()
    left, n = ctypes.create_string_buffer(len(text) + 1), ctypes.c_size_t(len(text) + 1)
    done = PCRE2.pcre2_substitute_8(ctypes.c_void_p(compiled), text, ctypes.c_size_t(len(text)), ctypes.c_size_t(0),
                                    GLOBAL | NO_CHECK, None, None, b"", ctypes.c_size_t(0), left, ctypes.byref(n))
    assert done >= 0, (name, done)
    return set(ALL) - set(map(ord, left.raw[:n.value].decode()))


def tokenizers_counts(name):
    return set(ALL) - set(map(ord, normalizers.Replace(Regex(r"\p{%s}" % name), "").normalize_str(TEXT)))


def ranges(points):
    found = []
    for c in sorted(points):
        if found and found[-1][1] == c - 1:
            found[-1][1] = c
        else:
            found.append([c, c])
    return "".join(f"\\\\x{{{a:X}}}" + f"-\\\\x{{{b:X}}}" * (b > a) for a, b in found)


def main():
    for name in CATEGORIES + SCRIPTS:
        theirs, ours = tokenizers_counts(name), pcre2_counts(f"sc:{name}" if name in SCRIPTS else name)
        if theirs - ours:
            print(f'    {{"{name}", "{ranges(theirs - ours)}"}},')
        if ours - theirs:
            print(f"{name}: only PCRE2 counts {ranges(ours - theirs)}", file=sys.stderr)


if __name__ == "__main__":
    main()
