//! `egret audit`: the records, and the verification of the journal.

mod reading;

use std::path::PathBuf;

use anyhow::anyhow;
use api::{List, RecordQuery};
use audit::{Decision, Filter, KnownHead};
use control::parse_span;
use jiff::SignedDuration;
use model::{Reason, SessionId, Timestamp};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::Context;
use crate::client::{Client, converse, path_with};
use crate::data_dir::DataDir;
use crate::exit::{Answer, Failure};
use crate::output;

/// Query and verify the records.
#[derive(clap::Args)]
pub(crate) struct Audit {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(clap::Subcommand)]
enum AuditCommand {
    /// Print records, the newest last.
    Query(Box<Query>),
    /// Verify the chain of the whole journal, and that no records are missing at its end.
    Verify(Verify),
}

#[derive(clap::Args)]
struct Verify {
    /// Verify this journal, such as a copy; nothing in it changes.
    #[arg(long, value_name = "DIR")]
    journal: Option<PathBuf>,
    /// A record that is known from an earlier `verify`, as its number and hash.
    #[arg(long, value_name = "SEQ:HASH", value_parser = known_head)]
    known: Vec<KnownHead>,
    /// How to print it.
    #[arg(long, value_enum, default_value_t)]
    format: output::Format,
}

#[derive(clap::Args)]
struct Query {
    /// Only records since this time: a length of time such as 1h, or an instant (RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = instant)]
    since: Option<Timestamp>,
    /// Only records before this time.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    until: Option<Timestamp>,
    /// Only records of this session.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Only records of this host: a name, *.example.com or **.example.com.
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Only records with this decision.
    #[arg(long, value_parser = ["allow", "deny", "ask", "observe"])]
    decision: Option<String>,
    /// Only records with this code, such as denied_host.
    #[arg(long, value_name = "CODE", value_parser = code)]
    code: Option<String>,
    /// Only records of this kind, such as exchange.closed.
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Only records with this method.
    #[arg(long, value_name = "METHOD")]
    method: Option<String>,
    /// Only records that name this credential.
    #[arg(long, value_name = "NAME")]
    credential: Option<String>,
    /// Only the record or the exchange with this id, such as a refusal's Egret-Record.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Only records after this number.
    #[arg(long, value_name = "SEQ")]
    after: Option<u64>,
    /// Maximum number of records.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Read this journal, such as a copy; nothing in it changes.
    #[arg(long, value_name = "DIR")]
    journal: Option<PathBuf>,
    /// How to print them; json is one object a line.
    #[arg(long, value_enum, default_value_t)]
    format: Form,
}

/// How records are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// For people.
    #[default]
    Table,
    /// One JSON object a line.
    Json,
    /// Comma-separated (RFC 4180).
    Csv,
}

/// An instant, or a length of time before now.
pub(crate) fn instant(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let span: SignedDuration = parse_span(text)
        .map_err(|_| "write a length of time such as 15m, 1h or 7d, or an instant such as 2026-11-20T10:00:00Z")?;
    Timestamp::now().checked_sub(span).map_err(|error| error.to_string())
}

/// A code that a record can have.
fn code(text: &str) -> Result<String, String> {
    if Reason::from_code(text).is_some() {
        return Ok(text.to_owned());
    }
    let some: Vec<_> = Reason::ALL.iter().take(6).map(|reason| reason.code()).collect();
    Err(format!("no record has this code; codes are {}, ..", some.join(", ")))
}

impl Audit {
    /// # Errors
    /// 1 if the journal does not verify or an id is not found, 2 for an invalid query, 3 if there is no journal.
    pub(crate) fn execute(&self, context: &Context) -> Answer {
        match &self.command {
            AuditCommand::Query(query) => query.execute(context),
            AuditCommand::Verify(verify) => verify.execute(context),
        }
    }
}

impl Query {
    fn execute(&self, context: &Context) -> Answer {
        let items = self.records(context)?;
        match self.format {
            Form::Json => items.iter().for_each(|record| output::print(&format!("{}\n", record.get()))),
            Form::Table => output::table(COLUMNS.map(|(name, _)| name), items.iter().map(|record| cells(record))),
            Form::Csv => csv(&items),
        }
        if let (Some(id), true) = (&self.id, items.is_empty()) {
            return Err(Failure::refused(anyhow!("no record or exchange has the id {}", output::visible(id))));
        }
        Ok(())
    }

