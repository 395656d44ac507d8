"""Other programs that speak to such servers, each as its own documentation has it."""
import asyncio
import json
import os
import struct
from typing import Any
from unittest import mock

import openai
import support
from support import TINY_CHAT, ServerTest

# Nothing is fetched from anywhere.
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "LANGSMITH_TRACING": "false", "OPENAI_API_KEY": ""}
os.environ.pop("OPENAI_BASE_URL", None)

STORIES = support.ROOT / "tests" / "data" / "heldout" / "tinystories.jsonl"
BITS_TOLERANCE = 1e-3  # sums of some fifty log-probabilities, printed with all their digits


class Readmes(ServerTest):
    def test_sglang(self) -> None:
        """benchmark/deepseek_v3/README.md, at another port."""
        client = openai.Client(base_url=f"http://127.0.0.1:{self.server.port}/v1", api_key="EMPTY")
        response = client.chat.completions.create(
            model="default",
            messages=[
                {"role": "system", "content": "You are a helpful AI assistant"},
                {"role": "user", "content": "List 3 countries and their capitals."},
            ],
            temperature=0,
            max_tokens=64,
        )
        self.assertEqual(response.usage.completion_tokens <= 64, True)
        self.assertTrue(response.choices[0].message.content)
        client.close()


class LangChain(ServerTest):
    """DeepSeek-V2's README, with this server's address."""

    def setUp(self) -> None:
        super().setUp()
        from langchain_openai import ChatOpenAI

        settings: Any = {
            "model": "deepseek-chat",
            "openai_api_key": "EMPTY",
            "openai_api_base": self.server.url + "/v1",
            "temperature": 0.85,
            "seed": 3,
        }
        self.llm = ChatOpenAI(**settings, max_tokens=60)
        self.free = ChatOpenAI(**settings)  # as long as the context

    def test_invoke(self) -> None:
        answer = self.llm.invoke("Who are you?")
        self.assertTrue(answer.content)
        self.assertEqual(answer.usage_metadata["total_tokens"], answer.usage_metadata["input_tokens"] + answer.usage_metadata["output_tokens"])
        self.assertEqual(answer.content, asyncio.run(self.llm.ainvoke("Who are you?")).content)

    def test_stream(self) -> None:
        pieces = list(self.llm.stream("Who are you?"))
        self.assertEqual("".join(piece.content for piece in pieces), self.llm.invoke("Who are you?").content)

    def test_batch(self) -> None:
        answers = self.llm.batch(["Who are you?", "What is 7 + 5?"], config={"max_concurrency": 2})
        self.assertEqual(answers[0].content, self.llm.invoke("Who are you?").content)

    def test_structured_output(self) -> None:
        schema = {
            "title": "Pet",
            "type": "object",
            "properties": {"kind": {"enum": ["cat", "dog"]}, "age": {"type": "integer", "minimum": 0, "maximum": 9}},
            "required": ["kind", "age"],
            "additionalProperties": False,
        }
        pet = self.free.with_structured_output(schema, method="json_schema").invoke("A pet")
        self.assertIn(pet["kind"], ("cat", "dog"))
        self.assertIn(pet["age"], range(10))

    def test_tools(self) -> None:
        # Without the last line the model may go on with properties of its own until the context ends.
        parameters = {
            "type": "object",
            "properties": {"a": {"enum": [1, 2]}},
            "required": ["a"],
            "additionalProperties": False,
        }
        tool = {
            "type": "function",
            "function": {"name": "f", "parameters": parameters},
        }
        answer = self.free.bind_tools([tool], tool_choice="f").invoke("Hi")
        self.assertEqual(answer.tool_calls[0]["name"], "f")
        self.assertIn(answer.tool_calls[0]["args"]["a"], (1, 2))


