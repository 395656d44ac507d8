//! Budgets. minijinja counts instructions (fuel) and limits recursion, but one instruction can double a string,
//! nest a list in itself or compare two exponential ones. So templates are compiled, and then the instructions
//! that make or read values of any size are replaced by, or fenced with, filters of ours that charge for them.

use std::sync::{Arc, Mutex, PoisonError};

use minijinja::machinery::{Instruction, Instructions};
use minijinja::value::{Enumerator, Object, Rest, Tuple, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State};

use super::python::{to_str, write_str, Text, MAX_TEXT};

/// Instructions a render may run; 20 to 100 ns each.
pub const MAX_STEPS: u64 = 2_000_000;
/// Work units a render may spend beside that; the worst use of them takes about a second and half a gigabyte.
const MAX_WORK: u64 = 1 << 27;
/// Looking at one value of a list or mapping.
const NODE: u64 = 16;
/// Bytes of text per unit: compared or looked at, made, and searched or changed.
const READ: u64 = 16;
const MADE: u64 = 4;
const SEARCHED: u64 = 2;
/// Values inside one value, how deep they nest, and their text.
const MAX_NODES: u64 = 1 << 18;
const MAX_DEPTH: usize = 100;
const MAX_VALUE_TEXT: u64 = 4 * MAX_TEXT as u64;

/// An error for input that the budgets or the language refuse.
pub fn refused(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

#[derive(Default)]
struct Spent(u64);

/// Takes `work` units off the render's budget.
pub fn charge(state: &mut State, work: u64) -> Result<(), Error> {
    let spent = state.get_or_insert_extension_with(Spent::default);
    spent.0 = spent.0.saturating_add(work);
    if spent.0 > MAX_WORK {
        return Err(refused("the template does more work than one prompt can need"));
    }
    Ok(())
}

fn text_size(value: &Value) -> u64 {
    value.as_bytes().map_or(0, |bytes| bytes.len() as u64)
}

/// Pays for a new text.
pub fn charge_made(state: &mut State, text: &str) -> Result<(), Error> {
    charge(state, text.len() as u64 / MADE)
}

/// The work of reading a value with all that it contains, shared parts counted as often as they appear. An error
/// for values that are too large or too deep for any later operation to be safe.
pub fn measure(value: &Value) -> Result<u64, Error> {
    let (mut nodes, mut text) = (1, text_size(value));
    let mut open = Vec::new();
    let mut look_at = |child: Value, depth: usize, open: &mut Vec<(Value, usize)>| {
        nodes += 1;
        text += text_size(&child);
        if nodes > MAX_NODES || text > MAX_VALUE_TEXT {
            return Err(refused("the template makes a value that is too large"));
        }
        if child.as_object().is_some() {
            open.push((child, depth));
        }
        Ok(())
    };
    if value.as_object().is_some() {
        open.push((value.clone(), 1));
    }
    while let Some((value, depth)) = open.pop() {
        if depth > MAX_DEPTH {
            return Err(refused(format!("the template nests values deeper than {MAX_DEPTH} levels")));
        }
        for_each_child(&value, |child| look_at(child, depth + 1, &mut open))?;
    }
    Ok(nodes * NODE + text / READ)
}

fn for_each_child(value: &Value, mut visit: impl FnMut(Value) -> Result<(), Error>) -> Result<(), Error> {
    let Some(object) = value.as_object() else { return Ok(()) };
    if let Some(namespace) = value.downcast_object_ref::<Namespace>() {
        return namespace.pairs().into_iter().try_for_each(|(_, child)| visit(child));
    }
    if value.kind() == ValueKind::Map {
        let mut pairs = object.try_iter_pairs().into_iter().flatten();
        return pairs.try_for_each(|(key, child)| visit(key).and_then(|()| visit(child)));
    }
    object.try_iter().into_iter().flatten().try_for_each(visit)
}

/// Measures and pays for a value.
pub fn pay(state: &mut State, value: &Value) -> Result<u64, Error> {
    let work = measure(value)?;
    charge(state, work)?;
    Ok(work)
}

/// Pays for an operation that searches a text or makes another of about its size.
pub fn pay_for_search(state: &mut State, value: &Value) -> Result<(), Error> {
    pay(state, value)?;
    charge(state, text_size(value) / SEARCHED)
}

/// Pays for a list of so many pieces of a text.
pub fn charge_pieces(state: &mut State, count: usize) -> Result<(), Error> {
    if count as u64 > MAX_NODES {
        return Err(refused("the template makes a value that is too large"));
    }
    charge(state, count as u64 * NODE)
}

/// A result of a call: a lazy sequence becomes a list, so that no chain of them can be built, and is paid for as
/// the memory that it takes.
pub fn settle(state: &mut State, value: Value) -> Result<Value, Error> {
    let work = pay(state, &value)?;
    if value.kind() != ValueKind::Iterable {
        return Ok(value);
    }
    charge(state, work)?;
    Ok(Value::from(value.try_iter()?.collect::<Vec<Value>>()))
}

/// `namespace(...)`: what `{% set ns.x = ... %}` assigns to. Ours, because it must never contain itself.
#[derive(Debug, Default)]
pub struct Namespace(Mutex<Vec<(Arc<str>, Value)>>);

impl Namespace {
    pub fn pairs(&self) -> Vec<(Value, Value)> {
        let fields = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        fields.iter().map(|(name, value)| (Value::from(name.clone()), value.clone())).collect()
    }

    pub fn set(&self, name: &str, value: Value) {
        let mut fields = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match fields.iter_mut().find(|(field, _)| field.as_ref() == name) {
            Some((_, slot)) => *slot = value,
            None => fields.push((name.into(), value)),
        }
    }
}

impl Object for Namespace {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        let fields = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        fields.iter().find(|(field, _)| field.as_ref() == name).map(|(_, value)| value.clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.pairs().into_iter().map(|(name, _)| name).collect())
    }
}

