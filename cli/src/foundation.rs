//! The foundation of every command that works in the data folder: the folder's lock, the vault, the CA, the journal,
//! the sessions and the policies, opened in this order.
//!
//! A part that never existed is created and reported. A part that is configured but missing or unusable stops the
//! start. There is no degraded mode.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use audit::{Index, Journal, Kind, Past, Record};
use certs::{Ca, Trust};
use control::change::{key_replaced, write_failed};
use control::env::TRUSTSTORE_PASSWORD;
use control::trust::TrustFiles;
use control::{CaFacts, LoadError, Loader, print_span};
use jiff::SignedDuration;
use model::{Reason, TenantId, Timestamp};
use policies::Subject;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use sessions::Registry;
use vault::{
    KeyFile, KeySource, Memory, Passphrase, PassphraseAndKeyFile, Secret, Vault, VaultError, passphrase_weakness,
};

use crate::config::{Config, Key};
use crate::data_dir::{DataDir, Lock, replace};
use crate::environment;
use crate::evidence::{self, Finding, Known};
use crate::exit::{Answer, Failure, OrFail as _};
use crate::timekeeper;
use crate::tries::Tries;

/// The names of the CA's values in the vault.
const CA_KEY: &str = "ca-key";
const CA_CERTIFICATE: &str = "ca-certificate";

const MAX_PASSPHRASE_BYTES: usize = 4096;

/// All open parts.
pub(crate) struct Foundation {
    pub(crate) dir: DataDir,
    pub(crate) config: Config,
    pub(crate) vault: Arc<Vault>,
    pub(crate) ca: Arc<Ca>,
    pub(crate) trust: Trust,
    pub(crate) journal: Journal,
    pub(crate) index: Arc<Index>,
    pub(crate) sessions: Arc<Registry>,
    pub(crate) policies: Arc<Loader>,
    /// Messages about created parts and other facts for people.
    pub(crate) notes: Vec<String>,
    /// Last, so that the folder's lock is released after everything else.
    pub(crate) lock: Lock,
}

/// The action for policy files that cannot be used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnPolicyError {
    /// Stop the start: no process may run under other policies than the configured ones.
    Fail,
    /// Continue with the built-in ones: the command does not judge requests.
    UseBuiltin,
}

/// The action for a vault that is older than the records show.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rollback {
    /// Stop the start: the old copy may contain revoked credentials.
    Refuse,
    /// Continue with it, and record that.
    Accept,
}

/// The action for a wall clock that is behind the latest time in the records.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum EarlierClock {
    /// Judge ends by the later time, and record that.
    Distrust,
    /// Treat the wall clock as correct from now on.
    Accept,
}

/// Parts created because they never existed; recorded as soon as there is a journal.
#[derive(Default)]
struct Made {
    vault: bool,
    ca: bool,
    /// Why the configured passphrase should lock no new vault.
    weak_passphrase: Option<&'static str>,
    notes: Vec<String>,
}

