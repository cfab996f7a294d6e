//! What a safetensors file holds, read from the names of its tensors: only some kinds are patches that a LoRA loader
//! applies.

use std::fmt;

use serde::Serialize;

/// What a safetensors file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WeightsKind {
    /// Low-rank matrices.
    Lora,
    /// Kronecker factors.
    Lokr,
    /// Hadamard factors.
    Loha,
    /// Low-rank matrices with a magnitude of their own.
    Dora,
    /// Whole differences to the weights of the base model.
    Difference,
    /// Vectors of a word of the prompt (textual inversion).
    Embedding,
    /// A network beside the base model, such as an IP adapter or a T2I adapter.
    Adapter,
    /// The weights of a model themselves.
    FullModel,
}

impl WeightsKind {
    /// Returns the field's word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lora => "LoRA",
            Self::Lokr => "LoKr",
            Self::Loha => "LoHa",
            Self::Dora => "DoRA",
            Self::Difference => "difference",
            Self::Embedding => "embedding",
            Self::Adapter => "adapter",
            Self::FullModel => "full model",
        }
    }

    /// Whether a LoRA loader applies it.
    #[must_use]
    pub const fn is_patch(self) -> bool {
        match self {
            Self::Lora | Self::Lokr | Self::Loha | Self::Dora | Self::Difference => true,
            Self::Embedding | Self::Adapter | Self::FullModel => false,
        }
    }
}

impl fmt::Display for WeightsKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The names of tensors, counted by what they are a sign of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Signs {
    tensors: u64,
    vectors: u64,
    adapter: bool,
    low_rank: bool,
    kronecker: bool,
    hadamard: bool,
    magnitude: bool,
    difference: bool,
}

/// Which dimension of a tensor is the rank of the patch.
const DOWN: [&str; 7] =
    ["lora_A.", "lora_down.", "lora.down.", "lokr_w1_b", "lokr_w2_b", "hada_w1_b", "hada_w2_b"];

/// The other low-rank names: what is beside the down projections, and what other trainers write.
const LOW_RANK: [&str; 7] =
    ["lora_A.", "lora_B.", "lora_up.", "lora_down.", "lora.up.", "lora.down.", "lora_linear_layer."];

/// First parts of the names of an adapter. An IP adapter may have low-rank matrices of its own, which no LoRA loader
/// applies, so these decide before them.
const ADAPTER_ROOTS: [&str; 19] = [
    "image_proj",
    "ip_adapter",
    "adapter",
    "adapter_modules",
    "control_model",
    "controlnet",
    "controlnet_blocks",
    "t2i_adapter",
    "id_encoder",
    "fuse_module",
    "clip_fusion",
    "te_adapter",
    "llm_adapter",
    "te_augmenter",
    "dvadapter",
    "sv_adapter",
    "vision_encoder",
    "ilora",
    "reference_adapter",
];

/// The tensors of an embedding, one for each text encoder.
const VECTORS: [&str; 5] = ["emb_params", "clip_l", "clip_g", "t5xxl", "string_to_param.*"];

impl Signs {
    /// Takes one tensor's name in.
    pub(crate) fn see(&mut self, name: &str) {
        self.tensors += 1;
        self.vectors += u64::from(VECTORS.contains(&name));
        let root = name.split('.').next().unwrap_or(name);
        self.adapter |= ADAPTER_ROOTS.contains(&root);
        self.low_rank |= LOW_RANK.iter().any(|sign| name.contains(sign));
        self.kronecker |= name.contains("lokr_w");
        self.hadamard |= name.contains("hada_w");
        // The last is AI Toolkit's own name.
        self.magnitude |= name.contains("dora_scale")
            || name.contains("lora_magnitude_vector")
            || name.ends_with(".magnitude");
        self.difference |= [".diff", ".diff_b", ".set_weight"].iter().any(|sign| name.ends_with(sign));
    }

    /// Whether the first dimension of a tensor of this name is the rank.
    #[must_use]
    pub(crate) fn has_rank(name: &str) -> bool {
        DOWN.iter().any(|sign| name.contains(sign))
    }

