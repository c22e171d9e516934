//! Whether all evidence is present before any other work.
//!
//! The journal, its `head`, the index and the vault each contain information about the others. `head` and the index contain
//! the last record. The vault seals one at each of its changes, at each start and at each stop. So none of them can be
//! removed, or replaced by an older copy, without a trace. An empty folder is new; a folder that lacks a part is not.

use std::fmt;
use std::io;
use std::sync::Arc;

use anyhow::Context as _;
use audit::{Found, HeadFile, Journal, Kind, KnownHead, Past, Record};
use control::session_record;
use model::{Reason, Timestamp};
use serde::{Deserialize, Serialize};
use sessions::{Registry, Session};
use vault::{Secret, Vault};

/// The name of the last known record in the vault.
const ANCHOR: &str = "journal-anchor";

/// The evidence about the journal outside of the journal itself.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The record that the vault sealed last.
    pub vault: Option<KnownHead>,
    /// How many credentials the vault contains; each of them has a record.
    pub credentials: usize,
    /// Whether the index contains records.
    pub index: bool,
    /// Whether there are files of sessions; each of them has a record.
    pub has_sessions: bool,
}

/// A missing part that no crash explains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// There is no journal, but there was one.
    JournalGone,
    /// The journal lacks a record that the vault sealed: it was truncated, or is another one.
    NotOfVault(u64),
    /// The journal has records and no `head`.
    NoHead,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JournalGone => f.write_str("the journal is gone, but this data folder was in use"),
            Self::NotOfVault(seq) => {
                write!(
                    f,
                    "the journal does not hold record {seq}, which the vault was sealed with: it was cut or replaced"
                )
            }
            Self::NoHead => f.write_str("the journal's file `head` is gone, so records at its end may be gone too"),
        }
    }
}

/// The missing parts.
///
/// # Errors
/// A journal that cannot be read.
pub(crate) fn findings(known: &Known, found: &Found) -> io::Result<Vec<Finding>> {
    let noted = matches!(found.head_file, HeadFile::Noted(seq) if seq > 0);
    if found.end.seq == 0 {
        let was_used = noted || known.vault.is_some() || known.index || known.credentials > 0 || known.has_sessions;
        return Ok(if was_used { vec![Finding::JournalGone] } else { Vec::new() });
    }
    let mut findings = Vec::new();
    if let Some(sealed) = &known.vault
        && !found.contains(sealed)?
    {
        findings.push(Finding::NotOfVault(sealed.seq));
    }
    if found.head_file == HeadFile::Missing {
        findings.push(Finding::NoHead);
    }
    Ok(findings)
}

/// Why a start is refused.
pub(crate) fn refusal(findings: &[Finding]) -> String {
    let list: Vec<_> = findings.iter().map(ToString::to_string).collect();
    format!(
        "vault_rollback: {}. Put the journal back as it was; to go on without what it said, start once with \
         `egret serve --accept-rollback`: all sessions end then, and a record says so",
        list.join("; ")
    )
}

#[derive(Serialize, Deserialize)]
struct Anchor {
    seq: u64,
    hash: String,
}

/// The record that the vault sealed last.
///
/// # Errors
/// A value that does not open or is not one of ours.
#[expect(
    clippy::disallowed_methods,
    reason = "the number and hash of a record are not secret; they are only sealed like a secret"
)]
pub(crate) fn sealed(vault: &Vault) -> anyhow::Result<Option<KnownHead>> {
    let Some(text) = vault.open_internal(ANCHOR).context("cannot open the vault's anchor of the journal")? else {
        return Ok(None);
    };
    let Anchor { seq, hash } = serde_json::from_slice(text.expose_secret())
        .context("the vault's anchor of the journal cannot be understood")?;
    Ok(Some(KnownHead { seq, hash }))
}

/// From now on every change of the vault also seals the journal's last record.
pub(crate) fn bind(vault: &Vault, journal: &Journal) {
    let journal = journal.clone();
    vault.seal_along(ANCHOR, move || anchor(&journal));
}

/// Seals the journal's last record now.
///
/// # Errors
/// A vault that cannot be written.
pub(crate) fn seal(vault: &Vault, journal: &Journal) -> anyhow::Result<()> {
    let Some(text) = anchor(journal) else { return Ok(()) };
    vault.seal_internal(ANCHOR, &text).context("the vault cannot seal the journal's last record")
}

/// As [`seal`], and records the resulting generation of the vault, so that an older file is detected from then on.
///
/// # Errors
/// A vault that cannot be written.
pub(crate) fn seal_and_record(vault: &Vault, journal: &Journal) -> anyhow::Result<()> {
    seal(vault, journal)?;
    journal.append(Record { generation: Some(vault.generation()), ..Record::new(Kind::VaultOpened) });
    journal.flush();
    Ok(())
}

