"""tokenize, render, logits, inspect, verify."""
import hashlib
import json
import struct
import subprocess

import support
from support import GOLDEN, TINY_CHAT, CliTest, TensorData, floats, has_command, read_safetensors

BOS = "<｜begin▁of▁sentence｜>"
FP32_LOGITS = 2e-3  # three times what independent FP32 implementations differ by: docs/testing.md
DECODE_REL_L2 = 0.04  # BF16 rounds other intermediate values in the absorbed form than in the expanded one


class Tokenize(CliTest):
    def lines(self, *rows: object, flags: tuple[str, ...] = ()) -> list[dict]:
        stdin = "".join(json.dumps(row) + "\n" for row in rows)
        result = self.ok("tokenize", *flags, stdin=stdin)
        self.assertEqual(result.err, "")
        return result.json_lines()

    def test_there_and_back(self) -> None:
        texts = ["Once upon a time", "", " a\n\n\tb  ", "naïve 東京 🐙 \u2028 x", "a\u0000b", "<｜User｜>hi", "\\\"/"]
        rows = self.lines(*({"text": text} for text in texts))
        self.assertEqual([set(row) for row in rows], [{"ids"}] * len(texts))
        self.assertEqual(rows[0]["ids"], [515, 499, 261, 429])
        self.assertEqual(rows[1]["ids"], [])
        back = self.lines(*rows, flags=("--decode",))
        self.assertEqual(back, [{"text": text} for text in texts])

    def test_special_tokens(self) -> None:
        (plain,) = self.lines({"text": "Once"})
        (special,) = self.lines({"text": "Once"}, flags=("--add-special",))
        self.assertEqual(special["ids"], [0, *plain["ids"]])
        (shown,) = self.lines(special, flags=("--decode",))
        self.assertEqual(shown["text"], BOS + "Once")
        (skipped,) = self.lines(special, flags=("--decode", "--skip-special-tokens"))
        self.assertEqual(skipped["text"], "Once")
        self.usage_error("tokenize", "--skip-special-tokens", says=["--decode"])
        self.usage_error("tokenize", "--decode", "--add-special", says=["--decode", "--add-special"])

    def test_other_keys_are_carried_by_nobody(self) -> None:
        self.assertEqual(self.lines({"text": "Once", "more": [1]}), [{"ids": [515]}])

    def test_tokenizer_files_alone_are_enough(self) -> None:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            self.write(f"alone/{name}", (TINY_CHAT / name).read_bytes())
        flags = ("--model", str(self.folder / "alone"))
        self.assertEqual(self.lines({"text": "Once"}, flags=flags), [{"ids": [515]}])

    def test_bad_lines_are_named(self) -> None:
        good = '{"text": "Once"}\n'
        for flags, first, line, says in (
            ((), good, "{", "JSON"),
            ((), good, "[]", 'expected  an object with "text", a string'),
            ((), good, "{}", 'an object with "text"'),
            ((), good, '{"text": 5}', "found     number"),
            (("--decode",), '{"ids": []}\n', '{"ids": [4096]}', "token ids below 4096"),
            (("--decode",), '{"ids": []}\n', '{"ids": [-1]}', "a list of token ids"),
            (("--decode",), '{"ids": []}\n', '{"ids": [1.5]}', "a list of token ids"),
            (("--decode",), '{"ids": []}\n', '{"ids": [99999999999999999999]}', "a list of token ids"),
            (("--decode",), '{"ids": []}\n', '{"ids": "1"}', "a list of token ids"),
            (("--decode",), '{"ids": []}\n', good, 'an object with "ids"'),
        ):
            result = self.run_failing("tokenize", *flags, stdin=first + line + "\n")
            self.assertIn("stdin, line 2", result.err, line)
            self.assertIn(says, result.err, line)
            self.assertEqual(len(result.json_lines()), 1, line)  # the good line before it
        result = self.run_failing("tokenize", stdin=b'{"text": "a\xff"}\n')
        self.assertIn("stdin, line 1", result.err)


