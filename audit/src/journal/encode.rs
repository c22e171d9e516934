//! From a record to bytes that can be chained: done by the caller, before any lock.

use std::cell::{Cell, RefCell};

use model::{RecordId, Timestamp};
use rand::Rng as _;

use crate::chain::{self, Link};
use crate::record::{Kind, Record};

thread_local! {
    static RANDOM: RefCell<rand::rngs::ThreadRng> = RefCell::new(rand::rng());
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Writes the contents of a record and draws what it needs to be chained.
pub(super) fn encode<T>(kind: Kind, record: &Record, take: impl FnOnce(Link, &[u8]) -> T) -> T {
    let time = record.time.unwrap_or_else(Timestamp::now);
    let mut contents = SCRATCH.take();
    contents.clear();
    match &record.id {
        Some(id) => record.write_contents(id, &mut contents),
        None => record.write_contents(&RecordId::from_bytes(draw(time)), &mut contents),
    }
    let taken = seal(time, kind, &contents, take);
    SCRATCH.set(contents);
    taken
}

/// Digests contents under a salt of their own.
pub(super) fn seal<T>(time: Timestamp, kind: Kind, contents: &[u8], take: impl FnOnce(Link, &[u8]) -> T) -> T {
    let mut salt = [0; 16];
    RANDOM.with_borrow_mut(|random| random.fill_bytes(&mut salt));
    let digest = chain::digest_of(&salt, contents);
    take(Link { time: time.as_microsecond(), kind, salt, digest }, contents)
}

/// 16 bytes for an id: six of time in milliseconds, so that ids sort by it, and ten random ones.
pub(crate) fn draw(now: Timestamp) -> [u8; 16] {
    let mut bytes = [0; 16];
    RANDOM.with_borrow_mut(|random| random.fill_bytes(&mut bytes[6..]));
    bytes[..6].copy_from_slice(&now.as_millisecond().to_be_bytes()[2..]);
    bytes
}
