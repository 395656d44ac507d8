#include "hadal/text/tokenizer.h"

#include <utility>

#include <nlohmann/json.hpp>

#include "hadal/core/json.h"
#include "hadal/text/bridge_call.h"
#include "hadal/text/tokenizer_config.h"

namespace hadal::text {
namespace {

constexpr int64_t kMaxTokenizerBytes = 64 << 20;  // V3's tokenizer.json has 8 MB

struct FreeTokenizer {
  void operator()(hadal_tokenizer* tokenizer) const { hadal_tokenizer_free(tokenizer); }
};

bool read_flag(const json& config, const std::string& name) {
  const auto flag = config.find(name);
  if (flag == config.end() || flag->is_null()) return false;
  if (!flag->is_boolean()) {
    fail(ErrorKind::kCheckpoint,
         "tokenizer_config.json\n  key       {}\n  expected  true or false\n  found     {}", name,
         flag->type_name());
  }
  return flag->get<bool>();
}

}  // namespace

struct Tokenizer::State {
  std::unique_ptr<hadal_tokenizer, FreeTokenizer> bridge;
  std::optional<int32_t> bos, eos;
  bool add_bos = false;
};

Tokenizer::Tokenizer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::load(const std::string& folder) {
  const std::string path = folder + "/tokenizer.json";
  const std::string text = read_text_file(path, kMaxTokenizerBytes, ErrorKind::kCheckpoint);
  hadal_tokenizer* bridge = nullptr;
  bridge_call(ErrorKind::kCheckpoint, path, [&](hadal_buffer* error) {
    return hadal_tokenizer_new(bytes_of(text), text.size(), &bridge, error);
  });
  auto state = std::make_unique<State>();
  state->bridge.reset(bridge);

  const json config = read_tokenizer_config(folder);
  Tokenizer tokenizer(std::move(state));
  const auto id_of = [&](const std::string& name) -> std::optional<int32_t> {
    const std::optional<std::string> token = special_token(config, name);
    return token ? tokenizer.token_id(*token) : std::nullopt;
  };
  tokenizer.state_->bos = id_of("bos_token");
  tokenizer.state_->eos = id_of("eos_token");
  tokenizer.state_->add_bos = read_flag(config, "add_bos_token");
  if (tokenizer.state_->add_bos && !tokenizer.state_->bos) {
    fail(ErrorKind::kCheckpoint,
         "{}/tokenizer_config.json\n  key       add_bos_token\n  expected  bos_token to be a token of "
         "tokenizer.json",
         folder);
  }
  return tokenizer;
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_special) const {
  hadal_ids encoded{};
  bridge_call(ErrorKind::kRequest, "tokenizer: text to encode", [&](hadal_buffer* error) {
    return hadal_tokenizer_encode(state_->bridge.get(), bytes_of(text), text.size(), &encoded, error);
  });
  const std::unique_ptr<hadal_ids, void (*)(hadal_ids*)> owner(&encoded,
                                                               [](hadal_ids* ids) { hadal_ids_free(*ids); });
  std::vector<int32_t> ids;
  ids.reserve(encoded.size + 1);
  if (add_special && state_->add_bos) ids.push_back(*state_->bos);
  ids.insert(ids.end(), encoded.data, encoded.data + encoded.size);
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  hadal_buffer text{};
  bridge_call(ErrorKind::kRequest, "tokenizer: ids to decode", [&](hadal_buffer* error) {
    return hadal_tokenizer_decode(state_->bridge.get(), ids.data(), ids.size(), skip_special, &text, error);
  });
  return take(text);
}

int32_t Tokenizer::vocab_size() const {
  return hadal_tokenizer_vocab_size(state_->bridge.get());
}

std::string Tokenizer::token(int32_t id) const {
  if (id < 0 || id >= vocab_size()) return {};
  hadal_buffer text{};
  bridge_call(ErrorKind::kRequest, "tokenizer: token", [&](hadal_buffer* error) {
    return hadal_tokenizer_token(state_->bridge.get(), id, &text, error);
  });
  return take(text);
}

std::string Tokenizer::token_bytes(int32_t id) const {
  hadal_buffer bytes{};
  bridge_call(ErrorKind::kRequest, "tokenizer: bytes of a token", [&](hadal_buffer* error) {
    return hadal_tokenizer_token_bytes(state_->bridge.get(), id, &bytes, error);
  });
  return take(bytes);
}

std::optional<int32_t> Tokenizer::token_id(std::string_view token) const {
  int32_t id = -1;
  bridge_call(ErrorKind::kRequest, "tokenizer: token", [&](hadal_buffer* error) {
    return hadal_tokenizer_token_id(state_->bridge.get(), bytes_of(token), token.size(), &id, error);
  });
  return id < 0 ? std::nullopt : std::optional<int32_t>(id);
}

bool Tokenizer::is_special(int32_t id) const {
  if (id < 0 || id >= vocab_size()) return false;
  bool special = false;
  bridge_call(ErrorKind::kRequest, "tokenizer: token", [&](hadal_buffer* error) {
    return hadal_tokenizer_is_special(state_->bridge.get(), id, &special, error);
  });
  return special;
}

std::optional<int32_t> Tokenizer::bos_token_id() const {
  return state_->bos;
}
std::optional<int32_t> Tokenizer::eos_token_id() const {
  return state_->eos;
}
const void* Tokenizer::handle() const {
  return state_->bridge.get();
}

}  // namespace hadal::text
