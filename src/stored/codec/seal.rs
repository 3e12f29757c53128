//! What shows that a frame is as it was written.

use blake3::{Hash, Hasher};
use twox_hash::xxhash3_128;

/// How frames are sealed.
#[derive(Clone)]
pub(super) enum Seal {
    /// By a checksum, which is fast and enough against accidents; anybody can make it.
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
        match self {
            Self::Checksum => {
                let mut hasher = xxhash3_128::Hasher::new();
                for part in parts {
                    hasher.write(part);
                }
                hasher.finish_128().to_be_bytes().to_vec()
            }
            Self::Keyed(key) => {
                let mut hasher = Hasher::new_keyed(key);
                for part in parts {
                    hasher.update(part);
                }
                hasher.finalize().as_bytes().to_vec()
            }
        }
    }

    /// Whether `mark` is the seal of this frame.
    pub(super) fn verify(&self, frame: &[u8], mark: &[u8]) -> bool {
        match self {
            Self::Checksum => mark == xxhash3_128::Hasher::oneshot(frame).to_be_bytes(),
            // The equality of these digests takes the same time wherever they differ.
            Self::Keyed(key) => Hash::from_slice(mark).is_ok_and(|mark| blake3::keyed_hash(key, frame) == mark),
        }
    }
}

const CHECKSUM_BYTES: usize = size_of::<u128>();
