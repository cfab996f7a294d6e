//! The comparison as one HTML file that needs nothing but the folders beside it.

use crate::model::names::rel_path::RelPath;
use crate::model::units::ByteCount;

use super::super::album::{Media, Shot};
use super::super::html::Html;
use super::super::page::{begin, encoded, end, media_name, state};
use super::runs::{Comparison, Row, Run};

pub(super) const STYLE: &str = concat!(include_str!("../page.css"), include_str!("compare.css"));
pub(super) const SCRIPT: &str = include_str!("compare.js");

/// Returns the whole page, without its first lines, which mark it as rcsync's.
pub(super) fn page(title: &str, comparison: &Comparison<'_>) -> String {
    let mut html = Html::default();
    begin(&mut html, title, STYLE, SCRIPT);
    html.raw("<header>\n<h1 dir=\"auto\">").text(title).raw("</h1>\n<nav aria-label=\"Parts of this page\">");
    html.raw("<a href=\"#runs\">Runs <b>").number(comparison.runs.len() as u64).raw("</b></a>");
    html.raw("<a href=\"#samples\">Samples</a><a href=\"#settings\">Settings that differ <b>");
    html.number(comparison.differences.len() as u64).raw("</b></a></nav>\n</header>\n<main>\n");
    runs(&mut html, comparison);
    samples(&mut html, comparison);
    settings(&mut html, comparison);
    html.raw("</main>\n");
    end(&mut html, SCRIPT, "");
    html.into_string()
}

fn runs(html: &mut Html, comparison: &Comparison<'_>) {
    html.raw("<section id=\"runs\" aria-labelledby=\"runs-title\">\n<h2 id=\"runs-title\">Runs</h2>\n");
    html.raw(TOOLS);
    html.raw("<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"Table of runs\">\n");
    html.raw("<table class=\"files\" id=\"table\">\n<thead><tr>");
    for (name, class) in [
        ("Run", ""),
        ("State", ""),
        ("Step", "end"),
        ("Of", "end"),
        ("Checkpoints", "end"),
        ("Samples", "end"),
        ("Size", "end"),
    ] {
        html.raw("<th scope=\"col\"").raw(if class.is_empty() { ">" } else { " class=\"end\">" });
        html.raw(name).raw("</th>");
    }
    html.raw("</tr></thead>\n<tbody>\n");
    for (at, run) in comparison.runs.iter().enumerate() {
        run_row(html, at, run, &comparison.names[at]);
    }
    html.raw("</tbody>\n</table>\n</div>\n</section>\n");
}

/// Shown by the script, which gives them their work.
const TOOLS: &str = "<div class=\"tools\" id=\"choose\" hidden>\n<label>Filter <input id=\"filter\" type=\"search\" \
    autocomplete=\"off\" placeholder=\"name or state\"></label>\n\
    <span class=\"buttons\"><button type=\"button\" id=\"every\">Show all</button>\
    <button type=\"button\" id=\"none\">Show none</button></span>\n\
    <span class=\"note\">Tick two runs to see them large, side by side.</span></div>\n";

fn run_row(html: &mut Html, at: usize, run: &Run<'_>, name: &str) {
    let job = run.album.job;
    html.raw("<tr data-run=\"").number(at as u64).raw("\"><th scope=\"row\"><span class=\"tick\"></span>");
    if run.has_page {
        html.raw("<a dir=\"auto\"").attribute("href", &format!("{}/index.html", encoded(run.below)));
        html.raw(">").text(name).raw("</a>");
    } else {
        html.raw("<span dir=\"auto\">").text(name).raw("</span>");
    }
    let (word, class) = job
        .map_or_else(|| ("unknown".to_owned(), "idle"), |job| state(&job.status, job.progress.is_complete()));
    html.raw("</th><td class=\"").raw(class).raw("\">").text(&word);
    if let Some(error) = job.and_then(|job| job.error.as_deref()) {
        html.raw(" <span class=\"error\" dir=\"auto\">").text(error).raw("</span>");
    }
    html.raw("</td>");
    let progress = job.map(|job| job.progress);
    number(html, progress.and_then(|progress| progress.current_step));
    number(html, progress.and_then(|progress| progress.total_steps));
    number(html, Some(run.album.checkpoints.len() as u64));
    number(html, Some(run.album.count_shots()));
    html.raw("<td class=\"end\" data-value=\"").number(run.album.bytes).raw("\">");
    html.text(&ByteCount(run.album.bytes).to_string()).raw("</td></tr>\n");
}

fn number(html: &mut Html, number: Option<u64>) {
    match number {
        Some(number) => {
            html.raw("<td class=\"end\" data-value=\"").number(number).raw("\">").number(number).raw("</td>")
        }
        None => html.raw("<td class=\"end\" data-value=\"-1\">–</td>"),
    };
}

/// Ends the head of a table that has a column for each run.
fn column_of_each_run(html: &mut Html, comparison: &Comparison<'_>) {
    for (at, name) in comparison.names.iter().enumerate() {
        html.raw("<th scope=\"col\" dir=\"auto\" data-run=\"")
            .number(at as u64)
            .raw("\">")
            .text(name)
            .raw("</th>");
    }
    html.raw("</tr></thead>\n<tbody>\n");
}

