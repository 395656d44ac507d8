#!/usr/bin/env python3
"""hadal serve and llama-server in turn, each under `hadal bench serve`: a model of the same shape, the same requests.

    bench/peers/llama_cpp.sh
    tools/make_checkpoint.py --preset v2-lite --format fp8 --tokenizer models/tiny-chat --out build/peers/v2-lite-fp8
    hadal quantize build/peers/v2-lite-fp8 build/peers/v2-lite-int4 --format int4
    bench/peers/serve.py > bench/results/NAME.serve.json && tools/benchmarks.py

Answers of random weights are text to llama-server and mostly no text to hadal, whose tokenizer here is a small model's: so the times
of first tokens cannot be compared, whole answers can. Each round starts either server afresh for each number of users. What is compared are the medians. Run it alone on the machine.
"""
import argparse
import contextlib
import datetime
import json
import pathlib
import socket
import statistics
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FIGURES = ("output_throughput", "mean_ttft_ms", "mean_tpot_ms")
LONGEST_START_S = 300


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def running(command: list, url: str):
    """The server, once it is ready."""
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + LONGEST_START_S
        while True:
            if process.poll() is not None or time.monotonic() > end:
                sys.exit(f"{' '.join(map(str, command))}\ndoes not start")
            with contextlib.suppress(OSError):
                if urllib.request.urlopen(f"{url}/health", timeout=5).status == 200:
                    break
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait()


def measure(args, name: str, users: int) -> dict:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    room = users * (args.input_len + args.output_len + 64)
    common = ["--port", port, "-t", args.threads, "-np", users]
    commands = {
        "hadal": [args.hadal, "serve", "-m", args.peers / "v2-lite-int4", *common, "--kv-cache-tokens", room],
        "llama.cpp": [args.peers / "llama.cpp/build/bin/llama-server", "-m", args.peers / "v2-lite-q4_0.gguf", *common, "-c", room],
    }
    load = [args.hadal, "bench", "serve", "--base-url", url, "--num-prompts", users, "--max-concurrency", users]
    load += ["--random-input-len", args.input_len, "--random-output-len", args.output_len, "--ignore-eos", "--json"]
    with running(commands[name], url):
        done = subprocess.run([str(word) for word in load], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{name}, {users} users:\n{done.stderr}")
    result = json.loads(done.stdout)
    tokens = result["total_output_tokens"]
    if tokens != users * args.output_len:
        sys.exit(f"{name}, {users} users: {tokens} tokens of {users * args.output_len}")
    return {figure: result[figure] for figure in FIGURES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hadal", type=pathlib.Path, default=ROOT / "build/hadal")
    parser.add_argument("--peers", type=pathlib.Path, default=ROOT / "build/peers", help="where the models and llama.cpp are")
    parser.add_argument("--users", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--input-len", type=int, default=64)
    parser.add_argument("--output-len", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    samples = {users: {"llama.cpp": [], "hadal": []} for users in args.users}
    for number in range(args.rounds):
        for users, by_name in samples.items():
            for name, results in by_name.items():
                results.append(measure(args, name, users))
                print(f"round {number + 1}: {users} users, {name}: {results[-1]}", file=sys.stderr)
    lines = []
    for users, by_name in samples.items():
        medians = {
            name: {figure: statistics.median(result[figure] for result in results) for figure in FIGURES}
            for name, results in by_name.items()
        }
        lines.append({"users": users, **medians, "samples": by_name})
    version = args.peers / "version"
    result = {
        "date": datetime.date.today().isoformat(),
        "peer_server": version.read_text().strip() if version.exists() else "llama.cpp",
        **{key: getattr(args, key) for key in ("threads", "rounds", "input_len", "output_len")},
        "lines": lines,
    }
    json.dump(result, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
