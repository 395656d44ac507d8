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


if __name__ == "__main__":
    raise SystemExit("run tests/cli_test.py")
