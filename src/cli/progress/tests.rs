use super::*;
use crate::cli::samples::{done, every_event, path, published, running};
use crate::cli::world::fake::Written;
use crate::error::ExitStatus;

fn started(name: &str) -> Event {
    let kind = crate::model::artifact::ArtifactKind::Checkpoint;
    Event::Started { path: path(name), kind, step: None, size: Some(1000), resumed_from: 0 }
}

#[test]
fn every_event_may_come_in_any_order() {
    let written = Written::default();
    let bars = Bars::new(written.terminal());
    for event in every_event().iter().chain(every_event().iter().rev()) {
        bars.report(event);
    }
    assert!(bars.transfers().is_empty() || bars.ended.load(Ordering::Relaxed));
}

#[test]
fn a_transfer_has_a_bar_until_it_is_over() {
    let written = Written::default();
    let bars = Bars::new(written.terminal());
    bars.report(&started("dog_000000250.safetensors"));
    bars.report(&Event::Received { path: path("dog_000000250.safetensors"), have: 500, size: Some(1000) });
    bars.header.force_draw();
    assert_eq!(bars.transfers().len(), 1);
    assert_eq!(bars.facts().in_flight, 1);
    bars.report(&published());
    assert!(bars.transfers().is_empty());
    assert_eq!(bars.facts().present, 1);
    bars.line("published  dog");
    bars.report(&done(ExitStatus::Complete, 1, 0));
    bars.line("done");
    let text = written.text();
    assert!(text.contains("dog_000000250.safetensors"), "{text}");
    assert!(text.contains("looking at the job"), "{text}");
    assert!(text.contains("published  dog\n") && text.ends_with("done\n"), "{text:?}");
}

#[test]
fn more_transfers_than_bars() {
    let bars = Bars::new(Written::default().terminal());
    let names: Vec<String> = (0..20).map(|number| format!("{number:02}.png")).collect();
    names.iter().for_each(|name| bars.report(&started(name)));
    let shown = |bars: &Bars| bars.transfers().values().filter(|transfer| transfer.bar.is_some()).count();
    assert_eq!(shown(&bars), MOST_BARS);
    for name in &names[..15] {
        bars.report(&Event::Vanished { path: path(name) });
    }
    assert_eq!(shown(&bars), 5, "those that waited have their bars now");
}

#[test]
fn the_top_line_tells_pace_and_end() {
    let bars = Bars::new(Written::default().terminal());
    bars.report(&running(320));
    let now = Instant::now();
    let mut facts = bars.facts();
    assert_eq!(facts.job_line(now), "dog  RUNNING  step 320 of 2000 (16 %)");
    facts.pace = Pace::default();
    facts.pace.observe(now, 300);
    facts.pace.observe(now + Duration::from_secs(10), 320);
    assert_eq!(
        facts.job_line(now + Duration::from_secs(10)),
        "dog  RUNNING  step 320 of 2000 (16 %)  0.50 s/step  ETA 14m 00s"
    );
}

#[test]
fn lines_fit_from_40_to_200_columns() {
    for columns in 40..=200 {
        let total = name_columns(columns) + bar_columns(columns) + FIGURES + 2;
        assert!(total <= columns, "{columns}: {total}");
    }
    let short = shortened("samples/1724085406830__000000500_0.jpg", 20);
    assert_eq!(short, "…830__000000500_0.jpg"[..].replacen('8', "", 1));
    assert_eq!(short.chars().count(), 20);
}
