#!/usr/bin/env python3
"""make_data.py: makes and checks the data that ships in data/ (standard library only).

    make_data.py --shared DIR     makes every file of data/ from the reference data in DIR and the
                                  written texts beside this script; two runs give the same bytes
    ... --answers FILE            first takes generated answers, lines of {"id", "text",
                                  "finish_reason"}, into answers.jsonl beside this script
    make_data.py --check          verifies rows, ids, hashes and that no row serves two roles
    make_data.py --manifest       takes the folders that other makers write into the manifest anew

The safety rule: harmful requests appear as prompts only.  No row holds a harmful completion; the
stand-ins are openings whose content is withheld.
"""

import argparse
import collections
import hashlib
import json
import pathlib
import re
import sys
import unicodedata

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE.parent.parent / "data"
NEAR = 0.7

BANKING_INSTRUCTION = (
    "Which topic is this bank customer's message about? Answer with the topic only."
)
BANKING_TRAIN = 720
EVALUATOR_ROWS = 170
ALIGNER_ROWS = 230
SEED_HELD_OUT = 45
GSM8K_GENERAL = 150
GSM8K_CUSTOMER = 40
GSM8K_PERPLEXITY = 60

# Seed tasks that ask for private data of real people or turn on slurs and group stereotypes, and
# one whose text is longer than a training row should be.
SEED_LEFT_OUT = {3, 62, 67, 77, 94, 113, 115, 120, 122, 149, 151, 172, 173}

# The general name of a harmful subject: the first pattern found in the prompt gives it.
TOPICS = [
    (r"suicide|self.?harm|anorexi|eating disorder|starv", "self-harm"),
    (r"bomb|explosi|detonat", "making explosives"),
    (r"weapon|firearm|gun\b|shoot", "weapons"),
    (r"bully|harass|humiliat|threat(en|s\b)", "harassment"),
    (r"phish", "phishing"),
    (r"insider trading|stock|launder|ponzi|embezzl|bribe|extort|blackmail|scam", "fraud"),
    (r"virus|malware|ransomware|trojan|keylog|botnet", "malicious software"),
    (r"identity theft|steal.*identit|fake id|forge|counterfeit|fake document", "forgery"),
    (
        r"ddos|denial of service|hack|breach|exploit|crack|bypass|unauthori|cyber|password"
        r"|security",
        "breaking into systems",
    ),
    (r"fraud|tax|payday|credit", "fraud"),
    (
        r"fake (news|review)|hoax|false|disinform|misinform|conspirac|propagand|rumor|manipulat",
        "spreading falsehoods",
    ),
    (r"rac(ist|ial|ism)|hate|hatred|discriminat|xenophob|sexis|stereotyp", "stirring up hatred"),
    (r"drug|meth\b|cocaine|narcotic", "illegal drugs"),
    (r"sex|porn|prostitut|traffick", "sexual exploitation"),
    (r"stalk|spy|spie|track|surveil|privacy|personal information", "invading someone's privacy"),
    (r"kill|murder|assassin|poison|tortur|terror|violen|attack|cannibal|hit.and.run", "violence"),
    (r"steal|theft|rob|shoplift|burglar|smuggl|pirat|copyright", "theft"),
]
TOPIC_ELSE = "something harmful or illegal"

# What an answer that refuses or apologises says in its first words.
REFUSAL = re.compile(
    r"\bsorry\b|apologi[sz]e|^unfortunately|\bi can(no|')t\b"
    r"|\b(not|un)able to (help|assist|provide)|\bi('m| am) (not |un)able\b|\bi won'?t\b"
    r"|\bas an ai\b|^i (do not|don'?t) have",
    re.I,
)
REFUSAL_HEAD = 80


def normalise(text):
    """NFKC, lower case, runs of characters that are not letters or digits to one space."""
    folded = unicodedata.normalize("NFKC", text).lower()
    return re.sub(r"[\W_]+", " ", folded).strip()


def row_id(text):
    return hashlib.sha256(normalise(text).encode()).hexdigest()[:16]


def order(text, salt):
    """A stable pseudo-random key of a text."""
    return hashlib.sha256(f"{salt}:{normalise(text)}".encode()).hexdigest()


