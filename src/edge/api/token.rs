//! Where the token comes from: the environment, what `runcomfy login` wrote, or a file the user names.
//!
//! The first place that has anything decides, also when what it has is unusable: a typing error must not send
//! the token of another account. A token is never shown; only where it came from is.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::error::{ApiError, TokenFault};

/// A token is a few hundred bytes, a token file a few more; a larger file is something else.
const FILE_BOUND: u64 = 64 << 10;

/// The environment variable that holds the token itself.
const VARIABLE: &str = "RUNCOMFY_TOKEN";

/// Variables with secrets of ours in them: no program that we start gets these.
pub(crate) const SECRET_VARIABLES: &[&str] = &[VARIABLE];

/// A token that can be sent. Its value shows in no output of any kind.
#[derive(Clone)]
pub struct Token {
    secret: SecretString,
    origin: String,
}

/// Looks an environment variable up.
type Environment = Arc<dyn Fn(&str) -> Option<OsString> + Send + Sync>;

/// The places where a token is looked for, read anew on every [`TokenSource::load`].
#[derive(Clone)]
pub struct TokenSource {
    environment: Environment,
    home: Option<PathBuf>,
    token_file: Option<PathBuf>,
}

impl TokenSource {
    /// Looks in this process's environment, in the user's home, and last in the file that the user named.
    #[must_use]
    pub fn of_process(token_file: Option<PathBuf>) -> Self {
        Self::new(|name| std::env::var_os(name), std::env::home_dir(), token_file)
    }

    /// Looks in the given places.
    #[must_use]
    pub fn new(
        environment: impl Fn(&str) -> Option<OsString> + Send + Sync + 'static,
        home: Option<PathBuf>,
        token_file: Option<PathBuf>,
    ) -> Self {
        Self { environment: Arc::new(environment), home, token_file }
    }

    /// Always has this token: for the simulator, which must never see a real one.
    #[must_use]
    pub fn fixed(token: &'static str) -> Self {
        Self::new(move |name| (name == VARIABLE).then(|| token.into()), None, None)
    }

    /// Looks for a token now.
    ///
    /// # Errors
    /// [`ApiError::NoToken`] when no place has one, [`ApiError::BadToken`] when the first that has one cannot be
    /// used.
    pub fn load(&self) -> Result<Token, ApiError> {
        if let Some(value) = (self.environment)(VARIABLE) {
            let no_text = || TokenFault::Unreadable(io::ErrorKind::InvalidData.into());
            let text = value.into_string().map_err(|_| bad(VARIABLE, no_text()))?;
            return Token::new(text, VARIABLE.to_owned());
        }
        for path in self.login_files() {
            if let Some(text) = read(&path).transpose() {
                return token_in(text, &path, Format::Json);
            }
        }
        let Some(path) = &self.token_file else { return Err(ApiError::NoToken) };
        // The user named this file, so it has to be there.
        let missing = || Err(io::Error::from(io::ErrorKind::NotFound));
        token_in(read(path).transpose().unwrap_or_else(missing), path, Format::Either)
    }

    fn login_files(&self) -> impl Iterator<Item = PathBuf> {
        let folder = |name| (self.environment)(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folders = [
            folder("RUNCOMFY_CONFIG_DIR"),
            folder("XDG_CONFIG_HOME").map(|path| path.join("runcomfy")),
            self.home.as_ref().map(|path| path.join(".config").join("runcomfy")),
        ];
        folders.into_iter().flatten().map(|path| path.join("token.json"))
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSource").field("token_file", &self.token_file).finish_non_exhaustive()
    }
}

impl Token {
    fn new(text: String, origin: String) -> Result<Self, ApiError> {
        let fault = if text.is_empty() {
            Some(TokenFault::Empty)
        } else if text.contains(['\n', '\r']) {
            Some(TokenFault::LineBreak)
        } else if text.contains(' ') {
            Some(TokenFault::Space)
        } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Some(TokenFault::Characters)
        } else {
            None
        };
        match fault {
            Some(why) => Err(bad(&origin, why)),
            None => Ok(Self { secret: text.into(), origin }),
        }
    }

