//! The store is asked once whether it keeps its word: create-only writes, swaps, and one of the two ways to give a verified
//! upload its name.

use bytes::Bytes;
use futures::future::join_all;

use crate::decide::bucket::head::Publish;
use crate::edge::bucket::{Put, StoreFault, Tag, When};
use crate::error::{BucketError, Condition, Error, StoreRefusal};

use super::store::{Store, about, fresh_token};

/// Writers that race for one name.
const RACERS: usize = 4;

/// What the store was found to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    /// How files get their names.
    pub(crate) publish: Publish,
}

/// Asks the store.
///
/// # Errors
/// When it ignores conditions, or refuses.
pub(crate) async fn ask(store: &Store) -> Result<Asked, Error> {
    let token = fresh_token();
    let keys = ["probe", "copied"].map(|what| format!(".rcsync/{what}-{token}"));
    let asked = ask_with(store, &keys, &token).await;
    for key in &keys {
        // Without leave to delete a few bytes stay; nothing reads them.
        let _ = store.bucket.remove(key).await;
    }
    asked.map(|publish| Asked { publish })
}

async fn ask_with(store: &Store, [key, copied]: &[String; 2], token: &str) -> Result<Publish, Error> {
    let ignores = |which| BucketError::IgnoresConditions { to: store.url.to_string(), which };
    let write = |bytes: &'static [u8], when: When| {
        store.ask("write", key, move || {
            store.bucket.put(key, Bytes::from_static(bytes), when.clone(), about(key, token))
        })
    };
    let racers: [&'static [u8]; RACERS] = [b"a", b"b", b"c", b"d"];
    let racing = racers.map(|bytes| write(bytes, When::New));
    let mut winners = 0;
    for raced in join_all(racing).await {
        winners += usize::from(matches!(raced?, Put::Done(_)));
    }
    // A repeated request of a winner whose answer was lost counts as none: what is there decides.
    let Some(there) = store.stat(key).await? else {
        let fault = StoreFault::Unusable(StoreRefusal::NotWritten);
        return Err(store.error("read", key, fault));
    };
    if winners > 1 || write(b"late", When::New).await? != Put::Refused {
        return Err(ignores(Condition::New).into());
    }
    let stale = Tag::new("00000000000000000000000000000000", Some("1".to_owned()));
    if write(b"stale", When::Unchanged(stale)).await? != Put::Refused {
        return Err(ignores(Condition::Unchanged).into());
    }
    // A refusal may be the answer to a repeated request whose first answer was lost: what is there decides.
    let swapped = write(b"swapped", When::Unchanged(there.tag.clone())).await?;
    if swapped == Put::Refused && store.stat(key).await?.is_none_or(|now| now.tag == there.tag) {
        let fault = StoreFault::Unusable(StoreRefusal::SwapRefused);
        return Err(store.error("write", key, fault));
    }
    if completes_new_only(store, key, token).await? {
        return Ok(Publish::Complete);
    }
    let copy = || store.bucket.copy(key, copied);
    store.ask("copy", copied, copy).await?;
    let again = store.ask("copy", copied, copy).await?;
    if again == Put::Refused && store.stat(copied).await?.is_some() {
        return Ok(Publish::Copy);
    }
    Err(ignores(Condition::Copy).into())
}

/// Whether an upload is completed only where nothing is under its name.
async fn completes_new_only(store: &Store, key: &str, token: &str) -> Result<bool, Error> {
    let id = store.ask("begin an upload of", key, || store.bucket.begin(key, about(key, token))).await?;
    let part = store
        .ask("upload a part of", key, || store.bucket.part(key, &id, 0, Bytes::from_static(b"completed")));
    let part = part.await?;
    let mut patience = store.patience();
    let completed = loop {
        match store.bucket.complete(key, &id, vec![part.clone()], When::New).await {
            Ok(put) => break put,
            // A store that knows no such condition may say so.
            Err(StoreFault::Refused { .. }) => break Put::Done(Tag::new("", None)),
            // It was completed by a request whose answer was lost.
            Err(StoreFault::NoUpload) => break Put::Done(Tag::new("", None)),
            Err(fault) => store.wait(&mut patience, "write", key, fault).await?,
        }
    };
    if completed == Put::Refused {
        // The store removes unfinished uploads by its own rule; the probe has its answer.
        let _ = store.bucket.abort(key, &id).await;
    }
    Ok(completed == Put::Refused)
}
