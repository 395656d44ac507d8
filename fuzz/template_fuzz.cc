#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>

#include "fuzz/fuzz_main.h"
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "hadal/core/json.h"
#include "hadal/text/chat_template.h"
#include "hadal/text/detokenizer.h"

namespace {

using hadal::json;
using hadal::fuzz::Random;

// A folder of this process, gone at its end.
class ScratchFolder {
 public:
  ScratchFolder() {
    path_ = std::filesystem::temp_directory_path() / ("hadal_fuzz_template_" + std::to_string(getpid()));
    std::filesystem::create_directories(path_);
    std::ofstream(path_ / "tokenizer_config.json") << R"({"bos_token": "<s>", "eos_token": "</s>"})";
  }
  ~ScratchFolder() { std::filesystem::remove_all(path_); }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

const json& messages() {
  static const json list = hadal::parse_json(
      R"([{"role":"system","content":"S"},{"role":"user","content":" U\n<b> "},{"role":"assistant","content":"",
          "tool_calls":[{"type":"function","function":{"name":"f","arguments":{"x":[1,2.5,null,true]}}}]},
          {"role":"tool","content":"42"},{"role":"assistant","content":"<think>t</think>a"}])",
      "messages", hadal::ErrorKind::kRequest);
  return list;
}

// Whatever a template is, it is refused or it makes text: whole characters, and not more than its budget.
void run(std::string_view source) {
  static const ScratchFolder folder;
  std::ofstream(folder.path() / "chat_template.jinja", std::ios::binary) << source;
  const auto chat_template = hadal::text::ChatTemplate::load(folder.path().string());
  const json args = {{"bos_token", "<s>"},    {"eos_token", "</s>"}, {"n", 3},
                     {"text", "Hello World"}, {"list", {3, 1, 2}},   {"map", {{"a", 1}, {"b", {1, 2}}}}};
  hadal::text::RenderOptions options;
  options.template_args = &args;
  options.now = 0;
  const std::string text = chat_template.render(messages(), options);
  std::string bytes = text, characters;
  hadal::text::take_characters(bytes, characters);
  if (!bytes.empty() || characters != text) throw std::logic_error("the text is not UTF-8");
  if (text.size() > size_t{16} << 20) throw std::logic_error("the text is larger than its budget");
}

// The pieces that expressions are made of.
const std::vector<std::string> leaves = {
    "n",     "text", "list",      "map",   "messages",    "1",   "-2",    "1.5", "'ab'",
    "none",  "true", "undefined", "range", "messages[1]", "ns",  "m",     "[]",  "{}",
    "10**6", "loop", "''",        "f",     "list[0]",     "[1]", "99999", "ns.x"};

const std::vector<std::string> filters = {"length",
                                          "trim",
                                          "upper",
                                          "join(',')",
                                          "tojson",
                                          "tojson(indent=2)",
                                          "list",
                                          "first",
                                          "last",
                                          "sort",
                                          "int",
                                          "string",
                                          "reverse",
                                          "unique",
                                          "map('upper')",
                                          "sum",
                                          "replace('a', 'bb')",
                                          "max",
                                          "items",
                                          "dictsort",
                                          "float",
                                          "abs",
                                          "indent(3, true)",
                                          "batch(2)",
                                          "selectattr('role')",
                                          "round",
                                          "title",
                                          "default('d', true)",
                                          "slice(2)",
                                          "groupby('role')",
                                          "escape",
                                          "format(1)"};

const std::vector<std::string> methods = {"strip()",
                                          "split()",
                                          "split(',', 1)",
                                          "items()",
                                          "get('a')",
                                          "upper()",
                                          "startswith('a')",
                                          "keys()",
                                          "values()",
                                          "rsplit(None,1)",
                                          "join(list)",
                                          "format(n)",
                                          "replace('a','bbb')",
                                          "title()",
                                          "splitlines()",
                                          "count('a')",
                                          "zfill(9)",
                                          "partition('l')",
                                          "role",
                                          "content",
                                          "x"};

const std::vector<std::string> operators = {" + ",  " - ",   " * ",  " ~ ",         " // ",
                                            " / ",  " % ",   " ** ", " == ",        " < ",
                                            " in ", " and ", " or ", " if n else ", " not in "};

