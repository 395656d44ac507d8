//! Hugging Face `tokenizers`: text to ids and back.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use llguidance::ParserFactory;
use serde_json::Value;
use tokenizers::{DecoderWrapper, Tokenizer as Inner};

use crate::{guarded, slice, text, Buffer, Ids, Status};

/// A loaded tokenizer.json. Immutable: every function may run on any thread.
pub struct Tokenizer {
    inner: Inner,
    vocab_size: usize,
    grammars: OnceLock<Result<Arc<ParserFactory>, String>>,
}

impl Tokenizer {
    fn from_json(json: &[u8]) -> Result<Tokenizer, String> {
        let mut file: Value = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        let added = prepare(&mut file)?;
        let inner: Inner = serde_json::from_value(file).map_err(|e| e.to_string())?;
        let vocab = inner.get_vocab(true);
        check_ids(&vocab)?;
        for (content, id) in added {
            // The library gives an added token the next free id when the file's id leaves a hole.
            if vocab.get(&content).map(|&found| u64::from(found)) != Some(id) {
                return Err(format!(
                    "added token {content:?} has id {id}, which does not follow the other ids"
                ));
            }
        }
        Ok(Tokenizer { inner, vocab_size: vocab.len(), grammars: OnceLock::new() })
    }

    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The token as decoding sees it: an added token after normalisation, else the vocabulary's entry.
    fn stored(&self, id: u32) -> Option<String> {
        self.inner.get_added_vocabulary().simple_id_to_token(id).or_else(|| self.inner.id_to_token(id))
    }

    pub fn is_special(&self, id: u32) -> bool {
        self.stored(id).is_some_and(|token| self.inner.get_added_vocabulary().is_special_token(&token))
    }

    /// Whether the id stands for an added token, which no ordinary text encodes to.
    pub fn is_added(&self, id: u32) -> bool {
        self.inner.get_added_vocabulary().simple_id_to_token(id).is_some()
    }

    /// Made with the first grammar, because it takes a while. `eos` is always the same.
    pub fn grammar_factory(&self, eos: u32) -> Result<Arc<ParserFactory>, String> {
        self.grammars.get_or_init(|| crate::grammar::factory(self, eos)).clone()
    }

    /// The bytes that the id adds to decoded text. Only a byte-level decoder treats every token by itself.
    pub fn token_bytes(&self, id: u32) -> Result<Vec<u8>, String> {
        if !matches!(self.inner.get_decoder(), Some(DecoderWrapper::ByteLevel(_))) {
            return Err("the decoder is not ByteLevel, so a single token has no bytes of its own".to_owned());
        }
        let token = self.stored(id).ok_or_else(|| self.unknown(i64::from(id)))?;
        // A token with a character outside the byte alphabet (`<｜User｜>`) stands for itself.
        let bytes: Option<Vec<u8>> = token.chars().map(byte_of).collect();
        Ok(bytes.unwrap_or_else(|| token.into_bytes()))
    }

    fn encode(&self, text: &str) -> Result<Vec<i32>, String> {
        let encoding = self.inner.encode_fast(text, false).map_err(|e| e.to_string())?;
        Ok(encoding.get_ids().iter().map(|&id| id as i32).collect())
    }

    fn decode(&self, ids: &[i32], skip_special: bool) -> Result<String, String> {
        let ids = ids.iter().map(|&id| self.checked(id)).collect::<Result<Vec<u32>, String>>()?;
        self.inner.decode(&ids, skip_special).map_err(|e| e.to_string())
    }

    fn checked(&self, id: i32) -> Result<u32, String> {
        match u32::try_from(id) {
            Ok(id) if (id as usize) < self.vocab_size => Ok(id),
            _ => Err(self.unknown(i64::from(id))),
        }
    }

    fn unknown(&self, id: i64) -> String {
        format!("token id {id} is not in 0..{}", self.vocab_size)
    }
}

/// Takes out of the file what would make ids depend on anything but the text, and returns its added tokens.
fn prepare(file: &mut Value) -> Result<Vec<(String, u64)>, String> {
    let object = file.as_object_mut().ok_or("expected an object")?;
    for key in ["truncation", "padding", "post_processor"] {
        object.insert(key.to_owned(), Value::Null);
    }
    if let Some(model) = object.get("model") {
        if model.get("dropout").and_then(Value::as_f64).is_some_and(|dropout| dropout != 0.0) {
            return Err("model.dropout is set: ids would be random".to_owned());
        }
        // The library slices merges by this prefix's length without looking where characters begin.
        if model.get("continuing_subword_prefix").and_then(Value::as_str).is_some_and(|p| !p.is_empty()) {
            return Err("model.continuing_subword_prefix is not supported".to_owned());
        }
    }
    if let Some(pre_tokenizer) = object.get_mut("pre_tokenizer") {
        make_linear(pre_tokenizer);
    }
    let added = object.get("added_tokens").and_then(Value::as_array);
    Ok(added.into_iter().flatten().filter_map(added_token).collect())
}

fn added_token(token: &Value) -> Option<(String, u64)> {
    Some((token.get("content")?.as_str()?.to_owned(), token.get("id")?.as_u64()?))
}