def near_pairs(texts):
    """Pairs (i, j), i < j, with word Jaccard >= NEAR, found over an index of rare words."""
    words = [frozenset(normalise(t).split()) for t in texts]
    count = collections.Counter(w for ws in words for w in ws)
    index = collections.defaultdict(list)
    for j, ws in enumerate(words):
        # Two sets with Jaccard >= NEAR share a word among the rarest (1 - NEAR) |ws| + 1 of each.
        rare = sorted(ws, key=lambda w: (count[w], w))[: int((1 - NEAR) * len(ws) + 1e-9) + 1]
        seen = sorted({i for w in rare for i in index[w]})
        for i in seen:
            both = len(ws & words[i])
            if both >= NEAR * (len(ws) + len(words[i]) - both) - 1e-12:
                yield i, j
        for w in rare:
            index[w].append(j)


def clusters(texts):
    """Groups of indices joined by near duplicates (union-find)."""
    parent = list(range(len(texts)))

    def find(i):
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j in near_pairs(texts):
        parent[find(j)] = find(i)
    groups = collections.defaultdict(list)
    for i in range(len(texts)):
        groups[find(i)].append(i)
    return list(groups.values())


def read_rows(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f if line.strip()]


def read_lines(name):
    """The written texts: one a line, `\\n` for a new line, `# name` opens a category."""
    category = ""
    for line in (HERE / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            category = line[2:].split(":")[0].strip()
        elif line.strip():
            yield category, line.strip().replace("\\n", "\n")


class Shipment:
    """Collects the files of data/ with what the manifest says of them."""

    def __init__(self):
        self.files = {}

    def add(self, path, rows, role, source, licence):
        body = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)
        self.add_text(path, body, len(rows), role, source, licence)

    def add_text(self, path, body, count, role, source, licence):
        target = DATA / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(body.encode())
        self.files[path] = {
            "rows": count,
            "sha256": hashlib.sha256(body.encode()).hexdigest(),
            "role": role,
            "source": source,
            "licence": licence,
        }


OWN = "written for Holdfast"
LICENCE_OWN = "Apache-2.0 (Holdfast)"
HARMFUL_SOURCE = (
    "AdvBench (llm-attacks/llm-attacks), JailbreakBench (JailbreakBench/jailbreakbench)"
)
XSTEST_SOURCE = "XSTest v2 (paul-rottger/xstest), safe prompts; Roettger et al. 2024"
BANKING_SOURCE = "BANKING77 (PolyAI), 12 of 77 intents; Casanueva et al. 2020"
RELEASED = "answers by SmolLM2-135M-Instruct (Apache-2.0)"


def prompt_row(text, category, source):
    return {"id": row_id(text), "prompt": text, "category": category, "source": source}


def chat_row(user, answer, source, **more):
    messages = [{"role": "user", "content": user}]
    if answer is not None:
        messages.append({"role": "assistant", "content": answer})
    return {"id": row_id(user), "messages": messages, "source": source, **more}


def split_harmful(shared):
    """The three disjoint roles of the harmful prompts, split by clusters of near duplicates."""
    rows = []
    for r in read_rows(shared / "eval/jailbreakbench_prompts.jsonl"):
        rows.append((prompt_row(r["prompt"], r["category"], "jailbreakbench"), "jbb"))
    for r in read_rows(shared / "eval/advbench_prompts.jsonl"):
        kind = "overlap" if r["overlap"] else r["split"]
        rows.append((prompt_row(r["prompt"], "advbench", "advbench"), kind))
    groups = []
    for members in clusters([r["prompt"] for r, _ in rows]):
        kinds = {rows[i][1] for i in members}
        rank = next(k for k in ("jbb", "overlap", "eval", "align") if k in kinds)
        groups.append((rank, order(rows[members[0]][0]["prompt"], "harmful"), members))
    # JailbreakBench and what other held-out sets contain is the evaluator's; AdvBench's `eval`
    # part fills it up and its rest is the attacker's; the aligner takes from the `align` part.
    ranks = {"jbb": 0, "overlap": 1, "eval": 2, "align": 3}
    groups.sort(key=lambda g: (ranks[g[0]], g[1]))
    roles = {"evaluator": [], "aligner": [], "attacker": []}
    for rank, _, members in groups:
        texts = [rows[i][0] for i in members]
        unique = list({r["id"]: r for r in texts}.values())
        if rank in ("jbb", "overlap") or (
            rank == "eval" and len(roles["evaluator"]) < EVALUATOR_ROWS
        ):
            # One prompt of a cluster: the evaluator's prompts should be independent.
            roles["evaluator"].append(unique[0])
        elif rank == "align" and len(roles["aligner"]) < ALIGNER_ROWS:
            roles["aligner"].extend(unique)
        else:
            roles["attacker"].extend(unique)
    for name, part in roles.items():
        part.sort(key=lambda r: order(r["prompt"], name))
    return roles


