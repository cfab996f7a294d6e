//! The evidence ladder: what proves that these bytes are what the trainer wrote.
//!
//! An [`Inspection`] sees every byte once, in order. [`judge`] then weighs what it saw against what the server claimed.
//! Only this file can make a [`Verified`], and only a `Verified` opens the door to a final name.

use crc_fast::CrcAlgorithm;
use serde::Serialize;
use sha2::digest::Digest as _;
use sha2::{Sha256, Sha512};

use crate::decide::formats::{Checker, Format, UNWRITTEN, Verdict};
use crate::model::bad_format::BadFormat;
use crate::model::claim::{Algorithm, Claim};
use crate::model::digest::{Sha256Digest, hex};
use crate::model::evidence::Evidence;

/// Follows one file's bytes in order and computes everything that a proof may need.
#[derive(Debug)]
pub struct Inspection {
    position: u64,
    sha256: Sha256,
    sums: Vec<(Algorithm, Sum)>,
    checker: Checker,
}

/// The hash over everything after a safetensors header. It is computed beside the [`Inspection`], so that another
/// processor can do it: two hashes of each byte one after the other would be slower than most links.
#[derive(Debug)]
pub struct BodyHash {
    position: u64,
    sha256: Sha256,
}

impl BodyHash {
    /// Returns where the next bytes must begin.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.position += bytes.len() as u64;
    }
}

/// A checksum that only some servers ask for.
enum Sum {
    Sha512(Box<Sha512>),
    Md5(Box<md5::Md5>),
    Crc(Box<crc_fast::Digest>),
}

impl std::fmt::Debug for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sha512(_) => "Sha512",
            Self::Md5(_) => "Md5",
            Self::Crc(_) => "Crc",
        })
    }
}

/// An [`Inspection`] with its [`BodyHash`] beside it, for bytes that one thread takes in order.
#[derive(Debug)]
pub(crate) struct Reading {
    inspection: Inspection,
    body: Option<BodyHash>,
}

impl Reading {
    /// Begins at a file's first byte. Only the algorithms of `claims` are computed beside SHA-256.
    #[must_use]
    pub(crate) fn new(format: Format, claims: &[Claim]) -> Self {
        Self { inspection: Inspection::new(format, claims), body: None }
    }

    /// Takes the next bytes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let start = self.inspection.position();
        self.inspection.feed(bytes);
        if self.body.is_none() {
            self.body = self.inspection.body();
        }
        if let Some(body) = &mut self.body {
            let skip = usize::try_from(body.position().saturating_sub(start)).unwrap_or(usize::MAX);
            body.feed(bytes.get(skip..).unwrap_or_default());
        }
    }

    /// Returns what the bytes so far are known to be.
    #[cfg(feature = "buckets")]
    #[must_use]
    pub(crate) const fn inspection(&self) -> &Inspection {
        &self.inspection
    }

    /// Ends at the file's last byte.
    #[must_use]
    pub(crate) fn finish(self) -> Received {
        self.inspection.finish(self.body)
    }
}

/// What an inspection saw of a whole file.
#[derive(Debug)]
pub struct Received {
    /// Its length in bytes.
    pub size: u64,
    pub sha256: Sha256Digest,
    /// The hash of the body by the safetensors header, and its actual hash.
    pub trainer_hash: Option<TrainerHash>,
    /// How many zero bytes it ends with: what a file that has its length before its bytes still lacks.
    pub trailing_zeros: u64,
    /// Whether it is a safetensors file whose body ends with as many zeros as an unwritten block of a disk.
    pub looks_unwritten: bool,
    sums: Vec<(Algorithm, String)>,
    structure: Verdict,
}

/// The `sshs_model_hash` of a safetensors header and the hash of everything after the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrainerHash {
    /// What the trainer wrote.
    pub declared: Sha256Digest,
    pub computed: Sha256Digest,
}

impl Inspection {
    /// Begins at a file's first byte. Only the algorithms of `claims` are computed beside SHA-256.
    #[must_use]
    pub fn new(format: Format, claims: &[Claim]) -> Self {
        let mut sums: Vec<(Algorithm, Sum)> = Vec::new();
        for Claim { algorithm, .. } in claims {
            if !sums.iter().any(|(known, _)| known == algorithm) {
                sums.extend(Sum::new(*algorithm).map(|sum| (*algorithm, sum)));
            }
        }
        Self { position: 0, sha256: Sha256::new(), sums, checker: Checker::new(format) }
    }

