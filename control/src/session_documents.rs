//! The documents of live sessions at rest: one private file per session, with the exact texts of its digest.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::PolicyDocument;
use model::SessionId;
use model::text_file::without_mark;
use policies::{InForce, PolicySource};
use serde::{Deserialize, Serialize};
use sessions::Session;

const VERSION: u32 = 1;
/// Each byte of a text needs at most six in JSON.
const MAX_FILE_BYTES: u64 = 6 * policies::MAX_SESSION_DOCUMENT_BYTES as u64 + (64 << 10);

/// The folder of these files.
pub(crate) struct Store {
    dir: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    documents: Vec<PolicyDocument>,
}

impl Store {
    /// Opens the folder, and creates it (0700) if it is missing.
    ///
    /// # Errors
    /// If it cannot be created.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// The file of a session.
    pub(crate) fn path_of(&self, session: &SessionId) -> PathBuf {
        self.dir.join(format!("{session}.json"))
    }

    /// Writes the documents of a session: a new file, flushed, then renamed.
    ///
    /// # Errors
    /// Any error of the file system; no file is left then.
    pub(crate) fn save(&self, session: &SessionId, documents: &[PolicyDocument]) -> io::Result<()> {
        let target = self.path_of(session);
        let fresh = target.with_extension("json.new");
        let written = (|| {
            let text = serde_json::to_vec(&Kept { version: VERSION, documents: documents.to_vec() })?;
            let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            file.write_all(&text)?;
            file.sync_data()?;
            fs::rename(&fresh, &target)?;
            fs::File::open(&self.dir)?.sync_all()
        })();
        if written.is_err() {
            forget(&fresh);
            forget(&target);
        }
        written
    }

    /// The original documents of a session.
    ///
    /// # Errors
    /// A file that is missing, unreadable, or of another version.
    pub(crate) fn load(&self, session: &SessionId) -> io::Result<Vec<PolicyDocument>> {
        let mut text = Vec::new();
        fs::File::open(self.path_of(session))?.take(MAX_FILE_BYTES + 1).read_to_end(&mut text)?;
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(io::Error::other("the file is larger than documents of a session can be"));
        }
        let kept: Kept = serde_json::from_slice(without_mark(&text))?;
        match kept.version {
            VERSION => Ok(kept.documents),
            other => Err(io::Error::other(format!("the file has version {other}, not {VERSION}"))),
        }
    }

    /// Publishes the documents of a live session again.
    ///
    /// # Errors
    /// Why they differ from the original ones, or are no longer acceptable.
    pub(crate) fn restore(&self, in_force: &InForce, session: &Session) -> Result<(), String> {
        let Some(own) = &session.documents else { return Ok(()) };
        let documents = self.load(&session.id).map_err(|error| format!("its documents cannot be read: {error}"))?;
        let compiled = in_force.compile(&sources(&documents));
        let compiled = compiled.map_err(|_| "its documents are not acceptable to this version of Egret".to_owned())?;
        if *compiled.digest() != own.digest {
            return Err("its documents are not those that it brought".to_owned());
        }
        in_force.restore(&session.id, &session.tenant, compiled);
        Ok(())
    }

    /// Removes every file except those of these sessions.
    pub(crate) fn retain(&self, sessions: &[Arc<Session>]) {
        let kept: Vec<PathBuf> = sessions.iter().map(|session| self.path_of(&session.id)).collect();
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        for entry in entries.flatten() {
            if !kept.contains(&entry.path()) {
                forget(&entry.path());
            }
        }
    }

    /// Removes the file of a session, if it has one.
    pub(crate) fn remove(&self, session: &SessionId) {
        forget(&self.path_of(session));
    }
}

/// The documents in the form of the compiler.
pub(crate) fn sources(documents: &[PolicyDocument]) -> Vec<PolicySource> {
    let source = |document: &PolicyDocument| PolicySource { name: document.name.clone(), text: document.text.clone() };
    documents.iter().map(source).collect()
}

fn forget(path: &Path) {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            model::log_limited!(warn, file = %path.display(), %error, "the documents of a past session cannot be removed")
        }
    }
}
