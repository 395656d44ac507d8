#!/usr/bin/env python3
"""Makes tests/golden/ from the goldens' source folder: some cases, whole checkpoints, the expected values we compare.

    tools/golden/select.py SOURCE [tests/golden]

SOURCE holds one folder for each case: a tiny random checkpoint in Hugging Face form, golden.safetensors and
golden.json. Each case gets a MANIFEST.json with where it comes from and the SHA-256 of each file;
tests/manifest_test.cc checks them. Standard library only, and the same input gives the same bytes.
"""
import argparse
import hashlib
import json
import pathlib
import re
import shutil
import struct

CASES = {
    "v2": "V2: query latent, softmax scores, group-limited greedy routing, YaRN",
    "v2lite": "V2-Lite: one q_proj, greedy routing, the real 512 + 64 latent, a prompt beyond 512 tokens",
    "v31_fp8_ue8m0": "V3.1: FP8 weights whose block scales and activation scales are powers of two",
    "v3_fp8": "V3: FP8 in two shards with ragged blocks, biased sigmoid routing in groups, one MTP layer",
}
# Expected values that no test of ours reads: other orders, other precisions and deliberately wrong variants.
DROPPED = [
    r"\.k_rope_halves$",
    r"\.logits_bf16$",
    r"\.logits_dequant_bf16$",
    r"\.logits_w8a8_ue8m0_official_mixed$",
    r"\.mtp_logits_prenorm_variant$",
]
ORIGIN = (
    "Random weights, so text is meaningless. Expected values: an independent FP32 re-derivation of the model, which "
    "agrees with transformers' and the official code on the same checkpoint to crosscheck_max_abs_diff in golden.json."
)


def select_tensors(source: pathlib.Path, target: pathlib.Path) -> list[str]:
    """Copies a safetensors file without the DROPPED tensors; returns the names left out."""
    image = source.read_bytes()
    (header_bytes,) = struct.unpack("<Q", image[:8])
    header = json.loads(image[8 : 8 + header_bytes])
    header.pop("__metadata__", None)
    entries, data, dropped = {}, bytearray(), []
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        if any(re.search(pattern, name) for pattern in DROPPED):
            dropped.append(name)
            continue
        begin, end = (8 + header_bytes + offset for offset in entry["data_offsets"])
        entries[name] = entry | {"data_offsets": [len(data), len(data) + end - begin]}
        data += image[begin:end]
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    target.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return sorted(dropped)


def sha256(file: pathlib.Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def select_case(source: pathlib.Path, target: pathlib.Path, what: str) -> int:
    """Writes one case; returns its size in bytes."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for file in sorted(source.iterdir()):
        if file.name != "golden.safetensors":
            shutil.copyfile(file, target / file.name)
    dropped = select_tensors(source / "golden.safetensors", target / "golden.safetensors")
    golden = json.loads((source / "golden.json").read_text())
    files = sorted(target.iterdir())
    manifest = {
        "what": what,
        "script": "tools/golden/select.py",
        "origin": ORIGIN,
        "seed": golden["seed"],
        "source_golden_sha256": sha256(source / "golden.safetensors"),
        "left_out": dropped,
        "sha256": {file.name: sha256(file) for file in files},
    }
    (target / "MANIFEST.json").write_text(json.dumps(manifest, indent=2) + "\n")
    return sum(file.stat().st_size for file in target.iterdir())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("target", type=pathlib.Path, nargs="?", default=pathlib.Path("tests/golden"))
    args = parser.parse_args()
    total = sum(select_case(args.source / case, args.target / case, what) for case, what in CASES.items())
    print(f"{len(CASES)} cases, {total / 1e6:.1f} MB")
