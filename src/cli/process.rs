//! This process's surroundings: variables, files, streams and the clock, which a test replaces.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use crate::cli::command_error::CommandError;
use crate::edge::comfyui::Surroundings;

type Variable = dyn Fn(&str) -> Option<OsString> + Send + Sync;

/// The surroundings that a command runs in.
#[derive(Clone)]
pub(crate) struct Process {
    /// Reads an environment variable.
    pub variable: Arc<Variable>,
    /// Names the environment variables that there are, those that are text.
    pub variables: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    /// Reads a small file whole.
    pub read_file: fn(&Path) -> io::Result<String>,
    /// Reads standard input whole, where that is small.
    pub read_stdin: fn() -> io::Result<String>,
    /// Standard output: data.
    pub out: Stream,
    /// Standard error: progress and messages.
    pub err: Stream,
    /// What time it is.
    pub now: fn() -> Timestamp,
    /// Asks a question on a stream and reads the line that the user types; `None`, and nothing is asked, without a terminal.
    pub answer: fn(&Stream, &str) -> Option<String>,
    /// Whether Ctrl-C and termination requests are listened to; they belong to the whole process.
    pub signals: bool,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").finish_non_exhaustive()
    }
}

impl Process {
    /// The real one.
    #[must_use]
    pub(crate) fn of_this_process() -> Self {
        let (out, err) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        let mut world = Self {
            variable: Arc::new(|name| std::env::var_os(name)),
            variables: Arc::new(|| {
                std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect()
            }),
            read_file: read_small_file,
            read_stdin: || read_small(io::stdin().lock()),
            out: Stream::new(io::stdout(), out.then_some(|| terminal_size::terminal_size_of(io::stdout()))),
            err: Stream::new(io::stderr(), err.then_some(|| terminal_size::terminal_size_of(io::stderr()))),
            now: Timestamp::now,
            answer: typed_line,
            signals: true,
        };
        let ascii = !world.speaks_unicode();
        (world.out, world.err) = (world.out.in_ascii(ascii), world.err.in_ascii(ascii));
        world
    }

    /// Returns a variable that is set and not empty, as text.
    ///
    /// # Errors
    /// When it is not UTF-8.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, CommandError> {
        match self.set(name) {
            None => Ok(None),
            Some(value) => value.into_string().map(Some).map_err(|_| {
                CommandError::variable(format!("the environment variable `{name}` is not UTF-8"))
            }),
        }
    }

    /// Returns a variable that is set and not empty.
    pub(crate) fn set(&self, name: &str) -> Option<OsString> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    /// Returns a variable that holds an absolute path. Relative ones are passed over, as the XDG rules ask.
    #[must_use]
    pub(crate) fn folder(&self, name: &str) -> Option<PathBuf> {
        (self.variable)(name).map(PathBuf::from).filter(|path| path.is_absolute())
    }

    /// Whether the terminal can do no more than a typewriter.
    #[must_use]
    pub(crate) fn is_dumb(&self) -> bool {
        self.set("TERM").is_some_and(|value| value == "dumb")
    }

    /// Whether the locale has more characters than ASCII; the first of its variables that is set decides.
    #[must_use]
    pub(crate) fn speaks_unicode(&self) -> bool {
        match ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(|name| self.set(name)) {
            Some(locale) => {
                let locale = locale.to_string_lossy().to_ascii_lowercase();
                locale.contains("utf-8") || locale.contains("utf8")
            }
            // Windows has no such variables and a Unicode console; a Unix without them has the C locale.
            None => cfg!(any(windows, target_os = "macos")),
        }
    }

    /// Returns the folder in which is remembered what has to outlive a command, where the environment names one.
    #[must_use]
    pub(crate) fn state_folder(&self) -> Option<PathBuf> {
        let home = || Some(self.folder("HOME")?.join(".local").join("state"));
        let folder = self.folder("XDG_STATE_HOME").or_else(home).or_else(|| self.folder("LOCALAPPDATA"))?;
        Some(folder.join("rcsync"))
    }

    /// The environment, as far as ComfyUI's paths are concerned.
    #[must_use]
    pub(crate) fn surroundings(&self) -> Surroundings<'_> {
        let home = self.folder("HOME").or_else(|| self.folder("USERPROFILE"));
        Surroundings { variable: self.variable.as_ref(), home }
    }

    /// Whether `stream` may be painted: a terminal that can, unless `NO_COLOR` forbids it.
    #[must_use]
    pub(crate) fn colours(&self, stream: &Stream) -> bool {
        stream.is_terminal() && self.set("NO_COLOR").is_none() && !self.is_dumb()
    }
}

