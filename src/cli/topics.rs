//! `rcsync help TOPIC`: the beginning of a page of the documentation, as plain text for a terminal.

use super::format::columns;

/// Something that can be asked about, and where it is described.
pub(crate) struct Topic {
    /// What is typed.
    pub(crate) name: &'static str,
    /// The page below `docs/`.
    page: &'static str,
    text: &'static str,
    /// The sections that are shown.
    sections: &'static [&'static str],
}

/// The section before the first heading.
const INTRODUCTION: &str = "";

macro_rules! topics {
    ($($name:literal: $page:literal [$($section:expr),*],)*) => {
        &[$(Topic {
            name: $name,
            page: $page,
            text: include_str!(concat!("../../docs/", $page)),
            sections: &[$($section),*],
        }),*]
    };
}

/// All of them, in the order in which they are listed.
pub(crate) const TOPICS: &[Topic] = topics! {
    "mirroring": "first-mirror.md" [INTRODUCTION, "What is in DIR"],
    "cron": "cron.md" [INTRODUCTION, "The newest three in ComfyUI", "The token", "When a pass takes longer than the pause"],
    "comfyui": "comfyui.md" [INTRODUCTION, "Which folder"],
    "choosing": "choosing-and-pruning.md" ["Choosing", "Keeping the disk small"],
    "job": "job-life.md" [INTRODUCTION, "Commands"],
    "datasets": "datasets.md" [INTRODUCTION],
    "buckets": "buckets.md" [INTRODUCTION],
    "fleets": "fleet.md" [INTRODUCTION, "Three jobs"],
    "hooks": "hooks.md" [INTRODUCTION, "What a hook gets"],
    "json": "json-and-exit-codes.md" ["Events"],
    "exit-codes": "json-and-exit-codes.md" ["Exit codes"],
    "configuration": "configuration.md" ["Token", "Options, variables, file"],
    "troubleshooting": "troubleshooting.md" [INTRODUCTION, "Questions"],
};

impl Topic {
    /// Returns the topic of this name, or the first one of the page of this name.
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        let is_page = |topic: &&Self| topic.page.strip_suffix(".md") == Some(name);
        TOPICS.iter().find(|topic| topic.name == name).or_else(|| TOPICS.iter().find(is_page))
    }

    /// Returns the topic that a link leads to: of several of one page, the one that shows the section.
    fn of_link(page: &str, anchor: &str) -> Option<&'static Self> {
        let shows = |topic: &&Self| {
            topic.sections.iter().any(|title| title.to_lowercase().replace(' ', "-") == anchor)
        };
        let of_page = || TOPICS.iter().filter(|topic| topic.page == page);
        of_page().find(shows).or_else(|| of_page().next())
    }

    /// Returns what is shown, for a terminal of so many columns.
    pub(crate) fn show(&self, columns: usize) -> String {
        let parts: Vec<(&str, Vec<&str>)> = sections(self.text);
        let shown = self.sections.iter().filter_map(|name| parts.iter().find(|(title, _)| title == name));
        let mut text = String::new();
        for (title, lines) in shown {
            if !title.is_empty() {
                text += &format!("{title}\n\n");
            }
            text += &plain(lines, columns);
        }
        let is_other = |title: &&str| !title.is_empty() && !self.sections.contains(title);
        let others: Vec<&str> = parts.iter().map(|(title, _)| *title).filter(is_other).collect();
        let more = if others.is_empty() { String::new() } else { format!(": {}", others.join(", ")) };
        text + &wrapped(&format!("More in docs/{}{more}", self.page), "", "  ", columns)
    }
}

/// Splits a page at its headings; the title is no section.
fn sections(page: &str) -> Vec<(&str, Vec<&str>)> {
    let mut parts = vec![(INTRODUCTION, Vec::new())];
    let mut is_code = false;
    for line in page.lines() {
        is_code ^= line.starts_with("```");
        match line.strip_prefix("## ").filter(|_| !is_code) {
            Some(title) => parts.push((title, Vec::new())),
            None if line.starts_with("# ") && !is_code => {}
            None => parts.last_mut().map_or((), |(_, lines)| lines.push(line)),
        }
    }
    parts.retain(|(_, lines)| lines.iter().any(|line| !line.is_empty()));
    parts
}

