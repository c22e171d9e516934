//! What manifests and sources can show of the invariants: who may import whom, and what is absent where.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking where it stands")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use egret_tests::tree::{CRATES, root};

/// Sources of the workspace by crate folder; `target` and hidden folders are not looked at.
struct Tree {
    root: PathBuf,
    sources: BTreeMap<String, Vec<(PathBuf, String)>>,
}

/// Those, and the three that only build, test and measure it.
fn all_crates() -> Vec<&'static str> {
    [&CRATES[..], &["tests", "bench", "xtask"]].concat()
}

impl Tree {
    fn read() -> Self {
        let root = root();
        let mut sources = BTreeMap::new();
        for name in all_crates() {
            let mut files = Vec::new();
            collect(&root.join(name), &mut files);
            assert!(!files.is_empty(), "no sources in {name}");
            sources.insert(name.to_owned(), files);
        }
        Self { root, sources }
    }

    fn all(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.sources.keys().flat_map(|name| self.of(name))
    }

    fn of<'a>(&'a self, name: &str) -> impl Iterator<Item = (&'a Path, &'a str)> {
        self.sources[name].iter().map(|(path, text)| (path.strip_prefix(&self.root).unwrap(), text.as_str()))
    }
}

fn collect(folder: &Path, files: &mut Vec<(PathBuf, String)>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            collect(&path, files);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            files.push((path, text));
        }
    }
}

/// The lines of a source without comments, and without what is only compiled for tests.
fn product(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let tests = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
    let text = text.get(..tests).unwrap_or(text);
    text.lines().enumerate().map(|(n, line)| (n + 1, line)).filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn is_test_file(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "examples")
        || path.file_name().is_some_and(|name| name == "tests.rs")
}

/// Dependencies by section of one manifest, in the short names that the sources use.
fn dependencies(root: &Path, name: &str) -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(root.join(name).join("Cargo.toml")).unwrap();
    let mut sections: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut section = String::new();
    for line in text.lines().map(str::trim) {
        if let Some(title) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = title.to_owned();
        } else if section.ends_with("dependencies") && !line.is_empty() && !line.starts_with('#') {
            let key: String = line.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect();
            if !key.is_empty() {
                sections.entry(section.clone()).or_default().insert(key);
            }
        }
    }
    sections
}

fn normal(root: &Path, name: &str) -> BTreeSet<String> {
    dependencies(root, name).remove("dependencies").unwrap_or_default()
}

#[test]
fn imports_point_one_way() {
    let (tree, every) = (Tree::read(), all_crates());
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("model", &[][..]),
        ("clock", &["model"]),
        ("secret", &["model"]),
        ("redaction", &["model", "secret"]),
        ("policies", &["model"]),
        ("vault", &["model", "clock", "secret"]),
        ("certs", &["model"]),
        ("audit", &["model"]),
        ("sessions", &["model", "clock"]),
        ("api", &["model"]),
        ("proxy", &["model", "clock", "redaction", "policies", "vault", "certs", "audit", "sessions"]),
        ("control", &["model", "clock", "policies", "vault", "certs", "audit", "sessions", "api"]),
        ("cli", &["model", "clock", "policies", "vault", "certs", "audit", "sessions", "api", "proxy", "control"]),
        ("tests", &every),
        // It uses the binary as any client does.
        ("bench", &[]),
        ("xtask", &[]),
    ]);
    for (name, allowed) in allowed {
        for (section, used) in dependencies(&tree.root, name) {
            // Tests of the one that stores values and of the one that finds them use the other.
            let tested = section == "dev-dependencies" && ["vault", "redaction"].contains(&name);
            let own: Vec<_> = used
                .iter()
                .filter(|used| !tested || !["vault", "redaction"].contains(&used.as_str()))
                .filter(|used| every.contains(&used.as_str()) && !allowed.contains(&used.as_str()))
                .collect();
            assert!(own.is_empty(), "{name} [{section}] imports {own:?}");
        }
    }
}

