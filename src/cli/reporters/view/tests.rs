use crate::cli::format::columns as columns_of;
use crate::cli::process::fake::{COLUMNS, Written};
use crate::cli::reporters::samples::{done, every_event, path, published, running};
use crate::error::ExitStatus;
use crate::model::artifact::ArtifactKind;
use crate::model::job::JobStatus;

use super::*;

const PLAIN: Look = Look { colours: false, unicode: true };

fn started(name: &str, kind: ArtifactKind, step: Option<u64>, size: u64) -> Event {
    Event::Started { path: path(name), kind, step, size: Some(size), resumed_from: 0 }
}

fn received(name: &str, have: u64) -> Event {
    Event::Received { path: path(name), have, size: None }
}

/// A training in the middle of its way, seen ten seconds ago.
fn busy(began: Instant) -> (Facts, Instant) {
    let mut facts = Facts::default();
    let (checkpoint, sample) = (ArtifactKind::Checkpoint, ArtifactKind::Sample);
    let (older, newer) = ("dog_000000250.safetensors", "dog_000000500.safetensors");
    for event in [
        running(520),
        Event::Pace { seconds_a_step: Some(1.5), next_save: Some(750) },
        Event::Plan { fetch: 3, ask: 0, bytes: None, present: 7 },
        started("samples/1724085406830__000000500_0.jpg", sample, Some(500), 120_000),
        started(newer, checkpoint, Some(500), 171_863_244),
        started(older, checkpoint, Some(250), 171_863_244),
    ] {
        facts.apply(&event, began);
    }
    facts.apply(&received(older, 50_000_000), began + Duration::from_secs(8));
    facts.apply(&received(newer, 10_000_000), began + Duration::from_secs(9));
    facts.apply(&received("samples/1724085406830__000000500_0.jpg", 120_000), began + Duration::from_secs(9));
    (facts, began + Duration::from_secs(10))
}

fn drawn(columns: usize, rows: usize, look: Look) -> String {
    let (mut facts, now) = busy(Instant::now());
    frame::frame(&mut facts, now, columns, rows, look).join("\n")
}

#[test]
fn a_check_of_local_files_has_a_line_while_it_lasts() {
    let (mut facts, now) = (Facts::default(), Instant::now());
    let check = |files| Event::Checking { files, of: 120, bytes: files << 30, of_bytes: 120 << 30 };
    facts.apply(&check(3), now);
    assert_eq!(
        frame::frame(&mut facts, now, 80, 24, PLAIN).join("\n"),
        "looking at the job …\nchecking 3 of 120 files, 3.0 GiB of 120 GiB\n0 files here"
    );
    facts.apply(&check(120), now);
    assert_eq!(facts.checking, None);
}

#[test]
fn at_40_columns() {
    assert_eq!(
        drawn(40, 24, PLAIN),
        "\
dog  RUNNING  step 520 of 2000 (26 %)
1.50 s/step  36m 50s left
next checkpoint: step 750 in 5m 35s
7 files here  3 in flight  28.7 MiB/s
! dog_000000250  29 % 23.8 MiB/s     5 s
  dog_000000500   5 %  9.5 MiB/s    17 s
  …000500_0.jpg 100 %            proving"
    );
}

#[test]
fn at_80_columns() {
    assert_eq!(
        drawn(80, 24, PLAIN),
        "\
dog  RUNNING  ━━╌╌╌╌╌╌╌╌  step 520 of 2000 (26 %)  1.50 s/step  36m 50s left
next checkpoint: step 750 in 5m 35s  7 files here  3 in flight  28.7 MiB/s
! dog_000000250.safetensors              47.7 MiB of  164 MiB 23.8 MiB/s     5 s
  dog_000000500.safetensors               9.5 MiB of  164 MiB  9.5 MiB/s    17 s
  samples/1724085406830__000000500_0.jpg  117 KiB of  117 KiB            proving"
    );
}

