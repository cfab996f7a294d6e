//! Options from variables and from `config.toml`, read by the parser of the command line.
//!
//! Each value is written as its option (`RCSYNC_INTERVAL=5m` becomes `--interval=5m`) and parsed by itself, so that an error
//! names the variable or line that has it.

use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, Parser};
use toml::de::{DeTable, DeValue};

use crate::cli::command_error::CommandError;
use crate::cli::format::shown_value;
use crate::cli::process::Process;
use crate::cli::reporters::logs;
use crate::model::names::sanitize::for_terminal;

use super::options::{FleetArgs, GlobalArgs, Layer as _, SyncArgs};
use super::{suggest, values};

/// The options of one source.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layer {
    /// Options of every command.
    pub(crate) global: GlobalArgs,
    /// Options of `sync`.
    pub(crate) sync: SyncArgs,
    /// Options of `fleet`.
    pub(crate) fleet: FleetArgs,
    /// The same once more, for `doctor`.
    pub(crate) settings: Vec<Setting>,
}

/// One setting as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The option's name.
    pub(crate) name: String,
    /// Its value, where that cannot be a secret.
    pub(crate) value: String,
    /// The variable, or the file and line.
    pub(crate) origin: String,
}

/// Reads all `RCSYNC_<OPTION>` variables.
///
/// # Errors
/// The first one that is not valid.
pub(crate) fn environment(world: &Process) -> Result<Layer, CommandError> {
    let mut layer = Layer::default();
    for option in known_options() {
        let variable = option.variable();
        let Some(value) = world.text(&variable)? else { continue };
        let spelled = layer
            .contradiction(&option)
            .map_or_else(|| option.spell_text(&value), Err)
            .and_then(|words| parse(&words));
        let given = spelled.map_err(|why| {
            let shown = option.shown(&value);
            CommandError::variable(format!("the environment variable `{variable}` is `{shown}`: {why}"))
        })?;
        layer.add(given, &option, &value, variable);
    }
    Ok(layer)
}

/// Returns the variables that look like ours and are none, each with the one that may have been meant. A hook has variables
/// of its event, which are no slips.
pub(crate) fn strangers(world: &Process) -> Vec<(String, Option<String>)> {
    let names: Vec<String> =
        (world.variables)().into_iter().filter(|name| name.starts_with(PREFIX)).collect();
    if names.iter().any(|name| name == EVENT) {
        return Vec::new();
    }
    let known: Vec<String> = known_options().iter().map(KnownOption::variable).collect();
    let strangers = names.into_iter().filter(|name| name != logs::VARIABLE && !known.contains(name));
    let nearest = |name: &str| suggest::nearest(name, known.iter().map(String::as_str)).map(str::to_owned);
    strangers.map(|name| (name.clone(), nearest(&name))).collect()
}

/// Returns those of them that are slips, with what was meant.
pub(crate) fn slips(world: &Process) -> Vec<(String, String)> {
    let is_long = |name: &str| name.len() >= PREFIX.len() + SLIP_FROM;
    let strangers = strangers(world).into_iter().filter(|(name, _)| is_long(name));
    strangers.filter_map(|(name, near)| Some((name, near?))).collect()
}

/// A name with fewer letters behind the prefix, such as `RCSYNC_JOB`, may well be a script's own.
const SLIP_FROM: usize = 6;

/// The variable that each hook has.
const EVENT: &str = "RCSYNC_EVENT_ID";

/// How the variables of options begin.
const PREFIX: &str = "RCSYNC_";

/// Where the configuration file is looked for, or `None` where no variable names a place.
#[must_use]
pub(crate) fn file_path(world: &Process) -> Option<PathBuf> {
    let home = || world.folder("HOME").map(|home| home.join(".config"));
    let folder = world.folder("XDG_CONFIG_HOME").or_else(home).or_else(|| world.folder("APPDATA"))?;
    Some(folder.join("rcsync").join("config.toml"))
}

