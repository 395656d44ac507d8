"""hadal chat: lines from a pipe, and a person at a terminal."""
import termios

from support import TINY_CHAT, CliTest, Terminal

GREEDY = ("--temperature", "0")
WHO = "Who are you?"
SUM = "What is 7 + 5?"
KEY_UP, KEY_LEFT, CTRL_A, CTRL_C, CTRL_D = "\x1b[A", "\x1b[D", "\x01", "\x03", "\x04"
DIM, PLAIN = "\x1b[2m", "\x1b[0m"
TOO_LONG = "the little dog " * 400


class Piped(CliTest):
    def chat(self, *lines: str, flags: tuple[str, ...] = GREEDY) -> list[str]:
        result = self.ok("chat", *flags, stdin="".join(line + "\n" for line in lines))
        self.assertEqual(result.err, "")
        return result.out.splitlines()

    def test_answers_alone_are_on_stdout(self) -> None:
        result = self.ok("chat", *GREEDY, stdin=f"{SUM}\n")
        self.assertEqual((result.out, result.err), ("7 + 5 = 12.\n", ""))
        self.assertEqual(self.ok("chat", *GREEDY, stdin=SUM).out, result.out)  # no newline at the end of input

    def test_every_turn_sees_the_ones_before(self) -> None:
        first, *second = self.chat(SUM, "Tell me a story.")
        messages = [
            {"role": "user", "content": SUM},
            {"role": "assistant", "content": first},
            {"role": "user", "content": "Tell me a story."},
        ]
        prompt = self.ok("render", "--messages", self.write("m.json", messages)).out
        file = self.write("prompt.txt", prompt.removeprefix("<｜begin▁of▁sentence｜>"))
        self.assertEqual(self.ok("generate", "-f", file, *GREEDY, "-n", "4096").out.splitlines(), second)
        self.assertNotEqual(self.chat("Tell me a story."), second)

    def test_clear_forgets(self) -> None:
        alone = self.chat("Tell me a story.")
        self.assertEqual(self.chat(SUM, "/clear", "Tell me a story.")[1:], alone)

    def test_system(self) -> None:
        system = "You are a helpful dog."
        typed = self.chat(SUM, f"/system {system}", "Tell me a story.")[1:]
        self.assertEqual(typed, self.chat("Tell me a story.", flags=(*GREEDY, "--system", system)))
        self.assertNotEqual(typed, self.chat("Tell me a story."))
        # /clear keeps it, an empty one takes it away
        self.assertEqual(self.chat(f"/system {system}", SUM, "/clear", "Tell me a story.")[1:], typed)
        self.assertEqual(self.chat(f"/system {system}", "/system", "Tell me a story."), self.chat("Tell me a story."))

    def test_exit_and_empty_lines(self) -> None:
        self.assertEqual(self.chat("", "  ", SUM, "", "/exit", WHO), ["7 + 5 = 12."])
        self.assertEqual(self.chat(), [])
        self.assertEqual(self.ok("chat", *GREEDY, stdin=f"{SUM}\r\n/exit\r\n{WHO}\r\n").out, "7 + 5 = 12.\n")

    def test_help_is_not_an_answer(self) -> None:
        result = self.ok("chat", *GREEDY, stdin="/help\n")
        self.assertEqual(result.out, "")
        for command in ("/clear", "/system", "/exit", "Ctrl-C", "Ctrl-D"):
            self.assertIn(command, result.err)

    def test_too_long_is_said_and_the_chat_goes_on(self) -> None:
        result = self.ok("chat", *GREEDY, stdin=f"{TOO_LONG}\n{SUM}\n")
        self.assertEqual(result.out, "7 + 5 = 12.\n")
        for text in ("fewer tokens than the context holds (512)", "found     1", "/clear"):
            self.assertIn(text, result.err)

    def test_conversation_that_outgrows_the_context(self) -> None:
        story = "Tell me a story about a little dog named Max."
        result = self.ok("chat", *GREEDY, "--max-model-len", "60", stdin=f"{story}\n{story}\n/clear\n{SUM}\n")
        answers = result.out.splitlines()
        self.assertEqual(answers[-1], "7 + 5 = 12.")
        self.assertIn("fewer tokens than the context holds (60)", result.err)

    def test_invalid_utf8_is_said_and_the_chat_goes_on(self) -> None:
        result = self.ok("chat", *GREEDY, stdin=b"Who \xff are you?\n" + SUM.encode() + b"\n")
        self.assertEqual(result.out, "7 + 5 = 12.\n")
        self.assertIn("UTF-8", result.err)
        self.assertEqual(result.err.count("hadal: "), 1)

    def test_thinking_in_a_pipe_keeps_its_tags(self) -> None:
        model = thinking_model(self)
        out = self.ok("chat", "-m", model, *GREEDY, "--regex", "so be it</think>fine", stdin="Hm?\n").out
        self.assertEqual(out, "so be it</think>fine\n")

    def test_without_a_template(self) -> None:
        model = self.copy_model(TINY_CHAT)
        model.edit_json("tokenizer_config.json", lambda config: config.pop("chat_template") and None)
        self.failure("chat", "-m", model.path, stdin=SUM, says=["chat_template", "use generate instead of chat"])


