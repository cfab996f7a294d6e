use crate::engine::transfer::task::examples::order;
use crate::model::artifact::ArtifactKind;
use crate::model::revision::{Etag, Revision};

use super::*;

fn transfer(name: &str) -> Transfer {
    Transfer::new(order(ArtifactKind::Sample, name), 0)
}

/// All bring the oldest checkpoint, so that it is whole soonest, unless hashing is what takes time.
#[tokio::test]
async fn where_hashing_takes_time_each_connection_takes_a_file_of_its_own() {
    for (one_each, second) in [(false, "old"), (true, "new")] {
        let board = Board::new(Shares { small: 0, large: 4 });
        board.give_one_each(one_each);
        let checkpoint = |name| Transfer::new(order(ArtifactKind::Checkpoint, name), 0);
        assert_eq!(board.order(vec![checkpoint("old"), checkpoint("new")]), 2);
        let Work::Begin(oldest) = board.next().await else { panic!("nothing is known of it yet") };
        let attempt = Attempt::new(oldest.order.artifact.key.clone(), "old");
        let revision = Revision { etag: Some(Etag::parse("\"1\"").unwrap()), ..Revision::default() };
        attempt.learn(&revision, Some(64 * PIECE), &[], true);
        oldest.state().attempt = Some(Arc::new(attempt));
        board.idle(&oldest);
        let names = [board.next().await, board.next().await]
            .map(|work| work.transfer().order.artifact.path.as_str().to_owned());
        assert_eq!(names, ["old", second]);
        assert!(!board.take_starved(), "everybody had something to do");
    }
}

/// A file that is listed and never to be had (a host that answers 404 for hundreds of them) is ordered ever more seldom,
/// however often somebody looks.
#[tokio::test(start_paused = true)]
async fn what_fails_again_and_again_is_ordered_ever_more_seldom() {
    let board = Board::new(Shares { small: 1, large: 1 });
    let cool_down = (Duration::from_secs(15), Duration::from_secs(600));
    let began = Instant::now();
    let mut tries = Vec::new();
    while began.elapsed() < Duration::from_secs(7200) {
        for name in ["a", "b"] {
            if board.order(vec![transfer(name)]) == 0 {
                continue;
            }
            tries.push((name, began.elapsed().as_secs()));
            board.close(&transfer(name).order.artifact.key, Some(cool_down));
        }
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    let of_a: Vec<u64> = tries.iter().filter(|(name, _)| *name == "a").map(|(_, at)| *at).collect();
    let gaps: Vec<u64> = of_a.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(gaps[..6], [15, 30, 60, 120, 240, 480]);
    assert!(gaps[6..].iter().all(|gap| *gap == 600), "{gaps:?}");
    // Once it was had, it begins anew.
    board.close(&transfer("a").order.artifact.key, None);
    assert_eq!(board.order(vec![transfer("a")]), 1);
}
