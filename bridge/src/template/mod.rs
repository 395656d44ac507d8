//! Chat templates: Jinja2 as transformers' `apply_chat_template` sets it up, on minijinja, with budgets.

mod filters;
mod meter;
mod python;
mod strings;

use std::collections::BTreeMap;
use std::ffi::{c_char, CString};

use minijinja::machinery::{eval, make_string_output, parse, tokenize, CodeGenerator, Instructions, Token};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Error, ErrorKind};

use crate::{guarded, on_large_stack, slice, text, Buffer, Status};
use filters::Raised;
use meter::refused;
use python::MAX_TEXT;

/// Larger templates are refused before they are parsed. DeepSeek's have 1 to 10 KB.
const MAX_TEMPLATE: usize = 256 << 10;
/// Operators in one tag, and other links of chains; see `check_tags`.
const MAX_OPERATORS: usize = 1000;
const MAX_LINKS: usize = 4000;
/// Nested calls of macros cost 4 each, other frames 1.
const MAX_RECURSION: usize = 400;
/// Writes `now` in strftime's `format`; returns the size, or 0 if it does not fit.
pub type FormatTime = extern "C" fn(now: i64, format: *const c_char, out: *mut c_char, size: usize) -> usize;

type Blocks<'s> = BTreeMap<&'s str, Instructions<'s>>;

fn compile(source: &str) -> Result<(Instructions<'_>, Blocks<'_>), Error> {
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?;
    check_tags(source, &syntax)?;
    let template = parse(source, "chat template", syntax)?;
    let mut generator = CodeGenerator::new("chat template", source);
    generator.compile_stmt(&template);
    let (code, blocks) = generator.finish();
    let blocks = blocks.iter().map(|(name, block)| (*name, meter::metered(block))).collect();
    Ok((meter::metered(&code), blocks))
}

/// Refuses tags that the compiler would take long over or recurse deeply in: it goes down one level for every part of
/// a chain (`a.b.c`, `a|b|c`, `a + b + c`, `elif`), folds constants, trying anew at every operator of a chain, and
/// has no bound on what a product of constants makes.
fn check_tags(source: &str, syntax: &SyntaxConfig) -> Result<(), Error> {
    let mut tag = Tag::default();
    let mut branches = 0;
    for token in tokenize(source, false, syntax.clone()) {
        match token?.0 {
            Token::VariableEnd | Token::BlockEnd => tag = Tag::default(),
            Token::Ident("elif") => branches += 1,
            token => tag.count(&token),
        }
        if tag.operators > MAX_OPERATORS || tag.links > MAX_LINKS || branches > MAX_LINKS {
            return Err(refused("a tag or a chain of elif tags is too long"));
        }
        if tag.multiplies && tag.product.saturating_mul(tag.text) > MAX_TEXT as u64 {
            return Err(refused(format!("a product of constants could make more than {MAX_TEXT} bytes")));
        }
    }
    Ok(())
}

/// What one tag has of the things that `check_tags` limits.
struct Tag {
    operators: usize,
    links: usize, // everything else that a chain is made of
    text: u64,    // bytes of its string literals
    product: u64, // of its integers
    multiplies: bool,
}

impl Default for Tag {
    fn default() -> Tag {
        Tag { operators: 0, links: 0, text: 0, product: 1, multiplies: false }
    }
}

impl Tag {
    fn count(&mut self, token: &Token) {
        match token {
            Token::Ident("and" | "or" | "not" | "in") => self.operators += 1,
            Token::Plus | Token::Minus | Token::Div | Token::FloorDiv | Token::Mod | Token::Tilde => {
                self.operators += 1
            }
            Token::Eq | Token::Ne | Token::Gt | Token::Gte | Token::Lt | Token::Lte => self.operators += 1,
            Token::Mul | Token::Pow => (self.operators, self.multiplies) = (self.operators + 1, true),
            Token::Dot | Token::Pipe | Token::BracketOpen | Token::ParenOpen => self.links += 1,
            Token::Ident("is" | "if") => self.links += 1,
            Token::Str(literal) => self.text += literal.len() as u64,
            Token::String(literal) => self.text += literal.len() as u64,
            Token::Int(number) => self.product = self.product.saturating_mul((*number).max(1)),
            Token::Int128(_) => self.product = u64::MAX,
            _ => (),
        }
    }
}

