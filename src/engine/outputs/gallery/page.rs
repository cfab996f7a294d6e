//! The page: an [`Album`] as one HTML file that needs nothing but the files beside it.

use base64::Engine as _;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::Digest as _;

use crate::engine::outputs::gallery::timeline::{Turn, What};
use crate::model::job::JobStatus;
use crate::model::names::rel_path::RelPath;
use crate::model::units::ByteCount;

use super::album::{Album, Checkpoint, Media, Place, Prompt, Shot};
use super::chart::chart;
use super::clock::{instant, written};
use super::html::Html;

pub(super) const STYLE: &str = include_str!("page.css");
pub(super) const SCRIPT: &str = include_str!("page.js");

/// What a relative link may hold as it is; everything else is percent-encoded.
const LINK: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// Returns the whole page, without its first lines, which mark it as rcsync's.
pub(super) fn page(album: &Album<'_>) -> String {
    let mut html = Html::default();
    let title = title(album);
    begin(&mut html, title, STYLE, SCRIPT);
    header(&mut html, album, title);
    html.raw("<main>\n");
    samples(&mut html, album);
    checkpoints(&mut html, album);
    training(&mut html, album);
    html.raw("</main>\n");
    end(&mut html, SCRIPT, VIEWER);
    html.into_string()
}

/// Begins a page: its head with the policy, and the body.
pub(super) fn begin(html: &mut Html, title: &str, style: &'static str, script: &'static str) {
    html.raw("<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    html.raw("<meta http-equiv=\"Content-Security-Policy\"")
        .attribute("content", &policy(style, script))
        .raw(">\n");
    html.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    html.raw("<meta name=\"color-scheme\" content=\"light dark\">\n");
    html.raw("<meta name=\"referrer\" content=\"no-referrer\">\n<title>")
        .text(title)
        .raw(" · rcsync</title>\n");
    html.raw("<style>").raw(style).raw("</style>\n</head>\n<body>\n");
    html.raw("<a class=\"skip\" href=\"#samples\">Skip to the samples</a>\n");
}

/// Ends a page: footer, `more` (a dialog), and the script.
pub(super) fn end(html: &mut Html, script: &'static str, more: &'static str) {
    html.raw("<footer>Written by rcsync ").raw(env!("CARGO_PKG_VERSION"));
    html.raw(". This page needs no network and no server: keep it in its folder, beside the files it shows.");
    html.raw("</footer>\n").raw(more).raw("<p id=\"said\" class=\"unseen\" role=\"status\"></p>\n");
    html.raw("<script>").raw(script).raw("</script>\n</body>\n</html>\n");
}

/// Nothing is allowed but this page's own style and script, and pictures and sounds from where it is itself.
fn policy(style: &str, script: &str) -> String {
    let hash = |text: &str| base64::prelude::BASE64_STANDARD.encode(sha2::Sha256::digest(text));
    format!(
        "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'sha256-{}'; script-src 'sha256-{}'; \
         base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        hash(style),
        hash(script)
    )
}

/// A sample, large: filled by the script.
const VIEWER: &str = "<dialog id=\"viewer\" tabindex=\"-1\" aria-labelledby=\"viewer-title\">\n<div class=\"frame\"></div>\n\
    <div class=\"notes\"><h2 id=\"viewer-title\"></h2>\n<p class=\"prompt\" dir=\"auto\"></p>\n<dl></dl>\n<p class=\"open\"></p>\n\
    <div class=\"buttons\"><button type=\"button\" data-go=\"before\">← Earlier</button>\
    <button type=\"button\" data-go=\"after\">Later →</button>\
    <button type=\"button\" data-go=\"above\">↑ Prompt</button>\
    <button type=\"button\" data-go=\"below\">↓ Prompt</button>\
    <button type=\"button\" data-go=\"close\">Close</button></div>\n\
    <p class=\"keys\">Arrow keys: step and prompt. Esc: close.</p></div>\n</dialog>\n";

pub(super) fn title<'a>(album: &'a Album<'_>) -> &'a str {
    let name = album.job.and_then(|job| job.name.as_deref()).filter(|name| !name.trim().is_empty());
    name.unwrap_or_else(|| album.manifest.job.as_str())
}