/// `\s+$` tries every start of a run of spaces that does not reach the end, which is quadratic in the run. With the
/// look-behind only the first start is tried, and it finds a match exactly when any later one would: the run between
/// them is space too. So the splits are the same.
fn make_linear(pre_tokenizer: &mut Value) {
    if let Some(steps) = pre_tokenizer.get_mut("pretokenizers").and_then(Value::as_array_mut) {
        steps.iter_mut().for_each(make_linear);
    }
    if let Some(regex) = pre_tokenizer.pointer_mut("/pattern/Regex") {
        if regex == r"\s+$" {
            *regex = Value::from(r"(?<!\s)\s+$");
        }
    }
}

/// Ids must be 0, 1, ..., n - 1, each once: everything that is indexed by id relies on it.
fn check_ids(vocab: &HashMap<String, u32>) -> Result<(), String> {
    let mut tokens: Vec<Option<&str>> = vec![None; vocab.len()];
    for (token, &id) in vocab {
        match tokens.get_mut(id as usize) {
            None => {
                return Err(format!("token {token:?} has id {id}, but there are only {} tokens", vocab.len()))
            }
            Some(Some(other)) => return Err(format!("tokens {other:?} and {token:?} share the id {id}")),
            Some(slot) => *slot = Some(token),
        }
    }
    Ok(())
}

/// GPT-2's alphabet: printable Latin-1 stands for itself, the other 68 bytes follow U+0100 in order.
fn byte_of(c: char) -> Option<u8> {
    match c as u32 {
        c @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => Some(c as u8),
        c @ 0x100..=0x120 => Some((c - 0x100) as u8),
        c @ 0x121..=0x142 => Some((c - 0x121 + 0x7f) as u8),
        0x143 => Some(0xad),
        _ => None,
    }
}

/// # Safety
/// As the header says for `hadal_tokenizer_new`.
#[no_mangle]
pub unsafe extern "C" fn hadal_tokenizer_new(
    json: *const u8,
    size: usize,
    out: *mut *mut Tokenizer,
    error: *mut Buffer,
) -> Status {
    guarded(error, || {
        let tokenizer = Tokenizer::from_json(slice(json, size))?;
        out.write(Box::into_raw(Box::new(tokenizer)));
        Ok(())
    })
}

/// # Safety
/// `tokenizer` came from `hadal_tokenizer_new` and nothing uses it any more.
#[no_mangle]
pub unsafe extern "C" fn hadal_tokenizer_free(tokenizer: *mut Tokenizer) {
    drop(Box::from_raw(tokenizer));
}

/// # Safety
/// As the header says.
#[no_mangle]
pub unsafe extern "C" fn hadal_tokenizer_encode(
    tokenizer: *const Tokenizer,
    data: *const u8,
    size: usize,
    out: *mut Ids,
    error: *mut Buffer,
) -> Status {
    guarded(error, || {
        out.write(Ids::from_vec((*tokenizer).encode(text(slice(data, size))?)?));
        Ok(())
    })
}

/// # Safety
/// As the header says.
#[no_mangle]
pub unsafe extern "C" fn hadal_tokenizer_decode(
    tokenizer: *const Tokenizer,
    ids: *const i32,
    size: usize,
    skip_special: bool,
    out: *mut Buffer,
    error: *mut Buffer,
) -> Status {
    guarded(error, || {
        let text = (*tokenizer).decode(slice(ids, size), skip_special)?;
        out.write(Buffer::from_bytes(text.into_bytes()));
        Ok(())
    })
}

/// # Safety
/// As the header says.
#[no_mangle]
pub unsafe extern "C" fn hadal_tokenizer_vocab_size(tokenizer: *const Tokenizer) -> i32 {
    (*tokenizer).vocab_size as i32
}

/// # Safety
/// As the header says.
#[no_mangle]
pub unsafe extern "C" fn hadal_tokenizer_token(
    tokenizer: *const Tokenizer,
    id: i32,
    out: *mut Buffer,
    error: *mut Buffer,
) -> Status {
    guarded(error, || {
        let tokenizer = &*tokenizer;
        let token = tokenizer.inner.id_to_token(tokenizer.checked(id)?);
        out.write(Buffer::from_bytes(token.unwrap_or_default().into_bytes()));
        Ok(())
    })
}

/// # Safety
/// As the header says.
#[no_mangle]
pub unsafe extern "C" fn hadal_tokenizer_token_bytes(
    tokenizer: *const Tokenizer,
    id: i32,
    out: *mut Buffer,
    error: *mut Buffer,
) -> Status {
    guarded(error, || {
        let tokenizer = &*tokenizer;
        out.write(Buffer::from_bytes(tokenizer.token_bytes(tokenizer.checked(id)?)?));
        Ok(())
    })
}

/// # Safety
/// As the header says.
#[no_mangle]
pub unsafe extern "C" fn hadal_tokenizer_token_id(
    tokenizer: *const Tokenizer,
    data: *const u8,
    size: usize,
    out: *mut i32,
    error: *mut Buffer,
) -> Status {
    guarded(error, || {
        let id = (*tokenizer).inner.token_to_id(text(slice(data, size))?);
        out.write(id.map_or(-1, |id| id as i32));
        Ok(())
    })
}

/// # Safety
/// As the header says.
#[no_mangle]
pub unsafe extern "C" fn hadal_tokenizer_is_special(
    tokenizer: *const Tokenizer,
    id: i32,
    out: *mut bool,
    error: *mut Buffer,
) -> Status {
    guarded(error, || {
        let tokenizer = &*tokenizer;
        out.write(tokenizer.is_special(tokenizer.checked(id)?));
        Ok(())
    })
}
