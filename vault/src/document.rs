//! The sealed description of a credential as it is written: kind, audience and names, in JSON.

use model::Timestamp;
use serde::{Deserialize, Serialize};

use crate::audience::Audience;
use crate::credential::{Kind, Shape};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    kind: KindDocument,
    audience: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    env: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    /// Of the value, so that people can tell versions apart.
    fingerprint: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum KindDocument {
    Bearer,
    Basic,
    Header { name: String, prefix: Option<String> },
    Query { name: String },
}

/// The description of this shape, without version and end, which stand beside it in clear.
pub(crate) fn write(shape: &Shape) -> Vec<u8> {
    let document = Document {
        kind: match shape.kind.clone() {
            Kind::Bearer => KindDocument::Bearer,
            Kind::Basic => KindDocument::Basic,
            Kind::Header { name, prefix } => KindDocument::Header { name, prefix },
            Kind::Query { name } => KindDocument::Query { name },
        },
        audience: shape.audience.patterns(),
        env: shape.env.clone(),
        prefix: shape.prefix.clone(),
        description: shape.description.clone(),
        owner: shape.owner.clone(),
        fingerprint: shape.fingerprint.clone(),
    };
    serde_json::to_vec(&document).expect("texts and lists of texts are always JSON")
}

/// The shape of a description; `None` where it is none of ours.
pub(crate) fn read(bytes: &[u8], version: u32, expires: Option<Timestamp>) -> Option<Shape> {
    let document: Document = serde_json::from_slice(bytes).ok()?;
    Some(Shape {
        kind: match document.kind {
            KindDocument::Bearer => Kind::Bearer,
            KindDocument::Basic => Kind::Basic,
            KindDocument::Header { name, prefix } => Kind::Header { name, prefix },
            KindDocument::Query { name } => Kind::Query { name },
        },
        audience: Audience::parse(&document.audience).ok()?,
        env: document.env,
        prefix: document.prefix,
        description: document.description,
        owner: document.owner,
        fingerprint: document.fingerprint,
        expires,
        version,
    })
}
