use crate::cli::process::fake::{COLUMNS, Written};
use crate::cli::reporters::samples::{done, path};
use crate::cli::reporters::view::View;
use crate::model::artifact::ArtifactKind;
use crate::model::job::Progress;

use super::*;

const PLAIN: Look = Look { colours: false, unicode: true };

fn id(number: usize) -> JobId {
    format!("5b9b8e8e-{number}").parse().unwrap()
}

fn seen(name: &str, status: &str, step: u64) -> Event {
    Event::Job {
        name: Some(name.to_owned()),
        status: JobStatus::from(status.to_owned()),
        progress: Progress { current_step: Some(step), total_steps: Some(2000), percent: None },
        error: None,
    }
}

fn fetch(facts: &mut FleetFacts, job: &JobId, name: &str, have: u64, began: Instant) {
    let (kind, size) = (ArtifactKind::Checkpoint, Some(171_863_244));
    let event = Event::Started { path: path(name), kind, step: Some(250), size, resumed_from: 0 };
    facts.apply(job, &event, began);
    facts.apply(job, &Event::Received { path: path(name), have, size }, began + Duration::from_secs(9));
}

/// Five jobs of every kind, ten seconds after they were seen.
fn five(began: Instant) -> (FleetFacts, Instant) {
    let mut facts = FleetFacts::default();
    (1..=5).for_each(|number| facts.list(&id(number)));
    let mut apply = |number: usize, event: Event| facts.apply(&id(number), &event, began);
    apply(1, seen("dog", "RUNNING", 520));
    apply(1, Event::Pace { seconds_a_step: Some(1.5), next_save: Some(750) });
    apply(2, seen("a cat with a rather long name, lr 1e-4", "RUNNING", 1900));
    apply(2, Event::Plan { fetch: 2, ask: 0, bytes: None, present: 41 });
    apply(3, seen("犬", "IN_QUEUE", 0));
    apply(4, seen("house", "FAILED", 700));
    apply(4, done(ExitStatus::Negative, 3, 0));
    fetch(&mut facts, &id(2), "cat_000001750.safetensors", 50_000_000, began);
    fetch(&mut facts, &id(2), "cat_000001800.safetensors", 10_000_000, began);
    facts.end(&id(4), ExitStatus::Negative);
    (facts, began + Duration::from_secs(10))
}

fn drawn(columns: usize, rows: usize) -> String {
    let (mut facts, now) = five(Instant::now());
    facts.lines(now, columns, rows, PLAIN).join("\n")
}

#[test]
fn at_40_columns() {
    assert_eq!(
        drawn(40, 24),
        "\
a cat with …  training  95 %  57.2 MiB/s
dog           training  26 %
犬            queued     0 %
5b9b8e8e-5    looking
house         failed    35 %
5 jobs  2 training  1 fetching
2 waiting  1 not complete  41 files here
2 in flight  57.2 MiB/s"
    );
}

#[test]
fn at_80_columns() {
    assert_eq!(
        drawn(80, 24),
        "\
a cat with a rather lon…  training ━━━━━━━━━╌  95 %          57.2 MiB/s 29 % +1
dog                       training ━━╌╌╌╌╌╌╌╌  26 % 36m 50s
犬                        queued   ╌╌╌╌╌╌╌╌╌╌   0 %
5b9b8e8e-5                looking
house                     failed   ━━━╌╌╌╌╌╌╌  35 %
5 jobs  2 training  1 fetching  2 waiting  1 not complete  41 files here
2 in flight  57.2 MiB/s"
    );
}