/// For a value that was measured.
fn contains_namespace(value: &Value) -> bool {
    let mut open = vec![value.clone()];
    while let Some(value) = open.pop() {
        if value.downcast_object_ref::<Namespace>().is_some() {
            return true;
        }
        // The visitor never fails.
        let _ = for_each_child(&value, |child| {
            open.push(child);
            Ok(())
        });
    }
    false
}

const CHECKED: &str = "hadal.checked";
const SETTLED: &str = "hadal.settled";
const TOUCHED: &str = "hadal.touched";
const SEARCH: &str = "hadal.search";
const ADD: &str = "hadal.add";
const MUL: &str = "hadal.mul";
const CONCAT: &str = "hadal.concat";
const SLICE: &str = "hadal.slice";
const FILTER: &str = "hadal.filter";
const SET: &str = "hadal.set";

/// The compiled template with every unbounded operation metered.
pub fn metered<'s>(code: &Instructions<'s>) -> Instructions<'s> {
    let mut starts = Vec::new(); // the new index of each old instruction
    let mut next = 0;
    for instruction in (0..).map_while(|i| code.get(i)) {
        starts.push(next);
        next += fenced(instruction).len() as u32;
    }
    starts.push(next);

    let mut out = Instructions::new(code.name(), code.source());
    for (i, instruction) in (0..).map_while(|i| Some((i, code.get(i)?))) {
        for mut part in fenced(instruction) {
            relocate(&mut part, &starts);
            match (code.get_span(i), code.get_line(i)) {
                (Some(span), _) => out.add_with_span(part, span),
                (None, Some(line)) => out.add_with_line(part, line as u16),
                (None, None) => out.add(part),
            };
        }
    }
    out
}

fn relocate(instruction: &mut Instruction, starts: &[u32]) {
    match instruction {
        Instruction::Jump(target)
        | Instruction::JumpIfFalse(target)
        | Instruction::JumpIfFalseOrPop(target)
        | Instruction::JumpIfTrueOrPop(target)
        | Instruction::Iterate(target)
        | Instruction::BuildMacro(_, target, _) => *target = starts[*target as usize],
        _ => (),
    }
}

/// What one instruction becomes. The stack is the same before and after.
fn fenced<'s>(instruction: &Instruction<'s>) -> Vec<Instruction<'s>> {
    use Instruction as I;
    let ours = |name, arguments| I::ApplyFilter(name, Some(arguments), !0);
    let original = instruction.clone();
    match instruction {
        I::EmitRaw(text) => vec![I::LoadConst(Value::from(*text)), I::Emit],
        I::Add => vec![ours(ADD, 2)],
        I::Mul => vec![ours(MUL, 2)],
        I::StringConcat => vec![ours(CONCAT, 2)],
        I::Slice => vec![ours(SLICE, 4)],
        I::SetAttr(name) => vec![I::LoadConst(Value::from(*name)), ours(SET, 3), I::DiscardTop],
        I::ApplyFilter(name, Some(count), _) => {
            vec![I::LoadConst(Value::from(*name)), ours(FILTER, count + 1)]
        }
        I::BuildList(_) | I::BuildTuple(_) | I::BuildMap(_) => vec![original, ours(CHECKED, 1)],
        I::CallFunction(..) | I::CallMethod(..) | I::CallObject(_) => vec![original, ours(SETTLED, 1)],
        // Constant folding may have made it.
        I::LoadConst(value) if value.as_object().is_some() => vec![original, ours(CHECKED, 1)],
        I::PushLoop(_) => vec![ours(TOUCHED, 1), original],
        I::GetItem => vec![I::Swap, ours(TOUCHED, 1), I::Swap, original],
        // Comparing costs no more than the smaller side, so paying for one is enough.
        I::Eq | I::Ne | I::Gt | I::Gte | I::Lt | I::Lte | I::In | I::CompareAndPreserve(_) => {
            vec![I::DupTop, ours(CHECKED, 1), I::DiscardTop, original]
        }
        I::PerformTest(_, Some(_), _) => vec![I::DupTop, ours(SEARCH, 1), I::DiscardTop, original],
        _ => vec![original],
    }
}

