"""OpenAI's own client, as people use it."""
import asyncio
import json
from typing import Any

import jsonschema
import openai
import support
from support import ServerTest

USER: list[Any] = [{"role": "user", "content": "Tell me a story about a little dog named Max."}]
# As short as they can be: the context has room for one call with two tools, for several with one.
PARAMETERS = {
    "type": "object",
    "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["a"],
    "additionalProperties": False,
}
HI: list[Any] = [{"role": "user", "content": "Hi"}]


def tool(name: str) -> Any:
    return {"type": "function", "function": {"name": name, "parameters": PARAMETERS}}


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 10},
        "age": {"type": "integer", "minimum": 0, "maximum": 99},
        "likes": {"type": "array", "items": {"enum": ["cake", "dogs"]}, "minItems": 1, "maxItems": 2},
    },
    "required": ["name", "age", "likes"],
    "additionalProperties": False,
}


class OpenAiTest(ServerTest):
    def setUp(self) -> None:
        super().setUp()
        self.client = openai.OpenAI(base_url=self.server.url + "/v1", api_key="EMPTY", max_retries=0, timeout=60)
        self.addCleanup(self.client.close)

    def chat(self, **fields: Any) -> Any:
        fields = {"model": "default", "messages": USER, "max_tokens": 30, "seed": 5} | fields
        return self.client.chat.completions.create(**fields)

    def text(self, **fields: Any) -> Any:
        fields = {"model": "default", "prompt": "Once upon a time", "max_tokens": 30, "seed": 5} | fields
        return self.client.completions.create(**fields)


