//! Policy files: read from where the configuration says, compiled, and put in force whole.
//!
//! A file that is not acceptable changes nothing: the set before stays in force, and why the new
//! one was refused is logged, recorded and shown by `/healthz`.

use std::fmt;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use audit::{Journal, Kind, Record};
use model::{PolicyName, Reason, SessionId};
use policies::{PolicySet, PolicySource};

use crate::wire::PolicyDocument;

const MAX_FILE_BYTES: u64 = 1 << 20;
const MAX_FILES: usize = 10_000;

/// Reads policies and holds the set in force.
pub struct Loader {
    paths: Mutex<Vec<PathBuf>>,
    session_dir: PathBuf,
    set: Arc<ArcSwap<PolicySet>>,
    /// Held while files are read and compiled, so that the newest reading wins.
    state: Mutex<State>,
}

/// What the set in force was compiled from.
#[derive(Default)]
struct State {
    /// The built-in policies and the configured files, as they were when they were taken.
    configured: Vec<PolicySource>,
    /// The files that live sessions brought along.
    brought: Vec<PolicySource>,
    /// Why the configured files as they were last seen are not in force.
    rejected: Option<String>,
}

impl State {
    /// Everything that is in force together. Two sessions may bring the same file, or one that is
    /// configured as well: it counts once.
    fn compile(configured: &[PolicySource], brought: &[PolicySource]) -> Result<PolicySet, LoadError> {
        let mut sources = configured.to_vec();
        for one in brought {
            if !sources.iter().any(|source| source.text == one.text) {
                sources.push(one.clone());
            }
        }
        if sources.len() > MAX_FILES {
            return Err(LoadError::TooMany);
        }
        policies::compile(&sources).map_err(LoadError::Problems)
    }
}