#[test]
fn at_200_columns() {
    assert_eq!(
        drawn(200, 24, PLAIN),
        "\
dog  RUNNING  ━━━━━╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌  step 520 of 2000 (26 %)  1.50 s/step  36m 50s left
next checkpoint: step 750 in 5m 35s  7 files here  3 in flight  28.7 MiB/s
! dog_000000250.safetensors              ━━━━━━━━╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌ 47.7 MiB of  164 MiB 23.8 MiB/s     5 s  oldest: deleted next
  dog_000000500.safetensors              ━╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌  9.5 MiB of  164 MiB  9.5 MiB/s    17 s
  samples/1724085406830__000000500_0.jpg ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━  117 KiB of  117 KiB            proving"
    );
}

/// The bar is left out where the line would be broken for it.
#[test]
fn at_72_and_at_120_columns() {
    assert!(
        drawn(72, 24, PLAIN)
            .starts_with("dog  RUNNING  step 520 of 2000 (26 %)  1.50 s/step  36m 50s left\n")
    );
    let wide = "dog  RUNNING  ━━━━━╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌  step 520 of 2000 (26 %)  1.50 s/step  36m 50s left\n";
    assert!(drawn(120, 24, PLAIN).starts_with(wide), "{}", drawn(120, 24, PLAIN));
}

#[test]
fn a_checkpoint_that_is_due_within_a_second_comes_any_moment() {
    let (mut facts, now) = busy(Instant::now());
    // The next one is at step 750, 230 steps of 1.5 seconds after the last look, ten seconds ago.
    let due = now + Duration::from_secs(335);
    let line = |facts: &mut Facts, at| frame::frame(facts, at, 80, 24, PLAIN)[1].clone();
    assert!(line(&mut facts, due - Duration::from_millis(1500)).contains("step 750 in 1 s"));
    assert!(line(&mut facts, due - Duration::from_millis(400)).contains("step 750 any moment"));
}

#[test]
fn without_unicode_there_is_none() {
    let (mut facts, now) = busy(Instant::now());
    facts.apply(
        &Event::Job {
            name: Some("犬".to_owned()),
            status: JobStatus::Running,
            progress: facts.progress,
            error: None,
        },
        now,
    );
    for columns in 40..=200 {
        let text = frame::frame(&mut facts, now, columns, 6, Look::default()).join("\n");
        assert!(text.is_ascii(), "{text}");
    }
}

#[test]
fn no_line_is_wider_than_the_terminal_and_no_frame_higher() {
    let (mut facts, now) = busy(Instant::now());
    for number in 0..20 {
        let name = format!("samples/{}犬{number}.jpg", "long".repeat(30));
        facts.apply(&started(&name, ArtifactKind::Sample, None, u64::MAX), now);
        facts.apply(&received(&name, u64::MAX / 3), now);
    }
    let name = Some("犬の訓練".repeat(40));
    let progress = crate::model::job::Progress {
        current_step: Some(u64::MAX),
        total_steps: Some(u64::MAX),
        percent: None,
    };
    for status in ["RUNNING", "IN_QUEUE", "SOMETHING_QUITE_NEW_AND_LONG_INDEED_SO_LONG"] {
        let status = JobStatus::from(status.to_owned());
        facts.apply(&Event::Job { name: name.clone(), status, progress, error: None }, now);
        for columns in 40..=200 {
            for rows in [4, 10, 24] {
                let lines = frame::frame(&mut facts, now, columns, rows, PLAIN);
                assert!(lines.len() < rows, "{lines:?}");
                for line in lines {
                    assert!(columns_of(&line) <= columns, "{columns}: {line}");
                }
            }
        }
    }
}

#[test]
fn a_transfer_is_shown_until_it_is_over() {
    let (mut facts, now) = busy(Instant::now());
    let shown = |facts: &mut Facts, name: &str| {
        frame::frame(facts, now, 80, 24, PLAIN).iter().any(|line| line.contains(name))
    };
    assert!(shown(&mut facts, "dog_000000250"));
    facts.apply(&published(), now);
    assert!(!shown(&mut facts, "dog_000000250") && facts.present == 8);
    facts.apply(&Event::Vanished { path: path("dog_000000500.safetensors") }, now);
    assert!(!shown(&mut facts, "dog_000000500"));
    facts.apply(
        &Event::Failed {
            path: path("samples/1724085406830__000000500_0.jpg"),
            cause: crate::cli::reporters::samples::refused(),
        },
        now,
    );
    assert_eq!(facts.transfers().len(), 0);
}

