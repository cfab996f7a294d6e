//! A page of the guide, as far as tests read it: its commands, code, links and headings.

use std::path::{Path, PathBuf};

/// A page, named from the root of the repository.
pub(super) struct Page {
    pub(super) name: String,
    pub(super) text: String,
}

/// A command as it is typed, with the line that it begins on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) line: usize,
    pub(super) text: String,
}

/// What an indented block of commands may begin with; all of its lines are commands then. Other blocks are output or files.
const PROGRAMS: &[&str] = &[
    "aws",
    "bash",
    "cargo",
    "cp",
    "docker",
    "echo",
    "eval",
    "export",
    "gcloud",
    "mkdir",
    "pip",
    "printf",
    "rcsync",
    "systemctl",
    "umask",
];

pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl Page {
    pub(super) fn read(name: &str) -> Self {
        let text = std::fs::read_to_string(root().join(name)).unwrap();
        Self { name: name.to_owned(), text }
    }

    /// README and every page of the guide.
    pub(super) fn all() -> Vec<Self> {
        let mut names = vec!["README.md".to_owned()];
        for entry in std::fs::read_dir(root().join("docs")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if Path::new(&name).extension().is_some_and(|extension| extension == "md") {
                names.push(format!("docs/{name}"));
            }
        }
        names.sort();
        names.iter().map(|name| Self::read(name)).collect()
    }

    /// Blocks of code: the language (`indented` for those without a fence), and their numbered lines.
    fn blocks(&self) -> Vec<(String, Vec<(usize, &str)>)> {
        let mut blocks: Vec<(String, Vec<(usize, &str)>)> = Vec::new();
        let mut fence = false;
        let mut indented = false;
        let mut after_blank = true;
        for (number, line) in (1..).zip(self.text.lines()) {
            if let Some(language) = line.trim_start().strip_prefix("```") {
                fence = !fence;
                indented = false;
                if fence {
                    blocks.push((language.trim().to_owned(), Vec::new()));
                }
            } else if fence {
                blocks.last_mut().unwrap().1.push((number, line));
            } else if let Some(code) = line.strip_prefix("    ").filter(|_| indented || after_blank) {
                if !indented {
                    blocks.push(("indented".to_owned(), Vec::new()));
                }
                indented = true;
                blocks.last_mut().unwrap().1.push((number, code));
            } else {
                indented = indented && line.is_empty();
            }
            after_blank = line.is_empty();
        }
        blocks
    }

    /// Everything that a reader can type. Fails for a command that is in a block of another kind.
    pub(super) fn commands(&self) -> Vec<Command> {
        let mut commands = Vec::new();
        for (language, lines) in self.blocks() {
            let is_indented = language == "indented";
            let begins = |program: &&str| lines.iter().any(|(_, line)| first_word(line) == *program);
            if matches!(language.as_str(), "sh" | "bash") || is_indented && PROGRAMS.iter().any(begins) {
                commands.extend(statements(&lines));
            } else if language == "crontab"
                || is_indented && lines.iter().all(|(_, line)| line.starts_with("*/"))
            {
                commands.extend(scheduled(&lines));
            } else {
                let stray = lines.iter().find(|(_, line)| first_word(line) == "rcsync");
                assert!(stray.is_none(), "{}: a command in a block of `{language}`: {stray:?}", self.name);
            }
        }
        commands
    }

    /// Code within text and in blocks: what may name an option or a command.
    pub(super) fn code(&self) -> Vec<Command> {
        let blocks = self.blocks();
        let in_blocks: std::collections::BTreeSet<usize> =
            blocks.iter().flat_map(|(_, lines)| lines.iter().map(|(line, _)| *line)).collect();
        let mut found = self.commands();
        let outside = (1..).zip(self.text.lines()).filter(|(line, _)| !in_blocks.contains(line));
        // A span of code may be broken at the end of a line.
        let text: Vec<(usize, &str)> = outside.collect();
        let joined: String = text.iter().map(|(_, line)| format!("{line}\n")).collect();
        for (place, span) in joined.split('`').enumerate() {
            if place % 2 == 1 && !span.contains("\n\n") {
                let before =
                    joined.split('`').take(place).map(|part| part.matches('\n').count()).sum::<usize>();
                let line = text[before].0;
                found.push(Command { line, text: span.replace('\n', " ") });
            }
        }
        found
    }

    /// Targets of links, and of pictures.
    pub(super) fn links(&self) -> Vec<String> {
        let parts = self.text.split("](").skip(1);
        parts.filter_map(|part| Some(part.split_once(')')?.0.to_owned())).collect()
    }

    /// Anchors of headings, as forges make them.
    pub(super) fn anchors(&self) -> Vec<String> {
        let headings = self.text.lines().filter(|line| line.starts_with('#'));
        headings
            .map(|line| {
                let words = line.trim_start_matches('#').trim().to_lowercase();
                words
                    .chars()
                    .filter(|character| character.is_alphanumeric() || " -_".contains(*character))
                    .map(|character| if character == ' ' { '-' } else { character })
                    .collect()
            })
            .collect()
    }

    pub(super) fn folder(&self) -> PathBuf {
        root().join(&self.name).parent().unwrap().to_path_buf()
    }
}