class Evaluation(ServerTest):
    """lm-evaluation-harness on stories of our own, offline; the same numbers as `hadal logits`."""

    NUM_DOCS = 12

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = cls.class_scratch()
        os.environ["HF_HOME"] = str(cls.folder / "hf")
        cls.docs = []
        for line in STORIES.read_text().splitlines()[: cls.NUM_DOCS]:
            words = json.loads(line)["text"].split()[:40]
            cls.docs.append({"begin": " ".join(words[:25]), "right": " ".join(words[25:]), "wrong": " ".join(reversed(words[25:]))})
        data = cls.folder / "stories.jsonl"
        data.write_text("".join(json.dumps(doc) + "\n" for doc in cls.docs))
        for source in (support.ROOT / "tests" / "server" / "tasks").glob("*.yaml"):
            (cls.folder / source.name).write_text(source.read_text().replace("STORIES", str(data)))

    def remote_tokenizer(self) -> Any:
        """lm_eval takes the address of a tokenizer for that of /generate; the true one instead."""
        from lm_eval.utils import RemoteTokenizer

        return mock.patch("lm_eval.utils.RemoteTokenizer", lambda _, *rest: RemoteTokenizer(self.server.url, *rest))

    def evaluate(self, model: str, path: str, tasks: list[str], **args: Any) -> Any:
        from lm_eval import simple_evaluate
        from lm_eval.tasks import TaskManager

        manager = TaskManager(include_path=str(self.folder), include_defaults=False)
        settings = {"model": "tiny-chat", "base_url": self.server.url + path, "max_length": support.CONTEXT, "tokenizer_backend": "remote"}
        return simple_evaluate(
            model=model,
            model_args=settings | args,
            tasks=tasks,
            task_manager=manager,
            log_samples=True,
            bootstrap_iters=0,
            apply_chat_template="chat" in model,
        )

    def expected(self, doc: dict[str, str], name: str) -> tuple[float, bool]:
        """Of the ending, by the command line: the sum of its tokens' log-probabilities, and whether each is the greedy one."""
        import numpy as np

        begin, whole = self.encode(doc["begin"]), self.encode(doc["begin"] + " " + doc[name])
        self.assertEqual(whole[: len(begin)], begin)
        ids, out = self.folder / "ids.json", self.folder / "logits.safetensors"
        ids.write_text(json.dumps(whole))
        support.run_cli("logits", "--ids", ids, "--out", out)
        content = out.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        entry = json.loads(content[8 : 8 + length])["logits"]
        first, last = entry["data_offsets"]
        logits = np.frombuffer(content[8 + length + first : 8 + length + last], np.float32).reshape(entry["shape"])
        logits = logits.astype(np.float64)
        logprobs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        places = range(len(begin), len(whole))
        total = sum(logprobs[place - 1][whole[place]] for place in places)
        return float(total), all(int(logits[place - 1].argmax()) == whole[place] for place in places)

    def encode(self, text: str) -> list[int]:
        return self.server.post("/tokenize", {"prompt": text, "add_special_tokens": False})["tokens"]

    def check_endings(self, result: Any, greedy_too: bool = True) -> None:
        samples = result["samples"]["hadal_endings"]
        self.assertEqual(len(samples), self.NUM_DOCS)
        right = 0
        for sample in samples:
            found = [tuple(response[0]) for response in sample["resps"]]
            expected = [self.expected(sample["doc"], name) for name in ("right", "wrong")]
            for (logprob, greedy), (wanted, is_greedy) in zip(found, expected):
                self.assertAlmostEqual(float(logprob), wanted, delta=BITS_TOLERANCE)
                if greedy_too:
                    self.assertEqual(str(greedy), str(is_greedy))
            right += expected[0][0] > expected[1][0]
        self.assertAlmostEqual(result["results"]["hadal_endings"]["acc,none"], right / self.NUM_DOCS)
        self.assertGreater(right, self.NUM_DOCS / 2)  # a model that has seen stories tells these from shuffled words

    def test_local_completions(self) -> None:
        for args in ({"num_concurrent": 1, "batch_size": 4}, {"num_concurrent": 8, "batch_size": 1}):
            self.check_endings(self.evaluate("local-completions", "/v1/completions", ["hadal_endings"], **args))

    def test_sglang_generate(self) -> None:
        with self.remote_tokenizer():
            result = self.evaluate("sglang-generate", "/generate", ["hadal_endings"])
        # lm_eval 0.4.13 takes a token for the greedy one there if it differs from it.
        self.check_endings(result, greedy_too=False)

    def test_generate_until(self) -> None:
        for model, path in (("local-completions", "/v1/completions"), ("sglang-generate", "/generate")):
            with self.remote_tokenizer():
                result = self.evaluate(model, path, ["hadal_story"], num_concurrent=4)
            for sample in result["samples"]["hadal_story"]:
                body = {"prompt": self.encode(sample["doc"]["begin"]), "max_tokens": 24, "temperature": 0, "stop": ["."]}
                wanted = self.server.post("/v1/completions", body)["choices"][0]["text"]
                self.assertEqual(sample["resps"][0][0], wanted)

    def test_local_chat_completions(self) -> None:
        result = self.evaluate("local-chat-completions", "/v1/chat/completions", ["hadal_story"], num_concurrent=4)
        for sample in result["samples"]["hadal_story"]:
            messages = [{"role": "user", "content": sample["doc"]["begin"]}]
            body = {"messages": messages, "max_tokens": 24, "temperature": 0, "stop": ["."]}
            wanted = self.server.post("/v1/chat/completions", body)["choices"][0]["message"]["content"]
            self.assertEqual(sample["resps"][0][0], wanted)

    def test_remote_tokenizer(self) -> None:
        from lm_eval.utils import RemoteTokenizer

        remote = RemoteTokenizer(self.server.url + "/v1/completions")
        info = json.loads((TINY_CHAT / "tokenizer_config.json").read_text())
        eos = info["eos_token"] if isinstance(info["eos_token"], str) else info["eos_token"]["content"]
        self.assertEqual(remote.eos_token, eos)
        self.assertEqual(remote.eos_token_id, json.loads((TINY_CHAT / "config.json").read_text())["eos_token_id"])
        case = support.GOLDEN["prompts"][0]
        self.assertEqual(remote.encode(case["prompt"]), case["prompt_ids"][1:])
        self.assertEqual(remote.decode(case["prompt_ids"][1:]), case["prompt"])
        for case in (case for case in support.GOLDEN["prompts"] if case["kind"] == "chat"):
            messages = [{"role": "user", "content": case["prompt"]}]
            rendered = remote.apply_chat_template(messages, bos_token=remote.bos_token)
            self.assertEqual(rendered, case["rendered"])


