//! What commands print, on its way to whoever reads it: made safe, bounded, without secrets.
//!
//! Bytes come in as they are read. They are made text without terminal escapes ([`clean`]), lose their secrets line by
//! line ([`redact`]), are shown live, and the beginning and the end of it are kept ([`kept`]).

mod clean;
mod kept;
mod patterns;
mod redact;
#[cfg(test)]
mod tests;

pub(crate) use patterns::names_a_secret;
pub(crate) use redact::{Redactor, SHORTEST_CHARS};

use clean::Cleaner;
use kept::Kept;
use redact::Stream;
use std::sync::Arc;

/// So many lines of one step are shown live; more would keep the command waiting for whoever looks on.
const LIVE_LINES: usize = 10_000;

/// Takes a line, without its end.
pub(crate) type Line = Box<dyn FnMut(&str) + Send>;

/// What commands print, from one stream or two.
pub(crate) struct Telling {
    streams: [(Cleaner, Stream); 2],
    kept: Kept,
    live: Live,
    safe: String,
}

/// Whoever looks on.
struct Live {
    line: Line,
    shown: usize,
}

impl Telling {
    /// Nothing yet.
    pub(crate) fn new(redactor: &Arc<Redactor>, line: Line) -> Self {
        let stream = || (Cleaner::default(), Stream::new(Arc::clone(redactor)));
        let live = Live { line, shown: 0 };
        Self { streams: [stream(), stream()], kept: Kept::default(), live, safe: String::new() }
    }

    /// Takes in what was read of the first stream (0) or the second (1).
    pub(crate) fn push(&mut self, from: usize, bytes: &[u8]) {
        let Self { streams, kept, live, safe } = self;
        let Some((cleaner, stream)) = streams.get_mut(from) else { return };
        safe.clear();
        cleaner.push(bytes, safe);
        stream.push(safe, &mut |text| take(kept, live, text));
    }

    /// All that is kept.
    pub(crate) fn finish(mut self) -> String {
        let Self { streams, kept, live, safe } = &mut self;
        for (cleaner, stream) in streams {
            safe.clear();
            cleaner.finish(safe);
            stream.push(safe, &mut |text| take(kept, live, text));
            stream.finish(&mut |text| take(kept, live, text));
        }
        self.kept.finish()
    }
}

fn take(kept: &mut Kept, live: &mut Live, text: &str) {
    kept.push(text);
    match live.shown {
        0..LIVE_LINES => (live.line)(text.strip_suffix('\n').unwrap_or(text)),
        LIVE_LINES => (live.line)("[what follows is kept, and not shown here]"),
        _ => return,
    }
    live.shown += 1;
}
