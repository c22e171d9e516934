//! `egret vault import`: many credentials at once, from a `.env` file or a JSON document, in one change of the vault.

mod dotenv;
mod known;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use api::{CredentialDocument, CredentialRequest, ImportQuery, ImportedView, List};
use bytes::Bytes;
use control::import::{Fault, Item, prepare, read_document};
use model::Timestamp;
use vault::Weakness;
use zeroize::Zeroizing;

use self::dotenv::Variable;
use super::{CREDENTIALS, Wiped};
use crate::Context;
use crate::client::{Client, IfMissing, converse, path_with};
use crate::exit::{Answer, Failure, OrFail as _};
use crate::output::{self, Format, visible};

const MAX_FILE_BYTES: u64 = 4 << 20;

/// Where the credentials come from and where they may go.
#[derive(clap::Args)]
pub(super) struct Import {
    /// A .env file or a JSON document; - is standard input.
    file: PathBuf,
    /// The file's format, if its name does not show it.
    #[arg(long, value_enum, value_name = "FORM")]
    from: Option<Form>,
    /// The hosts that one variable's credential may go to: OPENAI_API_KEY=api.openai.com, more after commas.
    #[arg(long = "for", value_name = "VARIABLE=HOST", value_parser = pair)]
    audiences: Vec<(String, String)>,
    /// The hosts for every variable that --for does not name.
    #[arg(long, value_name = "HOST")]
    audience: Vec<String>,
    /// How one variable's credential is attached to a request, if not as bearer: VARIABLE=basic, =header:NAME, =query:NAME
    /// or =cookie:NAME.
    #[arg(long = "as", value_name = "VARIABLE=KIND", value_parser = pair)]
    kinds: Vec<(String, String)>,
    /// Take only this variable or credential and leave the others; can be repeated.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// The tenant they belong to.
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Accept weak values: short, common, or easily guessed. Masking cannot hide them from guesses.
    #[arg(long)]
    allow_weak: bool,
    /// Only print what would be done.
    #[arg(long)]
    dry_run: bool,
    /// How to print what was done.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// Lines of NAME=value.
    Env,
    /// A list of credentials, or an object of them by name.
    Json,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, rest) = text.split_once('=').ok_or("write VARIABLE=..")?;
    if name.is_empty() || rest.is_empty() {
        Err("write VARIABLE=..".to_owned())
    } else {
        Ok((name.to_owned(), rest.to_owned()))
    }
}

/// The credentials to put, and the ones to leave.
struct Plan {
    items: Vec<Item>,
    /// Variables without an audience.
    left: Vec<String>,
    warnings: Vec<String>,
    /// The faults of a document.
    faults: Vec<Fault>,
}

impl Import {
    pub(super) fn execute(&self, context: &Context) -> Answer {
        let form = self.form()?;
        let text = self.read()?;
        let plan = match form {
            Form::Json => self.of_document(&text),
            Form::Env => self.of_variables(&text),
        }?;
        drop(text);
        let Plan { mut items, left, warnings, faults } = plan;
        if self.allow_weak {
            items.iter_mut().for_each(|item| item.request.allow_weak = true);
        }
        if items.is_empty() && !left.is_empty() {
            return Err(self.without_audience(&left, "nothing was imported"));
        }
        prepare(&items, faults, Timestamp::now()).map_err(|faults| self.refused(&faults))?;
        warnings.iter().for_each(|warning| output::say(&format!("warning: {}", visible(warning))));
        items.iter().for_each(warn_of);
        let body = Bytes::from_owner(Wiped(document(&items)?));
        let path = path_with(CREDENTIALS, &ImportQuery { dry_run: self.dry_run })?;
        // A missing folder is created to put credentials, but not to preview them.
        let if_missing = if self.dry_run { IfMissing::Fail } else { IfMissing::Create };
        let done: List<ImportedView> =
            converse(async { Client::find(context, if_missing).await?.post_bytes(&path, body).await })?;
        self.tell(&done.items)?;
        if left.is_empty() {
            return Ok(());
        }
        Err(self.without_audience(&left, "the others were imported"))
    }

    fn form(&self) -> Answer<Form> {
        let name = self.file.file_name().unwrap_or_default().to_string_lossy();
        match self.from {
            Some(form) => Ok(form),
            None if name.ends_with(".json") => Ok(Form::Json),
            None if name.ends_with(".env") || name.starts_with(".env.") => Ok(Form::Env),
            None => Err(Failure::usage(anyhow!(
                "the name of {} does not say its form; add --from env or --from json",
                self.shown()
            ))),
        }
    }

    fn read(&self) -> Answer<Zeroizing<Vec<u8>>> {
        let shown = self.shown();
        if self.file == Path::new("-") {
            return read_all(std::io::stdin().lock(), &shown);
        }
        let file = File::open(&self.file).with_context(|| format!("cannot read {shown}")).or_usage()?;
        read_all(file, &shown)
    }