    /// Returns how many bytes it has seen: where the next ones must begin.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Returns the length that the file's own format declares, once its header has passed.
    #[must_use]
    pub fn declared_length(&self) -> Option<u64> {
        self.checker.declared_length()
    }

    /// Whether no later byte can make it a whole file: its format is broken, or it went on beyond its own end.
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        self.checker.is_hopeless() || self.declared_length().is_some_and(|declared| self.position > declared)
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        for (_, sum) in &mut self.sums {
            sum.update(bytes);
        }
        self.checker.feed(bytes);
        self.position += bytes.len() as u64;
    }

    /// Returns the hash that the trainer's own hash is compared with, to be fed beside this inspection: from the moment
    /// in which the header has passed, where it has a hash in it.
    #[must_use]
    pub fn body(&self) -> Option<BodyHash> {
        let header = self.checker.header()?;
        header.metadata.sshs_model_hash?;
        Some(BodyHash { position: header.body_start, sha256: Sha256::new() })
    }

    /// Ends at a file's last byte; `body` has seen everything from its first position to there.
    #[must_use]
    pub fn finish(self, body: Option<BodyHash>) -> Received {
        let header = self.checker.header();
        let trailing_zeros = self.checker.trailing_zeros();
        let looks_unwritten = header.is_some() && trailing_zeros >= UNWRITTEN;
        let declared = header.and_then(|header| header.metadata.sshs_model_hash);
        let whole = body.filter(|body| body.position == self.position);
        let computed = whole.map(|body| Sha256Digest::new(body.sha256.finalize().into()));
        let trainer_hash =
            declared.zip(computed).map(|(declared, computed)| TrainerHash { declared, computed });
        Received {
            size: self.position,
            sha256: Sha256Digest::new(self.sha256.finalize().into()),
            trainer_hash,
            trailing_zeros,
            looks_unwritten,
            sums: self.sums.into_iter().map(|(algorithm, sum)| (algorithm, sum.finish(algorithm))).collect(),
            structure: self.checker.finish(self.position),
        }
    }
}

impl Sum {
    fn new(algorithm: Algorithm) -> Option<Self> {
        let crc = |algorithm| Some(Self::Crc(Box::new(crc_fast::Digest::new(algorithm))));
        match algorithm {
            Algorithm::Sha256 => None,
            Algorithm::Sha512 => Some(Self::Sha512(Box::default())),
            Algorithm::Md5 | Algorithm::Md5Tag => Some(Self::Md5(Box::default())),
            Algorithm::Crc32 => crc(CrcAlgorithm::Crc32IsoHdlc),
            Algorithm::Crc32c => crc(CrcAlgorithm::Crc32Iscsi),
            Algorithm::Crc64Nvme => crc(CrcAlgorithm::Crc64Nvme),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha512(sum) => sum.update(bytes),
            Self::Md5(sum) => sum.update(bytes),
            Self::Crc(sum) => sum.update(bytes),
        }
    }

    fn finish(self, algorithm: Algorithm) -> String {
        match self {
            Self::Sha512(sum) => hex(&sum.finalize()),
            Self::Md5(sum) => hex(&sum.finalize()),
            Self::Crc(sum) => hex(&sum.finalize().to_be_bytes()[8 - algorithm.length()..]),
        }
    }
}

/// A proof that a whole file is what it claims to be. It cannot be made elsewhere, and publishing spends it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verified {
    size: u64,
    sha256: Sha256Digest,
    evidence: Evidence,
}

impl Verified {
    /// Returns the file's length in bytes.
    #[must_use]
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// Returns the file's SHA-256.
    #[must_use]
    pub(crate) const fn sha256(&self) -> Sha256Digest {
        self.sha256
    }

    /// Returns how it was proven.
    #[must_use]
    pub(crate) const fn evidence(&self) -> Evidence {
        self.evidence
    }
}

