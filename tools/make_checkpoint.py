#!/usr/bin/env python3
"""Writes a random checkpoint of the DeepSeek-V2/V3 family in its real Hugging Face form, of any shape, size and format:
for measuring speed and memory without a download, and for tests. Needs numpy; holds a few MB of one tensor at a time.

    tools/make_checkpoint.py --preset v2-lite --format fp8 --out /tmp/v2-lite-fp8      # 16 GB
    tools/make_checkpoint.py --preset v3-layers=4 --mtp --ue8m0 --out /tmp/v3-4
    tools/make_checkpoint.py --config DIR/config.json --format bf16 --out /tmp/same-shape

Weights are normally distributed, with a standard deviation of 1 / sqrt(inputs), so that activations keep their size
through any number of layers. A tensor depends on the seed and its name alone, not on shards. Text that comes out
means nothing.
"""
from __future__ import annotations

import argparse
import dataclasses
import json
import math
import pathlib
import re
import shutil
import statistics
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

CONFIGS = pathlib.Path(__file__).resolve().parent.parent / "tests" / "data" / "configs"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json")
BYTES = {"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1}
TORCH_DTYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "fp8": "bfloat16"}
PLAIN_DTYPES = {"f32": "F32", "f16": "F16", "bf16": "BF16", "fp8": "BF16"}
CHUNK = 1 << 21  # elements that are made at a time
FP8_MAX = 448.0
# The 256 quantiles that FP8 weights are drawn from end here, and this one becomes the largest code.
FP8_QUANTILE_MAX = statistics.NormalDist().inv_cdf(1 - 0.5 / 256)

TINY = {
    "first_k_dense_replace": 1, "hidden_size": 256, "intermediate_size": 448, "kv_lora_rank": 128,
    "max_position_embeddings": 4096, "moe_intermediate_size": 136, "n_group": 2, "n_routed_experts": 8,
    "num_attention_heads": 4, "num_experts_per_tok": 3, "num_hidden_layers": 3, "num_key_value_heads": 4,
    "q_lora_rank": 192, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "topk_group": 1, "v_head_dim": 32,
    "vocab_size": 512,
}


@dataclasses.dataclass(frozen=True)
class Tensor:
    name: str
    dtype: str  # as safetensors spells it
    shape: tuple[int, ...]
    mean: float = 0.0
    std: float = 1.0
    is_scale: bool = False  # block scales of an FP8 weight: positive, all different, about std
    content: str = ""  # the tensor that this one is a copy of; its own name otherwise

    def elements(self) -> int:
        return math.prod(self.shape)

    def bytes(self) -> int:
        return self.elements() * BYTES[self.dtype]


@dataclasses.dataclass(frozen=True)
class Storage:
    """How tensors are stored."""
    format: str
    block: tuple[int, int]
    scale_dtype: str
    ue8m0: bool
    seed: int


# --- the tensors of a config, as in docs/model.md --------------------------------------------------------------------


