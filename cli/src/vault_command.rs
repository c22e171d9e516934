//! `egret vault`: credentials can be written but not read back.

mod import;
mod keys;
mod kinds;
mod terminal;

use std::fs::File;
use std::io::{IsTerminal as _, Read};
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use api::{
    BodySlotDocument, CredentialDocument, CredentialQuery, CredentialRequest, CredentialView, List, TenantQuery,
    VaultView, encode,
};
use bytes::Bytes;
use control::env::check_variable;
use model::Timestamp;
use model::text_file::without_mark;
use zeroize::Zeroizing;

use crate::Context;
use crate::client::{Client, IfMissing, converse, path_with};
use crate::exit::{Answer, Failure, OrFail as _};
use crate::foundation::make_configured_key;
use crate::output::{self, Format};

use kinds::KindOptions;

const CREDENTIALS: &str = "/v1/vaults/default/credentials";
const MAX_VALUE_BYTES: u64 = 64 << 10;

/// Keep credentials. Values are read from standard input or a file, and are never shown.
#[derive(clap::Args)]
pub(crate) struct Vault {
    #[command(subcommand)]
    command: VaultCommand,
}

#[derive(clap::Subcommand)]
enum VaultCommand {
    /// Create the data folder with its vault and CA.
    Init,
    /// Show how many credentials the vault has and how it is locked.
    Status(Listing),
    /// Put a credential, or a new value of one; the value comes from standard input or --file.
    Put(Box<Put>),
    /// Put many credentials at once, from a .env file or a JSON document: all of them or none.
    Import(Box<import::Import>),
    /// List the credentials.
    List(Listing),
    /// Show one credential, without its value.
    Show {
        /// The name of the credential.
        name: String,
        #[command(flatten)]
        listing: Listing,
    },
    /// Give every tenant, or one, a new key and re-encrypt its secrets; requests continue.
    Rotate(Listing),
    /// Lock the vault with a new passphrase, a new key file, or both; no secret is re-encrypted.
    Rekey(Lock),
    /// Write the sealed vault to a new file or to standard output.
    Backup {
        /// The file, which must not exist.
        file: Option<PathBuf>,
    },
    /// Replace the vault with a backup.
    Restore {
        /// The backup.
        file: PathBuf,
        #[command(flatten)]
        lock: BackupLock,
    },
    /// Remove a credential, or one version of it.
    Rm {
        /// The name of the credential.
        name: String,
        /// The tenant it belongs to.
        #[arg(long, value_name = "TENANT")]
        tenant: Option<String>,
        /// Only this version; removing the one in use removes the credential.
        #[arg(long, value_name = "NUMBER")]
        version: Option<u32>,
    },
}

/// What to lock the vault with.
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("new lock").args(["passphrase_file", "ask", "key_file"]).required(true).multiple(true))]
struct Lock {
    /// Take the new passphrase from this file.
    #[arg(long, value_name = "FILE", conflicts_with = "ask")]
    passphrase_file: Option<PathBuf>,
    /// Ask for the new passphrase at the terminal.
    #[arg(long)]
    ask: bool,
    /// A key file; it is created if it is missing.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Drop the part of the lock that is not named: of a passphrase and a key file, keep only the one named here.
    #[arg(long)]
    only: bool,
}

/// The lock of a backup, if it differs from the configuration.
#[derive(clap::Args)]
struct BackupLock {
    /// The passphrase of the backup is in this file.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// The key file of the backup.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Listing {
    /// How to print it.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The tenant.
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
}

impl Listing {
    fn whose(&self) -> TenantQuery {
        TenantQuery { tenant: self.tenant.clone() }
    }
}

