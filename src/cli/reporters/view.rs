//! The living view: the job on top, a line a transfer below, published lines scrolling above.
//!
//! Three parts: [`facts`] takes events in, [`frame`] makes lines of them for so many columns, and [`screen`] has `indicatif`
//! draw the lines over the last ones. The first two are pure, so that a test can read every screen.

mod checking;
mod facts;
mod fleet;
mod frame;
mod screen;
mod upload;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cli::process::Stream;
use crate::engine::event::{Event, Reporter};

use facts::Facts;
use screen::Screen;

pub(crate) use checking::CheckView;
pub(crate) use fleet::FleetFacts;
pub(crate) use frame::Look;
pub(crate) use upload::UploadFacts;

/// Between two draws while something moves: ten a second is what an eye takes for steady.
const SHORTEST: Duration = Duration::from_millis(100);
/// Between two draws while nothing moves but time.
const LONGEST: Duration = Duration::from_secs(1);

/// What is known, and how it looks as lines.
pub(crate) trait Picture: Default + Send + 'static {
    /// Returns the lines, none wider than `columns`, fewer than `rows`.
    fn lines(&mut self, now: Instant, columns: usize, rows: usize, look: Look) -> Vec<String>;
}

impl Picture for Facts {
    fn lines(&mut self, now: Instant, columns: usize, rows: usize, look: Look) -> Vec<String> {
        frame::frame(self, now, columns, rows, look)
    }
}

/// The view of a run, a fleet or a push.
pub(crate) struct View<P: Picture = Facts> {
    shared: Arc<Shared<P>>,
}

struct Shared<P> {
    scene: Mutex<Scene<P>>,
    wake: Condvar,
}

struct Scene<P> {
    facts: P,
    screen: Screen,
    look: Look,
    moved: bool,
    drawn: Option<Instant>,
    ended: bool,
}

impl<P: Picture> View<P> {
    /// Begins to draw onto `stream`.
    pub(crate) fn new(stream: Stream, look: Look) -> Self {
        let view = Self::still(stream, look);
        let shared = view.shared.clone();
        // A thread of its own: drawing continues while the runtime's threads are busy with hashing.
        let drawing = std::thread::Builder::new().name("view".to_owned()).spawn(move || shared.draw_on());
        // Without the thread the view still moves with each event that prints a line.
        drop(drawing);
        view
    }

    /// A view that draws when it is asked to.
    fn still(stream: Stream, look: Look) -> Self {
        let (facts, screen) = (P::default(), Screen::new(stream));
        let scene = Mutex::new(Scene { facts, screen, look, moved: true, drawn: None, ended: false });
        Self { shared: Arc::new(Shared { scene, wake: Condvar::new() }) }
    }

    /// Writes a line above the view, or where it was.
    pub(crate) fn line(&self, text: &str) {
        let mut scene = self.shared.scene();
        let now = Instant::now();
        if !scene.ended && scene.may_draw(now) {
            scene.draw(now);
        }
        scene.screen.print(text);
    }

    /// Learns something that is drawn soon.
    pub(crate) fn learn(&self, change: impl FnOnce(&mut P, Instant)) {
        let mut scene = self.shared.scene();
        let now = Instant::now();
        change(&mut scene.facts, now);
        scene.moved = true;
        if scene.may_draw(now) {
            self.shared.wake.notify_all();
        }
    }

    /// Takes the view away. May be called again.
    pub(crate) fn end(&self) {
        let mut scene = self.shared.scene();
        if !std::mem::replace(&mut scene.ended, true) {
            scene.screen.clear();
        }
        drop(scene);
        self.shared.wake.notify_all();
    }
}

impl Reporter for View {
    fn report(&self, event: &Event) {
        if matches!(event, Event::Done { .. }) {
            return self.end();
        }
        self.learn(|facts, now| facts.apply(event, now));
    }
}

impl<P: Picture> Drop for View<P> {
    fn drop(&mut self) {
        self.end();
    }
}

impl<P: Picture> Shared<P> {
    fn scene(&self) -> MutexGuard<'_, Scene<P>> {
        self.scene.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw_on(&self) {
        let mut scene = self.scene();
        while !scene.ended {
            let now = Instant::now();
            let is_due = scene.drawn.is_none_or(|drawn| now.duration_since(drawn) >= LONGEST);
            if is_due || ((scene.moved || scene.screen.is_resized()) && scene.may_draw(now)) {
                scene.draw(now);
            }
            scene = self
                .wake
                .wait_timeout(scene, SHORTEST)
                .map_or_else(|poison| poison.into_inner().0, |woken| woken.0);
        }
    }
}

impl<P: Picture> Scene<P> {
    fn may_draw(&self, now: Instant) -> bool {
        self.drawn.is_none_or(|drawn| now.duration_since(drawn) >= SHORTEST)
    }

    fn draw(&mut self, now: Instant) {
        let (columns, rows) = self.screen.size();
        let lines = self.facts.lines(now, columns, rows, self.look);
        self.moved = false;
        // What comes first is drawn at once.
        self.drawn = (!lines.is_empty()).then_some(now);
        self.screen.draw(lines);
    }
}

#[cfg(test)]
mod tests;
