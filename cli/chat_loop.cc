#include "cli/chat_loop.h"

#include <atomic>
#include <chrono>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <optional>

#include <editline/readline.h>
#include <fmt/format.h>
#include <langinfo.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "hadal/core/error.h"
#include "hadal/text/chat_template.h"
#include "hadal/text/reasoning.h"

namespace hadal::cli {
namespace {

constexpr const char* kDim = "\033[2m";
constexpr const char* kPlain = "\033[0m";
constexpr const char* kHelp =
    "/clear        forget the conversation\n"
    "/system TEXT  forget it and set the system message\n"
    "/exit         end (so does Ctrl-D); Ctrl-C stops an answer, or drops the line being typed\n";

volatile std::sig_atomic_t interrupted = 0;

// While it lives, Ctrl-C sets `interrupted` and does not end the program. flags: SA_RESTART for system calls that go on.
class InterruptGuard {
 public:
  explicit InterruptGuard(int flags) {
    interrupted = 0;
    struct sigaction action {};
    action.sa_flags = flags;
    action.sa_handler = [](int) { interrupted = 1; };
    sigaction(SIGINT, &action, &before_);
  }
  ~InterruptGuard() { sigaction(SIGINT, &before_, nullptr); }
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

 private:
  struct sigaction before_ {};
};

// Line editing moves by characters of the locale; where none is set, as in many containers, by UTF-8's all the same.
void use_utf8() {
  std::setlocale(LC_CTYPE, "");
  if (std::string_view(nl_langinfo(CODESET)) != "UTF-8") std::setlocale(LC_CTYPE, "C.UTF-8");
}

// A line with editing and history on a terminal, where Ctrl-C makes it an empty one; a plain line from a pipe. Nothing at
// the end of input.
std::optional<std::string> read_line(const std::string& prompt) {
  if (isatty(STDIN_FILENO) == 0) {
    std::string line;
    if (!std::getline(std::cin, line)) return std::nullopt;
    if (line.ends_with('\r')) line.pop_back();
    return line;
  }
  const InterruptGuard guard(0);
  const std::unique_ptr<char, decltype(&std::free)> line(readline(prompt.c_str()), &std::free);
  if (!line && interrupted != 0) {
    fmt::print(stderr, "\n/exit or Ctrl-D ends\n");
    return "";
  }
  if (!line) return std::nullopt;
  if (*line != '\0') add_history(line.get());
  return std::string(line.get());
}

// One conversation.
class Chat {
 public:
  Chat(TextGenerator& generator, const ChatLook& look)
      : generator_(generator),
        template_(text::ChatTemplate::load(generator.folder(), look.chat_template)),
        dims_(isatty(STDOUT_FILENO) != 0),
        system_(look.system) {
    clear();
  }

  void clear() {
    messages_ = json::array();
    if (!system_.empty()) messages_.push_back({{"role", "system"}, {"content", system_}});
  }

  void set_system(const std::string& text) {
    system_ = text;
    clear();
  }

  // Answers a line. A message that does not fit the context or the memory, or that the template refuses, is taken back.
  void say(const std::string& line) {
    messages_.push_back({{"role", "user"}, {"content", line}});
    try {
      answer();
    } catch (const Error& e) {
      messages_.erase(messages_.size() - 1);
      if (e.kind() != ErrorKind::kRequest && e.kind() != ErrorKind::kCapacity) throw;
      fmt::print(stderr, "hadal: {}\n  hint      /clear forgets the conversation\n", e.what());
    }
  }

 private:
  void answer() {
    const std::string prompt = template_.render(messages_, {});
    const std::vector<std::vector<int32_t>> prompts{generator_.tokenizer().encode(prompt)};
    text::ReasoningSplitter splitter(text::ends_in_thinking(prompt));
    const InterruptGuard guard(SA_RESTART);
    const auto start = std::chrono::steady_clock::now();
    const auto on_text = [&](size_t, std::string_view text) {
      if (dims_) {
        show(splitter.push(text));
      } else {
        write_stdout(text);  // a reader of the pipe finds the thinking by its tags
      }
    };
    const Completion completion = generator_.run(prompts, on_text, [] { return interrupted != 0; }).at(0);
    show(splitter.finish());
    write_stdout("\n");
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    report(completion, seconds.count());
    messages_.push_back({{"role", "assistant"}, {"content", completion.text}});
  }

  static void show(const std::vector<text::ReasoningSplitter::Piece>& pieces) {
    for (const auto& piece : pieces) write_stdout(piece.thinking ? kDim + piece.text + kPlain : piece.text);
  }

  static void report(const Completion& completion, double seconds) {
    if (isatty(STDERR_FILENO) == 0) return;
    const auto tokens = completion.tokens.size();
    fmt::print(stderr, "{}[{} prompt tokens, {} tokens, {:.1f} tokens/s, {}]{}\n", kDim,
               completion.num_prompt_tokens, tokens, static_cast<double>(tokens) / seconds,
               to_string(completion.reason), kPlain);
  }

  TextGenerator& generator_;
  text::ChatTemplate template_;
  bool dims_;  // thinking is shown dimmed, without its tags
  std::string system_;
  json messages_;
};

}  // namespace

void chat_loop(TextGenerator& generator, const ChatLook& look) {
  use_utf8();
  Chat chat(generator, look);
  generator.load(std::vector<std::vector<int32_t>>(1));  // a conversation begins with nothing
  std::optional<InterruptGuard>
      between;  // a Ctrl-C that comes just after an answer does not end the program either
  if (isatty(STDIN_FILENO) != 0) between.emplace(SA_RESTART);
  while (const auto line = read_line(look.prompt)) {
    if (*line == "/exit") return;
    if (line->find_first_not_of(" \t\r") == std::string::npos) continue;
    if (*line == "/clear") {
      chat.clear();
    } else if (*line == "/system" || line->starts_with("/system ")) {
      chat.set_system(line->size() > 8 ? line->substr(8) : "");
    } else if (*line == "/help") {
      fmt::print(stderr, "{}", kHelp);
    } else {
      chat.say(*line);
    }
  }
  if (isatty(STDIN_FILENO) != 0) write_stdout("\n");
}

}  // namespace hadal::cli
