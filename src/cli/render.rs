//! Which listeners a run has: lines or JSON, with or without bars.

use std::sync::{Arc, Mutex};

use super::config::{Settings, Talk};
use super::exit::Signals;
use super::json::JsonLines;
use super::lines::Lines;
use super::progress::Bars;
use super::values::Format;
use super::world::World;
use crate::engine::event::{Event, Reporter};
use crate::error::ExitStatus;
use crate::model::job::JobId;

/// Everything that tells people and programs about a run.
pub(crate) struct Telling {
    bars: Option<Arc<Bars>>,
    lines: Option<Lines>,
    json: Option<JsonLines>,
}

impl Telling {
    /// Chooses by the settings and by where the streams go.
    pub(crate) fn new(world: &World, settings: &Settings, job: &JobId, signals: &Signals) -> Arc<Self> {
        // A dry run is over before anything could move.
        let moves = settings.bars(&world.out, &world.err) && !settings.sync.dry_run;
        let bars = moves.then(|| Arc::new(Bars::new(world.err.clone())));
        let json = settings.format == Format::Json;
        Arc::new(Self {
            lines: (!json).then(|| lines(world, settings, bars.clone())),
            json: json.then(|| json_lines(world, job, signals)),
            bars,
        })
    }

    /// Takes the bars away, also when the run ended without its last event.
    pub(crate) fn end(&self) {
        if let Some(bars) = &self.bars {
            bars.end();
        }
    }
}

impl Reporter for Telling {
    fn report(&self, event: &Event) {
        // Bars first: the last event takes them away before the summary is written.
        if let Some(bars) = &self.bars {
            bars.report(event);
        }
        if let Some(lines) = &self.lines {
            lines.report(event);
        }
        if let Some(json) = &self.json {
            json.report(event);
        }
    }
}

fn lines(world: &World, settings: &Settings, bars: Option<Arc<Bars>>) -> Lines {
    let (out, err) = (world.out.clone(), world.err.clone());
    let with_bars = bars.is_some();
    let print: Box<dyn Fn(&str) + Send + Sync> = match bars {
        Some(bars) => Box::new(move |line| bars.line(line)),
        None => Box::new(move |line| err.line(line)),
    };
    Lines {
        print,
        data: Box::new(move |line| out.line(line)),
        talk: settings.talk,
        hold: settings.sync.once
            && !settings.sync.dry_run
            && !world.err.is_terminal()
            && settings.talk < Talk::Verbose,
        bars: with_bars,
        colours: world.colours(&world.err),
        held: Mutex::default(),
    }
}

fn json_lines(world: &World, job: &JobId, signals: &Signals) -> JsonLines {
    let signals = signals.clone();
    JsonLines {
        out: world.out.clone(),
        job: job.clone(),
        now: world.now,
        // Whoever read the events has gone (`| head`): end as if asked to, with all parts kept.
        on_closed: Box::new(move || signals.end(ExitStatus::Interrupted)),
    }
}