class Chat(OpenAiTest):
    def test_one_answer(self) -> None:
        reply = self.chat(temperature=0)
        self.assertEqual(reply.object, "chat.completion")
        self.assertTrue(reply.id.startswith("chatcmpl-"))
        (choice,) = reply.choices
        self.assertEqual((choice.index, choice.message.role, choice.finish_reason), (0, "assistant", "length"))
        self.assertTrue(choice.message.content.startswith("Once upon a time"))
        self.assertIsNone(choice.message.tool_calls)
        self.assertIsNone(choice.logprobs)
        usage = reply.usage
        self.assertEqual((usage.prompt_tokens, usage.completion_tokens, usage.total_tokens), (15, 30, 45))
        self.assertEqual(usage.prompt_tokens_details.cached_tokens, usage.prompt_cache_hit_tokens)
        self.assertEqual(usage.prompt_cache_hit_tokens + usage.prompt_cache_miss_tokens, usage.prompt_tokens)

    def test_a_stream_is_the_same(self) -> None:
        for fields in ({}, {"temperature": 0}, {"stop": ["dog"]}, {"n": 3}, {"logprobs": True, "top_logprobs": 3}):
            whole = self.chat(**fields)
            chunks = list(self.chat(stream=True, **fields))
            self.assertEqual(len({chunk.id for chunk in chunks}), 1)
            self.assertEqual({chunk.object for chunk in chunks}, {"chat.completion.chunk"})
            self.assertTrue(all(chunk.usage is None for chunk in chunks))
            for choice in whole.choices:
                own = [chunk.choices[0] for chunk in chunks if chunk.choices[0].index == choice.index]
                self.assertEqual(own[0].delta.role, "assistant")
                self.assertEqual("".join(piece.delta.content or "" for piece in own), choice.message.content)
                self.assertEqual([piece.finish_reason for piece in own if piece.finish_reason], [choice.finish_reason])
                if choice.logprobs:
                    pieces = [entry for piece in own if piece.logprobs for entry in piece.logprobs.content]
                    self.assertEqual(pieces, choice.logprobs.content)

    def test_async(self) -> None:
        async def ask() -> tuple[str, str]:
            async with openai.AsyncOpenAI(base_url=self.server.url + "/v1", api_key="EMPTY") as client:
                fields: Any = {"model": "default", "messages": USER, "max_tokens": 30, "seed": 5}
                one, stream = await asyncio.gather(
                    client.chat.completions.create(**fields), client.chat.completions.create(**fields, stream=True)
                )
                return one.choices[0].message.content, "".join([c.choices[0].delta.content or "" async for c in stream])

        one, streamed = asyncio.run(ask())
        self.assertEqual(one, streamed)
        self.assertEqual(one, self.chat().choices[0].message.content)

    def test_stream_options(self) -> None:
        *chunks, last = self.chat(stream=True, stream_options={"include_usage": True})
        self.assertEqual(last.choices, [])
        self.assertEqual((last.usage.prompt_tokens, last.usage.completion_tokens), (15, 30))
        self.assertTrue(all(chunk.usage is None for chunk in chunks))
        each = list(self.chat(stream=True, stream_options={"include_usage": True, "continuous_usage_stats": True}))
        counts = [chunk.usage.completion_tokens for chunk in each]
        self.assertEqual(counts, sorted(counts))
        self.assertEqual(counts[-1], 30)

    def test_seeds_and_choices(self) -> None:
        def texts(**fields: Any) -> list[str]:
            return [choice.message.content for choice in self.chat(temperature=1.5, **fields).choices]

        four = texts(n=4)
        self.assertEqual(len(set(four)), 4)
        self.assertEqual(texts(n=4), four)
        self.assertEqual(texts() + texts(seed=6), four[:2])
        self.assertNotEqual(texts(seed=None), texts(seed=None))
        self.assertEqual([choice.index for choice in self.chat(n=4).choices], [0, 1, 2, 3])

    def test_logprobs(self) -> None:
        content = self.chat(temperature=0, logprobs=True, top_logprobs=5).choices[0].logprobs.content
        self.assertEqual(len(content), 30)
        for entry in content:
            self.assertEqual(len(entry.top_logprobs), 5)
            self.assertEqual(entry.top_logprobs[0].logprob, entry.logprob)
            values = [other.logprob for other in entry.top_logprobs]
            self.assertEqual(values, sorted(values, reverse=True))
        self.assertEqual(self.chat(logprobs=True).choices[0].logprobs.content[0].top_logprobs, [])

    def test_stop(self) -> None:
        free = self.chat(temperature=0).choices[0].message.content
        for stop in (" named", [" named", "zzz"], ["little dog na"]):
            choice = self.chat(temperature=0, stop=stop).choices[0]
            words = [stop] if isinstance(stop, str) else stop
            self.assertEqual(choice.message.content, free[: min(free.find(w) for w in words if w in free)])
            self.assertEqual(choice.finish_reason, "stop")
            self.assertEqual(choice.stop_reason, words[0])
        self.assertEqual(self.chat(temperature=0, stop=[]).choices[0].message.content, free)

    def test_max_completion_tokens(self) -> None:
        self.assertEqual(self.chat(max_tokens=openai.omit, max_completion_tokens=3).usage.completion_tokens, 3)
        free = self.chat(max_tokens=openai.omit, messages=[{"role": "user", "content": "Who are you?"}], temperature=0)
        self.assertEqual(free.choices[0].finish_reason, "stop")
        self.assertEqual(free.choices[0].message.content, "I am a tiny language model. I like to tell stories.")

    def test_the_end_of_the_context(self) -> None:
        choice = self.chat(max_tokens=openai.omit, extra_body={"ignore_eos": True})
        self.assertEqual(choice.usage.total_tokens, support.CONTEXT)
        self.assertEqual(choice.choices[0].finish_reason, "length")

    def test_names(self) -> None:
        """DeepSeek's, SGLang's, any."""
        texts = [self.chat(model=name).choices[0].message.content for name in ("deepseek-chat", "default", "gpt-4o", "tiny-chat")]
        self.assertEqual(len(set(texts)), 1)
        self.assertEqual(self.chat(model="deepseek-reasoner").model, "tiny-chat")

    def test_continued_messages(self) -> None:
        whole = self.chat(temperature=0).choices[0].message.content
        beginning = "Once upon a time, there was"
        self.assertTrue(whole.startswith(beginning))
        last = {"role": "assistant", "content": beginning}
        prefix = self.chat(temperature=0, messages=[*USER, last | {"prefix": True}])
        final = self.chat(temperature=0, messages=[*USER, last], extra_body={"continue_final_message": True})
        for reply in (prefix, final):
            self.assertTrue((beginning + reply.choices[0].message.content).startswith(whole))
        self.assertNotEqual(self.chat(temperature=0, messages=[*USER, last]).choices[0].message.content, prefix.choices[0].message.content)

    def test_contents_in_parts(self) -> None:
        parts = [{"type": "text", "text": "Tell me a story"}, {"type": "text", "text": "about a dog."}]
        found = self.chat(messages=[{"role": "user", "content": parts}])
        whole = self.chat(messages=[{"role": "user", "content": "Tell me a story\nabout a dog."}])
        self.assertEqual(found.choices[0].message.content, whole.choices[0].message.content)

    def test_roles(self) -> None:
        for role in ("system", "developer"):
            reply = self.chat(messages=[{"role": role, "content": "You tell stories."}, *USER])
            self.assertGreater(reply.usage.prompt_tokens, 15)


