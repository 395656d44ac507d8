"""hadal generate: the sources of a prompt, when an answer ends, what is printed, what is drawn."""
import json
import os
import re
import subprocess

import support
from support import TINY_CHAT, CliTest, run

GREEDY = ("--temperature", "0")
ONCE = "Once upon a time"


class Prompts(CliTest):
    def test_text_file_and_stdin_are_the_same(self) -> None:
        text = self.ok("generate", "-p", ONCE, "-n", "12", *GREEDY).out
        file = self.write("prompt.txt", ONCE)
        self.assertEqual(self.ok("generate", "-f", file, "-n", "12", *GREEDY).out, text)
        self.assertEqual(self.ok("generate", "-f", "-", "-n", "12", *GREEDY, stdin=ONCE).out, text)
        self.assertTrue(text.startswith(", there was a little girl"), text)

    def test_prompt_may_look_like_an_option_or_a_list(self) -> None:
        for prompt in ("-5 + 3 =", "--echo", "[a, b]", "a=b"):
            self.assertEqual(self.generate_json("-p", prompt, "-n", "1")["prompt"], prompt)

    def test_lines_of_a_file_are_answered_as_if_alone(self) -> None:
        prompts = [ONCE, "The sun", "One day, a little girl named Lily went to the park with her mom and", "2 + 3 ="]
        file = self.write("prompts.txt", "".join(f"  {prompt} \r\n" for prompt in prompts))
        for sampling in (GREEDY, ("--temperature", "0.8", "--seed", "11")):
            flags = (*sampling, "-n", "16", "--logprobs", "2")
            together = self.ok("generate", "--input-file", file, "--json", *flags).json_lines()
            alone = [self.generate_json("-p", prompt, *flags) for prompt in prompts]
            self.assertEqual(together, alone)
            few = self.ok("generate", "--input-file", file, "--json", "--max-num-seqs", "2", *flags).json_lines()
            self.assertEqual(few, alone)

    def test_lines_are_printed_as_the_demo_prints_them(self) -> None:
        file = self.write("prompts.txt", f"{ONCE}\nThe sun")
        out = self.ok("generate", "--input-file", file, "-n", "5", *GREEDY).out
        texts = [self.ok("generate", "-p", prompt, "-n", "5", *GREEDY).out for prompt in (ONCE, "The sun")]
        self.assertEqual(out, f"Prompt: {ONCE}\nCompletion: {texts[0]}\nPrompt: The sun\nCompletion: {texts[1]}\n")

    def test_empty_line_or_file_is_refused(self) -> None:
        file = self.write("prompts.txt", f"{ONCE}\n\nThe sun\n")
        self.failure("generate", "--input-file", file, says=[str(file), "line      2", "expected  a prompt"])
        empty = self.write("empty.txt", "")
        self.failure("generate", "--input-file", empty, says=[str(empty), "an empty file"])
        self.failure("generate", "-f", self.folder / "absent", says=["absent", "No such file"])


class Golden(CliTest):
    def test_greedy_text_of_the_built_in_model(self) -> None:
        for case in json.loads((TINY_CHAT / "golden.json").read_text())["prompts"]:
            prompt = case["rendered"] or case["prompt"]
            file = self.write("prompt.txt", prompt)
            flags = ("--dtype", "float32", "--ignore-eos", "-n", str(len(case["ids"])), *GREEDY)
            bos = "<｜begin▁of▁sentence｜>"
            if prompt.startswith(bos):  # the template's BOS; generate puts one itself
                file = self.write("prompt.txt", prompt.removeprefix(bos))
            row = self.generate_json("-f", file, *flags)
            self.assertEqual(row["ids"], case["ids"], case["prompt"])
            self.assertEqual(row["finish_reason"], "length")


