//! How many cases of each family were accepted and refused, compared with the record in `counts.txt`: a generator that goes wrong is
//! noticed. And the written messages, for readers of other languages.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::oracle::{Field, Line, Message};

/// Cases by family and outcome.
#[derive(Debug, Default)]
pub(super) struct Counts(BTreeMap<(&'static str, String), usize>);

impl Counts {
    pub(super) fn add(&mut self, family: &'static str, outcome: String) {
        *self.0.entry((family, outcome)).or_default() += 1;
    }

    pub(super) fn compare(&self, kind: &str) {
        let line =
            |((family, outcome), count): (&(&str, String), &usize)| format!("{kind} | {family} | {outcome} | {count}");
        let counted: Vec<String> = self.0.iter().map(line).collect();
        let recorded: Vec<&str> = RECORD.lines().filter(|line| line.starts_with(&format!("{kind} |"))).collect();
        assert!(counted == recorded, "counts.txt does not have these lines:\n{}", counted.join("\n"));
    }
}

const RECORD: &str = include_str!("counts.txt");

#[test]
fn the_corpus_has_twenty_thousand_cases() {
    let count = |line: &str| line.rsplit(" | ").next().unwrap().parse::<usize>().unwrap();
    let total: usize = RECORD.lines().filter(|line| !line.starts_with('#')).map(count).sum();
    assert!(total >= 20_000, "{total}");
}

/// The messages that were written with what they mean, a line of JSON each, in the folder that a variable names.
pub(super) struct Output(Option<BufWriter<File>>);

impl Output {
    pub(super) fn of(kind: &str) -> Self {
        let folder = std::env::var_os("EGRET_FRAMING").map(PathBuf::from);
        Self(folder.map(|folder| BufWriter::new(File::create(folder.join(format!("{kind}.jsonl"))).unwrap())))
    }

    fn put(&mut self, value: &Value) {
        if let Some(file) = &mut self.0 {
            writeln!(file, "{value}").unwrap();
        }
    }

    pub(super) fn request(&mut self, written: &[u8], message: &Message) {
        let Line::Request { method, target } = &message.line else { unreachable!("it is a request") };
        let mut value = described(written, message);
        (value["method"], value["target"]) = (method.as_str().into(), target.as_str().into());
        self.put(&value);
    }

    pub(super) fn response(&mut self, written: &[u8], message: &Message, to_head: bool) {
        let Line::Status(status) = message.line else { unreachable!("it is a response") };
        let mut value = described(written, message);
        (value["status"], value["to_head"]) = (status.into(), to_head.into());
        self.put(&value);
    }

    pub(super) fn finish(self) {
        if let Some(mut file) = self.0 {
            file.flush().unwrap();
        }
    }
}

fn described(written: &[u8], message: &Message) -> Value {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let list =
        |fields: &[Field]| -> Vec<Value> { fields.iter().map(|(name, value)| json!([name, hex(value)])).collect() };
    json!({
        "bytes": hex(written),
        "version": if message.is_old { "1.0" } else { "1.1" },
        "fields": list(&message.fields),
        "body": hex(&message.body),
        "trailers": list(&message.trailers),
    })
}