fn header(html: &mut Html, album: &Album<'_>, title: &str) {
    html.raw("<header>\n<h1 dir=\"auto\">").text(title).raw("</h1>\n");
    if let Some(job) = album.job {
        let (word, class) = state(&job.status, job.progress.is_complete());
        html.raw("<p class=\"state\"><span class=\"pill ").raw(class).raw("\">").text(&word).raw("</span>");
        if let Some(step) = job.progress.current_step {
            html.raw(" <span>step ").number(step);
            if let Some(total) = job.progress.total_steps.filter(|total| *total > 0) {
                html.raw(" of ").number(total).raw("</span> <progress aria-label=\"Steps done\"");
                html.raw(" max=\"")
                    .number(total)
                    .raw("\" value=\"")
                    .number(step.min(total))
                    .raw("\"></progress>");
            } else {
                html.raw("</span>");
            }
        }
        html.raw("</p>\n");
        if let Some(error) = job.error.as_deref() {
            html.raw("<p class=\"error\" dir=\"auto\"><strong>The job’s error:</strong> ")
                .text(error)
                .raw("</p>\n");
        }
    }
    html.raw("<dl class=\"facts\">");
    fact(html, "Job", album.manifest.job.as_str());
    if let Some(times) = album.job.map(|job| &job.times) {
        for (name, time) in
            [("Submitted", &times.created_at), ("Began", &times.started_at), ("Ended", &times.finished_at)]
        {
            if let Some(time) = time {
                html.raw("<div><dt>").raw(name).raw("</dt><dd>");
                written(html, time);
                html.raw("</dd></div>");
            }
        }
    }
    if let Some(seconds) = album.course.seconds_a_step {
        fact(html, "Speed", &format!("{seconds:.2} s a step"));
    }
    fact(html, "Here", &ByteCount(album.bytes).to_string());
    html.raw("</dl>\n<nav aria-label=\"Parts of this page\">");
    html.raw("<a href=\"#samples\">Samples <b>").number(album.count_shots()).raw("</b></a>");
    html.raw("<a href=\"#checkpoints\">Checkpoints <b>")
        .number(album.checkpoints.len() as u64)
        .raw("</b></a>");
    html.raw("<a href=\"#training\">Training</a></nav>\n</header>\n");
}

fn fact(html: &mut Html, name: &'static str, value: &str) {
    html.raw("<div><dt>").raw(name).raw("</dt><dd>").text(value).raw("</dd></div>");
}

/// Returns a job's state as a word, and the class that colours it.
pub(super) fn state(status: &JobStatus, complete: bool) -> (String, &'static str) {
    let (word, class) = match status {
        JobStatus::InQueue => ("waiting for a GPU", "idle"),
        JobStatus::Running => ("training", "going"),
        JobStatus::Stopped if complete => ("finished", "good"),
        JobStatus::Stopped => ("stopped early", "halted"),
        JobStatus::Failed => ("failed", "bad"),
        JobStatus::Canceled => ("canceled", "halted"),
        JobStatus::Other(word) => (word.as_ref(), "idle"),
    };
    (word.to_owned(), class)
}

fn samples(html: &mut Html, album: &Album<'_>) {
    html.raw("<section id=\"samples\" aria-labelledby=\"samples-title\">\n");
    html.raw("<h2 id=\"samples-title\">Samples</h2>\n");
    if album.prompts.is_empty() {
        html.raw("<p class=\"empty\">No samples are here yet. They show up as the trainer draws them.</p>\n</section>\n");
        return;
    }
    html.raw(TOOLS);
    html.raw("<div class=\"scroll grid\" id=\"grid\" role=\"region\" tabindex=\"0\" ");
    html.raw("aria-label=\"Samples, one row a prompt, one column a step\">\n<table>\n<thead><tr>");
    html.raw("<th scope=\"col\" class=\"corner\">Prompt</th>");
    for step in &album.steps {
        html.raw("<th scope=\"col\"");
        if let Some(step) = step {
            html.raw(" data-step=\"").number(*step).raw("\"><span>step </span>").number(*step).raw("</th>");
        } else {
            html.raw(">no step</th>");
        }
    }
    html.raw("</tr></thead>\n<tbody>\n");
    for (at, prompt) in album.prompts.iter().enumerate() {
        row(html, album, at as u64 + 1, prompt);
    }
    html.raw("</tbody>\n</table>\n</div>\n<div id=\"stage\" hidden></div>\n</section>\n");
}

