//! llguidance: which tokens may come next under a JSON schema, a regular expression or a Lark grammar.

use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};

use crate::tokenizer::Tokenizer;
use crate::{guarded, on_large_stack, slice, text, Buffer, Status};

/// Larger sources are refused before they are parsed.
const MAX_SOURCE: usize = 1 << 20;
/// One to two KB each; the library's default of 250,000 would let one request take half a gigabyte.
const MAX_LEXER_STATES: usize = 50_000;

/// A grammar at one point of a text.
pub struct Grammar {
    matcher: Matcher,
    eos: u32,
}

// What hadal_grammar_clone promises.
const _: fn() = || {
    fn any_thread<T: Send + Sync>() {}
    any_thread::<Grammar>();
};

/// What all grammars of one tokenizer share: its tokens as a trie of bytes.
pub fn factory(tokenizer: &Tokenizer, eos: u32) -> Result<Arc<ParserFactory>, String> {
    let vocab_size = tokenizer.vocab_size() as u32;
    let words = (0..vocab_size).map(|id| word(tokenizer, id)).collect::<Result<Vec<_>, String>>()?;
    let trie = TokTrie::from(&TokRxInfo::new(vocab_size, eos), &words);
    let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
    let mut factory = ParserFactory::new_simple(&env).map_err(|e| e.to_string())?;
    factory.quiet();
    let limits = factory.limits_mut();
    limits.max_lexer_states = MAX_LEXER_STATES;
    limits.verbose_errors = false; // they would quote the answer so far
    Ok(Arc::new(factory))
}

/// A token as the trie has it: special ones begin with a byte that no text has, so that no grammar of text allows
/// them.
fn word(tokenizer: &Tokenizer, id: u32) -> Result<Vec<u8>, String> {
    let bytes = tokenizer.token_bytes(id)?;
    if !tokenizer.is_added(id) {
        return Ok(bytes);
    }
    Ok([&[TokTrie::SPECIAL_TOKEN_MARKER], bytes.as_slice()].concat())
}

impl Grammar {
    fn new(tokenizer: &Tokenizer, eos: u32, kind: i32, source: &str) -> Result<Grammar, String> {
        let grammar = match kind {
            0 => TopLevelGrammar::from_json_schema(serde_json::from_str(source).map_err(|e| e.to_string())?),
            1 => TopLevelGrammar::from_regex(source),
            _ => TopLevelGrammar::from_lark(source.to_owned()),
        };
        let factory = tokenizer.grammar_factory(eos)?;
        let matcher = Matcher::new(factory.create_parser(grammar));
        match matcher.get_error() {
            Some(error) => Err(error),
            None => Ok(Grammar { matcher, eos }),
        }
    }

    /// Shares nothing that changes.
    fn copy(&self) -> Grammar {
        Grammar { matcher: self.matcher.deep_clone(), eos: self.eos }
    }

    fn mask(&mut self, mask: &mut [u32]) -> Result<(), String> {
        let allowed = self.matcher.compute_mask_or_eos().map_err(|e| e.to_string())?;
        let allowed = allowed.as_slice();
        mask.fill(0);
        let shared = mask.len().min(allowed.len());
        mask[..shared].copy_from_slice(&allowed[..shared]);
        Ok(())
    }

    fn accept(&mut self, id: i32) -> Result<(), String> {
        let id = u32::try_from(id).map_err(|_| format!("token id {id} is negative"))?;
        if self.matcher.is_stopped() && !self.matcher.is_error() && id == self.eos {
            return Ok(());
        }
        match self.matcher.try_consume_tokens(&[id]).map_err(|e| e.to_string())? {
            0 => Err(format!("token {id} is not allowed here")),
            _ => Ok(()),
        }
    }
}

/// # Safety
/// As the header says.
#[no_mangle]
pub unsafe extern "C" fn hadal_grammar_new(
    tokenizer: *const Tokenizer,
    eos: i32,
    kind: i32,
    source: *const u8,
    size: usize,
    out: *mut *mut Grammar,
    error: *mut Buffer,
) -> Status {
    guarded(error, || {
        if size > MAX_SOURCE {
            return Err(format!("the source has {size} bytes, at most {MAX_SOURCE} are read"));
        }
        let source = text(slice(source, size))?;
        let eos = u32::try_from(eos).map_err(|_| "the tokenizer has no end token".to_owned())?;
        let tokenizer = &*tokenizer;
        let grammar = on_large_stack(|| Grammar::new(tokenizer, eos, kind, source))?;
        out.write(Box::into_raw(Box::new(grammar)));
        Ok(())
    })
}

/// # Safety
/// As the header says.
#[no_mangle]
pub unsafe extern "C" fn hadal_grammar_clone(
    grammar: *const Grammar,
    out: *mut *mut Grammar,
    error: *mut Buffer,
) -> Status {
    guarded(error, || {
        out.write(Box::into_raw(Box::new((*grammar).copy())));
        Ok(())
    })
}

/// # Safety
/// `grammar` came from `hadal_grammar_new` or `hadal_grammar_clone` and nothing uses it any more.
#[no_mangle]
pub unsafe extern "C" fn hadal_grammar_free(grammar: *mut Grammar) {
    drop(Box::from_raw(grammar));
}

/// # Safety
/// As the header says.
#[no_mangle]
pub unsafe extern "C" fn hadal_grammar_mask(
    grammar: *mut Grammar,
    mask: *mut u32,
    size: usize,
    error: *mut Buffer,
) -> Status {
    guarded(error, || (*grammar).mask(std::slice::from_raw_parts_mut(mask, size)))
}

/// # Safety
/// As the header says.
#[no_mangle]
pub unsafe extern "C" fn hadal_grammar_accept(grammar: *mut Grammar, id: i32, error: *mut Buffer) -> Status {
    guarded(error, || (*grammar).accept(id))
}

/// # Safety
/// As the header says.
#[no_mangle]
pub unsafe extern "C" fn hadal_grammar_is_finished(grammar: *const Grammar) -> bool {
    (*grammar).matcher.is_stopped()
}
