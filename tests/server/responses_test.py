"""POST /v1/responses as the openai package speaks it."""
import json
from typing import Any

import openai
from protocols import COLOUR_SCHEMA, COMPACT_COLOUR_SCHEMA, SUM_ANSWER, thinking_model
from support import Server, ServerTest

SUM = "What is 7 plus 5?"
GREEDY: dict[str, Any] = {"model": "tiny-chat", "max_output_tokens": 64, "temperature": 0}
TOOL = {
    "type": "function",
    "name": "paint",
    "description": "Paints.",
    "parameters": COLOUR_SCHEMA,
    "strict": True,
}


def client_of(server: Server, path: str = "/v1", key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=server.url + path, api_key=key, max_retries=0, timeout=120)


class Responses(ServerTest):
    def setUp(self) -> None:
        super().setUp()
        self.client = client_of(self.server)

    def stream(self, **request: Any) -> tuple[list[Any], Any]:
        """The events, and the response that the package has put together of them."""
        with self.client.responses.stream(**request) as stream:
            events = list(stream)
            return events, stream.get_final_response()

    def test_answers(self) -> None:
        for path in ("/v1", ""):
            response = client_of(self.server, path).responses.create(input=SUM, **GREEDY)
            self.assertEqual((response.object, response.status, response.error), ("response", "completed", None))
            self.assertEqual(response.output_text, SUM_ANSWER)
            (item,) = response.output
            self.assertEqual((item.type, item.role, item.status), ("message", "assistant", "completed"))
            usage = response.usage
            self.assertEqual(usage.total_tokens, usage.input_tokens + usage.output_tokens)
            self.assertEqual(usage.output_tokens_details.reasoning_tokens, 0)

    def test_streams_what_it_answers_whole(self) -> None:
        events, response = self.stream(input=SUM, **GREEDY)
        self.assertEqual(response.output_text, SUM_ANSWER)
        types = [event.type for event in events]
        self.assertEqual(
            types[:4],
            ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"],
        )
        self.assertEqual(
            types[-4:],
            [
                "response.output_text.done",
                "response.content_part.done",
                "response.output_item.done",
                "response.completed",
            ],
        )
        self.assertEqual(set(types[4:-4]), {"response.output_text.delta"})
        self.assertEqual([event.sequence_number for event in events], list(range(len(events))))

    def test_events_have_names_and_no_done(self) -> None:
        reply = self.server.ask("POST", "/responses", GREEDY | {"input": SUM, "stream": True})
        number = 0
        for event in reply.body.decode().removesuffix("\n\n").split("\n\n"):
            name, data = event.split("\n")
            value = json.loads(data.removeprefix("data: "))
            self.assertEqual((value["type"], value["sequence_number"]), (name.removeprefix("event: "), number))
            number += 1
        self.assertNotIn(b"[DONE]", reply.body)

    def test_items_are_the_chat(self) -> None:
        response = self.client.responses.create(
            instructions="You are kind.",
            input=[
                {"role": "user", "content": [{"type": "input_text", "text": SUM}]},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "12."}]},
                {"role": "user", "content": "Tell me a story."},
            ],
            **GREEDY,
        )
        chat = [
            {"role": "system", "content": "You are kind."},
            {"role": "user", "content": SUM},
            {"role": "assistant", "content": "12."},
            {"role": "user", "content": "Tell me a story."},
        ]
        other = self.server.post("/v1/chat/completions", {"messages": chat, "max_tokens": 64, "temperature": 0})
        self.assertEqual(response.output_text, other["choices"][0]["message"]["content"])
        self.assertEqual(response.usage.input_tokens, other["usage"]["prompt_tokens"])

    def test_goes_on_from_a_stored_response(self) -> None:
        first = self.client.responses.create(input=SUM, instructions="You are kind.", **GREEDY)
        second = self.client.responses.create(input="Tell me a story.", previous_response_id=first.id, **GREEDY)
        same = self.client.responses.create(
            input=[
                {"role": "user", "content": SUM},
                {"role": "assistant", "content": SUM_ANSWER},
                {"role": "user", "content": "Tell me a story."},
            ],
            **GREEDY,
        )
        self.assertEqual(second.output_text, same.output_text)
        self.assertEqual(second.usage.input_tokens, same.usage.input_tokens)
        self.assertEqual(second.previous_response_id, first.id)
        third = self.client.responses.create(input=SUM, previous_response_id=second.id, **GREEDY)
        self.assertGreater(third.usage.input_tokens, second.usage.input_tokens)
        got = self.client.responses.retrieve(first.id)
        self.assertEqual(got.to_dict(), first.to_dict())
        self.client.responses.delete(first.id)
        with self.assertRaises(openai.NotFoundError):
            self.client.responses.retrieve(first.id)

    def test_what_is_not_stored_is_not_found(self) -> None:
        response = self.client.responses.create(input=SUM, store=False, **GREEDY)
        self.assertFalse(response.store)
        salted = self.client.responses.create(input=SUM, extra_body={"cache_salt": "s"}, **GREEDY)
        for id in (response.id, salted.id, "resp_none"):
            with self.assertRaises(openai.NotFoundError):
                self.client.responses.retrieve(id)
            with self.assertRaises(openai.BadRequestError) as caught:
                self.client.responses.create(input=SUM, previous_response_id=id, **GREEDY)
            self.assertEqual(caught.exception.code, "previous_response_not_found")

    def test_without_room_it_is_incomplete(self) -> None:
        response = self.client.responses.create(input=SUM, **GREEDY | {"max_output_tokens": 2})
        self.assertEqual((response.status, response.incomplete_details.reason), ("incomplete", "max_output_tokens"))
        self.assertEqual(response.usage.output_tokens, 2)
        events = list(self.client.responses.create(input=SUM, stream=True, **GREEDY | {"max_output_tokens": 2}))
        self.assertEqual(events[-1].type, "response.incomplete")

    def test_tools_round_trip(self) -> None:
        request = GREEDY | {"input": "Paint it blue.", "tools": [TOOL]}
        for choice in ("required", {"type": "function", "name": "paint"}):
            options = request | {"tool_choice": choice, "parallel_tool_calls": False}
            whole = self.client.responses.create(**options)
            events, streamed = self.stream(**options)
            (call,) = [item for item in whole.output if item.type == "function_call"]
            (other,) = [item for item in streamed.output if item.type == "function_call"]
            self.assertEqual((call.name, call.arguments), ("paint", other.arguments))
            self.assertIn(json.loads(call.arguments)["colour"], ("red", "blue"))
            pieces = [e.delta for e in events if e.type == "response.function_call_arguments.delta"]
            self.assertEqual("".join(pieces), call.arguments)
        output = {"type": "function_call_output", "call_id": call.call_id, "output": "done"}
        stored = self.client.responses.create(
            input=[output], previous_response_id=whole.id, tools=[TOOL], tool_choice="none", **GREEDY
        )
        given = self.client.responses.create(
            input=[{"role": "user", "content": "Paint it blue."}, call.to_dict(), output],
            tools=[TOOL],
            tool_choice="none",
            **GREEDY,
        )
        self.assertEqual(stored.usage.input_tokens, given.usage.input_tokens)
        self.assertEqual(stored.output_text, given.output_text)

    def test_a_schema_makes_json(self) -> None:
        schema = {"type": "json_schema", "name": "paint", "schema": COMPACT_COLOUR_SCHEMA, "strict": True}
        response = self.client.responses.create(input=SUM, text={"format": schema}, **GREEDY)
        self.assertIn(json.loads(response.output_text)["colour"], ("red", "blue"))
        self.assertEqual(response.text.format.type, "json_schema")

    def test_refusals(self) -> None:
        image = {"type": "input_image", "image_url": "data:image/png;base64,"}
        for changes, says in (
            ({"input": [{"role": "user", "content": [image]}]}, "input[0].content[0].type"),
            ({"tools": [{"type": "file_search", "vector_store_ids": ["v"]}]}, "tools[0].type"),
            ({"background": True}, "background"),
            ({"input": "a " * 2000}, "maximum context length"),
        ):
            for stream in (False, True):
                with self.assertRaises(openai.BadRequestError) as caught:
                    self.client.responses.create(**GREEDY | {"input": SUM, "stream": stream} | changes)
                self.assertIn(says, caught.exception.message)

    def test_a_response_is_its_keys(self) -> None:
        server = self.start("--api-key", "one", "--api-key", "two").wait()
        one, two = client_of(server, key="one"), client_of(server, key="two")
        response = one.responses.create(input=SUM, **GREEDY)
        self.assertEqual(one.responses.retrieve(response.id).id, response.id)
        with self.assertRaises(openai.NotFoundError):
            two.responses.retrieve(response.id)
        with self.assertRaises(openai.NotFoundError):
            two.responses.delete(response.id)
        with self.assertRaises(openai.AuthenticationError):
            client_of(server, key="three").responses.retrieve(response.id)


class Thinking(ServerTest):
    """The built-in model with a prompt that ends in <think>, as R1's does."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.flags = ("--model", thinking_model(cls.class_scratch()))

    def test_thoughts_are_an_item(self) -> None:
        client = client_of(self.server)
        request = GREEDY | {"input": SUM, "max_output_tokens": 24}
        whole = client.responses.create(**request)
        self.assertEqual(whole.output[0].type, "reasoning")
        thoughts = whole.output[0].content[0].text
        self.assertTrue(thoughts)
        self.assertGreater(whole.usage.output_tokens_details.reasoning_tokens, 0)
        events = list(client.responses.create(stream=True, **request))
        deltas = [event.delta for event in events if event.type == "response.reasoning_text.delta"]
        self.assertEqual("".join(deltas), thoughts)
        again = client.responses.create(input=SUM, previous_response_id=whole.id, **GREEDY)
        self.assertTrue(again.output)
