//! What shows that a frame is as it was written.

use blake3::{Hash, Hasher};

/// How frames are sealed.
#[derive(Clone)]
pub(super) enum Seal {
    /// By a checksum that anybody can make.
    Checksum,
    /// By a message authentication code with this key.
    Keyed([u8; blake3::KEY_LEN]),
}

/// The flags of a frame with a checksum.
pub(super) const PLAIN: u8 = 0;
/// The flags of a frame that is sealed with a key.
pub(super) const SEALED: u8 = 1;

impl Seal {
    pub(super) const fn flags(&self) -> u8 {
        match self {
            Self::Checksum => PLAIN,
            Self::Keyed(_) => SEALED,
        }
    }

    pub(super) const fn length(&self) -> usize {
        match self {
            Self::Checksum => CHECKSUM_BYTES,
            Self::Keyed(_) => blake3::OUT_LEN,
        }
    }

    /// The seal of a frame that consists of these parts.
    pub(super) fn close(&self, parts: [&[u8]; 3]) -> Vec<u8> {
        let digest = self.digest(&parts);
        digest.as_bytes().iter().copied().take(self.length()).collect()
    }

    /// Whether `mark` is the seal of this frame.
    pub(super) fn verify(&self, frame: &[u8], mark: &[u8]) -> bool {
        let digest = self.digest(&[frame]);
        match self {
            Self::Checksum => mark.len() == CHECKSUM_BYTES && digest.as_bytes().starts_with(mark),
            // The equality of these digests takes the same time wherever they differ.
            Self::Keyed(_) => Hash::from_slice(mark).is_ok_and(|mark| digest == mark),
        }
    }

    fn digest(&self, parts: &[&[u8]]) -> Hash {
        let mut hasher = match self {
            Self::Checksum => Hasher::new(),
            Self::Keyed(key) => Hasher::new_keyed(key),
        };
        for part in parts {
            hasher.update(part);
        }
        hasher.finalize()
    }
}

/// Enough against accidents.
const CHECKSUM_BYTES: usize = 16;