    fn shown(&self) -> String {
        if self.file == Path::new("-") {
            "standard input".to_owned()
        } else {
            visible(&self.file.display().to_string())
        }
    }

    fn of_document(&self, text: &[u8]) -> Answer<Plan> {
        if !self.audiences.is_empty() || !self.audience.is_empty() || !self.kinds.is_empty() {
            let whose = "--for, --as and --audience are for .env files; a JSON document has kind and audience itself";
            return Err(Failure::usage(anyhow!(whose)));
        }
        let (mut items, mut faults) = read_document(text);
        let is_there = |name: &String| {
            items.iter().any(|item| item.name == *name) || faults.iter().any(|fault| fault.name.as_ref() == Some(name))
        };
        // If a document cannot be read at all, no name is known.
        if faults.iter().all(|fault| fault.name.is_some()) {
            self.all_there("--only", &self.only, is_there)?;
        }
        items.retain(|item| self.wants(&[&item.name]));
        faults.retain(|fault| fault.name.as_ref().is_none_or(|name| self.wants(&[name])));
        for item in &mut items {
            if item.request.tenant.is_none() {
                item.request.tenant.clone_from(&self.tenant);
            }
        }
        Ok(Plan { items, left: Vec::new(), warnings: Vec::new(), faults })
    }

    fn of_variables(&self, text: &[u8]) -> Answer<Plan> {
        let variables = dotenv::read(text).map_err(|fault| self.refused(&[fault]))?;
        let is_there = |name: &String| variables.iter().any(|variable| variable.name == *name);
        let of = |pairs: &[(String, String)]| pairs.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        self.all_there("--for", &of(&self.audiences), is_there)?;
        self.all_there("--as", &of(&self.kinds), is_there)?;
        let derived = |name: &String| variables.iter().any(|variable| credential_name(&variable.name) == *name);
        self.all_there("--only", &self.only, |name| is_there(name) || derived(name))?;
        let mut plan = Plan { items: Vec::new(), left: Vec::new(), warnings: Vec::new(), faults: Vec::new() };
        let mut lines: BTreeMap<String, u32> = BTreeMap::new();
        for Variable { name, value, dollar } in variables {
            let credential = credential_name(&name);
            if !self.wants(&[&name, &credential]) {
                continue;
            }
            let Some(audience) = self.audience_of(&name) else {
                plan.left.push(name);
                continue;
            };
            let place = value.start();
            if let Some(line) = lines.insert(name.clone(), place.line) {
                let what = format!("the variable is in line {line} too; keep one of them");
                return Err(self.refused(&[Fault { place: Some(place), name: Some(name), what }]));
            }
            if let Some(place) = dollar {
                plan.warnings.push(format!("{place}: {name}: the `$` is taken as it is; nothing is substituted"));
            }
            let mut request = self.request(&name)?;
            request.spec.audience = audience;
            plan.items.push(Item { name: credential, request, value });
        }
        Ok(plan)
    }

    fn audience_of(&self, variable: &str) -> Option<Vec<String>> {
        let named: Vec<&String> =
            self.audiences.iter().filter(|(name, _)| name == variable).map(|(_, hosts)| hosts).collect();
        let lists = if named.is_empty() { self.audience.iter().collect() } else { named };
        let hosts = lists.into_iter().flat_map(|list| list.split(',')).map(str::trim).filter(|host| !host.is_empty());
        let hosts: Vec<String> = hosts.map(str::to_owned).collect();
        (!hosts.is_empty()).then_some(hosts)
    }

    fn request(&self, variable: &str) -> Answer<CredentialRequest> {
        let mut kinds = self.kinds.iter().filter(|(name, _)| name == variable).map(|(_, kind)| kind.as_str());
        let kind = kinds.next().unwrap_or("bearer");
        if kinds.next().is_some() {
            return Err(Failure::usage(anyhow!("--as names {variable} twice")));
        }
        let (kind, place) = kind.split_once(':').map_or((kind, None), |(kind, place)| (kind, Some(place)));
        let options = match (kind, place) {
            // Their names are called as they are.
            ("header" | "query" | "cookie", Some(name)) => BTreeMap::from([(kind.to_owned(), name.to_owned())]),
            ("bearer" | "basic", None) => BTreeMap::new(),
            _ => {
                return Err(Failure::usage(anyhow!(
                    "--as {variable}: write bearer, basic, header:NAME (header:X-Api-Key), query:NAME (query:key) or \
                     cookie:NAME; other kinds are put one by one, or in a JSON document"
                )));
            }
        };
        let spec = CredentialDocument {
            kind: kind.to_owned(),
            env: Some(variable.to_owned()),
            ..CredentialDocument::default()
        };
        Ok(CredentialRequest { spec, tenant: self.tenant.clone(), options, ..CredentialRequest::default() })
    }

    fn wants(&self, names: &[&str]) -> bool {
        self.only.is_empty() || names.iter().any(|name| self.only.iter().any(|only| only == name))
    }

