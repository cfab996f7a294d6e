//! What LoRA managers read beside a LoRA: `.civitai.info` (LoRA Manager, Civitai Helper) and the `.json` of A1111, which
//! Forge, SwarmUI and InvokeAI read as well. Both are the same for the same file, so that an idle pass writes nothing.

use serde_json::{Value, json};

use crate::decide::formats::safetensors_header::SafetensorsHeader;
use crate::model::digest::Sha256Digest;
use crate::model::job::JobId;
use crate::model::units::as_f64;
use crate::model::weights_kind::WeightsKind;

/// What is known of a placed file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    /// Its name in ComfyUI.
    pub file_name: &'a str,
    pub sha256: Sha256Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Its step; none for the final save.
    pub step: Option<u64>,
    /// The job's name.
    pub job_name: Option<&'a str>,
    pub job: &'a JobId,
    /// Its header; a pickle has none.
    pub header: Option<&'a SafetensorsHeader>,
}

/// The base models that AI Toolkit writes into its headers, in Civitai's words, and as A1111 calls them where it has
/// them.
const BASE_MODELS: [(&str, &str, Option<&str>); 21] = [
    ("sd_1.5", "SD 1.5", Some("SD1")),
    ("sd_2.1", "SD 2.1", Some("SD2")),
    ("sdxl_1.0", "SDXL 1.0", Some("SDXL")),
    ("sd_3", "SD 3", None),
    ("pixart", "PixArt a", None),
    ("auraflow", "AuraFlow", None),
    ("flux.1", "Flux.1 D", None),
    ("flux.1_kontext", "Flux.1 Kontext", None),
    ("flux2", "Flux.2 D", None),
    ("flux2_klein_4b", "Flux.2 Klein 4B", None),
    ("flux2_klein_9b", "Flux.2 Klein 9B", None),
    ("lumina2", "Lumina", None),
    ("chroma", "Chroma", None),
    ("chroma_radiance", "Chroma", None),
    ("hidream_i1", "HiDream", None),
    ("qwen_image", "Qwen", None),
    ("wan_2.1", "Wan Video", None),
    ("wan_2.2_14b", "Wan Video 2.2 T2V-A14B", None),
    ("wan_2.2_5b", "Wan Video 2.2 TI2V-5B", None),
    ("zimage", "ZImageTurbo", None),
    ("ltx2", "LTXV2", None),
];

/// Civitai's word for what it has no word for.
const OTHER: &str = "Other";

impl Facts<'_> {
    /// Returns what goes into `<stem>.civitai.info`.
    #[must_use]
    pub(crate) fn civitai_info(&self) -> Vec<u8> {
        let kind = match self.header.and_then(|header| header.kind) {
            Some(WeightsKind::Embedding) => "TextualInversion",
            _ => "LORA",
        };
        written(&json!({
            "name": self.version(),
            "baseModel": self.base_model().0,
            "trainedWords": self.words(),
            "description": self.description(),
            "model": { "name": self.name(), "type": kind, "tags": [], "description": "" },
            "files": [{
                "name": self.file_name,
                "type": "Model",
                "primary": true,
                // A fraction, as Civitai writes it: readers multiply it by 1024 for the length.
                "sizeKB": as_f64(self.size) / 1024.0,
                "hashes": { "SHA256": self.sha256.to_string() },
            }],
            "images": [],
        }))
    }

    /// Returns what goes into `<stem>.json`.
    #[must_use]
    pub(crate) fn a1111(&self) -> Vec<u8> {
        let (civitai, a1111) = self.base_model();
        let unknown = if civitai == OTHER { "Unknown" } else { civitai };
        written(&json!({
            "description": self.description(),
            "sd version": a1111.unwrap_or(unknown),
            "activation text": self.words().join(", "),
            "notes": format!("RunComfy job {}, SHA-256 {}", self.job, self.sha256),
        }))
    }

    fn base_model(&self) -> (&'static str, Option<&'static str>) {
        let named = self.header.and_then(|header| header.metadata.ss_base_model_version.as_deref());
        let known = BASE_MODELS.iter().find(|(version, ..)| Some(*version) == named);
        known.map_or((OTHER, None), |(_, civitai, a1111)| (civitai, *a1111))
    }

    fn words(&self) -> Vec<String> {
        self.header.map(SafetensorsHeader::words).unwrap_or_default()
    }

    fn name(&self) -> &str {
        self.job_name.unwrap_or(self.job.as_str())
    }

    fn version(&self) -> String {
        let step = self.header.and_then(|header| header.metadata.training_step);
        match (self.step, step) {
            (Some(step), _) => format!("step {step}"),
            (None, Some(step)) => format!("final, step {step}"),
            (None, None) => "final".to_owned(),
        }
    }

    fn description(&self) -> String {
        let kind = self.header.and_then(|header| header.kind).map_or("weights", WeightsKind::name);
        let rank = self.header.and_then(|header| header.rank);
        let rank = rank.map_or_else(String::new, |rank| format!(" of rank {rank}"));
        format!("{kind}{rank} of training job {}, {}", self.name(), self.version())
    }
}