class Model:
    """The tensors that a config.json asks for, in the order of the layers."""

    def __init__(self, config: dict[str, Any], storage: Storage) -> None:
        self.c = config
        self.storage = storage
        self.plain = PLAIN_DTYPES[storage.format]

    def tensors(self) -> Iterator[Tensor]:
        c = self.c
        yield self.embedding("model.embed_tokens.weight")
        for layer in range(c["num_hidden_layers"]):
            moe = (bool(c.get("n_routed_experts")) and layer >= c.get("first_k_dense_replace", 0)
                   and layer % c.get("moe_layer_freq", 1) == 0)
            yield from self.decoder_layer(f"model.layers.{layer}.", moe)
        yield self.norm("model.norm.weight", c["hidden_size"])
        if not c.get("tie_word_embeddings"):
            yield self.head("lm_head.weight")
        for n in range(c.get("num_nextn_predict_layers") or 0):
            yield from self.mtp_layer(f"model.layers.{c['num_hidden_layers'] + n}.")

    def decoder_layer(self, prefix: str, moe: bool) -> Iterator[Tensor]:
        c = self.c
        hidden, heads = c["hidden_size"], c["num_attention_heads"]
        query = heads * (c["qk_nope_head_dim"] + c["qk_rope_head_dim"])
        latent, value = c["kv_lora_rank"], heads * c["v_head_dim"]
        attn = prefix + "self_attn."
        yield self.norm(prefix + "input_layernorm.weight", hidden)
        if c.get("q_lora_rank") is None:
            yield from self.linear(attn + "q_proj", query, hidden)
        else:
            yield from self.linear(attn + "q_a_proj", c["q_lora_rank"], hidden)
            yield self.norm(attn + "q_a_layernorm.weight", c["q_lora_rank"])
            yield from self.linear(attn + "q_b_proj", query, c["q_lora_rank"])
        yield from self.linear(attn + "kv_a_proj_with_mqa", latent + c["qk_rope_head_dim"], hidden)
        yield self.norm(attn + "kv_a_layernorm.weight", latent)
        yield from self.linear(attn + "kv_b_proj", heads * c["qk_nope_head_dim"] + value, latent)
        yield from self.linear(attn + "o_proj", hidden, value)
        yield self.norm(prefix + "post_attention_layernorm.weight", hidden)
        if moe:
            yield from self.moe(prefix + "mlp.")
        else:
            yield from self.mlp(prefix + "mlp.", c["intermediate_size"])

    def moe(self, prefix: str) -> Iterator[Tensor]:
        c = self.c
        experts, width = c["n_routed_experts"], c["moe_intermediate_size"]
        yield self.matrix(prefix + "gate.weight", experts, c["hidden_size"])  # never FP8
        if c.get("topk_method") == "noaux_tc":
            yield Tensor(prefix + "gate.e_score_correction_bias", "F32", (experts,), std=0.05)
        for expert in range(experts):
            yield from self.mlp(f"{prefix}experts.{expert}.", width)
        if c.get("n_shared_experts"):
            yield from self.mlp(prefix + "shared_experts.", c["n_shared_experts"] * width)

    def mlp(self, prefix: str, width: int) -> Iterator[Tensor]:
        hidden = self.c["hidden_size"]
        yield from self.linear(prefix + "gate_proj", width, hidden)
        yield from self.linear(prefix + "up_proj", width, hidden)
        yield from self.linear(prefix + "down_proj", hidden, width)

    def mtp_layer(self, prefix: str) -> Iterator[Tensor]:
        hidden = self.c["hidden_size"]
        yield self.embedding(prefix + "embed_tokens.weight", "model.embed_tokens.weight")
        yield self.norm(prefix + "enorm.weight", hidden)
        yield self.norm(prefix + "hnorm.weight", hidden)
        yield self.matrix(prefix + "eh_proj.weight", hidden, 2 * hidden)  # never FP8
        yield from self.decoder_layer(prefix, bool(self.c.get("n_routed_experts")))
        yield self.norm(prefix + "shared_head.norm.weight", hidden)
        yield self.head(prefix + "shared_head.head.weight", "lm_head.weight")

    def linear(self, name: str, outputs: int, inputs: int) -> Iterator[Tensor]:
        """A map that FP8 checkpoints store in FP8, with one scale for each block."""
        weight = self.matrix(name + ".weight", outputs, inputs)
        if self.storage.format != "fp8":
            yield weight
            return
        yield dataclasses.replace(weight, dtype="F8_E4M3")
        rows, cols = self.storage.block
        yield Tensor(name + ".weight_scale_inv", self.storage.scale_dtype, (-(-outputs // rows), -(-inputs // cols)),
                     std=weight.std * FP8_QUANTILE_MAX / FP8_MAX, is_scale=True)

    def matrix(self, name: str, outputs: int, inputs: int) -> Tensor:
        return Tensor(name, self.plain, (outputs, inputs), std=1 / math.sqrt(inputs))

    def norm(self, name: str, width: int) -> Tensor:
        return Tensor(name, self.plain, (width,), mean=1.0, std=0.1)

    def embedding(self, name: str, content: str = "") -> Tensor:
        return Tensor(name, self.plain, (self.c["vocab_size"], self.c["hidden_size"]), content=content)

    def head(self, name: str, content: str = "") -> Tensor:
        return dataclasses.replace(self.matrix(name, self.c["vocab_size"], self.c["hidden_size"]), content=content)


# --- values ----------------------------------------------------------------------------------------------------------


def to_bf16(values: np.ndarray) -> np.ndarray:
    """Bit patterns, rounded to nearest even."""
    bits = np.asarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def to_fp8_e4m3(values: np.ndarray) -> np.ndarray:
    """Codes of the nearest values; 0x7F, which is NaN, is none of them."""
    codes = np.arange(0x7F, dtype=np.int64)
    exponent, mantissa = codes >> 3, codes & 7
    magnitudes = np.where(exponent == 0, mantissa / 8 * 2.0**-6, (1 + mantissa / 8) * 2.0 ** (exponent - 7))
    nearest = np.abs(np.abs(values)[:, None] - magnitudes[None, :]).argmin(axis=1)
    return (nearest + np.where(values < 0, 0x80, 0)).astype(np.uint8)


def quantiles(count: int) -> np.ndarray:
    """`count` values of the normal distribution, equally likely."""
    inv_cdf = statistics.NormalDist().inv_cdf
    return np.array([inv_cdf((i + 0.5) / count) for i in range(count)])


class Values:
    """Makes a tensor's bytes, chunk by chunk, by looking random numbers up in tables of quantiles: as fast as a disk."""

    ENCODE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "F32": lambda x: x.astype(np.float32), "F16": lambda x: x.astype(np.float16), "BF16": to_bf16}

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.normal = quantiles(1 << 16)
        self.fp8_table = to_fp8_e4m3(quantiles(256) * (FP8_MAX / FP8_QUANTILE_MAX)).tobytes()
        self.tables: dict[tuple[str, float, float], np.ndarray] = {}

    def chunks(self, tensor: Tensor) -> Iterator[bytes]:
        key = zlib.crc32((tensor.content or tensor.name).encode())
        rng = np.random.Generator(np.random.SFC64([self.storage.seed, key]))
        if tensor.is_scale:
            yield self.scales(tensor, rng)
            return
        for begin in range(0, tensor.elements(), CHUNK):
            count = min(CHUNK, tensor.elements() - begin)
            if tensor.dtype == "F8_E4M3":
                yield rng.bytes(count).translate(self.fp8_table)
            else:
                index = np.frombuffer(rng.bytes(2 * count), np.uint16)
                yield self.table(tensor)[index].tobytes()

    def table(self, tensor: Tensor) -> np.ndarray:
        key = (tensor.dtype, tensor.mean, tensor.std)
        if key not in self.tables:
            self.tables[key] = self.ENCODE[tensor.dtype](tensor.mean + tensor.std * self.normal)
        return self.tables[key]

    def scales(self, tensor: Tensor, rng: np.random.Generator) -> bytes:
        """Each block has its own, so that a reader that takes the wrong one is noticed."""
        values = tensor.std * rng.uniform(0.6, 1.4, tensor.elements())
        if self.storage.ue8m0:
            values = 2.0 ** np.round(np.log2(values))
        return self.ENCODE[tensor.dtype](values).tobytes()


# --- files -----------------------------------------------------------------------------------------------------------


def split_into_shards(tensors: list[Tensor], shard_bytes: int) -> list[list[Tensor]]:
    shards: list[list[Tensor]] = [[]]
    room = shard_bytes
    for tensor in tensors:
        if shards[-1] and tensor.bytes() > room:
            shards.append([])
            room = shard_bytes
        shards[-1].append(tensor)
        room -= tensor.bytes()
    return shards


def write_shard(path: pathlib.Path, tensors: list[Tensor], values: Values) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in tensors:
        header[tensor.name] = {"dtype": tensor.dtype, "shape": tensor.shape,
                               "data_offsets": [offset, offset + tensor.bytes()]}
        offset += tensor.bytes()
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb", buffering=0) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors:
            for chunk in values.chunks(tensor):
                file.write(chunk)


def write_checkpoint(out: pathlib.Path, config: dict[str, Any], storage: Storage, shard_bytes: int) -> None:
    out.mkdir(parents=True, exist_ok=True)
    if any(out.glob("*.safetensors")):
        sys.exit(f"make_checkpoint: {out} has weights already")
    tensors = list(Model(config, storage).tensors())
    total = sum(tensor.bytes() for tensor in tensors)
    free = shutil.disk_usage(out).free
    if total > free:
        sys.exit(f"make_checkpoint: {total:,} bytes of weights, {free:,} bytes free in {out}")
    shards = split_into_shards(tensors, shard_bytes)
    values = Values(storage)
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):06}.safetensors" if len(shards) > 1 else "model.safetensors"
        # The order of the reference implementation: wide types first, so that all data is aligned.
        write_shard(out / name, sorted(shard, key=lambda t: (-BYTES[t.dtype], t.name)), values)
        weight_map.update((tensor.name, name) for tensor in shard)
        print(f"{out / name}: {sum(t.bytes() for t in shard):,} bytes", file=sys.stderr)
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (out / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    print(f"{out}: {len(tensors):,} tensors, {total:,} bytes", file=sys.stderr)


# --- command line ----------------------------------------------------------------------------------------------------


def preset(name: str) -> dict[str, Any]:
    """v2-lite: as released. v3-layers=N: V3, FP8 too, but with N layers. tiny: V3 with small, uneven numbers, BF16."""
    if name == "v2-lite":
        return read_config(CONFIGS / "deepseek_v2_lite.json")
    config = read_config(CONFIGS / "deepseek_v3.json")
    config["num_nextn_predict_layers"] = 0
    if name == "tiny":
        del config["quantization_config"]
        return config | TINY
    layers = re.fullmatch(r"v3-layers=([1-9]\d{0,2})", name)
    if not layers:
        sys.exit(f"make_checkpoint: no preset {name}: v2-lite, v3-layers=N or tiny")
    config["num_hidden_layers"] = int(layers[1])
    config["first_k_dense_replace"] = min(config["first_k_dense_replace"], int(layers[1]) - 1)
    return config


def read_config(path: pathlib.Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return config


def parse_block(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text}: not ROWSxCOLS")
    return int(match[1]), int(match[2])


def parse_bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?)B?", text.upper())
    if not match:
        raise argparse.ArgumentTypeError(f"{text}: not a size such as 4GB")
    return int(float(match[1]) * {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}[match[2]])


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shape = parser.add_mutually_exclusive_group(required=True)
    shape.add_argument("--config", type=pathlib.Path, metavar="FILE", help="a config.json to take the shape from")
    shape.add_argument("--preset", metavar="NAME", help="v2-lite, v3-layers=N or tiny")
    parser.add_argument("--format", choices=PLAIN_DTYPES, help="default: fp8 if the config says so, else bf16")
    parser.add_argument("--block", type=parse_block, metavar="ROWSxCOLS",
                        help="weights that share an FP8 scale; default: as the config says, else 128x128")
    parser.add_argument("--scale-dtype", choices=("f32", "bf16"), default="f32", help="of FP8 scales; default f32")
    parser.add_argument("--ue8m0", action="store_true", help="FP8 scales are powers of two, as in V3.1")
    parser.add_argument("--mtp", action=argparse.BooleanOptionalAction, default=None,
                        help="with or without one multi-token-prediction layer; default: as the config says, "
                             "presets without")
    parser.add_argument("--shard-size", type=parse_bytes, default="4GB", metavar="SIZE", help="default 4GB")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tokenizer", type=pathlib.Path, metavar="DIR", help="copy the tokenizer's files from there")
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="DIR")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    config = read_config(args.config) if args.config else preset(args.preset)
    stored: dict[str, Any] = config.pop("quantization_config", None) or {}
    chosen = args.format or ("fp8" if stored else "bf16")
    block = args.block or tuple(stored.get("weight_block_size") or (128, 128))
    ue8m0 = args.ue8m0 or stored.get("scale_fmt") == "ue8m0"
    if args.ue8m0 and chosen != "fp8":
        sys.exit("make_checkpoint: --ue8m0 needs --format fp8")
    if args.mtp is not None:
        config["num_nextn_predict_layers"] = int(args.mtp)
    config["dtype" if "dtype" in config else "torch_dtype"] = TORCH_DTYPES[chosen]
    if chosen == "fp8":
        config["quantization_config"] = {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
                                         "weight_block_size": list(block)} | ({"scale_fmt": "ue8m0"} if ue8m0 else {})
    storage = Storage(chosen, block, args.scale_dtype.upper(), ue8m0, args.seed)
    write_checkpoint(args.out, config, storage, args.shard_size)
    for name in TOKENIZER_FILES if args.tokenizer else ():
        if (args.tokenizer / name).exists():
            shutil.copy(args.tokenizer / name, args.out / name)


if __name__ == "__main__":
    main()
