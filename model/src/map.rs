//! Maps that a request reads or writes many times. The standard hash takes some 350 instructions for each access. The
//! seed of this one is random, but an attacker who measures could find keys that collide: only for maps of bounded size.

use std::collections::HashMap;

use foldhash::quality::RandomState;

/// A map with a fast hash, for a bounded number of keys.
pub type FastMap<K, V> = HashMap<K, V, RandomState>;