#[test]
fn a_transfer_that_waits_shows_how_long() {
    let (mut facts, now) = busy(Instant::now());
    let cause = crate::engine::event::RetryCause::File(crate::cli::reporters::samples::refused());
    let wait = Duration::from_secs(12);
    facts.apply(&Event::Retrying { path: Some(path("dog_000000250.safetensors")), cause, wait }, now);
    let lines = frame::frame(&mut facts, now, 80, 24, PLAIN);
    assert!(
        lines.iter().any(|line| line.starts_with("! dog_000000250") && line.ends_with("again in    12 s")),
        "{lines:?}"
    );
}

#[test]
fn before_the_first_look_and_after_the_end() {
    let now = Instant::now();
    let mut facts = Facts::default();
    assert_eq!(frame::frame(&mut facts, now, 80, 24, PLAIN), ["looking at the job …", "0 files here"]);
    let (mut facts, now) = busy(now);
    let progress =
        crate::model::job::Progress { current_step: Some(2000), total_steps: Some(2000), percent: None };
    facts.apply(&Event::Job { name: None, status: JobStatus::Stopped, progress, error: None }, now);
    let lines = frame::frame(&mut facts, now, 80, 24, PLAIN).join("\n");
    assert!(lines.starts_with("STOPPED  ━━━━━━━━━━  step 2000 of 2000 (100 %)\n7 files here"), "{lines}");
    assert!(!lines.contains('!'), "nothing is deleted any more: {lines}");
}

fn terminal(columns: u16) -> vt100::Parser {
    vt100::Parser::new(24.try_into().unwrap(), columns.try_into().unwrap(), 100)
}

fn process(terminal: &mut vt100::Parser, text: &str) {
    // A terminal's driver makes a line feed go to the first column.
    terminal.process(text.replace("\r\n", "\n").replace('\n', "\r\n").as_bytes());
}

fn rows_of(terminal: &vt100::Parser) -> Vec<String> {
    let (_, columns) = terminal.screen().size();
    let lines: Vec<String> = terminal.screen().rows(0, columns.get()).collect();
    let last = lines.iter().rposition(|line| !line.is_empty()).map_or(0, |at| at + 1);
    lines[..last].to_vec()
}

/// What a terminal of so many columns shows after these bytes.
fn screen(written: &Written, columns: u16) -> Vec<String> {
    let mut terminal = terminal(columns);
    process(&mut terminal, &written.text());
    rows_of(&terminal)
}

/// The same screen when the terminal gets other columns: lines are broken anew.
fn resized(old: &vt100::Parser, columns: u16) -> vt100::Parser {
    COLUMNS.set(columns);
    let mut new = terminal(columns);
    let mut text = String::new();
    for (row, line) in (0u16..).zip(rows_of(old)) {
        text += &line;
        text += if old.screen().row_wrapped(row) { "" } else { "\n" };
    }
    process(&mut new, &text);
    new
}

#[test]
fn a_terminal_of_other_columns_keeps_what_is_above_and_one_view() {
    let written = Written::default();
    let view = View::<Facts>::still(written.terminal(), PLAIN);
    let mut seen = 0;
    let mut catch_up = |terminal: &mut vt100::Parser| {
        let text = written.text();
        process(terminal, &text[seen..]);
        seen = text.len();
    };
    COLUMNS.set(200);
    let (facts, now) = busy(Instant::now());
    view.shared.scene().facts = facts;
    let mut terminal = terminal(200);
    view.line("published  a.safetensors");
    // A long first line, then a shorter one: its end is gone, and takes part in nothing.
    view.shared.scene().draw(now);
    view.report(&published());
    view.shared.scene().draw(now);
    catch_up(&mut terminal);
    for columns in [60, 40, 43, 120, 30, 80, 200, 41] {
        let wide = terminal.screen().size().1;
        terminal = resized(&terminal, columns);
        view.shared.scene().draw(now);
        catch_up(&mut terminal);
        let rows = rows_of(&terminal);
        let at = format!("{wide} -> {columns}: {rows:#?}");
        assert_eq!(rows[0], "published  a.safetensors", "{at}");
        assert!(rows[1].starts_with("dog  RUNNING"), "{at}");
        let once = |words: &str| rows.iter().filter(|row| row.contains(words)).count() == 1;
        assert!(once("RUNNING") && once("next checkpoint") && once("! "), "{at}");
    }
    view.end();
    catch_up(&mut terminal);
    assert_eq!(rows_of(&terminal), ["published  a.safetensors"]);
}

