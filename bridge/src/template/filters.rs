//! Filters, tests and functions that transformers' environment has and minijinja has not, or not with Jinja2's
//! arguments, Python's results and a bound on their size.

use minijinja::value::{from_args, Kwargs, Rest, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State};

use super::meter::{add, charge_pieces, refused, Namespace};
use super::python::{to_json, to_str, wrong_type, JsonStyle, Text};
use super::strings::{self, split_lines, strip};

/// Adds them to the environment, and takes out what Jinja2 does not have.
pub fn install(env: &mut Environment) {
    for name in ["bool", "chain", "lines", "pprint", "split", "zip"] {
        env.remove_filter(name);
    }
    env.remove_global("debug");
    env.add_filter("tojson", tojson);
    env.add_filter("string", string);
    env.add_filter("length", length);
    env.add_filter("count", length);
    env.add_filter("default", default);
    env.add_filter("d", default);
    env.add_filter("trim", trim);
    env.add_filter("replace", replace);
    env.add_filter("join", join);
    env.add_filter("indent", indent);
    env.add_filter("format", format);
    env.add_filter("escape", escape);
    env.add_filter("e", escape);
    env.add_filter("int", int);
    env.add_filter("float", float);
    env.add_filter("sum", sum);
    env.add_filter("batch", batch);
    env.add_filter("slice", slice);
    env.add_function("namespace", namespace);
    env.add_function("raise_exception", raise_exception);
    add_tests(env);
}

fn add_tests(env: &mut Environment) {
    let is_int = |value: &Value| value.is_integer();
    env.add_test("integer", is_int);
    env.add_test("int", is_int);
    env.add_test("number", |value: &Value| value.is_number() || value.kind() == ValueKind::Bool);
    env.add_test("sequence", |value: &Value| {
        matches!(value.kind(), ValueKind::Seq | ValueKind::String | ValueKind::Map | ValueKind::Undefined)
    });
    env.add_test("iterable", |value: &Value| {
        matches!(value.kind(), ValueKind::String | ValueKind::Undefined) || value.try_iter().is_ok()
    });
    env.add_test("callable", |value: &Value| value.kind() == ValueKind::Plain);
}

/// transformers' `tojson`: `json.dumps` without Jinja2's HTML escapes.
fn tojson(state: &mut State, value: &Value, options: Kwargs) -> Result<Value, Error> {
    let separators: Option<Vec<String>> = options.get("separators")?;
    let indent: Option<usize> = options.get("indent")?;
    let mut style = JsonStyle {
        indent,
        sort_keys: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        ensure_ascii: options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        item_separator: if indent.is_some() { "," } else { ", " }.to_owned(),
        key_separator: ": ".to_owned(),
    };
    options.assert_all_used()?;
    if let Some(separators) = separators {
        let [item, key] =
            <[String; 2]>::try_from(separators).map_err(|_| refused("tojson: separators are two"))?;
        style.item_separator = item;
        style.key_separator = key;
    }
    to_json(value, &style)?.into_value(state)
}

fn length(value: &Value) -> Result<usize, Error> {
    match value.is_undefined() {
        true => Ok(0),
        false => value.len().ok_or_else(|| wrong_type("length", value)),
    }
}

fn default(
    value: &Value,
    other: Option<Value>,
    falsy: Option<bool>,
    options: Kwargs,
) -> Result<Value, Error> {
    let other = other.or(options.get("default_value")?).unwrap_or_else(|| Value::from(""));
    let falsy = falsy.or(options.get("boolean")?).unwrap_or(false);
    options.assert_all_used()?;
    let replaced = value.is_undefined() || (falsy && !value.is_true());
    Ok(if replaced { other } else { value.clone() })
}

fn string(state: &mut State, value: &Value) -> Result<Value, Error> {
    if value.as_str().is_some() {
        return Ok(value.clone());
    }
    let mut out = Text::default();
    out.push(&to_str(value)?)?;
    out.into_value(state)
}

fn trim(value: &Value, characters: Option<&str>) -> Result<String, Error> {
    Ok(strip(&to_str(value)?, "strip", characters).to_owned())
}

fn replace(
    state: &mut State,
    value: &Value,
    old: &Value,
    new: &Value,
    count: Option<i64>,
) -> Result<Value, Error> {
    strings::replace(&to_str(value)?, &to_str(old)?, &to_str(new)?, count)?.into_value(state)
}

fn join(
    state: &mut State,
    value: &Value,
    separator: Option<&str>,
    attribute: Option<&Value>,
    options: Kwargs,
) -> Result<Value, Error> {
    let separator = separator.or(options.get("d")?).unwrap_or("");
    let attribute = attribute.cloned().or(options.get("attribute")?);
    options.assert_all_used()?;
    let values = value.try_iter()?;
    match attribute {
        None => strings::join(separator, values)?.into_value(state),
        Some(key) => {
            let picked = values.map(|item| item.get_item(&key)).collect::<Result<Vec<Value>, Error>>()?;
            strings::join(separator, picked.into_iter())?.into_value(state)
        }
    }
}

fn format(state: &mut State, value: &str, arguments: Rest<Value>) -> Result<Value, Error> {
    strings::check_format(value)?;
    let style = minijinja::formatting::FormatStyle::Printf;
    let mut out = Text::default();
    out.push(&minijinja::formatting::format(style, value, &arguments)?)?;
    out.into_value(state)
}

