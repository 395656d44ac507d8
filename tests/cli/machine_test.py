"""bench, doctor, plan: the shape of their reports. How fast something is, no test asks."""
import json
import os
import resource
import subprocess

import support
from support import ROOT, TINY_CHAT, CliTest, Terminal

CONFIGS = ROOT / "tests" / "data" / "configs"
LIMITS = {"cpu", "threads", "isa", "read_gb_s", "tflop_s"}
PARTS = {"attention", "experts", "dense", "head", "sampling", "other"}
RUN = {
    *("phase", "model", "format", "kv_cache", "prompt", "depth", "batch", "gen", "threads", "repeats", "tokens", "tok_s"),
    *("predicted_tok_s", "percent_of_limit", "gb_s", "tflop_s", "bytes_per_token", "flops_per_token", "seconds"),
}
SMALL = ("--prompt", "8", "--gen", "2", "--repeat", "2", "--threads", "2")


class Bench(CliTest):
    def bench(self, *flags: str) -> dict:
        result = self.ok("bench", *flags, "--json")
        self.assertEqual(result.err, "")
        return json.loads(result.out)

    def test_json_of_a_checkpoint(self) -> None:
        report = self.bench("--model", str(TINY_CHAT), *SMALL, "--depth", "0,70", "--batch", "1,3")
        self.assertEqual(set(report), {"machine", "runs"})
        self.assertEqual(set(report["machine"]), LIMITS)
        self.assertEqual(report["machine"]["threads"], 2)
        shapes = [(run["phase"], run["prompt"], run["depth"], run["batch"]) for run in report["runs"]]
        decode = [("decode", 0, depth, batch) for depth in (0, 70) for batch in (1, 3)]
        self.assertEqual(shapes, [("prefill", 8, 0, 1), *decode])
        for run in report["runs"]:
            self.assertEqual(set(run), RUN)
            self.assertEqual(run["format"], "bf16")
            self.assertEqual(run["kv_cache"], "bfloat16")
            self.assertEqual(run["repeats"], 2)
            speed = run["tok_s"]
            self.assertLessEqual(0, speed["min"])
            self.assertLessEqual(speed["min"], speed["median"])
            self.assertLessEqual(speed["median"], speed["max"])
            self.assertEqual(set(run["seconds"]), PARTS)
            self.assertGreater(run["bytes_per_token"], 0)
        self.assertEqual(report["runs"][4]["tokens"], 6)
        self.assertLess(report["runs"][4]["bytes_per_token"], report["runs"][3]["bytes_per_token"])

    def test_formats_of_the_cache(self) -> None:
        flags = ("--prompt", "0", "--gen", "1", "--depth", "400", "--repeat", "1")
        sizes = {}
        for chosen, name in (("auto", "bfloat16"), ("bfloat16", "bfloat16"), ("fp8", "fp8"), ("fp8_e4m3", "fp8")):
            (run,) = self.bench(*flags, "--kv-cache-dtype", chosen)["runs"]
            self.assertEqual(run["kv_cache"], name)
            sizes[chosen] = run["bytes_per_token"]
        self.assertEqual((sizes["auto"], sizes["fp8"]), (sizes["bfloat16"], sizes["fp8_e4m3"]))
        # tiny-chat's rows have 64 + 16 numbers: 160 bytes, or 64 + 4 + 32 rounded up to 112. The report has four digits.
        self.assertAlmostEqual(sizes["auto"] - sizes["fp8"], 401 * 4 * (160 - 112), delta=sizes["auto"] / 1000)
        self.assertIn("KV cache in fp8", self.ok("bench", *flags, "--kv-cache-dtype", "fp8").out)
        (run,) = self.bench(*flags, "--dtype", "float32")["runs"]
        self.assertEqual(run["kv_cache"], "float32")

    def test_synthetic_formats(self) -> None:
        flags = ("--synthetic", "tiny", *SMALL)
        size = {}
        for name in ("bf16", "fp8", "int8", "int4"):
            report = self.bench(*flags, "--format", name)
            self.assertEqual({run["format"] for run in report["runs"]}, {name})
            self.assertEqual({run["model"] for run in report["runs"]}, {"synthetic tiny"})
            size[name] = report["runs"][1]["bytes_per_token"]
        self.assertLess(size["int4"], size["int8"])
        self.assertLess(size["fp8"], size["bf16"])

    def test_text_and_markdown(self) -> None:
        text = self.ok("bench", *SMALL).out
        self.assertRegex(text, r"(?m)^prefill +8 ")
        self.assertRegex(text, r"(?m)^decode ")
        table = self.ok("bench", *SMALL, "--markdown").out
        self.assertEqual(sum(line.startswith("|") for line in table.splitlines()), 4)

    def test_none_of_a_phase(self) -> None:
        self.assertEqual([run["phase"] for run in self.bench("--prompt", "0", "--gen", "1")["runs"]], ["decode"])
        self.assertEqual([run["phase"] for run in self.bench("--prompt", "4", "--gen", "0")["runs"]], ["prefill"])

    def test_profile_is_a_chrome_trace(self) -> None:
        file = self.folder / "trace.json"
        self.ok("bench", *SMALL, "--profile", str(file))
        events = json.loads(file.read_text())
        self.assertEqual({event["ph"] for event in events}, {"X"})
        self.assertEqual({event["cat"] for event in events}, {"prefill", "decode"})
        self.assertLessEqual({event["name"] for event in events}, PARTS)
        self.assertEqual(min(event["ts"] for event in events), 0)
        result = self.run_failing("bench", *SMALL, "--profile", str(self.folder / "no" / "trace.json"))
        self.assertIn("cannot be written", result.err)

    def test_wrong_command_lines(self) -> None:
        self.usage_error("bench", "--synthetic", "v9", says=["v2-lite", "v9"])
        self.usage_error("bench", "--synthetic", "tiny", "--model", str(TINY_CHAT), says=["--model"])
        self.usage_error("bench", "--format", "int4", says=["--synthetic"])
        self.usage_error("bench", "--synthetic", "tiny", "--format", "q4", says=["q4"])
        self.usage_error("bench", "--prompt", "100000", says=["--prompt", "max_position_embeddings"])
        self.usage_error("bench", "--depth", "511", "--gen", "2", says=["--depth", "found     511"])
        self.usage_error("bench", "--batch", "0", says=["0"])