impl Foundation {
    /// Opens all parts.
    ///
    /// # Errors
    /// 2 for a configured part that is unusable, 3 for a store that cannot be used.
    pub(crate) fn open(
        config: Config,
        dir: DataDir,
        lock: Lock,
        on_policy_error: OnPolicyError,
        rollback: Rollback,
        earlier_clock: EarlierClock,
    ) -> Answer<Self> {
        let mut made = Made::default();
        if vault::probe() == Memory::Ordinary {
            made.notes.push(
                "secrets can be swapped to disk: the limit of locked memory is too low; raise it (ulimit -l, LimitMEMLOCK= of systemd)"
                    .to_owned(),
            );
        }
        let vault = Arc::new(open_vault(&config, &dir, &mut made)?);
        let Opened { journal, recovery, latest, accepted, had_index } =
            open_journal(&config, &dir, &vault, made.vault, rollback)?;
        if recovery != audit::Recovery::default() {
            tracing::warn!("the last run did not end in order; its journal was repaired: {}", repaired(&recovery));
        }
        let ahead = match (latest, earlier_clock) {
            (Some(latest), EarlierClock::Accept) => timekeeper::accept(&journal, latest),
            (Some(latest), EarlierClock::Distrust) => {
                timekeeper::begin(&journal, latest);
                SignedDuration::ZERO
            }
            (None, _) => SignedDuration::ZERO,
        };
        let now = clock::now();
        record_tries(&journal, &Tries::of(&dir));
        record_recovery(&journal, &vault);
        record_accepted(&journal, &vault, &accepted);
        let index = Arc::new(Index::open(&dir.journal(), &dir.index()).or_unreachable()?);
        let has_lost = mark_loss(&journal, &index).or_unreachable()? || recovery.has_lost_records();
        if !had_index && journal.last_seq() > 0 && !made.vault {
            journal.append(Record::new(Kind::SidecarIndexRebuilt));
        }
        // A start does not wait for the index to be complete.
        let past = index.past().or_unreachable()?;
        check_generation(&vault, &journal, &past, rollback)?;
        let ca =
            open_ca(&vault, Timestamp::now(), &mut made).inspect_err(|error| record_failure(&journal, &vault, error));
        let ca = Arc::new(ca.or_unreachable()?);
        let trust = Trust::load(&config.ca_files, &ca).or_usage()?;
        write_trust(&dir, &ca, &trust).or_unreachable()?;
        let sessions = Arc::new(Registry::open_set_back(&dir.sessions(), now, ahead).or_unreachable()?);
        if latest.is_none() || earlier_clock == EarlierClock::Accept {
            // Only after the sessions are reset: a start that is killed in between has to repeat it.
            journal.note_time(clock::now());
        }
        if has_lost || !accepted.is_empty() {
            evidence::end_all(&sessions, &journal, now);
        }
        evidence::settle(&sessions, &journal, &past, now).or_unreachable()?;
        let policies = Arc::new(load_policies(&config, &dir, on_policy_error)?);
        if on_policy_error == OnPolicyError::Fail {
            check_default_session(&config, &vault, &policies).or_usage()?;
        }
        // Only the sidecar records this: a command does not judge requests.
        policies.restore(&sessions, (on_policy_error == OnPolicyError::Fail).then_some(&journal));
        record(&journal, &made, &vault);
        journal.flush();
        evidence::bind(&vault, &journal);
        if on_policy_error == OnPolicyError::Fail || evidence::sealed(&vault).or_unreachable()?.is_none() {
            seal_evidence(&vault, &journal)?;
        }
        Ok(Self { dir, config, vault, ca, trust, journal, index, sessions, policies, notes: made.notes, lock })
    }

    /// The public side of the CA, for the control API.
    pub(crate) fn ca_facts(&self) -> CaFacts {
        let files = TrustFiles::in_dir(&self.dir.trust());
        CaFacts { pem: self.ca.cert_pem().to_owned(), fingerprint: self.ca.fingerprint(), files }
    }
}

/// Seals the journal's last record in the vault. On a full disk the vault keeps its older anchor and the start continues,
/// because a sidecar that can write no record only refuses.
fn seal_evidence(vault: &Vault, journal: &Journal) -> Answer {
    match evidence::seal_and_record(vault, journal) {
        Err(error) if !journal.is_writable() => {
            tracing::error!(error = format!("{error:#}"), "the vault keeps its older anchor");
            Ok(())
        }
        sealed => sealed.inspect_err(|error| record_failure(journal, vault, error)).or_unreachable(),
    }
}

fn open_vault(config: &Config, dir: &DataDir, made: &mut Made) -> Answer<Vault> {
    let path = dir.vault();
    let shown = path.display();
    let exists = Vault::exists(&path);
    let key = key_source(config, dir, exists, made)?;
    if exists {
        let tries = Tries::of(dir);
        if let Some((wrong, left)) = tries.wait(Timestamp::now()) {
            let left = print_span(left + SignedDuration::from_secs(1));
            return Err(Failure::usage(anyhow!(
                "the vault was tried with a wrong key {}; the next attempt has to wait for {left}",
                if wrong == 1 { "once".to_owned() } else { format!("{wrong} times in a row") }
            )));
        }
        let opened = Vault::open(&path, key.as_ref());
        // They are removed once they are recorded, in the journal that is opened next.
        if let Err(VaultError::Unseal) = &opened {
            tries.record_failure(Timestamp::now());
        }
        return opened.map_err(|error| {
            // A wrong passphrase is wrong input, not an unreachable store.
            let wrong = matches!(error, VaultError::Unseal | VaultError::Key(_));
            let told = anyhow::Error::new(error).context(format!("cannot open the vault {shown}"));
            if wrong { Failure::usage(told) } else { Failure::unreachable(told) }
        });
    }
    // A file exists that is created after the vault: the vault was lost, and a new one would have a new CA.
    if dir.was_in_use() {
        let lost = "the vault is missing, but this data folder was in use; restore it, or start with an empty folder";
        return Err(Failure::unreachable(anyhow!("{shown}: {lost}")));
    }
    made.vault = true;
    made.notes.push(format!("made the vault {shown}"));
    if let Some(why) = made.weak_passphrase {
        made.notes.push(format!(
            "warning: the passphrase of the vault {why}, and anyone with a copy of the vault can try passphrases without limit; \
             `egret vault rekey` sets a better one"
        ));
    }
    Vault::create(&path, key.as_ref()).with_context(|| format!("cannot make the vault {shown}")).or_unreachable()
}