class Ends(CliTest):
    """What ends an answer, and how much of it is shown."""

    def test_number_of_tokens(self) -> None:
        for count in (1, 7):
            row = self.generate_json("-p", ONCE, "-n", str(count), *GREEDY)
            self.assertEqual((row["completion_tokens"], len(row["ids"])), (count, count))
            self.assertEqual(row["finish_reason"], "length")
            self.assertEqual(row["prompt_tokens"], 5)

    def test_end_of_sequence(self) -> None:
        ask = ("-p", "<｜User｜>What is 7 + 5?<｜Assistant｜>", *GREEDY)
        row = self.generate_json(*ask)
        self.assertEqual((row["text"], row["finish_reason"], row["ids"][-1]), ("7 + 5 = 12.", "stop", 1))
        on = self.generate_json(*ask, "--ignore-eos", "-n", "20")
        self.assertEqual((len(on["ids"]), on["finish_reason"]), (20, "length"))
        self.assertEqual(on["ids"][: len(row["ids"])], row["ids"])
        at_least = self.generate_json(*ask, "--min-new-tokens", "15", "-n", "40")
        self.assertGreaterEqual(len(at_least["ids"]), 15)
        self.assertNotIn(1, at_least["ids"][:15])

    def test_stop_token_id(self) -> None:
        ids = self.generate_json("-p", ONCE, "-n", "12", *GREEDY)["ids"]
        cut = self.generate_json("-p", ONCE, "-n", "12", *GREEDY, "--stop-token-id", str(ids[5]))
        self.assertEqual(cut["ids"], ids[: ids.index(ids[5]) + 1])
        self.assertEqual(cut["finish_reason"], "stop")

    def test_stop_text_is_not_shown(self) -> None:
        ask = ("-p", ONCE, "-n", "40", *GREEDY)
        text = self.generate_json(*ask)["text"]
        tokens = [row["token"] for row in self.generate_json(*ask, "--logprobs")["logprobs"]]
        across = tokens[4][-2:] + tokens[5] + tokens[6][:2]  # begins and ends inside tokens
        for stop in (" girl", "e", across, text[-3:]):
            expected = text[: text.index(stop)]
            row = self.generate_json(*ask, "--stop", stop)
            self.assertEqual((row["text"], row["finish_reason"]), (expected, "stop"), stop)
            for streaming in ("--stream", "--no-stream"):
                self.assertEqual(self.ok("generate", *ask, "--stop", stop, streaming).out, expected + "\n")
        several = self.generate_json(*ask, "--stop", "Lily", "--stop", "nowhere", "--stop", "little")
        self.assertEqual(several["text"], text[: text.index("little")])
        self.assertEqual(self.generate_json(*ask, "--stop", "nowhere", "--stop", tokens[0] + "?")["text"], text)

    def test_stop_text_in_brackets_is_one_text(self) -> None:
        ask = ("-p", ONCE, "-n", "20", *GREEDY)
        self.assertEqual(self.generate_json(*ask, "--stop", "[a,e]"), self.generate_json(*ask))

    def test_context_length(self) -> None:
        row = self.generate_json("-p", ONCE, "-n", "400", *GREEDY, "--ignore-eos", "--max-model-len", "20")
        self.assertEqual((len(row["ids"]), row["finish_reason"]), (15, "length"))
        self.failure("generate", "-p", ONCE, "--max-model-len", "5", says=["fewer tokens than the context", "5 tokens"])
        long = self.write("long.txt", ONCE * 200)
        self.failure("generate", "-f", long, says=["fewer tokens than the context holds (512)", "found     801 tokens"])
        self.refused(2, "generate", "-p", ONCE, "--max-model-len", "600", says=["max_position_embeddings = 512", "600"])


