"""What the tests of Messages and Responses share."""
import json
import pathlib

from support import TINY_CHAT

SUM_ANSWER = "7 + 5 = 12."  # the built-in model's to "What is 7 plus 5?"
COLOUR_SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "blue"]}},
    "required": ["colour"],
    "additionalProperties": False,
}
# So small a model writes white space for ever where a schema lets it.
COMPACT_COLOUR_SCHEMA = COLOUR_SCHEMA | {"x-guidance": {"whitespace_flexible": False}}
# As R1's: the prompt ends in <think>.
THINKING_TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'user' %}<｜User｜>{{ m.content }}"
    "{% elif m.role == 'assistant' %}<｜Assistant｜>{{ m.content }}<｜end▁of▁sentence｜>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<｜Assistant｜><think>\n{% endif %}"
)


def thinking_model(folder: pathlib.Path) -> pathlib.Path:
    """The built-in model with that template."""
    for file in TINY_CHAT.iterdir():
        (folder / file.name).symlink_to(file)
    config = json.loads((TINY_CHAT / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": THINKING_TEMPLATE}))
    return folder
