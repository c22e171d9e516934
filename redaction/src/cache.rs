//! A cache of the needles of recently used hosts, for one generation of the vault. Readers never wait.

use std::sync::Arc;

use arc_swap::ArcSwap;
use model::map::FastMap;
use model::{Host, Timestamp};

use crate::needles::Needles;

/// The most hosts in the cache; beyond that, it is emptied.
const MAX_HOSTS: usize = 256;
/// The most bytes of their tables; the values themselves are shared with the vault.
const MAX_TABLE_BYTES: usize = 16 << 20;

/// Starts empty.
#[derive(Default)]
pub struct NeedleCache(ArcSwap<Known>);

#[derive(Clone, Default)]
struct Known {
    generation: u64,
    /// `None` for a host that no credential names.
    hosts: FastMap<Host, Option<Arc<Needles>>>,
    table_bytes: usize,
}

impl NeedleCache {
    /// The entry of a host in this generation.
    pub fn get(&self, generation: u64, host: &Host, now: impl FnOnce() -> Timestamp) -> Option<Option<Arc<Needles>>> {
        let known = self.0.load();
        if known.generation != generation {
            return None;
        }
        let found = known.hosts.get(host)?.clone();
        found.as_ref().is_none_or(|needles| needles.is_valid(now)).then_some(found)
    }

    /// Stores it. If two threads write at once, one entry is lost and computed again at the next use.
    pub fn put(&self, generation: u64, host: &Host, needles: Option<Arc<Needles>>) {
        let before = self.0.load();
        if before.generation > generation {
            return;
        }
        let bytes = needles.as_ref().map_or(0, |needles| needles.table_bytes());
        let fits = before.generation == generation
            && before.hosts.len() < MAX_HOSTS
            && before.table_bytes.saturating_add(bytes) <= MAX_TABLE_BYTES;
        let mut known = if fits { Known::clone(&before) } else { Known { generation, ..Known::default() } };
        known.table_bytes += bytes;
        known.hosts.insert(host.clone(), needles);
        self.0.store(Arc::new(known));
    }
}
