//! What a running ComfyUI lists of its LoRAs: three short requests, no token, nothing changed.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::edge::net::client;
use crate::model::comfyui::NoList;

/// A ComfyUI that is loading a model answers late; this check is optional and waits no longer than this.
const PATIENCE: Duration = Duration::from_secs(5);

/// Ten thousand LoRAs with long names make some 2 MB.
const ANSWER_BOUND: usize = 16 << 20;

/// The LoRAs that a running ComfyUI lists.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Listed {
    /// The names it offers, with `/` between folders.
    pub names: Vec<String>,
    /// For each name, the number of its root; a name that two roots have is there twice. Empty where that is unknown.
    pub roots_of: Vec<(String, usize)>,
    /// Its LoRA folders in the order in which it searches them. Empty where that is unknown.
    pub roots: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct InRoot {
    name: String,
    #[serde(rename = "pathIndex")]
    root: usize,
}

#[derive(Deserialize)]
struct Kind {
    name: String,
    folders: Vec<PathBuf>,
}

/// Asks for the list of LoRAs; ComfyUI reads its folders anew for that.
///
/// # Errors
/// Why there is no list.
pub(crate) async fn ask(base: &Url) -> Result<Listed, NoList> {
    let client = client_for(base)?;
    let names: Vec<String> = get(&client, base, "models/loras").await?;
    // Older ones do not have these two; then only the names are known.
    let in_roots: Vec<InRoot> = get(&client, base, "experiment/models/loras").await.unwrap_or_default();
    let kinds: Vec<Kind> = get(&client, base, "experiment/models").await.unwrap_or_default();
    let loras = kinds.into_iter().find(|kind| kind.name == "loras");
    Ok(Listed {
        names: names.into_iter().map(|name| with_slashes(&name)).collect(),
        roots_of: in_roots.into_iter().map(|entry| (with_slashes(&entry.name), entry.root)).collect(),
        roots: loras.map(|kind| kind.folders).unwrap_or_default(),
    })
}

/// On Windows ComfyUI writes its names with `\`.
fn with_slashes(name: &str) -> String {
    name.replace('\\', "/")
}

fn client_for(base: &Url) -> Result<reqwest::Client, NoList> {
    // It runs here or next door; a proxy would not find it.
    let builder = client::builder().no_proxy().timeout(PATIENCE);
    client::for_origin(builder, base.scheme() == "https").map_err(NoList::NoClient)
}

async fn get<T: DeserializeOwned>(
    client: &reqwest::Client,
    base: &Url,
    path: &'static str,
) -> Result<T, NoList> {
    let mut url = base.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
    let cause = |error: reqwest::Error| {
        if error.is_timeout() {
            NoList::TimedOut { after: PATIENCE }
        } else if error.is_connect() {
            NoList::Unreachable
        } else {
            NoList::Interrupted
        }
    };
    let mut response = client.get(url).send().await.map_err(cause)?;
    if !response.status().is_success() {
        return Err(NoList::Status { status: response.status().as_u16(), path });
    }
    let mut body = Vec::new();
    while let Some(bytes) = response.chunk().await.map_err(cause)? {
        body.extend_from_slice(&bytes);
        if body.len() > ANSWER_BOUND {
            return Err(NoList::TooLong);
        }
    }
    serde_json::from_slice(&body).map_err(|_| NoList::Foreign { path })
}
