//! Group Q: hosts that a crowd of connections is too much for, connections that pause, and answers of the API that come
//! together.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use super::host::Ask;
use super::kills::{stop, wait};
use super::reply::{End, Reply};
use super::rig::{Case, Rig, Run, World, hold_all};
use super::transfer::gzip;
use super::world::{File, Hosted, JOB, MIB, picture, weights};

/// How many requests a host serves at a time.
const SERVED: usize = 16;

/// Two hundred pictures on a host that is 50 ms away, and treats requests beyond [`SERVED`] as `beyond` says.
fn crowded(beyond: impl Fn(&File, &Ask) -> Reply + Send + Sync + Clone + 'static) -> World {
    let open = Arc::new(AtomicUsize::new(0));
    let each = |number: u64| {
        let (open, beyond) = (open.clone(), beyond.clone());
        let name = format!("1724085406830__000000250_{number}.png");
        Hosted::sample(&name, &picture(number), move |file, ask| {
            let is_beyond = open.fetch_add(1, Ordering::SeqCst) >= SERVED;
            std::thread::sleep(Duration::from_millis(50));
            open.fetch_sub(1, Ordering::SeqCst);
            if is_beyond { beyond(file, ask) } else { file.honest(ask) }
        })
    };
    World::of((0..200).map(each).collect())
}

#[test]
fn group_u_crowds() {
    let two_tries_each = 200..=400;
    hold_all(vec![
        Case::survives(
            "U1",
            "resets the seventeenth connection",
            crowded(|_, _| Reply::raw(b"").end(End::Reset)),
        )
        .asks(two_tries_each.clone()),
        Case::survives(
            "U1",
            "resets in the middle of a body",
            crowded(|file, ask| file.honest(ask).cut(1500, End::Reset)),
        )
        .asks(two_tries_each.clone()),
        Case::survives(
            "U1",
            "503 to the seventeenth request",
            crowded(|_, _| Reply::new(503, b"").header("Retry-After", "1")),
        )
        .asks(two_tries_each.clone()),
        Case::survives("U1", "429 to the seventeenth request", crowded(|_, _| Reply::new(429, b"slow down")))
            .asks(two_tries_each),
        Case::survives("U1", "serves them all, a request each", crowded(File::honest)).asks(200..=200),
        Case::survives("U2", "every connection pauses for 300 ms", {
            World::of(vec![Hosted::checkpoint(&weights(1, 6 * MIB), |file, ask| {
                file.honest(ask).drip(MIB, Duration::from_millis(300))
            })])
        })
        .asks(1..=40),
    ]);
}

/// An API of which the first result is older than the end that its status shows.
fn lagging(times: usize) -> World {
    World::of(vec![Hosted::checkpoint(&weights(1, 1000), File::honest)]).api(move |ask, listing| {
        let is_late = ask.path().ends_with("/result") && ask.nth < times;
        is_late.then(|| {
            let mut result = listing.result.clone();
            result["status"] = json!("RUNNING");
            result["finished_at"] = json!(null);
            result["artifacts"]["checkpoints"] = json!([]);
            Reply::json(&result.to_string())
        })
    })
}

/// The API was asked so many times.
fn asked(expected: usize) -> impl Fn(&Rig, &Run) -> Result<(), String> {
    move |rig, _| match rig.api.asks().len() {
        count if count == expected => Ok(()),
        count => Err(format!("the API was asked {count} times")),
    }
}

#[test]
fn group_u_answers() {
    hold_all(vec![
        Case::survives("U3", "a result that lags behind its status", lagging(1)).and(asked(3)),
        Case::survives("U3", "answers packed with gzip", {
            World::of(vec![Hosted::checkpoint(&weights(1, 1000), File::honest)]).api(|ask, listing| {
                let is_status = ask.path().ends_with("/status");
                let value = if is_status { &listing.status } else { &listing.result };
                let packed = gzip(value.to_string().as_bytes());
                let is_wanted = ask.header("accept-encoding") == Some("gzip");
                Some(if is_wanted {
                    Reply::new(200, &packed).header("Content-Encoding", "gzip")
                } else {
                    Reply::new(406, b"gzip alone")
                })
            })
        })
        .and(move |rig, run| {
            asked(2)(rig, run)?;
            let asks = rig.host.asks();
            match asks.iter().find(|ask| ask.header("accept-encoding") != Some("identity")) {
                None => Ok(()),
                Some(ask) => Err(format!("a file was asked for packed: {ask:?}")),
            }
        }),
    ]);
}

/// The host ends the first answer early, leaves the next request without an answer, and has no such file for the others.
#[test]
fn a_file_that_is_given_up_frees_the_connection_that_waits_for_its_host() {
    let gone = Hosted::checkpoint(&weights(1, 24 * MIB), |file, ask| match ask.nth {
        0 => file.honest(ask).cut(3 * MIB, End::Close),
        1 => Reply::raw(b"").end(End::Hold),
        _ => Reply::new(404, b""),
    });
    let rig = Rig::new(World { status: "RUNNING", progress: (250, 1000), ..World::of(vec![gone]) });
    let dir = rig.dir();
    let arguments = [JOB, dir.to_str().unwrap(), "--connections", "2"];
    let mut child = rig.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // A connection that waits gives up after half a minute.
    wait(Duration::from_secs(20), || rig.host.hung_up() == 1);
    assert!(rig.host.asks().len() > 2, "the file is given up");
    assert_eq!(child.try_wait().unwrap(), None, "the job is still followed");
    stop(&mut child, rustix::process::Signal::KILL);
}
