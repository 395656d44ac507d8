"""Flags: what people paste from other servers' documentation, and the defaults that flags give to requests."""

import subprocess

import support
from support import ROOT, ServerTest

MODEL = f"{ROOT}/models/tiny-chat"
MESSAGES = [{"role": "user", "content": "Hello"}]
# Each with the flags that mean nothing here and have to be named.
PASTED = {
    f"--model-path {MODEL} --tp 8 --trust-remote-code --context-length 256 --max-running-requests 4 "
    "--chunked-prefill-size 128 --mem-fraction-static 0.5 --disable-radix-cache --enable-dp-attention "
    "--nnodes 1 --node-rank 0 --dist-init-addr 127.0.0.1:5000 --attention-backend flashinfer --random-seed 3 "
    "--speculative-num-steps 1 --speculative-eagle-topk 1 --log-level info": [
        "--tp 8",
        "--trust-remote-code",
        "--enable-dp-attention",
        "--nnodes 1",
        "--node-rank 0",
        "--dist-init-addr 127.0.0.1:5000",
        "--attention-backend flashinfer",
        "--speculative-num-steps 1",
        "--speculative-eagle-topk 1",
        "--log-level info",
    ],
    f"{MODEL} -tp 1 --max-model-len 256 --max-num-seqs 4 --max-num-batched-tokens 128 --enable-prefix-caching "
    "--gpu-memory-utilization 0.5 --kv-cache-dtype auto --dtype bfloat16 --enforce-eager --block-size 64 "
    "--enable-auto-tool-choice --tool-call-parser deepseek_v3 --reasoning-parser deepseek_r1 -q fp8 --seed 3": [
        "--tp 1",
        "--enforce-eager",
        "--block-size 64",
        "--enable-auto-tool-choice",
        "--tool-call-parser deepseek_v3",
        "--reasoning-parser deepseek_r1",
        "--quantization fp8",
    ],
    f"-m {MODEL} -c 256 -np 4 -b 128 -ub 64 -t 2 -tb 2 -ngl 99 -fa on -ctk bf16 -ctv bf16 -cb --jinja -mla 3 -fmoe "
    "-amb 512 -a tiny-chat --mlock --no-mmap --numa distribute": [
        "--ubatch-size 64",
        "--threads-batch 2",
        "--n-gpu-layers 99",
        "--flash-attn on",
        "--cache-type-v bf16",
        "--cont-batching",
        "--jinja",
        "--mla-use 3",
        "--fused-moe",
        "--attention-max-batch 512",
    ],
}


class Flags(ServerTest):
    def test_pasted_commands(self) -> None:
        for words, meaningless in PASTED.items():
            with self.subTest(words):
                server = self.start(*words.split()).wait()
                self.assertEqual(server.get("/v1/models")["data"][0]["id"], "tiny-chat")
                self.assertEqual(server.get("/server_info")["max_running_requests"], 4)
                self.assertEqual(server.post("/tokenize", {"prompt": "x"})["max_model_len"], 256)
                self.assertEqual(server.stop(), 0)
                warned = [line for line in server.log if "means nothing here" in line]
                self.assertEqual(len(warned), len(meaningless), warned)
                for flag, line in zip(sorted(meaningless), sorted(warned)):
                    self.assertIn(f" {flag} means nothing here", line)

    def test_flash_attn_needs_no_value(self) -> None:
        self.start("-fa", "-c", "256").wait()

    def test_the_seed_of_requests_without_one(self) -> None:
        story = {"prompt": "Once upon a time", "max_tokens": 24, "temperature": 1, "n": 2}
        seeded = self.start("--seed", "11").wait()

        def texts(server: support.Server, **more: int) -> list[str]:
            return [choice["text"] for choice in server.post("/v1/completions", story | more)["choices"]]

        first = texts(seeded)
        self.assertNotEqual(first[0], first[1], "two draws")
        self.assertEqual(texts(seeded), first)
        self.assertEqual(texts(self.server, seed=11), first)
        self.assertNotEqual(texts(seeded, seed=12), first, "the request's own goes first")

    def test_another_chat_template(self) -> None:
        source = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
        file = self.scratch() / "other.jinja"
        file.write_text(source, encoding="utf-8")
        for given in (source, file):
            server = self.start("--chat-template", given).wait()
            self.assertEqual(server.get("/tokenizer_info")["chat_template"], source)
            tokens = server.post("/tokenize", {"messages": MESSAGES})["tokens"]
            self.assertEqual(server.post("/detokenize", {"tokens": tokens})["text"], "[user]Hello")
            reply = server.post("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 3})
            self.assertEqual(reply["usage"]["prompt_tokens"], len(tokens))

    def test_a_template_that_does_not_parse(self) -> None:
        done = subprocess.run(
            [support.hadal, "serve", "--port", "0", "--chat-template", "{% if"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("chat template", done.stderr)