class Constraints(OpenAiTest):
    def test_json_schema(self) -> None:
        form = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA, "strict": True}}
        whole = 0
        for seed in range(6):
            choice = self.chat(response_format=form, seed=seed, max_tokens=400).choices[0]
            stream = self.chat(response_format=form, seed=seed, max_tokens=400, stream=True)
            self.assertEqual("".join(c.choices[0].delta.content or "" for c in stream), choice.message.content)
            if choice.finish_reason == "stop":  # JSON may have any number of spaces, and a small model likes them
                jsonschema.validate(json.loads(choice.message.content), SCHEMA)
                whole += 1
        self.assertGreater(whole, 2)

    def test_json_object(self) -> None:
        for seed in range(5):
            choice = self.chat(response_format={"type": "json_object"}, seed=seed, max_tokens=450).choices[0]
            if choice.finish_reason == "stop":
                self.assertIsInstance(json.loads(choice.message.content), dict)
            else:
                self.assertTrue(choice.message.content.lstrip().startswith("{"))
        plain = self.chat(response_format={"type": "text"}).choices[0].message.content
        self.assertEqual(plain, self.chat().choices[0].message.content)

    def test_other_ways(self) -> None:
        for body, pattern in (
            ({"guided_choice": ["red", "green"]}, "red|green"),
            ({"structured_outputs": {"choice": ["red", "green"]}}, "red|green"),
            ({"guided_regex": "[ab]{3}"}, "[ab]{3}"),
            ({"regex": "[ab]{3}"}, "[ab]{3}"),
            ({"guided_grammar": 'start: "x" "y"+ "z"'}, "xy+z"),
            ({"guided_json": {"enum": [1, 2]}}, "[12]"),
            ({"json_schema": json.dumps({"enum": [1, 2]})}, "[12]"),
        ):
            text = self.chat(extra_body=body, max_tokens=100).choices[0].message.content
            self.assertRegex(text, f"^({pattern})$")
        with self.assertRaises(openai.BadRequestError):
            self.chat(extra_body={"guided_regex": "a", "guided_choice": ["b"]})