/// The journal's last record, once it is on disk; `None` if the disk does not accept it.
fn anchor(journal: &Journal) -> Option<Secret> {
    let head = journal.synced_head().ok().filter(|head| head.seq > 0)?;
    let text = serde_json::to_vec(&Anchor { seq: head.seq, hash: head.hash }).ok()?;
    Some(Secret::new(text))
}

/// Ends every session: the records that would show which of them had ended are incomplete.
pub(crate) fn end_all(sessions: &Registry, journal: &Journal, now: Timestamp) {
    for session in sessions.list().into_iter().filter(|session| session.is_live(now)) {
        end(sessions, journal, &session, "records of its time are missing", now);
    }
}

/// Sessions whose files are older than the records: their files were replaced by old copies, which restores no session.
///
/// # Errors
/// An index that cannot be read.
pub(crate) fn settle(sessions: &Registry, journal: &Journal, past: &Past<'_>, now: Timestamp) -> anyhow::Result<()> {
    let is_whole = past.first_seq()? == Some(1);
    for session in sessions.list().into_iter().filter(|session| session.is_live(now)) {
        let history = past.session_history(&session.id)?;
        if history.is_ended {
            end(sessions, journal, &session, "it had ended, and its file was put back", now);
            continue;
        }
        // A session is recorded before its token is issued.
        if is_whole && !history.is_created {
            end(sessions, journal, &session, "no record of its creation", now);
            continue;
        }
        settle_grants(sessions, journal, past, &session, &history.revoked)?;
    }
    journal.flush();
    Ok(())
}

fn settle_grants(
    sessions: &Registry,
    journal: &Journal,
    past: &Past<'_>,
    session: &Arc<Session>,
    revoked: &[model::CredentialId],
) -> anyhow::Result<()> {
    for grant in &session.grants {
        let id = &grant.credential;
        if revoked.contains(id) && !grant.is_revoked() {
            sessions.revoke_grant(&session.id, id)?;
            let detail = Some(format!("{id} had been taken away, and the session's file was put back").into());
            journal.append(Record { detail, ..session_record(session, Kind::SessionChanged) });
        }
        // Also without a bound: the count is shown, and must match that of the vault.
        let used = past.uses_in_session(&session.id, id)?;
        sessions.raise_count(session, id, u32::try_from(used).unwrap_or(u32::MAX))?;
    }
    Ok(())
}

fn end(sessions: &Registry, journal: &Journal, session: &Arc<Session>, why: &'static str, now: Timestamp) {
    tracing::warn!(session = %session.id, why, "a session is ended at the start");
    if let Err(error) = sessions.end(&session.id, now) {
        // It is over for this process anyway.
        tracing::error!(session = %session.id, %error, "the end of a session is not written down");
    }
    let detail = Some(why.into());
    let code = Some(Reason::SessionEnded);
    journal.append(Record { code, detail, ..session_record(session, Kind::SessionEnded) });
}

#[cfg(test)]
mod tests {
    use super::*;
    use audit::{Durability, Index, JournalError, Settings};
    use std::path::Path;

    fn settings() -> Settings {
        Settings { reserve_bytes: 0, ..Settings::new(Durability::Process) }
    }

    /// A journal with three records; returns its heads.
    fn journal(dir: &Path) -> Vec<KnownHead> {
        let (journal, _) = Journal::open_with(dir, settings()).unwrap();
        let heads = (0..3).map(|_| {
            journal.append(Record::new(Kind::VaultOpened));
            journal.synced_head().unwrap()
        });
        heads.collect()
    }

    fn found(dir: &Path, known: &Known) -> Vec<Finding> {
        let mut seen = Vec::new();
        let refused = Journal::open_if(dir, settings(), |found| {
            seen = findings(known, found).unwrap();
            Err(String::new())
        });
        assert!(matches!(refused, Err(JournalError::Refused(_))));
        seen
    }

    fn known(vault: Option<&KnownHead>, index: Option<&KnownHead>) -> Known {
        Known { vault: vault.cloned(), index: index.is_some(), ..Known::default() }
    }

