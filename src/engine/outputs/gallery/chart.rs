//! Steps over time as a small drawing: the line in SVG, stretched to its place; the words around it in HTML, so that
//! they keep their size.

use crate::engine::outputs::gallery::timeline::Course;

use super::clock::instant;
use super::html::Html;

/// The drawing's own units, across and down; the browser stretches them.
const ACROSS: u64 = 1000;
const DOWN: u64 = 300;

/// Draws the chart; `false` when there is too little to draw.
pub(super) fn chart(html: &mut Html, course: &Course) -> bool {
    let (Some((first, _)), Some((last, _))) = (course.points.first(), course.points.last()) else {
        return false;
    };
    if course.points.len() < 2 || last <= first {
        return false;
    }
    let highest = course.points.iter().map(|(_, step)| *step).max().unwrap_or(0);
    let top = course.total.unwrap_or(0).max(highest).max(1);
    let across = |at: i64| scaled(at.abs_diff(*first), last.abs_diff(*first), ACROSS);
    let down = |step: u64| DOWN - scaled(step, top, DOWN);
    html.raw("<figure class=\"chart\">\n<div class=\"up\" aria-hidden=\"true\"><span>").number(top);
    html.raw("</span><span>0</span></div>\n<svg viewBox=\"0 0 1000 300\" preserveAspectRatio=\"none\" role=\"img\"");
    let words = format!("Steps over time: from {} to {highest} of {top}", course.points[0].1);
    html.attribute("aria-label", &words).raw(">\n");
    for quarter in 1..4 {
        html.raw("<line class=\"rule\" x1=\"0\" x2=\"1000\" y1=\"").number(DOWN * quarter / 4);
        html.raw("\" y2=\"").number(DOWN * quarter / 4).raw("\"/>");
    }
    for turn in course.turns.iter().filter(|turn| turn.what.is_stop() && turn.at >= *first) {
        html.raw("<line class=\"stop\" y1=\"0\" y2=\"300\" x1=\"").number(across(turn.at).min(ACROSS));
        html.raw("\" x2=\"").number(across(turn.at).min(ACROSS)).raw("\"/>");
    }
    html.raw("<polyline class=\"line\" points=\"");
    for (at, step) in &course.points {
        html.number(across(*at)).raw(",").number(down(*step)).raw(" ");
    }
    html.raw("\"/>\n</svg>\n<div class=\"along\" aria-hidden=\"true\">");
    instant(html, *first);
    instant(html, *last);
    html.raw("</div>\n<figcaption>Steps over time");
    if course.turns.iter().any(|turn| turn.what.is_stop()) {
        html.raw("; a red line is a stop");
    }
    html.raw("</figcaption>\n</figure>\n");
    true
}

/// Returns `part` of `whole` as a part of `length`.
fn scaled(part: u64, whole: u64, length: u64) -> u64 {
    let scaled = u128::from(part) * u128::from(length) / u128::from(whole.max(1));
    u64::try_from(scaled).unwrap_or(length)
}