class Tools(OpenAiTest):
    def ask(self, *names: str, **fields: Any) -> Any:
        tools = [tool(name) for name in names]
        return self.chat(**({"messages": HI, "tools": tools, "max_tokens": openai.omit} | fields))

    def check_call(self, call: Any, names: tuple[str, ...]) -> None:
        self.assertIn(call.function.name, names)
        self.assertTrue(call.id)
        jsonschema.validate(json.loads(call.function.arguments), PARAMETERS)

    def test_required_and_named(self) -> None:
        named = {"type": "function", "function": {"name": "g"}}
        for choice, names in (("required", ("f", "g")), (named, ("g",))):
            for seed in range(3):
                reply = self.ask("f", "g", tool_choice=choice, parallel_tool_calls=False, seed=seed)
                (answer,) = reply.choices
                self.assertEqual(answer.finish_reason, "tool_calls", answer)
                self.assertEqual(len(answer.message.tool_calls), 1)
                self.check_call(answer.message.tool_calls[0], names)

    def test_none_and_auto(self) -> None:
        none = self.ask("f", tool_choice="none", temperature=0, max_tokens=30).choices[0].message
        self.assertIsNone(none.tool_calls)
        self.assertEqual(none.content, self.chat(messages=HI, temperature=0).choices[0].message.content)
        auto = self.ask("f", tool_choice="auto").choices[0]
        self.assertIn(auto.finish_reason, ("stop", "length", "tool_calls"))

    def test_streamed(self) -> None:
        for seed in range(3):
            fields = {"tool_choice": "required", "parallel_tool_calls": True, "seed": seed}
            whole = self.ask("f", **fields).choices[0]
            calls: dict[int, dict[str, str]] = {}
            reasons = []
            for chunk in self.ask("f", **fields, stream=True):
                reasons += [chunk.choices[0].finish_reason] if chunk.choices[0].finish_reason else []
                for delta in chunk.choices[0].delta.tool_calls or []:
                    call = calls.setdefault(delta.index, {"id": "", "name": "", "arguments": ""})
                    call["id"] += delta.id or ""
                    call["name"] += delta.function.name or ""
                    call["arguments"] += delta.function.arguments or ""
            found = [(call["name"], call["arguments"]) for _, call in sorted(calls.items())]
            self.assertEqual(found, [(c.function.name, c.function.arguments) for c in whole.message.tool_calls])
            self.assertEqual(reasons, [whole.finish_reason])
            self.assertEqual(len({call["id"] for call in calls.values()}), len(calls))
            if whole.finish_reason == "tool_calls":
                for call in whole.message.tool_calls:
                    self.check_call(call, ("f",))

    def test_parallel(self) -> None:
        """Several calls in one answer: how many is the model's choice, and a small one's is chance."""
        most = 0
        for seed in range(20):
            answer = self.ask("f", tool_choice="required", seed=seed, temperature=1.5).choices[0]
            most = max(most, len(answer.message.tool_calls or []))
        self.assertGreater(most, 1)

    def test_the_way_back(self) -> None:
        """A conversation with a call and its result in it."""
        call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
        messages = [
            *HI,
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
        ]
        reply = self.chat(messages=messages, tools=[tool("f")])
        self.assertGreater(reply.usage.prompt_tokens, self.chat().usage.prompt_tokens)

    def test_wrong_ones(self) -> None:
        for fields in (
            {"tools": [], "tool_choice": "required"},
            {"tool_choice": "perhaps"},
            {"tool_choice": {"type": "function", "function": {"name": "unknown"}}},
            {"tool_choice": "required", "response_format": {"type": "json_object"}},
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": 5}}}], "tool_choice": "required"},
        ):
            with self.assertRaises(openai.BadRequestError, msg=str(fields)):
                self.ask("f", **fields)


class Completions(OpenAiTest):
    def test_prompts(self) -> None:
        """Text, texts, ids, lists of ids; prompt-major order."""
        one = self.text().choices[0].text
        ids = support.GOLDEN["prompts"][0]["prompt_ids"]
        self.assertEqual(self.text(prompt=ids).choices[0].text, one)
        many = self.text(prompt=["Once upon a time", "The big dog ran to the"], n=2).choices
        self.assertEqual([choice.index for choice in many], [0, 1, 2, 3])
        self.assertEqual(many[0].text, one)
        self.assertEqual(many[2].text, self.text(prompt="The big dog ran to the").choices[0].text)
        self.assertEqual([choice.text for choice in self.text(prompt=[ids, ids]).choices], [one, one])

    def test_a_stream_is_the_same(self) -> None:
        for fields in ({}, {"echo": True}, {"n": 2}, {"logprobs": 2}, {"stop": "."}, {"echo": True, "logprobs": 1}):
            whole = self.text(**fields)
            chunks = list(self.text(stream=True, **fields))
            for choice in whole.choices:
                own = [chunk.choices[0] for chunk in chunks if chunk.choices[0].index == choice.index]
                self.assertEqual("".join(piece.text for piece in own), choice.text)
                self.assertEqual(own[-1].finish_reason, choice.finish_reason)
                if choice.logprobs:
                    joined = [x for piece in own for x in piece.logprobs.token_logprobs]
                    self.assertEqual(joined, choice.logprobs.token_logprobs)
            self.assertTrue(all(chunk.usage is None for chunk in chunks))
        last = list(self.text(stream=True, stream_options={"include_usage": True}))[-1]
        self.assertEqual((last.choices, last.usage.completion_tokens), ([], 30))

    def test_logprobs_and_echo(self) -> None:
        choice = self.text(temperature=0, logprobs=3, echo=True).choices[0]
        self.assertTrue(choice.text.startswith("Once upon a time"))
        lists = choice.logprobs
        self.assertEqual(len(lists.tokens), 35)
        self.assertIsNone(lists.token_logprobs[0])
        self.assertIsNone(lists.top_logprobs[0])
        for token, logprob, top in list(zip(lists.tokens, lists.token_logprobs, lists.top_logprobs))[1:]:
            self.assertEqual(top[token], logprob)  # the same double
            self.assertIn(len(top), (3, 4))
        special = len(lists.tokens[0])  # a BOS is no text
        text = "".join(lists.tokens)[special:]
        self.assertEqual(text, choice.text)
        for token, offset in list(zip(lists.tokens, lists.text_offset))[1:]:
            self.assertEqual(choice.text[offset : offset + len(token)], token)

    def test_only_the_prompt(self) -> None:
        choice = self.text(max_tokens=0, echo=True, logprobs=0).choices[0]
        self.assertEqual(choice.text, "Once upon a time")
        self.assertEqual(len(choice.logprobs.token_logprobs), 5)
        self.assertEqual(self.text(max_tokens=0, echo=True).choices[0].text, "Once upon a time")

    def test_default_length(self) -> None:
        self.assertEqual(self.text(max_tokens=openai.omit).usage.completion_tokens, 16)

    def test_bias(self) -> None:
        self.assertEqual(self.text(logit_bias={"500": 100}, max_tokens=3, extra_body={"return_token_ids": True}).choices[0].token_ids, [500] * 3)