    /// Returns what the file holds; `None` where it has no tensor.
    #[must_use]
    pub(crate) const fn kind(&self) -> Option<WeightsKind> {
        if self.tensors == 0 {
            return None;
        }
        Some(match *self {
            Self { adapter: true, .. } => WeightsKind::Adapter,
            Self { magnitude: true, .. } => WeightsKind::Dora,
            Self { kronecker: true, .. } => WeightsKind::Lokr,
            Self { hadamard: true, .. } => WeightsKind::Loha,
            Self { low_rank: true, .. } => WeightsKind::Lora,
            Self { difference: true, .. } => WeightsKind::Difference,
            Self { tensors, vectors, .. } if tensors == vectors => WeightsKind::Embedding,
            _ => WeightsKind::FullModel,
        })
    }
}

/// What a pickle holds, by its first bytes. It is not loaded, since that can run code: the names of an
/// embedding's parts are in it as they are.
#[must_use]
pub(crate) fn of_pickle(first: &[u8]) -> Option<WeightsKind> {
    let has = |name: &str| memchr::memmem::find(first, name.as_bytes()).is_some();
    (has("string_to_param") || has("emb_params")).then_some(WeightsKind::Embedding)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(names: &[&str]) -> Option<WeightsKind> {
        let mut signs = Signs::default();
        names.iter().for_each(|name| signs.see(name));
        signs.kind()
    }

    #[test]
    fn a_pickled_embedding_names_its_parts() {
        let pickle = b"PK\x03\x04archive/data.pkl\x80\x02}q\x00(X\x0f\x00\x00\x00string_to_paramq\x01}";
        assert_eq!(of_pickle(pickle), Some(WeightsKind::Embedding));
        assert_eq!(of_pickle(b"PK\x03\x04archive/data.pkl\x80\x02}q\x00X\x06\x00\x00\x00lora_A"), None);
    }

    #[test]
    fn the_names_of_tensors_decide() {
        use WeightsKind::{Adapter, Difference, Dora, Embedding, FullModel, Loha, Lokr, Lora};
        for (names, expected) in [
            (&["transformer.transformer_blocks.0.attn.to_q.lora_A.weight"][..], Lora),
            (&["lora_unet_down_blocks_0_to_q.lora_down.weight", "lora_unet_down_blocks_0_to_q.alpha"], Lora),
            (&["unet.down_blocks.0.processor.to_q_lora.down.weight"], Lora),
            (&["text_encoder.layers.0.lora_linear_layer.up.weight"], Lora),
            (&["diffusion_model.blocks.0.q.lokr_w1", "diffusion_model.blocks.0.q.lokr_w2_b"], Lokr),
            (&["lycoris_blocks_0_q.hada_w1_a"], Loha),
            (&["blocks.0.q.lora_A.weight", "blocks.0.q.dora_scale"], Dora),
            (&["blocks.0.q.lora_A.weight", "blocks.0.q.lora_magnitude_vector"], Dora),
            (&["transformer.blocks.0.attn.lora_A.weight", "transformer.blocks.0.attn.magnitude"], Dora),
            (&["diffusion_model.blocks.0.norm.diff", "diffusion_model.blocks.0.norm.diff_b"], Difference),
            (&["emb_params"], Embedding),
            (&["clip_l", "clip_g"], Embedding),
            (&["image_proj.latents"], Adapter),
            (&["ip_adapter.1.to_k_ip.weight", "ip_adapter.0.to_q_lora.down.weight"], Adapter),
            (&["adapter.body.0.resnets.0.block1.weight", "adapter.conv_in.weight"], Adapter),
            (&["double_blocks.0.attn.to_k.weight"], FullModel),
            (&["model.diffusion_model.input_blocks.0.0.weight", "first_stage_model.x"], FullModel),
            // A word of a name is no sign: only whole parts are.
            (&["explora_Api.weight", "clip_l.weight", "adapters_none.weight"], FullModel),
        ] {
            assert_eq!(kind(names), Some(expected), "{names:?}");
        }
        assert_eq!(kind(&[]), None, "a file without tensors is nothing");
        assert!(Lora.is_patch() && Difference.is_patch() && !Embedding.is_patch());
    }
}