class Doctor(CliTest):
    def test_json(self) -> None:
        report = json.loads(self.ok("doctor", "--json").out)
        keys = {"cpu", "numa", "threads", "caches", "instructions", "memory", "kernels", "limits", "hints"}
        self.assertEqual(set(report), keys)
        self.assertLessEqual(report["cpu"]["usable"], os.cpu_count() or 1)
        self.assertEqual(set(report["limits"]), LIMITS)
        for row in report["kernels"]["rows"]:  # what cli/doctor.cc says of a row, and what the kernel table does
            self.assertEqual(row["runnable"], row["missing"] == [], row)
        runnable = [row["isa"] for row in report["kernels"]["rows"] if row["runnable"]]
        self.assertEqual(report["kernels"]["chosen"], os.environ.get("HADAL_ISA", runnable[-1]))

    def test_text_and_a_chosen_row(self) -> None:
        result = self.ok("doctor", "--threads", "1", env={"HADAL_ISA": "ref"})
        self.assertRegex(result.out, r"(?m)^kernels +ref: in use$")
        self.assertRegex(result.out, r"(?m)^limits .* 1 threads, ref kernels;")


    def test_threads_and_where_they_run(self) -> None:
        cpus = sorted(os.sched_getaffinity(0))
        flags = ("doctor", "--json", "--cpu-list", str(cpus[-1]))
        report = json.loads(self.ok(*flags).out)
        self.assertEqual(report["threads"], [{"node": 0, "threads": 1, "cpus": str(cpus[-1])}])
        self.assertEqual(report["limits"]["threads"], 1)
        many = json.loads(self.ok("doctor", "--json", "--threads", str(len(cpus) + 1)).out)
        self.assertEqual(many["threads"], [{"node": 0, "threads": len(cpus) + 1, "cpus": ""}])
        self.assertIn("memory", many["numa"][0] if many["numa"] else {"memory": "no /sys/devices/system/node"})
        text = self.ok("doctor", "--cpu-list", str(cpus[0])).out
        self.assertRegex(text, rf"(?m)^threads +1, each on a processor of its own: {cpus[0]}$")


