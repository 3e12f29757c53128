//! What several nodes share: memcached behind the memory of each, and the key that seals what is there.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    time::Duration,
};

use microcache::{CacheLayer, CacheLayerBuilder, MemoryStore};

use crate::flags::Flags;

/// A cache over the store that was asked for. The complaint names the flag that is wrong.
pub(crate) fn cache(flags: &Flags) -> Result<CacheLayerBuilder, String> {
    let memory = MemoryStore::with_max_bytes(flags.store_bytes);
    let Some(servers) = &flags.memcached else { return Ok(CacheLayer::builder(memory)) };
    let key = match &flags.seal_key_file {
        Some(path) => Some(seal_key(path).map_err(|wrong| format!("--seal-key-file: {}: {wrong}", path.display()))?),
        None => None,
    };
    let near_freshness = flags.near_freshness.unwrap_or(Duration::from_secs(1));
    in_front(memory, near_freshness, servers, key).map_err(|wrong| format!("--memcached: {wrong}"))
}

/// Nothing is connected before the first request, and a server that is not there is no reason to stay down.
fn in_front(
    memory: MemoryStore,
    near_freshness: Duration,
    servers: &[String],
    key: Option<[u8; 32]>,
) -> Result<CacheLayerBuilder, microcache::ConfigError> {
    let store = microcache::MemcachedStore::builder(servers);
    let store = match key {
        Some(key) => store.sealed_with(key),
        None => store,
    };
    Ok(CacheLayer::builder(microcache::Tiered::new(memory, store.build()?).near_freshness(near_freshness)))
}

/// The key in a file: as it is, or in hex. What is wrong is said without a word of what the file holds.
fn seal_key(path: &Path) -> Result<[u8; 32], String> {
    let content = read_start(path).map_err(|error| error.to_string())?;
    if let Ok(key) = content.as_slice().try_into() {
        return Ok(key);
    }
    // Whoever writes hex ends the line.
    let text = content.strip_suffix(b"\n").unwrap_or(&content);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    from_hex(text).ok_or_else(|| "neither 32 bytes nor 64 hex digits".to_owned())
}

/// More than any key has, and never more: the file may have no end.
fn read_start(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(256).read_to_end(&mut content)?;
    Ok(content)
}

fn from_hex(text: &[u8]) -> Option<[u8; 32]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut key = [0; 32];
    if text.len() != 2 * key.len() {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(key)
}
