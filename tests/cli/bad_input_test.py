"""Damaged and hostile files: a message with where, expected and found, exit code 1, no crash, nothing left behind."""
import json
import math
import os
import struct
import subprocess
from collections.abc import Callable

import support
from support import GOLDEN, TINY_CHAT, CliTest, ModelFolder, TensorData, read_safetensors, safetensors_header

FP8 = GOLDEN / "v31_fp8_ue8m0"
SHARDED = GOLDEN / "v3_fp8"
NORM = "model.layers.1.input_layernorm.weight"
EXPERT = "model.layers.1.mlp.experts.3.up_proj.weight"


class Damaged(CliTest):
    def setUp(self) -> None:
        super().setUp()
        self.ids = self.write("ids.json", [1, 2, 3])
        self.number = 0

    def model(self, source: os.PathLike[str] = FP8) -> ModelFolder:
        self.number += 1
        return self.copy_model(source, f"model{self.number}")

    def refuses(self, model: ModelFolder, *says: str, flags: tuple[str, ...] = ()) -> str:
        out = self.folder / "out" / "logits.safetensors"
        out.parent.mkdir(exist_ok=True)
        result = self.failure("logits", "-m", model.path, "--ids", self.ids, "--out", out, *flags, says=says)
        self.assertEqual(list(out.parent.iterdir()), [])
        self.assertNotRegex(result.err, r"json\.exception|std::|terminate|Sanitizer|Segmentation")
        self.assertGreaterEqual(len(result.err.splitlines()), 2, result.err)
        return result.err


