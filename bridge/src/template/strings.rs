//! Python's string methods, where minijinja's stand-ins differ or are missing.

use minijinja::value::{from_args, Kwargs, Tuple, Value, ValueKind};
use minijinja::{Error, State};

use super::meter::{charge_pieces, pay_for_search, refused};
use super::python::{is_space, write_str, wrong_type, Text, MAX_TEXT};

/// `value.method(...)` for values whose type does not bring the method itself.
pub fn call_method(
    state: &mut State,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    pay_for_search(state, value)?;
    for argument in arguments {
        pay_for_search(state, argument)?;
    }
    if let (ValueKind::String, Some(text)) = (value.kind(), value.as_str()) {
        if let Some(result) = string_method(state, text, method, arguments)? {
            return Ok(result);
        }
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, method, arguments)
}

/// The methods of this file; empty for those that minijinja-contrib does as Python does.
fn string_method(
    state: &mut State,
    text: &str,
    method: &str,
    arguments: &[Value],
) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "strip" | "lstrip" | "rstrip" => {
            let (characters,): (Option<&str>,) = from_args(arguments)?;
            Value::from(strip(text, method, characters))
        }
        "split" | "rsplit" => split_method(state, text, method, arguments)?,
        "splitlines" => {
            let (keep,): (Option<bool>,) = from_args(arguments)?;
            split_lines(text, keep.unwrap_or(false)).into_iter().map(Value::from).collect()
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(arguments)?;
            partition(text, separator, method == "rpartition")?
        }
        "removeprefix" | "removesuffix" => {
            let (affix,): (&str,) = from_args(arguments)?;
            let prefix = method == "removeprefix";
            let rest = if prefix { text.strip_prefix(affix) } else { text.strip_suffix(affix) };
            Value::from(rest.unwrap_or(text))
        }
        "replace" => {
            let (old, new, count): (&str, &str, Option<i64>) = from_args(arguments)?;
            replace(text, old, new, count)?.into_value(state)?
        }
        "join" => {
            let (values,): (&Value,) = from_args(arguments)?;
            join(text, values.try_iter()?)?.into_value(state)?
        }
        "index" => {
            let (needle,): (&str,) = from_args(arguments)?;
            let found = text.find(needle).ok_or_else(|| refused("substring not found"))?;
            Value::from(text[..found].chars().count())
        }
        "ljust" | "rjust" | "zfill" => {
            let (width, fill): (usize, Option<&str>) = from_args(arguments)?;
            justify(text, method, width, fill.unwrap_or(" "))?.into_value(state)?
        }
        "format" => {
            check_format(text)?;
            return Ok(None);
        }
        _ => return Ok(None),
    }))
}

/// `split` or `rsplit` as Python calls them: by position or by name.
fn split_method(state: &mut State, text: &str, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    let (separator, limit, named): (Option<Value>, Option<i64>, Kwargs) = from_args(arguments)?;
    let separator = separator.or(named.get::<Option<Value>>("sep")?).unwrap_or_default();
    let limit = limit.or(named.get("maxsplit")?).and_then(|limit| usize::try_from(limit).ok());
    named.assert_all_used()?;
    let pieces = split(text, &separator, limit, method == "rsplit")?;
    charge_pieces(state, pieces.len())?;
    Ok(pieces.into_iter().map(Value::from).collect())
}

/// `strip`, `lstrip` or `rstrip`: of the given characters, else of whitespace.
pub fn strip<'t>(text: &'t str, method: &str, characters: Option<&str>) -> &'t str {
    let goes = |c: char| characters.map_or_else(|| is_space(c), |characters| characters.contains(c));
    match method {
        "lstrip" => text.trim_start_matches(goes),
        "rstrip" => text.trim_end_matches(goes),
        _ => text.trim_matches(goes),
    }
}

fn split<'t>(
    text: &'t str,
    separator: &Value,
    limit: Option<usize>,
    from_right: bool,
) -> Result<Vec<&'t str>, Error> {
    let limit = limit.unwrap_or(usize::MAX);
    if separator.is_none() || separator.is_undefined() {
        return Ok(split_words(text, limit, from_right));
    }
    let separator = separator.as_str().ok_or_else(|| wrong_type("split", separator))?;
    if separator.is_empty() {
        return Err(refused("split: empty separator"));
    }
    let parts = limit.saturating_add(1);
    if !from_right {
        return Ok(text.splitn(parts, separator).collect());
    }
    let mut pieces: Vec<&str> = text.rsplitn(parts, separator).collect();
    pieces.reverse();
    Ok(pieces)
}