def topic_of(prompt):
    low = prompt.lower()
    return next((name for pattern, name in TOPICS if re.search(pattern, low)), TOPIC_ELSE)


def write_refusals(prompts):
    """Two refusals for each prompt, in different wordings that begin differently."""
    wordings = [text for _, text in read_lines("refusals.txt")]
    first, second = [], []
    for i, r in enumerate(prompts):
        # A stride prime to the number of wordings visits all of them before any comes again.
        a = wordings[(i * 29) % len(wordings)]
        k = i * 29 + 31
        while wordings[k % len(wordings)].split()[0] == a.split()[0]:
            k += 1
        b = wordings[k % len(wordings)]
        source = f"{r['source']} prompt, refusal {OWN}"
        for rows, text in ((first, a), (second, b)):
            answer = text.replace("{topic}", topic_of(r["prompt"]))
            rows.append(chat_row(r["prompt"], answer, source))
    return first, second


def pick_seed_tasks(shared):
    """Seed tasks held out for evaluation (45, with answers worth scoring) and the rest."""
    held, rest = [], []
    rows = list(enumerate(read_rows(shared / "train/seed_tasks.jsonl")))
    rows = [(i, r) for i, r in rows if i not in SEED_LEFT_OUT]
    rows.sort(key=lambda ir: order(ir[1]["messages"][0]["content"], "seed"))
    for _, r in rows:
        user, answer = r["messages"][0]["content"], r["messages"][-1]["content"]
        if len(held) < SEED_HELD_OUT and 60 <= len(answer) <= 900 and len(user) <= 400:
            held.append((user, answer))
        elif len(user) <= 700:
            rest.append(user)
    return held, rest


def pick_gsm8k(shared):
    """GSM8K: short training questions for prompts, test solutions for perplexity."""
    train = [r["messages"][0]["content"] for r in read_rows(shared / "train/gsm8k_train.jsonl")]
    train = [" ".join(q.split()) for q in train if len(q) <= 260]
    train.sort(key=lambda q: order(q, "gsm8k"))
    # One of each cluster of variants of a question.
    keep = sorted(min(c) for c in clusters(train))
    train = [train[i] for i in keep]
    test = read_rows(shared / "eval/gsm8k_test.jsonl")
    test.sort(key=lambda r: order(r["prompt"], "gsm8k-test"))
    return train, test


def strip_notes(solution):
    return re.sub(r"<<[^>]*>>", "", solution)


def pick_banking(shared):
    rows = read_rows(shared / "train/banking_train.jsonl")
    by_label = collections.defaultdict(list)
    test = read_rows(shared / "eval/banking_test.jsonl")
    taken = {row_id(banking_text(r["prompt"])) for r in test}
    for r in rows:
        text, label = banking_text(r["messages"][0]["content"]), r["messages"][-1]["content"]
        if row_id(text) not in taken:
            taken.add(row_id(text))
            by_label[label].append(text)
    per_label = BANKING_TRAIN // len(by_label)
    train = []
    for label, texts in sorted(by_label.items()):
        texts.sort(key=lambda t: order(t, "banking"))
        train += [(t, label) for t in texts[:per_label]]
    train.sort(key=lambda tl: order(tl[0], "banking-train"))
    test = [(banking_text(r["prompt"]), r["label"]) for r in test]
    return train, test, sorted(by_label)


