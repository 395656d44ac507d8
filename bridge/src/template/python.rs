//! What Python's `str`, `repr` and `json.dumps` make of a value, into text of bounded size.

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

use super::meter::{charge_made, refused, Namespace};

/// The largest text that a template may make, whole output included.
pub const MAX_TEXT: usize = 16 << 20;

/// A string that refuses to grow beyond `MAX_TEXT`.
#[derive(Default)]
pub struct Text(String);

impl Text {
    pub fn push(&mut self, text: &str) -> Result<(), Error> {
        if self.0.len() + text.len() > MAX_TEXT {
            return Err(refused(format!("the template makes more than {MAX_TEXT} bytes of text")));
        }
        self.0.push_str(text);
        Ok(())
    }

    pub fn spaces(&mut self, count: usize) -> Result<(), Error> {
        const BLANK: &str = "                                                                ";
        for start in (0..count).step_by(BLANK.len()) {
            self.push(&BLANK[..BLANK.len().min(count - start)])?;
        }
        Ok(())
    }

    pub fn into_string(self) -> String {
        self.0
    }

    /// The text as a value of the template, paid for.
    pub fn into_value(self, state: &mut State) -> Result<Value, Error> {
        charge_made(state, &self.0)?;
        Ok(Value::from(self.0))
    }
}

/// `str(value)`.
pub fn write_str(out: &mut Text, value: &Value) -> Result<(), Error> {
    match value.as_str() {
        Some(text) => out.push(text),
        None if value.is_undefined() => Ok(()),
        None => write_repr(out, value),
    }
}

/// `str(value)` as a new string.
pub fn to_str(value: &Value) -> Result<String, Error> {
    let mut text = Text::default();
    write_str(&mut text, value)?;
    Ok(text.into_string())
}

fn write_repr(out: &mut Text, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Undefined => out.push("Undefined"),
        ValueKind::Number => out.push(&number(value)),
        ValueKind::String => write_quoted(out, value.as_str().unwrap_or_default()),
        ValueKind::Seq | ValueKind::Iterable => write_sequence(out, value),
        ValueKind::Map => match value.downcast_object_ref::<Namespace>() {
            Some(namespace) => {
                out.push("<Namespace ")?;
                write_pairs(out, namespace.pairs().into_iter())?;
                out.push(">")
            }
            None => match value.as_object().and_then(|object| object.try_iter_pairs()) {
                Some(pairs) => write_pairs(out, pairs),
                None => out.push("{}"),
            },
        },
        _ => out.push(&value.to_string()),
    }
}

fn write_sequence(out: &mut Text, value: &Value) -> Result<(), Error> {
    let (open, close) = if value.is_tuple() { ("(", ")") } else { ("[", "]") };
    out.push(open)?;
    let mut count = 0;
    for item in value.try_iter()? {
        if count > 0 {
            out.push(", ")?;
        }
        write_repr(out, &item)?;
        count += 1;
    }
    if value.is_tuple() && count == 1 {
        out.push(",")?;
    }
    out.push(close)
}

fn write_pairs(out: &mut Text, pairs: impl Iterator<Item = (Value, Value)>) -> Result<(), Error> {
    out.push("{")?;
    for (i, (key, value)) in pairs.enumerate() {
        if i > 0 {
            out.push(", ")?;
        }
        write_repr(out, &key)?;
        out.push(": ")?;
        write_repr(out, &value)?;
    }
    out.push("}")
}

fn write_quoted(out: &mut Text, text: &str) -> Result<(), Error> {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push(quote);
    for c in text.chars() {
        match c {
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c == quote => quoted.extend(['\\', c]),
            c if is_printable(c) => quoted.push(c),
            c => match c as u32 {
                code @ 0..=0xff => quoted.push_str(&format!("\\x{code:02x}")),
                code @ 0x100..=0xffff => quoted.push_str(&format!("\\u{code:04x}")),
                code => quoted.push_str(&format!("\\U{code:08x}")),
            },
        }
    }
    quoted.push(quote);
    out.push(&quoted)
}

/// `str.isprintable` for the characters that occur: controls, format marks, separators other than the space,
/// surrogates' neighbours and private use are escaped. Unassigned code points are taken as printable.
fn is_printable(c: char) -> bool {
    let code = c as u32;
    let format = matches!(code, 0xad | 0x600..=0x605 | 0x61c | 0x6dd | 0x70f | 0x890 | 0x891 | 0x8e2 | 0x180e
        | 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x206f | 0xfeff | 0xfff9..=0xfffb | 0x110bd | 0x110cd
        | 0x13430..=0x1343f | 0x1bca0..=0x1bca3 | 0x1d173..=0x1d17a | 0xe0000..=0xe007f);
    let separator =
        matches!(code, 0xa0 | 0x1680 | 0x2000..=0x200a | 0x2028 | 0x2029 | 0x202f | 0x205f | 0x3000);
    let private = matches!(code, 0xe000..=0xf8ff | 0xf0000..=0x10ffff);
    !(c.is_control() || format || separator || private)
}

