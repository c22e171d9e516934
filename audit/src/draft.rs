//! The storage of a record while its exchange runs. It is reused within a thread: the lists of a record keep their capacity.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use crate::record::{Kind, Record};

/// The most records of one thread whose storage is kept.
const MAX_STORED: usize = 64;

/// A list with more room than this is not kept.
const MAX_ROOM: usize = 16;

/// Boxed, because a record is large and only its pointer is moved.
type Stored = Vec<Box<Record>>;

thread_local! {
    static STORED: RefCell<Stored> = const { RefCell::new(Vec::new()) };
}

/// A record whose storage goes to a later one of the same thread.
pub(crate) struct Draft(
    /// `None` only while it is dropped.
    Option<Box<Record>>,
);

impl Draft {
    /// A record of a kind, without other fields.
    pub(crate) fn new(kind: Kind) -> Self {
        // While a thread ends there is nothing to reuse.
        let stored = STORED.try_with(|stored| stored.borrow_mut().pop()).ok().flatten();
        let mut record = stored.unwrap_or_else(|| Box::new(Record::new(kind)));
        record.kind = kind;
        Self(Some(record))
    }
}

impl Deref for Draft {
    type Target = Record;

    fn deref(&self) -> &Record {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl DerefMut for Draft {
    fn deref_mut(&mut self) -> &mut Record {
        self.0.as_mut().expect("it is there until it is dropped")
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let Some(mut record) = self.0.take() else { return };
        clear(&mut record);
        // While a thread ends, the storage is freed with it.
        let _freed = STORED.try_with(|stored| {
            let mut stored = stored.borrow_mut();
            if stored.len() < MAX_STORED {
                stored.push(record);
            }
        });
    }
}

/// Empties every field; lists keep their room.
fn clear(record: &mut Record) {
    fn emptied<T>(list: &mut Vec<T>) -> Vec<T> {
        list.clear();
        match list.capacity() <= MAX_ROOM {
            true => std::mem::take(list),
            false => Vec::new(),
        }
    }
    *record = Record {
        stripped: emptied(&mut record.stripped),
        replaced: emptied(&mut record.replaced),
        observed: emptied(&mut record.observed),
        credentials: emptied(&mut record.credentials),
        injected_into: emptied(&mut record.injected_into),
        redacted_in: emptied(&mut record.redacted_in),
        ..Record::new(record.kind)
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_record_is_in_the_next_one_but_its_room() {
        let mut first = Draft::new(Kind::ExchangeClosed);
        first.stripped.push("cookie".into());
        first.injected_into.extend((0..40).map(|_| "body".into()));
        first.path = Some("/a".to_owned());
        first.status = Some(200);
        let place: *const Record = &raw const *first;
        drop(first);
        let second = Draft::new(Kind::TunnelClosed);
        assert_eq!(*second, Record::new(Kind::TunnelClosed));
        assert_eq!(&raw const *second, place, "the same storage");
        assert!(second.stripped.capacity() > 0 && second.injected_into.capacity() == 0, "only small lists are kept");
    }
}