class ThreadsAndMemory(CliTest):
    """--cpu-list, --numa, --mlock, --no-mmap: the same text however the weights lie, and a message for what cannot be."""

    GENERATE = ("generate", "-p", "Once upon a time", "-n", "8", "--temperature", "0")

    def test_the_text_is_always_the_same(self) -> None:
        cpu = str(min(os.sched_getaffinity(0)))
        expected = self.ok(*self.GENERATE)
        self.assertEqual(expected.err, "")
        for flags in (("--no-mmap",), ("--numa", "auto"), ("--numa", "off"), ("--cpu-list", cpu, "-t", "1")):
            result = self.ok(*self.GENERATE, *flags)
            self.assertEqual((result.out, result.err), (expected.out, ""), flags)

    def test_the_plan_is_said_with_verbose(self) -> None:
        plan = r"(?m)^info: memory: weights [\d.]+ MiB \({}\), KV cache [\d.]+ \w+, scratch [\d.]+ MiB; .* available$"
        self.assertRegex(self.ok("-v", *self.GENERATE).err, plan.format("mapped"))
        self.assertRegex(self.ok("-v", *self.GENERATE, "--no-mmap").err, plan.format("kept"))

    def test_the_plan_is_said_on_a_terminal(self) -> None:
        terminal = Terminal(*self.GENERATE)
        self.addCleanup(terminal.close)
        terminal.expect(r"memory: weights [\d.]+ MiB \(mapped\), .*available\r\n")
        self.assertEqual(terminal.wait(), 0)

    def limited(self, *flags: str) -> "subprocess.CompletedProcess[str]":
        """With 64 KiB of lockable memory, as somebody who is not root."""

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
            if os.geteuid() == 0:
                os.setuid(65534)

        command = [str(support.hadal), *self.GENERATE, "-m", str(TINY_CHAT), *flags]
        environment = support.environment()
        return subprocess.run(command, capture_output=True, text=True, env=environment, preexec_fn=limit)

    def test_mlock(self) -> None:
        if support.sanitized():
            self.skipTest("sanitizers make mlock() do nothing")
        if self.limited().returncode != 0:
            self.skipTest("nobody may read this folder")
        refused = self.limited("--mlock")
        self.assertEqual(refused.returncode, 1, refused.stderr)
        self.assertEqual(refused.stdout, "")
        for text in ("model.safetensors", "RLIMIT_MEMLOCK is 64.0 KiB", "ulimit -l"):
            self.assertIn(text, refused.stderr)
        soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        size = (TINY_CHAT / "model.safetensors").stat().st_size
        if os.geteuid() == 0 or soft == resource.RLIM_INFINITY or soft > 2 * size:
            self.assertEqual(self.ok(*self.GENERATE, "--mlock").out, self.ok(*self.GENERATE).out)

    def test_wrong_command_lines(self) -> None:
        cpus = sorted(os.sched_getaffinity(0))
        run = self.GENERATE
        for text in ("", "x", "3-1", "0-", "0,,1", "-1"):
            self.usage_error(*run, f"--cpu-list={text}", says=["--cpu-list"])
        self.usage_error(*run, "--cpu-list", str(cpus[-1] + 1), says=["--cpu-list", "may use", str(cpus[-1] + 1)])
        self.usage_error(*run, "--cpu-list", str(cpus[0]), "--threads", "2", says=["--threads 2", "at most 1"])
        self.usage_error(*run, "--numa", "both", says=["--numa"])
        self.usage_error("bench", "--synthetic", "tiny", "--mlock", says=["--mlock"])
        self.usage_error("bench", "--synthetic", "tiny", "--no-mmap", says=["--no-mmap"])
        self.usage_error("doctor", "--cpu-list", "x", says=["--cpu-list"])


