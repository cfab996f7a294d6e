use super::*;
use crate::engine::transfer::Order;
use crate::model::artifact::{Artifact, ArtifactKind};
use crate::model::rel_path::RelPath;
use crate::model::source_url::SourceUrl;

fn transfer(name: &str) -> Transfer {
    let artifact = Artifact {
        key: ArtifactKey { kind: ArtifactKind::Sample, path: format!("/o/{name}").into() },
        path: RelPath::parse(name).unwrap(),
        step: None,
        url: SourceUrl::parse(&format!("https://h.example/o/{name}")).unwrap(),
        sample: None,
    };
    let order = Order {
        artifact,
        recheck: None,
        is_damaged: false,
        entry: None,
        doubt: None,
        half_of_pair: false,
        run_may_write: false,
        cut_off: false,
        run: String::new(),
        generation: 0,
    };
    Transfer::new(order, 0)
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
