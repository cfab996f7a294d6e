//! throwaway
use rcsync::engine::{Mirror, event::Event, options::SyncOptions, stop::Stop};
use std::sync::Arc;
#[tokio::main]
async fn main() {
    let a: Vec<String> = std::env::args().collect();
    let api = rcsync::edge::api::ApiClient {
        base: std::env::var("RUNCOMFY_TRAINER_API_BASE").unwrap(),
        token: "t".into(),
    };
    let mut options = SyncOptions { once: a.iter().any(|x| x == "--once"), ..SyncOptions::default() };
    if let Ok(n) = std::env::var("CONNS") {
        options.connections = Some(n.parse().unwrap());
    }
    let quiet = std::env::var("QUIET").is_ok();
    let m = Mirror { api, job: a[1].parse().unwrap(), dir: a[2].clone().into(), options };
    let r = m
        .run(
            Arc::new(move |e: &Event| {
                if !matches!(e, Event::Received { .. }) && !quiet {
                    println!("{e:?}")
                }
            }),
            Stop::new(),
        )
        .await;
    match r {
        Ok(s) => std::process::exit(s.code().into()),
        Err(e) => {
            println!("{}", rcsync::error::explain_briefly(&e));
            std::process::exit(e.exit_status().code().into())
        }
    }
}