    /// Asks the sidecar if one runs, because it has the index open. Otherwise reads in a separate folder and changes no byte
    /// of the data folder: it may be a copy, on a read-only disk, or another user's.
    fn records(&self, context: &Context) -> Answer<Vec<Box<RawValue>>> {
        if let Some(journal) = &self.journal {
            return reading::records(journal, None, &self.filter()?);
        }
        let config = context.config()?;
        let dir = context.data_dir(&config)?;
        let path = path_with("/v1/records", &self.query())?;
        let answered = converse(async {
            match Client::to_sidecar(&dir).await? {
                Some(mut client) => client.get::<List<Box<RawValue>>>(&path).await.map(Some),
                None => Ok(None),
            }
        })?;
        match answered {
            Some(found) => Ok(found.items),
            None => reading::records(&dir.journal(), Some(&dir.index()), &self.filter()?),
        }
    }

    fn filter(&self) -> Answer<Filter> {
        let kind = self.kind.as_deref().map(|word| {
            let known = || audit::Kind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ");
            audit::Kind::from_word(word).ok_or_else(|| Failure::usage(anyhow!("kind is one of {}", known())))
        });
        Ok(Filter {
            since: self.since,
            until: self.until,
            session: self.session.as_deref().map(SessionId::new),
            host: self.host.clone(),
            decision: self.decision.as_deref().and_then(Decision::from_word),
            code: self.code.clone(),
            kind: kind.transpose()?,
            method: self.method.as_deref().map(str::to_uppercase),
            credential: self.credential.clone(),
            id: self.id.clone(),
            after: self.after,
            before: None,
            limit: self.limit,
        })
    }

    fn query(&self) -> RecordQuery {
        RecordQuery {
            since: self.since,
            until: self.until,
            session: self.session.clone(),
            host: self.host.clone(),
            decision: self.decision.clone(),
            code: self.code.clone(),
            kind: self.kind.clone(),
            method: self.method.as_deref().map(str::to_uppercase),
            credential: self.credential.clone(),
            id: self.id.clone(),
            after: self.after,
            before: None,
            limit: Some(self.limit),
        }
    }
}

/// How many characters of a detail the table shows.
const MAX_DETAIL: usize = 60;

/// The columns of the table: a heading, and alternative fields; the first present one is shown.
const COLUMNS: [(&str, &[&str]); 10] = [
    ("time", &["time"]),
    ("kind", &["kind"]),
    ("session", &["session"]),
    ("decision", &["decision"]),
    ("code", &["code", "outcome"]),
    ("method", &["method"]),
    ("host", &["host"]),
    ("path", &["path"]),
    ("status", &["status"]),
    ("detail", &["detail"]),
];

/// The fields of a record in the comma-separated table: the envelope's around the contents'.
fn fields() -> impl Iterator<Item = &'static str> {
    ["seq", "time", "kind"].into_iter().chain(audit::CONTENTS.iter().copied()).chain(["previous", "hash"])
}

fn cells(record: &RawValue) -> [String; 10] {
    let document: Value = serde_json::from_str(record.get()).unwrap_or_default();
    COLUMNS.map(|(name, fields)| {
        let text = fields.iter().find_map(|field| document.get(*field)).map(text_of).unwrap_or_default();
        if name == "detail" { shortened(&text) } else { text }
    })
}

/// At most [`MAX_DETAIL`] characters; a longer text ends in an ellipsis.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_DETAIL) {
        None => text.to_owned(),
        Some(_) => text.chars().take(MAX_DETAIL - 1).chain(['…']).collect(),
    }
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

fn csv(records: &[Box<RawValue>]) {
    output::print(&format!("{}\r\n", fields().collect::<Vec<_>>().join(",")));
    for record in records {
        let document: Value = serde_json::from_str(record.get()).unwrap_or_default();
        let line: Vec<_> =
            fields().map(|field| quoted(&document.get(field).map(text_of).unwrap_or_default())).collect();
        output::print(&format!("{}\r\n", line.join(",")));
    }
}

