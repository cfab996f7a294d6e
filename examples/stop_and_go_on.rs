//! Ends a run gracefully in the middle of a large file, and continues from where it was.
//!
//! `cargo run --example stop_and_go_on`
#![expect(clippy::print_stdout, reason = "an example shows what it got")]

use std::error::Error;
use std::sync::Arc;

use rcsync::simulator::{HostOptions, JobPlan, Simulator, SimulatorConfig};
use rcsync::{ApiClient, Event, ExitStatus, Limits, Mirror, Stop, TokenSource};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let host = HostOptions { throttle: Some(8_000_000), ..HostOptions::default() };
    let simulator = Simulator::start(SimulatorConfig { host, ..SimulatorConfig::default() }).await?;
    let job = simulator.add_job(JobPlan {
        steps: 250,
        sample_every: 0,
        checkpoint_bytes: 16_000_000,
        ..JobPlan::default()
    });
    simulator.finish(&job);
    let tokens = TokenSource::fixed("simulated-token");
    let api = ApiClient::new(simulator.api_base().parse()?, tokens, Limits::default())?;
    let folder = tempfile::tempdir()?;
    let mirror = || {
        Mirror::new(api.clone(), job.clone(), folder.path().join("out"))
            .configure(|options| options.once = true)
    };

    let stop = Stop::new();
    let switch = stop.clone();
    let reporter = move |event: &Event| match event {
        Event::Received { have, .. } if *have > 8_000_000 => switch.stop(ExitStatus::Interrupted),
        _ => {}
    };
    let status = mirror().run(Arc::new(reporter), stop).await?;
    println!("stopped with code {}; nothing is published yet, its parts are kept", status.code());

    let reporter = |event: &Event| match event {
        Event::Started { path, resumed_from, .. } => {
            println!("{path}: {resumed_from} bytes are here already")
        }
        Event::Published { path, evidence, .. } => println!("{path}: {evidence}"),
        _ => {}
    };
    let status = mirror().run(Arc::new(reporter), Stop::new()).await?;
    println!("exit code {}", status.code());
    Ok(())
}
