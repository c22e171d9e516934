//! What can be asked of the index, and the rows that answer.

use model::{SessionId, Timestamp};
use rusqlite::types::Value;

use crate::record::{Decision, Kind};

/// The largest number of rows of one query.
pub const MAX_ROWS: u32 = 10_000;

/// Which records are wanted; every condition that is given must hold.
///
/// With `after`, the first `limit` records after it; else the last `limit` ones. Either way in the order of the journal.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Not before this instant.
    pub since: Option<Timestamp>,
    /// Before this instant.
    pub until: Option<Timestamp>,
    /// Of this session.
    pub session: Option<SessionId>,
    /// Of this host: a name or address, `*.b` (one more label) or `**.b` (one or more).
    pub host: Option<String>,
    /// With this decision.
    pub decision: Option<Decision>,
    /// With this code.
    pub code: Option<String>,
    /// Of this kind.
    pub kind: Option<Kind>,
    /// With this method.
    pub method: Option<String>,
    /// That names this credential.
    pub credential: Option<String>,
    /// Of this exchange, or the record with this id.
    pub id: Option<String>,
    /// Only records after this sequence number.
    pub after: Option<u64>,
    /// Only records before this sequence number.
    pub before: Option<u64>,
    /// At most so many, and never more than [`MAX_ROWS`].
    pub limit: u32,
}

impl Default for Filter {
    /// The last hundred records.
    fn default() -> Self {
        Self {
            since: None,
            until: None,
            session: None,
            host: None,
            decision: None,
            code: None,
            kind: None,
            method: None,
            credential: None,
            id: None,
            after: None,
            before: None,
            limit: 100,
        }
    }
}

/// A statement and the values bound to it; no text of a caller is ever part of the statement.
pub(crate) struct Statement {
    pub(crate) sql: String,
    pub(crate) values: Vec<Value>,
}

impl Filter {
    pub(crate) fn statement(&self) -> Statement {
        let mut conditions = Conditions::default();
        conditions.times(self);
        if let Some(session) = &self.session {
            conditions.add("session = ?", session.as_str().to_owned());
        }
        if let Some(host) = &self.host {
            conditions.host(host);
        }
        match self.decision {
            // Spelled out so that the partial index on what was not allowed can serve it.
            Some(decision) if decision != Decision::Allow => {
                conditions.add("decision <> 'allow' AND decision = ?", decision.as_str().to_owned());
            }
            Some(decision) => conditions.add("decision = ?", decision.as_str().to_owned()),
            None => {}
        }
        if let Some(code) = &self.code {
            conditions.add("code = ?", code.clone());
        }
        if let Some(kind) = self.kind {
            conditions.add("kind = ?", kind.as_str().to_owned());
        }
        if let Some(method) = &self.method {
            conditions.add("method = ?", method.clone());
        }
        if let Some(credential) = &self.credential {
            let named =
                "EXISTS (SELECT 1 FROM json_each(contents, '$.credentials') WHERE json_extract(value, '$.name') = ?)";
            conditions.add(named, credential.clone());
        }
        if let Some(id) = &self.id {
            conditions.add("(exchange = ? OR id = ?)", id.clone());
            conditions.values.push(Value::from(id.clone()));
        }
        if let Some(after) = self.after {
            conditions.add("seq > ?", whole(after));
        }
        if let Some(before) = self.before {
            conditions.add("seq < ?", whole(before));
        }
        let order = if self.after.is_some() { "ASC" } else { "DESC" };
        let filter =
            if conditions.text.is_empty() { String::new() } else { format!("WHERE {}", conditions.text.join(" AND ")) };
        conditions.values.push(Value::from(self.limit.min(MAX_ROWS)));
        let sql = format!("SELECT seq, time, kind, contents, links FROM entries {filter} ORDER BY seq {order} LIMIT ?");
        Statement { sql, values: conditions.values }
    }

    /// Whether the statement returns the newest row first.
    pub(crate) fn backwards(&self) -> bool {
        self.after.is_none()
    }
}

#[derive(Default)]
struct Conditions {
    text: Vec<&'static str>,
    values: Vec<Value>,
}

impl Conditions {
    fn add(&mut self, text: &'static str, value: impl Into<Value>) {
        self.text.push(text);
        self.values.push(value.into());
    }

    /// Bounds the sequence numbers by the spans that can hold the times, then compares the times themselves.
    fn times(&mut self, filter: &Filter) {
        if let Some(since) = filter.since {
            self.add(
                "seq >= (SELECT coalesce(min(first_seq), 9223372036854775807) FROM spans WHERE max_time >= ?)",
                text_of(since),
            );
            self.add("time >= ?", text_of(since));
        }
        if let Some(until) = filter.until {
            self.add("seq <= (SELECT coalesce(max(last_seq), 0) FROM spans WHERE min_time < ?)", text_of(until));
            self.add("time < ?", text_of(until));
        }
    }

    fn host(&mut self, pattern: &str) {
        let suffix =
            |stars: &str| pattern.strip_prefix(stars).filter(|suffix| suffix.starts_with('.') && suffix.len() > 1);
        let (condition, text, times) = if let Some(suffix) = suffix("**") {
            ("length(host) > length(?) AND substr(host, -length(?)) = ?", suffix, 3)
        } else if let Some(suffix) = suffix("*") {
            // Nothing but one label before the suffix: the first dot is the suffix's own.
            ("instr(host, '.') > 1 AND substr(host, instr(host, '.')) = ?", suffix, 1)
        } else {
            ("host = ?", pattern, 1)
        };
        self.text.push(condition);
        self.values.extend(std::iter::repeat_n(Value::from(text.to_owned()), times));
    }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn text_of(instant: Timestamp) -> String {
    let mut text = Vec::with_capacity(27);
    crate::format::instant(&mut text, instant.as_microsecond());
    String::from_utf8(text).expect("an instant is written in ASCII")
}

/// One record as the index returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its sequence number.
    pub seq: u64,
    json: String,
}

impl Row {
    pub(crate) fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let seq: i64 = row.get(0)?;
        let (time, kind) = (row.get_ref(1)?.as_str()?, row.get_ref(2)?.as_str()?);
        let mut json = format!("{{\"v\":1,\"seq\":{seq},\"time\":\"{time}\",\"kind\":\"{kind}\"");
        // The contents are an object of at least one field, or were deleted.
        if let Some(fields) =
            row.get_ref(3)?.as_str_or_null()?.and_then(|text| text.strip_prefix('{')?.strip_suffix('}'))
        {
            json.push(',');
            json.push_str(fields);
        }
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let (previous, hash) = row.get_ref(4)?.as_blob()?.split_at_checked(32).unwrap_or_default();
        json.push_str(&format!(",\"previous\":\"{}\",\"hash\":\"{}\"}}", hex(previous), hex(hash)));
        Ok(Self { seq: seq as u64, json })
    }

    /// The record as one JSON object on one line: envelope and contents together, fields in the order of the documentation.
    pub fn as_json(&self) -> &str {
        &self.json
    }

    /// The same as a value.
    pub fn value(&self) -> serde_json::Value {
        serde_json::from_str(&self.json).unwrap_or_default()
    }
}

impl serde::Serialize for Row {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &serde_json::value::RawValue = serde_json::from_str(&self.json).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}