    /// Returns where the token was found: `RUNCOMFY_TOKEN` or a file's path.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Whether both are the same secret, wherever they were found.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.secret.expose_secret() == other.secret.expose_secret()
    }

    /// Returns the value of the `Authorization` header, marked so that no log shows it.
    pub(crate) fn header(&self) -> Result<HeaderValue, ApiError> {
        let text = format!("Bearer {}", self.secret.expose_secret());
        let mut value =
            HeaderValue::from_str(&text).map_err(|_| bad(&self.origin, TokenFault::Characters))?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Takes the token out of an answer that repeats it, before that answer is quoted.
    pub(crate) fn redact(&self, body: Vec<u8>) -> Vec<u8> {
        let secret = self.secret.expose_secret().as_bytes();
        let mut places = memchr::memmem::find_iter(&body, secret).peekable();
        if places.peek().is_none() {
            return body;
        }
        let mut redacted = Vec::with_capacity(body.len());
        let mut from = 0;
        for at in places {
            redacted.extend_from_slice(&body[from..at]);
            redacted.extend_from_slice("…".as_bytes());
            from = at + secret.len();
        }
        redacted.extend_from_slice(&body[from..]);
        redacted
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(from {})", self.origin)
    }
}

/// How a file may hold its token.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Either,
}

#[derive(Deserialize)]
struct Login {
    access_token: Option<String>,
}