/// What the proof is weighed against.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Expectation<'a> {
    /// The length that the server declared, in bytes.
    pub length: Option<u64>,
    /// What the server claimed about the whole file.
    pub claims: &'a [Claim],
    /// The file is half of a pair, whose header carries the hash of both halves: a mismatch proves nothing.
    pub half_of_pair: bool,
    /// The user accepts a body that contradicts its own header's hash.
    pub accept_unproven: bool,
    /// What an earlier look read of a file that was in doubt.
    pub read_before: Option<Sha256Digest>,
}

/// What became of the proof.
#[derive(Debug, PartialEq)]
pub(crate) enum Judgement {
    /// It is what it claims to be.
    Proven(Verified),
    /// It is the begin of something valid: the trainer is still writing it.
    Unfinished {
        /// The length that its own header declares, where it does.
        declared: Option<u64>,
        /// Its length now.
        have: u64,
    },
    /// It is not what it claims to be.
    Contradicted(Contradiction),
}

/// Why a body cannot be what it claims to be. The trainer may still be writing it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Contradiction {
    /// The bytes disagree with a digest of the server.
    #[error("its {algorithm} is {computed}, the server says {claimed}")]
    Digest {
        /// The algorithm's usual name.
        algorithm: &'static str,
        /// What the server claims, in lower-case hex.
        claimed: Box<str>,
        /// What was computed.
        computed: String,
    },
    /// The bytes disagree with the hash in their own header.
    #[error("its body hashes to {}…, its header says {}…", computed.short(), declared.short())]
    TrainerHash {
        /// What the trainer wrote.
        declared: Sha256Digest,
        /// What was computed.
        computed: Sha256Digest,
    },
    /// The bytes are not what the name suggests: another format, or a format's own rules are broken.
    #[error("{0}")]
    Format(BadFormat),
    /// More or fewer bytes than the server declared.
    #[error("{arrived} bytes arrived of {declared}")]
    Length {
        /// Bytes that arrived.
        arrived: u64,
        /// Bytes that the server declared.
        declared: u64,
    },
    /// The server declares no length, and the format has none.
    #[error("the host does not say how long it is, and its format cannot be checked")]
    UnknownLength,
    /// Nothing proves the body, and it ends with zeros: one that is still being written does, one with an empty tensor at
    /// its end does too. The same bytes at a later look distinguish the two.
    #[error("it ends with {zeros} zero bytes, like one that was not written to its end")]
    Unwritten {
        /// How many.
        zeros: u64,
    },
}

/// Weighs what arrived against what was claimed; the best proof counts, and one contradiction condemns.
#[must_use]
pub(crate) fn judge(received: &Received, expected: &Expectation<'_>) -> Judgement {
    let size = received.size;
    if let Some(length) = expected.length
        && length != size
    {
        return Judgement::Contradicted(Contradiction::Length { arrived: size, declared: length });
    }
    let mut evidence = match server_proof(received, expected.claims) {
        Ok(evidence) => evidence,
        Err(why) => return Judgement::Contradicted(why),
    };
    if size == 0 {
        return Judgement::Unfinished { declared: None, have: 0 };
    }
    match &received.structure {
        Verdict::Short { declared, .. } => {
            return Judgement::Unfinished { declared: Some(*declared), have: size };
        }
        Verdict::Broken(defect) if defect.is_truncation() => {
            return Judgement::Unfinished { declared: None, have: size };
        }
        Verdict::Broken(defect) => {
            return Judgement::Contradicted(Contradiction::Format(defect.kind().clone()));
        }
        Verdict::Whole => evidence = evidence.max(Some(Evidence::Structure)),
        Verdict::Plausible | Verdict::Unchecked => {
            evidence = evidence.max(expected.length.map(|_| Evidence::Length));
        }
    }
    match received.trainer_hash {
        Some(hash) if hash.declared == hash.computed => evidence = Some(Evidence::TrainerHash),
        Some(_) if expected.half_of_pair || expected.accept_unproven => {}
        Some(hash) => {
            let TrainerHash { declared, computed } = hash;
            return Judgement::Contradicted(Contradiction::TrainerHash { declared, computed });
        }
        None => {}
    }
    // Half a pair carries a hash that proves nothing, and some trainers write none.
    let in_doubt = received.looks_unwritten && evidence != Some(Evidence::TrainerHash);
    if in_doubt && !expected.accept_unproven && expected.read_before != Some(received.sha256) {
        return Judgement::Contradicted(Contradiction::Unwritten { zeros: received.trailing_zeros });
    }
    evidence.map_or_else(
        || Judgement::Contradicted(Contradiction::UnknownLength),
        |evidence| Judgement::Proven(Verified { size, sha256: received.sha256, evidence }),
    )
}