/// Why policies were not taken.
#[derive(Debug)]
pub enum LoadError {
    /// A file or folder cannot be read.
    Read {
        /// Which.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A session's file cannot be kept.
    Write {
        /// Where.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The files do not compile; everything that is wrong with them.
    Problems(Vec<policies::Problem>),
    /// There are more files than are taken.
    TooMany,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, source } => write!(f, "cannot read policies from {}: {source}", shown(path)),
            Self::Write { path, source } => write!(f, "cannot keep the policy file {}: {source}", shown(path)),
            Self::TooMany => write!(f, "there are more than {MAX_FILES} policy files"),
            Self::Problems(problems) => {
                for (place, problem) in problems.iter().enumerate() {
                    write!(f, "{}{problem}", if place == 0 { "" } else { "\n\n" })?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for LoadError {}

impl Loader {
    /// Reads and compiles everything: the built-in policies, `paths` (files, or folders of `*.yaml`
    /// and `*.yml`), and the files that live sessions brought along; those of others are removed.
    ///
    /// # Errors
    /// A path that cannot be read, or files that do not compile.
    pub fn open(paths: Vec<PathBuf>, session_dir: &Path, lives: impl Fn(&str) -> bool) -> Result<Self, LoadError> {
        let failed = |source| LoadError::Read { path: session_dir.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(session_dir).map_err(failed)?;
        for path in files_of(session_dir).map_err(failed)? {
            if !lives(owner_of(&path)) {
                fs::remove_file(&path).map_err(failed)?;
            }
        }
        let state = State { configured: read_all(&paths)?, brought: read_path(session_dir)?, rejected: None };
        let set = Arc::new(ArcSwap::from_pointee(State::compile(&state.configured, &state.brought)?));
        Ok(Self { paths: Mutex::new(paths), session_dir: session_dir.to_owned(), set, state: Mutex::new(state) })
    }

    /// The built-in policies alone, for commands that must work where the files do not.
    ///
    /// # Errors
    /// When the built-in policies do not compile, which a test rules out.
    pub fn built_in(session_dir: &Path, rejected: String) -> Result<Self, LoadError> {
        let state = State { configured: read_library(), brought: Vec::new(), rejected: Some(rejected) };
        let set = Arc::new(ArcSwap::from_pointee(State::compile(&state.configured, &state.brought)?));
        Ok(Self { paths: Mutex::default(), session_dir: session_dir.to_owned(), set, state: Mutex::new(state) })
    }

    /// The set in force; it is replaced whole.
    pub fn set(&self) -> &Arc<ArcSwap<PolicySet>> {
        &self.set
    }

    /// Reads these files and folders from the next reload on.
    pub fn set_paths(&self, paths: Vec<PathBuf>) {
        *self.paths.lock().unwrap_or_else(PoisonError::into_inner) = paths;
    }

    /// Why the files as they were last seen are not in force, if so.
    pub fn rejected(&self) -> Option<String> {
        self.lock().rejected.clone()
    }

    /// Reads the configured files again and puts them in force; tells whether anything changed.
    ///
    /// # Errors
    /// A path that cannot be read, or files that do not compile: the set before stays in force.
    pub fn reload(&self, journal: &Journal) -> Result<bool, LoadError> {
        let mut state = self.lock();
        let paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let loaded = read_all(&paths).and_then(|read| Ok((State::compile(&read, &state.brought)?, read)));
        match loaded {
            Ok((set, read)) => {
                if state.rejected.take().is_some() {
                    tracing::info!("the policy files are acceptable again");
                }
                state.configured = read;
                for gone in self.set.load().names().filter(|name| !set.is_known(name)) {
                    tracing::warn!(policy = %gone, "the policy is gone; sessions that name it are refused as policy_unavailable");
                }
                Ok(self.put_in_force(set, journal))
            }
            Err(error) => {
                let text = error.to_string();
                // The same broken file is told once, however often it is looked at.
                if state.rejected.as_deref() != Some(text.as_str()) {
                    journal.append(Record {
                        detail: Some(brief(&error).into()),
                        code: Some(Reason::PolicyRejected),
                        ..Record::new(Kind::PolicyRejected)
                    });
                    tracing::error!("policies are not taken, the ones before stay in force:\n{text}");
                    state.rejected = Some(text);
                }
                Err(error)
            }
        }
    }

    /// Takes the policy files that a session brings along; gives the names of their policies. They are
    /// compiled beside what is in force: the configured files may be broken, or half written, meanwhile.
    ///
    /// # Errors
    /// Files that do not compile, alone or beside the others: nothing has changed then.
    pub fn add(
        &self,
        session: &SessionId,
        documents: &[PolicyDocument],
        journal: &Journal,
    ) -> Result<Vec<PolicyName>, LoadError> {
        let mut names = Vec::new();
        if documents.is_empty() {
            return Ok(names);
        }
        for document in documents {
            let source = PolicySource { name: document.name.clone(), text: document.text.clone() };
            let alone = policies::compile(&[source]).map_err(LoadError::Problems)?;
            names.extend(alone.names().cloned());
        }
        let mut state = self.lock();
        let mut brought = state.brought.clone();
        let paths: Vec<_> =
            (0..documents.len()).map(|place| self.session_dir.join(format!("{session}.{place}.yaml"))).collect();
        for (path, document) in paths.iter().zip(documents) {
            brought.push(PolicySource { name: path.display().to_string(), text: document.text.clone() });
        }
        let set = State::compile(&state.configured, &brought)?;
        for (path, document) in paths.iter().zip(documents) {
            if let Err(source) = write_private(path, document.text.as_bytes()) {
                self.remove_files(session);
                return Err(LoadError::Write { path: path.clone(), source });
            }
        }
        state.brought = brought;
        self.put_in_force(set, journal);
        Ok(names)
    }

    /// Drops the policy files that a session brought along.
    pub fn remove(&self, session: &SessionId, journal: &Journal) {
        let mut state = self.lock();
        self.remove_files(session);
        let before = state.brought.len();
        state.brought.retain(|source| owner_of(Path::new(&source.name)) != session.as_str());
        if state.brought.len() == before {
            return;
        }
        match State::compile(&state.configured, &state.brought) {
            Ok(set) => {
                self.put_in_force(set, journal);
            }
            Err(error) => tracing::error!("a past session's policies stay in force:\n{error}"),
        }
    }

    fn remove_files(&self, session: &SessionId) {
        let files = files_of(&self.session_dir).unwrap_or_default();
        for path in files.iter().filter(|path| owner_of(path) == session.as_str()) {
            if let Err(error) = fs::remove_file(path) {
                tracing::warn!(file = %path.display(), %error, "a past session's policy file cannot be removed");
            }
        }
    }

    /// Replaces the set in force; tells whether it is another one. For the holder of the state's lock.
    fn put_in_force(&self, set: PolicySet, journal: &Journal) -> bool {
        let changed = set.digest() != self.set.load().digest();
        if changed {
            let snapshot = Some(set.digest().clone());
            self.set.store(Arc::new(set));
            journal.append(Record { snapshot, ..Record::new(Kind::PolicyLoaded) });
            tracing::info!(snapshot = %self.set.load().digest(), "policies are in force");
        }
        changed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the built-in policies are, under the names they have in messages.
pub fn read_library() -> Vec<PolicySource> {
    policies::library().iter().map(PolicySource::from).collect()
}

/// Reads one path: a file, or every policy file of a folder.
///
/// # Errors
/// A path that is missing, is not text, or is too large.
pub fn read_path(path: &Path) -> Result<Vec<PolicySource>, LoadError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| LoadError::Read { path, source }
    };
    let files = match fs::metadata(path).map_err(failed(path))?.is_dir() {
        true => files_of(path).map_err(failed(path))?,
        // What a command names may be a pipe.
        false => return Ok(vec![read_file(path).map_err(failed(path))?]),
    };
    files.iter().map(|file| read_regular(file).map_err(failed(file))).collect()
}

/// The built-in policies and everything that is configured.
fn read_all(paths: &[PathBuf]) -> Result<Vec<PolicySource>, LoadError> {
    let mut sources = read_library();
    for path in paths {
        match path.is_dir() {
            true => sources.extend(read_path(path)?),
            false => sources.push(read_regular(path).map_err(|source| LoadError::Read { path: path.clone(), source })?),
        }
    }
    Ok(sources)
}

/// Reads a file that somebody put there: what is none, such as a pipe, would be waited for without end.
fn read_regular(path: &Path) -> io::Result<PolicySource> {
    match fs::metadata(path)?.is_file() {
        true => read_file(path),
        false => Err(io::Error::other("it is not a regular file")),
    }
}

fn read_file(path: &Path) -> io::Result<PolicySource> {
    let mut text = String::new();
    fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("the file is larger than {MAX_FILE_BYTES} bytes")));
    }
    Ok(PolicySource { name: shown(path), text })
}

/// A path for messages: what a terminal would obey and what is no text is written as an escape, and no two paths look
/// alike. It is not for opening the file.
pub fn shown(path: &Path) -> String {
    let mut escaped = String::new();
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        escaped.extend(chunk.valid().escape_debug());
        escaped.extend(chunk.invalid().iter().flat_map(|byte| byte.escape_ascii()).map(char::from));
    }
    escaped.replace("\\\"", "\"").replace("\\'", "'")
}

/// The policy files of a folder, sorted; editors' and mounters' hidden files are not among them.
///
/// # Errors
/// A folder that cannot be read.
pub fn files_of(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        let policy = matches!(path.extension().and_then(|end| end.to_str()), Some("yaml" | "yml"));
        let checks = path.file_stem().is_some_and(|stem| stem.as_encoded_bytes().ends_with(b".test"));
        if policy && !checks && !hidden && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The session whose file it is: what stands before the first dot.
fn owner_of(path: &Path) -> &str {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.split('.').next().unwrap_or_default()
}

fn write_private(path: &Path, text: &[u8]) -> io::Result<()> {
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text)
}

fn brief(error: &LoadError) -> String {
    match error {
        LoadError::Read { .. } | LoadError::Write { .. } | LoadError::TooMany => error.to_string(),
        LoadError::Problems(problems) => problems
            .first()
            .map(|first| format!("{}:{}:{}: {} ({})", first.file, first.line, first.column, first.message, first.code))
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "policy: p\nrules: [{id: a, allow: {host: a.example}}]\n";

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

    #[test]
    fn a_pipe_is_not_waited_for_where_files_are_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("a.yaml"), POLICY).unwrap();
        assert_eq!(read_path(dir.path()).unwrap().len(), 1);
        let made = std::process::Command::new("mkfifo").arg(at("b.yaml")).status().unwrap();
        assert!(made.success());
        for refused in [read_path(dir.path()), read_all(&[at("b.yaml")])] {
            assert!(refused.unwrap_err().to_string().ends_with("b.yaml: it is not a regular file"));
        }
        // A command may be given the end of a pipe.
        let writer = std::thread::spawn({
            let pipe = at("b.yaml");
            move || fs::write(pipe, POLICY)
        });
        assert_eq!(read_path(&at("b.yaml")).unwrap()[0].text, POLICY);
        writer.join().unwrap().unwrap();
    }
}