    #[test]
    fn t213_an_empty_folder_is_new() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(found(&dir.path().join("journal"), &Known::default()), []);
        drop(Journal::open_with(dir.path(), settings()).unwrap());
        assert_eq!(found(dir.path(), &Known::default()), [], "a first start that was killed");
    }

    #[test]
    fn t213_a_journal_that_is_gone_is_missed_by_each_of_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let head = journal(&dir.path().join("journal")).pop();
        let gone = dir.path().join("gone");
        for known in [
            known(head.as_ref(), None),
            known(None, head.as_ref()),
            Known { credentials: 1, ..Known::default() },
            Known { has_sessions: true, ..Known::default() },
        ] {
            assert_eq!(found(&gone, &known), [Finding::JournalGone], "{known:?}");
        }
        std::fs::remove_file(dir.path().join("journal/00000001.jsonl")).unwrap();
        assert_eq!(found(&dir.path().join("journal"), &Known::default()), [Finding::JournalGone], "by its own head");
    }

    #[test]
    fn t213_a_cut_or_another_journal_is_not_the_vaults() {
        let dir = tempfile::tempdir().unwrap();
        let heads = journal(dir.path());
        for head in &heads {
            assert_eq!(found(dir.path(), &known(Some(head), Some(head))), []);
        }
        let later = KnownHead { seq: 9, hash: "0".repeat(64) };
        assert_eq!(found(dir.path(), &known(Some(&later), None)), [Finding::NotOfVault(9)]);
        let other = tempfile::tempdir().unwrap();
        let foreign = journal(other.path()).remove(1);
        assert_eq!(found(dir.path(), &known(Some(&foreign), None)), [Finding::NotOfVault(2)]);
        // Records that only the index has may be lost with the power: that is recorded, not refused.
        assert_eq!(found(dir.path(), &known(heads.last(), Some(&later))), []);
    }

    #[test]
    fn t213_a_head_that_is_gone_is_missed() {
        let dir = tempfile::tempdir().unwrap();
        let heads = journal(dir.path());
        std::fs::remove_file(dir.path().join("head")).unwrap();
        for known in [Known::default(), known(heads.last(), heads.last())] {
            assert_eq!(found(dir.path(), &known), [Finding::NoHead]);
        }
        let said = refusal(&[Finding::NoHead]);
        assert!(said.starts_with("vault_rollback: ") && said.contains("--accept-rollback"), "{said}");
    }

    fn sessions(dir: &Path) -> Registry {
        Registry::open(dir, Timestamp::now()).unwrap()
    }

    #[test]
    fn t213_a_session_file_that_was_put_back_revives_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (files, now) = (dir.path().join("sessions"), Timestamp::now());
        let (journal, _) = Journal::open_with(&dir.path().join("journal"), settings()).unwrap();
        let index = Index::open(&dir.path().join("journal"), &dir.path().join("index.db")).unwrap();
        let registry = sessions(&files);
        let bounds = sessions::Bounds { uses: Some(5), ..sessions::Bounds::default() };
        let grants = ["github", "maps"].map(|name| sessions::GrantRequest {
            credential: name.into(),
            env: None,
            prefix: None,
            bounds: bounds.clone(),
            audience: None,
        });
        let make = || {
            let new = sessions::NewSession { grants: grants.to_vec(), ..sessions::NewSession::default() };
            registry.create(new, now).unwrap().session
        };
        let [ended, kept, unknown] = [make(), make(), make()];
        let before: Vec<_> = std::fs::read_dir(&files).unwrap().flatten().map(|file| file.path()).collect();
        let before: Vec<_> = before.into_iter().map(|path| (std::fs::read(&path).unwrap(), path)).collect();
        journal.append(session_record(&ended, Kind::SessionCreated));
        journal.append(session_record(&kept, Kind::SessionCreated));
        registry.end(&ended.id, now).unwrap();
        journal.append(session_record(&ended, Kind::SessionEnded));
        registry.revoke_grant(&kept.id, &"maps".into()).unwrap();
        let credentials = vec![audit::CredentialUse { name: "maps".into(), version: 1 }];
        journal.append(Record { credentials, ..session_record(&kept, Kind::SessionChanged) });
        let credentials = vec![audit::CredentialUse { name: "github".into(), version: 1 }];
        journal.append(Record { credentials, ..session_record(&kept, Kind::ExchangeOpened) });
        journal.flush();
        index.catch_up().unwrap();
        for (text, path) in before {
            std::fs::write(path, text).unwrap();
        }
        let registry = sessions(&files);
        settle(&registry, &journal, &index.past().unwrap(), now).unwrap();
        let get = |session: &Session| registry.get(&session.id).unwrap();
        assert!(!get(&ended).is_live(now) && !get(&unknown).is_live(now) && get(&kept).is_live(now));
        assert!(!get(&kept).grants(&"maps".into()) && get(&kept).grants(&"github".into()));
        assert_eq!(get(&kept).grants[0].used(), 1);
        assert!(!sessions(&files).get(&ended.id).unwrap().is_live(now), "it is written down");
        end_all(&registry, &journal, now);
        assert!(!get(&kept).is_live(now));
    }
}
