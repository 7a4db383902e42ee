//! Where lines go, if not to standard error, and what it is told of an event beside its line.

use std::fmt;
use std::io::{Stderr, Write};

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Takes whole lines: those of events, and others that say what has become of lines or why the process ends.
pub trait Destination: Write + Send + fmt::Debug {
    /// From now on the log's thread writes here, and may be kept waiting. Until then whoever starts the process does,
    /// whom nothing may hold up for long.
    fn may_wait(&mut self);
}

/// Nobody would hear why it is given up, so it may always wait.
impl Destination for Stderr {
    fn may_wait(&mut self) {}
}

/// Writes, in front of an event's line, what its [`Destination`] is told beside it. There must be no line break in it.
pub type Describe = fn(&Event<'_>, &mut Writer<'_>) -> fmt::Result;

/// The format of lines that are described.
#[derive(Debug)]
pub struct Described<T> {
    line: T,
    describe: Option<Describe>,
}

impl<T> Described<T> {
    /// Describes the events that `line` formats. `None`: there is nobody who wants it.
    pub fn new(line: T, describe: Option<Describe>) -> Self {
        Self { line, describe }
    }
}

impl<S, N, T> FormatEvent<S, N> for Described<T>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    T: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if let Some(describe) = self.describe {
            describe(event, &mut writer)?;
        }
        self.line.format_event(context, writer, event)
    }
}
