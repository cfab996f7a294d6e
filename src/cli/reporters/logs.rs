//! Logs of decisions on standard error, for `RCSYNC_LOG` and `-vv`; silent otherwise.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;

use crate::cli::command_error::CommandError;
use crate::cli::format::shown;
use crate::cli::process::{Process, Stream};

/// Holds the filter, in tracing's syntax: `debug`, `rcsync::engine=trace,warn`. Only rcsync's own lines pass.
pub(crate) const VARIABLE: &str = "RCSYNC_LOG";

/// What `-vv` logs: rcsync's own decisions, not its libraries' internals.
const DECISIONS: &str = "rcsync=debug";

/// Starts logging where the variable or `-vv` asks for it. The variable has precedence.
///
/// # Errors
/// When the variable is not a valid filter.
pub(crate) fn start(process: &Process, logs_decisions: bool) -> Result<(), CommandError> {
    let given = process.text(VARIABLE)?.filter(|text| !text.trim().is_empty());
    let Some(text) = given.as_deref().or_else(|| logs_decisions.then_some(DECISIONS)) else { return Ok(()) };
    let filter = EnvFilter::builder().parse(text).map_err(|why| {
        CommandError::variable(format!("the environment variable `{VARIABLE}` is no filter: {why}"))
    })?;
    // Whatever the filter asks for: libraries log addresses with their queries, which may be secrets.
    let own = filter_fn(|metadata| metadata.target().split("::").next() == Some("rcsync"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(Lines(process.err.clone()))
        .finish()
        .with(own);
    // A second start in one process (a test) keeps the first subscriber.
    drop(tracing::subscriber::set_global_default(subscriber));
    Ok(())
}

/// Writes each log line as one piece, so that lines of two threads do not mix.
struct Lines(Stream);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { stream: &self.0, text: Vec::new() }
    }
}

struct Line<'a> {
    stream: &'a Stream,
    text: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        // Fields may hold text from outside, which must not act on a terminal.
        let text = String::from_utf8_lossy(&self.text);
        text.lines().for_each(|line| self.stream.line(&shown(line)));
    }
}