/// `split()`: at runs of whitespace, with no empty words at the ends; what is left after `limit` splits stays whole.
fn split_words(text: &str, limit: usize, from_right: bool) -> Vec<&str> {
    let skip = |text| {
        if from_right {
            str::trim_end_matches(text, is_space)
        } else {
            str::trim_start_matches(text, is_space)
        }
    };
    let mut words = Vec::new();
    let mut rest = skip(text);
    while !rest.is_empty() {
        let space = if from_right { rest.rfind(is_space) } else { rest.find(is_space) };
        let (word, others) = match space.filter(|_| words.len() < limit) {
            None => (rest, ""),
            Some(at) if from_right => {
                let width = rest[at..].chars().next().map_or(1, char::len_utf8);
                (&rest[at + width..], &rest[..at])
            }
            Some(at) => rest.split_at(at),
        };
        words.push(word);
        rest = skip(others);
    }
    if from_right {
        words.reverse();
    }
    words
}

/// `splitlines`: at everything that Python takes for the end of a line.
pub fn split_lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let ends = |c| {
        matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(ends) {
        let width = match rest[at..].starts_with("\r\n") {
            true => 2,
            false => rest[at..].chars().next().map_or(1, char::len_utf8),
        };
        lines.push(&rest[..if keep_ends { at + width } else { at }]);
        rest = &rest[at + width..];
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

fn partition(text: &str, separator: &str, from_right: bool) -> Result<Value, Error> {
    if separator.is_empty() {
        return Err(refused("partition: empty separator"));
    }
    let found = if from_right { text.rsplit_once(separator) } else { text.split_once(separator) };
    let parts = match found {
        Some((before, after)) => [before, separator, after],
        None if from_right => ["", "", text],
        None => [text, "", ""],
    };
    Ok(Value::from(Tuple::from(parts.map(Value::from))))
}

/// `text.replace(old, new, count)`.
pub fn replace(text: &str, old: &str, new: &str, count: Option<i64>) -> Result<Text, Error> {
    let limit = count.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
    let mut out = Text::default();
    let mut last = 0;
    for (at, found) in text.match_indices(old).take(limit) {
        out.push(&text[last..at])?;
        out.push(new)?;
        last = at + found.len();
    }
    out.push(&text[last..])?;
    Ok(out)
}

/// `separator.join(values)`, each as `str` has it.
pub fn join(separator: &str, values: impl Iterator<Item = Value>) -> Result<Text, Error> {
    let mut out = Text::default();
    for (i, value) in values.enumerate() {
        if i > 0 {
            out.push(separator)?;
        }
        write_str(&mut out, &value)?;
    }
    Ok(out)
}

fn justify(text: &str, method: &str, width: usize, fill: &str) -> Result<Text, Error> {
    let missing = width.saturating_sub(text.chars().count());
    let fill = if method == "zfill" { "0" } else { fill };
    let (sign, digits) = match text.chars().next() {
        Some('+' | '-') if method == "zfill" => text.split_at(1),
        _ => ("", text),
    };
    let mut out = Text::default();
    out.push(sign)?;
    if method == "ljust" {
        out.push(digits)?;
    }
    for _ in 0..missing {
        out.push(fill)?;
    }
    if method != "ljust" {
        out.push(digits)?;
    }
    Ok(out)
}

/// Refuses format strings whose widths and precisions add up to more than a text may have, or are given by an argument.
pub fn check_format(format: &str) -> Result<(), Error> {
    let (mut number, mut total) = (0usize, 0usize);
    for c in format.chars() {
        number = c.to_digit(10).map_or(0, |digit| number.saturating_mul(10).saturating_add(digit as usize));
        total = total.saturating_add(number);
        if total > MAX_TEXT || c == '*' {
            return Err(refused("format: a width is too large, or given by an argument"));
        }
    }
    Ok(())
}
