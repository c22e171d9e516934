//! The sources of the files for commands about policies.

use std::collections::HashMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use control::{files_of, read_library, read_path, shown};
use model::PolicyName;
use model::text_file::remove_mark;
use policies::{PolicySet, PolicySource, Problem, render};

use crate::Context;
use crate::exit::{Answer, Failure, OrFail as _};
use crate::output;
use crate::session_options::looks_like_path;

/// Policy files, and the files of checks next to them.
#[derive(Default)]
pub(super) struct Files {
    pub(super) policies: Vec<PolicySource>,
    pub(super) suites: Vec<PolicySource>,
    /// The path of each, by its name in messages.
    paths: HashMap<String, PathBuf>,
}

impl Files {
    /// Reads these files and folders, or the configured ones if none is named. The checks of `a.yaml` are in
    /// `a.test.yaml`; for a folder, every file of checks is read.
    pub(super) fn read(context: &Context, paths: &[PathBuf]) -> Answer<Self> {
        let paths = if paths.is_empty() { context.config()?.policies } else { paths.to_vec() };
        if paths.is_empty() {
            let message = "there is nothing to read: name files, or a configuration that does (--config)";
            return Err(Failure::usage(anyhow!(message)));
        }
        let mut files = Self::default();
        for path in &paths {
            files.add(path)?;
        }
        Ok(files)
    }

    fn add(&mut self, path: &Path) -> Answer {
        if path.is_dir() {
            let found = read_path(path).or_usage()?;
            let files = files_of(path).with_context(|| format!("cannot read {}", shown(path))).or_usage()?;
            self.paths.extend(files.into_iter().map(|file| (shown(&file), file)));
            let suites = suites_of(path)?;
            if found.is_empty() && suites.is_empty() {
                return Err(Failure::usage(anyhow!("there is no policy file (*.yaml, *.yml) in {}", shown(path))));
            }
            found.into_iter().for_each(|source| add_once(&mut self.policies, source));
            for suite in suites {
                self.add_suite(&suite)?;
            }
            return Ok(());
        }
        if is_suite(path) {
            self.add_suite(path)?;
            // The policy that it checks is next to it.
            let beside = twin(path, ".test.", ".").filter(|policy| policy.is_file());
            return beside.map_or(Ok(()), |policy| self.add_policy(&policy));
        }
        self.add_policy(path)?;
        let beside = twin(path, ".", ".test.").filter(|suite| suite.is_file());
        beside.map_or(Ok(()), |suite| self.add_suite(&suite))
    }

    fn add_policy(&mut self, path: &Path) -> Answer {
        self.paths.insert(shown(path), path.to_owned());
        read_path(path).or_usage()?.into_iter().for_each(|source| add_once(&mut self.policies, source));
        Ok(())
    }

    fn add_suite(&mut self, path: &Path) -> Answer {
        self.paths.insert(shown(path), path.to_owned());
        read_path(path).or_usage()?.into_iter().for_each(|source| add_once(&mut self.suites, source));
        Ok(())
    }

    /// The path of the file.
    pub(super) fn path_of<'a>(&'a self, source: &'a PolicySource) -> &'a Path {
        self.paths.get(&source.name).map_or(Path::new(&source.name), PathBuf::as_path)
    }

    /// The policies, and the built-in ones.
    pub(super) fn with_library(&self) -> Vec<PolicySource> {
        with_library(self.policies.clone())
    }
}

/// A file that is named twice, or is also in a named folder, counts once.
fn add_once(sources: &mut Vec<PolicySource>, source: PolicySource) {
    if sources.iter().all(|own| own.name != source.name) {
        sources.push(source);
    }
}

/// The file may be one of the library itself.
pub(super) fn with_library(mut sources: Vec<PolicySource>) -> Vec<PolicySource> {
    let built_in = read_library().into_iter().filter(|one| sources.iter().all(|own| own.text != one.text));
    let built_in: Vec<_> = built_in.collect();
    sources.extend(built_in);
    sources
}

fn is_suite(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    [".test.yaml", ".test.yml"].iter().any(|end| name.ends_with(end))
}

/// The file with another suffix in the same folder.
fn twin(path: &Path, from: &str, to: &str) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let end = ["yaml", "yml"].into_iter().find(|end| name.ends_with(&format!("{from}{end}")))?;
    let stem = name.strip_suffix(&format!("{from}{end}"))?;
    Some(path.with_file_name(format!("{stem}{to}{end}")))
}

/// The files of checks in a folder, sorted.
pub(super) fn suites_of(folder: &Path) -> Answer<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", shown(folder))).or_usage()?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", shown(folder))).or_usage()?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if is_suite(&path) && !hidden && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// A set, and its policies that were named.
pub(super) struct Named {
    pub(super) set: PolicySet,
    pub(super) policies: Vec<PolicyName>,
}

/// The configured or built-in policies, and those of the named files; for each name or file, its policy. A named file
/// replaces the configured policy of the same name: it is probably its next version.
pub(super) fn named(context: &Context, wanted: &[String]) -> Answer<Named> {
    let mut sources: Vec<PolicySource> = Vec::new();
    let mut policies = Vec::new();
    let mut replaced = Vec::new();
    for text in wanted {
        if !looks_like_path(text) {
            policies.push(PolicyName::new(text.as_str()));
            continue;
        }
        for source in read_path(Path::new(text)).or_usage()? {
            replaced.extend(names_of(&source)?);
            if sources.iter().all(|own| own.text != source.text) {
                sources.push(source);
            }
        }
    }
    policies.extend(replaced.iter().cloned());
    for path in context.config()?.policies {
        for source in read_path(&path).or_usage()? {
            let new = sources.iter().all(|own| own.text != source.text);
            if new && (replaced.is_empty() || names_of(&source)?.iter().all(|name| !replaced.contains(name))) {
                sources.push(source);
            }
        }
    }
    let set = compiled(&with_library(sources))?;
    for name in &policies {
        if set.names().all(|own| own != name) {
            let known: Vec<_> = set.names().map(PolicyName::as_str).collect();
            let message = format!("there is no policy \"{name}\"; there are {}", known.join(", "));
            return Err(Failure::usage(anyhow!(message)));
        }
    }
    Ok(Named { set, policies })
}

/// The names of the policies in one file.
fn names_of(source: &PolicySource) -> Answer<Vec<PolicyName>> {
    Ok(compiled(std::slice::from_ref(source))?.names().cloned().collect())
}

/// Compiles files that must already be valid.
pub(super) fn compiled(sources: &[PolicySource]) -> Answer<PolicySet> {
    policies::compile(sources).map_err(|problems| broken(&problems))
}

/// Prints the problems of files that a command needs.
pub(super) fn broken(problems: &[Problem]) -> Failure {
    output::say(render::human(problems).trim_end());
    Failure::usage(anyhow!("the policy files cannot be used"))
}

/// The text of a file, or of standard input for `-`.
pub(super) fn read_input(path: &Path) -> Answer<String> {
    if path.as_os_str() != "-" {
        return crate::client::read_text(path);
    }
    let mut text = String::new();
    std::io::stdin().lock().read_to_string(&mut text).context("cannot read standard input").or_usage()?;
    remove_mark(&mut text);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_again_by_their_names_in_messages() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a\\n.yaml", "a\n.yaml", "b.test.yaml", "c.yaml"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let mut files = Files::default();
        files.add(folder.path()).unwrap();
        assert_eq!((files.policies.len(), files.suites.len()), (3, 1));
        for source in files.policies.iter().chain(&files.suites) {
            assert_eq!(fs::read_to_string(files.path_of(source)).unwrap(), source.text);
        }
    }
}