#[test]
fn a_long_line_above_leaves_nothing_of_the_view_behind_it() {
    let written = Written::default();
    let view = View::<Facts>::still(written.terminal(), PLAIN);
    let (facts, now) = busy(Instant::now());
    view.shared.scene().facts = facts;
    view.shared.scene().draw(now);
    let long = format!("published  {}", "犬".repeat(40));
    view.line(&long);
    view.shared.scene().draw(now);
    let rows = screen(&written, 80);
    assert_eq!(rows[..2].concat(), long);
    assert_eq!(rows.len(), 7, "{rows:#?}");
}

#[test]
fn what_the_terminal_echoes_is_below_the_view_and_is_drawn_over() {
    let written = Written::default();
    let view = View::<Facts>::still(written.terminal(), PLAIN);
    view.report(&running(320));
    view.shared.scene().draw(Instant::now());
    let mut terminal = terminal(80);
    process(&mut terminal, &written.text());
    process(&mut terminal, "^C");
    let seen = written.text().len();
    view.line("stopped    1 new");
    view.end();
    process(&mut terminal, &written.text()[seen..]);
    assert_eq!(rows_of(&terminal), ["stopped    1 new"]);
}

#[test]
fn lines_go_above_and_the_view_stays_below() {
    let written = Written::default();
    let view = View::<Facts>::still(written.terminal(), PLAIN);
    let draw = |view: &View| view.shared.scene().draw(Instant::now());
    draw(&view);
    view.report(&running(320));
    view.line("job        dog  RUNNING");
    view.report(&started("a.safetensors", ArtifactKind::Checkpoint, Some(250), 1000));
    view.report(&started("b.safetensors", ArtifactKind::Checkpoint, Some(500), 1000));
    draw(&view);
    draw(&view);
    assert_eq!(screen(&written, 80).len(), 5, "{:?}", screen(&written, 80));
    view.report(&Event::Vanished { path: path("a.safetensors") });
    view.line("published  a.safetensors");
    draw(&view);
    let lines = screen(&written, 80);
    assert_eq!(
        lines[..4],
        [
            "job        dog  RUNNING",
            "published  a.safetensors",
            "dog  RUNNING  ━╌╌╌╌╌╌╌╌╌  step 320 of 2000 (16 %)",
            "0 files here  1 in flight  0 B/s"
        ]
    );
    assert!(lines.len() == 5 && lines[4].starts_with("! b.safetensors"), "{lines:?}");
    view.report(&done(ExitStatus::Complete, 1, 0));
    view.line("done       1 new");
    view.end();
    assert_eq!(
        screen(&written, 80),
        ["job        dog  RUNNING", "published  a.safetensors", "done       1 new"]
    );
}

#[test]
fn what_did_not_change_is_not_written_and_nothing_is_blank_in_between() {
    let written = Written::default();
    let view = View::<Facts>::still(written.terminal(), PLAIN);
    view.report(&running(320));
    let now = Instant::now();
    view.shared.scene().draw(now);
    let before = written.text().len();
    view.shared.scene().draw(now);
    assert_eq!(written.text().len(), before);
    view.report(&running(330));
    view.shared.scene().draw(now);
    let second = written.text().split_off(before);
    assert!(second.contains("step 330"), "{second:?}");
    assert!(!second.contains("\u{1b}[J"), "nothing is blank in between: {second:?}");
}

#[test]
fn every_event_may_come_in_any_order() {
    let view = View::<Facts>::still(Written::default().terminal(), Look { colours: true, unicode: true });
    for event in every_event().iter().chain(every_event().iter().rev()) {
        view.report(event);
        view.shared.scene().draw(Instant::now());
    }
}

#[test]
fn a_view_that_draws_by_itself_ends() {
    let written = Written::default();
    let view = View::<Facts>::new(written.terminal(), PLAIN);
    view.report(&running(320));
    drop(view);
    assert_eq!(screen(&written, 80), Vec::<String>::new());
}
