#include <iterator>

#include "hadal/model/config.h"

namespace hadal::model {
namespace {

// What DeepSeek's releases and transformers' save_pretrained (4.x and 5.x) write beside the model's own numbers.
constexpr HarmlessKey kHarmlessKeys[] = {
    // Training.
    {"attention_dropout", "dropout is off in inference"},
    {"hidden_dropout", "dropout is off in inference"},
    {"initializer_range", "says how weights were initialised; the checkpoint has them"},
    {"aux_loss_alpha", "weight of a training loss"},
    {"seq_aux", "scope of a training loss"},
    {"router_aux_loss_coef", "weight of a training loss"},
    {"output_router_logits", "asks transformers for the inputs of a training loss"},
    {"gradient_checkpointing", "trades memory for time in training"},
    // How a run was split over devices.
    {"ep_size", "expert parallelism of DeepSeek's own run; the experts are the same"},
    {"pretraining_tp", "tensor parallelism of the pretraining; the product is the same"},
    // What transformers should return or keep, not what it computes.
    {"use_cache", "hadal always keeps the KV cache"},
    {"return_dict", "the form of transformers' return value"},
    {"use_return_dict", "the form of transformers' return value"},
    {"output_hidden_states", "asks transformers for more return values"},
    {"output_attentions", "asks transformers for more return values"},
    {"torchscript", "how PyTorch runs the code"},
    {"tf_legacy_loss", "TensorFlow classes only"},
    {"use_bfloat16", "TensorFlow and TPU classes only"},
    {"chunk_size_feed_forward", "cuts the MLP's work in pieces; the sum is the same"},
    {"is_decoder", "tells encoders and decoders apart where a class can be both"},
    {"attn_implementation", "names transformers' attention kernel; hadal has its own"},
    {"_attn_implementation", "names transformers' attention kernel; hadal has its own"},
    {"_attn_implementation_autoset", "how transformers chose its attention kernel"},
    {"_experts_implementation", "names transformers' expert kernel; hadal has its own"},
    // Where the files come from.
    {"_name_or_path", "where the checkpoint was loaded from before it was saved"},
    {"name_or_path", "where the checkpoint was loaded from before it was saved"},
    {"_commit_hash", "revision of the repository it was loaded from"},
    {"transformers_version", "the version that wrote the file"},
    {"auto_map", "names Python files with the model's code; hadal runs none"},
    {"custom_pipelines", "names Python files; hadal runs none"},
    {"unsloth_fixed", "a mark of the tool that wrote the file"},
    {"unsloth_version", "a mark of the tool that wrote the file"},
    {"transformers_weights", "names the weight file, which the safetensors index says as well"},
    // Tokens: the tokenizer's files say what text they are, and nothing is padded.
    {"pad_token_id", "batches are packed, never padded"},
    {"sep_token_id", "not used by a causal language model"},
    {"cls_token_id", "not used by a causal language model"},
    {"mask_token_id", "not used by a causal language model"},
    {"decoder_start_token_id", "encoder-decoder models only"},
    {"tokenizer_class", "tokenizer.json is read instead"},
    {"prefix", "text that old transformers pipelines put before a prompt"},
    // Classification heads, which a causal language model does not have.
    {"id2label", "classification heads only"},
    {"label2id", "classification heads only"},
    {"num_labels", "classification heads only"},
    {"problem_type", "classification heads only"},
    {"finetuning_task", "a note about a fine-tuned classifier"},
    {"task_specific_params", "settings of transformers' pipelines"},
    // Sampling settings that transformers 4 could write here; generation_config.json is the file for them.
    {"bad_words_ids", "sampling is read from generation_config.json"},
    {"begin_suppress_tokens", "sampling is read from generation_config.json"},
    {"diversity_penalty", "sampling is read from generation_config.json"},
    {"do_sample", "sampling is read from generation_config.json"},
    {"early_stopping", "sampling is read from generation_config.json"},
    {"encoder_no_repeat_ngram_size", "sampling is read from generation_config.json"},
    {"exponential_decay_length_penalty", "sampling is read from generation_config.json"},
    {"forced_bos_token_id", "sampling is read from generation_config.json"},
    {"forced_eos_token_id", "sampling is read from generation_config.json"},
    {"length_penalty", "sampling is read from generation_config.json"},
    {"max_length", "sampling is read from generation_config.json"},
    {"min_length", "sampling is read from generation_config.json"},
    {"no_repeat_ngram_size", "sampling is read from generation_config.json"},
    {"num_beam_groups", "sampling is read from generation_config.json"},
    {"num_beams", "sampling is read from generation_config.json"},
    {"num_return_sequences", "sampling is read from generation_config.json"},
    {"output_scores", "sampling is read from generation_config.json"},
    {"remove_invalid_values", "sampling is read from generation_config.json"},
    {"repetition_penalty", "sampling is read from generation_config.json"},
    {"return_dict_in_generate", "sampling is read from generation_config.json"},
    {"suppress_tokens", "sampling is read from generation_config.json"},
    {"temperature", "sampling is read from generation_config.json"},
    {"top_k", "sampling is read from generation_config.json"},
    {"top_p", "sampling is read from generation_config.json"},
    {"typical_p", "sampling is read from generation_config.json"},
};

}  // namespace

const std::vector<HarmlessKey>& harmless_keys() {
  static const std::vector<HarmlessKey> keys(std::begin(kHarmlessKeys), std::end(kHarmlessKeys));
  return keys;
}

}  // namespace hadal::model