class Render(CliTest):
    MESSAGES = [
        {"role": "system", "content": "Be kind.\r\n"},
        {"role": "user", "content": "  Hi\r\nthere é🐙 \n"},
        {"role": "assistant", "content": "Hello\n\n"},
        {"role": "user", "content": ""},
    ]

    def render(self, *flags: str, model: str = str(TINY_CHAT), messages: object = MESSAGES) -> str:
        file = self.write("messages.json", messages)
        result = self.ok("render", "--model", model, "--messages", file, *flags)
        self.assertEqual(result.err, "")
        return result.out

    def test_bytes_are_exact(self) -> None:
        text = f"{BOS}Be kind.\r\n<｜User｜>  Hi\r\nthere é🐙 \n<｜Assistant｜>Hello\n\n<｜end▁of▁sentence｜><｜User｜>"
        self.assertEqual(self.render(), text + "<｜Assistant｜>")
        self.assertEqual(self.render("--no-generation-prompt"), text)
        self.assertEqual(self.render("--chat-template", "{{ messages | length }}"), str(len(self.MESSAGES)))
        self.assertEqual(self.render(messages={"model": "x", "messages": self.MESSAGES}), text + "<｜Assistant｜>")

    def test_newline_at_the_end_is_the_templates(self) -> None:
        model = self.copy_model(TINY_CHAT)
        model.set_template("{{ messages[0].content }}\n\n")  # one is taken away, as transformers does
        for text in ("a", "a\n", "a\r\n"):
            rendered = self.render(model=str(model.path), messages=[{"role": "user", "content": text}])
            self.assertEqual(rendered, text + "\n")

    def test_arguments(self) -> None:
        model = self.copy_model(TINY_CHAT)
        model.set_template("{{ thinking|tojson }} {{ n + 1 }} {{ name }} {{ list[1] }} {{ eos_token }}")
        flags = ["--template-arg", "thinking=true", "--template-arg", "n=4", "--template-arg", "name=a=b"]
        rendered = self.render(*flags, "--template-arg", "list=[1,2]", model=str(model.path))
        self.assertEqual(rendered, "true 5 a=b 2 <｜end▁of▁sentence｜>")
        file = self.write("messages.json", [])
        self.usage_error("render", "--messages", file, "--template-arg", "thinking", says=["name=value", "thinking"])

    def test_thinking_as_v31_has_it(self) -> None:
        model = self.copy_model(TINY_CHAT)
        model.set_template(
            "{% if not thinking is defined %}{% set thinking = false %}{% endif %}"
            "{{'<｜Assistant｜>'}}{%- if not thinking -%}{{'</think>'}}{%- else -%}{{'<think>'}}{%- endif -%}"
        )
        self.assertEqual(self.render(model=str(model.path)), "<｜Assistant｜></think>")
        thinking = self.render("--template-arg", "thinking=true", model=str(model.path))
        self.assertEqual(thinking, "<｜Assistant｜><think>")

    def test_tools(self) -> None:
        tools = [{"type": "function", "function": {"name": "add", "parameters": {"é": "<&>"}}}]
        model = self.copy_model(TINY_CHAT)
        model.set_template("{% for t in tools %}{{ t.function.name }} {{ t|tojson }}{% endfor %}")
        flags = ("--tools", str(self.write("tools.json", tools)))
        expected = 'add {"type": "function", "function": {"name": "add", "parameters": {"é": "<&>"}}}'
        self.assertEqual(self.render(*flags, model=str(model.path)), expected)

    def test_own_file_comes_first(self) -> None:
        model = self.copy_model(TINY_CHAT)
        model.write("chat_template.jinja", "own {{ messages|length }}\r\n")
        self.assertEqual(self.render(model=str(model.path)), "own 4")

    def test_bad_input(self) -> None:
        model = self.copy_model(TINY_CHAT)
        good = self.write("good.json", self.MESSAGES)
        for content, says in (("{", "JSON"), ("{}", "a list"), ("5", "a list"), ("", "JSON")):
            file = self.write("bad.json", content)
            self.failure("render", "--messages", file, says=[says])
        self.failure("render", "--messages", self.folder / "absent", says=["absent", "No such file"])
        self.failure("render", "--messages", good, "--tools", self.folder / "absent", says=["absent"])
        bad_text = ("render", "--messages", good, "--template-arg", b"x=\xff")
        self.failure(*bad_text, says=["UTF-8"])
        for template, says in (
            ("{{ 1 // 0 }}", "template"),
            ("{{ messages[0].content.nothing() }}", "template"),
            ("{{ raise_exception('no tools here') }}", "no tools here"),
            ("{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}", "template"),
            ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "template"),
            ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "template"),
            ("{% set a = 'x' * 99999999999 %}{{ a }}", "template"),
            ("{% if %}", "template"),
            ("(" * 100000, None),
            ("{{ " + "(" * 100000 + " }}", "template"),
        ):
            model.set_template(template)
            if says is None:
                self.ok("render", "-m", model.path, "--messages", good)
            else:
                self.failure("render", "-m", model.path, "--messages", good, says=[says])
        model.edit_json("tokenizer_config.json", lambda config: config.pop("chat_template") and None)
        self.failure("render", "-m", model.path, "--messages", good, says=["chat_template.jinja", "neither"])