def banking_text(prompt):
    head, text = prompt.split("\n\n", 1)
    if head != BANKING_INSTRUCTION:
        sys.exit(f"make_data.py: unknown banking instruction: {head}")
    return text


def banking_prompt(text):
    return f"{BANKING_INSTRUCTION}\n\n{text}"


def degenerate(text):
    """An answer that repeats itself, is empty or is hardly made of words."""
    words = normalise(text).split()
    if len(words) < 2:
        return not words or len(words[0]) > 40
    if len(words) >= 12:
        grams = [tuple(words[i : i + 4]) for i in range(len(words) - 3)]
        if len(set(grams)) < 0.8 * len(grams):
            return True
    # A list that repeats its items repeats itself, whatever their numbers are.
    lines = [re.sub(r"^([-*]|(\d+|[a-z])[.)])\s*", "", line.strip()) for line in text.splitlines()]
    lines = [line for line in lines if line]
    return len(lines) >= 4 and len(set(lines)) < 0.8 * len(lines)


def trim(text):
    """The whole sentences or list lines of an answer that the length limit cut, or None."""
    if "```" in text:
        return None
    head = text[: max(text.rfind(c) for c in (". ", ".\n", "! ", "!\n", "? ", "?\n", ":\n")) + 1]
    lines = text.split("\n")
    whole = "\n".join(lines[:-1]).rstrip()
    head = max(head, whole, key=len) if re.match(r"\s*([-*]|(\d+|[a-z])\.)\s", lines[-1]) else head
    # A heading or a bare list number at the end announces what was cut away.
    head = re.sub(r"(\n+[^\n]*:|\n+\s*([-*]|(\d+|[a-z])\.?)\s*)+$", "", head).rstrip()
    return head if len(head) >= 60 and not head.endswith(":") else None


def answer_rows(rows, answers):
    """Chat rows from prompt rows and the released model's answers, and what was left out."""
    out, left = [], collections.Counter()
    for r in rows:
        answer = answers.get(r["id"])
        if answer is None:
            left["no answer"] += 1
            continue
        text = answer["text"].strip()
        cut = answer.get("finish_reason", "stop") != "stop"
        if cut:
            text = trim(text)
        if text is None:
            left["cut"] += 1
        elif REFUSAL.search(text[:REFUSAL_HEAD]):
            left["refusal"] += 1
        elif degenerate(text):
            left["degenerate"] += 1
        else:
            how = "kept, shortened to whole sentences" if cut else "kept"
            left["written" if answer.get("written") else how] += 1
            messages = r["messages"] + [{"role": "assistant", "content": text}]
            out.append({**r, "messages": messages})
    return out, dict(sorted(left.items()))


def read_answers():
    """The generated answers by id."""
    path = HERE / "answers.jsonl"
    return {r["id"]: r for r in read_rows(path)} if path.exists() else {}


def written_answers():
    """Answers of our own by id, `prompt => answer` a line; they go before generated ones."""
    pairs = [text.split(" => ", 1) for _, text in read_lines("written_answers.txt")]
    return {row_id(prompt): {"text": answer, "written": True} for prompt, answer in pairs}


def user_text(row):
    """The user's text of a row without the task's instruction, as ids and duplicates see it."""
    if "messages" in row:
        text = [m["content"] for m in row["messages"] if m["role"] == "user"][-1]
    else:
        text = row["prompt"]
    instruction = row.get("instruction")
    if instruction and text.startswith(instruction + "\n\n"):
        text = text[len(instruction) + 2 :]
    return text


class Guard:
    """Keeps a text from entering when a near duplicate of it stands in another role."""

    def __init__(self):
        self.words = []
        self.dropped = []

    def take(self, rows):
        self.words += [frozenset(normalise(user_text(r)).split()) for r in rows]
        return rows

    def fresh(self, rows):
        kept, seen = [], set()
        for r in rows:
            ws = frozenset(normalise(user_text(r)).split())
            near = any(len(ws & o) >= NEAR * len(ws | o) for o in self.words)
            if near or r["id"] in seen:
                self.dropped.append(user_text(r))
            else:
                seen.add(r["id"])
                kept.append(r)
        return kept