class Plan(CliTest):
    MACHINE = ("--memory", "768G", "--bandwidth", "460G", "--flops", "20T")

    def plan(self, *flags: str) -> dict:
        result = self.ok("plan", *flags, "--json")
        self.assertEqual(result.err, "")
        return json.loads(result.out)

    def test_v3_on_a_described_machine(self) -> None:
        report = self.plan("--model", str(CONFIGS / "deepseek_v3.json"), *self.MACHINE, "--depth", "0", "--batch", "1,16")
        keys = {"model", "format", "kv_cache", "machine", "bytes", "fits", "kv_tokens", "runs"}
        self.assertEqual(set(report), keys)
        self.assertEqual(report["kv_cache"], "bfloat16")
        self.assertEqual(report["format"], "fp8")
        self.assertEqual(report["bytes"]["memory"], 768 * 10**9)
        self.assertEqual(report["bytes"]["kv_per_token"], 61 * 576 * 2)
        self.assertAlmostEqual(report["bytes"]["weights"] / 688e9, 1, delta=0.01)
        self.assertTrue(report["fits"])
        room = (768 * 10**9 - report["bytes"]["weights"]) // (61 * 576 * 2)
        self.assertEqual(report["kv_tokens"], room)
        _, one, many = report["runs"]
        self.assertAlmostEqual(one["tok_s"], 460 / 37.67, delta=0.02)  # 37.67 GB a token: hadal/model/cost_test.cc
        self.assertAlmostEqual(one["gb_per_token"], 37.67, delta=0.01)
        self.assertGreater(many["tok_s"], one["tok_s"])

    def test_an_fp8_cache(self) -> None:
        report = self.plan("--model", str(CONFIGS / "deepseek_v3.json"), *self.MACHINE, "--kv-cache-dtype", "fp8")
        self.assertEqual(report["kv_cache"], "fp8")
        self.assertEqual(report["bytes"]["kv_per_token"], 61 * 656)

    def test_formats_and_what_does_not_fit(self) -> None:
        v3 = ("--model", str(CONFIGS / "deepseek_v3.json"), "--bandwidth", "100G", "--flops", "10T")
        small = self.plan(*v3, "--format", "int4", "--memory", "64GiB")
        self.assertEqual(small["bytes"]["memory"], 64 << 30)
        self.assertFalse(small["fits"])
        self.assertEqual(small["kv_tokens"], 0)
        self.assertFalse(any(run["fits"] for run in small["runs"]))
        self.assertIn("they do not fit", self.ok("plan", *v3, "--memory", "1G").out)
        self.assertLess(small["bytes"]["weights"], 400e9)

    def test_weights_as_they_are(self) -> None:
        report = self.plan("--model", str(TINY_CHAT), *self.MACHINE)
        self.assertEqual(report["format"], "files")
        size = (TINY_CHAT / "model.safetensors").stat().st_size
        self.assertAlmostEqual(report["bytes"]["weights"] / size, 1, delta=0.02)

    def test_this_machine(self) -> None:
        report = self.plan("--threads", "1")
        self.assertEqual(report["machine"]["threads"], 1)
        self.assertTrue(report["fits"])

    def test_wrong_amounts(self) -> None:
        for amount in ("", "x", "5X", "-1G", "0", "5GG", "1e30"):
            self.usage_error("plan", f"--memory={amount}", says=["--memory"])
        self.usage_error("plan", "--format", "q4", says=["q4"])
        self.failure("plan", "--model", str(self.folder / "no"), *self.MACHINE)


if __name__ == "__main__":
    raise SystemExit("run tests/cli_test.py")