/// Puts a backup at the path of the vault, while no process works in the folder.
pub(crate) fn restore_vault(
    config: &Config,
    dir: &DataDir,
    backup: &[u8],
    backup_key: Option<Box<dyn KeySource>>,
) -> Answer<Vault> {
    let mut made = Made::default();
    let configured = key_source(config, dir, true, &mut made)?;
    let known = match dir.index().exists() {
        true => {
            let index = Index::open(&dir.journal(), &dir.index()).or_unreachable()?;
            index.past().and_then(|past| past.vault_generation()).or_unreachable()?.unwrap_or_default()
        }
        false => 0,
    };
    let source = backup_key.as_deref().unwrap_or(configured.as_ref());
    let vault = Vault::restore_to(&dir.vault(), source, backup, known).context("the backup cannot be used");
    let vault = vault.or_usage()?;
    if backup_key.is_some() {
        vault
            .rekey(configured.as_ref())
            .context("the vault cannot be locked with the configured key")
            .or_unreachable()?;
    }
    let (journal, _) = Journal::open(&dir.journal(), config.durability).or_unreachable()?;
    record_tries(&journal, &Tries::of(dir));
    record_recovery(&journal, &vault);
    journal.append(Record { generation: Some(vault.generation()), ..Record::new(Kind::VaultRestored) });
    journal.flush();
    // The record that the backup sealed is of its own time, or of another journal.
    evidence::seal_and_record(&vault, &journal).or_unreachable()?;
    Ok(vault)
}

/// An open journal, and the findings from opening it.
struct Opened {
    journal: Journal,
    recovery: audit::Recovery,
    latest: Option<Timestamp>,
    /// The missing parts that were accepted.
    accepted: Vec<Finding>,
    had_index: bool,
}

