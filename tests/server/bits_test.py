"""A request's answer is its own: whoever runs beside it, whatever the cache holds, however drafts are made. Tokens and
log-probabilities are compared as the JSON has them, every digit."""
import concurrent.futures
import random
from typing import Any

import support
from support import Server, ServerTest

NUM_REQUESTS = 40


def make_requests() -> list[dict[str, Any]]:
    """Of all lengths and kinds of sampling; many begin alike, some are the same."""
    rng = random.Random(11)
    beginnings = ("Once upon a time", "Tom and Ben were friends. " * 9, "One day, a little girl named Lily " * 6, "The")
    requests: list[dict[str, Any]] = []
    for i in range(NUM_REQUESTS):
        body: dict[str, Any] = {
            "prompt": rng.choice(beginnings) + rng.choice(("", " and", " the big dog", " went to the park. " * 5)),
            "max_tokens": rng.choice((1, 7, 20, 40)),
            "seed": i,
            "logprobs": rng.choice((0, 2, 5)),
            "return_token_ids": True,
        }
        body |= rng.choice(
            (
                {"temperature": 0},
                {"temperature": 1.0},
                {"temperature": 0.8, "top_p": 0.9},
                {"temperature": 1.2, "top_k": 20, "min_p": 0.02},
                {"temperature": 0.7, "presence_penalty": 0.5, "frequency_penalty": 0.3, "repetition_penalty": 1.1},
                {"temperature": 0, "logit_bias": {"14": -3.5}},
                {"temperature": 1.0, "guided_regex": "( [a-z]+)+\\."},
                {"temperature": 0, "echo": True},
                {"temperature": 1.0, "n": 3},
                {"temperature": 1.0, "stop": ["the", "."]},
            )
        )
        requests.append(body)
    return requests


REQUESTS = make_requests()
ALONE: list[Any] = []


def answer(server: Server, body: dict[str, Any]) -> Any:
    """All that may not depend on anything else."""
    return server.post("/v1/completions", body)["choices"]


class SameBits(ServerTest):
    def setUp(self) -> None:
        super().setUp()
        if not ALONE:  # one at a time, nothing remembered from the one before
            server = self.start("--disable-radix-cache").wait()
            ALONE.extend(answer(server, body) for body in REQUESTS)
            self.assertEqual(server.stop(), 0)

    def together(self, *flags: str) -> Any:
        """All at once, twice, so that the second time finds the first one's prompts in the cache."""
        server = self.start(*flags).wait()
        order = list(range(NUM_REQUESTS))
        random.Random(len(flags)).shuffle(order)
        with concurrent.futures.ThreadPoolExecutor(NUM_REQUESTS) as pool:
            for _ in range(2):
                for i, found in zip(order, pool.map(lambda j: answer(server, REQUESTS[j]), order)):
                    self.assertEqual(found, ALONE[i], f"{flags}: {REQUESTS[i]}")
        metrics = server.get("/server_info")
        self.assertEqual(server.stop(), 0)
        return metrics

    def test_something_is_compared(self) -> None:
        texts = {str(choices) for choices in ALONE}
        self.assertGreater(len(texts), NUM_REQUESTS * 0.8)
        self.assertTrue(all(choice["logprobs"]["token_logprobs"] for choices in ALONE for choice in choices))

    def test_all_at_once(self) -> None:
        self.together()

    def test_batch_sizes(self) -> None:
        for most in ("1", "3", "17"):
            self.together("--max-num-seqs", most)

    def test_prompts_in_pieces(self) -> None:
        self.together("--max-num-batched-tokens", "16")
        self.together("--max-num-batched-tokens", "1")

    def test_without_shared_beginnings(self) -> None:
        self.together("--disable-radix-cache")

    def test_drafts(self) -> None:
        self.together("--speculative-algorithm", "ngram")
        self.together("--speculative-algorithm", "ngram", "--speculative-num-draft-tokens", "1")
        self.together("--speculative-algorithm", "mtp")

    def test_a_cache_too_small_for_all(self) -> None:
        """Room for two long ones: others are put aside and computed again."""
        self.together("--kv-cache-tokens", "512")
        self.together("--kv-cache-tokens", "512", "--speculative-algorithm", "mtp")

    def test_threads(self) -> None:
        self.together("--threads", "1")

    def test_streams(self) -> None:
        """The pieces of a stream are the whole answer, token by token."""
        for body, alone in zip(REQUESTS, ALONE):
            events = self.server.ask("POST", "/v1/completions", body | {"stream": True}).events()
            for choice in alone:
                pieces = [e["choices"][0] for e in events if e["choices"][0]["index"] == choice["index"]]
                joined = {"text": "".join(piece["text"] for piece in pieces)}
                self.assertEqual(joined["text"], choice["text"])
                for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
                    joined_list = [x for piece in pieces for x in piece["logprobs"][name]]
                    self.assertEqual(joined_list, choice["logprobs"][name], (name, body))
                self.assertEqual([t for piece in pieces for t in piece["token_ids"]], choice["token_ids"])
                self.assertEqual(pieces[-1]["finish_reason"], choice["finish_reason"])
                self.assertTrue(all(piece["finish_reason"] is None for piece in pieces[:-1]))

    def test_the_command_line_says_the_same(self) -> None:
        for flags, fields in (
            (("--temperature", "0"), {"temperature": 0}),
            (("--temperature", "0.9", "--top-p", "0.8", "--seed", "5"), {"temperature": 0.9, "top_p": 0.8, "seed": 5}),
        ):
            row = support.run_cli("generate", "--json", "-p", "Once upon a time", "-n", "40", "--logprobs", "0", *flags)[0]
            body = {"prompt": "Once upon a time", "max_tokens": 40, "logprobs": 0, "return_token_ids": True} | fields
            choice = answer(self.server, body)[0]
            self.assertEqual(choice["token_ids"], row["ids"])
            self.assertEqual(choice["text"], row["text"])