#[test]
fn at_200_columns() {
    assert_eq!(drawn(200, 24), "\
a cat with a rather long name, lr 1e-4  training ━━━━━━━━━━━━━━━━━━━╌  95 %          57.2 MiB/s  cat_000001750.safetensors 29 % +1
dog                                     training ━━━━━╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌  26 % 36m 50s
犬                                      queued   ╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌   0 %
5b9b8e8e-5                              looking
house                                   failed   ━━━━━━━╌╌╌╌╌╌╌╌╌╌╌╌╌  35 %
5 jobs  2 training  1 fetching  2 waiting  1 not complete  41 files here  2 in flight  57.2 MiB/s");
}

/// Sixty jobs: most train, some fetch, some are over.
fn sixty(began: Instant) -> (FleetFacts, Instant) {
    let mut facts = FleetFacts::default();
    for number in 0..60 {
        let job = id(number);
        facts.list(&job);
        let step = number as u64 * 33;
        let (status, step) = if number % 5 == 4 { ("STOPPED", 2000) } else { ("RUNNING", step) };
        facts.apply(&job, &seen(&format!("lora-{number:02}"), status, step), began);
        facts.apply(&job, &Event::Pace { seconds_a_step: Some(1.0), next_save: None }, began);
        if number % 20 == 0 {
            fetch(&mut facts, &job, "x_000000250.safetensors", 1_000_000 * (number as u64 + 1), began);
        }
        if status == "STOPPED" {
            let exit = if number == 19 { ExitStatus::TryAgain } else { ExitStatus::Complete };
            facts.apply(&job, &done(exit, 1, 0), began);
            facts.end(&job, exit);
        }
    }
    (facts, began + Duration::from_secs(10))
}

#[test]
fn of_sixty_the_busiest_are_shown() {
    let (mut facts, now) = sixty(Instant::now());
    assert_eq!(
        facts.lines(now, 100, 12, PLAIN).join("\n"),
        "\
lora-40  training ━━━━━━━╌╌╌╌╌  66 % 11m 10s  39.1 MiB/s  x_000000250.safetensors 23 %
lora-20  training ━━━╌╌╌╌╌╌╌╌╌  33 % 22m 10s  20.0 MiB/s  x_000000250.safetensors 12 %
lora-00  training ╌╌╌╌╌╌╌╌╌╌╌╌   0 % 33m 10s   977 KiB/s  x_000000250.safetensors 0 %
lora-58  training ━━━━━━━━━━━╌  95 %  1m 16s
lora-57  training ━━━━━━━━━━━╌  94 %  1m 49s
lora-56  training ━━━━━━━━━━━╌  92 %  2m 22s
lora-55  training ━━━━━━━━━━╌╌  90 %  2m 55s
lora-53  training ━━━━━━━━━━╌╌  87 %  4m 01s
lora-52  training ━━━━━━━━━━╌╌  85 %  4m 34s
… and 51 more
60 jobs  48 training  3 fetching  11 over  1 not complete  0 files here  3 in flight  60.1 MiB/s"
    );
}

#[test]
fn no_line_is_wider_than_the_terminal_and_no_frame_higher() {
    for unicode in [true, false] {
        for (mut facts, now) in [five(Instant::now()), sixty(Instant::now())] {
            for columns in 40..=200 {
                for rows in [4, 10, 24, 80] {
                    let lines = facts.lines(now, columns, rows, Look { colours: false, unicode });
                    assert!(lines.len() < rows, "{rows}: {lines:#?}");
                    for line in lines {
                        assert!(columns_of(&line) <= columns, "{columns}: {line}");
                        assert!(unicode || line.is_ascii(), "{line}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_taken_off_the_list_is_gone_and_its_last_events_are_passed_over() {
    let (mut facts, now) = five(Instant::now());
    facts.remove(&id(1));
    facts.apply(&id(1), &done(ExitStatus::Interrupted, 0, 0), now);
    let lines = facts.lines(now, 80, 24, PLAIN).join("\n");
    assert!(!lines.contains("dog") && lines.contains("4 jobs"), "{lines}");
}

#[test]
fn lines_go_above_and_the_view_stays_below() {
    let written = Written::default();
    COLUMNS.set(80);
    let view = View::<FleetFacts>::still(written.terminal(), PLAIN);
    let (facts, _) = five(Instant::now());
    view.learn(|known, _| *known = facts);
    view.line("published  dog  a.safetensors");
    view.line("published  house  b.safetensors");
    let mut terminal = vt100::Parser::new(24.try_into().unwrap(), 80.try_into().unwrap(), 100);
    terminal.process(written.text().replace("\r\n", "\n").replace('\n', "\r\n").as_bytes());
    let rows: Vec<String> = terminal.screen().rows(0, 80).filter(|row| !row.is_empty()).collect();
    assert_eq!(rows[..2], ["published  dog  a.safetensors", "published  house  b.safetensors"]);
    assert_eq!(rows.iter().filter(|row| row.contains("5 jobs")).count(), 1, "{rows:#?}");
    assert_eq!(rows.len(), 9, "{rows:#?}");
    view.end();
}