/// Repairs, for people; the journal has a record of each.
fn repaired(recovery: &audit::Recovery) -> String {
    let audit::Recovery { cut_bytes, missing, aborted, corrupt } = recovery;
    let parts = [
        (*cut_bytes > 0).then(|| format!("{cut_bytes} bytes of a torn record were truncated")),
        (*missing > 0).then(|| format!("records that are missing: {missing}")),
        (*aborted > 0).then(|| format!("open exchanges that were closed as aborted: {aborted}")),
        corrupt.as_ref().map(|place| format!("it does not verify ({place})")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// Opens the journal if no part is missing that no crash explains, or if that was accepted.
fn open_journal(config: &Config, dir: &DataDir, vault: &Vault, is_new: bool, rollback: Rollback) -> Answer<Opened> {
    let had_index = dir.index().exists();
    // A refused start changes no file.
    let index = had_index && Index::has_records(&dir.index());
    let known = Known {
        vault: if is_new { None } else { evidence::sealed(vault).or_unreachable()? },
        credentials: vault.status().credentials,
        index,
        has_sessions: dir.has_sessions(),
    };
    let (mut latest, mut accepted) = (None, Vec::new());
    let judge = |found: &audit::Found| {
        latest = found.latest;
        accepted = evidence::findings(&known, found).map_err(|error| error.to_string())?;
        match rollback {
            Rollback::Refuse if !accepted.is_empty() => Err(evidence::refusal(&accepted)),
            Rollback::Refuse | Rollback::Accept => Ok(()),
        }
    };
    let opened = Journal::open_if(&dir.journal(), audit::Settings::new(config.durability), judge);
    let (journal, recovery) = opened.or_unreachable()?;
    Ok(Opened { journal, recovery, latest, accepted, had_index })
}

fn record_accepted(journal: &Journal, vault: &Vault, accepted: &[Finding]) {
    for finding in accepted {
        tracing::warn!(%finding, "accepted, as asked for");
        journal.append(Record {
            code: Some(Reason::VaultRollback),
            detail: Some(finding.to_string().into()),
            generation: Some(vault.generation()),
            ..Record::new(Kind::VaultOpened)
        });
    }
    journal.flush();
}

/// The source of the key. Only the key file in the data folder is created automatically, and only for a new vault.
fn key_source(config: &Config, dir: &DataDir, vault_exists: bool, made: &mut Made) -> Answer<Box<dyn KeySource>> {
    let mut passphrase = |text: anyhow::Result<Secret>| {
        let text = text.or_usage()?;
        made.weak_passphrase = passphrase_weakness(&text);
        Ok(Passphrase::new(text))
    };
    match &config.key {
        Key::PassphraseAndFile { passphrase_file: text, file } => {
            let passphrase = passphrase(passphrase_file(text))?;
            let key_file = configured_key_file(file, vault_exists)?;
            Ok(Box::new(PassphraseAndKeyFile { passphrase, key_file }))
        }
        Key::PassphraseFile(path) => Ok(Box::new(passphrase(passphrase_file(path))?)),
        Key::PassphraseEnv(name) => Ok(Box::new(passphrase(passphrase_env(name))?)),
        Key::File(path) => Ok(Box::new(configured_key_file(path, vault_exists)?)),
        Key::Default => default_key(dir, vault_exists, made),
    }
}

fn configured_key_file(path: &Path, vault_exists: bool) -> Answer<KeyFile> {
    if path.exists() {
        return Ok(KeyFile(path.to_owned()));
    }
    let shown = path.display();
    let hint = if vault_exists { "restore it from your backup" } else { "`egret vault init` makes it" };
    Err(Failure::usage(anyhow!("the key file {shown} of the configuration is missing; {hint}")))
}

fn default_key(dir: &DataDir, vault_exists: bool, made: &mut Made) -> Answer<Box<dyn KeySource>> {
    let key = KeyFile(dir.vault_key());
    let shown = key.0.display();
    if !key.0.exists() {
        if vault_exists {
            let lost =
                "the vault's key file is missing; restore it, or name the vault's key in the configuration (vault.key)";
            return Err(Failure::unreachable(anyhow!("{shown}: {lost}")));
        }
        key.create().or_unreachable()?;
        made.notes.push(format!(
            "made the key file {shown}: a program that can read it can open the vault. A passphrase is better \
             (vault.key.passphrase_file in egret.yaml, before the vault is made)"
        ));
    }
    Ok(Box::new(key))
}

pub(crate) fn passphrase_file(path: &Path) -> anyhow::Result<Secret> {
    let shown = path.display();
    let file = std::fs::File::open(path).with_context(|| format!("cannot read the passphrase file {shown}"))?;
    let secret = Secret::from_reader(file.take(MAX_PASSPHRASE_BYTES as u64), MAX_PASSPHRASE_BYTES);
    Ok(secret.with_context(|| format!("cannot read the passphrase file {shown}"))?.without_mark().without_line_end())
}

fn passphrase_env(name: &str) -> anyhow::Result<Secret> {
    use std::os::unix::ffi::OsStringExt as _;
    let Some(value) = std::env::var_os(name) else {
        bail!("the environment variable {name} of the configuration (vault.key.passphrase_env) is not set")
    };
    environment::wipe(name.as_ref());
    tracing::warn!(
        "the passphrase comes from the environment, which the program that starts this one can read; a file (vault.key.passphrase_file) is better"
    );
    Ok(Secret::new(value.into_vec()))
}

/// Creates a configured key file, for `vault init`.
pub(crate) fn make_configured_key(config: &Config, dir: &DataDir) -> Answer {
    match &config.key {
        Key::File(path) | Key::PassphraseAndFile { file: path, .. }
            if !path.exists() && !Vault::exists(&dir.vault()) =>
        {
            KeyFile(path.clone()).create().or_usage()
        }
        Key::File(_)
        | Key::PassphraseAndFile { .. }
        | Key::Default
        | Key::PassphraseFile(_)
        | Key::PassphraseEnv(_) => Ok(()),
    }
}

fn open_ca(vault: &Vault, now: Timestamp, made: &mut Made) -> anyhow::Result<Ca> {
    let key = vault.open_internal(CA_KEY).context("cannot open the CA's key")?;
    let certificate = vault.open_internal(CA_CERTIFICATE).context("cannot open the CA's certificate")?;
    match (key, certificate) {
        (Some(key), Some(certificate)) => load_ca(&key, &certificate),
        // The key is sealed last: a certificate without a key was left by a killed first start.
        (None, _) => {
            let (ca, key) = Ca::create(now).context("cannot make the CA")?;
            let certificate = Secret::new(ca.cert_pem().as_bytes().to_vec());
            vault.seal_internal(CA_CERTIFICATE, &certificate).context("cannot keep the CA's certificate")?;
            vault.seal_internal(CA_KEY, &Secret::new(key.to_vec())).context("cannot keep the CA's key")?;
            made.ca = true;
            made.notes.push("made a CA; its key is stored sealed in the vault".to_owned());
            Ok(ca)
        }
        (Some(_), None) => bail!("the vault holds the CA's key but not its certificate"),
    }
}

#[expect(clippy::disallowed_methods, reason = "the CA's key goes from the vault to the signer once, at the start")]
fn load_ca(key: &Secret, certificate: &Secret) -> anyhow::Result<Ca> {
    let pem = std::str::from_utf8(certificate.expose_secret()).context("the CA's certificate is not text")?;
    Ca::load(pem, key.expose_secret()).context("cannot load the CA")
}

/// Writes the files for clients; each is replaced as a whole, so that none is ever visible half written.
fn write_trust(dir: &DataDir, ca: &Ca, trust: &Trust) -> anyhow::Result<()> {
    let bundle = trust.bundle_pem();
    let all: Vec<_> = CertificateDer::pem_slice_iter(bundle.as_bytes())
        .collect::<Result<_, _>>()
        .context("the system's roots cannot be read")?;
    let store = certs::truststore_jks(&all, TRUSTSTORE_PASSWORD);
    let files = [("ca.pem", ca.cert_pem().as_bytes()), ("bundle.pem", bundle.as_bytes())];
    for (name, text) in files {
        let path = dir.trust().join(name);
        if std::fs::read(&path).is_ok_and(|old| old == text) {
            continue;
        }
        replace(&path, text, 0o644).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let path = dir.trust().join("truststore.jks");
    let written = match replace(&path, &store, 0o644) {
        // The file of the last run is sufficient for a sidecar that can only refuse.
        Err(error) if error.kind() == std::io::ErrorKind::StorageFull && path.exists() => Ok(()),
        written => written,
    };
    written.with_context(|| format!("cannot write {}", path.display()))?;
    let settings = TrustFiles::in_dir(&dir.trust()).write_settings(&dir.trust());
    settings.with_context(|| format!("cannot write the settings of clients in {}", dir.trust().display()))
}

fn load_policies(config: &Config, dir: &DataDir, on_policy_error: OnPolicyError) -> Answer<Loader> {
    match Loader::open(config.policies.clone(), &dir.session_policies()) {
        Ok(loader) => Ok(loader),
        Err(error) if on_policy_error == OnPolicyError::UseBuiltin => {
            Loader::built_in(&dir.session_policies(), error.to_string()).or_unreachable()
        }
        Err(
            error @ (LoadError::Read { .. }
            | LoadError::Problems(_)
            | LoadError::TooMany
            | LoadError::Combination { .. }
            | LoadError::Documents(_)),
        ) => Err(Failure::usage(error)),
        Err(error @ LoadError::Write { .. }) => Err(Failure::unreachable(error)),
    }
}

/// The configured session is judged at the start, not at its first request.
fn check_default_session(config: &Config, vault: &Vault, policies: &Loader) -> anyhow::Result<()> {
    let Some(default) = &config.default_session else { return Ok(()) };
    if !default.credentials.is_empty() && !config.danger_default_credentials {
        bail!(
            "sessions.default has credentials: every local user, and on a listener beyond loopback everyone, could use them. \
             Create sessions instead, or write `sessions.danger_default_credentials: true`"
        );
    }
    let (tenant, labels) = (TenantId::default(), BTreeMap::new());
    let subject = Subject { tenant: &tenant, agent: None, labels: &labels, policies: &default.policies };
    policies.in_force().rules_for_session(&subject, None).context("sessions.default.policies cannot be used")?;
    for name in &default.credentials {
        if vault.show(&TenantId::default(), name).is_none() {
            bail!(
                "sessions.default.credentials names {name}, which is not in the vault; put it there with `egret vault put`"
            );
        }
    }
    Ok(())
}

/// The records contain the last generation of the vault. An older one is an old copy, and may contain credentials that
/// were revoked since.
fn check_generation(vault: &Vault, journal: &Journal, past: &Past<'_>, rollback: Rollback) -> Answer {
    let known = past.vault_generation().or_unreachable()?.unwrap_or_default();
    let held = vault.generation();
    let code = (held < known).then_some(Reason::VaultRollback);
    let tell = |kind| {
        let record = Record { code, generation: Some(held), ..Record::new(kind) };
        journal.append(record);
        journal.flush();
    };
    if code.is_some() && rollback == Rollback::Refuse {
        // Not its generation: the next start has to detect the same old vault.
        journal.append(Record { code, count: Some(known - held), ..Record::new(Kind::VaultRefused) });
        journal.flush();
        return Err(Failure::unreachable(anyhow!(
            "vault_rollback: the vault is at generation {held}, and the records know generation {known}: it is an old copy. \
             Put the newer one back, or restore a backup with `egret vault restore`; to go on with the old one, and with \
             whatever was revoked since, start once with `egret serve --accept-rollback`"
        )));
    }
    if held != known {
        tell(Kind::VaultOpened);
    }
    Ok(())
}

/// Wrong keys that were tried on the vault, recorded now that it is open: without it there is no journal.
fn record_tries(journal: &Journal, tries: &Tries) {
    let Some((wrong, last)) = tries.unreported() else { return };
    journal.append(Record {
        code: Some(Reason::UnsealFailed),
        count: Some(u64::from(wrong)),
        last: Some(last),
        ..Record::new(Kind::VaultRefused)
    });
    journal.flush();
    tries.reset();
}

fn record_recovery(journal: &Journal, vault: &Vault) {
    if vault.is_recovered() {
        journal.append(Record {
            code: Some(Reason::Recovered),
            detail: Some(
                "a file that a killed change had left was removed; it held ciphertext and was not read".into(),
            ),
            ..Record::new(Kind::VaultOpened)
        });
        journal.flush();
    }
}

fn record_failure(journal: &Journal, vault: &Vault, error: &anyhow::Error) {
    if let Some(record) = error.downcast_ref().and_then(|error| write_failed(vault, error)) {
        journal.append(record);
        journal.flush();
    }
}

fn record(journal: &Journal, made: &Made, vault: &Vault) {
    let generation = vault.generation();
    for (tenant, key) in vault.take_replaced_keys() {
        journal.append(key_replaced(vault, &tenant, key));
    }
    for (done, kind) in [(made.vault, Kind::VaultCreated), (made.ca, Kind::CaCreated)] {
        if done {
            journal
                .append(Record { generation: (kind == Kind::VaultCreated).then_some(generation), ..Record::new(kind) });
        }
    }
}

/// The index may contain more records than the journal: then records were removed between two runs, and a gap shows
/// that.
fn mark_loss(journal: &Journal, index: &Index) -> anyhow::Result<bool> {
    let (known, held) = (index.known_head()?.seq, journal.last_seq());
    if known > held {
        tracing::error!(known, held, "the journal lacks records that the index has");
        journal.append(Record {
            code: Some(Reason::TailTruncated),
            count: Some(known - held),
            detail: Some("records that the index has are gone from the journal".into()),
            ..Record::new(Kind::Gap)
        });
    }
    Ok(known > held)
}
/// The names of this machine.
pub(crate) fn own_names() -> Vec<String> {
    let host = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    vec!["localhost".to_owned(), host]
}