/// Reads the configuration file. One that is missing sets nothing.
///
/// # Errors
/// When it cannot be read or any line of it is not valid: a setting that is silently ignored is worse.
pub(crate) fn file(world: &Process, path: &Path) -> Result<Layer, CommandError> {
    let text = match (world.read_file)(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Layer::default()),
        Err(error) => {
            return Err(CommandError::Config(format!("could not read `{}`: {error}", path.display())));
        }
    };
    let fault = |at: usize, why: &str| {
        CommandError::Config(format!("`{}` line {}: {why}", path.display(), line_of(&text, at)))
    };
    let table = DeTable::parse(&text)
        .map_err(|error| fault(error.span().map_or(0, |span| span.start), error.message()))?;
    let known = known_options();
    let mut layer = Layer::default();
    for (key, value) in table.get_ref() {
        let at = key.span().start;
        let name = key.get_ref().replace('_', "-");
        let Some(option) = known.iter().find(|option| option.name == name) else {
            let near = suggest::nearest(&name, known.iter().map(|option| option.name.as_str()));
            let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            let shown = for_terminal(key.get_ref(), 60);
            return Err(fault(at, &format!("unknown key `{shown}`{near}")));
        };
        if layer.settings.iter().any(|setting| setting.name == name) {
            return Err(fault(at, &format!("`{name}` is given twice")));
        }
        let given = layer
            .contradiction(option)
            .map_or_else(|| option.spell_toml(value.get_ref()), Err)
            .and_then(|words| parse(&words));
        let given = given.map_err(|why| fault(at, &format!("`{name}`: {why}")))?;
        let shown = text.get(value.span()).unwrap_or_default();
        layer.add(given, option, shown, format!("{} line {}", path.display(), line_of(&text, at)));
    }
    Ok(layer)
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

impl Layer {
    fn add(&mut self, given: Given, option: &KnownOption, value: &str, origin: String) {
        self.global = given.global.over(std::mem::take(&mut self.global));
        self.sync = given.sync.over(std::mem::take(&mut self.sync));
        self.fleet = given.fleet.over(std::mem::take(&mut self.fleet));
        self.settings.push(Setting { name: option.name.clone(), value: option.shown(value), origin });
    }

    /// Returns why this source cannot say this option too: of the two ways to prune, it has said the other.
    fn contradiction(&self, option: &KnownOption) -> Option<String> {
        let pair = ["keep-last", "keep-every"];
        let other =
            pair.iter().find(|other| pair.contains(&option.name.as_str()) && **other != option.name)?;
        let said = self.settings.iter().find(|setting| setting.name == *other)?;
        Some(format!("it cannot be had together with `{other}` ({})", said.origin))
    }
}

/// The options, without a command around them.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct Given {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(flatten)]
    sync: SyncArgs,
    #[command(flatten)]
    fleet: FleetArgs,
}

/// Reads pairs of an option's name and its value, from a list of jobs.
///
/// # Errors
/// The first one that is not valid, by name.
pub(crate) fn pairs(pairs: &[(&str, String)]) -> Result<SyncArgs, String> {
    let mut all = SyncArgs::default();
    for (name, value) in pairs {
        let given = parse(&[format!("--{name}={value}")]).map_err(|why| format!("`{name}`: {why}"))?;
        all = given.sync.over(all);
    }
    let names = |name: &str| pairs.iter().any(|(given, _)| *given == name);
    if names("keep-last") && names("keep-every") {
        return Err("`keep-last` cannot be had together with `keep-every`".to_owned());
    }
    Ok(all)
}

fn parse(words: &[String]) -> Result<Given, String> {
    Given::try_parse_from(words).map_err(|error| reason(&error))
}

/// Returns what is wrong with a value, without the option's spelling, which was not what the user wrote.
fn reason(error: &clap::Error) -> String {
    if let Some(source) = std::error::Error::source(error) {
        return source.to_string();
    }
    if let Some(ContextValue::Strings(valid)) = error.get(ContextKind::ValidValue) {
        return format!("it has to be one of {}", valid.join(", "));
    }
    error.kind().to_string()
}