/// Shown by the script, which gives them their work.
const TOOLS: &str = "<div class=\"tools\" id=\"tools\" hidden>\n<fieldset class=\"views\"><legend class=\"unseen\">View</legend>\
    <label><input type=\"radio\" name=\"view\" value=\"grid\" checked><span>Grid</span></label>\
    <label><input type=\"radio\" name=\"view\" value=\"step\"><span>One step</span></label>\
    <label><input type=\"radio\" name=\"view\" value=\"compare\"><span>Compare</span></label></fieldset>\n\
    <div class=\"slider\" hidden><label for=\"first\">Step</label><input id=\"first\" type=\"range\" min=\"0\" step=\"1\">\
    <output for=\"first\"></output></div>\n\
    <div class=\"slider\" hidden><label for=\"second\">With step</label><input id=\"second\" type=\"range\" min=\"0\" step=\"1\">\
    <output for=\"second\"></output></div>\n</div>\n";

fn row(html: &mut Html, album: &Album<'_>, number: u64, prompt: &Prompt<'_>) {
    html.raw("<tr><th scope=\"row\"><span class=\"number\">").number(number).raw("</span> ");
    match prompt.text {
        Some(text) => html.raw("<span class=\"prompt\" dir=\"auto\">").text(text).raw("</span>"),
        None => html.raw("<span class=\"prompt unknown\">prompt not known</span>"),
    };
    html.raw("</th>");
    for step in &album.steps {
        html.raw("<td>");
        // The newest first: it is the one that the grid shows.
        for (at, shot) in prompt.at(*step).iter().rev().enumerate() {
            cell(html, number, *step, at as u64, shot);
        }
        html.raw("</td>");
    }
    html.raw("</tr>\n");
}

fn cell(html: &mut Html, number: u64, step: Option<u64>, age: u64, shot: &Shot<'_>) {
    let link = link(shot.path);
    let media = media_name(shot.media);
    let mut label = format!("Prompt {number}");
    if let Some(step) = step {
        label.push_str(&format!(", step {step}"));
    }
    if age > 0 {
        label.push_str(", drawn earlier");
    }
    // A browser may run what it does not only show: such a file is named, and not a link.
    if shot.media == Media::Other {
        html.raw("<span class=\"shot other\"").attribute("title", shot.path.as_str()).raw(">");
        html.text(shot.path.as_str()).raw("</span>");
        return;
    }
    html.raw("<a class=\"shot ").raw(media).raw("\" data-media=\"").raw(media).raw("\"");
    html.attribute("href", &link).attribute("data-size", &ByteCount(shot.size).to_string());
    html.raw(" data-proof=\"").raw(shot.evidence.name()).raw("\"");
    html.attribute("data-sha", &shot.sha256.to_string());
    if let Some(seed) = shot.seed {
        html.attribute("data-seed", seed);
    }
    if shot.media == Media::Image {
        html.raw("><img loading=\"lazy\" decoding=\"async\" width=\"160\" height=\"160\"");
        html.attribute("src", &link).attribute("alt", &label).raw("></a>");
    } else {
        let sign = if shot.media == Media::Video { "▶" } else { "♪" };
        html.attribute("aria-label", &label).raw("><span class=\"sign\" aria-hidden=\"true\">").raw(sign);
        html.raw("</span></a>");
    }
}

/// Returns a link from DIR to a file in it.
fn link(path: &RelPath) -> String {
    encoded(path.as_str())
}

/// Percent-encodes a relative path, so that no name can be anything but a path.
pub(super) fn encoded(path: &str) -> String {
    utf8_percent_encode(path, LINK).to_string()
}

/// Returns the word for a kind of sample that the script and the style use.
pub(super) const fn media_name(media: Media) -> &'static str {
    match media {
        Media::Image => "image",
        Media::Video => "video",
        Media::Audio => "audio",
        Media::Other => "other",
    }
}

fn checkpoints(html: &mut Html, album: &Album<'_>) {
    html.raw("<section id=\"checkpoints\" aria-labelledby=\"checkpoints-title\">\n");
    html.raw("<h2 id=\"checkpoints-title\">Checkpoints</h2>\n");
    if album.checkpoints.is_empty() {
        html.raw("<p class=\"empty\">No checkpoints are here yet.</p>\n");
    } else {
        html.raw(
            "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"Table of checkpoints\">\n",
        );
        html.raw("<table class=\"files\">\n<thead><tr><th scope=\"col\" class=\"end\">Step</th>");
        html.raw("<th scope=\"col\">File</th><th scope=\"col\" class=\"end\">Size</th>");
        html.raw("<th scope=\"col\">Proof</th><th scope=\"col\">SHA-256</th></tr></thead>\n<tbody>\n");
        for checkpoint in &album.checkpoints {
            weights(html, checkpoint);
        }
        html.raw("</tbody>\n</table>\n</div>\n").raw(PROOFS);
    }
    if !album.configs.is_empty() {
        html.raw("<p>Configuration: ");
        for (at, path) in album.configs.iter().enumerate() {
            html.raw(if at > 0 { ", " } else { "" }).element("code", path.as_str());
        }
        html.raw("</p>\n");
    }
    html.raw("</section>\n");
}

