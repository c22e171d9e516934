//! The layout of the sources: imports without circles, and the steps of the line.
#![expect(clippy::unwrap_used, clippy::string_slice, reason = "a test fails by panicking where it stands")]

use std::collections::{BTreeMap, BTreeSet};

use egret_tests::tree::{CRATES, root};

/// The steps, in the order in which a request passes them.
const STEPS: [&str; 14] = [
    "accept",
    "identify",
    "parse",
    "decide",
    "intercept",
    "route",
    "authorize",
    "limit",
    "inject",
    "inject_body",
    "locate",
    "forward",
    "redact",
    "respond",
];

/// The product code of a crate by module: `steps::route`, or `crate` for its root. Comments and tests are left out.
fn modules(name: &str) -> BTreeMap<String, String> {
    let folder = root().join(name).join("src");
    let (mut folders, mut found) = (vec![folder.clone()], BTreeMap::new());
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let module =
                path.strip_prefix(&folder).unwrap().with_extension("").display().to_string().replace('/', "::");
            let module = module.strip_suffix("::mod").unwrap_or(&module).to_owned();
            if path.extension().is_none_or(|end| end != "rs")
                || module.split("::").any(|part| ["tests", "testing"].contains(&part))
            {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let product =
                text.split("#[cfg(test)]\nmod tests").next().unwrap().split("#[cfg(test)]\n#[path").next().unwrap();
            let lines = product.lines().map(|line| line.split("//").next().unwrap_or_default());
            let module = if ["lib", "main"].contains(&module.as_str()) { "crate".to_owned() } else { module };
            found.insert(module, lines.collect::<Vec<_>>().join("\n"));
        }
    }
    assert!(!found.is_empty(), "no sources in {name}");
    found
}

/// The members of a `use` tree, each with its whole path.
fn flatten(prefix: &str, tree: &str, out: &mut Vec<String>) {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        out.push(format!("{prefix}{tree}"));
        return;
    };
    let prefix = format!("{prefix}{}", &tree[..open]);
    let inner = &tree[open + 1..tree.rfind('}').unwrap_or(tree.len())];
    let (mut depth, mut start) = (0, 0);
    for (at, sign) in inner.char_indices() {
        match sign {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                flatten(&prefix, &inner[start..at], out);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !inner[start..].trim().is_empty() {
        flatten(&prefix, &inner[start..], out);
    }
}

/// The modules of the same crate that a module names.
fn imports(module: &str, text: &str, all: &BTreeMap<String, String>) -> BTreeSet<String> {
    let mut paths = Vec::new();
    for (at, _) in text.match_indices("use crate::") {
        let tree = &text[at + "use crate::".len()..];
        flatten("", &tree[..tree.find(';').unwrap_or(tree.len())], &mut paths);
    }
    let of_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    for (at, _) in text.match_indices("crate::") {
        let path: String = text[at + "crate::".len()..].chars().take_while(|c| of_path(*c)).collect();
        paths.push(path);
    }
    let parent = module.rsplit_once("::").map_or("", |(parent, _)| parent);
    for (at, _) in text.match_indices("super::") {
        let path: String = text[at + "super::".len()..].chars().take_while(|c| of_path(*c)).collect();
        if !path.starts_with("super") {
            paths.push(if parent.is_empty() { path } else { format!("{parent}::{path}") });
        }
    }
    let mut found = BTreeSet::new();
    for path in paths {
        let parts: Vec<&str> = path.trim_matches(':').split("::").map(str::trim).collect();
        let named = (1..=parts.len()).rev().map(|count| parts[..count].join("::")).find(|path| all.contains_key(path));
        found.extend(named.filter(|named| named != module));
    }
    found
}

/// The modules on a way from `from` back to itself, if there is one.
fn circle(from: &str, edges: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    let (mut waiting, mut seen) = (vec![vec![from.to_owned()]], BTreeSet::new());
    while let Some(path) = waiting.pop() {
        for next in &edges[path.last().unwrap()] {
            if next == from {
                return Some(path);
            }
            if seen.insert(next.clone()) {
                waiting.push([&path[..], std::slice::from_ref(next)].concat());
            }
        }
    }
    None
}

#[test]
fn no_file_imports_one_that_imports_it() {
    // The root of a crate has what is shared by all of it, and names every module.
    for name in CRATES {
        let all = modules(name);
        let edges: BTreeMap<String, BTreeSet<String>> =
            all.iter().map(|(module, text)| (module.clone(), imports(module, text, &all))).collect();
        for module in all.keys().filter(|module| *module != "crate") {
            assert_eq!(circle(module, &edges), None, "{name}: a circle of imports");
        }
    }
}

#[test]
fn the_steps_are_declared_in_order() {
    let text = std::fs::read_to_string(root().join("proxy/src/steps.rs")).unwrap();
    let declared: Vec<&str> = text.lines().filter_map(|line| line.split("mod ").nth(1)?.strip_suffix(';')).collect();
    assert_eq!(declared, STEPS);
    let files: BTreeSet<String> = modules("proxy").into_keys().filter(|module| module.starts_with("steps::")).collect();
    assert_eq!(files, STEPS.iter().map(|step| format!("steps::{step}")).collect());
}

#[test]
fn a_step_has_at_most_four_parameters() {
    for (module, text) in modules("proxy").into_iter().filter(|(module, _)| module.starts_with("steps::")) {
        for (at, _) in text.match_indices("pub(crate) ").filter(|(at, _)| {
            let rest = &text[at + "pub(crate) ".len()..];
            rest.starts_with("fn ") || rest.starts_with("async fn ")
        }) {
            let open = at + text[at + 10..].find('(').unwrap() + 11;
            let (mut depth, mut count, mut is_empty) = (0, 0, true);
            for sign in text[open..].chars() {
                match sign {
                    '(' | '<' | '[' => depth += 1,
                    ')' if depth == 0 => break,
                    ')' | '>' | ']' => depth -= 1,
                    ',' if depth == 0 => (count, is_empty) = (count + 1, true),
                    sign if !sign.is_whitespace() => is_empty = false,
                    _ => {}
                }
            }
            let count = count + usize::from(!is_empty);
            let name: String = text[at..open].chars().collect();
            assert!(count <= 4, "{module}: {name} has {count} parameters");
        }
    }
}

#[test]
fn only_the_halves_of_the_line_import_steps() {
    for (module, text) in modules("proxy") {
        let file = module.split("::").next().unwrap();
        let may = ["connection", "exchange", "passthrough", "server", "steps", "tunnel"].contains(&file);
        assert!(may || !text.contains("crate::steps"), "{module} imports a step");
    }
}