#[derive(clap::Args)]
struct Put {
    /// Its name: letters, digits, dot, hyphen and underscore.
    name: String,
    /// How the credential is attached to a request; a basic value is user:password.
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(vault::Kind::names()))]
    kind: String,
    /// A further location in which its placeholder is substituted, for clients that differ: bearer, header:NAME, query:NAME or cookie:NAME.
    #[arg(long, value_name = "LOCATION", value_parser = location)]
    also: Vec<String>,
    /// A host that may receive it: api.example.com, *.example.com or **.example.com, with :PORT if not 443.
    #[arg(long, required = true, value_name = "HOST")]
    audience: Vec<String>,
    #[command(flatten)]
    options: KindOptions,
    /// A location in JSON bodies where its placeholder is substituted: a JSON pointer such as /auth/client_secret.
    #[arg(long, value_name = "POINTER")]
    body_json: Vec<String>,
    /// A location in form bodies where its placeholder is substituted: the name of a field.
    #[arg(long, value_name = "FIELD")]
    body_form: Vec<String>,
    /// How often it may be substituted in one body [default: 1].
    #[arg(long, value_name = "NUMBER")]
    body_swaps: Option<u8>,
    /// The environment variable of sessions that contains its placeholder.
    #[arg(long, value_name = "NAME", value_parser = variable)]
    env: Option<String>,
    /// What clients expect such a value to begin with, such as sk-ant-.
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// When it ends: an instant (RFC 3339), or a day (its end, UTC).
    #[arg(long, value_name = "TIME", value_parser = end)]
    expires: Option<Timestamp>,
    /// What it is for.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Its owner, such as a team.
    #[arg(long, value_name = "TEXT")]
    owner: Option<String>,
    /// How long the previous version is still masked, such as 1h [default: 10m].
    #[arg(long, value_name = "TIME")]
    grace: Option<String>,
    /// The tenant it belongs to.
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Read the value from this file.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Accept a weak value: short, common, or easily guessed. Masking cannot hide such a value from guesses.
    #[arg(long)]
    allow_weak: bool,
}

