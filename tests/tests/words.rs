//! The language of messages and pages: phrases that a colleague on call would not use.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use egret_tests::tree::{CRATES, root};

/// A closed list. Each has a plain form: duplicate, again, a client that, unavailable, no one, fixed, in progress, is not a.
const PHRASES: [&str; 16] = [
    "stands twice",
    "stands here",
    "anew",
    "whoever",
    "could not be had",
    "nobody",
    "somebody",
    "mended",
    "under way",
    "gave way",
    "is no name",
    "is no number",
    "is no value",
    "is no text",
    "is no host",
    "is no length",
];

fn files(folder: &Path, end: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, end, found);
        } else if path.extension().is_some_and(|own| own == end) {
            found.push(path);
        }
    }
}

/// The phrase in a text, as whole words.
fn phrase_in(text: &str) -> Option<&'static str> {
    let text = text.to_lowercase();
    // A name written with underscores is one word.
    let is_word = |sign: Option<char>| sign.is_some_and(|c| c.is_alphanumeric() || c == '_');
    PHRASES.into_iter().find(|phrase| {
        text.match_indices(phrase).any(|(at, _)| {
            let (before, after) = text.split_at(at);
            !is_word(before.chars().next_back()) && !is_word(after.chars().nth(phrase.chars().count()))
        })
    })
}

/// The texts in quotes of a line of code.
fn quoted(line: &str) -> String {
    line.split('"').skip(1).step_by(2).collect::<Vec<_>>().join(" ")
}

#[test]
fn messages_are_plain_english() {
    for name in CRATES.into_iter().chain(["bench", "xtask"]) {
        let mut found = Vec::new();
        files(&root().join(name).join("src"), "rs", &mut found);
        for path in found
            .iter()
            .filter(|path| !path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs"))
        {
            let text = std::fs::read_to_string(path).unwrap();
            let product = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            for (number, line) in product.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
                assert_eq!(phrase_in(&quoted(line)), None, "{}:{}", path.display(), number + 1);
            }
        }
    }
}

#[test]
fn pages_are_plain_english() {
    let mut found = vec![root().join("README.md")];
    files(&root().join("docs"), "md", &mut found);
    for path in found {
        for (number, line) in std::fs::read_to_string(&path).unwrap().lines().enumerate() {
            assert_eq!(phrase_in(line), None, "{}:{}", path.display(), number + 1);
        }
    }
}

#[test]
fn phrases_are_found_as_whole_words() {
    assert_eq!(phrase_in("sealed Anew, and"), Some("anew"));
    assert_eq!(phrase_in("it is no name; write"), Some("is no name"));
    assert_eq!(phrase_in("anewline and a namesake"), None);
    assert_eq!(quoted(r#"say("one", x, "two")"#), "one two");
}
