"""lines.py: mixed lines of text for tokenizer tests: languages, code, emoji, odd spaces, digits."""
import random
import unicodedata

WORDS = """the quick brown fox jumps over a lazy dog Hello World naïve café Größe Straße façade
don't we're I'll they've he'd it's I'm DON'T WE'RE 'tis o'clock rock'n'roll Привет мир нещо на Български
こんにちは 世界 今日は良い天気です 你好 机器学习 模型 한국어 안녕하세요 العربية مرحبا שלום नमस्ते दुनिया ไทย สวัสดี
Ελληνικά Việt Nam Tiếng İstanbul ğüşöç Łódź žluťoučký kůň été cœur Ünïcödé ᚠᛇᚻ ქართული հայերեն አማርኛ
மொழி తెలుగు ಕನ್ನಡ বাংলা ਪੰਜਾਬੀ ພາສາລາວ ខ្មែរ မြန်မာ བོད་ڪ سنڌي ᏣᎳᎩ""".split()
CODE = ["def f(x):\n\treturn x**2", "for (int i = 0; i < n; i++) {", "#include <stdio.h>", "a->b[3] != c",
        "https://example.org/a?b=c&d=%20", "x = [1, 2, 3]  # list", "if (a && b || !c) return -1;", "</div>\n",
        "SELECT * FROM t WHERE id=10;", "\\begin{equation} \\alpha^2 \\end{equation}", "{\"k\": [true, null]}",
        "print('it''s')", "std::vector<int> v;", "0xDEADBEEF 1e-5 3.14159", "user@example.com", "C:\\dir\\f.txt"]
EMOJI = list("😀🎉🚀❤🔥🦙👍🏽🇩🇪✅⚡") + ["👩‍👩‍👧‍👦", "😶‍🌫️", "🏳️‍🌈", "1️⃣", "❤️"]
SPACES = [" ", "  ", "   ", "    ", "\t", "\t\t", "\n", "\n\n", "\r\n", " \n", "\n ", "\u00a0", "\u2003", "\u3000",
          "\u2028", "\u0085", "\u200b", "\ufeff", "\x0b", "\x0c", " \u00a0 ", "\u1680", "\x1c", "\u180e"]
NUMBERS = ["0", "7", "42", "123", "1234", "123456789", "3.14", "1,000,000", "½", "²", "Ⅷ", "٣٤٥", "१२३", "①②", "１２３",
           "2024-01-31", "10:30", "50%", "$9.99", "一二三", "𝟘𝟙", "৪৫"]
PUNCTUATION = list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~«»“”‘’…—–¿¡§¶©®™°±×÷€£¥₹") + ["...", "!!!", "--", "''", "->", "::"]
MARKS = ["e\u0301", "a\u0308", "n\u0303", "\u0301", "क\u093f", "o\u0302\u0323", "\u1100\u1161\u11a8", "ﬁ", "ſ", "'ſ", "'S",
         "'LL", "ǅ", "ʰ", "ª", "\u0345"]
SPECIAL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_", "start|>", "<s>", "</s>", "[INST]", "<repo_name>"]
BOUNDS = [0x1, 0x7F, 0x80, 0x7FF, 0x800, 0xFFFD, 0xFFFF, 0x10000, 0x10D40, 0x11DE0, 0x1E5F1, 0x16FF4, 0x10FFFF, 0x13460,
          0xE000, 0xAC00, 0x4E00, 0x3400, 0x20000, 0x31350, 0x2EBF0, 0x1F600]


def line(rng):
    """One line; `rng` a random.Random."""
    parts = []
    for _ in range(rng.choice([1, 2, 3, 5, 8, 13, 21])):
        kind = rng.random()
        if kind < 0.42:
            parts.append(rng.choice(WORDS))
        elif kind < 0.48:
            parts.append(rng.choice(CODE))
        elif kind < 0.53:
            parts.append(rng.choice(EMOJI))
        elif kind < 0.63:
            parts.append(rng.choice(NUMBERS))
        elif kind < 0.75:
            parts.append(rng.choice(PUNCTUATION) * rng.choice([1, 1, 1, 2, 3]))
        elif kind < 0.80:
            parts.append(rng.choice(MARKS))
        elif kind < 0.82:
            parts.append(rng.choice(SPECIAL))
        elif kind < 0.86:
            c = rng.choice(BOUNDS) if rng.random() < 0.3 else rng.randrange(0x110000)
            parts.append("" if 0xD800 <= c < 0xE000 else chr(c))
        elif kind < 0.88:
            parts.append("".join(rng.choice("abcdefghijklmnopqrstuvwxyzABCXYZ") for _ in range(rng.randrange(1, 120))))
        else:
            parts.append(rng.choice(SPACES) * rng.choice([1, 1, 1, 2, 5]))
        if rng.random() < 0.55:
            parts.append(" ")
    text = "".join(parts)
    return unicodedata.normalize("NFD", text) if rng.random() < 0.05 else text


def lines(n, seed):
    """n lines, the same for the same seed."""
    rng = random.Random(seed)
    return [line(rng) for _ in range(n)]
