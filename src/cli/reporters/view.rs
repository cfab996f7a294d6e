//! The living view: the job on top, a line a transfer below, published lines scrolling above.
//!
//! Three parts: [`facts`] takes events in, [`frame`] makes lines of them for so many columns, and [`canvas`] puts
//! the lines where the last ones were. The first two are pure, so that a test can read every screen.

mod canvas;
mod checking;
mod facts;
mod fleet;
mod frame;
mod upload;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cli::process::Stream;
use crate::cli::reporters::shrinking::Shrinking;
use crate::engine::event::{Event, Reporter};

use canvas::Canvas;
use facts::Facts;

pub(crate) use checking::CheckView;
pub(crate) use fleet::FleetFacts;
pub(crate) use frame::Look;
pub(crate) use upload::UploadView;

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

/// The view of one run, or of a fleet's.
pub(crate) struct View<P: Picture = Facts> {
    shared: Arc<Shared<P>>,
}

struct Shared<P> {
    scene: Mutex<Scene<P>>,
    wake: Condvar,
}

struct Scene<P> {
    facts: P,
    canvas: Canvas,
    look: Look,
    moved: bool,
    ended: bool,
}

impl<P: Picture> View<P> {
    /// Begins to draw onto `stream`.
    pub(crate) fn new(stream: Stream, look: Look, shrinking: Shrinking) -> Self {
        let view = Self::still(stream, look, shrinking);
        let shared = view.shared.clone();
        // A thread of its own: drawing must go on while the runtime's threads are busy with hashing.
        let drawing = std::thread::Builder::new().name("view".to_owned()).spawn(move || shared.draw_on());
        // Without the thread the view still moves with each event that prints a line.
        drop(drawing);
        view
    }

    /// A view that draws when it is told to.
    fn still(stream: Stream, look: Look, shrinking: Shrinking) -> Self {
        let (facts, canvas) = (P::default(), Canvas::new(stream, shrinking));
        let scene = Mutex::new(Scene { facts, canvas, look, moved: true, ended: false });
        Self { shared: Arc::new(Shared { scene, wake: Condvar::new() }) }
    }

    /// Writes a line above the view, or where it was.
    pub(crate) fn line(&self, text: &str) {
        let mut scene = self.shared.scene();
        if scene.ended {
            scene.canvas.put(Some(text), &[]);
        } else {
            scene.draw(Some(text), Instant::now());
        }
    }

    /// Learns something that is drawn soon.
    pub(crate) fn learn(&self, hear: impl FnOnce(&mut P, Instant)) {
        let mut scene = self.shared.scene();
        hear(&mut scene.facts, Instant::now());
        scene.moved = true;
    }

    /// Takes the view away. May be called again.
    pub(crate) fn end(&self) {
        let mut scene = self.shared.scene();
        if !std::mem::replace(&mut scene.ended, true) {
            scene.canvas.put(None, &[]);
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
        self.learn(|facts, now| facts.hear(event, now));
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
        let mut drawn: Option<Instant> = None;
        let mut scene = self.scene();
        while !scene.ended {
            let now = Instant::now();
            let resized = scene.canvas.is_resized();
            if scene.moved || resized || drawn.is_none_or(|drawn| now.duration_since(drawn) >= LONGEST) {
                scene.draw(None, now);
                drawn = Some(now);
            }
            scene = self
                .wake
                .wait_timeout(scene, SHORTEST)
                .map_or_else(|poison| poison.into_inner().0, |woken| woken.0);
        }
    }
}

impl<P: Picture> Scene<P> {
    fn draw(&mut self, above: Option<&str>, now: Instant) {
        let (columns, rows) = self.canvas.size();
        let lines = self.facts.lines(now, columns, rows, self.look);
        self.canvas.put(above, &lines);
        self.moved = false;
    }
}

#[cfg(test)]
mod tests;
