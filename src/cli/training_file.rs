//! The training configuration that the command line names: read, and checked before anything is sent.

use std::io;
use std::path::Path;

use crate::cli::format::shown;
use crate::cli::process::Process;
use crate::decide::jobs::preflight::objections;
use crate::error::Error;
use crate::model::training_config::TrainingConfig;

/// A training configuration.
#[derive(Debug)]
pub(crate) struct TrainingFile {
    /// Its bytes as the user wrote them: they are sent unchanged.
    pub(crate) text: String,
    /// `config.name`, where it can be read.
    pub(crate) name: Option<String>,
    /// What speaks against it, in sentences.
    pub(crate) objections: Vec<String>,
    /// What it is called in messages.
    pub(crate) label: String,
}

impl TrainingFile {
    /// Reads a file, or standard input for `-`.
    ///
    /// # Errors
    /// When it is not there, cannot be read, or is no text.
    pub(crate) fn read(world: &Process, path: &Path) -> Result<Self, Error> {
        let from_stdin = path.as_os_str() == "-";
        let label = if from_stdin {
            "standard input".to_owned()
        } else {
            format!("`{}`", shown(&path.to_string_lossy()))
        };
        let read = if from_stdin { (world.read_stdin)() } else { (world.read_file)(path) };
        let text = read.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::NoInput(path.to_path_buf()),
            io::ErrorKind::InvalidData => Error::BadInput(format!("{label} is not UTF-8 text")),
            _ => Error::BadInput(format!("{label} could not be read: {error}")),
        })?;
        Ok(Self::check(text, label))
    }

    fn check(text: String, label: String) -> Self {
        let (name, objections) = match TrainingConfig::parse(&text) {
            Err(fault) => (None, vec![fault.to_string()]),
            Ok(config) => {
                let told = objections(&config).iter().map(ToString::to_string).collect();
                (config.name.map(|name| name.text), told)
            }
        };
        Self { text, name, objections, label }
    }

    /// Refuses what the checks speak against, unless `force`: then it is told on standard error.
    ///
    /// # Errors
    /// When something speaks against it.
    pub(crate) fn approve(&self, world: &Process, force: bool) -> Result<(), Error> {
        let Some((first, more)) = self.objections.split_first() else { return Ok(()) };
        let mut why = format!("{}: {}", self.label, shown(first));
        for objection in more {
            why += &format!("\n       {}", shown(objection));
        }
        if force {
            world.err.line(&format!("warning: {why}"));
            return Ok(());
        }
        Err(Error::Declined {
            why,
            next: "nothing was sent; mend it and type the same command again, or add `--force` to send it as it is"
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
        assert_eq!(code(&world, "x.yaml"), Err((66, "there is no file `x.yaml`".to_owned())));
        world.read_file = |_| Err(io::ErrorKind::InvalidData.into());
        assert_eq!(code(&world, "x.yaml"), Err((65, "`x.yaml` is not UTF-8 text".to_owned())));
        world.read_file = |_| Ok("job: x\nconfig:\n  name: \"y\n".to_owned());
        let (code_of, said) = code(&world, "x.yaml").unwrap_err();
        assert!(code_of == 65 && said.starts_with("`x.yaml`: line 3, column 9: "), "{said}");
        world.read_stdin = || Ok("job: x\n".to_owned());
        let (_, said) = code(&world, "-").unwrap_err();
        assert!(said.starts_with("standard input: `config.name` is missing"), "{said}");
        assert_eq!(said.lines().count(), 2, "every objection at once");
    }

    #[test]
    fn force_sends_it_and_says_what_is_wrong() {
        let (mut world, _, err) = fake::world(&[]);
        world.read_file = |_| Ok("- a\n".to_owned());
        let file = TrainingFile::read(&world, Path::new("x.yaml")).unwrap();
        assert!(file.approve(&world, true).is_ok());
        assert!(err.text().starts_with("warning: `x.yaml`: line 1"), "{}", err.text());
        assert_eq!(file.text, "- a\n");
    }
}
