//! LoRA weights in the safetensors format, as AI Toolkit writes them.
//!
//! The one idea: the header is built for real (its hash is the SHA-256 of the body), the body is noise.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::made::Made;
use super::noise;
use crate::model::digest::hex;
use crate::simulator::plan::{Family, TrainerHash};

/// Transformer blocks with LoRA layers: enough for a header of a few kilobytes.
const BLOCKS: u64 = 6;

/// The layers of one block.
const LAYERS: [&str; 4] = ["q", "k", "v", "o"];

/// Tensors in a file: every layer has two.
const TENSORS: u64 = BLOCKS * LAYERS.len() as u64 * 2;

/// The LoRA rank where the size allows it.
const RANK: u64 = 16;

/// How many bytes are generated at a time while the body is hashed.
const HASH_CHUNK: usize = 256 * 1024;

/// The recipe of one safetensors file.
#[derive(Debug, Clone)]
pub(crate) struct Weights {
    /// The job's name.
    pub(crate) name: String,
    /// The step in `training_info`.
    pub(crate) step: u64,
    /// Which model it belongs to.
    pub(crate) family: Family,
    /// The stream of the body.
    pub(crate) seed: u64,
    /// The stream of the other half of a pair, and whether that half comes first in the common hash.
    pub(crate) partner: Option<(u64, bool)>,
    /// About how long the file should be.
    pub(crate) bytes: u64,
    /// What the header declares about the body.
    pub(crate) hash: TrainerHash,
}

impl Weights {
    /// Builds the header, hashing the body for it.
    pub(crate) fn make(&self) -> Made {
        let (rank, width) = self.dimensions();
        let body = TENSORS * rank * width * 2;
        let true_hash = (self.hash != TrainerHash::Missing).then(|| self.body_hash(body));
        let written = true_hash.map(|hash| match self.hash {
            TrainerHash::Wrong => Sha256::digest(hash).into(),
            TrainerHash::Right | TrainerHash::Missing => hash,
        });
        let holds = written.map(|hash| self.partner.is_none() && Some(hash) == true_hash);
        Made {
            head: frame(&self.header(rank, width, written)).into(),
            tail: (self.seed, body),
            trainer_hash_holds: holds,
            ..Made::default()
        }
    }

    /// Returns the recipe of other weights of the same shape.
    pub(crate) fn other(&self) -> Self {
        Self { seed: noise::derive(self.seed, "other"), ..self.clone() }
    }

    /// Rank and width with which all tensors together come closest to the wanted size from below.
    fn dimensions(&self) -> (u64, u64) {
        let values = (self.bytes / (TENSORS * 2)).max(1);
        let rank = RANK.min(values);
        (rank, values / rank)
    }

    fn body_hash(&self, body: u64) -> [u8; 32] {
        let mut hasher = Sha256::new();
        let seeds = match self.partner {
            None => vec![self.seed],
            Some((partner, true)) => vec![partner, self.seed],
            Some((partner, false)) => vec![self.seed, partner],
        };
        let mut chunk = vec![0; HASH_CHUNK];
        for seed in seeds {
            let mut offset = 0;
            while offset < body {
                let count = usize::try_from(body - offset).unwrap_or(usize::MAX).min(HASH_CHUNK);
                noise::fill(seed, offset, &mut chunk[..count]);
                hasher.update(&chunk[..count]);
                offset += count as u64;
            }
        }
        hasher.finalize().into()
    }

    fn header(&self, rank: u64, width: u64, hash: Option<[u8; 32]>) -> Value {
        let mut header = Map::new();
        header.insert("__metadata__".to_owned(), self.metadata(hash));
        let mut offset = 0;
        for block in 0..BLOCKS {
            for layer in LAYERS {
                for (half, shape) in [("lora_A", [rank, width]), ("lora_B", [width, rank])] {
                    let end = offset + rank * width * 2;
                    header.insert(
                        self.tensor_name(block, layer, half),
                        json!({"dtype": "BF16", "shape": shape, "data_offsets": [offset, end]}),
                    );
                    offset = end;
                }
            }
        }
        Value::Object(header)
    }

    fn tensor_name(&self, block: u64, layer: &str, half: &str) -> String {
        match self.family {
            Family::Flux => {
                let layer = if layer == "o" { "to_out.0".to_owned() } else { format!("to_{layer}") };
                format!("transformer.transformer_blocks.{block}.attn.{layer}.{half}.weight")
            }
            Family::Wan22 => format!("diffusion_model.blocks.{block}.self_attn.{layer}.{half}.weight"),
        }
    }

