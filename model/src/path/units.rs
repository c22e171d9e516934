//! A path as its bytes after decoding, each with the number of decodings that it takes to see it.
//!
//! Replacing `%XX` by its byte, again and again, ends in one result whatever the order (no two escapes overlap), so one
//! pass with a stack finds it: each step takes three bytes off the stack and puts one back. The work is linear however
//! deeply escapes are nested, where a loop that decodes until nothing changes is quadratic for `%252525..`.

/// The depth from which on the exact number no longer matters.
pub(super) const TOO_DEEP: u8 = 3;

/// One byte, and how many decodings it takes to see it: 0 is as sent, 1 is `%2F`, 2 is `%252F`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) byte: u8,
    pub(super) depth: u8,
}

/// The bytes after one decoding.
pub(super) fn decoded_once(path: &[u8]) -> Vec<Unit> {
    let mut units = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, tail)) = rest.split_first() {
        match hex_pair(tail).filter(|_| byte == b'%') {
            Some(value) => {
                units.push(Unit { byte: value, depth: 1 });
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                units.push(Unit { byte, depth: 0 });
                rest = tail;
            }
        }
    }
    units
}

/// The bytes after every decoding.
pub(super) fn decoded_fully(path: &[u8]) -> Vec<Unit> {
    let mut stack: Vec<Unit> = Vec::with_capacity(path.len());
    for &byte in path {
        stack.push(Unit { byte, depth: 0 });
        while let Some(unit) = escape_on_top(&stack) {
            stack.truncate(stack.len() - 3);
            stack.push(unit);
        }
    }
    stack
}

/// The byte of the last three bytes, if they are an escape.
fn escape_on_top(stack: &[Unit]) -> Option<Unit> {
    let [.., sign, high, low] = stack else { return None };
    if sign.byte != b'%' {
        return None;
    }
    let byte = hex_pair(&[high.byte, low.byte])?;
    let depth = sign.depth.max(high.depth).max(low.depth).saturating_add(1).min(TOO_DEEP);
    Some(Unit { byte, depth })
}

/// The byte of two hex digits.
pub(crate) fn hex_pair(bytes: &[u8]) -> Option<u8> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    Some(digit(*bytes.first()?)? << 4 | digit(*bytes.get(1)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deepest(path: &str) -> (String, u8) {
        let units = decoded_fully(path.as_bytes());
        let text = units.iter().map(|unit| char::from(unit.byte)).collect();
        (text, units.iter().map(|unit| unit.depth).max().unwrap())
    }

    #[test]
    fn every_byte_has_the_number_of_decodings_that_it_takes() {
        assert_eq!(deepest("/a%2fb"), ("/a/b".to_owned(), 1));
        assert_eq!(deepest("/a%252fb"), ("/a/b".to_owned(), 2));
        assert_eq!(deepest("/a%25%32%66b"), ("/a/b".to_owned(), 2));
        assert_eq!(deepest("/a%2525252fb"), ("/a/b".to_owned(), TOO_DEEP));
        assert_eq!(deepest("/100%25"), ("/100%".to_owned(), 1));
        assert_eq!(deepest("/100%25%20off"), ("/100% off".to_owned(), 1));
    }
}