/// `repr` of a bool, an int or a float.
fn number(value: &Value) -> String {
    match f64::try_from(value.clone()) {
        Ok(float) if !value.is_integer() => float_repr(float),
        _ => value.to_string(),
    }
}

/// `repr(float)`: the shortest digits that read back, with an exponent outside 1e-4 .. 1e16.
fn float_repr(value: f64) -> String {
    if !value.is_finite() {
        return if value.is_nan() {
            "nan"
        } else if value > 0.0 {
            "inf"
        } else {
            "-inf"
        }
        .to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{value}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// The arguments of `json.dumps` that transformers' `tojson` passes on.
#[derive(Default)]
pub struct JsonStyle {
    pub indent: Option<usize>,
    pub sort_keys: bool,
    pub ensure_ascii: bool,
    pub item_separator: String,
    pub key_separator: String,
}

/// `json.dumps(value)`.
pub fn to_json(value: &Value, style: &JsonStyle) -> Result<Text, Error> {
    let mut out = Text::default();
    write_json(&mut out, value, style, 0)?;
    Ok(out)
}

fn write_json(out: &mut Text, value: &Value, style: &JsonStyle, depth: usize) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None => out.push("null"),
        ValueKind::Bool => out.push(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push(&json_number(value)),
        ValueKind::String => write_json_string(out, value.as_str().unwrap_or_default(), style),
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Vec<Value> = value.try_iter()?.collect();
            write_json_items(out, ("[", "]"), &items, style, depth, |out, item| {
                write_json(out, item, style, depth + 1)
            })
        }
        ValueKind::Map => {
            let pairs = value.as_object().and_then(|object| object.try_iter_pairs());
            let mut pairs: Vec<(Value, Value)> = pairs.into_iter().flatten().collect();
            if style.sort_keys {
                pairs.sort_by(|a, b| a.0.cmp(&b.0));
            }
            write_json_items(out, ("{", "}"), &pairs, style, depth, |out, (key, value)| {
                write_json_key(out, key, style)?;
                out.push(&style.key_separator)?;
                write_json(out, value, style, depth + 1)
            })
        }
        kind => Err(refused(format!("tojson: a value of type {kind} is not JSON"))),
    }
}

fn write_json_items<T>(
    out: &mut Text,
    (open, close): (&str, &str),
    items: &[T],
    style: &JsonStyle,
    depth: usize,
    mut write_item: impl FnMut(&mut Text, &T) -> Result<(), Error>,
) -> Result<(), Error> {
    let new_line = |out: &mut Text, depth: usize| match style.indent {
        Some(indent) if !items.is_empty() => {
            out.push("\n")?;
            out.spaces(indent.saturating_mul(depth))
        }
        _ => Ok(()),
    };
    out.push(open)?;
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(&style.item_separator)?;
        }
        new_line(out, depth + 1)?;
        write_item(out, item)?;
    }
    new_line(out, depth)?;
    out.push(close)
}

fn write_json_key(out: &mut Text, key: &Value, style: &JsonStyle) -> Result<(), Error> {
    match key.kind() {
        ValueKind::String => write_json_string(out, key.as_str().unwrap_or_default(), style),
        ValueKind::None => out.push("\"null\""),
        ValueKind::Bool => out.push(if key.is_true() { "\"true\"" } else { "\"false\"" }),
        ValueKind::Number => out.push(&format!("\"{}\"", json_number(key))),
        kind => Err(refused(format!("tojson: a key of type {kind} is not JSON"))),
    }
}

fn json_number(value: &Value) -> String {
    match number(value).as_str() {
        "nan" => "NaN".to_owned(),
        "inf" => "Infinity".to_owned(),
        "-inf" => "-Infinity".to_owned(),
        text => text.to_owned(),
    }
}

fn write_json_string(out: &mut Text, text: &str, style: &JsonStyle) -> Result<(), Error> {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            c if (c as u32) < 0x20 => quoted.push_str(&format!("\\u{:04x}", c as u32)),
            c if style.ensure_ascii && !(' '..='~').contains(&c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    quoted.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    out.push(&quoted)
}

/// Python's whitespace: Unicode's, and the four separators U+001C to U+001F.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

pub fn wrong_type(what: &str, value: &Value) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("{what}: unexpected value of type {}", value.kind()))
}