/// Registers what `metered` code calls.
pub fn install(env: &mut Environment) {
    env.add_filter(CHECKED, |state: &mut State, value: ValueOrKwargs| {
        pay(state, &value)?;
        Ok::<Value, Error>(value.into_value())
    });
    env.add_filter(SETTLED, |state: &mut State, value: Value| settle(state, value));
    env.add_filter(TOUCHED, |state: &mut State, value: Value| {
        charge(state, text_size(&value) / READ)?;
        Ok::<Value, Error>(value)
    });
    env.add_filter(SEARCH, |state: &mut State, value: Value| {
        pay_for_search(state, &value)?;
        Ok::<Value, Error>(value)
    });
    env.add_filter(ADD, add);
    env.add_filter(MUL, mul);
    env.add_filter(CONCAT, concat);
    env.add_filter(SLICE, slice);
    env.add_filter(FILTER, filter);
    env.add_filter(SET, set);
    env.set_formatter(|out, state, value| {
        let text = to_str(value)?;
        charge(state, text.len() as u64 / MADE)?;
        let written = state.get_or_insert_extension_with(Written::default);
        written.0 += text.len();
        if written.0 > MAX_TEXT {
            return Err(refused(format!("the template writes more than {MAX_TEXT} bytes")));
        }
        out.write_str(&text).map_err(Error::from)
    });
}

/// Bytes written so far, those of captured blocks and macros included.
#[derive(Default)]
struct Written(usize);

fn is_list(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
}

fn unsupported(operator: &str, a: &Value, b: &Value) -> Error {
    let name =
        |value: &Value| if value.is_undefined() { "undefined".to_owned() } else { value.kind().to_string() };
    refused(format!("unsupported operands for {operator}: {} and {}", name(a), name(b)))
}

/// An int of Python's: a bool counts.
fn as_int(value: &Value) -> Option<i128> {
    if value.is_integer() || value.kind() == ValueKind::Bool {
        i128::try_from(value.clone()).ok()
    } else {
        None
    }
}

fn from_int(value: Option<i128>) -> Result<Value, Error> {
    let value = value.ok_or_else(|| refused("integer overflow"))?;
    Ok(i64::try_from(value).map_or_else(|_| Value::from(value), Value::from))
}

pub fn add(state: &mut State, a: Value, b: Value) -> Result<Value, Error> {
    if let (Some(x), Some(y)) = (a.as_str(), b.as_str()) {
        let mut text = Text::default();
        text.push(x)?;
        text.push(y)?;
        return text.into_value(state);
    }
    if is_list(&a) && is_list(&b) && a.is_tuple() == b.is_tuple() {
        pay(state, &a)?;
        pay(state, &b)?;
        let items: Vec<Value> = a.try_iter()?.chain(b.try_iter()?).collect();
        let sum = if a.is_tuple() { Value::from(Tuple::from(items)) } else { Value::from(items) };
        return measure(&sum).map(|_| sum);
    }
    match (as_int(&a), as_int(&b), f64::try_from(a.clone()), f64::try_from(b.clone())) {
        (Some(x), Some(y), ..) => from_int(x.checked_add(y)),
        (.., Ok(x), Ok(y)) => Ok(Value::from(x + y)),
        _ => Err(unsupported("+", &a, &b)),
    }
}

fn mul(state: &mut State, a: Value, b: Value) -> Result<Value, Error> {
    let (a, b) = if as_int(&a).is_some() { (b, a) } else { (a, b) };
    let count = as_int(&b).map(|count| count.clamp(0, 1 << 40) as usize);
    match (a.as_str(), count) {
        (Some(text), Some(count)) => {
            let size = text.len().saturating_mul(count);
            if size > MAX_TEXT {
                return Err(refused(format!("the template makes more than {MAX_TEXT} bytes of text")));
            }
            charge(state, size as u64 / MADE)?;
            Ok(Value::from(text.repeat(count)))
        }
        (None, Some(count)) if is_list(&a) => {
            let each = pay(state, &a)?;
            charge(state, each.saturating_mul(count as u64))?;
            let items: Vec<Value> = a.try_iter()?.collect();
            let items: Vec<Value> = std::iter::repeat_n(items, count).flatten().collect();
            Ok(if a.is_tuple() { Value::from(Tuple::from(items)) } else { Value::from(items) })
        }
        _ => match (as_int(&a), as_int(&b), f64::try_from(a.clone()), f64::try_from(b.clone())) {
            (Some(x), Some(y), ..) => from_int(x.checked_mul(y)),
            (.., Ok(x), Ok(y)) => Ok(Value::from(x * y)),
            _ => Err(unsupported("*", &a, &b)),
        },
    }
}