    fn metadata(&self, hash: Option<[u8; 32]>) -> Value {
        let mut metadata = Map::new();
        let mut put = |key: &str, text: String| metadata.insert(key.to_owned(), Value::String(text));
        put("format", "pt".to_owned());
        put("name", self.name.clone());
        put("version", "1.0".to_owned());
        put("ss_output_name", self.name.clone());
        put("ss_base_model_version", self.family.base_model().to_owned());
        put("training_info", json!({"step": self.step, "epoch": self.step / 100}).to_string());
        put(
            "software",
            json!({
                "name": "ai-toolkit",
                "repo": "https://github.com/ostris/ai-toolkit",
                "version": "0.11.0"
            })
            .to_string(),
        );
        if let Some(hash) = hash {
            put("sshs_model_hash", hex(&hash));
            put("sshs_legacy_hash", hex(&hash[..4]));
        }
        Value::Object(metadata)
    }
}

/// Puts the length before the header and pads it with spaces to a multiple of eight, as the format's writer does.
fn frame(header: &Value) -> Vec<u8> {
    let mut text = header.to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut framed = (text.len() as u64).to_le_bytes().to_vec();
    framed.append(&mut text);
    framed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::files::content::{Content, Recipe};

    fn weights() -> Weights {
        Weights {
            name: "dog \"best\"".to_owned(),
            step: 250,
            family: Family::Flux,
            seed: 9,
            partner: None,
            bytes: 100_000,
            hash: TrainerHash::Right,
        }
    }

    fn read(recipe: Weights) -> (Vec<u8>, usize, std::collections::HashMap<String, String>) {
        let bytes = Content::new(Recipe::Weights(recipe)).read_all();
        let (header, metadata) = safetensors::SafeTensors::read_metadata(&bytes).expect("a valid header");
        let text = metadata.metadata().clone().expect("metadata");
        (bytes, header + 8, text)
    }

    impl Content {
        fn read_all(&self) -> Vec<u8> {
            let mut all = self.read(0, usize::MAX).to_vec();
            while (all.len() as u64) < self.length() {
                all.extend_from_slice(&self.read(all.len() as u64, usize::MAX));
            }
            all
        }
    }

    #[test]
    fn the_file_is_valid_and_hashes_to_what_its_header_declares() {
        let (bytes, body, metadata) = read(weights());
        assert_eq!(body % 8, 0);
        let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("a valid file");
        assert_eq!(tensors.len() as u64, TENSORS);
        assert_eq!(metadata["sshs_model_hash"], hex(&Sha256::digest(&bytes[body..])));
        assert_eq!(metadata["ss_output_name"], "dog \"best\"");
        assert_eq!(metadata["training_info"], r#"{"epoch":2,"step":250}"#);
        assert!(bytes.len() > 95_000 && bytes.len() < 110_000, "{}", bytes.len());
    }

    #[test]
    fn both_halves_of_a_pair_carry_the_hash_of_both() {
        let high = Weights { seed: 1, partner: Some((2, false)), family: Family::Wan22, ..weights() };
        let low = Weights { seed: 2, partner: Some((1, true)), family: Family::Wan22, ..weights() };
        assert_eq!(high.make().trainer_hash_holds, Some(false));
        let ((high, high_body, high_says), (low, low_body, low_says)) = (read(high), read(low));
        let both = Sha256::new_with_prefix(&high[high_body..]).chain_update(&low[low_body..]).finalize();
        assert_eq!(high_says["sshs_model_hash"], hex(&both));
        assert_eq!(low_says["sshs_model_hash"], hex(&both));
    }

    #[test]
    fn a_wrong_hash_is_wrong_and_a_missing_one_missing() {
        let (bytes, body, metadata) = read(Weights { hash: TrainerHash::Wrong, ..weights() });
        assert_ne!(metadata["sshs_model_hash"], hex(&Sha256::digest(&bytes[body..])));
        assert!(!read(Weights { hash: TrainerHash::Missing, ..weights() }).2.contains_key("sshs_model_hash"));
    }

    #[test]
    fn the_smallest_file_is_valid_too() {
        let (bytes, ..) = read(Weights { bytes: 0, ..weights() });
        assert!(safetensors::SafeTensors::deserialize(&bytes).is_ok());
    }
}