fn location(text: &str) -> Result<String, String> {
    vault::Kind::location(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn variable(name: &str) -> Result<String, String> {
    check_variable(name).map(|()| name.to_owned())
}

impl Vault {
    /// # Errors
    /// 1 if the credential is not found, 2 if its options are invalid, 3 if the vault cannot be used.
    pub(crate) fn execute(&self, context: &Context) -> Answer {
        match &self.command {
            VaultCommand::Init => init(context),
            VaultCommand::Status(listing) => status(context, listing),
            VaultCommand::Put(put) => put.execute(context),
            VaultCommand::Import(import) => import.execute(context),
            VaultCommand::List(listing) => list(context, listing),
            VaultCommand::Show { name, listing } => show(context, name, listing),
            VaultCommand::Rotate(listing) => keys::rotate(context, listing),
            VaultCommand::Rekey(lock) => keys::rekey(context, lock),
            VaultCommand::Backup { file } => keys::backup(context, file.as_deref()),
            VaultCommand::Restore { file, lock } => keys::restore(context, file, lock),
            VaultCommand::Rm { name, tenant, version } => remove(context, name, tenant.clone(), *version),
        }
    }
}

fn init(context: &Context) -> Answer {
    let config = context.config()?;
    let dir = context.data_dir(&config)?;
    dir.prepare().or_unreachable()?;
    make_configured_key(&config, &dir)?;
    let view = converse(async {
        Client::find(context, IfMissing::Create).await?.get::<VaultView>("/v1/vaults/default").await
    })?;
    output::say(&format!("the vault in {} is ready, locked with a {}", dir.path().display(), view.key));
    Ok(())
}

fn status(context: &Context, listing: &Listing) -> Answer {
    let view: VaultView =
        converse(async { Client::find(context, IfMissing::Fail).await?.get("/v1/vaults/default").await })?;
    if listing.format == Format::Json {
        return output::json(&view);
    }
    output::facts(&[
        ("open", if view.open { "yes" } else { "no" }.to_owned()),
        ("locked with", view.key),
        ("credentials", view.credentials.to_string()),
        ("written", format!("{} times", view.generation)),
        ("memory", view.memory),
        ("opened", format!("{} values since the start", view.opened)),
    ]);
    Ok(())
}

fn list(context: &Context, listing: &Listing) -> Answer {
    let path = path_with(CREDENTIALS, &listing.whose())?;
    let found: List<CredentialView> =
        converse(async { Client::find(context, IfMissing::Fail).await?.get(&path).await })?;
    if listing.format == Format::Json {
        return output::json(&found.items);
    }
    let rows = found.items.into_iter().map(|one| {
        let (uses, last) = (uses(&one), last_used(&one));
        let version = one.version.to_string();
        let CredentialDocument { kind, audience, env, expires, .. } = one.spec;
        let expires = expires.map(|end| end.to_string()).unwrap_or_else(|| "never".to_owned());
        [one.name, kind, audience.join(","), env.unwrap_or_default(), version, expires, uses, last]
    });
    output::table(["name", "kind", "audience", "env", "version", "expires", "uses", "last used"], rows);
    Ok(())
}

fn show(context: &Context, name: &str, listing: &Listing) -> Answer {
    let path = path_with(&format!("{CREDENTIALS}/{}", encode(name)), &listing.whose())?;
    let one: CredentialView = converse(async { Client::find(context, IfMissing::Fail).await?.get(&path).await })?;
    if listing.format == Format::Json {
        return output::json(&one);
    }
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string()).unwrap_or_else(|| "never".to_owned());
    let (uses, last_used) = (uses(&one), last_used(&one));
    let spec = one.spec;
    output::facts(&[
        ("name", one.name),
        ("tenant", one.tenant),
        ("kind", spec.kind),
        ("also in", spec.also.join(", ")),
        ("audience", spec.audience.join(", ")),
        ("body", spec.body.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
        ("env", spec.env.unwrap_or_default()),
        ("prefix", spec.prefix.unwrap_or_default()),
        ("version", one.version.to_string()),
        ("updated", time(one.updated)),
        ("expires", time(spec.expires)),
        ("created", time(one.created)),
        ("uses", uses),
        ("last used", last_used),
        ("owner", spec.owner.unwrap_or_default()),
        ("description", spec.description.unwrap_or_default()),
    ]);
    let rows = one.versions.into_iter().map(|version| {
        let until = version.until.map_or_else(|| "in use".to_owned(), |until| format!("redacted until {until}"));
        [version.version.to_string(), version.fingerprint, version.put.to_string(), until]
    });
    output::table(["version", "fingerprint", "put", "state"], rows);
    Ok(())
}

fn uses(one: &CredentialView) -> String {
    one.uses.map_or_else(|| "unknown".to_owned(), |count| count.to_string())
}

fn last_used(one: &CredentialView) -> String {
    match (one.last_used, one.uses) {
        (Some(last), _) => last.to_string(),
        (None, Some(_)) => "never".to_owned(),
        (None, None) => "unknown".to_owned(),
    }
}

fn remove(context: &Context, name: &str, tenant: Option<String>, version: Option<u32>) -> Answer {
    let which = version.map(|number| format!(", version {number}")).unwrap_or_default();
    let path = path_with(&format!("{CREDENTIALS}/{}", encode(name)), &CredentialQuery { tenant, version })?;
    converse(async { Client::find(context, IfMissing::Fail).await?.delete(&path).await })?;
    output::say(&format!("removed the credential {name}{which}"));
    Ok(())
}

impl Put {
    fn execute(&self, context: &Context) -> Answer {
        let value = self.value()?;
        let path = path_with(&format!("{CREDENTIALS}/{}", encode(&self.name)), &self.request())?;
        // Kinds with other options have only the secret in their value; for a pair the password is judged.
        let kind = vault::Kind::new(&self.kind, []).unwrap_or_else(|_| vault::Kind::bearer());
        let weaknesses = kind.weaknesses(&vault::Secret::new(value.to_vec()));
        let view: CredentialView = converse(async {
            let mut client = Client::find(context, IfMissing::Create).await?;
            client.put(&path, Bytes::from_owner(Wiped(value))).await
        })?;
        output::say(&format!(
            "put the credential {}, version {}, for {}",
            view.name,
            view.version,
            view.spec.audience.join(", ")
        ));
        import::warn(&view.name, &weaknesses);
        Ok(())
    }

    fn request(&self) -> CredentialRequest {
        let body = (self.body_json.iter().map(|pointer| BodySlotDocument::Json(pointer.clone())))
            .chain(self.body_form.iter().map(|field| BodySlotDocument::Form(field.clone())));
        CredentialRequest {
            spec: CredentialDocument {
                kind: self.kind.clone(),
                also: self.also.clone(),
                audience: self.audience.clone(),
                body: body.collect(),
                body_swaps: self.body_swaps,
                env: self.env.clone(),
                prefix: self.prefix.clone(),
                expires: self.expires,
                description: self.description.clone(),
                owner: self.owner.clone(),
            },
            grace: self.grace.clone(),
            tenant: self.tenant.clone(),
            allow_weak: self.allow_weak,
            options: self.options.0.clone(),
        }
    }

    fn value(&self) -> Answer<Zeroizing<Vec<u8>>> {
        match &self.file {
            Some(path) => {
                let shown = path.display();
                let file = File::open(path).with_context(|| format!("cannot read {shown}")).or_usage()?;
                read_value(file, &shown.to_string())
            }
            None if std::io::stdin().is_terminal() => terminal::ask(&format!("value of {}", self.name)),
            None => read_value(std::io::stdin().lock(), "standard input"),
        }
    }
}

/// An instant, or the end of a day in UTC.
fn end(text: &str) -> Result<Timestamp, String> {
    let expected = "write an instant such as 2026-12-31T00:00:00Z, or a day such as 2026-12-31";
    policies::read_instant(text).ok_or_else(|| expected.to_owned())
}

/// Reads a value without leaving copies of it behind in growing buffers; removes a byte order mark and one line end.
fn read_value(source: impl Read, name: &str) -> Answer<Zeroizing<Vec<u8>>> {
    let limit = usize::try_from(MAX_VALUE_BYTES).unwrap_or(usize::MAX);
    let mut value = Zeroizing::new(Vec::with_capacity(limit + 64));
    source
        .take(MAX_VALUE_BYTES + 1)
        .read_to_end(&mut value)
        .with_context(|| format!("cannot read {name}"))
        .or_usage()?;
    if value.len() > limit {
        return Err(Failure::usage(anyhow!(
            "{name} holds more than {MAX_VALUE_BYTES} bytes, which no credential does"
        )));
    }
    let mark = value.len() - without_mark(&value).len();
    value.drain(..mark);
    if value.last() == Some(&b'\n') {
        value.pop();
        if value.last() == Some(&b'\r') {
            value.pop();
        }
    }
    if value.is_empty() {
        return Err(Failure::usage(anyhow!("{name} holds no value")));
    }
    Ok(value)
}

/// Passes the value to the HTTP library without a copy, and wipes it when the library drops it.
struct Wiped(Zeroizing<Vec<u8>>);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_ends_at_an_instant_or_after_a_day() {
        assert_eq!(end("2026-12-31T00:00:00Z").unwrap().to_string(), "2026-12-31T00:00:00Z");
        assert_eq!(end("2026-12-31").unwrap().to_string(), "2027-01-01T00:00:00Z");
        let expected = "write an instant such as 2026-12-31T00:00:00Z, or a day such as 2026-12-31";
        assert_eq!(end("tomorrow"), Err(expected.to_owned()));
    }

    #[test]
    fn one_line_end_is_cut_from_a_value() {
        for (given, kept) in
            [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a ", " a "), ("\u{feff}a\r\n", "a")]
        {
            assert_eq!(&**read_value(given.as_bytes(), "input").unwrap(), kept.as_bytes(), "{given:?}");
        }
        assert_eq!(read_value(&b"\n"[..], "input").unwrap_err().code(), 2);
        assert_eq!(read_value(&vec![b'a'; 65_537][..], "input").unwrap_err().code(), 2);
        assert_eq!(read_value(&vec![b'a'; 65_536][..], "input").unwrap().len(), 65_536);
    }
}
