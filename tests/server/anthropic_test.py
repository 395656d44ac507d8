"""POST /v1/messages as the anthropic package speaks it."""
import json
from typing import Any

import anthropic
from protocols import COLOUR_SCHEMA, COMPACT_COLOUR_SCHEMA, SUM_ANSWER, thinking_model
from support import Server, ServerTest

SUM = [{"role": "user", "content": "What is 7 plus 5?"}]
PLAIN: dict[str, Any] = {"model": "tiny-chat", "max_tokens": 64, "temperature": 0}
# The newer packages have no parameter for it.
GREEDY: dict[str, Any] = {"model": "tiny-chat", "max_tokens": 64, "extra_body": {"temperature": 0}}
PAINT = {"name": "paint", "description": "Paints.", "input_schema": COLOUR_SCHEMA}


def client_of(server: Server, path: str = "") -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=server.url + path, api_key="none", max_retries=0, timeout=120)


class Messages(ServerTest):
    def setUp(self) -> None:
        super().setUp()
        self.client = client_of(self.server)

    def test_answers(self) -> None:
        for path in ("", "/anthropic"):
            message = client_of(self.server, path).messages.create(messages=SUM, **GREEDY)
            self.assertEqual((message.type, message.role, message.stop_reason), ("message", "assistant", "end_turn"))
            self.assertIsNone(message.stop_sequence)
            self.assertEqual([block.to_dict() for block in message.content], [{"type": "text", "text": SUM_ANSWER}])
            self.assertGreater(message.usage.input_tokens, 0)
            self.assertGreater(message.usage.output_tokens, 0)
            self.assertTrue(message.id.startswith("msg_"))

    def test_streams_what_it_answers_whole(self) -> None:
        with self.client.messages.stream(messages=SUM, **GREEDY) as stream:
            types = [event.type for event in stream]
            message = stream.get_final_message()
        self.assertEqual(message.content[0].text, SUM_ANSWER)
        self.assertEqual(message.stop_reason, "end_turn")
        whole = self.client.messages.create(messages=SUM, **GREEDY)
        self.assertEqual(message.usage.output_tokens, whole.usage.output_tokens)
        self.assertEqual((types[0], types[-1]), ("message_start", "message_stop"))

    def test_events_have_names(self) -> None:
        reply = self.server.ask("POST", "/v1/messages", PLAIN | {"messages": SUM, "stream": True})
        self.assertEqual(reply.status, 200)
        names = []
        for event in reply.body.decode().removesuffix("\n\n").split("\n\n"):
            name, data = event.split("\n")
            names.append(name.removeprefix("event: "))
            self.assertEqual(json.loads(data.removeprefix("data: "))["type"], names[-1])
        self.assertEqual(names[:2], ["message_start", "content_block_start"])
        self.assertEqual(names[-3:], ["content_block_stop", "message_delta", "message_stop"])
        self.assertEqual(set(names[2:-3]), {"content_block_delta"})

    def test_system_and_blocks_are_the_chat_of_openai(self) -> None:
        message = self.client.messages.create(
            system=[{"type": "text", "text": "You are kind."}],
            messages=[
                {"role": "user", "content": [{"type": "text", "text": "What is 7 plus 5?"}]},
                {"role": "assistant", "content": [{"type": "text", "text": "12."}]},
                {"role": "user", "content": "Tell me a story."},
            ],
            **GREEDY,
        )
        chat = [
            {"role": "system", "content": "You are kind."},
            {"role": "user", "content": "What is 7 plus 5?"},
            {"role": "assistant", "content": "12."},
            {"role": "user", "content": "Tell me a story."},
        ]
        other = self.server.post("/v1/chat/completions", PLAIN | {"messages": chat})
        self.assertEqual(message.content[0].text, other["choices"][0]["message"]["content"])
        usage = other["usage"]
        self.assertEqual(
            message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0), usage["prompt_tokens"]
        )

    def test_stop_sequence_and_length(self) -> None:
        message = self.client.messages.create(messages=SUM, stop_sequences=[" ="], **GREEDY)
        self.assertEqual((message.stop_reason, message.stop_sequence), ("stop_sequence", " ="))
        self.assertEqual(message.content[0].text, "7 + 5")
        message = self.client.messages.create(messages=SUM, **GREEDY | {"max_tokens": 2})
        self.assertEqual((message.stop_reason, message.usage.output_tokens), ("max_tokens", 2))

    def test_goes_on_from_an_answers_beginning(self) -> None:
        begun = [*SUM, {"role": "assistant", "content": "7 + 5 ="}]
        message = self.client.messages.create(messages=begun, **GREEDY)
        self.assertEqual(message.content[0].text, " 12.")

    def test_cached_tokens_are_told_apart(self) -> None:
        messages = [{"role": "user", "content": "Tell me a long story. " * 20}]
        for _ in range(2):
            message = self.client.messages.create(messages=messages, **GREEDY | {"max_tokens": 4})
        usage = message.usage
        self.assertGreater(usage.cache_read_input_tokens, 0)
        count = self.client.messages.count_tokens(model="tiny-chat", messages=messages)
        self.assertEqual(usage.input_tokens + usage.cache_read_input_tokens, count.input_tokens)
        apart = self.client.messages.create(
            messages=messages, metadata={"user_id": "other"}, **GREEDY | {"max_tokens": 4}
        )
        self.assertEqual(apart.usage.cache_read_input_tokens, 0)

    def test_counts_more_than_fits(self) -> None:
        long = [{"role": "user", "content": "Tell me a story. " * 500}]
        for path in ("", "/anthropic"):
            count = client_of(self.server, path).messages.count_tokens(model="tiny-chat", messages=long)
            self.assertGreater(count.input_tokens, 512)

    def call(self, **options: Any) -> Any:
        """The one call of an answer, streamed and whole, which must be the same."""
        request = GREEDY | {"messages": [{"role": "user", "content": "Paint it blue."}], "tools": [PAINT]} | options
        whole = self.client.messages.create(**request)
        with self.client.messages.stream(**request) as stream:
            streamed = stream.get_final_message()
        self.assertEqual((whole.stop_reason, streamed.stop_reason), ("tool_use", "tool_use"))
        (block,) = [block for block in whole.content if block.type == "tool_use"]
        (other,) = [block for block in streamed.content if block.type == "tool_use"]
        self.assertEqual((block.name, block.input), (other.name, other.input))
        return block

    def test_tools_round_trip(self) -> None:
        for choice in ({"type": "any", "disable_parallel_tool_use": True}, {"type": "tool", "name": "paint"}):
            block = self.call(tool_choice=choice)
            self.assertEqual(block.name, "paint")
            self.assertIn(block.input, ({"colour": "red"}, {"colour": "blue"}))
        answer = self.client.messages.create(
            tools=[PAINT],
            tool_choice={"type": "none"},
            messages=[
                {"role": "user", "content": "Paint it blue."},
                {"role": "assistant", "content": [block.to_dict()]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": block.id, "content": "done"}]},
            ],
            **GREEDY,
        )
        self.assertNotEqual(answer.stop_reason, "tool_use")
        self.assertTrue(all(block.type == "text" for block in answer.content))

    def test_a_call_cut_off_is_what_was_written(self) -> None:
        request = GREEDY | {
            "messages": [{"role": "user", "content": "Paint it blue."}],
            "tools": [PAINT],
            "tool_choice": {"type": "tool", "name": "paint"},
        }
        for most in range(1, 40):
            message = self.client.messages.create(**request | {"max_tokens": most})
            calls = [block for block in message.content if block.type == "tool_use"]
            if calls and set(calls[0].input) == {"INVALID_JSON"}:
                break
        else:
            self.fail("no call was ever cut off")
        self.assertEqual(message.stop_reason, "max_tokens")
        begun = calls[0].input["INVALID_JSON"]
        self.assertTrue('{"colour": "blue"}'.startswith(begun[:2]) and not begun.endswith("}"), begun)
        with self.client.messages.stream(**request | {"max_tokens": most}) as stream:
            pieces = [event.partial_json for event in stream if event.type == "input_json"]
        self.assertEqual("".join(pieces), begun)

    def test_a_schema_makes_json(self) -> None:
        message = self.client.messages.create(
            messages=SUM,
            output_config={"format": {"type": "json_schema", "schema": COMPACT_COLOUR_SCHEMA}},
            **GREEDY,
        )
        self.assertIn(json.loads(message.content[0].text)["colour"], ("red", "blue"))

    def test_refusals_are_anthropics(self) -> None:
        image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ""}}
        for changes, says in (
            ({"messages": [{"role": "user", "content": [image]}]}, "messages[0].content[0].type"),
            ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools[0].type"),
            ({"messages": [{"role": "user", "content": "a " * 2000}]}, "maximum context length"),
        ):
            with self.assertRaises(anthropic.BadRequestError) as caught:
                self.client.messages.create(**GREEDY | {"messages": SUM} | changes)
            body: Any = caught.exception.body
            self.assertEqual((body["type"], body["error"]["type"]), ("error", "invalid_request_error"))
            self.assertIn(says, body["error"]["message"])
            self.assertTrue(caught.exception.request_id)
        reply = self.server.ask("POST", "/v1/messages", {"messages": SUM})
        self.assertEqual((reply.status, reply.json()["type"]), (400, "error"))
        self.assertIn("max_tokens", reply.json()["error"]["message"])
        reply = self.server.ask("GET", "/v1/messages")
        self.assertEqual((reply.status, reply.json()["type"]), (405, "error"))

    def test_takes_both_headers(self) -> None:
        server = self.start("--api-key", "secret").wait()
        for options in ({"api_key": "secret"}, {"auth_token": "secret"}):
            client = anthropic.Anthropic(base_url=server.url, max_retries=0, **options)
            self.assertEqual(client.messages.create(messages=SUM, **GREEDY).content[0].text, SUM_ANSWER)
        client = anthropic.Anthropic(base_url=server.url, max_retries=0, api_key="wrong")
        with self.assertRaises(anthropic.AuthenticationError) as caught:
            client.messages.create(messages=SUM, **GREEDY)
        body: Any = caught.exception.body
        self.assertEqual(body["error"]["type"], "authentication_error")


class Thinking(ServerTest):
    """The built-in model with a prompt that ends in <think>, as R1's does."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.flags = ("--model", thinking_model(cls.class_scratch()))

    def test_thoughts_are_a_block(self) -> None:
        client = client_of(self.server)
        request = GREEDY | {"messages": SUM, "thinking": {"type": "enabled", "budget_tokens": 8}}
        whole = client.messages.create(**request)
        self.assertEqual([block.type for block in whole.content], ["thinking", "text"])
        thoughts, answer = whole.content
        self.assertTrue(thoughts.thinking and thoughts.signature and answer.text)
        self.assertGreaterEqual(whole.usage.output_tokens_details.thinking_tokens, 8)
        with client.messages.stream(**request) as stream:
            types = {event.type for event in stream}
            streamed = stream.get_final_message()
        self.assertTrue({"thinking", "signature", "text"} <= types, types)
        self.assertEqual([block.type for block in streamed.content], ["thinking", "text"])
        self.assertEqual((streamed.content[0].thinking, streamed.content[1].text), (thoughts.thinking, answer.text))
        again = [*SUM, {"role": "assistant", "content": [block.to_dict() for block in whole.content]}, *SUM]
        self.assertTrue(client.messages.create(**request | {"messages": again}).content)
