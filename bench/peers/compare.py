#!/usr/bin/env python3
"""hadal and llama.cpp in turn on the same shapes, and how many times faster hadal is.

    bench/peers/llama_cpp.sh && bench/peers/compare.py --rounds 5 > bench/results/NAME.peers.json && tools/benchmarks.py

Each round runs every line once with either program, one after the other, so that a noisy machine disturbs both; what is
compared are the medians. Run it alone on the machine.
"""

import argparse
import datetime
import json
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

# What is compared: the model's shape, prompt or depth, users.
LINES = [
    {"phase": "prefill", "shape": "v2-lite", "bits": 4, "prompt": 512},
    {"phase": "prefill", "shape": "v2-lite", "bits": 4, "prompt": 2048},
    {"phase": "decode", "shape": "v2-lite", "bits": 4, "depth": 0, "users": 1},
    {"phase": "decode", "shape": "v2-lite", "bits": 4, "depth": 2048, "users": 1},
    {"phase": "decode", "shape": "v2-lite", "bits": 4, "depth": 0, "users": 16},
    {"phase": "prefill", "shape": "v2-lite", "bits": 8, "prompt": 512},
    {"phase": "decode", "shape": "v2-lite", "bits": 8, "depth": 0, "users": 1},
    {"phase": "decode", "shape": "v2-lite", "bits": 8, "depth": 0, "users": 16},
    {"phase": "decode", "shape": "tiny", "bits": 4, "depth": 0, "users": 1},
]
GEN = 24


def output_of(command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr[-2000:]}")
    return done.stdout


def hadal(args, line):
    command = [args.hadal, "bench", "--synthetic", line["shape"], "--format", f"int{line['bits']}", "--repeat", 1, "--json"]
    command += ["--threads", args.threads]
    if line["phase"] == "prefill":
        command += ["--prompt", line["prompt"], "--gen", 1]
    else:
        command += ["--depth", line["depth"], "--batch", line["users"], "--gen", GEN]
    runs = json.loads(output_of(command))["runs"]
    return next(run["tok_s"]["median"] for run in runs if run["phase"] == line["phase"])


def llama(args, line):
    tools = args.peers / "llama.cpp/build/bin"
    model = args.peers / f"{line['shape']}-q{line['bits']}_0.gguf"
    common = ["-m", model, "-t", args.threads]
    if line.get("users", 1) > 1:
        users = line["users"]
        command = [tools / "llama-batched-bench", *common, "-c", 64 * users, "-npp", 1, "-ntg", GEN, "-npl", users]
        for text in output_of([*command, "--output-format", "jsonl"]).splitlines():
            if text.startswith("{"):
                return json.loads(text)["speed_tg"]
        sys.exit("llama-batched-bench printed no result")
    work = ["-p", line["prompt"], "-n", 0] if line["phase"] == "prefill" else ["-p", 0, "-n", GEN, "-d", line["depth"]]
    return json.loads(output_of([tools / "llama-bench", *common, *work, "-r", 1, "-o", "json"]))[0]["avg_ts"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hadal", type=pathlib.Path, default=ROOT / "build/hadal")
    parser.add_argument("--peers", type=pathlib.Path, default=ROOT / "build/peers", help="what llama_cpp.sh has made")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", help="phase or bits or shape: lines whose description contains it")
    args = parser.parse_args()
    lines = [line for line in LINES if args.only in " ".join(f"{k}={v}" for k, v in line.items())]
    speeds = [{"hadal": [], "llama.cpp": []} for _ in lines]
    for number in range(args.rounds):
        for line, speed in zip(lines, speeds):
            speed["llama.cpp"].append(llama(args, line))
            speed["hadal"].append(hadal(args, line))
            print(f"round {number + 1}: {line} {({k: v[-1] for k, v in speed.items()})}", file=sys.stderr)
    version = args.peers / "version"
    result = {
        "date": datetime.date.today().isoformat(),
        "peer": version.read_text().strip() if version.exists() else "llama.cpp",
        "threads": args.threads,
        "rounds": args.rounds,
        "lines": [
            {**line, **{name: statistics.median(values) for name, values in speed.items()}, "samples": speed}
            for line, speed in zip(lines, speeds)
        ],
    }
    json.dump(result, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