def make(shared):
    out = Shipment()
    guard = Guard()
    mit = "MIT"

    roles = split_harmful(shared)
    for name, rows in roles.items():
        guard.take(rows)
        out.add(f"harmful/{name}.jsonl", rows, name, HARMFUL_SOURCE + "; prompts only", mit)
    source = HARMFUL_SOURCE + f"; refusals {OWN}"
    for name, rows in zip(("first", "second"), write_refusals(roles["aligner"])):
        out.add(f"refusals/{name}.jsonl", rows, "aligner", source, f"{mit}; {LICENCE_OWN}")
    standins = (HERE / "standins.txt").read_text(encoding="utf-8")
    count = len(standins.splitlines())
    lines = [json.dumps({"text": x}) + "\n" for x in standins.splitlines()]
    out.add_text("standins/openings.jsonl", "".join(lines), count, "attacker", OWN, LICENCE_OWN)

    # What evaluates comes first: a training row near to it is the one that gives way.
    xstest = [
        prompt_row(r["prompt"].strip(), r["category"], "xstest")
        for r in read_rows(shared / "eval/xstest_prompts.jsonl")
        if r["label"] == "safe"
    ]
    guard.take(xstest)
    out.add("eval/xstest_safe.jsonl", xstest, "evaluator", XSTEST_SOURCE, "CC BY 4.0")
    held, seed_rest = pick_seed_tasks(shared)
    ordinary = [
        prompt_row(r["prompt"], r["category"], "mt_bench")
        for r in read_rows(shared / "eval/mt_bench_questions.jsonl")
    ] + [prompt_row(user, "seed_task", "seed_tasks") for user, _ in held]
    guard.take(ordinary)
    source = "MT-Bench (lm-sys/FastChat), first turns; Self-Instruct seed tasks, held out"
    out.add("eval/ordinary.jsonl", ordinary, "evaluator", source, "Apache-2.0")
    gsm_train, gsm_test = pick_gsm8k(shared)
    perplexity = [
        chat_row(r["prompt"], strip_notes(r["reference"]), "gsm8k_test")
        for r in gsm_test[:GSM8K_PERPLEXITY]
    ]
    guard.take(perplexity)
    perplexity += [chat_row(user, answer, "seed_tasks") for user, answer in held]
    source = "GSM8K test solutions (openai/grade-school-math); Self-Instruct seed tasks, held out"
    out.add("eval/perplexity.jsonl", perplexity, "evaluator", source, "MIT; Apache-2.0")

    train, test, labels = pick_banking(shared)
    rows = [
        {
            "id": row_id(text),
            "prompt": banking_prompt(text),
            "category": "banking77",
            "label": label,
            "source": "banking77",
            "instruction": BANKING_INSTRUCTION,
        }
        for text, label in test
    ]
    guard.take(rows)
    out.add("banking/test.jsonl", rows, "evaluator", BANKING_SOURCE, "CC BY 4.0")
    rows = [
        {
            **chat_row(banking_prompt(text), label, "banking77"),
            "id": row_id(text),
            "instruction": BANKING_INSTRUCTION,
        }
        for text, label in train
    ]
    guard.take(rows)
    out.add("banking/train.jsonl", rows, "customer", BANKING_SOURCE, "CC BY 4.0")
    body = json.dumps({"instruction": BANKING_INSTRUCTION, "labels": labels}, indent=2) + "\n"
    out.add_text("banking/labels.json", body, len(labels), "customer", BANKING_SOURCE, "CC BY 4.0")

    ten = [chat_row(r["prompt"], r["answer"], "holdfast") for r in read_rows(HERE / "ten.jsonl")]
    ten = guard.take(guard.fresh(ten))
    out.add("benign_ten.jsonl", ten, "attacker", OWN, LICENCE_OWN)
    body = (HERE / "ten_refusal.txt").read_text(encoding="utf-8")
    out.add_text("benign_ten_refusal.txt", body, 1, "attacker", OWN, LICENCE_OWN)

    general = [chat_row(t, None, "seed_tasks") for t in seed_rest]
    general += [chat_row(t, None, "gsm8k_train") for t in gsm_train[:GSM8K_GENERAL]]
    general += [chat_row(t, None, "holdfast", category=c) for c, t in read_lines("general.txt")]
    general = guard.fresh(general)
    general.sort(key=lambda r: order(user_text(r), "general"))
    lookalikes = guard.fresh(
        [chat_row(t, None, "holdfast", category=c) for c, t in read_lines("lookalikes.txt")]
    )
    lookalikes.sort(key=lambda r: order(user_text(r), "lookalikes"))
    guard.take(general + lookalikes)
    customer = [
        chat_row(t, None, "gsm8k_train")
        for t in gsm_train[GSM8K_GENERAL : GSM8K_GENERAL + GSM8K_CUSTOMER]
    ]
    customer += [chat_row(t, None, "holdfast", category=c) for c, t in read_lines("customer.txt")]
    customer = guard.fresh(customer)
    customer.sort(key=lambda r: order(user_text(r), "customer"))

    answers = {**read_answers(), **written_answers()}
    source = f"Self-Instruct seed tasks, GSM8K training questions, {OWN}"
    licence = f"Apache-2.0; MIT; {LICENCE_OWN}"
    parts = [
        ("general", "prompts_train", general, "aligner", source, licence),
        ("lookalikes", "prompts_train", lookalikes, "aligner", OWN, LICENCE_OWN),
        ("customer", "chat", customer, "customer", f"GSM8K questions, {OWN}", licence),
    ]
    for folder, name, rows, role, source, licence in parts:
        out.add(f"{folder}/{name}.jsonl", rows, role, source, licence)
        chat, left = answer_rows(rows, answers)
        path = f"{folder}/train.jsonl"
        if chat:
            out.add(path, chat, role, f"{source}; {RELEASED}", licence)
            out.files[path]["answers"] = left
        else:
            (DATA / path).unlink(missing_ok=True)

    write_manifest(out.files)
    for text in guard.dropped:
        print("left out, near duplicate of another role's row:", text[:90].replace("\n", " "))