fn written(value: &Value) -> Vec<u8> {
    let mut text = format!("{value:#}").into_bytes();
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(base: &str, tensor: &str, name: &str) -> SafetensorsHeader {
        let text = format!(
            r#"{{"__metadata__":{{"ss_base_model_version":"{base}","name":"{name}",
            "training_info":"{{\"step\":1000}}","ss_tag_frequency":"{{\"1_x\":{{\"ohwx\":2,\"man\":1}}}}"}},
            "{tensor}":{{"dtype":"U8","shape":[16,1],"data_offsets":[0,16]}}}}"#
        );
        SafetensorsHeader::parse(text.as_bytes()).unwrap()
    }

    fn read(header: Option<&SafetensorsHeader>, step: Option<u64>) -> (Value, Value) {
        let job: JobId = "j-1".parse().unwrap();
        let facts = Facts {
            file_name: "dog.safetensors",
            sha256: Sha256Digest::new([0xab; 32]),
            size: 2049,
            step,
            job_name: Some("dog \"best\""),
            job: &job,
            header,
        };
        let read = |bytes: &[u8]| serde_json::from_slice(bytes).unwrap();
        (read(&facts.civitai_info()), read(&facts.a1111()))
    }

    #[test]
    fn both_have_base_model_words_and_hash() {
        let (civitai, a1111) = read(Some(&header("flux.1", "x.lora_A.weight", "dog")), None);
        assert_eq!(civitai["baseModel"], "Flux.1 D");
        assert_eq!(civitai["trainedWords"], json!(["ohwx", "man"]));
        assert_eq!(civitai["files"][0]["hashes"]["SHA256"], "ab".repeat(32));
        assert_eq!(civitai["files"][0]["sizeKB"].as_f64(), Some(2049.0 / 1024.0));
        assert_eq!(civitai["name"], "final, step 1000");
        assert_eq!(a1111["activation text"], "ohwx, man");
        assert_eq!(a1111["sd version"], "Flux.1 D");
        assert_eq!(a1111["description"], "LoRA of rank 16 of training job dog \"best\", final, step 1000");
        assert!(a1111["notes"].as_str().unwrap().contains(&"ab".repeat(32)));
    }

    #[test]
    fn an_old_base_an_unknown_one_an_embedding_and_a_pickle() {
        let (civitai, a1111) = read(Some(&header("sdxl_1.0", "x.lora_A.weight", "dog")), Some(250));
        assert_eq!((&civitai["baseModel"], &a1111["sd version"]), (&json!("SDXL 1.0"), &json!("SDXL")));
        assert_eq!(civitai["name"], "step 250");
        let (civitai, a1111) = read(Some(&header("example.1", "x.lokr_w1", "dog")), None);
        assert_eq!((&civitai["baseModel"], &a1111["sd version"]), (&json!("Other"), &json!("Unknown")));
        let (civitai, a1111) = read(Some(&header("sd_1.5", "emb_params", "\\\"ohwx\\\"")), None);
        assert_eq!(civitai["model"]["type"], "TextualInversion");
        assert_eq!(a1111["activation text"], "ohwx");
        let (civitai, a1111) = read(None, None);
        assert_eq!((&civitai["trainedWords"], &a1111["activation text"]), (&json!([]), &json!("")));
    }
}