class Tokenize(ServerTest):
    """vLLM's, SGLang's and llama.cpp's spellings of the same."""

    def test_spellings(self) -> None:
        case = support.GOLDEN["prompts"][0]
        text, with_bos = case["prompt"], case["prompt_ids"]
        ids = with_bos[1:]
        for body, tokens in (
            ({"prompt": text}, with_bos),
            ({"prompt": text, "add_special_tokens": False}, ids),
            ({"model": "x", "prompt": [text, text]}, [with_bos, with_bos]),
            ({"content": text}, ids),
            ({"content": text, "add_special": True}, with_bos),
        ):
            reply = self.server.post("/tokenize", body)
            self.assertEqual(reply["tokens"], tokens, body)
            self.assertEqual(reply["max_model_len"], support.CONTEXT)
        pieces = self.server.post("/tokenize", {"content": text, "with_pieces": True})["tokens"]
        self.assertEqual([piece["id"] for piece in pieces], ids)
        self.assertEqual("".join(piece["piece"] for piece in pieces), text)
        for body, expected in (({"tokens": ids}, text), ({"tokens": [ids, ids]}, [text, text]), ({"tokens": []}, "")):
            reply = self.server.post("/detokenize", body)
            self.assertEqual([reply[name] for name in ("prompt", "text", "content")], [expected] * 3)


class Sglang(ServerTest):
    """The shapes that SGLang's bench and lm-eval send to /generate."""

    def test_shapes(self) -> None:
        case = support.GOLDEN["prompts"][0]
        params = {"max_new_tokens": 8, "temperature": 0, "ignore_eos": True}
        one = self.server.post("/generate", {"text": case["prompt"], "sampling_params": params})
        self.assertEqual(one["output_ids"], case["ids"][:8])
        self.assertEqual(one["meta_info"]["finish_reason"], {"type": "length", "length": 8})
        self.assertEqual((one["meta_info"]["prompt_tokens"], one["meta_info"]["completion_tokens"]), (5, 8))
        ids = self.server.post("/generate", {"input_ids": case["prompt_ids"], "sampling_params": params})
        self.assertEqual(ids["text"], one["text"])
        for batch in ({"text": [case["prompt"]] * 2}, {"input_ids": [case["prompt_ids"]] * 2}):
            replies = self.server.post("/generate", batch | {"sampling_params": params})
            self.assertEqual([reply["text"] for reply in replies], [one["text"]] * 2)
        single = self.server.post("/generate", {"text": [case["prompt"]], "sampling_params": params})
        self.assertEqual(len(single), 1)

    def test_stream(self) -> None:
        body = {"text": "Once upon a time", "sampling_params": {"max_new_tokens": 8, "temperature": 0}}
        whole = self.server.post("/generate", body)
        events = self.server.ask("POST", "/generate", body | {"stream": True}).events()
        texts = [event["text"] for event in events]
        self.assertTrue(all(after.startswith(before) for before, after in zip(texts, texts[1:])))
        self.assertEqual((texts[-1], events[-1]["output_ids"]), (whole["text"], whole["output_ids"]))

    def test_logprobs(self) -> None:
        case = support.GOLDEN["prompts"][0]
        body = {
            "input_ids": case["prompt_ids"],
            "sampling_params": {"max_new_tokens": 4, "temperature": 0},
            "return_logprob": True,
            "logprob_start_len": 0,
            "top_logprobs_num": 2,
            "return_text_in_logprobs": True,
        }
        meta = self.server.post("/generate", body)["meta_info"]
        self.assertEqual([token for _, token, _ in meta["input_token_logprobs"]], case["prompt_ids"])
        self.assertIsNone(meta["input_token_logprobs"][0][0])
        self.assertEqual([token for _, token, _ in meta["output_token_logprobs"]], case["ids"][:4])
        self.assertEqual([len(top) for top in meta["output_top_logprobs"]], [2] * 4)
        self.assertEqual(len(meta["input_top_logprobs"]), len(meta["input_token_logprobs"]))
        later = self.server.post("/generate", body | {"logprob_start_len": 3})["meta_info"]
        self.assertEqual(later["input_token_logprobs"], meta["input_token_logprobs"][3:])

    def test_what_benches_ask_first(self) -> None:
        for path in ("/model_info", "/get_model_info", "/server_info", "/get_server_info", "/v1/models", "/health"):
            self.assertEqual(self.server.ask("GET", path).status, 200)
        self.assertEqual(self.server.ask("POST", "/flush_cache").status, 200)
        self.assertIn("last_gen_throughput", self.server.get("/server_info")["internal_states"][0])