class Logits(CliTest):
    def logits(self, model: object, ids: object, *flags: str) -> dict[str, TensorData]:
        out = self.folder / "out.safetensors"
        result = self.ok("logits", "-m", model, "--ids", self.write("ids.json", ids), "--out", out, *flags)
        self.assertEqual(result.out + result.err, "")
        return read_safetensors(out)

    def case(self, name: str, prompt: int) -> tuple[list[int], list[float]]:
        golden = read_safetensors(GOLDEN / name / "golden.safetensors")
        data = golden[f"p{prompt}.input_ids"].data
        return list(struct.unpack(f"<{len(data) // 4}i", data)), floats(golden[f"p{prompt}.logits_f32"])

    def test_official_values(self) -> None:
        for name in ("v2", "v2lite", "v3_fp8", "v31_fp8_ue8m0"):
            ids, expected = self.case(name, 2)
            for form in ((), ("--chunk", "7"), ("--decode",)):
                found = self.logits(GOLDEN / name, ids, "--dtype", "float32", *form)["logits"]
                self.assertEqual((found.dtype, found.shape), ("F32", [len(ids), 512]))
                worst = max(abs(a - b) for a, b in zip(floats(found), expected, strict=True))
                self.assertLessEqual(worst, FP32_LOGITS, f"{name} {form}")

    def test_chunks_and_threads_change_no_bit(self) -> None:
        for name in ("v2", "v3_fp8"):
            ids, _ = self.case(name, 3)
            whole = self.logits(GOLDEN / name, ids)
            self.assertEqual(set(whole), {"logits"})
            for flags in (("--chunk", "1"), ("--chunk", "7"), ("--threads", "1"), ("--threads", "3", "--chunk", "20")):
                self.assertEqual(self.logits(GOLDEN / name, ids, *flags), whole, f"{name} {flags}")
            decoded = floats(self.logits(GOLDEN / name, ids, "--decode")["logits"])
            exact = floats(whole["logits"])
            error = sum((a - b) ** 2 for a, b in zip(decoded, exact, strict=True)) / sum(a * a for a in exact)
            self.assertGreater(error, 0, "the absorbed form is another computation")
            self.assertLess(error**0.5, DECODE_REL_L2)

    def test_mtp(self) -> None:
        ids, _ = self.case("v3_fp8", 2)
        found = self.logits(GOLDEN / "v3_fp8", ids, "--mtp", "--dtype", "float32")
        self.assertEqual(found["mtp_logits"].shape, [len(ids) - 1, 512])
        golden = floats(read_safetensors(GOLDEN / "v3_fp8" / "golden.safetensors")["p2.mtp_logits_f32"])
        worst = max(abs(a - b) for a, b in zip(floats(found["mtp_logits"]), golden, strict=True))
        self.assertLessEqual(worst, FP32_LOGITS)
        out = self.folder / "none.safetensors"
        ids_file = self.write("ids.json", ids)
        self.refused(2, "logits", "-m", GOLDEN / "v2", "--ids", ids_file, "--out", out, "--mtp",
                     says=["a multi-token-prediction module", "tests/golden/v2"])
        self.assertFalse(out.exists())

    def test_hidden_states(self) -> None:
        ids, _ = self.case("v2", 2)
        found = self.logits(GOLDEN / "v2", ids, "--hidden-states")
        width = json.loads((GOLDEN / "v2" / "config.json").read_text())["hidden_size"]
        names = {"logits", "hidden.embed", "hidden.final_norm", "hidden.0", "hidden.1", "hidden.2"}
        self.assertEqual(set(found), names)
        self.assertEqual({name: t.shape for name, t in found.items() if name != "logits"},
                         {name: [len(ids), width] for name in names - {"logits"}})
        self.assertEqual(found["logits"], self.logits(GOLDEN / "v2", ids)["logits"])

    def test_ids_may_stand_in_an_object(self) -> None:
        self.assertEqual(self.logits(GOLDEN / "v2", {"ids": [510, 7]}), self.logits(GOLDEN / "v2", [510, 7]))

    def test_bad_ids(self) -> None:
        out = self.folder / "out.safetensors"
        for ids, says in (
            ([], ["1 to 512", "found     0"]),
            ([0, 4096], ["0 to 4095", "4096"]),
            ([0, -1], ["entry     1", "a token id", "-1"]),
            ([0, 1.5], ["entry     1", "1.5"]),
            ([0, "1"], ["entry     1", '"1"']),
            ([0, 99999999999999999999], ["entry     1"]),
            ([0, 2**40], ["entry     1", str(2**40)]),
            ({"id": [1]}, ["a JSON list of token ids", "object"]),
            ([0] * 513, ["1 to 512 (max_position_embeddings)", "found     513"]),
            ("[1, 2", ["JSON"]),
        ):
            file = self.write("ids.json", ids)
            self.failure("logits", "--ids", file, "--out", out, says=says)
            self.assertFalse(out.exists(), ids)
        self.failure("logits", "--ids", self.folder / "absent", "--out", out, says=["absent", "No such file"])

    def test_output_that_cannot_be_written(self) -> None:
        ids = self.write("ids.json", [0, 1])
        full = self.folder / "full"
        full.symlink_to("/dev/full")  # a link, because what is tested here is that it is not replaced
        for out, says in (
            (self.folder / "absent" / "out.safetensors", "No such file"),
            (self.folder, "directory"),
            (ids / "out.safetensors", "Not a directory"),
            (full, "No space left on device"),
        ):
            self.failure("logits", "--ids", ids, "--out", out, says=[str(out), says])
        self.assertTrue(full.is_symlink())

    def test_failed_write_leaves_the_old_file_or_none(self) -> None:
        ids = self.write("ids.json", [0] * 300)
        out = self.write("out.safetensors", "old")
        # 2 MB of 4.7: the limit on file sizes stands for a disk that fills up
        command = f'ulimit -f 2048; trap "" XFSZ; exec "$0" logits --ids "{ids}" --out "{out}"'
        done = subprocess.run(["bash", "-c", command, support.hadal], capture_output=True, env=support.environment())
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(b"out.safetensors", done.stderr)
        self.assertIn(out.read_bytes() if out.exists() else b"old", (b"old",))
        self.assertEqual(sorted(file.name for file in self.folder.iterdir() if file != out), ["ids.json"])


