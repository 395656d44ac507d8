"""Makes the cases of hadal/text/*_test.cc in tests/data/text/ with the Python libraries of the same formats.

    pip install tokenizers transformers jinja2
    python -P tools/golden/make_text_cases.py    # -P: select.py beside it would hide the standard one

Ids and texts come from `tokenizers`, rendered prompts from transformers' own Jinja2 environment.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import tokenizers
from transformers.utils.chat_template_utils import _compile_jinja_template

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "tests/data/text"
MODEL = ROOT / "models/tiny-chat"
BOS, EOS = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"

TEXTS = [
    "", " ", "  ", "\n", "\r\n", "\t", "a", "Hello", " Hello", "Hello ", "hello world", "Hello, world!",
    "Once upon a time, there was a little girl named Lily.", "It's 3.14, isn't it?", "don't can't won't I'm you're",
    "   leading", "trailing   ", "two  spaces", "tabs\tand\nnewlines\r\nmixed \n \n\n", " \n", "\n ", "a\n\n\nb",
    "1", "12", "123", "1234", "12345678901", "1,234,567.89", "٣٤٥", "①②③", "x=1;y=22;z=333",
    "Grüße aus Köln", "naïve café", "Привет, мир", "Ελληνικά", "שלום עולם", "مرحبا بالعالم", "नमस्ते", "ไทย",
    "你好，世界。", "日本語のテキスト、カタカナ", "한국어 문장", "中文English混合123", "㍿㌔",
    "😀😃👩‍👩‍👧‍👦🇩🇪", "e\u0301 vs é", "\u200b\u200d\ufeff", "\u00a0nbsp\u00a0", "\u2028\u2029", "\x00\x01\x1f\x7f",
    "def f(x):\n    return x ** 2  # comment\n", "{\"key\": [1, 2.5, null, true]}", "<html>&amp;</html>",
    "https://example.org/path?a=b&c=%20d#frag", "snake_case camelCase PascalCase kebab-case", "ALL CAPS", "!!!???...",
    "------", "((((((", "$100 €50 £20 ¥1000", "C:\\path\\file", "a" * 300, " " * 300, "\n" * 40, "7" * 100, "ab" * 100,
    "!" * 100, "é" * 100, "中" * 50, "😀" * 30, "word " * 60, "<think>\nHm.\n</think>\n\nYes.",
    BOS, EOS, f"{BOS}<｜User｜>Hi<｜Assistant｜>Hello{EOS}", "<｜User｜>", "<｜User｜ >", "<|User|>", "<｜｜>", "<｜begin▁of",
    f" {EOS} ", "<｜tool▁calls▁begin｜>", "a<｜User｜>b<｜User｜>", "<think>", "</think>", "<｜▁pad▁｜>",
]  # fmt: skip

MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "Be <b>brief</b> & 'kind'."},
    {"role": "user", "content": ' Grüße, "Welt"!\n\ttab \\ slash '},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "c1",
                "type": "function",
                "function": {"name": "f", "arguments": {"x": 1, "y": [1.5, None, True], "z": {"é": "ü"}}},
            }
        ],
    },
    {"role": "tool", "content": "42", "tool_call_id": "c1"},
    {"role": "assistant", "content": "<think>hm</think>It is 42."},
    {"role": "user", "content": "ok"},
]
ARGS: dict[str, Any] = {
    "n": 3, "f": 2.5, "big": 12345678901234, "neg": -7, "s": "Hello World", "empty": "", "lst": [3, 1, 2],
    "words": ["b", "A", "c"], "d": {"b": 1, "a": 2, "items": 5}, "t": True, "none_value": None, "quote": "it's",
    "nested": [{"k": "v", "n": 1}, {"k": "w", "n": 2}, {"k": "v", "n": 3}],
    "fl": [1e16, 1e-5, 0.1, 100.0, 1e22, 123456789.123, -0.0, 1.0], "uni": "naïve ﬃ \u200b\u00a0end",
    "multi": "a\r\nb\nc\n\n d", "sp": "  a  b c ",
}  # fmt: skip

# One template a line; several expressions in it are several cases.
SNIPPETS = r"""
{{ n }} {{ f }} {{ big }} {{ neg }} {{ t }} {{ none_value }} {{ undefined_thing }}
{{ lst }} {{ d }} {{ nested }} {{ fl }} {{ words }} {{ quote }} {{ [quote, "a\"b", 'c\n'] }}
{{ (1,2) }} {{ (1,) }} {{ [] }} {{ {} }} {{ {'a': none} }} {{ [true, none, 1.0] }}
{{ n / 2 }} {{ n // 2 }} {{ neg // 2 }} {{ neg % 3 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 7 % 2.5 }} {{ n * 2.0 }} {{ n + f }}
{{ 10 / 5 }} {{ 1e3 }} {{ 1_000 }} {{ true + 1 }} {{ -n }} {{ 3 == 3.0 }} {{ true == 1 }} {{ '1' == 1 }}
{{ n > 2 and f < 3 }} {{ not t }} {{ n or 5 }} {{ empty or 'x' }} {{ none_value or [] }} {{ n and s }} {{ 1 < 2 < 3 }} {{ 1 in lst }} {{ 5 not in lst }} {{ 'ell' in s }} {{ 'b' in d }}
{{ s ~ n ~ none_value ~ f ~ lst }} {{ 'a' + 'b' }} {{ 'ab' * 3 }} {{ lst * 2 }} {{ lst + [4] }} {{ (1,2) + (3,) }}
{{ s[0] }} {{ s[-1] }} {{ s[1:4] }} {{ s[::-1] }} {{ s[-3:] }} {{ s[:-3] }} {{ s[10:2] }} {{ s[::2] }} {{ lst[::-1] }} {{ lst[1:] }} {{ lst[:-1] }} {{ lst[5:] }} {{ lst[-2:] }} {{ lst[2:0:-1] }} {{ lst[-1] }} {{ s[5:1:-1] }} {{ s[-100:3] }} {{ s[100:] }}
{{ lst[10] is defined }} {{ d.zzz is defined }} {{ d['b'] }} {{ d.b }} {{ d.get('zz') }} {{ d.get('zz', 7) }} {{ d.get('b') }} {{ nested[0].k }} {{ nested[0]['n'] }}
{{ s|upper }} {{ s|lower }} {{ s|title }} {{ s|capitalize }} {{ s|length }} {{ lst|length }} {{ d|length }} {{ s|reverse }} {{ lst|reverse|list }} {{ undefined_thing|length }}
{{ s|replace('o','0') }} {{ s|replace('o','0',1) }} {{ sp|trim }}| {{ 'xxaxx'|trim('x') }} {{ lst|join(', ') }} {{ lst|join }} {{ nested|join('-', attribute='k') }} {{ s|first }} {{ s|last }} {{ lst|first }} {{ lst|last }} {{ []|first }}
{{ lst|sort }} {{ words|sort }} {{ words|sort(case_sensitive=true) }} {{ lst|sort(reverse=true) }} {{ nested|sort(attribute='n', reverse=true)|map(attribute='n')|list }} {{ lst|max }} {{ lst|min }} {{ lst|sum }} {{ nested|sum(attribute='n') }}
{{ nested|map(attribute='k')|list }} {{ nested|map(attribute='k')|unique|list }} {{ words|map('upper')|list }} {{ words|map('upper')|join(',') }} {{ lst|select('odd')|list }} {{ lst|reject('odd')|list }} {{ nested|selectattr('k','equalto','v')|list }} {{ nested|selectattr('k')|list|length }} {{ nested|rejectattr('k','eq','v')|map(attribute='n')|list }} {{ lst|select('>', 1)|list }} {{ lst|select('in', [1,2])|list }}
{{ d|items|list }} {{ d|dictsort }} {{ d|dictsort(by='value') }} {{ d.items()|list }} {{ d.keys()|list }} {{ d.values()|list }} {% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %} {% for k in d %}{{ k }},{% endfor %}
{{ undefined_thing|default('dflt') }} {{ none_value|default('x') }} {{ none_value|default('x', true) }} {{ empty|default('y', boolean=true) }} {{ n|default(1) }} {{ undefined_thing|d }} {{ undefined_thing|default(default_value='k') }}
{{ '42'|int }} {{ 'abc'|int }} {{ 'abc'|int(9) }} {{ '3.7'|int }} {{ 3.9|int }} {{ '0x1f'|int(base=16) }} {{ '2.5'|float }} {{ 'x'|float }} {{ n|float }} {{ 3.14159|round(2) }} {{ 2.5|round }} {{ 3.5|round }} {{ 2.1|round(0,'ceil') }} {{ -3|abs }} {{ '-5'|int|abs }} {{ t|int }} {{ n|string + 'x' }} {{ none_value|string }} {{ lst|string }}
{{ nested|tojson }} {{ nested|tojson(indent=2) }} {{ s|tojson }} {{ fl|tojson }} {{ none_value|tojson }} {{ t|tojson }} {{ uni|tojson }} {{ d|tojson(sort_keys=true) }} {{ d|tojson(separators=(',',':')) }} {{ uni|tojson(ensure_ascii=true) }} {{ {}|tojson(indent=4) }} {{ []|tojson(indent=4) }} {{ [[],{}, [1]]|tojson(indent=1) }} {{ "\x01\x7f</script>"|tojson }} {{ {1: 2, none: 4}|tojson }} {{ "😀"|tojson(ensure_ascii=true) }}
{{ messages|tojson }} {{ messages[2]['tool_calls'][0]['function']['arguments']|tojson }} {{ messages[2].tool_calls[0].function.arguments|tojson(indent=4) }}
{{ multi|indent }} {{ multi|indent(2, true) }} {{ multi|indent(2, first=true, blank=true) }} {{ multi|indent('> ') }} {{ 'a'|indent(3, true) }} {{ ''|indent }}
{{ s.upper() }} {{ s.lower() }} {{ s.title() }} {{ s.capitalize() }} {{ s.startswith('He') }} {{ s.endswith('x') }} {{ s.startswith(('a','He')) }} {{ s.find('o') }} {{ s.rfind('o') }} {{ s.find('zz') }} {{ s.count('o') }} {{ s.index('o') }} {{ s.replace('o','0') }} {{ s.replace('o','0',1) }} {{ s.isdigit() }} {{ '12'.isdigit() }} {{ 'ab'.isalpha() }} {{ 'a1'.isalnum() }} {{ '  '.isspace() }} {{ 'ab'.islower() }} {{ 'AB'.isupper() }}
{{ sp.strip() }}| {{ sp.lstrip() }}| {{ sp.rstrip() }}| {{ 'xxaxx'.strip('x') }} {{ 'xyaxy'.lstrip('yx') }} {{ sp.split() }} {{ 'a,b,,c'.split(',') }} {{ 'a,b,c'.split(',', 1) }} {{ 'a b c'.split(maxsplit=1) }} {{ 'a b  c '.split(None, 1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ ' a b c '.rsplit(None, 1) }} {{ ''.split() }} {{ ''.split(',') }} {{ multi.splitlines() }} {{ multi.splitlines(true) }} {{ 'a</think>b</think>c'.split('</think>')[-1] }} {{ 'k=v=w'.partition('=') }} {{ 'k=v=w'.rpartition('=') }} {{ 'kv'.partition('=') }} {{ 'prefix_x'.removeprefix('prefix_') }} {{ 'x_suf'.removesuffix('_suf') }} {{ '7'.zfill(3) }} {{ '-7'.zfill(4) }} {{ 'a'.ljust(3) }}| {{ 'a'.rjust(3,'.') }} {{ ','.join(words) }} {{ 'a{}b{}'.format(1,'x') }} {{ '{0}-{x}'.format(1, x=2) }}
{{ '%s is %d and %.2f' % ('a', 3, 2.5) if false else 'skip' }} {{ '%s-%s'|format('a', 3) }} {{ "%05d"|format(42) }} {{ "%.2f"|format(f) }}
{{ s is string }} {{ n is number }} {{ t is number }} {{ t is boolean }} {{ t is integer }} {{ n is integer }} {{ f is float }} {{ lst is sequence }} {{ s is sequence }} {{ d is sequence }} {{ d is mapping }} {{ lst is iterable }} {{ s is iterable }} {{ n is iterable }} {{ none_value is none }} {{ n is none }} {{ undefined_thing is undefined }} {{ n is defined }} {{ 3 is odd }} {{ 4 is even }} {{ 6 is divisibleby 3 }} {{ n is eq 3 }} {{ n is in lst }} {{ s is lower }} {{ t is true }} {{ t is false }} {{ n is sameas n }} {{ none_value is not none }} {{ 1 is gt 0 }} {{ range is callable }} {{ n is callable }} {{ d is string }}
{% for x in lst %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.cycle('o','e') }};{% endfor %} {% for x in [] %}a{% else %}none{% endfor %} {% for x in lst if x > 1 %}{{ loop.index }}:{{ x }},{% endfor %} {% for a, b in [(1,2),(3,4)] %}{{ a+b }} {% endfor %} {% for x in lst %}{{ loop.previtem|default('-') }}<{{ x }}>{{ loop.nextitem|default('-') }} {% endfor %} {% for x in [1,1,2] %}{{ loop.changed(x) }} {% endfor %}
{% for x in range(10) %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 5 %}{% break %}{% endif %}{{ x }}{% endfor %} {{ range(3)|list }} {{ range(1,10,3)|list }} {{ range(5,0,-2)|list }} {% for i in range(0) %}x{% endfor %}
{% set ns = namespace(a=1, b='x') %}{% for x in lst %}{% set ns.a = ns.a + x %}{% endfor %}{{ ns.a }} {% set y = 1 %}{% for x in lst %}{% set y = x %}{% endfor %}{{ y }} {% set z %}block {{ n }}{% endset %}[{{ z }}] {% set a, b = 1, 2 %}{{ a }}{{ b }} {% if true %}{% set q = 5 %}{% endif %}{{ q }} {% with m = 3 %}{{ m }}{% endwith %}{{ m is defined }}
{% macro f1(a, b='def', c=none) %}<{{ a }}|{{ b }}|{{ c }}>{% endmacro %}{{ f1(1) }}{{ f1(1, b=2) }}{{ f1(1,2,3) }}{{ f1(c=9, a=8) }} {% macro rec(k) %}{% if k > 0 %}{{ k }}{{ rec(k-1) }}{% endif %}{% endmacro %}{{ rec(5) }} {% macro wrap() %}[{{ caller() }}]{% endmacro %}{% call wrap() %}inner{% endcall %} {{ f1('x')|length }}
{% filter upper %}filtered {{ s }}{% endfilter %} {% raw %}{{ not }} {% x %}{% endraw %} {# comment #}after
{{ 'yes' if n == 3 else 'no' }} {{ 'only' if false }} {{ n if n is defined else 0 }} {{ (n if t else 4) + 1 }} {{ [1,2,3][1] }} {{ {'a': {'b': 1} }.a.b }} {{ "esc \" \\ \n nl \t tab \u00e9" }} {{ 'it''s' }} {{ "a" "b" }}
{{ dict(a=1, b=2) }} {{ dict(d, c=3) }} {{ lst is not mapping }} {{ (lst|length > 2) and 'big' or 'small' }} {{ not (t and f) }} {{ n != 3 or t }} {{ ('a', 'b')|join('/') }} {{ d|list }} {{ s|list }} {{ lst|batch(2)|list }} {{ lst|slice(2)|list }} {{ nested|groupby('k')|list|length }} {% for g, items in nested|groupby('k') %}{{ g }}:{{ items|map(attribute='n')|list }} {% endfor %}
{{ bos_token }}{{ eos_token }} {{ add_generation_prompt }} {{ tools }} {{ documents }} {{ tools is none }} {{ not tools }} {{ messages|length }} {{ messages[-1].role }} {{ messages[1:]|length }} {{ messages[0]['content']|e }} {{ '<a>'|escape }} {{ '<a>'|safe }} {{ messages[0]['content']|trim|safe }}
{{ uni }} {{ [uni] }} {{ ['\x00\x1f\x7f\xa0\xad'] }} {{ "tab\tx"|tojson }} {{ ['😀', '中', '\ue000', '\u2028'] }}
{% set ns = namespace() %}{% set ns.x = [] %}{% for m in messages %}{% set ns.x = ns.x + [m.role] %}{% endfor %}{{ ns.x }} {{ ns.y is defined }} {{ ns.x[0] }} {{ namespace(a=1).a }} {{ namespace({'q': 2}).q }}
{% generation %}marked {{ n }}{% endgeneration %} {%- generation -%} t {%- endgeneration %} {% generation %}{% set inner = 1 %}{% endgeneration %}{{ inner is defined }}
{{ 5 is divisibleby(5) }} {{ n is lt 4 }} {{ n is ge(3) }} {{ s is eq('Hello World') }} {{ 'a' < 'b' }} {{ [1,2] < [1,3] }} {{ [1,2] == [1,2] }} {{ {'a':1} == {'a':1} }} {{ none == none }} {{ 'B' < 'a' }} {{ 0.1 + 0.2 }} {{ 1/3 }} {{ 1e100 }} {{ 5 // 0.3 }} {{ 2 ** 0.5 }} {{ 10 ** 15 }} {{ 1e15 + 0.5 }}
{{ lst|map('string')|join('') }} {{ [1,[2,[3]]]|string }} {{ words|map('replace','b','q')|list }} {{ lst|tojson|length }} {{ s|wordcount if false else 2 }} {{ lst|unique|list }} {{ s|urlencode if false else '' }} {{ ' x '|trim ~ '|' }} {{ 'x'.join(['a','b']) }} {{ lst|last + 1 }} {{ 'abc'|list|join('-') }} {{ lst|count }}
{% for item in nested recursive %}{{ item.k }}{% if item.kids %}({{ loop(item.kids) }}){% endif %}{% endfor %} {% for x in [{'k':'r','kids':[{'k':'s'},{'k':'t','kids':[{'k':'u'}]}]}] recursive %}{{ x.k }}{% if x.kids %}({{ loop(x.kids) }}){% endif %}{{ loop.depth }}{% endfor %}
{% set x = namespace(v=none) %}{{ x.v }} {% if x.v is none %}N{% endif %} {% set l = [] %}{{ l|length == 0 }} {% if l %}t{% else %}f{% endif %} {% if '0' %}t{% endif %} {% if 0.0 %}t{% else %}f{% endif %} {% if {} %}t{% else %}f{% endif %} {% if none %}t{% else %}f{% endif %}
{% block title %}block body {{ n }}{% endblock %} {% set v = 'a' if t else 'b' %}{{ v }} {% if n == 1 %}1{% elif n == 2 %}2{% elif n == 3 %}three{% else %}x{% endif %} {{ "a" if n > 5 else "b" if n > 2 else "c" }}
{{ s|attr('nope') is defined }} {{ d['items'] }} {{ 'x' is in 'xyz' }} {{ 1 is in [1] }} {{ 'abc'.find('c') > -1 }} {{ 'A' ~ 'b'|upper }} {{ -2 ** 2 }} {{ not n == 3 }} {{ 'a' in ['a'] and 'b' not in ['a'] }} {{ 1 + 2 ~ 'x' }} {{ n|string|length }} {{ 7|string ~ '!' }}
"""

BLOCK = """  {% if true %}  
  indented
    {% endif %}  
end {%- if true -%}   trimmed   {%- endif -%}   x {%+ if true %} y {% endif +%}
 z
{{- '  a  ' -}}   b   {{ 'c' }}
{%- for m in messages %}
{%- if m.role == 'user' %}
U: {{ m['content'] }}
{%- elif m.role == 'assistant' and m.content is not none %}
A: {{ m.content.split('</think>')[-1] }}
{%- else %}
O: {{ m.role }}{{ m.content }}
{%- endif %}
{%- endfor %}
"""

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather in a <city> & more",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": " name, e.g. 'Köln' "},
                    "when": {"type": "object", "properties": {"day": {"type": "integer"}, "exact": {}}},
                },
                "required": ["city"],
            },
        },
    },
    {"type": "function", "function": {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}}},
]  # fmt: skip


def call(name: str, arguments: Any) -> dict[str, Any]:
    return {"id": "x", "type": "function", "function": {"name": name, "arguments": arguments}}


def chats() -> list[list[dict[str, Any]]]:
    """Conversations of every shape that a template may meet."""
    user = {"role": "user", "content": "Hi there"}
    system = {"role": "system", "content": "You are kind."}
    answer = {"role": "assistant", "content": "<think>\nWell.\n</think>\n\nHello! \n"}
    calls = [call("get_weather", '{"city": "Köln"}'), call("now", "{}")]
    results = [{"role": "tool", "content": '{"t": 21.5}'}, {"role": "tool", "content": "noon"}]
    return [
        [],
        [user],
        [system, user],
        [system, user, answer],
        [user, answer, {"role": "user", "content": " again "}],
        [user, system, {"role": "system", "content": "And brief."}],
        [system, user, answer, user, answer, user],
        [user, {"role": "assistant", "content": None, "tool_calls": calls[:1]}, results[0]],
        [user, {"role": "assistant", "content": "Let me see.", "tool_calls": calls}, *results],
        [user, {"role": "assistant", "content": "", "tool_calls": calls}, *results, answer, user],
        [user, {"role": "assistant", "content": None, "tool_calls": [call("now", {"a": [1, "é"]})]}],
        [{"role": "user", "content": "tabs\tand\r\nCRLF\n\n"}],
        [{"role": "user", "content": "{{ not a template }} {% nor this %} <｜Assistant｜>"}],
        [{"role": "user", "content": ""}],
        [{"role": "user", "content": "中文 😀 \u2028 \"quotes\" 'single' \\n"}],
        [{"role": "user", "content": [{"type": "text", "text": "part one"}, {"type": "image"}, {"type": "text", "text": "two"}]}],
        [user, {"role": "skip", "content": "x"}, {"role": "user", "content": "y", "name": "Ann"}, {"role": "stop"}, user],
        [{"role": "other", "content": "?"}, user],
        [user, {"role": "assistant", "content": "Begin", "prefix": True}],
    ]  # fmt: skip


def write(name: str, rows: list[dict[str, Any]]) -> None:
    lines = [json.dumps(row, ensure_ascii=True) + "\n" for row in rows]
    (OUT / name).write_text("".join(lines))
    print(f"{name}: {len(rows)} cases")


def tokenizer_cases(tokenizer: tokenizers.Tokenizer) -> None:
    rows = []
    for text in TEXTS:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        rows.append({"text": text, "ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False)})
    write("tokenizer_cases.jsonl", rows)
    rng = random.Random(1)
    rows = []
    for _ in range(60):  # cuts characters at will
        ids = [rng.randrange(tokenizer.get_vocab_size()) for _ in range(rng.randrange(1, 20))]
        if rng.random() < 0.5:
            ids = [i for piece in ids for i in tokenizer.encode("é中😀"[piece % 3]).ids[: rng.randrange(1, 4)]]
        with_special = tokenizer.decode(ids, skip_special_tokens=False)
        rows.append({"ids": ids, "text": with_special, "text_skip_special": tokenizer.decode(ids)})
    write("decode_cases.jsonl", rows)


def render(template: str, messages: list[dict[str, Any]], add: bool, tools: Any, args: dict[str, Any]) -> str | None:
    """None when the template refuses, which includes calls that Python cannot make."""
    try:
        return _compile_jinja_template(template).render(
            messages=messages, tools=tools, documents=None, add_generation_prompt=add,
            bos_token=BOS, eos_token=EOS, pad_token=EOS, **args,
        )  # fmt: skip
    except Exception:  # noqa: BLE001 - jinja2's and Python's own, any of them
        return None


def chat_cases() -> None:
    rows = []
    for name in ["tiny-chat", *sorted(path.name for path in (OUT / "templates").glob("*.jinja"))]:
        if name == "tiny-chat":
            source = json.loads((MODEL / "tokenizer_config.json").read_text())["chat_template"]
        else:
            source = (OUT / "templates" / name).read_text()
        for i, messages in enumerate(chats()):
            for add, tools, args in ((True, None, {}), (False, TOOLS, {"thinking": True, "style": "é"})):
                text = render(source, messages, add, tools, args)
                rows.append(
                    {"template": name, "chat": i, "add": add, "tools": tools is not None, "args": args, "text": text}
                )
    write("chat_cases.jsonl", rows)
    (OUT / "chats.json").write_text(json.dumps({"chats": chats(), "tools": TOOLS}, indent=1) + "\n")


def snippet_cases() -> None:
    sources = [BLOCK, BLOCK + "\n\n"]
    for line in SNIPPETS.strip("\n").split("\n"):
        split = line.startswith("{{") and "{%" not in line
        sources += [part + "}}" for part in line.split("}}") if part.strip()] if split else [line]
    rows = [{"template": source, "text": render(source, MESSAGES, True, None, ARGS)} for source in sources]
    write("snippet_cases.jsonl", rows)
    (OUT / "snippet_context.json").write_text(json.dumps({"messages": MESSAGES, "args": ARGS}, indent=1) + "\n")


def main() -> None:
    tokenizer_cases(tokenizers.Tokenizer.from_file(str(MODEL / "tokenizer.json")))
    chat_cases()
    snippet_cases()


if __name__ == "__main__":
    main()