/// The program of a line: its first word that sets no variable.
pub(super) fn first_word(line: &str) -> &str {
    line.split_whitespace().find(|word| !is_assignment(word)).unwrap_or_default()
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|character| character.is_ascii_uppercase() || character == '_')
    })
}

/// Statements of a shell: a line each, or several where a line continues or has a here-document.
fn statements(lines: &[(usize, &str)]) -> Vec<Command> {
    let mut found: Vec<Command> = Vec::new();
    let mut until: Option<String> = None;
    let mut continues = false;
    for (line, text) in lines {
        if continues || until.is_some() {
            let open = found.last_mut().unwrap();
            open.text.push('\n');
            open.text.push_str(text);
            if until.as_deref() == Some(*text) {
                until = None;
            }
        } else if text.trim().is_empty() || text.trim_start().starts_with('#') {
            continue;
        } else {
            found.push(Command { line: *line, text: text.trim().to_owned() });
            until = text.split_once("<<'").and_then(|(_, rest)| Some(rest.split_once('\'')?.0.to_owned()));
        }
        continues = text.ends_with('\\');
    }
    found
}

/// The commands of a crontab, with the variables that are set above them.
fn scheduled(lines: &[(usize, &str)]) -> Vec<Command> {
    let mut variables = String::new();
    let mut found = Vec::new();
    for (line, text) in lines {
        let mut rest = text.trim();
        if is_assignment(rest) {
            variables += &format!("{rest} ");
            continue;
        }
        for _ in 0..5 {
            rest = rest.split_once(char::is_whitespace).map_or("", |(_, rest)| rest.trim_start());
        }
        if !rest.is_empty() {
            found.push(Command { line: *line, text: format!("{variables}{rest}") });
        }
    }
    found
}

#[test]
fn commands_are_found_where_they_are_written() {
    let page = Page {
        name: "page".to_owned(),
        text: "Text\n\n    rcsync a   # note\n    A=1 rcsync b\n\n```crontab\n*/5 * * * *  rcsync c\nB=2\n*/5 * * * *  rcsync c2\n```\n\n\
               ```sh\ncat <<'X'\nrcsync no\nX\nrcsync d \\\n  e\n```\n\n    job  output\n"
            .to_owned(),
    };
    let texts: Vec<String> = page.commands().into_iter().map(|command| command.text).collect();
    let expected = [
        "rcsync a   # note",
        "A=1 rcsync b",
        "rcsync c",
        "B=2 rcsync c2",
        "cat <<'X'\nrcsync no\nX",
        "rcsync d \\\n  e",
    ];
    assert_eq!(texts, expected);
    assert_eq!(page.commands()[4].line, 13);
}

#[test]
#[should_panic(expected = "a command in a block of `text`")]
fn a_command_in_a_block_of_another_kind_is_found() {
    Page { name: "page".to_owned(), text: "```text\nrcsync a\n```\n".to_owned() }.commands();
}