class Inspect(CliTest):
    def inspect(self, *args: object) -> dict:
        result = self.ok("inspect", "--json", *args)
        self.assertEqual(result.err, "")
        return json.loads(result.out)

    def test_folder(self) -> None:
        found = self.inspect()
        self.assertEqual(found["folder"], str(TINY_CHAT))
        self.assertEqual(found["model_type"], "deepseek_v3")
        parameters = found["parameters"]
        self.assertEqual((parameters["total"] + parameters["mtp"]) // 100_000, 103)  # its README: 10.3M
        self.assertEqual(found["kv_bytes_per_token"], 4 * (64 + 16) * 2)
        self.assertEqual(found["bytes_from"], "files")
        self.assertEqual(found["mtp_modules"], {"config": 1, "present": 1})
        self.assertEqual(set(found["runs"].values()), {None})
        self.assertEqual(found["tokenizer"]["vocab_size"], 4096)
        for name in ("v2", "v3_fp8"):
            one, other = self.inspect(GOLDEN / name), self.inspect("--model", GOLDEN / name)
            self.assertEqual(one | {"memory": 0}, other | {"memory": 0})  # what is available changes by itself

    def test_config_alone(self) -> None:
        config = self.write("config.json", (TINY_CHAT / "config.json").read_bytes())
        for path in (config, self.folder):
            found = self.inspect(path)
            self.assertEqual(found["bytes_from"], "config")
            self.assertEqual(found["parameters"], self.inspect()["parameters"])
            self.assertIn("no weights", found["runs"]["logits"])

    def test_text_says_the_same(self) -> None:
        out = self.ok("inspect").out
        for text in ("architecture", "8.32M", "640 bytes per token", "512 tokens", "generate    yes", "chat        yes"):
            self.assertIn(text, out)

    def test_what_does_not_run_and_why(self) -> None:
        model = self.copy_model(GOLDEN / "v2")
        model.edit_tensors(lambda tensors: tensors.pop("model.norm.weight") and None)
        self.assertIn("model.norm.weight", self.inspect(model.path)["runs"]["logits"])
        model = self.copy_model(TINY_CHAT, "no tokenizer")
        model.remove("tokenizer.json")
        runs = self.inspect(model.path)["runs"]
        self.assertIsNone(runs["logits"])
        self.assertIn("tokenizer.json", runs["generate"])

    def test_bad_input(self) -> None:
        self.failure("inspect", self.folder / "absent", says=["absent"])
        self.failure("inspect", self.write("config.json", "{"), says=["config.json", "JSON"])
        self.failure("inspect", self.write("empty/x", "").parent, says=["config.json"])


class Verify(CliTest):
    def test_sums_are_those_of_sha256sum(self) -> None:
        for model, count in ((GOLDEN / "v2", 1), (GOLDEN / "v3_fp8", 2)):
            result = self.ok("verify", model)
            files = sorted(model.glob("model*.safetensors"))
            self.assertEqual(len(files), count)
            lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
            self.assertEqual(result.out, "".join(lines))
            self.assertIn("tensors present, of the right shape, finite", result.err)
            row = json.loads(self.ok("verify", "--json", model).out)
            self.assertEqual((row["ok"], len(row["files"])), (True, count))
            again = self.write("sums", result.out)
            self.assertIn("checksums match", self.ok("verify", model, "--manifest", again).err)
        self.ok("verify", "--model", TINY_CHAT)

    def test_manifest_by_sha256sum(self) -> None:
        if not has_command("sha256sum"):
            self.skipTest("no sha256sum")
        model = self.copy_model(GOLDEN / "v3_fp8")
        for command in ("sha256sum *", "sha256sum -b ./*.safetensors", f"sha256sum '{model.path}'/*"):
            done = subprocess.run(["bash", "-c", command], cwd=model.path, capture_output=True, check=True)
            sums = self.write("sums", done.stdout)
            self.assertIn("checksums match", self.ok("verify", model.path, "--manifest", sums).err)
            if "safetensors" not in command:  # what else the manifest names is checked as well
                model.write("config.json", (model.path / "config.json").read_text() + "\n")
                self.failure("verify", model.path, "--manifest", sums, says=["config.json"])
                model.write("config.json", (GOLDEN / "v3_fp8" / "config.json").read_bytes())

    def test_manifest_that_does_not_match(self) -> None:
        out = self.ok("verify", GOLDEN / "v3_fp8").out
        lines = out.splitlines(keepends=True)
        second = lines[1].split("  ")[1].strip()
        changed = ("0" if lines[1][0] != "0" else "1") + lines[1][1:]
        for manifest, says in (
            (lines[0] + changed, [second, changed[:64], lines[1][:64]]),
            (lines[0], [second, "a line for it"]),
            (out + "0" * 64 + "  model-00003.safetensors\n", ["model-00003.safetensors", "no such file"]),
            ("nothing of the kind\n", ["line      1", "64 hex digits"]),
            ("", ["a checksum a line"]),
        ):
            self.failure("verify", GOLDEN / "v3_fp8", "--manifest", self.write("sums", manifest), says=says)
        self.failure("verify", GOLDEN / "v2", "--manifest", self.folder / "absent", says=["absent"])

    def test_flipped_byte(self) -> None:
        model = self.copy_model(GOLDEN / "v3_fp8")
        sums = self.write("sums", self.ok("verify", model.path).out)
        name = "model-00002-of-000002.safetensors"
        file = model.writable(name)
        content = bytearray(file.read_bytes())
        content[-5] ^= 1
        file.write_bytes(content)
        self.failure("verify", model.path, "--manifest", sums, says=[name, "expected", "found"])

    def test_not_finite(self) -> None:
        for source, tensor, index, code, where in (
            ("v2", "model.layers.1.self_attn.kv_b_proj.weight", 130 * 64 + 5, b"\xc0\x7f", None),
            ("v2", "model.norm.weight", 9, b"\x80\xff", "[9]"),
            ("v31_fp8_ue8m0", "model.layers.0.mlp.up_proj.weight", 3 * 256 + 17, b"\xff", "[3, 17]"),
            ("v31_fp8_ue8m0", "model.layers.0.mlp.up_proj.weight_scale_inv", 3, b"\x00\x00\x80\x7f", "[1, 1]"),
        ):
            model = self.copy_model(GOLDEN / source, f"{source}{index}")
            shape = []

            def edit(tensors: dict[str, TensorData]) -> None:
                tensors[tensor].put(index, code)
                shape.extend(tensors[tensor].shape)

            model.edit_tensors(edit)
            where = where or f"[{index // shape[1]}, {index % shape[1]}]"
            says = ["model.safetensors", tensor, "finite numbers", f"NaN or infinity at {where}"]
            self.failure("verify", model.path, says=says)
            ids = self.write("ids.json", [1])
            out = self.folder / "out"
            self.failure("logits", "-m", model.path, "--ids", ids, "--out", out, says=says)
            self.assertFalse(out.exists())


if __name__ == "__main__":
    raise SystemExit("run tests/cli_test.py")
