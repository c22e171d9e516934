//! Paths in the form of messages.

use std::path::Path;

/// A path for messages: control characters and bytes that are not UTF-8 are escaped, and two different paths never look
/// the same. Not for opening the file.
pub fn shown(path: &Path) -> String {
    let mut escaped = String::new();
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        escaped.extend(chunk.valid().escape_debug());
        escaped.extend(chunk.invalid().iter().flat_map(|byte| byte.escape_ascii()).map(char::from));
    }
    escaped.replace("\\\"", "\"").replace("\\'", "'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_as_an_escape() {
        for (path, expected) in [
            ("a/\u{1b}[2J.yaml", "a/\\u{1b}[2J.yaml"),
            ("a\n::error::x.yaml", "a\\n::error::x.yaml"),
            ("\u{202e}a.yaml", "\\u{202e}a.yaml"),
            ("it's \"b\" \u{fc}.yaml", "it's \"b\" \u{fc}.yaml"),
            ("a\\n", "a\\\\n"),
        ] {
            assert_eq!(shown(Path::new(path)), expected);
        }
        let bytes = std::os::unix::ffi::OsStrExt::from_bytes(b"\xff.yaml");
        assert_eq!(shown(Path::new::<std::ffi::OsStr>(bytes)), "\\xff.yaml");
    }
}