fn samples(html: &mut Html, comparison: &Comparison<'_>) {
    html.raw(
        "<section id=\"samples\" aria-labelledby=\"samples-title\">\n<h2 id=\"samples-title\">Samples</h2>\n",
    );
    if comparison.rows.is_empty() {
        html.raw("<p class=\"empty\">No samples are here yet.</p>\n</section>\n");
        return;
    }
    html.raw(
        "<div class=\"tools\" id=\"tools\" hidden><div class=\"slider\"><label for=\"step\">Step</label>",
    );
    html.raw(
        "<input id=\"step\" type=\"range\" min=\"0\" step=\"1\"><output for=\"step\"></output></div></div>\n",
    );
    html.raw("<div class=\"scroll grid\" id=\"grid\" role=\"region\" tabindex=\"0\" ");
    html.raw("aria-label=\"Samples, one row a prompt, one column a run\">\n<table>\n<thead><tr>");
    html.raw("<th scope=\"col\" class=\"corner\">Prompt</th>");
    column_of_each_run(html, comparison);
    for (at, row) in comparison.rows.iter().enumerate() {
        sample_row(html, comparison, at as u64 + 1, row);
    }
    html.raw("</tbody>\n</table>\n</div>\n</section>\n");
}

fn sample_row(html: &mut Html, comparison: &Comparison<'_>, number: u64, row: &Row<'_>) {
    html.raw("<tr><th scope=\"row\"><span class=\"number\">").number(number).raw("</span> ");
    match row.text {
        Some(text) => html.raw("<span class=\"prompt\" dir=\"auto\">").text(text).raw("</span>"),
        None => html.raw("<span class=\"prompt unknown\">prompt not known</span>"),
    };
    html.raw("</th>");
    for (at, cell) in row.cells.iter().enumerate() {
        html.raw("<td data-run=\"").number(at as u64).raw("\">");
        // The newest first: without the script it is the one that is shown.
        for (age, (step, shot)) in cell.iter().rev().enumerate() {
            let label = label(number, &comparison.names[at], *step);
            sample(html, comparison.runs[at].below, *step, shot, age > 0, &label);
        }
        html.raw("</td>");
    }
    html.raw("</tr>\n");
}

fn label(prompt: u64, run: &str, step: Option<u64>) -> String {
    match step {
        Some(step) => format!("Prompt {prompt}, {run}, step {step}"),
        None => format!("Prompt {prompt}, {run}"),
    }
}

fn sample(html: &mut Html, below: &str, step: Option<u64>, shot: &Shot<'_>, is_older: bool, label: &str) {
    let link = link(below, shot.path);
    // A browser may run what it does not only show: such a file is named, and not a link.
    if shot.media == Media::Other {
        html.raw("<span class=\"shot other\"").attribute("title", shot.path.as_str()).raw(">");
        html.text(shot.path.as_str()).raw("</span>");
        return;
    }
    html.raw("<a class=\"shot ").raw(media_name(shot.media)).raw(if is_older { " older\"" } else { "\"" });
    html.raw(" target=\"_blank\" rel=\"noopener noreferrer\"").attribute("href", &link);
    html.raw(" data-media=\"").raw(media_name(shot.media)).raw("\"");
    if let Some(step) = step {
        html.raw(" data-step=\"").number(step).raw("\"");
    }
    html.attribute("aria-label", label).raw(">");
    if shot.media == Media::Image && !is_older {
        html.raw("<img loading=\"lazy\" decoding=\"async\" width=\"160\" height=\"160\"");
        html.attribute("src", &link).raw(" alt=\"\">");
    } else {
        html.raw("<span class=\"sign\">");
        match step {
            Some(step) => html.number(step),
            None => html.raw("–"),
        };
        html.raw("</span>");
    }
    html.raw("</a>");
}

/// Returns a link from ROOT to a file of a mirror, percent-encoded, so that no name can be anything but a path.
fn link(below: &str, path: &RelPath) -> String {
    format!("{}/{}", encoded(below), encoded(path.as_str()))
}

fn settings(html: &mut Html, comparison: &Comparison<'_>) {
    html.raw("<section id=\"settings\" aria-labelledby=\"settings-title\">\n");
    html.raw("<h2 id=\"settings-title\">Settings that differ</h2>\n");
    if comparison.differences.is_empty() {
        html.raw("<p class=\"empty\">The configurations that are here do not differ.</p>\n</section>\n");
        return;
    }
    html.raw("<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"Settings that differ\">\n");
    html.raw("<table class=\"files\">\n<thead><tr><th scope=\"col\">Key</th>");
    column_of_each_run(html, comparison);
    for difference in &comparison.differences {
        html.raw("<tr><th scope=\"row\"><code>").text(difference.key).raw("</code></th>");
        for (at, value) in difference.values.iter().enumerate() {
            html.raw("<td dir=\"auto\" data-run=\"").number(at as u64).raw("\">");
            match value {
                Some(value) => html.text(value),
                None => html.raw("<span class=\"note\">not set</span>"),
            };
            html.raw("</td>");
        }
        html.raw("</tr>\n");
    }
    html.raw("</tbody>\n</table>\n</div>\n</section>\n");
}