const PROOFS: &str = "<details><summary>What the proofs mean</summary><dl class=\"proofs\">\
    <div><dt>trainer-hash</dt><dd>the weights hash to what the trainer wrote into the file’s header</dd></div>\
    <div><dt>digest</dt><dd>the server named a strong digest, and it agrees</dd></div>\
    <div><dt>checksum</dt><dd>the server named a CRC or MD5, and it agrees</dd></div>\
    <div><dt>structure</dt><dd>the format accounts for every byte</dd></div>\
    <div><dt>length</dt><dd>as long as the server said; more cannot be checked for this format</dd></div></dl>\
    <p>All of them at once: <code>sha256sum -c SHA256SUMS</code> or <code>rcsync verify</code>.</p></details>\n";

fn weights(html: &mut Html, checkpoint: &Checkpoint<'_>) {
    let (size, proof, sha256, note) = match &checkpoint.place {
        Place::Here { size, sha256, evidence } => (Some(*size), evidence.name(), Some(*sha256), None),
        Place::Older { size, sha256 } => (Some(*size), "", Some(*sha256), Some("older bytes, kept")),
        Place::Pruned => (None, "", None, Some("removed by prune")),
        Place::NotHere => (None, "", None, Some("not here yet")),
    };
    html.raw("<tr").raw(if size.is_some() { ">" } else { " class=\"absent\">" }).raw("<td class=\"end\">");
    match checkpoint.step {
        Some(step) => html.number(step),
        None => html.raw("<span title=\"no step in its name\">–</span>"),
    };
    html.raw("</td><th scope=\"row\"><span class=\"path\">").text(checkpoint.path.as_str()).raw("</span>");
    if let Some(note) = note {
        html.raw(" <span class=\"note\">").raw(note).raw("</span>");
    }
    html.raw("</th><td class=\"end\">");
    if let Some(size) = size {
        html.text(&ByteCount(size).to_string());
    }
    html.raw("</td><td>").raw(proof).raw("</td><td>");
    if let Some(sha256) = sha256 {
        let digits = sha256.to_string();
        html.raw("<span class=\"hash\"><code>").text(&digits).raw("</code>");
        html.raw("<button type=\"button\" class=\"copy\" hidden").attribute("data-copy", &digits);
        html.attribute("aria-label", &format!("Copy the SHA-256 of {}", checkpoint.path))
            .raw(">Copy</button></span>");
    }
    html.raw("</td></tr>\n");
}

fn training(html: &mut Html, album: &Album<'_>) {
    let course = &album.course;
    html.raw("<section id=\"training\" aria-labelledby=\"training-title\">\n");
    html.raw("<h2 id=\"training-title\">Training</h2>\n");
    let drawn = chart(html, course);
    if course.turns.is_empty() {
        if !drawn {
            html.raw("<p class=\"empty\">How training goes is recorded while rcsync mirrors the job; nothing is recorded yet.</p>\n");
        }
    } else {
        html.raw("<ol class=\"turns\">\n");
        for turn in &course.turns {
            write_turn(html, turn);
        }
        html.raw("</ol>\n<p>As this machine saw it, by its own clock.</p>\n");
    }
    html.raw("</section>\n");
}

fn write_turn(html: &mut Html, turn: &Turn) {
    let words = match &turn.what {
        What::FirstSeen { status, is_complete } => format!("first seen: {}", state(status, *is_complete).0),
        What::Queued => "waits for a GPU".to_owned(),
        What::Began => "training began".to_owned(),
        What::Resumed => "resumed".to_owned(),
        What::Stopped => "stopped before its last step".to_owned(),
        What::Finished => "finished its last step".to_owned(),
        What::Failed => "failed".to_owned(),
        What::Canceled => "canceled".to_owned(),
        What::Other(status) => format!("in a state called {status}"),
        What::AnotherRun => "continues in another run".to_owned(),
    };
    html.raw("<li").raw(if turn.what.is_stop() { " class=\"stop\">" } else { ">" });
    instant(html, turn.at);
    html.raw(" <span>").text(&words);
    if let Some(step) = turn.step.filter(|step| *step > 0) {
        html.raw(", step ").number(step);
    }
    html.raw("</span></li>\n");
}