class Safetensors(Damaged):
    def with_bytes(self, change: Callable[[bytearray], object]) -> ModelFolder:
        model = self.model()
        content = bytearray((model.path / "model.safetensors").read_bytes())
        change(content)
        model.write("model.safetensors", bytes(content))
        return model

    def with_header(self, change: Callable[[dict], object], data: bytes = b"\0" * 64) -> ModelFolder:
        """A file that has little else than a header."""
        entries = {"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}
        changed = change(entries)
        model = self.model()
        model.write("model.safetensors", safetensors_header(changed if isinstance(changed, dict) else entries) + data)
        return model

    def test_truncated(self) -> None:
        size = (FP8 / "model.safetensors").stat().st_size
        for length in (0, 7, 8, 100, size // 2, size - 1):
            self.refuses(self.with_bytes(lambda content: content.__delitem__(slice(length, None))), "model.safetensors")
        self.refuses(self.with_bytes(lambda content: content.append(0)), "model.safetensors")

    def test_corrupt_header(self) -> None:
        for length in (0, 2**63, 2**64 - 1, 100 * 2**20, 2**40, 3):
            length_bytes = struct.pack("<Q", length)
            self.refuses(self.with_bytes(lambda content: content.__setitem__(slice(0, 8), length_bytes)), "header")
        self.refuses(self.with_bytes(lambda content: content.__setitem__(9, 0xFF)), "model.safetensors")
        self.refuses(self.with_bytes(lambda content: content.__setitem__(8, ord("["))), "model.safetensors")

    def test_entries(self) -> None:
        def entry(**changes: object) -> Callable[[dict], object]:
            return lambda entries: entries["a"].update(changes)

        for change, data, says in (
            (entry(dtype="F64"), 16, "F64"),
            (entry(dtype="F8_E5M2"), 16, "F8_E5M2"),
            (entry(dtype=5), 16, "dtype"),
            (entry(shape=[5]), 16, "20 bytes"),
            (entry(shape=[-4]), 16, "shape"),
            (entry(shape=[2**62, 2**62]), 16, "2^63"),
            (entry(shape=4), 16, "shape"),
            (entry(data_offsets=[0, 2**62]), 16, "data_offsets"),
            (entry(data_offsets=[16, 0]), 16, "data_offsets"),
            (entry(data_offsets=[-16, 0]), 16, "data_offsets"),
            (entry(data_offsets=[0, 16, 16]), 16, "more numbers"),
            (entry(data_offsets=[4, 20]), 20, "tensor"),  # a gap
            (entry(strange=1), 16, "strange"),
            (lambda entries: entries["a"].pop("shape") and None, 16, "shape"),
            (lambda entries: entries.update(b=entries["a"]), 16, "tensor"),  # two in one place
            (entry(), 64, "tensor"),  # a tail
            (lambda entries: {"": [] for _ in range(1)}, 16, "model.safetensors"),
        ):
            self.refuses(self.with_header(change, b"\0" * data), "model.safetensors", says)
        twice = b'{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[],"data_offsets":[4,8]}}'
        model = self.model()
        model.write("model.safetensors", struct.pack("<Q", len(twice)) + twice + bytes(8))
        self.refuses(model, "tensor    a", "two")
        deep = b"[" * 100_000
        model.write("model.safetensors", struct.pack("<Q", len(deep)) + deep)
        self.refuses(model, "model.safetensors")

    def test_is_no_safetensors_file(self) -> None:
        model = self.model()
        model.remove("model.safetensors")
        self.refuses(model, "model.safetensors")
        (model.path / "model.safetensors").mkdir()
        self.refuses(model, "model.safetensors")
        (model.path / "model.safetensors").rmdir()
        os.mkfifo(model.path / "model.safetensors")
        self.refuses(model, "model.safetensors")


class Shards(Damaged):
    def with_index(self, change: Callable[[dict], object]) -> ModelFolder:
        model = self.model(SHARDED)
        model.edit_json("model.safetensors.index.json", change)
        return model

    def test_index(self) -> None:
        name = "model.safetensors.index.json"

        def shard(file: object) -> Callable[[dict], object]:
            return lambda index: index["weight_map"].update({"lm_head.weight": file})

        for change, says in (
            (shard("model-00009-of-000002.safetensors"), ["model-00009-of-000002.safetensors"]),
            (shard("../x.safetensors"), [name, "../x"]),
            (shard("/etc/passwd"), [name, "/etc/passwd"]),
            (shard(""), [name]),
            (shard(5), [name]),
            (shard("model-00001-of-000002.safetensors\n"), [name]),
            (lambda index: index["weight_map"].update(more="model-00001-of-000002.safetensors"), ["more"]),
            (lambda index: index["weight_map"].pop("lm_head.weight") and None, ["lm_head.weight"]),
            (lambda index: index.update(weight_map={}), ["no tensor of this name"]),
            (lambda index: index.update(weight_map=[]), [name]),
            (lambda index: index.pop("weight_map") and None, [name, "weight_map"]),
            (lambda index: [], [name]),
        ):
            self.refuses(self.with_index(change), *says)
        model = self.model(SHARDED)
        model.write(name, '{"weight_map": {"a": "b.safetensors", "a": "b.safetensors"}}')
        self.refuses(model, name, "twice")

    def test_absent_shard(self) -> None:
        model = self.model(SHARDED)
        model.remove("model-00002-of-000002.safetensors")
        self.refuses(model, "model-00002-of-000002.safetensors", "no such file", "download")

    def test_tensor_in_another_shard_than_the_index_says(self) -> None:
        def swap(index: dict) -> None:
            shards = ["model-00001-of-000002.safetensors", "model-00002-of-000002.safetensors"]
            where = index["weight_map"]["lm_head.weight"]
            index["weight_map"]["lm_head.weight"] = shards[1 - shards.index(where)]

        self.refuses(self.with_index(swap), "lm_head.weight")


class Tensors(Damaged):
    def edited(self, edit: Callable[[dict[str, TensorData]], object]) -> ModelFolder:
        model = self.model()
        model.edit_tensors(lambda tensors: edit(tensors) and None)
        return model

    def test_missing_and_unknown(self) -> None:
        for name in (NORM, EXPERT, "model.embed_tokens.weight"):
            error = self.refuses(self.edited(lambda tensors: tensors.pop(name)), name, "no tensor of this name")
            self.assertIn("expected  [", error)
        scale = EXPERT + "_scale_inv"
        self.refuses(self.edited(lambda tensors: tensors.pop(scale)), scale, "no tensor of this name")
        self.refuses(
            self.edited(lambda tensors: tensors.update(strange=tensors[NORM])),
            "tensor    strange", "only tensors that config.json implies",
        )
        beyond = "model.layers.7.input_layernorm.weight"
        self.refuses(self.edited(lambda tensors: tensors.update({beyond: tensors[NORM]})), beyond)

    def test_shape(self) -> None:
        for name, shape in ((NORM, [256, 1]), (EXPERT, [256, 128]), ("model.embed_tokens.weight", [512 * 256])):
            error = self.refuses(
                self.edited(lambda tensors: setattr(tensors[name], "shape", shape)),
                "model.safetensors", name, f"found     {shape}", "two different models",
            )
            self.assertRegex(error, r"expected  \[\d+(, \d+)?\] = \[")
        model = self.model()
        model.edit_config(hidden_size=512)
        self.refuses(model, "hidden_size", "[512, 512]", "[512, 256]")

    def test_dtype(self) -> None:
        for name, dtype, count in ((NORM, "I32", 128), (EXPERT, "I8", None), (NORM, "F8_E4M3", 512), (NORM, "U8", 512)):
            def change(tensors: dict[str, TensorData]) -> None:
                tensor = tensors[name]
                tensor.dtype = dtype
                count_now = {"I32": 4}.get(dtype, 1) * 256
                if count is not None:
                    tensor.data = bytearray(count_now)

            self.refuses(self.edited(change), name, dtype)

    def test_not_finite(self) -> None:
        for name, index, code in (
            (NORM, 200, b"\xc0\x7f"),  # BF16 NaN
            (NORM, 0, b"\x80\x7f"),  # BF16 infinity
            ("model.embed_tokens.weight", 131_071, b"\x80\xff"),  # the last one, -infinity
            (EXPERT, 70, b"\x7f"),  # the FP8 codes that are NaN
            (EXPERT, 71, b"\xff"),
            (EXPERT + "_scale_inv", 1, struct.pack("<f", float("nan"))),
            (EXPERT + "_scale_inv", 0, struct.pack("<f", float("-inf"))),
        ):
            model = self.edited(lambda tensors: tensors[name].put(index, code))
            error = self.refuses(model, "model.safetensors", f"tensor    {name}\n", "NaN or infinity at [")
            self.assertEqual(error, self.refuses(model, "finite numbers", flags=("--threads", "3")))

    def test_float32_weights_not_finite(self) -> None:
        name = "model.layers.1.mlp.gate.e_score_correction_bias"
        self.assertEqual(read_safetensors(FP8 / "model.safetensors")[name].dtype, "F32")
        model = self.edited(lambda tensors: tensors[name].put(3, struct.pack("<f", float("inf"))))
        self.refuses(model, name, "NaN or infinity at [3]")


class Config(Damaged):
    def test_keys(self) -> None:
        for change, says in (
            ({"new_attention": True}, "new_attention"),
            ({"hidden_size": -1}, "hidden_size"),
            ({"hidden_size": 0}, "hidden_size"),
            ({"hidden_size": "256"}, "hidden_size"),
            ({"hidden_size": 2**62}, "hidden_size"),
            ({"hidden_size": 1e300}, "hidden_size"),
            ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
            ({"vocab_size": 2**31}, "vocab_size"),
            ({"num_experts_per_tok": 13}, "num_experts_per_tok"),
            ({"n_group": 5}, "n_group"),
            ({"topk_group": 9}, "topk_group"),
            ({"qk_rope_head_dim": 63}, "qk_rope_head_dim"),
            ({"rms_norm_eps": -1}, "rms_norm_eps"),
            ({"rope_theta": 0}, "rope_theta"),
            ({"max_position_embeddings": 0}, "max_position_embeddings"),
            ({"model_type": "llama"}, "model_type"),
            ({"scoring_func": "tanh"}, "scoring_func"),
            ({"topk_method": "none"}, "topk_method"),
            ({"hidden_act": "gelu"}, "hidden_act"),
            ({"attention_bias": True}, "attention_bias"),
            ({"rope_scaling": {"type": "linear", "factor": 2}}, "rope_scaling"),
            ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config"),
            ({"quantization_config": None}, "quantization_config"),
        ):
            model = self.model()
            model.edit_config(**change)
            with self.subTest(change=change):
                self.refuses(model, "config.json", says)

    def test_missing_keys(self) -> None:
        for key in ("hidden_size", "kv_lora_rank", "n_routed_experts", "model_type"):
            model = self.model()
            model.edit_json("config.json", lambda config: config.pop(key) and None)
            with self.subTest(key=key):
                self.refuses(model, key)

    def test_broken_file(self) -> None:
        for content, says in (
            ("", "JSON"),
            ("{", "line 1"),
            ("[]", "object"),
            ('{"a": 1, "a": 2}', "twice"),
            (b'{"a": "\xff"}', "config.json"),
            ("[" * 100_000, "nested"),
            ('{"hidden_size": NaN}', "JSON"),
            (" " * (17 << 20), "config.json"),
        ):
            model = self.model()
            model.write("config.json", content)
            self.refuses(model, "config.json", says)
        model.remove("config.json")
        self.refuses(model, "config.json", "No such file")


class Text(Damaged):
    def test_tokenizer(self) -> None:
        model = self.copy_model(TINY_CHAT)
        ask = ("generate", "-m", model.path, "-p", "x")
        for content in ("", "{", "[]", "{}", '{"model": {"type": "None"}}', "[" * 100_000, b"\xff\xfe"):
            model.write("tokenizer.json", content)
            for command in (ask, ("tokenize", "-m", model.path), ("chat", "-m", model.path)):
                self.failure(*command, says=["tokenizer.json"])
        model.remove("tokenizer.json")
        self.failure(*ask, says=["tokenizer.json", "No such file"])

    def test_tokenizer_of_another_model(self) -> None:
        """Ids beyond the model's vocabulary are refused, whatever the tokenizer makes of a text."""
        model = self.copy_model(GOLDEN / "v2")
        for name in ("tokenizer.json", "tokenizer_config.json"):
            model.write(name, (TINY_CHAT / name).read_bytes())
        self.failure("generate", "-m", model.path, "-p", "Once upon a time", "-n", "2", says=["0 to 511"])

    def test_chat_templates_that_never_end(self) -> None:
        for number, template in enumerate((
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
            "{{ 1 // 0 }}",
            "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
        )):
            model = self.copy_model(TINY_CHAT, f"template{number}")
            model.set_template(template)
            result = self.ok("chat", "-m", model.path, stdin="Hi\n/exit\n")
            self.assertEqual(result.out, "")
            self.assertIn("hadal: chat template", result.err)

    def test_prompt_that_is_not_utf8(self) -> None:
        for bytes_, at in ((b"caf\xe9", "3"), (b"\xff", "0"), (b"ab\xed\xa0\x80", "2"), (b"\xc0\x80", "0")):
            for source in (("-p", bytes_), ("-f", self.write("prompt", bytes_)), ("--input-file", self.folder / "prompt")):
                self.failure("generate", *source, says=["UTF-8", f"byte {at}"])
            self.failure("generate", "-f", "-", stdin=bytes_, says=["UTF-8", f"byte {at}"])
        self.failure("generate", "-p", "x", "--regex", b"\xff", says=["UTF-8"])
        self.failure("generate", "-p", "x", "--json-schema", b'{"const": "\xff"}', says=["JSON schema"])

    def test_model_folder_with_a_name_that_is_not_utf8(self) -> None:
        path = os.fsencode(self.folder) + b"/m\xff"
        os.symlink(TINY_CHAT, path)
        self.ok("generate", "-m", path, "-p", "x", "-n", "1", "--json")
        self.ok("inspect", "--json", path)
        self.ok("verify", "--json", path)


class Memory(Damaged):
    """What cannot fit is refused with the numbers, before it is read."""

    def huge(self) -> ModelFolder:
        """A BF16 checkpoint of four times this machine's memory, in one sparse file."""
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        hidden, wide = 65_536, 262_144
        layers = 1 + 4 * total // (3 * hidden * wide * 2)
        model = self.model(GOLDEN / "v2lite")
        model.edit_config(
            hidden_size=hidden, intermediate_size=wide, num_hidden_layers=layers, first_k_dense_replace=layers
        )
        config = json.loads((model.path / "config.json").read_text())
        heads, nope, rope = (config[key] for key in ("num_attention_heads", "qk_nope_head_dim", "qk_rope_head_dim"))
        latent, value = config["kv_lora_rank"], config["v_head_dim"]
        shapes = {
            "model.embed_tokens": [config["vocab_size"], hidden],
            "model.norm": [hidden],
            "lm_head": [config["vocab_size"], hidden],
        }
        for layer in range(layers):
            shapes |= {
                f"model.layers.{layer}.{name}": shape
                for name, shape in {
                    "input_layernorm": [hidden],
                    "post_attention_layernorm": [hidden],
                    "self_attn.q_proj": [heads * (nope + rope), hidden],
                    "self_attn.kv_a_proj_with_mqa": [latent + rope, hidden],
                    "self_attn.kv_a_layernorm": [latent],
                    "self_attn.kv_b_proj": [heads * (nope + value), latent],
                    "self_attn.o_proj": [hidden, heads * value],
                    "mlp.gate_proj": [wide, hidden],
                    "mlp.up_proj": [wide, hidden],
                    "mlp.down_proj": [hidden, wide],
                }.items()
            }
        entries, offset = {}, 0
        for name, shape in shapes.items():
            end = offset + 2 * math.prod(shape)
            entries[name + ".weight"] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, end]}
            offset = end
        header = safetensors_header(entries)
        file = model.write("model.safetensors", header)
        try:
            os.truncate(file, len(header) + offset)
        except OSError as e:
            self.skipTest(f"no sparse file of {offset} bytes here: {e}")
        return model

    def test_weights(self) -> None:
        model = self.huge()
        for command in (
            ("logits", "--ids", str(self.ids), "--out", str(self.folder / "out.safetensors")),
            ("generate", "-p", "x"),
            ("chat",),
        ):
            for flag in ("--no-mmap", "--mlock"):
                result = self.failure(*command, "-m", model.path, flag, says=["weights", "not enough memory"])
                self.assertRegex(result.err, r"weights .*\d+(\.\d+)? (GiB|TiB)")
                self.assertIn("available", result.err)
                self.assertLess(result.seconds, 20)
        self.assertFalse((self.folder / "out.safetensors").exists())
        self.assertIn("do not fit", self.ok("inspect", model.path).out)

    def test_weights_that_can_be_dropped(self) -> None:
        """Mapped files may be larger than the memory: that is slow, so it is said before anything is read."""
        command = [str(support.hadal), "generate", "-p", "x", "-m", str(self.huge().path)]
        process = subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=support.environment()
        )
        with process:
            assert process.stderr is not None
            line = process.stderr.readline()
            process.kill()
        self.assertRegex(line, r"^warning: memory: weights .*GiB \(mapped\).* available: .*disk")

    def test_cache(self) -> None:
        model = self.model(GOLDEN / "v2lite")
        model.edit_config(max_position_embeddings=2**30)
        result = self.failure("generate", "-m", model.path, "-p", "a", "-n", "1000000000", says=["KV cache"])
        self.assertRegex(result.err, r"\d+(\.\d+)? (GiB|TiB)")


if __name__ == "__main__":
    raise SystemExit("run tests/cli_test.py")
