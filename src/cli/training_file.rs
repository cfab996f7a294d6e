//! The training configuration that the command line names: read, and checked before anything is sent.

use std::io;
use std::path::Path;

use crate::cli::command_error::CommandError;
use crate::cli::format::shown;
use crate::cli::process::Process;
use crate::decide::jobs::preflight::{Objection, objections, warnings};
use crate::model::training_config::TrainingConfig;

/// The label of a configuration that has no file.
const STANDARD_INPUT: &str = "standard input";

/// A training configuration.
#[derive(Debug)]
pub(crate) struct TrainingFile {
    /// Its bytes as the user wrote them: they are sent unchanged.
    pub(crate) text: String,
    /// `config.name`, where it can be read.
    pub(crate) name: Option<String>,
    /// What is read of it, where it is YAML.
    pub(crate) config: Option<TrainingConfig>,
    /// What speaks against it, in sentences.
    pub(crate) objections: Vec<String>,
    /// What is odd about it, in sentences.
    pub(crate) warnings: Vec<String>,
    /// What it is called in messages.
    pub(crate) label: String,
}

impl TrainingFile {
    /// Reads a file, or standard input for `-`.
    ///
    /// # Errors
    /// When it is not there, cannot be read, or is no text.
    pub(crate) fn read(world: &Process, path: &Path) -> Result<Self, CommandError> {
        let from_stdin = path.as_os_str() == "-";
        let label = if from_stdin {
            STANDARD_INPUT.to_owned()
        } else {
            format!("`{}`", shown(&path.to_string_lossy()))
        };
        let read = if from_stdin { (world.read_stdin)() } else { (world.read_file)(path) };
        let text = read.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => CommandError::no_input(path),
            io::ErrorKind::InvalidData => CommandError::BadInput(format!("{label} is not UTF-8 text")),
            _ => CommandError::BadInput(format!("{label} could not be read: {error}")),
        })?;
        Ok(Self::check(text, label))
    }

    /// Returns how the file is named on a command line.
    pub(crate) fn typed(&self) -> &str {
        if self.label == STANDARD_INPUT { "-" } else { self.label.trim_matches('`') }
    }

    fn check(text: String, label: String) -> Self {
        let sentences = |found: Vec<Objection>| found.iter().map(ToString::to_string).collect();
        let (config, objections, warnings) = match TrainingConfig::parse(&text) {
            Err(fault) => (None, vec![fault.to_string()], Vec::new()),
            Ok(config) => {
                let (objections, warnings) = (sentences(objections(&config)), sentences(warnings(&config)));
                (Some(config), objections, warnings)
            }
        };
        let name = config.as_ref().and_then(|config| Some(config.name.as_ref()?.text.clone()));
        Self { text, name, config, objections, warnings, label }
    }

    /// Returns what is read of it.
    ///
    /// # Errors
    /// When it is not YAML.
    pub(crate) fn config(self) -> Result<TrainingConfig, CommandError> {
        let Self { config, label, objections, .. } = self;
        config.ok_or_else(|| CommandError::BadInput(format!("{label}: {}", shown(&objections.concat()))))
    }

    /// Reports on standard error what is odd about it.
    pub(crate) fn warn(&self, world: &Process) {
        for warning in &self.warnings {
            world.err.line(&format!("warning: {}: {}", self.label, shown(warning)));
        }
    }

    /// Refuses what the checks object to, unless `force`: then it is a warning on standard error.
    ///
    /// # Errors
    /// When something speaks against it.
    pub(crate) fn approve(&self, world: &Process, force: bool) -> Result<(), CommandError> {
        let Some((first, more)) = self.objections.split_first() else { return Ok(()) };
        let mut why = format!("{}: {}", self.label, shown(first));
        for objection in more {
            why += &format!("\n       {}", shown(objection));
        }
        if force {
            world.err.line(&format!("warning: {why}"));
            return Ok(());
        }
        Err(CommandError::Declined {
            why,
            next: "nothing was sent; correct it and type the same command again, or add `--force` to send it as it is"
                .to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::process::fake;

    #[test]
    fn each_way_to_have_no_configuration() {
        let (mut world, ..) = fake::world(&[]);
        let code = |world: &Process, path: &str| {
            let file = TrainingFile::read(world, Path::new(path)).and_then(|file| file.approve(world, false));
            file.map_err(|error| (error.exit_status().code(), error.to_string()))
        };
        assert_eq!(code(&world, "x.yaml"), Err((66, "there is no file or folder `x.yaml`".to_owned())));
        world.read_file = |_| Err(io::ErrorKind::InvalidData.into());
        assert_eq!(code(&world, "x.yaml"), Err((65, "`x.yaml` is not UTF-8 text".to_owned())));
        world.read_file = |_| Ok("job: x\nconfig:\n  name: \"y\n".to_owned());
        let (code_of, said) = code(&world, "x.yaml").unwrap_err();
        assert!(code_of == 65 && said.starts_with("`x.yaml`: line 3, column 9: "), "{said}");
        world.read_stdin = || Ok("job: x\n".to_owned());
        let (_, said) = code(&world, "-").unwrap_err();
        assert!(
            said.starts_with("standard input: `job` is `x`") || said.contains("`config.name` is missing"),
            "{said}"
        );
        assert_eq!(said.lines().count(), 3, "every objection at once");
    }

    #[test]
    fn a_configuration_is_typed_as_it_was() {
        let typed =
            |label: &str| TrainingFile::check("job: x".to_owned(), label.to_owned()).typed().to_owned();
        assert_eq!((typed(STANDARD_INPUT), typed("`a/dog.yaml`")), ("-".to_owned(), "a/dog.yaml".to_owned()));
    }

    #[test]
    fn force_sends_it_and_warns_of_what_is_wrong() {
        let (mut world, _, err) = fake::world(&[]);
        world.read_file = |_| Ok("- a\n".to_owned());
        let file = TrainingFile::read(&world, Path::new("x.yaml")).unwrap();
        assert!(file.approve(&world, true).is_ok());
        assert!(err.text().starts_with("warning: `x.yaml`: line 1"), "{}", err.text());
        assert_eq!(file.text, "- a\n");
    }
}