fn concat(state: &mut State, a: Value, b: Value) -> Result<Value, Error> {
    let mut text = Text::default();
    for value in [a, b] {
        pay(state, &value)?;
        write_str(&mut text, &value)?;
    }
    text.into_value(state)
}

/// `value[start:stop:step]` as Python has it.
fn slice(state: &mut State, value: Value, start: Value, stop: Value, step: Value) -> Result<Value, Error> {
    charge(state, text_size(&value) / SEARCHED + NODE * value.len().unwrap_or(0) as u64)?;
    let bound = |value: &Value| match value.is_none() {
        true => Ok(None),
        false => value.as_i64().map(Some).ok_or_else(|| refused("slice indices must be integers")),
    };
    let (start, stop, step) = (bound(&start)?, bound(&stop)?, bound(&step)?.unwrap_or(1));
    if let Some(text) = value.as_str() {
        let characters: Vec<char> = text.chars().collect();
        let picked = slice_indices(characters.len(), start, stop, step)?;
        return Ok(Value::from(picked.map(|i| characters[i]).collect::<String>()));
    }
    if !is_list(&value) {
        return Err(refused(format!("a value of type {} cannot be sliced", value.kind())));
    }
    let items: Vec<Value> = value.try_iter()?.collect();
    let picked =
        slice_indices(items.len(), start, stop, step)?.map(|i| items[i].clone()).collect::<Vec<Value>>();
    Ok(if value.is_tuple() { Value::from(Tuple::from(picked)) } else { Value::from(picked) })
}

fn slice_indices(
    len: usize,
    start: Option<i64>,
    stop: Option<i64>,
    step: i64,
) -> Result<impl Iterator<Item = usize>, Error> {
    if step == 0 {
        return Err(refused("slice step cannot be zero"));
    }
    let len = len as i64;
    let (lowest, highest) = if step > 0 { (0, len) } else { (-1, len - 1) };
    let clamp = |index: i64| if index < 0 { (index + len).max(lowest) } else { index.min(highest) };
    let start = start.map_or(if step > 0 { lowest } else { highest }, clamp);
    let stop = stop.map_or(if step > 0 { highest } else { lowest }, clamp);
    let mut next = Some(start);
    Ok(std::iter::from_fn(move || {
        let index = next.filter(|&i| if step > 0 { i < stop } else { i > stop })?;
        next = index.checked_add(step);
        Some(index as usize)
    }))
}

/// Calls a filter by the name on top of the stack; pays for what goes in and what comes out.
fn filter(state: &mut State, arguments: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let arguments: Vec<Value> = arguments.iter().map(|argument| (**argument).clone()).collect();
    let Some((name, arguments)) = arguments.split_last() else { return Ok(Value::UNDEFINED) };
    let name = name.as_str().unwrap_or_default();
    let Some((value, others)) = arguments.split_first() else { return Ok(Value::UNDEFINED) };
    if matches!(name, "length" | "count" | "first" | "last" | "default" | "d") {
        charge(state, NODE + text_size(value) / READ)?;
        return state.apply_filter(name, arguments);
    }
    pay_for_search(state, value)?;
    let mut each = 0;
    for argument in others {
        each += pay(state, argument)?;
    }
    let items = value.len().unwrap_or(0) as u64;
    match name {
        // These run a test or a filter with the other arguments on every item.
        "map" | "select" | "reject" | "selectattr" | "rejectattr" => {
            charge(state, items.saturating_mul(each))?
        }
        "sort" | "unique" | "groupby" | "dictsort" => charge(state, items * NODE * 16)?,
        _ => (),
    }
    if value.as_str().is_some()
        && items > MAX_NODES
        && matches!(name, "list" | "map" | "select" | "reject" | "sort")
    {
        return Err(refused(format!("{name}: the text is too long to be taken apart")));
    }
    let result = state.apply_filter(name, arguments)?;
    settle(state, result)
}

/// `{% set target.name = value %}`.
fn set(state: &mut State, value: Value, target: Value, name: Value) -> Result<Value, Error> {
    let Some(namespace) = target.downcast_object_ref::<Namespace>() else {
        return Err(refused(format!(
            "can only assign to a namespace, not to a value of type {}",
            target.kind()
        )));
    };
    pay(state, &value)?;
    if contains_namespace(&value) {
        return Err(refused("a namespace cannot hold a namespace"));
    }
    namespace.set(name.as_str().unwrap_or_default(), value);
    Ok(Value::UNDEFINED)
}