/// One field, quoted if RFC 4180 requires it. Disarms a leading character that a spreadsheet would compute.
fn quoted(text: &str) -> String {
    let text = if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

impl Verify {
    fn execute(&self, context: &Context) -> Answer {
        let (journal, indexed) = match &self.journal {
            Some(journal) => (journal.clone(), None),
            None => Self::of_folder(&context.data_dir(&context.config()?)?)?,
        };
        if !journal.is_dir() {
            return Err(Failure::unreachable(anyhow!("there is no journal {}", journal.display())));
        }
        let is_json = self.format == output::Format::Json;
        let known: Vec<KnownHead> = self.known.iter().cloned().chain(indexed).collect();
        match audit::verify_against(&journal, &known) {
            Ok(verified) => self.report(&verified, is_json),
            Err(broken) => {
                if is_json {
                    output::json(&document_of(&broken))?;
                }
                Err(Failure::refused(anyhow::Error::new(broken).context("the journal does not verify")))
            }
        }
    }

    /// The journal of a data folder, and the last record of its index. If a sidecar runs, it compared the index with the journal
    /// at its start, and is writing to it.
    fn of_folder(dir: &DataDir) -> Answer<(PathBuf, Option<KnownHead>)> {
        let journal = dir.journal();
        let runs = converse(async { Ok(Client::to_sidecar(dir).await?.is_some()) })?;
        let indexed = if runs || !journal.is_dir() { None } else { reading::last_indexed(&journal, &dir.index())? };
        Ok((journal, indexed))
    }

    /// A complete chain proves nothing about its end: that requires a record that is known from elsewhere.
    fn report(&self, verified: &audit::Verified, is_json: bool) -> Answer {
        let is_anchored = verified.is_head_noted || !self.known.is_empty();
        if is_json {
            output::json(&serde_json::json!({
                "ok": is_anchored,
                "verdict": if is_anchored { "verified" } else { "no_anchor" },
                "records": verified.records,
                "files": verified.files,
                "deleted": verified.deleted,
                "gaps": verified.gaps,
                "unfinished_bytes": verified.unfinished_bytes,
                "head": {"seq": verified.head.seq, "hash": verified.head.hash},
            }))?;
        } else {
            output::facts(&[
                (
                    if is_anchored { "verified" } else { "no anchor" },
                    format!("{} records in {} files", verified.records, verified.files),
                ),
                ("gaps", verified.gaps.to_string()),
                ("deleted", verified.deleted.to_string()),
                ("head", format!("{} {}", verified.head.seq, verified.head.hash)),
            ]);
        }
        if is_anchored {
            return Ok(());
        }
        Err(Failure::refused(anyhow!(
            "no_anchor: the chain is whole, but the journal's file `head` is gone, so nothing shows whether records at its end \
             are gone too; give a record that you know: --known SEQ:HASH"
        )))
    }
}

/// A record in the form that `verify` prints.
fn known_head(text: &str) -> Result<KnownHead, String> {
    let help = "write the number and the hash that an earlier verify printed, such as 12:906b..";
    let (seq, hash) = text.split_once(':').ok_or(help)?;
    let is_hash = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'));
    let seq = seq.parse().ok().filter(|seq| *seq > 0 && is_hash).ok_or(help)?;
    Ok(KnownHead { seq, hash: hash.to_owned() })
}

/// The position and reason of a failed verification.
fn document_of(broken: &audit::Broken) -> Value {
    serde_json::json!({
        "ok": false,
        "verdict": "broken",
        "seq": broken.seq,
        "file": broken.file.display().to_string(),
        "line": broken.line,
        "why": broken.why.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_that_exist_are_asked_for() {
        assert_eq!(code("denied_host"), Ok("denied_host".to_owned()));
        assert!(code("denied_hosts").unwrap_err().contains(Reason::ALL[0].code()));
    }

    #[test]
    fn a_table_shows_the_detail_last_and_shortened() {
        let record = |detail: &str| {
            let text =
                serde_json::json!({"kind": "policy.rejected", "host": "a.example", "detail": detail}).to_string();
            let [.., host, path, status, detail] = cells(&RawValue::from_string(text).unwrap());
            (host, path, status, detail)
        };
        let wanted = |detail: String| ("a.example".to_owned(), String::new(), String::new(), detail);
        assert_eq!(record(&"ä".repeat(60)), wanted("ä".repeat(60)));
        assert_eq!(record(&"ä".repeat(61)), wanted(format!("{}…", "ä".repeat(59))));
    }

    #[test]
    fn a_known_record_is_a_number_and_a_hash() {
        let hash = "0a".repeat(32);
        assert_eq!(known_head(&format!("12:{hash}")), Ok(KnownHead { seq: 12, hash: hash.clone() }));
        for text in
            ["", "12", "12:", "0:00", &format!("0:{hash}"), &format!("x:{hash}"), &format!("1:{}", "0G".repeat(32))]
        {
            assert!(known_head(text).is_err(), "{text}");
        }
    }

    #[test]
    fn fields_are_quoted_where_needed() {
        for (text, cell) in [("a", "a"), ("a,b", "\"a,b\""), ("a\"b", "\"a\"\"b\""), ("=1+1", "'=1+1"), ("", "")] {
            assert_eq!(quoted(text), cell);
        }
    }

    #[test]
    fn times_are_instants_or_lengths() {
        assert_eq!(instant("2026-11-20T10:00:00Z").unwrap().to_string(), "2026-11-20T10:00:00Z");
        let before = Timestamp::now() - SignedDuration::from_hours(1);
        let hour = instant("1h").unwrap();
        assert!((before..=Timestamp::now() - SignedDuration::from_hours(1)).contains(&hour), "{hour}");
        assert!(instant("yesterday").is_err());
    }
}