class Errors(OpenAiTest):
    def refused(self, kind: type[openai.APIStatusError], status: int, **fields: Any) -> openai.APIStatusError:
        with self.assertRaises(kind) as caught:
            self.chat(**fields)
        self.assertEqual(caught.exception.status_code, status)
        self.assertIsInstance(caught.exception.body, dict)
        self.assertTrue(caught.exception.message)
        self.assertTrue(caught.exception.request_id)
        return caught.exception

    def test_kinds(self) -> None:
        wrong = self.refused(openai.BadRequestError, 400, temperature="hot")
        self.assertEqual((wrong.param, wrong.type), ("temperature", "invalid_request_error"))
        range_error = self.refused(openai.UnprocessableEntityError, 422, temperature=1000)
        self.assertEqual(range_error.param, "temperature")
        long = self.refused(openai.BadRequestError, 400, max_tokens=100_000)
        self.assertIn("This model's maximum context length is 512 tokens.", long.message)
        self.assertEqual(long.body["n_ctx"], 512)
        self.refused(openai.UnprocessableEntityError, 422, n=1000, stream=True)
        with self.assertRaises(openai.NotFoundError):
            self.client.embeddings.create(model="default", input="x")
        with self.assertRaises(openai.NotFoundError):
            self.client.models.retrieve("unknown")
        with self.assertRaises(openai.APIStatusError) as caught:
            self.client.post("/models", body={}, cast_to=object)
        self.assertEqual(caught.exception.status_code, 405)

    def test_keys(self) -> None:
        server = self.start("--api-key", "right", "--strict-model-name").wait()
        with openai.OpenAI(base_url=server.url + "/v1", api_key="right", max_retries=0) as client:
            self.assertEqual([model.id for model in client.models.list()], ["tiny-chat"])
            with self.assertRaises(openai.NotFoundError):
                client.chat.completions.create(model="gpt-4o", messages=USER)
        with openai.OpenAI(base_url=server.url + "/v1", api_key="wrong", max_retries=0) as client:
            with self.assertRaises(openai.AuthenticationError):
                client.chat.completions.create(model="tiny-chat", messages=USER)
        self.assertEqual(server.stop(), 0)

    def test_models(self) -> None:
        (model,) = self.client.models.list()
        self.assertEqual((model.id, model.object, model.owned_by), ("tiny-chat", "model", "hadal"))
        self.assertEqual(model.max_model_len, support.CONTEXT)
        self.assertEqual(self.client.models.retrieve("tiny-chat").id, "tiny-chat")

    def test_an_error_within_a_stream(self) -> None:
        """The client raises it, instead of taking what came before for the whole answer."""
        import signal

        server = self.start("--drain-timeout", "0").wait()
        with openai.OpenAI(base_url=server.url + "/v1", api_key="EMPTY", max_retries=0) as client:
            with self.assertRaises(openai.APIError):
                stream: Any = client.chat.completions.create(
                    model="default", messages=USER, max_tokens=450, n=16, stream=True, extra_body={"ignore_eos": True}
                )
                for i, _ in enumerate(stream):
                    if i == 20:
                        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.process.wait(30), 0)