/// Returns Markdown as text: paragraphs and items wrapped, tables as indented rows, code as it is where it fits.
fn plain(lines: &[&str], columns: usize) -> String {
    let mut text = String::new();
    let mut lines = lines.iter().skip_while(|line| line.is_empty()).peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("```") {
            let mut code = Vec::new();
            while let Some(line) = lines.next_if(|line| !line.starts_with("```")) {
                code.push(*line);
            }
            lines.next();
            text += &code_block(&code, columns);
        } else if let Some(first) = line.strip_prefix(INDENT) {
            let mut code = vec![first];
            while let Some(line) = lines.next_if(|line| line.starts_with(INDENT)) {
                code.push(&line[INDENT.len()..]);
            }
            text += &code_block(&code, columns);
        } else if line.is_empty() {
            text.push('\n');
        } else if let Some(row) = line.strip_prefix('|') {
            text += &table_row(row, columns);
        } else {
            let mut paragraph = (*line).to_owned();
            let ends = |next: &str| {
                next.is_empty() || ["|", "- ", "```", "    "].iter().any(|begin| next.starts_with(begin))
            };
            while let Some(next) = lines.next_if(|next| !ends(next)) {
                paragraph += &format!(" {}", next.trim());
            }
            let indent = if paragraph.starts_with("- ") { "  " } else { "" };
            text += &wrapped(&unmarked(&paragraph), "", indent, columns);
        }
    }
    format!("{}\n\n", text.trim_end())
}

const INDENT: &str = "    ";

/// A block of code. Where a line is too long, all remarks of the block go below what they are about.
fn code_block(lines: &[&str], columns: usize) -> String {
    let fits = |line: &&str| INDENT.len() + self::columns(line) <= columns;
    if lines.iter().all(fits) {
        return lines.iter().map(|line| format!("{}\n", format!("{INDENT}{line}").trim_end())).collect();
    }
    let below = |line: &&str| {
        let (code, remark) = remark(line);
        let code = format!("{INDENT}{code}\n");
        let (mark, words) = remark.strip_prefix("# ").map_or(("", remark), |words| ("# ", words));
        let indent = format!("{INDENT}{INDENT}{mark}");
        if words.is_empty() { code } else { code + &wrapped(words, &indent, &indent, columns) }
    };
    lines.iter().map(below).collect()
}

/// Splits a line of code at its remark: what is behind two spaces or more. A crontab has two behind the time.
fn remark(line: &str) -> (&str, &str) {
    let from = line.len() - line.trim_start().len();
    match line[from..].find("  ").filter(|_| !line.starts_with("*/")) {
        Some(at) => (&line[..from + at], line[from + at..].trim_start()),
        None => (line, ""),
    }
}

/// A row of a table: its first cell, and the others below it where they do not fit beside.
fn table_row(row: &str, columns: usize) -> String {
    let cells: Vec<String> = row.trim_end_matches('|').split('|').map(|cell| unmarked(cell.trim())).collect();
    if cells.iter().all(|cell| !cell.is_empty() && cell.chars().all(|c| matches!(c, '-' | ':'))) {
        return String::new();
    }
    let (first, rest) =
        cells.split_first().map_or((String::new(), &[][..]), |(first, rest)| (first.clone(), rest));
    wrapped(&format!("{first:<12}  {}", rest.join("  ")), "  ", "                ", columns)
}

/// Takes the marks of links and bold text away. A link to a page that is a topic becomes what is typed to read it.
fn unmarked(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    // `[words](address)` keeps its words.
    while let Some(middle) = rest.find("](") {
        let (Some(begin), Some(length)) = (rest[..middle].rfind('['), rest[middle..].find(')')) else {
            break;
        };
        let (words, address) = (&rest[begin + 1..middle], &rest[middle + 2..middle + length]);
        let (page, anchor) = address.split_once('#').unwrap_or((address, ""));
        let topic = Topic::of_link(page, anchor);
        plain += &rest[..begin];
        plain += &match topic {
            Some(topic) if words == page => format!("`rcsync help {}`", topic.name),
            Some(topic) => format!("{words} (`rcsync help {}`)", topic.name),
            None => words.to_owned(),
        };
        rest = &rest[middle + length + 1..];
    }
    (plain + rest).replace("**", "").replace("\\|", "|")
}

