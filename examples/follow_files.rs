//! Does something of its own with every published file: a follower sees the manifest, not events, so that nothing is
//! lost to a kill, and looking twice changes nothing.
//!
//! `cargo run --example follow_files`
#![expect(clippy::print_stdout, reason = "an example shows what it got")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use rcsync::simulator::{JobPlan, Simulator, SimulatorConfig};
use rcsync::{ApiClient, ArtifactKind, Event, Follower, Limits, Mirror, Reporter, Stop, TokenSource, View};

/// Says which checkpoint is the newest.
struct Newest;

impl Follower for Newest {
    fn catch_up(&self, view: &View<'_>, _reporter: &dyn Reporter) {
        let present = view.manifest.present();
        let checkpoints = present.iter().filter(|(kind, _)| *kind == ArtifactKind::Checkpoint);
        if let Some((_, entry)) = checkpoints.max_by_key(|(_, entry)| entry.step.unwrap_or(u64::MAX)) {
            println!("newest: {} ({} files are here)", entry.path, present.len());
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let step_time = Some(Duration::from_millis(4));
    let simulator = Simulator::start(SimulatorConfig { step_time, ..SimulatorConfig::default() }).await?;
    let job = simulator.add_job(JobPlan { steps: 600, save_every: 200, ..JobPlan::default() });
    let tokens = TokenSource::fixed("simulated-token");
    let api = ApiClient::new(simulator.api_base().parse()?, tokens, Limits::default())?;
    let folder = tempfile::tempdir()?;
    let status = Mirror::new(api, job, folder.path().join("out"))
        .configure(|options| options.interval = Some(Duration::from_millis(300)))
        .followed_by(Arc::new(Newest))
        .run(Arc::new(|_: &Event| {}), Stop::new())
        .await?;
    println!("exit code {}", status.code());
    Ok(())
}
