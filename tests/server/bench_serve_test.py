"""hadal bench serve against hadal serve: its counts are the server's."""

import json
import pathlib
import subprocess
import tempfile

import support
from support import ServerTest


class BenchServeTest(ServerTest):
    def bench(self, *args: str | pathlib.Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [support.hadal, "bench", "serve", "--port", str(self.server.port), *args],
            capture_output=True,
            text=True,
            env=support.environment(),
            timeout=support.ANSWER_S,
        )

    def generated(self) -> int:
        return self.server.get("/api/status")["tokens"]["generated"]

    def test_random_prompts(self) -> None:
        before = self.generated()
        done = self.bench(
            "--num-prompts", "7", "--random-input-len", "20", "--random-output-len", "9", "--ignore-eos", "--json"
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        report = json.loads(done.stdout)
        self.assertEqual((report["completed"], report["failed"]), (7, 0))
        self.assertEqual((report["total_input_tokens"], report["total_output_tokens"]), (7 * 20, 7 * 9))
        self.server.wait_idle()
        self.assertEqual(self.generated() - before, 7 * 9)
        self.assertLess(0, report["mean_ttft_ms"])
        self.assertLessEqual(report["median_ttft_ms"], report["p99_ttft_ms"])
        self.assertLessEqual(report["p99_ttft_ms"], report["p99_e2el_ms"])
        self.assertLessEqual(report["p99_e2el_ms"], 1000 * report["duration"])

    def test_chat_by_a_rate_from_a_file(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "prompts.jsonl"
            path.write_text(
                '{"prompt": "Hello", "output_tokens": 3}\n\n{"prompt": "Tell me a story"}\n', encoding="utf-8"
            )
            done = self.bench(
                "--endpoint",
                "/v1/chat/completions",
                "--dataset-name",
                "file",
                "--dataset-path",
                path,
                "--num-prompts",
                "4",
                "--request-rate",
                "40",
                "--max-concurrency",
                "1",
                "--random-output-len",
                "5",
                "--ignore-eos",
            )
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = done.stdout.splitlines()
        self.assertEqual(lines[0], " Serving Benchmark Result ".center(50, "="))
        rows = dict(line.rsplit(":", 1) for line in lines if ":" in line)
        self.assertEqual(rows["Successful requests"].strip(), "4")
        self.assertEqual(rows["Total generated tokens"].strip(), str(2 * 3 + 2 * 5))
        for name in (
            "Request throughput (req/s)",
            "Mean TTFT (ms)",
            "Median TPOT (ms)",
            "P99 ITL (ms)",
            "P99 E2EL (ms)",
        ):
            self.assertGreater(float(rows[name]), 0, name)

    def test_failures(self) -> None:
        done = self.bench("--num-prompts", "2", "--random-input-len", "600")
        self.assertEqual(done.returncode, 1)
        self.assertIn("2 of 2 requests failed", done.stderr)
        self.assertIn("maximum context length", done.stderr)
        self.assertIn("Failed requests:                         2", done.stdout)
        nobody = subprocess.run(
            [support.hadal, "bench", "serve", "--base-url", "http://127.0.0.1:1"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual(nobody.returncode, 1)
        self.assertRegex(nobody.stderr, r"http://127\.0\.0\.1:1/v1/models\n  cannot be read: Connection refused\n$")
        for wrong in (
            ["--base-url", "https://x"],
            ["--base-url", "http://x:y"],
            ["--dataset-name", "file"],
            ["--request-rate", "0"],
        ):
            done = self.bench(*wrong)
            self.assertEqual(done.returncode, 2, (wrong, done.stderr))