fn sum(
    state: &mut State,
    value: &Value,
    attribute: Option<&Value>,
    start: Option<Value>,
    options: Kwargs,
) -> Result<Value, Error> {
    let attribute = attribute.cloned().or(options.get("attribute")?);
    let mut total = start.or(options.get("start")?).unwrap_or_else(|| Value::from(0));
    options.assert_all_used()?;
    for item in value.try_iter()? {
        let item = attribute.as_ref().map_or(Ok(item.clone()), |key| item.get_item(key))?;
        total = add(state, total, item)?;
    }
    Ok(total)
}

/// Jinja2 fills the last list up to `count`.
fn batch(state: &mut State, value: Value, count: usize, fill: Option<Value>) -> Result<Value, Error> {
    charge_pieces(state, value.len().unwrap_or(0).saturating_add(count))?;
    minijinja::filters::batch(state, value, count, fill)
}

fn slice(state: &mut State, value: Value, count: usize, fill: Option<Value>) -> Result<Value, Error> {
    charge_pieces(state, value.len().unwrap_or(0).saturating_add(count))?;
    minijinja::filters::slice(state, value, count, fill)
}

/// Jinja2's `indent(width=4, first=False, blank=False)`; the width may be a string.
fn indent(state: &mut State, value: &Value, arguments: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let arguments = arguments.into_values();
    let (width, first, blank, options): (Option<Value>, Option<bool>, Option<bool>, Kwargs) =
        from_args(&arguments)?;
    let width = width.or(options.get("width")?).unwrap_or_else(|| Value::from(4));
    let first = first.or(options.get("first")?).unwrap_or(false);
    let blank = blank.or(options.get("blank")?).unwrap_or(false);
    options.assert_all_used()?;
    let mut indention = Text::default();
    match width.as_str() {
        Some(text) => indention.push(text)?,
        None => indention.spaces(width.as_usize().ok_or_else(|| wrong_type("indent: width", &width))?)?,
    }
    let indention = indention.into_string();

    let text = to_str(value)? + "\n"; // so that a last empty line counts as one
    let mut out = Text::default();
    for (i, line) in split_lines(&text, false).into_iter().enumerate() {
        if i > 0 {
            out.push("\n")?;
        }
        if if i == 0 { first } else { blank || !line.is_empty() } {
            out.push(&indention)?;
        }
        out.push(line)?;
    }
    out.into_value(state)
}

/// markupsafe's `escape`: a value that was escaped or marked safe stays as it is.
fn escape(value: &Value) -> Result<Value, Error> {
    if value.is_safe() {
        return Ok(value.clone());
    }
    let mut out = Text::default();
    for c in to_str(value)?.chars() {
        match c {
            '&' => out.push("&amp;")?,
            '<' => out.push("&lt;")?,
            '>' => out.push("&gt;")?,
            '"' => out.push("&#34;")?,
            '\'' => out.push("&#39;")?,
            c => out.push(c.encode_utf8(&mut [0; 4]))?,
        }
    }
    Ok(Value::from_safe_string(out.into_string()))
}

fn int(value: &Value, fallback: Option<Value>, base: Option<u32>, options: Kwargs) -> Result<Value, Error> {
    let fallback = fallback.or(options.get("default")?).unwrap_or_else(|| Value::from(0));
    let base = base.or(options.get("base")?).unwrap_or(10);
    options.assert_all_used()?;
    let from_float = |float: f64| (float.abs() < 1e18).then(|| Value::from(float as i64));
    Ok(match value.as_str() {
        Some(text) => match parse_int(text.trim(), base) {
            Some(int) => Value::from(int),
            None => text.trim().parse().ok().and_then(from_float).unwrap_or(fallback),
        },
        None if value.is_integer() => value.clone(),
        None if value.kind() == ValueKind::Bool => Value::from(i64::from(value.is_true())),
        None => f64::try_from(value.clone()).ok().and_then(from_float).unwrap_or(fallback),
    })
}

/// `int(text, base)`, with the prefix that the base may have.
fn parse_int(text: &str, base: u32) -> Option<i64> {
    let prefix = match base {
        2 => "0b",
        8 => "0o",
        16 => "0x",
        3..=36 => "",
        _ => return None,
    };
    i64::from_str_radix(text.strip_prefix(prefix).unwrap_or(text), base).ok()
}

fn float(value: &Value, fallback: Option<Value>, options: Kwargs) -> Result<Value, Error> {
    let fallback = fallback.or(options.get("default")?).unwrap_or_else(|| Value::from(0.0));
    options.assert_all_used()?;
    let float = match value.as_str() {
        Some(text) => text.trim().parse().ok(),
        None => f64::try_from(value.clone()).ok(),
    };
    Ok(float.map_or(fallback, Value::from))
}

/// `namespace(a=1, ...)`, or of a mapping.
fn namespace(fields: Option<ValueOrKwargs>) -> Result<Value, Error> {
    let namespace = Namespace::default();
    if let Some(fields) = fields.map(ValueOrKwargs::into_value) {
        let pairs = fields.as_object().filter(|_| fields.kind() == ValueKind::Map);
        let pairs = pairs
            .and_then(|object| object.try_iter_pairs())
            .ok_or_else(|| wrong_type("namespace", &fields))?;
        for (name, value) in pairs {
            namespace.set(name.as_str().ok_or_else(|| wrong_type("namespace: name", &name))?, value);
        }
    }
    Ok(Value::from_object(namespace))
}

/// What the template itself says about the input, in its own words.
#[derive(Debug)]
pub struct Raised(pub String);

impl std::fmt::Display for Raised {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

fn raise_exception(_: &State, message: &Value) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(Raised(to_str(message)?)))
}