def thinking_model(test: CliTest) -> str:
    """The built-in model with a prompt that ends in <think>, as R1's does."""
    model = test.copy_model(TINY_CHAT)
    model.set_template("{% for m in messages %}<｜User｜>{{ m.content }}{% endfor %}<｜Assistant｜>{{ '<think>\n' }}")
    return str(model.path)


class AtATerminal(CliTest):
    def open(self, *flags: str, locale: str | None = "C.UTF-8") -> Terminal:
        terminal = Terminal("chat", *GREEDY, *flags, env={"LANG": locale})
        self.addCleanup(terminal.close)
        terminal.prompt()
        return terminal

    def leave(self, terminal: Terminal, keys: str) -> None:
        """Ends the program by these keys; the terminal is as a shell wants it."""
        terminal.type(keys)
        self.assertEqual(terminal.wait(), 0)
        wanted = termios.ECHO | termios.ICANON | termios.ISIG
        self.assertEqual(terminal.mode() & wanted, wanted)

    def answer(self, terminal: Terminal) -> str:
        """What stands between the typed line and the line that ends in tokens/s."""
        shown = terminal.prompt(r"\x1b\[2m\[[^\n]*tokens/s, \w+\]\x1b\[0m")
        return shown.split("\r\n", 1)[1].rsplit("\r\n" + DIM, 1)[0].replace("\r\n", "\n")

    def test_answer_and_its_speed(self) -> None:
        terminal = self.open()
        terminal.type(SUM + "\r")
        shown = terminal.prompt()
        self.assertRegex(shown, r"\[11 prompt tokens, 9 tokens, [\d.]+ tokens/s, stop\]")
        self.assertIn("7 + 5 = 12.", shown)
        self.leave(terminal, "/exit\r")

    def test_line_editing(self) -> None:
        terminal = self.open()
        terminal.type("is 7 + 5?x" + KEY_LEFT + "\x1b[3~" + CTRL_A + "What \r")  # Delete takes the x
        self.assertEqual(self.answer(terminal), "7 + 5 = 12.")
        self.leave(terminal, CTRL_D)

    def test_characters_are_edited_whole(self) -> None:
        for locale in ("C.UTF-8", "C", None):
            terminal = self.open(locale=locale)
            terminal.type("Wha🐙é\x7f\x7ft is 7 + 5?" + KEY_LEFT * 6 + "東\x7f\r")
            self.assertEqual(self.answer(terminal), "7 + 5 = 12.", locale)
            self.leave(terminal, CTRL_D)

    def test_history(self) -> None:
        terminal = self.open()
        for line, answer in ((SUM, "7 + 5 = 12."), ("/clear", ""), (WHO, "I am a tiny language model. I like to tell stories.")):
            terminal.type(line + "\r")
            if answer:
                self.assertEqual(self.answer(terminal), answer)
            else:
                terminal.prompt()
        terminal.type("/clear\r")
        terminal.prompt()
        terminal.type(KEY_UP * 4)
        terminal.expect("7 \\+ 5\\?")
        terminal.type("\r")
        self.assertEqual(self.answer(terminal), "7 + 5 = 12.")
        self.leave(terminal, CTRL_D)

    def test_commands(self) -> None:
        terminal = self.open()
        terminal.type("/help\r")
        self.assertIn("/system TEXT", terminal.prompt("line being typed"))
        terminal.type("/system Be brief.\r")
        terminal.prompt()
        terminal.type(SUM + "\r")
        self.assertIn("[15 prompt tokens", terminal.prompt())
        self.leave(terminal, "/exit\r")

    def test_interrupt_stops_the_answer_and_not_the_program(self) -> None:
        terminal = self.open("--ignore-eos")
        terminal.type("Tell me a story.\r")
        terminal.expect("upon a time")
        terminal.type(CTRL_C)
        self.assertIn("tokens/s, cancelled]", terminal.prompt())
        terminal.type("/clear\r")
        terminal.prompt()
        terminal.type(SUM + "\r")
        terminal.expect("= 12")
        terminal.type(CTRL_C)
        terminal.prompt("cancelled.*")
        self.leave(terminal, CTRL_D)

    def test_interrupt_drops_the_line_being_typed(self) -> None:
        terminal = self.open()
        terminal.type("Tell me something else")
        terminal.expect("else")
        for _ in range(2):  # the second time there is no line
            terminal.type(CTRL_C)
            terminal.prompt("/exit or Ctrl-D ends")
        terminal.type(SUM + "\r")
        self.assertEqual(self.answer(terminal), "7 + 5 = 12.")
        self.leave(terminal, CTRL_D)

    def test_thinking_is_dimmed(self) -> None:
        terminal = self.open("-m", thinking_model(self), "--regex", "so be it</think>fine")
        terminal.type("Hm?\r")
        self.assertEqual(self.answer(terminal).replace(PLAIN + DIM, ""), f"{DIM}so be it{PLAIN}fine")
        self.leave(terminal, CTRL_D)

    def test_too_long_is_said_and_the_chat_goes_on(self) -> None:
        terminal = self.open("--max-model-len", "30")
        terminal.type(SUM + "\r")
        self.answer(terminal)
        terminal.type(SUM + "\r")
        self.assertIn("fewer tokens than the context holds (30)", terminal.prompt("/clear forgets[^>]*"))
        terminal.type("/clear\r")
        terminal.prompt()
        terminal.type(SUM + "\r")
        self.assertEqual(self.answer(terminal), "7 + 5 = 12.")
        self.leave(terminal, CTRL_D)

    def test_interactive_generate(self) -> None:
        terminal = Terminal(
            "generate", "--ckpt-path", str(TINY_CHAT), "--interactive", "--temperature", "0.7", "--max-new-tokens", "20"
        )
        self.addCleanup(terminal.close)
        terminal.prompt()
        terminal.type("Tell me a story.\r")
        self.assertIn(" 20 tokens, ", terminal.prompt("length.*"))
        self.leave(terminal, "/exit\r")

    def test_message_begins_its_line(self) -> None:
        terminal = Terminal("generate", "-m", "/nonexistent", "-p", WHO)
        self.addCleanup(terminal.close)
        self.assertEqual(terminal.wait(), 1)
        self.assertTrue(terminal.seen.startswith("\r\x1b[Khadal: --model /nonexistent\r\n"), terminal.seen)

    def test_progress_is_shown_while_loading(self) -> None:
        for command, text in ((("generate", "-p", WHO, "-n", "3"), "loading"), (("verify", str(TINY_CHAT)), "checking")):
            terminal = Terminal(*command)
            self.addCleanup(terminal.close)
            terminal.expect(text + " .* of 23.7 MiB")
            self.assertEqual(terminal.wait(), 0)


if __name__ == "__main__":
    raise SystemExit("run tests/cli_test.py")
