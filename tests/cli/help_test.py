"""Help texts, and the exit code 2 with its message for a command line that is wrong."""
import re

from support import ROOT, TINY_CHAT, CliTest

COMMANDS = (
    *("generate", "chat", "tokenize", "render", "logits", "inspect", "verify", "bench", "quantize", "doctor"),
    *("plan", "replay", "keys"),
)
THREADS = {"--threads", "--cpu-list", "--numa"}
RUN = THREADS | {"--model", "--mlock", "--no-mmap", "--dtype", "--kv-cache-dtype", "--activation-format"}
SAMPLING = {
    *("--max-new-tokens", "--min-new-tokens", "--temperature", "--top-k", "--top-p", "--min-p", "--seed", "--stop"),
    *("--repetition-penalty", "--presence-penalty", "--frequency-penalty", "--logit-bias", "--stop-token-id"),
    *("--ignore-eos", "--max-model-len", "--json-schema", "--regex", "--grammar"),
}
OPTIONS = {
    "generate": RUN | SAMPLING | {
        *("--ckpt-path", "--config", "--prompt", "--file", "--input-file", "--interactive", "--stream", "--no-stream"),
        *("--echo", "--json", "--logprobs", "--max-num-seqs"),
    },
    "chat": RUN | SAMPLING | {"--system", "--chat-template"},
    "tokenize": {"--model", "--decode", "--add-special", "--skip-special-tokens"},
    "render": {"--model", "--messages", "--tools", "--no-generation-prompt", "--template-arg", "--chat-template"},
    "logits": RUN | {"--ids", "--out", "--mtp", "--hidden-states", "--chunk", "--decode"},
    "inspect": {"--model", "--json"},
    "verify": {"--model", "--threads", "--manifest", "--json"},
    "bench": RUN | {
        *("--synthetic", "--format", "--prompt", "--depth", "--batch", "--gen", "--repeat", "--seconds"),
        *("--json", "--markdown", "--profile"),
    },
    "doctor": THREADS | {"--json"},
    "plan": {
        *("--model", "--format", "--memory", "--bandwidth", "--flops", "--prompt", "--depth", "--batch"),
        *("--threads", "--json", "--kv-cache-dtype"),
    },
    "quantize": {"--format", "--group", "--calibrate", "--keep", "--shard-size", "--report", "--threads"},
    "replay": RUN | {"--request-id", "--max-num-seqs"},
    "keys": set(),  # its commands have them: keys_test
}


class Help(CliTest):
    def test_every_command_and_option_is_named(self) -> None:
        out = self.ok("--help").out
        for command in COMMANDS:
            self.assertRegex(out, rf"(?m)^  {command} ")
            for flag in ("--help", "-h"):
                result = self.ok(command, flag)
                self.assertEqual(result.err, "")
                missing = {option for option in OPTIONS[command] if option not in result.out}
                self.assertEqual(missing, set(), command)

    def test_options_here_are_all_there_are(self) -> None:
        """A new option needs a line above, and with it somebody who thinks about its test."""
        for command in COMMANDS:
            listed = set(re.findall(r"^ +(?:-\w,)?(--[a-z0-9-]+)", self.ok(command, "--help").out, re.MULTILINE))
            self.assertLessEqual(listed - {"--help"}, OPTIONS[command] | {"--stream"}, command)

    def test_defaults_are_shown(self) -> None:
        out = self.ok("generate", "--help").out
        for text in ("=200", "default: the built-in model", "generation_config.json"):
            self.assertIn(text, out)

    def test_version(self) -> None:
        version = re.search(r"project\(hadal VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text())
        assert version is not None
        self.assertEqual(self.ok("--version").out, f"hadal {version[1]}\n")


class WrongCommandLines(CliTest):
    """Exit code 2, the mistake and where help is on stderr, nothing on stdout."""

    def wrong(self, *args: str, says: str) -> None:
        result = self.usage_error(*args, says=[says])
        self.assertTrue(result.err.startswith("hadal"), result.err)

    def test_commands(self) -> None:
        self.wrong(says="--help")
        self.wrong("frob", says="no command frob")
        self.wrong("--frob", says="--frob")
        self.wrong("frob", "--help-me", says="frob")
        for command in COMMANDS:
            self.wrong(command, "--frob", says="--frob")
            self.wrong(command, "--frob", says=f"hadal {command} --help")
        self.wrong("generate", "-p", "x", "more", says="more")
        self.wrong("verify", "a", "b", says="b")

    def test_missing_and_contrary_options(self) -> None:
        self.wrong("generate", says="--prompt")
        self.wrong("generate", "-p", says="--prompt")
        self.wrong("render", says="--messages")
        self.wrong("logits", "--ids", "x", says="--out")
        self.wrong("logits", "--out", "x", says="--ids")
        self.wrong("logits", "--ids", "x", "--out", "y", "--chunk", "2", "--decode", says="--decode")
        self.wrong("generate", "-p", "x", "-f", "y", says="--prompt")
        self.wrong("generate", "-p", "x", "--json", "--echo", says="--echo")
        self.wrong("generate", "--input-file", "x", "--echo", says="--echo")
        self.wrong("generate", "--interactive", "--json", says="--interactive")
        self.wrong("generate", "--interactive", "--logprobs", says="--interactive")
        self.wrong("generate", "-p", "x", "--ckpt-path", "a", "--model", "b", says="--ckpt-path")
        self.wrong("generate", "-p", "x", "--regex", "a", "--json-schema", "{}", says="--regex")

    def test_values(self) -> None:
        for option, values in {
            "--threads": ("0", "-1", "abc", "4097", "1.5", ""),
            "--max-new-tokens": ("0", "-1", "x", "1e3", "99999999999999999999", "9223372036854775807"),
            "--min-new-tokens": ("-1", "x"),
            "--max-model-len": ("0", "-1", "513", "99999999999999999999"),
            "--max-num-seqs": ("0", "4097"),
            "--temperature": ("-1", "101", "nan", "inf", "x", ""),
            "--top-p": ("0", "-1", "1.01", "nan"),
            "--top-k": ("-1", "x", "99999999999"),
            "--min-p": ("-0.1", "1.1", "nan"),
            "--repetition-penalty": ("0", "-1", "101", "nan"),
            "--presence-penalty": ("-101", "101", "nan"),
            "--frequency-penalty": ("-101", "101", "nan"),
            "--seed": ("-1", "x", "1.5"),
            "--logprobs": ("-1", "1001", "x"),
            "--stop": ("",),
            "--stop-token-id": ("-1", "4096", "x", "99999999999"),
            "--logit-bias": ("5", "5=", "=5", "a=5", "5=x", "4096=1", "-1=1", "5=101", "5=nan", "99999999999=1"),
            "--dtype": ("int8", "float16", ""),
            "--activation-format": ("int8",),
            "--kv-cache-dtype": ("int8", "float32", ""),
        }.items():
            for value in values:
                with self.subTest(option=option, value=value):
                    name = option if option != "--logit-bias" else "bias"
                    self.wrong("generate", "-p", "x", f"{option}={value}", says=name.strip("-"))
        for value in ("0", "-1", "x"):
            self.wrong("logits", "--ids", "x", "--out", "y", "--chunk", value, says="--chunk")
            self.wrong("verify", str(TINY_CHAT), "--threads", value, says="--threads")

    def test_empty_value_of_a_text_is_a_text(self) -> None:
        self.assertEqual(self.generate_json("-p", "", "-n", "1")["prompt_tokens"], 1)  # BOS


if __name__ == "__main__":
    raise SystemExit("run tests/cli_test.py")