/// The longest settings, token or training file that is read; a hundred times what any of them needs.
const SMALL_FILE: u64 = 1 << 20;

fn read_small_file(path: &Path) -> io::Result<String> {
    read_small(std::fs::File::open(path)?)
}

fn typed_line(stream: &Stream, question: &str) -> Option<String> {
    if !io::stdin().is_terminal() {
        return None;
    }
    stream.write(question);
    let mut line = String::new();
    io::stdin().read_line(&mut line).is_ok().then_some(line)
}

fn read_small(source: impl Read) -> io::Result<String> {
    let mut text = String::new();
    source.take(SMALL_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > SMALL_FILE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
    }
    Ok(text)
}

type Size = Option<(terminal_size::Width, terminal_size::Height)>;

/// Standard output or standard error, or a test's stand-in for one.
#[derive(Clone)]
pub(crate) struct Stream {
    sink: Arc<Mutex<dyn Write + Send>>,
    closed: Arc<AtomicBool>,
    lost: Arc<Lost>,
    size: Option<fn() -> Size>,
    ascii: bool,
}

/// What became of output that could not be written, other than by a reader that went away.
#[derive(Debug, Default)]
struct Lost {
    any: AtomicBool,
    fault: Mutex<Option<io::Error>>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("terminal", &self.is_terminal()).finish_non_exhaustive()
    }
}

impl Stream {
    /// Wraps a sink; `size` is given only for a terminal.
    pub(crate) fn new(sink: impl Write + Send + 'static, size: Option<fn() -> Size>) -> Self {
        Self {
            sink: Arc::new(Mutex::new(sink)),
            closed: Arc::default(),
            lost: Arc::default(),
            size,
            ascii: false,
        }
    }

    /// The same stream; a terminal that can only show ASCII gets only that.
    #[must_use]
    pub(crate) fn in_ascii(self, ascii: bool) -> Self {
        Self { ascii: ascii && self.is_terminal(), ..self }
    }

    /// Whether people look at it directly.
    #[must_use]
    pub(crate) const fn is_terminal(&self) -> bool {
        self.size.is_some()
    }

    /// Returns the columns to use: between 40 and 200, and 80 where unknown.
    #[must_use]
    pub(crate) fn columns(&self) -> u16 {
        self.width().clamp(40, 200)
    }

    /// Returns the columns of the terminal as they are, and 80 where unknown.
    #[must_use]
    pub(crate) fn width(&self) -> u16 {
        self.size.and_then(|size| size()).map_or(80, |(width, _)| width.0)
    }

    /// Returns the rows of the terminal, and 24 where unknown.
    #[must_use]
    pub(crate) fn rows(&self) -> u16 {
        self.size.and_then(|size| size()).map_or(24, |(_, height)| height.0.max(4))
    }

    /// Writes and flushes. A reader that went away is no error: the rest goes nowhere (see [`Self::is_closed`]). After any other
    /// fault (a full disk) the rest goes nowhere too, since half a line is there already (see [`Self::take_fault`]).
    pub(crate) fn write(&self, text: &str) {
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_closed() || self.is_lost() {
            return;
        }
        let text = if self.ascii { in_ascii(text) } else { Cow::Borrowed(text) };
        match sink.write_all(text.as_bytes()).and_then(|()| sink.flush()) {
            Ok(()) => {}
            Err(fault) if fault.kind() == io::ErrorKind::BrokenPipe => {
                self.closed.store(true, Ordering::Relaxed);
            }
            Err(fault) => {
                self.lost.any.store(true, Ordering::Relaxed);
                *self.lost.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
            }
        }
    }

    /// Writes one line.
    pub(crate) fn line(&self, text: &str) {
        self.write(&format!("{text}\n"));
    }