fn server_proof(received: &Received, claims: &[Claim]) -> Result<Option<Evidence>, Contradiction> {
    let mut best = None;
    for claim in claims {
        let computed = match claim.algorithm {
            Algorithm::Sha256 => Some(received.sha256.to_string()),
            other => received.sums.iter().find(|(known, _)| *known == other).map(|(_, hex)| hex.clone()),
        };
        // A claim that came after the first bytes had passed was not computed: it proves nothing, either way.
        let Some(computed) = computed else { continue };
        if *computed == *claim.hex {
            let rank = if claim.algorithm.is_strong() { Evidence::Digest } else { Evidence::Checksum };
            best = best.max(Some(rank));
        } else if claim.algorithm != Algorithm::Md5Tag {
            let (algorithm, claimed) = (claim.algorithm.name(), claim.hex.clone());
            return Err(Contradiction::Digest { algorithm, claimed, computed });
        }
    }
    Ok(best)
}

/// Recognises a file that was proven before by its SHA-256.
#[must_use]
pub(crate) fn recognise(received: &Received, sha256: Sha256Digest, evidence: Evidence) -> Option<Verified> {
    (received.sha256 == sha256).then_some(Verified { size: received.size, sha256, evidence })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inspect(format: Format, claims: &[Claim], bytes: &[u8]) -> Received {
        let mut reading = Reading::new(format, claims);
        bytes.chunks(7).for_each(|chunk| reading.feed(chunk));
        reading.finish()
    }

    fn evidence(judgement: Judgement) -> Evidence {
        match judgement {
            Judgement::Proven(verified) => verified.evidence(),
            other => panic!("{other:?}"),
        }
    }

    fn contradiction(judgement: Judgement) -> Contradiction {
        match judgement {
            Judgement::Contradicted(why) => why,
            other => panic!("{other:?}"),
        }
    }

    /// A safetensors file with one tensor of 16 bytes and the right hash in its header.
    fn checkpoint() -> Vec<u8> {
        let body = [42_u8; 16];
        let hash = Sha256Digest::new(Sha256::digest(body).into());
        let header = format!(
            r#"{{"__metadata__":{{"sshs_model_hash":"{hash}"}},"a":{{"dtype":"U8","shape":[16],"data_offsets":[0,16]}}}}"#
        );
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        file.extend_from_slice(&body);
        file
    }

    #[test]
    fn the_ladder() {
        let file = checkpoint();
        let length = Some(file.len() as u64);
        let plain = Expectation { length, ..Expectation::default() };
        assert_eq!(evidence(judge(&inspect(Format::Safetensors, &[], &file), &plain)), Evidence::TrainerHash);
        assert_eq!(evidence(judge(&inspect(Format::Unknown, &[], &file), &plain)), Evidence::Length);
        let sha = Claim::new(Algorithm::Sha256, &Sha256::digest(&file)).unwrap();
        let crc = crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, &file);
        let crc = Claim::new(Algorithm::Crc32c, &crc.to_be_bytes()[4..]).unwrap();
        for (claim, expected) in [(sha, Evidence::Digest), (crc, Evidence::Checksum)] {
            let claims = [claim];
            let received = inspect(Format::Unknown, &claims, &file);
            assert_eq!(evidence(judge(&received, &Expectation { claims: &claims, ..plain })), expected);
        }
    }

    #[test]
    fn a_contradiction_condemns_whatever_else_agrees() {
        let mut file = checkpoint();
        *file.last_mut().unwrap() ^= 1;
        let length = Some(file.len() as u64);
        let plain = Expectation { length, ..Expectation::default() };
        let received = inspect(Format::Safetensors, &[], &file);
        let why = contradiction(judge(&received, &plain));
        let (declared, computed) = match &why {
            Contradiction::TrainerHash { declared, computed } => (declared.short(), computed.short()),
            other => panic!("{other:?}"),
        };
        assert_eq!(why.to_string(), format!("its body hashes to {computed}…, its header says {declared}…"));
        let pair = Expectation { half_of_pair: true, ..plain };
        assert_eq!(evidence(judge(&received, &pair)), Evidence::Structure);
        let accepted = Expectation { accept_unproven: true, ..plain };
        assert_eq!(evidence(judge(&received, &accepted)), Evidence::Structure);

        let claims = [Claim::new(Algorithm::Md5, &[0; 16]).unwrap()];
        let received = inspect(Format::Unknown, &claims, &file);
        let why = contradiction(judge(&received, &Expectation { claims: &claims, ..plain }));
        let (zeros, computed) = ("0".repeat(32), received.sums[0].1.clone());
        assert_eq!(why.to_string(), format!("its MD5 is {computed}, the server says {zeros}"));
        let claimed = zeros.into();
        assert_eq!(why, Contradiction::Digest { algorithm: "MD5", claimed, computed });
        let tag = [Claim::new(Algorithm::Md5Tag, &[0; 16]).unwrap()];
        let received = inspect(Format::Unknown, &tag, &file);
        assert_eq!(evidence(judge(&received, &Expectation { claims: &tag, ..plain })), Evidence::Length);

        let longer = Expectation { length: Some(1000), ..plain };
        let why = contradiction(judge(&received, &longer));
        let arrived = file.len() as u64;
        assert_eq!(why, Contradiction::Length { arrived, declared: 1000 });
        assert_eq!(why.to_string(), format!("{arrived} bytes arrived of 1000"));
        let why = contradiction(judge(&received, &Expectation::default()));
        assert_eq!(why, Contradiction::UnknownLength);
    }

    #[test]
    fn a_body_that_ends_with_zeros_is_read_twice_where_no_hash_proves_it() {
        let json =
            r#"{"__metadata__":{"format":"pt"},"t":{"dtype":"U8","shape":[2000],"data_offsets":[0,2000]}}"#;
        let mut file = (json.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(json.as_bytes());
        file.resize(file.len() + 1000, 7);
        file.resize(file.len() + 1000, 0);
        let received = || inspect(Format::Safetensors, &[], &file);
        let once = Expectation { length: Some(file.len() as u64), ..Expectation::default() };
        let unwritten = Judgement::Contradicted(Contradiction::Unwritten { zeros: 1000 });
        assert_eq!(judge(&received(), &once), unwritten);
        assert_eq!(judge(&received(), &Expectation { half_of_pair: true, ..once }), unwritten);
        let other = Some(Sha256Digest::new([7; 32]));
        assert_eq!(judge(&received(), &Expectation { read_before: other, ..once }), unwritten);
        let twice = Expectation { read_before: Some(received().sha256), ..once };
        assert_eq!(evidence(judge(&received(), &twice)), Evidence::Structure);
        assert_eq!(
            evidence(judge(&received(), &Expectation { accept_unproven: true, ..once })),
            Evidence::Structure
        );
        let mut hashed = file.clone();
        *hashed.last_mut().unwrap() = 1;
        assert_eq!(evidence(judge(&inspect(Format::Safetensors, &[], &hashed), &once)), Evidence::Structure);
    }

    #[test]
    fn a_begin_is_unfinished_and_nothing_is_never_proven() {
        let file = checkpoint();
        let half = &file[..file.len() - 5];
        let expected = Expectation { length: Some(half.len() as u64), ..Expectation::default() };
        assert_eq!(
            judge(&inspect(Format::Safetensors, &[], half), &expected),
            Judgement::Unfinished { declared: Some(file.len() as u64), have: half.len() as u64 }
        );
        assert!(matches!(
            judge(
                &inspect(Format::Unknown, &[], b""),
                &Expectation { length: Some(0), ..Expectation::default() }
            ),
            Judgement::Unfinished { .. }
        ));
        assert!(matches!(
            judge(&inspect(Format::Unknown, &[], b"x"), &Expectation::default()),
            Judgement::Contradicted(_)
        ));
    }
}
