//! What memcached calls a key, and how what is stored under it is written.

use bytes::Bytes;

use crate::{
    key::CacheKey,
    stored::{
        Stored,
        codec::{Codec, EncodedParts},
        raised::Raised,
    },
};

/// The same for all servers of a store.
pub(super) struct Format {
    pub(super) codec: Codec,
    pub(super) namespace: String,
    pub(super) max_value_bytes: usize,
}

impl Format {
    /// At most 250 bytes. `kind`: what of the key it is.
    pub(super) fn name(&self, kind: &str, key: &CacheKey) -> String {
        let mut name = String::with_capacity(LONGEST_NAME);
        for part in [&self.namespace, kind, "1:"] {
            name.push_str(part);
        }
        let room = LONGEST_NAME.saturating_sub(name.len());
        name.push_str(&key.short_within(room));
        name
    }

    pub(super) fn name_of_fences(&self, key: &CacheKey) -> String {
        self.name("fence", key)
    }

    /// What is stored, if these bytes are that. Anything else is overwritten when its time comes.
    pub(super) fn decode(&self, key: &CacheKey, bytes: &Bytes) -> Option<Stored> {
        if bytes.is_empty() { None } else { self.codec.decode(key, bytes).ok() }
    }

    /// None if it is too large: such a value would remove what is there, so it is never sent.
    pub(super) fn encode(&self, key: &CacheKey, stored: &Stored) -> Option<Vec<Bytes>> {
        self.fit(&self.codec.encode(key, stored))
    }

    /// The fences, if these bytes are that.
    pub(super) fn decode_fences(&self, key: &CacheKey, bytes: &[u8]) -> Option<Raised> {
        if bytes.is_empty() { None } else { self.codec.decode_fences(key, bytes).ok() }
    }

    /// Fences that would take too much room are folded until they do not. None if even one does.
    pub(super) fn encode_fences(&self, key: &CacheKey, raised: &mut Raised) -> Option<Vec<Bytes>> {
        loop {
            let parts = self.fit(&self.codec.encode_fences(key, raised));
            if parts.is_some() || raised.places.is_empty() {
                return parts;
            }
            raised.fold();
        }
    }

    fn fit(&self, encoded: &EncodedParts) -> Option<Vec<Bytes>> {
        (encoded.encoded_len() <= self.max_value_bytes).then(|| encoded.parts.to_vec())
    }
}

/// The longest key that memcached takes.
const LONGEST_NAME: usize = 250;