class Golden(ServerTest):
    """The official code's own greedy answers (models/tiny-chat/golden.json)."""

    flags = ("--dtype", "float32")

    def test_completions(self) -> None:
        for case in support.GOLDEN["prompts"]:
            for prompt in (case["prompt_ids"], [case["prompt_ids"]]):
                body = {"prompt": prompt, "max_tokens": 64, "temperature": 0, "logprobs": 1, "return_token_ids": True}
                (choice,) = self.server.post("/v1/completions", body | {"ignore_eos": True})["choices"]
                self.assertEqual(choice["token_ids"], case["ids"])
                self.assert_close(choice["logprobs"]["token_logprobs"], case["logprobs"])
            if case["kind"] == "text":
                (choice,) = self.server.post("/v1/completions", body | {"prompt": case["prompt"]})["choices"]
                self.assertEqual(choice["text"], case["text"])

    def test_echo(self) -> None:
        """A text's own log-probabilities: those of its tokens when they were said."""
        for case in support.GOLDEN["prompts"]:
            ids = case["prompt_ids"] + case["ids"]
            body = {"prompt": [ids], "max_tokens": 1, "temperature": 0, "logprobs": 1, "echo": True}
            lists = self.server.post("/v1/completions", body)["choices"][0]["logprobs"]
            self.assertEqual({len(values) for values in lists.values()}, {len(ids) + 1})
            self.assertIsNone(lists["token_logprobs"][0])
            self.assert_close(lists["token_logprobs"][len(case["prompt_ids"]) : -1], case["logprobs"])
            for own, top in list(zip(lists["token_logprobs"], lists["top_logprobs"]))[len(case["prompt_ids"]) : -1]:
                self.assertEqual(own, max(top.values()))  # greedy: the same double

    def test_chat(self) -> None:
        for case in (case for case in support.GOLDEN["prompts"] if case["kind"] == "chat"):
            body = {"messages": [{"role": "user", "content": case["prompt"]}], "max_tokens": 64, "temperature": 0}
            reply = self.server.post("/v1/chat/completions", body | {"logprobs": True, "top_logprobs": 2})
            (choice,) = reply["choices"]
            self.assertEqual(choice["message"]["content"], case["text"])
            self.assertEqual(reply["usage"]["prompt_tokens"], len(case["prompt_ids"]))
            end = case["first_eos_index"]
            self.assertEqual(choice["finish_reason"], "length" if end is None else "stop")
            content = choice["logprobs"]["content"]
            self.assert_close([entry["logprob"] for entry in content], case["logprobs"][:end])
            for entry, margin in zip(content, case["top1_top2_margin"]):
                first, second = entry["top_logprobs"]
                self.assertEqual((first["token"], first["logprob"]), (entry["token"], entry["logprob"]))
                self.assertAlmostEqual(first["logprob"] - second["logprob"], margin, delta=2 * support.LOGPROB_TOLERANCE)
            self.assertEqual(b"".join(bytes(entry["bytes"]) for entry in content).decode(), case["text"])

    def test_the_rendered_prompt(self) -> None:
        for case in (case for case in support.GOLDEN["prompts"] if case["kind"] == "chat"):
            messages = [{"role": "user", "content": case["prompt"]}]
            self.assertEqual(self.server.post("/tokenize", {"messages": messages})["tokens"], case["prompt_ids"])
            body = {"tokens": case["prompt_ids"]}
            self.assertEqual(self.server.post("/detokenize", body)["prompt"], case["rendered"])

    def assert_close(self, found: list[float], expected: list[float]) -> None:
        self.assertEqual(len(found), len(expected))
        for one, other in zip(found, expected):
            self.assertAlmostEqual(one, other, delta=support.LOGPROB_TOLERANCE)
