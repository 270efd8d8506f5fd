"""compare.py: two folders of golden files: numbers within 1e-5 of each other, all else the same.

Usage: python compare.py EXPECTED FOUND    (needs numpy, safetensors)

Looks at every .json, .safetensors and .gguf file below golden/ and methods/golden/ of EXPECTED.
Exits 1 when one differs, and names where.
"""

import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

BAR = 1e-5


def differences(a, b, where=""):
    """Places where two JSON values differ; numbers by their distance over the larger of 1 and |a|."""
    if isinstance(a, dict) and isinstance(b, dict):
        if a.keys() != b.keys():
            yield f"{where}: other keys"
        for k in a.keys() & b.keys():
            yield from differences(a[k], b[k], f"{where}.{k}")
    elif isinstance(a, list) and isinstance(b, list):
        if where.endswith("target_modules"):  # peft writes a set
            a, b = sorted(a), sorted(b)
        if len(a) != len(b):
            yield f"{where}: {len(a)} items, found {len(b)}"
        for i, (x, y) in enumerate(zip(a, b)):
            yield from differences(x, y, f"{where}[{i}]")
    elif type(a) in (int, float) and type(b) in (int, float) and (float in (type(a), type(b))):
        if not abs(a - b) <= BAR * max(1, abs(a)):
            yield f"{where}: {a}, found {b}"
    elif a != b and not where.endswith("transformers_version"):
        yield f"{where}: {a!r}, found {b!r}"


def tensors_differ(a, b):
    if a.keys() != b.keys():
        yield "other tensors"
    for k in a.keys() & b.keys():
        if a[k].shape != b[k].shape or a[k].dtype != b[k].dtype:
            yield f"{k}: {a[k].shape} {a[k].dtype}, found {b[k].shape} {b[k].dtype}"
            continue
        off = np.abs(a[k].astype(np.float64) - b[k].astype(np.float64))
        if not (off <= BAR * np.maximum(1, np.abs(a[k]))).all():
            yield f"{k}: off by {off.max():.1e}"


def compare(expected, found):
    if not found.exists():
        return ["is missing"]
    if expected.suffix == ".json":
        return list(differences(json.loads(expected.read_text()), json.loads(found.read_text())))
    if expected.suffix == ".safetensors":
        return list(tensors_differ(load_file(expected), load_file(found)))
    return [] if expected.read_bytes() == found.read_bytes() else ["other bytes"]


def main():
    expected, found = Path(sys.argv[1]), Path(sys.argv[2])
    n = bad = 0
    for folder in ("golden", "methods/golden"):
        for path in sorted((expected / folder).rglob("*")):
            if path.suffix not in (".json", ".safetensors", ".gguf"):
                continue
            n += 1
            problems = compare(path, found / path.relative_to(expected))
            for p in problems[:5]:
                print(f"{path.relative_to(expected)}: {p}")
            bad += bool(problems)
    print(f"{n} files compared, {bad} differ")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