/// The source as the parser wants it: newlines as Jinja2 normalises them, and transformers' `{% generation %}` (it
/// marks the assistant's tokens for training and renders as its body) as a tag with the same scope.
fn normalized(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        out.push_str(before);
        let name = tag.trim_start_matches(['-', '+']).trim_start();
        let (word, replacement) = match name.strip_prefix("end") {
            Some(_) => ("endgeneration", "endwith"),
            None => ("generation", "with"),
        };
        rest = tag;
        if let Some(after) = name.strip_prefix(word) {
            if after.trim_start().trim_start_matches(['-', '+']).starts_with("%}") {
                out.push_str(&tag[..tag.len() - name.len()]);
                out.push_str(replacement);
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn environment(now: i64, format_time: FormatTime) -> Environment<'static> {
    let mut env = Environment::new();
    env.set_fuel(Some(meter::MAX_STEPS));
    env.set_recursion_limit(MAX_RECURSION);
    env.set_unknown_method_callback(strings::call_method);
    filters::install(&mut env);
    meter::install(&mut env);
    env.add_function("strftime_now", move |format: &str| {
        let format = CString::new(format).map_err(|_| refused("strftime_now: NUL in the format"))?;
        let mut out = [0u8; 1024];
        let size = format_time(now, format.as_ptr(), out.as_mut_ptr().cast(), out.len());
        Ok::<String, Error>(String::from_utf8_lossy(&out[..size]).into_owned())
    });
    env
}

fn render(source: &str, context: Value, now: i64, format_time: FormatTime) -> Result<String, Error> {
    let (code, blocks) = compile(source)?;
    let env = environment(now, format_time);
    let mut out = String::new();
    eval(&env, &code, context, &blocks, &mut make_string_output(&mut out), AutoEscape::None)?;
    Ok(out)
}

fn from_json(json: serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(value) => Value::from(value),
        serde_json::Value::Number(value) => match (value.as_i64(), value.as_u64()) {
            (Some(value), _) => Value::from(value),
            (None, Some(value)) => Value::from(value),
            (None, None) => Value::from(value.as_f64()),
        },
        serde_json::Value::String(value) => Value::from(value),
        serde_json::Value::Array(values) => values.into_iter().map(from_json).collect(),
        serde_json::Value::Object(fields) => {
            Value::from_pairs(fields.into_iter().map(|(name, value)| (name, from_json(value))))
        }
    }
}

/// Why a template failed: its own words if it raised, else line and reason.
fn reason(error: &Error) -> String {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut found: Option<&Error> = None; // the innermost error with a reason
    while let Some(e) = cause {
        if let Some(raised) = e.downcast_ref::<Raised>() {
            return raised.0.clone();
        }
        found = e.downcast_ref::<Error>().or(found);
        cause = e.source();
    }
    let error = found.unwrap_or(error);
    let what = match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => format!("the template runs more than {} steps", meter::MAX_STEPS),
        (ErrorKind::InvalidOperation, Some(detail)) => detail.to_owned(),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    };
    match error.line() {
        Some(line) => format!("line {line}: {what}"),
        None => what,
    }
}

fn checked_source(bytes: &[u8]) -> Result<String, String> {
    if bytes.len() > MAX_TEMPLATE {
        return Err(format!("the template has {} bytes, at most {MAX_TEMPLATE} are read", bytes.len()));
    }
    Ok(normalized(text(bytes)?))
}

/// # Safety
/// As the header says.
#[no_mangle]
pub unsafe extern "C" fn hadal_template_check(source: *const u8, size: usize, error: *mut Buffer) -> Status {
    guarded(error, || {
        let source = checked_source(slice(source, size))?;
        on_large_stack(|| compile(&source).map(|_| ()).map_err(|e| reason(&e)))
    })
}

/// # Safety
/// As the header says.
#[no_mangle]
pub unsafe extern "C" fn hadal_template_render(
    source: *const u8,
    source_size: usize,
    context: *const u8,
    context_size: usize,
    now: i64,
    format_time: FormatTime,
    out: *mut Buffer,
    error: *mut Buffer,
) -> Status {
    guarded(error, || {
        let source = checked_source(slice(source, source_size))?;
        let context = slice(context, context_size);
        let rendered = on_large_stack(|| {
            let context = serde_json::from_slice(context).map_err(|e| format!("variables: {e}"))?;
            render(&source, from_json(context), now, format_time).map_err(|e| reason(&e))
        })?;
        out.write(Buffer::from_bytes(rendered.into_bytes()));
        Ok(())
    })
}