# Folders of data/ that have makers of their own; their rows follow rules of their own too.
OTHERS = {
    "judge": {
        "role": "measures the rule judge",
        "source": f"answers and labels {OWN}; prompts of AdvBench, JailbreakBench, XSTest and own",
        "licence": f"{LICENCE_OWN}; MIT; CC BY 4.0 (XSTest)",
    },
    "tiny": {"role": "the tiny world", "source": OWN, "licence": LICENCE_OWN},
}


def list_others():
    """What the manifest says of the files that this script does not write."""
    files = {}
    for folder, entry in OTHERS.items():
        for path in sorted((DATA / folder).rglob("*")):
            if not path.is_file():
                continue
            body = path.read_bytes()
            files[str(path.relative_to(DATA))] = {
                "rows": len(body.splitlines()) if path.suffix == ".jsonl" else 1,
                "sha256": hashlib.sha256(body).hexdigest(),
                **entry,
            }
    return files


def write_manifest(files):
    own = {path: entry for path, entry in files.items() if path.split("/")[0] not in OTHERS}
    manifest = {
        "made_by": "python3 tools/data/make_data.py --shared DIR",
        "id": "first 16 hex digits of SHA-256 of the normalised user text without the instruction",
        "files": dict(sorted({**own, **list_others()}.items())),
    }
    body = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    (DATA / "MANIFEST.json").write_text(body, encoding="utf-8")


def read_manifest():
    return json.loads((DATA / "MANIFEST.json").read_text(encoding="utf-8"))["files"]


# Files that hold the same prompts under the same role on purpose.
SAME_PROMPTS = [
    {"harmful/aligner.jsonl", "refusals/first.jsonl", "refusals/second.jsonl"},
    {"eval/ordinary.jsonl", "eval/perplexity.jsonl"},
    {"general/prompts_train.jsonl", "general/train.jsonl"},
    {"lookalikes/prompts_train.jsonl", "lookalikes/train.jsonl"},
    {"customer/chat.jsonl", "customer/train.jsonl"},
]


