//! `egret audit`: what happened, and whether the evidence holds.

use anyhow::anyhow;
use control::parse_span;
use control::wire::List;
use jiff::SignedDuration;
use model::{Reason, Timestamp};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::Context;
use crate::client::{Client, Missing, converse, path_with};
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
    /// Verify the chain of the whole journal.
    Verify {
        /// How to print it.
        #[arg(long, value_enum, default_value_t)]
        format: output::Format,
    },
}

#[derive(clap::Args)]
struct Query {
    /// Not older than this: a length of time such as 1h, or an instant (RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = instant)]
    since: Option<Timestamp>,
    /// Older than this.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    until: Option<Timestamp>,
    /// Of this session.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Of this host: a name, *.example.com or **.example.com.
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// With this decision.
    #[arg(long, value_parser = ["allow", "deny", "ask", "observe"])]
    decision: Option<String>,
    /// With this code, such as denied_host.
    #[arg(long, value_name = "CODE", value_parser = code)]
    code: Option<String>,
    /// Of this kind, such as exchange.closed.
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// With this method.
    #[arg(long, value_name = "METHOD")]
    method: Option<String>,
    /// That names this credential.
    #[arg(long, value_name = "NAME")]
    credential: Option<String>,
    /// The record or the exchange with this id, such as a refusal's Egret-Record.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Only records after this number.
    #[arg(long, value_name = "SEQ")]
    after: Option<u64>,
    /// At most so many.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
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
    /// 1 where the journal does not verify, 2 for a query that cannot be, 3 where there is no journal.
    pub(crate) fn execute(&self, context: &Context) -> Answer {
        match &self.command {
            AuditCommand::Query(query) => query.execute(context),
            AuditCommand::Verify { format } => verify(context, *format),
        }
    }
}

impl Query {
    fn execute(&self, context: &Context) -> Answer {
        let path = self.path();
        let found: List<Box<RawValue>> =
            converse(async { Client::find(context, Missing::Tell).await?.get(&path).await })?;
        match self.format {
            Form::Json => found.items.iter().for_each(|record| output::print(&format!("{}\n", record.get()))),
            Form::Table => output::table(COLUMNS.map(|(name, _)| name), found.items.iter().map(|record| cells(record))),
            Form::Csv => csv(&found.items),
        }
        Ok(())
    }

    fn path(&self) -> String {
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
        path_with(
            "/v1/records",
            &[
                ("since", time(self.since)),
                ("until", time(self.until)),
                ("session", self.session.clone()),
                ("host", self.host.clone()),
                ("decision", self.decision.clone()),
                ("code", self.code.clone()),
                ("kind", self.kind.clone()),
                ("method", self.method.as_deref().map(str::to_uppercase)),
                ("credential", self.credential.clone()),
                ("id", self.id.clone()),
                ("after", self.after.map(|seq| seq.to_string())),
                ("limit", Some(self.limit.to_string())),
            ],
        )
    }
}

/// What the table shows: a heading, and the fields of which the first that is there is shown.
const COLUMNS: [(&str, &[&str]); 9] = [
    ("time", &["time"]),
    ("kind", &["kind"]),
    ("session", &["session"]),
    ("decision", &["decision"]),
    ("code", &["code", "outcome"]),
    ("method", &["method"]),
    ("host", &["host", "detail"]),
    ("path", &["path"]),
    ("status", &["status"]),
];

/// The fields of a record that a table of commas holds: the envelope's around the contents'.
fn fields() -> impl Iterator<Item = &'static str> {
    ["seq", "time", "kind"].into_iter().chain(audit::CONTENTS.iter().copied()).chain(["previous", "hash"])
}

fn cells(record: &RawValue) -> [String; 9] {
    let document: Value = serde_json::from_str(record.get()).unwrap_or_default();
    COLUMNS.map(|(_, fields)| fields.iter().find_map(|field| document.get(*field)).map(text_of).unwrap_or_default())
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

/// One field, quoted where RFC 4180 wants it. A leading sign that a spreadsheet would compute is disarmed.
fn quoted(text: &str) -> String {
    let text = if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

fn verify(context: &Context, format: output::Format) -> Answer {
    let config = context.config()?;
    let journal = context.data_dir(&config)?.journal();
    if !journal.is_dir() {
        return Err(Failure::unreachable(anyhow!("there is no journal {}", journal.display())));
    }
    let verified = match audit::verify(&journal) {
        Ok(verified) => verified,
        Err(broken) => {
            if format == output::Format::Json {
                output::json(&document_of(&broken))?;
            }
            return Err(Failure::refused(anyhow::Error::new(broken).context("the journal does not verify")));
        }
    };
    if format == output::Format::Json {
        return output::json(&serde_json::json!({
            "ok": true,
            "records": verified.records,
            "files": verified.files,
            "deleted": verified.deleted,
            "gaps": verified.gaps,
            "unfinished_bytes": verified.unfinished_bytes,
            "head": {"seq": verified.head.seq, "hash": verified.head.hash},
        }));
    }
    output::facts(&[
        ("verified", format!("{} records in {} files", verified.records, verified.files)),
        ("gaps", verified.gaps.to_string()),
        ("deleted", verified.deleted.to_string()),
        ("head", format!("{} {}", verified.head.seq, verified.head.hash)),
    ]);
    Ok(())
}

/// Where and why a journal does not verify.
fn document_of(broken: &audit::Broken) -> Value {
    serde_json::json!({
        "ok": false,
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
