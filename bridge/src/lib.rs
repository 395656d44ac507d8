//! `tokenizers`, `minijinja` and `llguidance` behind the C ABI of `include/hadal_bridge.h`.
//!
//! Rules that hold for every function: nothing unwinds into C (`guarded`), whatever is handed out is owned by the
//! caller and goes back through its `_free` function, and a failure is a status and a message.

mod grammar;
mod template;
mod tokenizer;

use std::any::Any;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::Once;

/// What a call came to; the same numbers as `hadal_status` in the header.
#[repr(i32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Ok = 0,
    /// The input was refused; the error says why.
    Refused = 1,
    /// A library panicked; the error is its message.
    Panicked = 2,
}

/// Bytes that Rust allocated and `hadal_buffer_free` takes back.
#[repr(C)]
pub struct Buffer {
    data: *mut u8,
    size: usize,
}

impl Buffer {
    fn from_bytes(bytes: Vec<u8>) -> Buffer {
        let bytes = bytes.into_boxed_slice();
        let size = bytes.len();
        Buffer { data: Box::into_raw(bytes).cast(), size }
    }
}

/// Token ids that Rust allocated and `hadal_ids_free` takes back.
#[repr(C)]
pub struct Ids {
    data: *mut i32,
    size: usize,
}

impl Ids {
    fn from_vec(ids: Vec<i32>) -> Ids {
        let ids = ids.into_boxed_slice();
        let size = ids.len();
        Ids { data: Box::into_raw(ids).cast(), size }
    }
}

/// # Safety
/// `buffer` came from this library and was not freed before.
#[no_mangle]
pub unsafe extern "C" fn hadal_buffer_free(buffer: Buffer) {
    if !buffer.data.is_null() {
        drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(buffer.data, buffer.size)));
    }
}

/// # Safety
/// `ids` came from this library and was not freed before.
#[no_mangle]
pub unsafe extern "C" fn hadal_ids_free(ids: Ids) {
    if !ids.data.is_null() {
        drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(ids.data, ids.size)));
    }
}

/// The caller's bytes. A null pointer with size 0 is an empty slice.
///
/// # Safety
/// `data` points to `size` readable elements that outlive the call.
unsafe fn slice<'a, T>(data: *const T, size: usize) -> &'a [T] {
    if size == 0 {
        &[]
    } else {
        std::slice::from_raw_parts(data, size)
    }
}

/// The caller's text, or where it stops being UTF-8.
fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|e| format!("not UTF-8 at byte {}", e.valid_up_to()))
}

/// Runs one call of the ABI: errors and panics become a status and a message in `error`.
///
/// # Safety
/// `error` points to a writable `Buffer`; what it held is not freed.
unsafe fn guarded(error: *mut Buffer, body: impl FnOnce() -> Result<(), String>) -> Status {
    static QUIET: Once = Once::new();
    // The default hook prints every panic to stderr, which is not ours; the message travels in `error` instead.
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| ())));
    let (status, message) = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return Status::Ok,
        Ok(Err(message)) => (Status::Refused, message),
        Err(panic) => (Status::Panicked, panic_message(panic.as_ref())),
    };
    error.write(Buffer::from_bytes(message.into_bytes()));
    status
}

/// Runs `body` on a stack of its own: what is parsed may nest as deep as its size allows, and the caller's stack may
/// be small. Only pages that are touched take memory.
fn on_large_stack<T: Send>(body: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    const STACK: usize = 32 << 20;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, body);
        let thread = thread.map_err(|e| format!("cannot start a thread: {e}"))?;
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "panic without a message".to_owned(),
    }
}
