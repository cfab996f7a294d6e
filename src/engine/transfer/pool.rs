//! Connections that all jobs of a fleet share: so many at a time, given out by `decide::fleet::connections`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::decide::fleet::connections::{Returned, Waiting, next};

/// The connections of a fleet.
#[derive(Debug)]
pub(super) struct Pool {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    held: HashMap<usize, usize>,
    waiting: Vec<Waiting>,
    /// Where to send each of their permits; in the same order.
    doors: Vec<oneshot::Sender<Permit>>,
    grants: u64,
}

/// The right to one request and its answer; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    pool: Arc<Pool>,
    job: usize,
    since: Instant,
    /// Requests of the job in a row over this connection, with this one.
    in_a_row: u32,
}

impl Pool {
    pub(super) fn new(connections: usize) -> Arc<Self> {
        let state = State {
            free: connections.max(1),
            held: HashMap::new(),
            waiting: Vec::new(),
            doors: Vec::new(),
            grants: 0,
        };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// Whether a permit would be granted at once.
    pub(super) fn has_free(&self) -> bool {
        self.state().free > 0
    }

    /// Connections that jobs hold now.
    pub(super) fn in_use(&self) -> usize {
        self.state().held.values().sum()
    }

    /// Waits for a permit. May be dropped while it waits.
    pub(super) async fn permit(self: &Arc<Self>, wanted: Waiting) -> Permit {
        let (door, granted) = oneshot::channel();
        {
            let mut state = self.state();
            state.waiting.push(wanted);
            state.doors.push(door);
        }
        self.grant(None);
        match granted.await {
            Ok(permit) => permit,
            // Doors are only dropped with the pool, which `self` holds.
            Err(_) => std::future::pending().await,
        }
    }

    /// Gives out what is free; `returned` was just given back.
    fn grant(self: &Arc<Self>, mut returned: Option<Returned>) {
        loop {
            let (permit, door) = {
                let mut state = self.state();
                if state.free == 0 {
                    return;
                }
                let Some(at) = next(&state.waiting, &state.held, state.grants, returned) else { return };
                let waiting = state.waiting.remove(at);
                let door = state.doors.remove(at);
                if door.is_closed() {
                    continue;
                }
                state.grants = state.grants.wrapping_add(1);
                state.free -= 1;
                *state.held.entry(waiting.job).or_insert(0) += 1;
                let before = returned.take().filter(|returned| returned.job == waiting.job);
                let in_a_row = before.map_or(0, |returned| returned.in_a_row).saturating_add(1);
                (Permit { pool: self.clone(), job: waiting.job, since: Instant::now(), in_a_row }, door)
            };
            // Outside of the lock: a permit that is not taken any more comes back at once.
            let refused = door.send(permit);
            drop(refused);
        }
    }

    fn give_back(self: &Arc<Self>, returned: Returned) {
        {
            let job = returned.job;
            let mut state = self.state();
            state.free += 1;
            if let Some(held) = state.held.get_mut(&job) {
                *held -= 1;
                if *held == 0 {
                    state.held.remove(&job);
                }
            }
        }
        self.grant(Some(returned));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Self { pool, job, since, in_a_row } = self;
        pool.give_back(Returned { job: *job, took: since.elapsed(), in_a_row: *in_a_row });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::decide::fleet::connections::{Due, Need};

    const fn sample(job: usize) -> Waiting {
        Waiting { job, need: Need::Ordinary }
    }

    const fn at_risk(job: usize) -> Waiting {
        Waiting { job, need: Need::AtRisk(Due::Unknown) }
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_there_are_and_what_is_at_risk_first() {
        let pool = Pool::new(2);
        let (first, second) = (pool.permit(sample(1)).await, pool.permit(sample(1)).await);
        assert_eq!(pool.in_use(), 2, "of all jobs, and without those that wait");
        let order = Arc::new(Mutex::new(Vec::new()));
        let tasks: Vec<_> = [sample(2), at_risk(3)]
            .map(|wanted| {
                let (pool, order) = (pool.clone(), order.clone());
                tokio::spawn(async move {
                    let permit = pool.permit(wanted).await;
                    order.lock().unwrap().push(wanted.job);
                    drop(permit);
                })
            })
            .into();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(order.lock().unwrap().is_empty(), "both are held");
        drop(first);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), [3, 2]);
        drop(second);
        let state = pool.state();
        assert_eq!((state.free, state.held.len(), state.waiting.len()), (2, 0, 0));
    }

    /// Two jobs of 100 quick requests, several of which wait at any time.
    #[tokio::test(start_paused = true)]
    async fn a_job_keeps_a_connection_for_a_span() {
        let pool = Pool::new(1);
        let order = Arc::new(Mutex::new(Vec::new()));
        let tasks: Vec<_> = (0..200)
            .map(|number| {
                let (pool, order) = (pool.clone(), order.clone());
                tokio::spawn(async move {
                    let permit = pool.permit(sample(number % 2)).await;
                    order.lock().unwrap().push(number % 2);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    drop(permit);
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let order = order.lock().unwrap();
        let spans: Vec<usize> = order.chunk_by(|one, other| one == other).map(<[usize]>::len).collect();
        assert_eq!(spans, [64, 64, 36, 36]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_request_that_is_dropped_loses_no_permit() {
        let pool = Pool::new(1);
        let held = pool.permit(sample(1)).await;
        for _ in 0..3 {
            let waiting = tokio::time::timeout(Duration::from_secs(1), pool.permit(at_risk(2)));
            assert!(waiting.await.is_err());
        }
        drop(held);
        let permit = tokio::time::timeout(Duration::from_secs(1), pool.permit(sample(3))).await;
        assert!(permit.is_ok(), "no permit is lost");
        drop(permit);
        // Granted, and dropped before it was looked at.
        let held = pool.permit(sample(1)).await;
        let waiting = tokio::time::timeout(Duration::from_secs(1), async {
            let _permit = tokio::join!(pool.permit(sample(4)), async { drop(held) });
        });
        assert!(waiting.await.is_ok());
        assert_eq!(pool.state().free, 1);
    }
}