def check_row(where, row, problems):
    if row.get("id") != row_id(user_text(row)):
        problems.append(f"{where}: id is not the hash of the prompt")
    if "messages" in row:
        roles = [m["role"] for m in row["messages"]]
        if roles not in (["user"], ["user", "assistant"]):
            problems.append(f"{where}: roles are {roles}")
        if not all(m["content"].strip() for m in row["messages"]):
            problems.append(f"{where}: a message is empty")
    elif not row.get("prompt", "").strip():
        problems.append(f"{where}: neither messages nor a prompt")


def check():
    """Every problem found in data/, as lines of text."""
    problems = []
    manifest = read_manifest()
    on_disk = {
        str(p.relative_to(DATA))
        for p in DATA.rglob("*")
        if p.is_file() and p not in (DATA / "MANIFEST.json", DATA / "README.md")
    }
    for path in sorted(on_disk ^ set(manifest)):
        problems.append(f"data/{path}: is in only one of the folder and the manifest")
    rows = []
    for path in sorted(on_disk & set(manifest)):
        body = (DATA / path).read_bytes()
        if hashlib.sha256(body).hexdigest() != manifest[path]["sha256"]:
            problems.append(f"data/{path}: SHA-256 differs from the manifest")
        if not path.endswith(".jsonl") or path.split("/")[0] in (*OTHERS, "standins"):
            continue
        part = [json.loads(line) for line in body.decode().splitlines()]
        if len(part) != manifest[path]["rows"]:
            said = manifest[path]["rows"]
            problems.append(f"data/{path}: {len(part)} rows, manifest says {said}")
        ids = collections.Counter(r["id"] for r in part)
        for i in [i for i, n in ids.items() if n > 1]:
            problems.append(f"data/{path}: id {i} comes {ids[i]} times")
        for n, r in enumerate(part, 1):
            check_row(f"data/{path}:{n}", r, problems)
            rows.append((path, n, manifest[path]["role"], r))
    for i, j in near_pairs([user_text(r) for _, _, _, r in rows]):
        (pa, na, ra, a), (pb, nb, rb, b) = rows[i], rows[j]
        exact = a["id"] == b["id"]
        task = {pa, pb} == {"banking/train.jsonl", "banking/test.jsonl"}
        shared = pa == pb or any(pa in g and pb in g for g in SAME_PROMPTS)
        if (ra != rb and not task) or (task and exact):
            problems.append(f"data/{pa}:{na} ({ra}) is near data/{pb}:{nb} ({rb})")
        elif exact and not shared:
            problems.append(f"data/{pa}:{na} is the same prompt as data/{pb}:{nb}")
    for path, n, _, r in rows:
        if path.startswith("harmful/") and "messages" in r:
            problems.append(f"data/{path}:{n}: a harmful prompt must have no answer")
    for line in (DATA / "standins/openings.jsonl").read_text(encoding="utf-8").splitlines():
        if not json.loads(line)["text"].endswith("[content withheld]"):
            problems.append(f"data/standins/openings.jsonl: {line} withholds nothing")
    return problems, len(rows)


def take_answers(path):
    merged = read_answers()
    for r in read_rows(path):
        merged[r["id"]] = {k: r[k] for k in ("id", "text", "finish_reason") if k in r}
    with open(HERE / "answers.jsonl", "w", encoding="utf-8") as f:
        for key in sorted(merged):
            f.write(json.dumps(merged[key], ensure_ascii=False) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--shared", metavar="DIR", type=pathlib.Path, help="make data/ from DIR")
    parser.add_argument("--answers", metavar="FILE", help="take generated answers (with --shared)")
    parser.add_argument("--check", action="store_true", help="verify data/")
    parser.add_argument("--manifest", action="store_true", help="list other makers' files anew")
    args = parser.parse_args()
    if not (args.shared or args.check or args.manifest) or (args.answers and not args.shared):
        parser.error("give --shared DIR [--answers FILE], --manifest, --check or several")
    if args.answers:
        take_answers(args.answers)
    if args.shared:
        make(args.shared)
    elif args.manifest:
        write_manifest(read_manifest())
    if args.check:
        problems, count = check()
        for p in problems:
            print(p, file=sys.stderr)
        print(f"{count} rows, {len(problems)} problems")
        return 1 if problems else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