    /// Whether something could not be written, other than by a reader that went away.
    #[must_use]
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.any.load(Ordering::Relaxed)
    }

    /// Returns, once, why something could not be written.
    #[must_use]
    pub(crate) fn take_fault(&self) -> Option<io::Error> {
        self.lost.fault.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether the reader went away.
    #[must_use]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

/// Replaces what is not ASCII.
fn in_ascii(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '…' => plain.push_str("..."),
            c if c.is_ascii() => plain.push(c),
            _ => plain.push('?'),
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
pub(crate) mod fake {
    //! A world made of memory.

    use std::cell::Cell;
    use std::collections::BTreeMap;

    use super::*;

    /// What was written to a stream.
    #[derive(Clone, Default)]
    pub(crate) struct Written(Arc<Mutex<Vec<u8>>>);

    impl Written {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }

        pub(crate) fn stream(&self) -> Stream {
            Stream::new(self.clone(), None)
        }

        pub(crate) fn terminal(&self) -> Stream {
            COLUMNS.set(80);
            Stream::new(
                self.clone(),
                Some(|| Some((terminal_size::Width(COLUMNS.get()), terminal_size::Height(24)))),
            )
        }
    }

    thread_local! {
        /// The columns of the terminals of this test.
        pub(crate) static COLUMNS: Cell<u16> = const { Cell::new(80) };
    }

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A reader that went away.
    pub(crate) struct Gone;

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A disk that is full.
    pub(crate) struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A world with these variables, and what is written in it.
    pub(crate) fn world(variables: &[(&str, &str)]) -> (Process, Written, Written) {
        let variables: BTreeMap<String, OsString> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect();
        let (out, err) = (Written::default(), Written::default());
        let names: Vec<String> = variables.keys().cloned().collect();
        let world = Process {
            variables: Arc::new(move || names.clone()),
            variable: Arc::new(move |name| variables.get(name).cloned()),
            read_file: |_| Err(io::ErrorKind::NotFound.into()),
            read_stdin: || Ok(String::new()),
            out: out.stream(),
            err: err.stream(),
            now: || Timestamp::from_second(1_769_860_800).unwrap(),
            answer: |_, _| None,
            signals: false,
        };
        (world, out, err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_went_away_is_noticed_and_no_error() {
        let stream = Stream::new(fake::Gone, None);
        assert!(!stream.is_closed());
        stream.line("x");
        assert!(stream.is_closed());
    }

    #[test]
    fn a_disk_that_is_full_is_no_reader_that_went_away() {
        let stream = Stream::new(fake::Full, None);
        stream.line("x");
        assert!(stream.is_lost() && !stream.is_closed());
        assert_eq!(stream.take_fault().unwrap().kind(), io::ErrorKind::StorageFull);
        assert!(stream.take_fault().is_none() && stream.is_lost(), "once");
        assert!(!Stream::new(fake::Gone, None).is_lost());
    }

    #[test]
    #[cfg(not(any(windows, target_os = "macos")))]
    fn the_locale_decides_about_unicode() {
        let speaks = |variables: &[(&str, &str)]| fake::world(variables).0.speaks_unicode();
        assert!(!speaks(&[]), "the C locale");
        assert!(speaks(&[("LANG", "de_DE.UTF-8")]));
        assert!(speaks(&[("LC_ALL", "C.utf8"), ("LANG", "C")]));
        assert!(!speaks(&[("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")]), "the first one that is set decides");
        assert!(speaks(&[("LC_ALL", ""), ("LC_CTYPE", "en_US.UTF-8"), ("LANG", "C")]));
        assert!(!speaks(&[("LC_CTYPE", "de_DE.ISO-8859-1"), ("LANG", "de_DE.UTF-8")]));
    }

    #[test]
    fn a_terminal_is_painted_unless_no_color_is_set() {
        let written = fake::Written::default();
        let painted = |variables: &[(&str, &str)]| fake::world(variables).0.colours(&written.terminal());
        assert!(painted(&[("TERM", "xterm")]));
        assert!(painted(&[("TERM", "xterm"), ("NO_COLOR", "")]), "an empty one is not set");
        assert!(!painted(&[("TERM", "xterm"), ("NO_COLOR", "1")]));
        assert!(!painted(&[("TERM", "dumb")]));
        assert!(!fake::world(&[("TERM", "xterm")]).0.colours(&written.stream()), "a pipe");
    }

    #[test]
    fn a_terminal_without_unicode_gets_none_and_a_pipe_all() {
        let written = fake::Written::default();
        written.terminal().in_ascii(true).write("KIND,… é犬");
        written.stream().in_ascii(true).write("…");
        assert_eq!(written.text(), "KIND,... ??…");
    }

    #[test]
    fn an_empty_variable_is_not_set() {
        let (world, ..) = fake::world(&[("A", ""), ("B", "b"), ("XDG_CONFIG_HOME", "relative")]);
        assert_eq!(world.text("A").unwrap(), None);
        assert_eq!(world.text("B").unwrap().as_deref(), Some("b"));
        assert_eq!(world.folder("XDG_CONFIG_HOME"), None);
    }
}