#[test]
fn libraries_stay_where_they_belong() {
    let tree = Tree::read();
    for (library, homes) in [
        ("tokio", &["sessions", "proxy", "control", "cli", "tests", "bench"][..]),
        ("hyper", &["proxy", "control", "cli", "tests", "bench"]),
        // Field names and values alone; there is no connection in it.
        ("http", &["model", "redaction", "proxy", "control", "cli", "tests"]),
        ("h2", &["proxy", "tests"]),
        ("axum", &["control"]),
        ("anyhow", &["cli", "bench", "xtask"]),
        ("rustls", &["certs", "proxy", "tests", "bench"]),
        ("hickory-resolver", &["proxy"]),
        ("rusqlite", &["audit"]),
        ("clap", &["cli"]),
        ("quick-junit", &["policies"]),
        ("serde-sarif", &["policies"]),
        ("aes-gcm", &["vault"]),
        ("argon2", &["vault"]),
    ] {
        for name in all_crates() {
            assert!(
                !normal(&tree.root, name).contains(library) || homes.contains(&name),
                "{name} depends on {library}, which belongs to {homes:?}"
            );
        }
    }
}

/// Panics where a line of `name`'s product code holds one of `words`.
fn absent(tree: &Tree, name: &str, words: &[&str]) {
    for (path, text) in tree.of(name).filter(|(path, _)| !is_test_file(path)) {
        for (number, line) in product(text) {
            for word in words {
                assert!(!line.contains(word), "{}:{number} holds {word}: {line}", path.display());
            }
        }
    }
}

#[test]
fn policies_are_pure() {
    let tree = Tree::read();
    absent(
        &tree,
        "policies",
        &[
            "std::fs",
            "std::net::Tcp",
            "std::net::Udp",
            "SystemTime",
            "Instant",
            "Timestamp::now",
            "std::env",
            "std::io",
            "rand::",
            "tokio",
            "hyper",
        ],
    );
    absent(&tree, "redaction", &["std::fs", "std::net", "SystemTime", "Instant", "std::env", "tokio", "hyper"]);
    absent(&tree, "model", &["std::fs", "SystemTime", "Instant", "std::env", "std::io", "rand::", "tokio", "hyper"]);
}

#[test]
fn ends_are_judged_by_one_clock() {
    let tree = Tree::read();
    absent(&tree, "sessions", &["Timestamp::now", "SystemTime"]);
    // Leaf certificates are judged by their clients, by the wall clock.
    let certificates = ["src/steps/decide.rs", "src/steps/intercept.rs"];
    for (path, text) in tree.of("proxy").filter(|(path, _)| !is_test_file(path)) {
        for (number, line) in product(text) {
            let judges = line.contains("Timestamp::now") && !certificates.iter().any(|file| path.ends_with(file));
            assert!(!judges, "{}:{number} asks the wall clock; ends are judged by clock::now()", path.display());
        }
    }
}

#[test]
fn records_and_certificates_cannot_name_a_secret() {
    let tree = Tree::read();
    for name in ["audit", "certs"] {
        absent(&tree, name, &["vault::", "egret_vault", "secret::", "egret_secret"]);
    }
    absent(&tree, "control", &["expose_secret"]);
}

#[test]
fn only_the_command_line_knows_the_process() {
    let tree = Tree::read();
    for name in CRATES.iter().filter(|name| **name != "cli") {
        absent(&tree, name, &["std::env::", "env::var", "std::process::exit", "println!", "eprintln!"]);
    }
}

#[test]
fn only_dial_opens_upstream_connections() {
    let tree = Tree::read();
    for (path, text) in
        tree.of("proxy").filter(|(path, _)| !is_test_file(path) && !path.ends_with("src/upstream/dial.rs"))
    {
        for (number, line) in product(text) {
            for word in ["TcpStream::connect", "TcpSocket", "lookup_host", "to_socket_addrs", "hickory_resolver"] {
                assert!(!line.contains(word), "{}:{number} holds {word}", path.display());
            }
        }
    }
    for name in ["policies", "vault", "certs", "audit", "sessions"] {
        absent(&tree, name, &["TcpStream", "TcpSocket", "UdpSocket"]);
    }
}

