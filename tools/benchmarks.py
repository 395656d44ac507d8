#!/usr/bin/env python3
"""Writes docs/benchmarks.md from bench/results/*.json; with --check, says whether the page is what it would write.

A result is what `hadal bench --json`, bench/peers/compare.py or bench/peers/serve.py prints, under a name that says where and
when: 2026-11-22-xeon-8488c.json, 2026-11-22-xeon-8488c.peers.json, 2026-11-22-xeon-8488c.serve.json.
"""
import argparse
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
RESULTS = ROOT / "bench" / "results"

INTRODUCTION = """\
# Benchmarks

For whoever wants to know how fast hadal is, and how fast it could be. The tables are made by `tools/benchmarks.py` from `bench/results/`; do not edit them here.

```sh
hadal bench --synthetic v2-lite --format int4 --prompt 512,2048 --gen 128 --depth 0,2048,8192 --batch 1,4,16 --repeat 5 --json > bench/results/NAME.json
tools/benchmarks.py
```

**tok/s** is the median of all repeats, with the slowest and the fastest. **limit** is the speed that no program can beat on that machine: for each part of a step (attention, experts, ...) the bytes that it
has to read over the measured memory bandwidth, or its multiplications over the measured rate of the fastest instruction, whichever takes longer. Both limits are measured in the same run, by
all threads together. Bytes and operations are arithmetic over shapes and formats (`hadal/model/cost.cc`); a batch reads as many experts as it chooses on average. Weights of synthetic models
are random, and so is what a sequence with a depth has in its cache; neither makes a difference to the time.

`hadal plan` does the same arithmetic for a machine that is only described, `hadal doctor` says what this one is.
"""
HEADER = (
    "| phase | format | KV cache | prompt | depth | batch | tok/s | min – max | limit | % of limit | GB/s | TFLOP/s |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|\n"
)


def row(run: dict) -> str:
    speed = run["tok_s"]
    cells = [
        *(run["phase"], run["format"], run.get("kv_cache", "bfloat16")),
        *(run[key] for key in ("prompt", "depth", "batch")),
        *(f"{speed['median']:g}", f"{speed['min']:g} – {speed['max']:g}"),
        *(f"{run[key]:g}" for key in ("predicted_tok_s", "percent_of_limit", "gb_s", "tflop_s")),
    ]
    return "| " + " | ".join(str(cell) for cell in cells) + " |\n"


def peers_section(name: str, result: dict) -> str:
    text = f"\n## {name}\n\nhadal and {result['peer']} in turn, {result['threads']} threads, medians of {result['rounds']} rounds, "
    text += "tokens/s, a model of V2-Lite's shape or a tiny one of 26 layers (`bench/peers/compare.py`):\n\n"
    text += "| | bits | prompt | depth | users | hadal | llama.cpp | ratio |\n|---|---|---|---|---|---|---|---|\n"
    for line in result["lines"]:
        cells = [f"{line['shape']} {line['phase']}", line["bits"], line.get("prompt", ""), line.get("depth", "")]
        cells += [line.get("users", 1), f"{line['hadal']:.4g}", f"{line['llama.cpp']:.4g}"]
        cells.append(f"{line['hadal'] / line['llama.cpp']:.2f}")
        text += "| " + " | ".join(str(cell) for cell in cells) + " |\n"
    return text


def servers_section(name: str, result: dict) -> str:
    text = f"\n## {name}\n\n`hadal serve` and llama-server ({result['peer_server']}) in turn under `hadal bench serve`, V2-Lite's shape in 4 bits, "
    text += f"{result['threads']} threads, as many requests at once as there are users, each with a prompt of {result['input_len']} tokens and "
    text += f"{result['output_len']} tokens of answer; prompts included; medians of {result['rounds']} rounds (`bench/peers/serve.py`):\n\n"
    text += "| users | output tokens/s, hadal | llama-server | ratio |\n|---|---|---|---|\n"
    for line in result["lines"]:
        ours, theirs = line["hadal"], line["llama.cpp"]
        cells = [line["users"], *(f"{side['output_throughput']:.4g}" for side in (ours, theirs))]
        cells.append(f"{ours['output_throughput'] / theirs['output_throughput']:.2f}")
        text += "| " + " | ".join(str(cell) for cell in cells) + " |\n"
    return text


def section(file: pathlib.Path) -> str:
    result = json.loads(file.read_text(encoding="utf-8"))
    if "peer_server" in result:
        return servers_section(file.stem, result)
    if "peer" in result:
        return peers_section(file.stem, result)
    machine = result["machine"]
    rates = ", ".join(f"{unit} {rate:g}" for unit, rate in machine["tflop_s"].items())
    text = f"\n## {file.stem}\n\n{machine['cpu']}, {machine['threads']} threads, {machine['isa']} kernels; "
    text += f"reads {machine['read_gb_s']:g} GB/s; {rates} TFLOP/s.\n"
    for model in dict.fromkeys(run["model"] for run in result["runs"]):
        text += f"\n{model}:\n\n{HEADER}" + "".join(row(run) for run in result["runs"] if run["model"] == model)
    return text


def page() -> str:
    files = sorted(RESULTS.glob("*.json"), reverse=True)
    return INTRODUCTION + ("".join(section(file) for file in files) or "\nNo results are recorded yet.\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the page is another")
    if not parser.parse_args().check:
        PAGE.write_text(page(), encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
        sys.exit("docs/benchmarks.md is not what bench/results makes: run tools/benchmarks.py")