/// Breaks text into lines; words are kept whole. Two spaces between words stay within a line.
fn wrapped(text: &str, first: &str, later: &str, columns: usize) -> String {
    let mut lines = vec![first.to_owned()];
    let mut is_begun = false;
    for word in text.split(' ') {
        let line = lines.last().map_or("", String::as_str);
        if is_begun && self::columns(line) + 1 + self::columns(word) > columns {
            lines.push(later.to_owned());
            is_begun = false;
        }
        if let Some(line) = lines.last_mut() {
            if is_begun {
                line.push(' ');
            } else if word.is_empty() {
                continue;
            }
            line.push_str(word);
            is_begun = true;
        }
    }
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_topic_has_its_sections_and_fits_the_terminal() {
        for topic in TOPICS {
            let parts = sections(topic.text);
            let is_there = |section: &&str| parts.iter().any(|(title, _)| title == section);
            assert!(topic.sections.iter().any(is_there), "{}", topic.name);
            let text = topic.show(80);
            assert!(text.lines().count() > 5 && !text.contains(": ,"), "{text}");
            assert!(!text.contains("](") && !text.contains("```") && !text.contains("**"), "{text}");
            for line in text.lines() {
                assert!(columns(line) <= 80, "{}: {line}", topic.name);
            }
        }
    }

    /// Everything that cron needs is there: paths in full, the token, how many are kept, and what happens to a pass that meets
    /// another one.
    #[test]
    fn how_the_newest_three_are_kept_in_comfyui_from_cron_is_found_in_help() {
        assert_eq!(Topic::find("fleet").map(|topic| topic.name), Some("fleets"), "by the page's name");
        assert_eq!(Topic::find("mirroring").map(|topic| topic.page), Some("first-mirror.md"));
        let comfyui = Topic::find("comfyui").unwrap().show(80);
        assert!(comfyui.contains("`rcsync help cron`"), "{comfyui}");
        let cron = Topic::find("cron").unwrap().show(80);
        for part in [
            "RCSYNC_TOKEN_FILE=/home/me/.config/rcsync-token\n",
            "RCSYNC_COMFYUI=/home/me/ComfyUI\n",
            "RCSYNC_COMFYUI_KEEP=3\n",
            "*/5 * * * *  /home/me/.cargo/bin/rcsync <JOB_ID> /home/me/fox --once\n",
            "flock -n -E 0",
            "ends with 75",
            "`rcsync help exit-codes`",
        ] {
            assert!(cron.contains(part), "{part}: {cron}");
        }
    }

    #[test]
    fn markdown_becomes_text() {
        let page = "# Title\n\nSee [this page](x.md) and\n**that**.\n\n```sh\n## no heading\n```\n\n## Codes\n\n| code | meaning |\n|---|---|\n| 0 | all is here and verified and so on |\n\n- an item that\n  continues\n";
        let parts = sections(page);
        assert_eq!(parts.len(), 2);
        assert_eq!(plain(&parts[0].1, 40), "See this page and that.\n\n    ## no heading\n\n");
        let code = [
            "    a b      # what it does, in words",
            "    # a remark",
            "",
            "```crontab",
            "*/5 * * * *  rcsync",
            "```",
        ];
        assert_eq!(
            plain(&code, 60),
            "    a b      # what it does, in words\n    # a remark\n\n    */5 * * * *  rcsync\n\n"
        );
        assert_eq!(
            plain(&code, 30),
            "    a b\n        # what it does, in\n        # words\n    # a remark\n\n    */5 * * * *  rcsync\n\n"
        );
        assert_eq!(
            plain(&["    x.json    one, of two words"], 24),
            "    x.json\n        one, of two\n        words\n\n"
        );
        assert_eq!(
            plain(
                &[
                    "[hooks.md](hooks.md#x), [a list](fleet.md), [x](json-and-exit-codes.md#exit-codes), [y](verify.md)"
                ],
                90
            ),
            "`rcsync help hooks`, a list (`rcsync help fleets`), x (`rcsync help exit-codes`), y\n\n"
        );
        assert_eq!(
            plain(&parts[1].1, 40),
            "  code          meaning\n  0             all is here and verified\n                and so on\n\n- an item that continues\n\n"
        );
    }
}
