#!/usr/bin/env python3
"""A GGUF file of random weights in a DeepSeek-V2 model's shape, for llama.cpp's benchmarks.

    make_gguf.py --shape v2-lite --type q4_0 v2-lite-q4_0.gguf

The shapes are those of `hadal bench --synthetic`. As there, embeddings are large beside what layers add, so that tokens
choose different experts. Numbers are bytes at random with a fixed scale: what they are changes no timing.
"""

import argparse
import dataclasses

import gguf
import numpy as np


@dataclasses.dataclass
class Shape:
    vocab: int = 102400
    hidden: int = 2048
    dense: int = 10944
    expert: int = 1408
    layers: int = 27
    first_dense: int = 1
    heads: int = 16
    rank: int = 512
    nope: int = 128
    rope: int = 64
    value: int = 128
    experts: int = 64
    shared: int = 2
    chosen: int = 6


SHAPES = {
    "v2-lite": Shape(),
    "tiny": Shape(vocab=4096, hidden=256, dense=512, expert=128, layers=26, heads=4, rank=128, nope=32, rope=32, value=32,
                  experts=16, shared=1, chosen=2),
}
TYPES = {"q4_0": gguf.GGMLQuantizationType.Q4_0, "q8_0": gguf.GGMLQuantizationType.Q8_0}
STD = 0.02  # of weights
EMBEDDING_STD = 17.0


def tensors(s: Shape, quantised):
    """(name, shape as NumPy has it, type) of each tensor, in the order of the file."""
    f32, f16 = gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16
    yield "token_embd.weight", (s.vocab, s.hidden), f16
    yield "output_norm.weight", (s.hidden,), f32
    yield "output.weight", (s.vocab, s.hidden), TYPES["q8_0"]
    for i in range(s.layers):
        def name(part):
            return f"blk.{i}.{part}.weight"
        yield name("attn_norm"), (s.hidden,), f32
        yield name("attn_kv_a_norm"), (s.rank,), f32
        yield name("attn_q"), (s.heads * (s.nope + s.rope), s.hidden), quantised
        yield name("attn_kv_a_mqa"), (s.rank + s.rope, s.hidden), quantised
        yield name("attn_k_b"), (s.heads, s.rank, s.nope), TYPES["q8_0"]
        yield name("attn_v_b"), (s.heads, s.value, s.rank), TYPES["q8_0"]
        yield name("attn_output"), (s.hidden, s.heads * s.value), quantised
        yield name("ffn_norm"), (s.hidden,), f32
        if i < s.first_dense:
            yield name("ffn_gate"), (s.dense, s.hidden), quantised
            yield name("ffn_down"), (s.hidden, s.dense), quantised
            yield name("ffn_up"), (s.dense, s.hidden), quantised
            continue
        yield name("ffn_gate_inp"), (s.experts, s.hidden), f32
        yield name("ffn_gate_exps"), (s.experts, s.expert, s.hidden), quantised
        yield name("ffn_down_exps"), (s.experts, s.hidden, s.expert), quantised
        yield name("ffn_up_exps"), (s.experts, s.expert, s.hidden), quantised
        yield name("ffn_gate_shexp"), (s.shared * s.expert, s.hidden), quantised
        yield name("ffn_down_shexp"), (s.hidden, s.shared * s.expert), quantised
        yield name("ffn_up_shexp"), (s.shared * s.expert, s.hidden), quantised


def numbers(name, shape, kind, rng):
    if name.endswith("norm.weight"):
        return np.ones(shape, np.float32)
    if kind == gguf.GGMLQuantizationType.F32:
        return rng.standard_normal(shape, np.float32) * np.float32(STD)
    if kind == gguf.GGMLQuantizationType.F16:
        return (rng.standard_normal(shape, np.float32) * np.float32(EMBEDDING_STD)).astype(np.float16)
    block, size = gguf.GGML_QUANT_SIZES[kind]
    codes = rng.integers(0, 256, (int(np.prod(shape)) // block, size), np.uint8)
    rms = 4.6 if kind == TYPES["q4_0"] else 73.9  # of the codes
    codes[:, :2] = np.frombuffer(np.float16(STD / rms).tobytes(), np.uint8)
    return codes


def write_keys(w, s: Shape):
    w.add_vocab_size(s.vocab)
    w.add_context_length(163840)
    w.add_embedding_length(s.hidden)
    w.add_block_count(s.layers)
    w.add_feed_forward_length(s.dense)
    w.add_head_count(s.heads)
    w.add_head_count_kv(1)
    w.add_layer_norm_rms_eps(1e-6)
    w.add_leading_dense_block_count(s.first_dense)
    w.add_kv_lora_rank(s.rank)
    w.add_key_length(s.rank + s.rope)
    w.add_value_length(s.rank)
    w.add_key_length_mla(s.nope + s.rope)
    w.add_value_length_mla(s.value)
    w.add_expert_feed_forward_length(s.expert)
    w.add_expert_count(s.experts)
    w.add_expert_used_count(s.chosen)
    w.add_expert_shared_count(s.shared)
    w.add_expert_weights_scale(1.0)
    w.add_rope_dimension_count(s.rope)
    w.add_rope_freq_base(10000.0)
    # Tokens without meaning: a server turns what it draws into text.
    letters = [chr(code) for code in range(0x21, 0x7F)]
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("default")
    w.add_token_list(letters + [f"<{i}>" for i in range(len(letters), s.vocab)])
    w.add_token_merges(["a b"])
    w.add_bos_token_id(0)
    w.add_eos_token_id(1)
    w.add_add_bos_token(False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="v2-lite")
    parser.add_argument("--type", choices=TYPES, default="q4_0")
    parser.add_argument("--layers", type=int, help="so many of them instead of all")
    parser.add_argument("out")
    args = parser.parse_args()
    shape = SHAPES[args.shape]
    if args.layers:
        shape = dataclasses.replace(shape, layers=args.layers)
    writer = gguf.GGUFWriter(args.out, "deepseek2")
    write_keys(writer, shape)
    plan = list(tensors(shape, TYPES[args.type]))
    for name, dims, kind in plan:
        block, size = gguf.GGML_QUANT_SIZES[kind]
        writer.add_tensor_info(name, dims, np.dtype(np.float32), int(np.prod(dims)) // block * size, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    rng = np.random.default_rng(1)
    for name, dims, kind in plan:
        writer.write_tensor_data(numbers(name, dims, kind, rng))
    writer.close()


if __name__ == "__main__":
    main()