    fn all_there(&self, option: &str, names: &[String], is_there: impl Fn(&String) -> bool) -> Answer {
        let missing: Vec<&str> = names.iter().filter(|name| !is_there(name)).map(String::as_str).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let (missing, shown) = (missing.join(", "), self.shown());
        Err(Failure::usage(anyhow!("{option} names {missing}, which {shown} does not have; nothing was imported")))
    }

    fn refused(&self, faults: &[Fault]) -> Failure {
        let (shown, told) = (self.shown(), faults.iter().map(|fault| format!("\n  {fault}")).collect::<String>());
        Failure::usage(anyhow!("{shown} cannot be imported, and nothing was changed:{told}"))
    }

    fn without_audience(&self, left: &[String], outcome: &str) -> Failure {
        let lines: String = left.iter().map(|name| format!("\n  --for {}", known::suggestion(name))).collect();
        let not_done = if self.dry_run { "nothing was changed" } else { outcome };
        Failure::refused(anyhow!(
            "no audience is said for {} of the variables in {} ({not_done}); say where each may go, or what is wanted with \
             --only:{lines}",
            left.len(),
            self.shown()
        ))
    }

    fn tell(&self, done: &[ImportedView]) -> Answer {
        if self.format == Format::Json {
            output::json(&done)?;
        } else {
            let rows = done.iter().map(|one| {
                let what = if one.version == 1 { "new".to_owned() } else { format!("version {}", one.version) };
                let CredentialDocument { kind, audience, env, .. } = &one.spec;
                [one.name.clone(), kind.clone(), audience.join(","), env.clone().unwrap_or_default(), what]
            });
            output::table(["name", "kind", "audience", "env", "put as"], rows);
        }
        let count = if done.len() == 1 { "1 credential".to_owned() } else { format!("{} credentials", done.len()) };
        match (self.dry_run, self.file == Path::new("-")) {
            (true, _) => output::say(&format!("nothing was changed; without --dry-run this puts {count}")),
            (false, true) => output::say(&format!("put {count}")),
            (false, false) => output::say(&format!(
                "put {count}; the values still stand in {}: delete it once nothing else reads it",
                self.shown()
            )),
        }
        Ok(())
    }
}

/// OPENAI_API_KEY becomes openai-api-key.
fn credential_name(variable: &str) -> String {
    variable.trim_start_matches('_').to_ascii_lowercase().replace('_', "-")
}

fn warn_of(item: &Item) {
    warn(&item.name, &item.weaknesses());
}

/// Prints the risk of a value, without the value.
pub(super) fn warn(name: &str, weaknesses: &[Weakness]) {
    for weakness in weaknesses {
        output::say(&format!("warning: {}: {}", visible(name), weakness.as_str()));
    }
}

/// Reads a whole file without leaving copies of it behind in growing buffers.
fn read_all(source: impl Read, shown: &str) -> Answer<Zeroizing<Vec<u8>>> {
    let limit = usize::try_from(MAX_FILE_BYTES).unwrap_or(usize::MAX);
    let mut text = Zeroizing::new(Vec::with_capacity(limit + 64));
    source
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut text)
        .with_context(|| format!("cannot read {shown}"))
        .or_usage()?;
    if text.len() > limit {
        return Err(Failure::usage(anyhow!("{shown} holds more than {MAX_FILE_BYTES} bytes")));
    }
    Ok(text)
}

/// The document for the control API, in one wiped buffer.
fn document(items: &[Item]) -> Answer<Zeroizing<Vec<u8>>> {
    let mut parts = Vec::new();
    let mut room = 2;
    for item in items {
        let unwritable = || Failure::usage(anyhow!("the credential {} cannot be written", item.name));
        let mut fields = serde_json::to_value(&item.request).map_err(|_| unwritable())?;
        let given = fields.as_object_mut().ok_or_else(unwritable)?;
        given.retain(|_, value| !value.is_null());
        given.insert("name".to_owned(), item.name.clone().into());
        let fields = fields.to_string();
        let value = item.value.text().map_err(|place| {
            Failure::usage(anyhow!("{place}: {}: the value is not UTF-8, and only UTF-8 can be imported", item.name))
        })?;
        // An escape has at most six characters.
        room += fields.len() + value.len() * 6 + 16;
        parts.push((fields, value));
    }
    let mut text = Zeroizing::new(Vec::with_capacity(room));
    for (number, (fields, value)) in parts.into_iter().enumerate() {
        text.push(if number == 0 { b'[' } else { b',' });
        text.extend_from_slice(fields.strip_suffix('}').unwrap_or(&fields).as_bytes());
        text.extend_from_slice(b",\"value\":");
        serde_json::to_writer(&mut *text, value).context("the document cannot be written").or_usage()?;
        text.push(b'}');
    }
    text.push(b']');
    debug_assert!(text.len() <= room, "it never moved");
    Ok(text)
}