/// How an option is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// `--once`
    Switch,
    /// `--include GLOB`, more than once
    List,
    /// `--interval DURATION`
    Value,
    /// `--auto-resume[=N]`
    Count,
}

#[derive(Debug)]
struct KnownOption {
    name: String,
    shape: Shape,
}

fn known_options() -> Vec<KnownOption> {
    let command = Given::command();
    let shape = |argument: &clap::Arg| match argument.get_action() {
        clap::ArgAction::SetTrue | clap::ArgAction::Count => Shape::Switch,
        clap::ArgAction::Append => Shape::List,
        _ if argument.is_require_equals_set() => Shape::Count,
        _ => Shape::Value,
    };
    let named = command.get_arguments().filter_map(|argument| Some((argument.get_long()?, shape(argument))));
    let own = named.filter(|(name, _)| !name.starts_with("no-"));
    own.map(|(name, shape)| KnownOption { name: name.to_owned(), shape }).collect()
}

impl KnownOption {
    fn variable(&self) -> String {
        format!("{PREFIX}{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }

    /// Returns a value as it may be shown: commands and addresses for hooks often carry a key of some service.
    fn shown(&self, value: &str) -> String {
        match self.name.as_str() {
            "exec" | "exec-done" | "webhook" => "(set)".to_owned(),
            _ => for_terminal(&shown_value(value), 60),
        }
    }

    fn switch(&self, on: bool) -> Vec<String> {
        vec![format!("--{}{}", if on { "" } else { "no-" }, self.name)]
    }

    fn with(&self, value: &str) -> String {
        format!("--{}={value}", self.name)
    }

    /// Spells a variable's text as words of a command line.
    fn spell_text(&self, text: &str) -> Result<Vec<String>, String> {
        match self.shape {
            Shape::Switch => values::boolean(text)
                .map(|on| self.switch(on))
                .ok_or_else(|| "it has to be one of 1, 0, true, false, yes, no".to_owned()),
            Shape::List => Ok(values::list(text).iter().map(|item| self.with(item)).collect()),
            Shape::Value => Ok(vec![self.with(text)]),
            Shape::Count => Ok(vec![match values::boolean(text) {
                Some(on) if text.parse::<u32>().is_err() => self.count(on),
                _ => self.with(text),
            }]),
        }
    }

    /// Spells a value of the configuration file as words of a command line.
    fn spell_toml(&self, value: &DeValue<'_>) -> Result<Vec<String>, String> {
        let wants = |what: &str| Err(format!("it has to be {what}, not {}", article(value.type_str())));
        match (self.shape, value) {
            (Shape::Switch, DeValue::Boolean(on)) => Ok(self.switch(*on)),
            (Shape::Switch, _) => wants("true or false"),
            (Shape::List, DeValue::String(item)) => Ok(vec![self.with(item)]),
            (Shape::List, DeValue::Array(items)) => {
                let items: Option<Vec<_>> =
                    items.iter().map(|item| item.get_ref().as_str().map(|item| self.with(item))).collect();
                items.ok_or_else(|| "it has to be a list of strings".to_owned())
            }
            (Shape::List, _) => wants("a list of strings"),
            (Shape::Count, DeValue::Boolean(on)) => Ok(vec![self.count(*on)]),
            (Shape::Value, DeValue::String(text)) => Ok(vec![self.with(text)]),
            (Shape::Value | Shape::Count, DeValue::Integer(number)) if number.radix() == 10 => {
                Ok(vec![self.with(number.as_str())])
            }
            (Shape::Value | Shape::Count, DeValue::Integer(_)) => {
                Err("write the number with decimal digits".to_owned())
            }
            (Shape::Value, DeValue::Float(number)) => Ok(vec![self.with(number.as_str())]),
            (Shape::Value, _) => wants("a string or a number"),
            (Shape::Count, _) => wants("a number, true or false"),
        }
    }

    fn count(&self, on: bool) -> String {
        if on { format!("--{}", self.name) } else { self.with("0") }
    }
}

fn article(kind: &str) -> String {
    let vowel = kind.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {kind}", if vowel { "an" } else { "a" })
}

#[cfg(test)]
mod tests;