/// What a peer can cause is logged through `model::log_limited!`, which bounds the lines of each place.
#[test]
fn nothing_that_a_peer_does_is_logged_without_a_limit() {
    let tree = Tree::read();
    // Caused by the operator or by a start, not by a peer.
    let spared = ["audit/src/journal/recovery.rs", "control/src/loader.rs", "sessions/src/registry.rs"];
    for name in ["audit", "certs", "control", "proxy", "redaction", "secret", "sessions", "vault"] {
        for (path, text) in tree.of(name).filter(|(path, _)| !is_test_file(path)) {
            if spared.iter().any(|spared| path.ends_with(spared)) {
                continue;
            }
            for (number, line) in product(text) {
                for word in ["tracing::error!", "tracing::warn!", "tracing::info!", "tracing::event!"] {
                    assert!(!line.contains(word), "{}:{number} uses {word}: use model::log_limited!", path.display());
                }
            }
        }
    }
}

/// Texts enter records through one function, which masks tokens.
#[test]
fn texts_of_records_pass_the_sanitizer() {
    let tree = Tree::read();
    for (path, text) in tree.of("audit").filter(|(path, _)| !is_test_file(path)) {
        if path.ends_with("src/sanitize.rs") {
            continue;
        }
        for (number, line) in product(text) {
            assert!(!line.contains("format::escaped"), "{}:{number} writes a text around sanitize.rs", path.display());
        }
    }
}

#[test]
fn no_test_is_switched_off_and_nothing_is_left_to_do() {
    let tree = Tree::read();
    // Spelled in two parts, so that this file does not hold them.
    let words = [["#[ign", "ore"], ["should_", "panic"], ["tod", "o!("], ["unimple", "mented!("], ["FIX", "ME"]]
        .map(|parts| parts.concat());
    for (path, text) in tree.all() {
        for word in &words {
            assert!(!text.contains(word.as_str()), "{} holds {word}", path.display());
        }
    }
}

#[test]
fn no_file_is_longer_than_anyone_reads() {
    let tree = Tree::read();
    for (path, text) in tree.all() {
        let lines = text.lines().count();
        assert!(lines <= 700, "{} has {lines} lines", path.display());
    }
}

#[test]
fn every_file_says_what_it_is() {
    for (path, text) in Tree::read().all() {
        assert!(text.starts_with("//!"), "{} does not begin with its place in the whole", path.display());
    }
}

#[test]
fn no_path_of_a_machine() {
    let tree = Tree::read();
    let words = [["/ro", "ot/"], ["/Us", "ers/"], ["/wo", "rk/"]].map(|parts| parts.concat());
    for (path, text) in tree.all() {
        for word in &words {
            assert!(!text.contains(word.as_str()), "{} holds {word}", path.display());
        }
    }
}

/// The names in a text that begin with `t`, three digits and an underscore, with their numbers.
fn threat_names(text: &str) -> BTreeSet<(u16, String)> {
    let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    let numbered = words.filter_map(|word| {
        let (digits, rest) = word.strip_prefix('t')?.split_once('_')?;
        let number = digits.parse().ok().filter(|_| digits.len() == 3 && !rest.is_empty())?;
        Some((number, word.to_owned()))
    });
    numbered.collect()
}

#[test]
fn the_threat_model_and_the_tests_agree() {
    let tree = Tree::read();
    let document = std::fs::read_to_string(tree.root.join("docs/threat-model.md")).unwrap();
    let functions: BTreeSet<_> = tree
        .all()
        .flat_map(|(_, text)| text.lines().filter_map(|line| line.trim_start().split_once("fn ")))
        .flat_map(|(_, rest)| threat_names(rest.split('(').next().unwrap_or_default()))
        .collect();
    let mut proven = BTreeSet::new();
    let mut claimed = BTreeSet::new();
    for line in document.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let (Some(Ok(number)), Some(proof)) = (cells.first().map(|cell| cell.parse::<u16>()), cells.last()) else {
            continue;
        };
        for (named, name) in threat_names(proof) {
            assert_eq!(named, number, "case {number} names {name} as its proof");
            claimed.insert((named, name));
            proven.insert(number);
        }
    }
    let invented: Vec<_> = claimed.difference(&functions).collect();
    assert!(invented.is_empty(), "docs/threat-model.md names tests that do not exist: {invented:?}");
    let untold: Vec<_> = functions.iter().filter(|(number, _)| !proven.contains(number)).collect();
    assert!(untold.is_empty(), "docs/threat-model.md calls these cases planned, and there are tests: {untold:?}");
}