class Output(CliTest):
    def test_stream_echo_and_their_opposites_print_the_same(self) -> None:
        ask = ("generate", "-p", ONCE, "-n", "20", "--seed", "4")
        streamed, whole = self.ok(*ask, "--stream"), self.ok(*ask, "--no-stream")
        self.assertEqual(streamed.out, whole.out)
        self.assertEqual(streamed.err + whole.err, "")
        for flag in ("--stream", "--no-stream"):
            self.assertEqual(self.ok(*ask, "--echo", flag).out, ONCE + whole.out)
        self.assertEqual(self.generate_json(*ask[1:])["text"] + "\n", whole.out)

    def test_json_names(self) -> None:
        row = self.generate_json("-p", ONCE, "-n", "3", *GREEDY)
        names = {"prompt", "text", "ids", "finish_reason", "prompt_tokens", "completion_tokens"}
        self.assertEqual(set(row), names)
        self.assertEqual(row["prompt"], ONCE)

    def test_logprobs(self) -> None:
        case = json.loads((TINY_CHAT / "golden.json").read_text())["prompts"][0]
        ask = ("-p", case["prompt"], "-n", "10", *GREEDY, "--dtype", "float32")
        row = self.generate_json(*ask, "--logprobs", "3")
        self.assertEqual(len(row["logprobs"]), 10)
        for token, entry in enumerate(row["logprobs"]):
            self.assertEqual(entry["id"], case["ids"][token])
            self.assertAlmostEqual(entry["logprob"], case["logprobs"][token], delta=2e-3)
            top = entry["top_logprobs"]
            self.assertEqual(len(top), 3)
            self.assertEqual(top[0]["id"], entry["id"])
            self.assertEqual(top, sorted(top, key=lambda other: -other["logprob"]))
            margin = top[0]["logprob"] - top[1]["logprob"]
            self.assertAlmostEqual(margin, case["top1_top2_margin"][token], delta=4e-3)
        self.assertEqual("".join(entry["token"] for entry in row["logprobs"]), row["text"])
        plain = self.ok("generate", *ask, "--logprobs")  # without a number: of the token itself, on stderr
        self.assertEqual(plain.out, row["text"] + "\n")
        shown = [(int(line.split()[0]), float(line.split()[1])) for line in plain.err.splitlines()]
        self.assertEqual(shown, [(entry["id"], round(entry["logprob"], 4)) for entry in row["logprobs"]])

    def test_characters_are_never_cut(self) -> None:
        bias = [f"--logit-bias={byte}=100" for byte in self.ids_of("é")]
        out = self.ok("generate", "-p", ONCE, "-n", "9", "--temperature", "3", *bias).out_bytes
        out.decode("utf-8")

    def ids_of(self, text: str) -> list[int]:
        return self.ok("tokenize", stdin=json.dumps({"text": text}) + "\n").json_lines()[0]["ids"]

    def test_verbose_talks_on_stderr(self) -> None:
        result = self.ok("-v", "generate", "-p", ONCE, "-n", "5", *GREEDY)
        self.assertRegex(result.err, r"1 prompts?, 5 tokens in [\d.]+ s: [\d.]+ tokens/s")
        self.assertEqual(result.out, self.ok("generate", "-p", ONCE, "-n", "5", *GREEDY).out)

    def test_reader_that_goes_away_ends_it_quietly(self) -> None:
        generate = subprocess.Popen(
            [support.hadal, "generate", "-p", ONCE, "--ignore-eos", "-n", "300"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=support.environment(),
        )
        assert generate.stdout is not None and generate.stderr is not None
        self.assertTrue(generate.stdout.read(5))
        generate.stdout.close()
        self.assertEqual(generate.stderr.read(), b"")
        generate.stderr.close()
        self.assertEqual(generate.wait(support.TIMEOUT_S), -13)  # SIGPIPE, as cat ends

    def test_full_disk(self) -> None:
        for command in (
            ("generate", "-p", ONCE, "-n", "3"),
            ("generate", "-p", ONCE, "-n", "3", "--no-stream"),
            ("generate", "-p", ONCE, "-n", "3", "--json"),
            ("inspect",),
            ("tokenize",),
            ("verify",),
        ):
            with open("/dev/full", "wb") as full:
                result = run(*command, stdout=full, stdin='{"text": "a"}\n')
            self.assertEqual(result.code, 1, command)
            self.assertIn("No space left on device", result.err)


class Sampling(CliTest):
    def text(self, *flags: str) -> str:
        return self.ok("generate", "-p", ONCE, "-n", "16", *flags).out

    def test_seed(self) -> None:
        texts = [self.text("--seed", seed, "--temperature", "1") for seed in ("1", "2", "3", "1")]
        self.assertEqual(texts[0], texts[3])
        self.assertEqual(len(set(texts)), 3)
        self.assertEqual(self.text("--seed", "18446744073709551615"), self.text("--seed", "18446744073709551615"))

    def test_threads_and_streams_change_nothing(self) -> None:
        one = self.text("--threads", "1", "--temperature", "1")
        self.assertEqual(self.text("--threads", "2", "--temperature", "1"), one)
        self.assertEqual(self.text("--threads", "3", "--temperature", "1", "--no-stream"), one)

    def test_narrow_draws_are_greedy(self) -> None:
        greedy = self.text(*GREEDY)
        for narrow in (("--top-k", "1", "--top-p", "1"), ("--top-p", "0.000001"), ("--min-p", "1", "--top-p", "1")):
            self.assertEqual(self.text("--temperature", "2", *narrow), greedy, narrow)
        self.assertNotEqual(self.text("--temperature", "2", "--top-p", "1"), greedy)

    def test_penalties_change_the_text(self) -> None:
        ask = ("-p", "the the the", "-n", "60", "--ignore-eos", *GREEDY)
        plain = self.generate_json(*ask)["ids"]
        for penalty in (("--repetition-penalty", "1.8"), ("--presence-penalty", "4"), ("--frequency-penalty", "3")):
            ids = self.generate_json(*ask, *penalty)["ids"]
            self.assertGreater(len(set(ids)), len(set(plain)), penalty)

    def test_logit_bias(self) -> None:
        row = self.generate_json("-p", ONCE, "-n", "4", *GREEDY, "--logit-bias", "500=100")
        self.assertEqual(row["ids"], [500] * 4)
        free = self.generate_json("-p", ONCE, "-n", "4", *GREEDY)["ids"]
        barred = self.generate_json("-p", ONCE, "-n", "4", *GREEDY, "--logit-bias", f"{free[0]}=-100")["ids"]
        self.assertNotIn(free[0], barred)
        two = self.generate_json("-p", ONCE, "-n", "9", *GREEDY, "--logit-bias", "500=100", "--logit-bias", "501=99")
        self.assertLessEqual(set(two["ids"]), {500, 501})

    def test_float32_is_another_computation_of_the_same_text(self) -> None:
        ask = ("-p", ONCE, "-n", "5", *GREEDY, "--logprobs", "0")
        rounded, exact = self.generate_json(*ask), self.generate_json(*ask, "--dtype", "float32")
        self.assertEqual(rounded["ids"], exact["ids"])
        self.assertNotEqual(rounded["logprobs"], exact["logprobs"])
        self.assertEqual(self.generate_json(*ask, "--dtype", "bfloat16"), rounded)

    def test_kv_cache_dtype(self) -> None:
        ask = ("-p", ONCE, "-n", "5", *GREEDY, "--logprobs", "0")
        usual, fp8 = self.generate_json(*ask), self.generate_json(*ask, "--kv-cache-dtype", "fp8")
        self.assertEqual(fp8["ids"], usual["ids"])
        self.assertNotEqual(fp8["logprobs"], usual["logprobs"])
        self.assertEqual(self.generate_json(*ask, "--kv-cache-dtype", "fp8_e4m3"), fp8)
        self.assertEqual(self.generate_json(*ask, "--kv-cache-dtype", "bfloat16"), usual)
        exact = self.generate_json(*ask, "--dtype", "float32")
        self.assertNotEqual(self.generate_json(*ask, "--dtype", "float32", "--kv-cache-dtype", "fp8"), exact)

    def test_fp8_activations(self) -> None:
        ask = ("--model", support.GOLDEN / "v3_fp8", "-p", "a", "-n", "3", *GREEDY, "--logprobs", "0")
        self.assertNotEqual(self.generate_json(*ask, "--activation-format", "fp8"), self.generate_json(*ask))
        self.refused(
            2, "generate", "-p", ONCE, "--activation-format", "fp8", says=["a checkpoint with FP8 weights", "tiny-chat"]
        )


class Constraints(CliTest):
    def text(self, *flags: str) -> str:
        return self.generate_json("-p", ONCE, "-n", "100", "--seed", "2", "--temperature", "1.5", *flags)["text"]

    def test_regex(self) -> None:
        for regex in ("[a-c]{3,5} (yes|no)", r"\d{3}-\d{4}", "éß[α-ω]{2}"):
            self.assertRegex(self.text("--regex", regex), f"^(?:{regex})$")

    def test_json_schema(self) -> None:
        schema = {
            "type": "object",
            "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "maximum": 99}},
            "required": ["name", "age"],
            "additionalProperties": False,
        }
        value = json.loads(self.text("--json-schema", json.dumps(schema)))
        self.assertEqual(set(value), {"name", "age"})
        self.assertIsInstance(value["age"], int)

    def test_grammar(self) -> None:
        self.assertIn(self.text("--grammar", 'start: "red" | "green" | "blue"'), ("red", "green", "blue"))

    def test_broken_ones_are_refused(self) -> None:
        self.failure("generate", "-p", ONCE, "--regex", "(", says=["regular expression", "unclosed group"])
        self.failure("generate", "-p", ONCE, "--json-schema", "{", says=["JSON schema"])
        self.failure("generate", "-p", ONCE, "--grammar", "start: nothing", says=["grammar"])


class GenerationConfig(CliTest):
    """What the flags do not say, generation_config.json says."""

    def text(self, generation_config: object, *flags: str) -> str:
        model = self.copy_model(TINY_CHAT, f"model{len(os.listdir(self.folder))}")
        if generation_config is None:
            model.remove("generation_config.json")
        else:
            model.write("generation_config.json", generation_config)
        return self.ok("generate", "-m", model.path, "-p", ONCE, "-n", "16", *flags).out

    def test_sampling(self) -> None:
        greedy = self.ok("generate", "-p", ONCE, "-n", "16", *GREEDY).out
        self.assertEqual(self.text({"do_sample": False, "temperature": 2.0}), greedy)
        self.assertEqual(self.text({"do_sample": True, "temperature": 2.0, "top_k": 1}), greedy)
        self.assertEqual(self.text({"do_sample": True, "temperature": 2.0, "top_p": 1e-6}), greedy)
        hot = self.text({"do_sample": True, "temperature": 2.0})
        self.assertNotEqual(hot, greedy)
        self.assertEqual(hot, self.text({"do_sample": False}, "--temperature", "2"))
        self.assertNotEqual(self.text({"temperature": 2.0, "repetition_penalty": 2.0}), hot)
        self.text(None)

    def test_ends_of_sequence(self) -> None:
        free = self.generate_json("-p", ONCE, "-n", "16", *GREEDY)["ids"]
        for eos in (free[6], [1, free[6]]):
            model = self.copy_model(TINY_CHAT, f"eos{type(eos).__name__}")
            model.write("generation_config.json", {"eos_token_id": eos})
            row = self.generate_json("-m", model.path, "-p", ONCE, "-n", "16", *GREEDY)
            self.assertEqual((row["ids"], row["finish_reason"]), (free[: free.index(free[6]) + 1], "stop"))
            on = self.generate_json("-m", model.path, "-p", ONCE, "-n", "16", *GREEDY, "--ignore-eos")
            self.assertEqual(on["ids"], free)

    def test_broken_ones_are_refused(self) -> None:
        for content, says in (
            ("{", "generation_config.json"),
            ({"temperature": -1}, "temperature"),
            ({"top_p": 0}, "top_p"),
            ({"eos_token_id": 4096}, "eos_token_id"),
        ):
            model = self.copy_model(TINY_CHAT, f"broken{says}{len(str(content))}")
            model.write("generation_config.json", content)
            self.failure("generate", "-m", model.path, "-p", ONCE, says=["generation_config.json", says])


class DemoSpelling(CliTest):
    def test_interactive(self) -> None:
        ask = ("--temperature", "0.7", "--max-new-tokens", "20")
        demo = self.ok(
            "generate", "--ckpt-path", TINY_CHAT, "--interactive", *ask, stdin="Who are you?\nWhat is 2 + 3?\n"
        )
        chat = self.ok("chat", "--model", TINY_CHAT, *ask, stdin="Who are you?\nWhat is 2 + 3?\n")
        self.assertEqual(demo.out, chat.out)
        self.assertEqual(len(demo.out.splitlines()), 2)
        self.assertEqual(demo.err, "")

    def test_config_is_said_not_to_be_read(self) -> None:
        result = self.ok("generate", "--ckpt-path", TINY_CHAT, "--config", "x.json", "-p", ONCE, "-n", "2")
        self.assertIn("--config x.json is not read", result.err)


if __name__ == "__main__":
    raise SystemExit("run tests/cli_test.py")
