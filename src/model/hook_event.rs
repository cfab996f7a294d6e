//! What a hook gets, and the command that a user gave for it.

use super::bad_hook::BadCommand;

/// Something that happened, as a hook gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Occasion {
    /// The same for the same bytes of the same file of the same job, however often it is delivered.
    pub id: EventId,
    /// Names and values: `{name}` in a command's arguments, `RCSYNC_NAME` in its environment.
    pub values: Vec<(&'static str, String)>,
    /// The whole event as one JSON object.
    pub json: String,
}

/// Distinguishes one event from all others: 16 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct EventId(Box<str>);

impl EventId {
    /// Makes the id of what these words describe.
    #[must_use]
    pub fn of(words: &[&str]) -> Self {
        use sha2::Digest as _;
        // No word that goes in here has a line break in it.
        let digest = sha2::Sha256::digest(words.join("\n"));
        Self(super::digest::hex(&digest[..8]).into())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A command with its arguments, as a shell would split them; no shell ever sees it.
///
/// `rclone copy {path} remote:` has four words, `notify "step {step}"` two.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct CommandLine {
    words: Vec<String>,
}

/// Commands may carry keys of some service: only the program is shown.
impl std::fmt::Debug for CommandLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CommandLine({} …)", self.program())
    }
}

impl CommandLine {
    /// Splits a command into its words.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, BadCommand> {
        let words = shlex::split(text).ok_or(BadCommand::Unclosed)?;
        match words.first().map(String::as_str) {
            None => Err(BadCommand::Empty),
            Some("") => Err(BadCommand::NoProgram),
            Some(_) if text.contains('\0') => Err(BadCommand::Nul),
            Some(_) => Ok(Self { words }),
        }
    }

    /// Returns the program, as it was given.
    #[must_use]
    pub(crate) fn program(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// Returns the arguments with `{name}` replaced by its value, for each name that there is. Values are not looked
    /// into again, so nothing in them is replaced.
    #[must_use]
    pub(crate) fn arguments(&self, values: &[(&'static str, String)]) -> Vec<String> {
        self.words.iter().skip(1).map(|word| filled(word, values)).collect()
    }
}

fn filled(word: &str, values: &[(&'static str, String)]) -> String {
    let mut text = String::with_capacity(word.len());
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let value = after.split_once('}').and_then(|(name, behind)| {
            values.iter().find(|(known, _)| *known == name).map(|(_, value)| (value, behind))
        });
        rest = match value {
            Some((value, behind)) => {
                text.push_str(value);
                behind
            }
            None => {
                text.push('{');
                after
            }
        };
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_does_and_values_stay_whole() {
        let command =
            CommandLine::parse(r#"run "{path} of {job_id}" '{step}' {nothing} a{{kind}} {"#).unwrap();
        let values = [
            ("path", "a b; $(rm -rf ~) {step} \"'.safetensors".to_owned()),
            ("job_id", "j".to_owned()),
            ("step", "250".to_owned()),
            ("kind", "sample".to_owned()),
        ];
        assert_eq!(command.program(), "run");
        assert_eq!(
            command.arguments(&values),
            ["a b; $(rm -rf ~) {step} \"'.safetensors of j", "250", "{nothing}", "a{sample}", "{"]
        );
    }

    #[test]
    fn what_is_no_command_is_refused() {
        for text in ["", "  ", "run 'a", "run \"a", "'' a", "run a\\"] {
            assert!(CommandLine::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_command_shows_no_arguments() {
        let command = CommandLine::parse("curl -H 'Authorization: s3cret'").unwrap();
        assert!(!format!("{command:?}").contains("s3cret"));
    }

    #[test]
    fn ids_are_stable() {
        assert_eq!(EventId::of(&["a", "b"]).as_str(), EventId::of(&["a", "b"]).as_str());
        assert_ne!(EventId::of(&["a", "b"]), EventId::of(&["ab"]));
        assert_eq!(EventId::of(&["a"]).as_str().len(), 16);
    }
}