std::string expression(Random& random, int depth) {
  if (depth <= 0) return random.pick(leaves);
  const auto inner = [&] { return expression(random, depth - 1); };
  switch (random.below(8)) {
    case 0:
      return inner() + "|" + random.pick(filters);
    case 1:
      return "(" + inner() + ")." + random.pick(methods);
    case 2:
      return inner() + random.pick(operators) + inner();
    case 3:
      return "(" + inner() + random.pick(operators) + inner() + ")";
    case 4:
      return "[" + inner() + ", " + inner() + "]";
    case 5:
      return "(" + inner() + ")[" + inner() + ":" + (random.one_in(2) ? inner() : "") + "]";
    case 6:
      return "{'k': " + inner() + "}";
    default:
      return random.pick(leaves) + (random.one_in(2) ? "(" + inner() + ")" : "[" + inner() + "]");
  }
}

std::string statement(Random& random, int depth) {
  const auto inner = [&] { return depth > 0 ? statement(random, depth - 1) : "t"; };
  const auto value = [&] { return expression(random, static_cast<int>(random.below(4))); };
  switch (random.below(8)) {
    case 0:
      return "{% for m in " + value() + " %}" + inner() + "{% endfor %}";
    case 1:
      return "{% if " + value() + " %}" + inner() + "{% else %}" + inner() + "{% endif %}";
    case 2:
      return "{% set ns.x = " + value() + " %}" + inner();
    case 3:
      return "{% set m = " + value() + " %}" + inner();
    case 4:
      return "{% macro f(m, n=1) %}" + inner() + "{% endmacro %}{{ f(" + value() + ") }}";
    case 5:
      return "{% set m %}" + inner() + "{% endset %}" + inner();
    case 6:
      return inner() + inner();
    default:
      return "{{ " + value() + " }}";
  }
}

// What templates are spelt with.
const std::vector<std::string> words = {"{{",
                                        "}}",
                                        "{%",
                                        "%}",
                                        "{%-",
                                        "-%}",
                                        "{#",
                                        "#}",
                                        "for x in messages",
                                        "endfor",
                                        "if",
                                        "endif",
                                        "set x = ",
                                        "namespace()",
                                        "loop(",
                                        "range(10**9)",
                                        "* 10**8",
                                        "|tojson",
                                        "|list",
                                        "|map(",
                                        "recursive",
                                        "macro f()",
                                        "endmacro",
                                        "f()",
                                        "caller()",
                                        "call f()",
                                        "endcall",
                                        "[",
                                        "]",
                                        "(",
                                        ")",
                                        "'",
                                        "\"",
                                        "~",
                                        "**",
                                        ".x",
                                        "|",
                                        "ns.a",
                                        "raw",
                                        "endraw",
                                        "generation",
                                        "endgeneration",
                                        "break",
                                        "continue",
                                        "include 'x'",
                                        "block b",
                                        "endblock",
                                        "filter upper",
                                        "endfilter"};

// A template that parses, more often than not, and means nothing.
std::string make(Random& random) {
  return "{% set ns = namespace(x=1) %}" + statement(random, 1 + static_cast<int>(random.below(4)));
}

}  // namespace

int main(int argc, char** argv) {
  return hadal::fuzz::fuzz_main(
      argc, argv,
      {.name = "fuzz_template",
       .seeds = {hadal::read_text_file("tests/data/text/templates/v2.jinja", 1 << 16, hadal::ErrorKind::kIo),
                 hadal::read_text_file("tests/data/text/templates/thinking.jinja", 1 << 16,
                                       hadal::ErrorKind::kIo),
                 hadal::read_text_file("tests/data/text/templates/blocks.jinja", 1 << 16,
                                       hadal::ErrorKind::kIo),
                 "{% set ns = namespace(a=[]) %}{% for m in messages %}{% set ns.a = ns.a + [m.role] %}{% "
                 "endfor %}"
                 "{{ ns.a|tojson(indent=2) }}{{ text[::-1] ~ n * 2 }}{{ '%s'|format(text) }}"},
       .dictionary = words,
       .run = run,
       .make = make});
}