/// Reads a file; `None` when there is none.
fn read(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.take(FILE_BOUND + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BOUND {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is too large for a token"));
    }
    Ok(Some(text))
}

fn token_in(text: io::Result<String>, path: &Path, format: Format) -> Result<Token, ApiError> {
    let origin = format!("`{}`", path.display());
    let text = text.map_err(|error| bad(&origin, TokenFault::Unreadable(error.into())))?;
    // Some editors put a byte order mark at the begin, nearly all a line break at the end.
    let text = text.trim_start_matches('\u{feff}').trim_end_matches(['\n', '\r']);
    if format == Format::Either && !text.trim_start().starts_with('{') {
        return Token::new(text.to_owned(), origin);
    }
    // The parser's message might quote the token.
    let login: Login = serde_json::from_str(text).map_err(|_| bad(&origin, TokenFault::NotJson))?;
    let token = login.access_token.ok_or_else(|| bad(&origin, TokenFault::NoAccessToken))?;
    Token::new(token, origin)
}

fn bad(origin: &str, why: TokenFault) -> ApiError {
    ApiError::BadToken { origin: origin.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A home, a configuration folder and a token file, each with what it is given.
    struct Places {
        root: tempfile::TempDir,
        variables: Vec<(&'static str, OsString)>,
    }

    impl Places {
        fn new() -> Self {
            Self { root: tempfile::tempdir().unwrap(), variables: Vec::new() }
        }

        fn with_variable(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
            self.variables.push((name, value.into()));
            self
        }

        fn with_file(self, path: &str, text: impl AsRef<[u8]>) -> Self {
            let path = self.root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            self
        }

        fn with_folders(self) -> Self {
            let (config, xdg) = (self.root.path().join("config"), self.root.path().join("xdg"));
            self.with_variable("RUNCOMFY_CONFIG_DIR", config).with_variable("XDG_CONFIG_HOME", xdg)
        }

        fn source(&self, token_file: Option<&str>) -> TokenSource {
            let variables = self.variables.clone();
            TokenSource::new(
                move |name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone()),
                Some(self.root.path().join("home")),
                token_file.map(|path| self.root.path().join(path)),
            )
        }

        fn load(&self) -> Result<String, ApiError> {
            self.source(Some("file")).load().map(|token| token.secret.expose_secret().to_owned())
        }

        fn complaint(&self) -> String {
            self.load().unwrap_err().to_string()
        }
    }

    fn login(token: &str) -> String {
        format!(r#"{{"access_token":"{token}","refresh_token":"other","expires_at":1}}"#)
    }

    #[test]
    fn places_in_their_order() {
        let places = Places::new().with_file("file", "from-file\r\n").with_folders();
        assert_eq!(places.load().as_deref(), Ok("from-file"));
        let places = places.with_file("home/.config/runcomfy/token.json", login("from-home"));
        assert_eq!(places.load().as_deref(), Ok("from-home"));
        let places = places.with_file("xdg/runcomfy/token.json", login("from-xdg"));
        assert_eq!(places.load().as_deref(), Ok("from-xdg"));
        let places = places.with_file("config/token.json", login("from-config"));
        assert_eq!(places.load().as_deref(), Ok("from-config"));
        let places = places.with_variable("RUNCOMFY_TOKEN", "from-variable");
        assert_eq!(places.load().as_deref(), Ok("from-variable"));
        assert_eq!(places.source(None).load().unwrap().origin(), "RUNCOMFY_TOKEN");
    }

    #[test]
    fn nothing_anywhere() {
        let places = Places::new().with_variable("XDG_CONFIG_HOME", "");
        assert_eq!(places.source(None).load().unwrap_err(), ApiError::NoToken);
        assert!(places.complaint().ends_with("is not usable: there is no such file"));
    }

    #[test]
    fn unusable_tokens_name_their_origin_and_not_themselves() {
        for (token, why) in [
            ("", "it is empty"),
            ("s3cret\nX-Evil: 1", "it has a line break in it"),
            ("s3cret\r", "it has a line break in it"),
            ("Bearer s3cret", "it has a space in it; it must be the token alone, without `Bearer`"),
            ("s3cret\u{7}", "it has control characters or characters outside ASCII in it"),
            ("s3crét", "it has control characters or characters outside ASCII in it"),
        ] {
            let places = Places::new().with_variable("RUNCOMFY_TOKEN", token).with_file("file", "good");
            let complaint = places.complaint();
            assert_eq!(complaint, format!("the RunComfy token from RUNCOMFY_TOKEN is not usable: {why}"));
        }
        for (text, why) in [
            ("", "it is empty"),
            ("a\nb\n", "it has a line break in it"),
            ("{\"access_token\":\"s3cret\"", "it is not valid JSON"),
            ("{\"access_token\":null}", "it has no `access_token`"),
            ("{\"access_token\":\"\"}", "it is empty"),
        ] {
            let complaint = Places::new().with_file("file", text).complaint();
            assert!(complaint.ends_with(&format!("file` is not usable: {why}")), "{complaint}");
        }
        let complaint = Places::new().with_file("file/x", "").complaint();
        assert!(complaint.ends_with("it is a folder"), "{complaint}");
        let complaint = Places::new().with_file("file", vec![b'a'; 1 << 17]).complaint();
        assert!(complaint.ends_with("it is too large for a token)"), "{complaint}");
        let complaint = Places::new().with_file("file", b"\xff").complaint();
        assert!(complaint.ends_with("it is not text"), "{complaint}");
    }

    #[test]
    fn a_bad_login_is_not_passed_over() {
        let places =
            Places::new().with_folders().with_file("config/token.json", "bare").with_file("file", "good");
        assert!(places.complaint().ends_with("it is not valid JSON"));
    }

    #[test]
    fn files_in_either_format() {
        assert_eq!(Places::new().with_file("file", "\u{feff}bare\n\n").load().as_deref(), Ok("bare"));
        assert_eq!(
            Places::new().with_file("file", format!(" {}\n", login("inner"))).load().as_deref(),
            Ok("inner")
        );
    }

    #[test]
    fn read_anew_every_time() {
        let places = Places::new().with_file("file", "old");
        let source = places.source(Some("file"));
        let old = source.load().unwrap();
        let places = places.with_file("file", "new");
        let new = source.load().unwrap();
        assert!(!old.is_same(&new) && new.is_same(&source.load().unwrap()));
        drop(places);
    }

    #[test]
    fn shown_nowhere() {
        let token = TokenSource::fixed("s3cret").load().unwrap();
        assert_eq!(format!("{token:?}"), "Token(from RUNCOMFY_TOKEN)");
        assert_eq!(format!("{:?}", token.header().unwrap()), "Sensitive");
        assert!(!format!("{:?}", TokenSource::fixed("s3cret")).contains("s3cret"));
        assert_eq!(token.redact(b"as3creta s3cre s3cret".to_vec()), "a…a s3cre …".as_bytes());
        assert_eq!(token.redact(b"nothing".to_vec()), b"nothing");
    }
}
