//! What plugins put their answers into. Each takes no more than its limit, whatever a plugin does.

use crossdock_plugin::abi::{Choice, Sink, View};
use std::ffi::c_void;

/// Bytes of an error's text that are kept.
const TEXT_MAX: usize = 1_024;

/// Items of bytes.
pub struct Items {
    items: Vec<Vec<u8>>,
    items_max: usize,
    item_max: usize,
}

impl Items {
    /// At most that many, each of at most that many bytes.
    pub fn new(items_max: usize, item_max: usize) -> Self {
        Self { items: Vec::new(), items_max, item_max }
    }

    /// For the text of an error.
    pub fn of_error() -> Self {
        Self::new(1, TEXT_MAX)
    }

    /// For the text of an error in which something may stand, of that many bytes, that has to be taken out before the
    /// text is cut.
    pub fn of_error_with(bytes: usize) -> Self {
        Self::new(1, TEXT_MAX.saturating_add(bytes))
    }

    /// A sink that leads here while this is borrowed.
    pub fn sink(&mut self) -> Sink {
        Sink { context: (&raw mut *self).cast(), put: Some(put) }
    }

    /// Puts the first item into another sink, as text on one line. `edit` sees it as it came, and as that line.
    pub fn pass_on(self, to: *const Sink, edit: impl Fn(Vec<u8>) -> Vec<u8>) {
        let first = edit(self.items.into_iter().next().unwrap_or_default());
        let mut text = edit(on_one_line(&first).into_bytes());
        text.truncate(TEXT_MAX);
        let text = String::from_utf8_lossy(&text).into_owned();
        // SAFETY: a sink of this process, or null, which is there during the call that this is a part of.
        if let Some(Sink { context, put: Some(put) }) = unsafe { to.as_ref() } {
            // SAFETY: the same.
            unsafe { put(*context, View::of(text.as_bytes())) };
        }
    }

    /// All items.
    pub fn into_items(self) -> Vec<Vec<u8>> {
        self.items
    }

    /// The first item as text on one line.
    pub fn into_text(self) -> String {
        on_one_line(&self.items.into_iter().next().unwrap_or_default())
    }
}

/// As text without line breaks and the like.
pub fn on_one_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

unsafe extern "C" fn put(context: *mut c_void, bytes: View) -> i32 {
    // SAFETY: the context is of `Items::sink`, and the plugin uses it during its call only.
    let Some(items) = (unsafe { context.cast::<Items>().as_mut() }) else { return 1 };
    if items.items.len() >= items.items_max {
        return 1;
    }
    // SAFETY: a view of the plugin, valid during this call.
    let bytes = unsafe { bytes.bytes() };
    items.items.push(bytes.get(..items.item_max).unwrap_or(bytes).to_vec());
    0
}

/// Places of bindings.
pub struct Places {
    pub places: Vec<u32>,
    /// How many bindings there are.
    count: usize,
    /// A place that no binding has, if one was chosen.
    pub outside: Option<u32>,
}

impl Places {
    /// Of that many bindings.
    pub fn new(count: usize) -> Self {
        Self { places: Vec::new(), count, outside: None }
    }

    /// A choice that leads here while this is borrowed.
    pub fn choice(&mut self) -> Choice {
        Choice { context: (&raw mut *self).cast(), choose: Some(choose) }
    }
}

unsafe extern "C" fn choose(context: *mut c_void, place: u32) {
    // SAFETY: the context is of `Places::choice`, and the plugin uses it during its call only.
    let Some(places) = (unsafe { context.cast::<Places>().as_mut() }) else { return };
    // Each binding once, at most: a plugin that chooses more chooses the same again.
    match (place as usize) < places.count && places.places.len() < places.count {
        true => places.places.push(place),
        false => places.outside = Some(place),
    }
}
