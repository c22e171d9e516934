//! The serialized form of a credential's description before sealing: kind, audience and names, in JSON.

use std::collections::BTreeMap;

use model::Timestamp;
use serde::{Deserialize, Serialize};

use crate::credential::{BodySlot, BodySlots, CredentialSpec, Kind, Shape};
use model::Audience;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    kind: KindDocument,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    also: Vec<KindDocument>,
    audience: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    body: Vec<SlotDocument>,
    #[serde(default = "once", skip_serializing_if = "is_once")]
    body_swaps: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    env: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    /// The fingerprint of the value, so that people can distinguish versions.
    fingerprint: String,
}

/// `"bearer"`, or `{"header": {"name": "X-Api-Key"}}`: the kind's name, with its options if it has any.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum KindDocument {
    Plain(String),
    With(BTreeMap<String, BTreeMap<String, String>>),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum SlotDocument {
    Json(String),
    Form(String),
}

fn once() -> u8 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_once(swaps: &u8) -> bool {
    *swaps == 1
}

impl KindDocument {
    fn of(kind: &Kind) -> Self {
        let options: BTreeMap<String, String> =
            kind.options().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        if options.is_empty() {
            return Self::Plain(kind.name().to_owned());
        }
        Self::With([(kind.name().to_owned(), options)].into())
    }

    fn kind(self) -> Option<Kind> {
        let (name, options) = match self {
            Self::Plain(name) => (name, BTreeMap::new()),
            Self::With(kinds) => {
                let mut kinds = kinds.into_iter();
                kinds.next().filter(|_| kinds.len() == 0)?
            }
        };
        Kind::new(&name, options.iter().map(|(name, value)| (name.as_str(), value.clone()))).ok()
    }
}

/// The description of this shape, without version and end, which are stored next to it in clear.
pub(crate) fn write(shape: &Shape) -> Vec<u8> {
    let slot = |slot: &BodySlot| match slot {
        BodySlot::Json(pointer) => SlotDocument::Json(pointer.clone()),
        BodySlot::Form(field) => SlotDocument::Form(field.clone()),
    };
    let spec = &shape.spec;
    let document = Document {
        kind: KindDocument::of(&spec.kind),
        also: spec.also.iter().map(KindDocument::of).collect(),
        audience: spec.audience.patterns(),
        body: spec.body.iter().map(slot).collect(),
        body_swaps: spec.body.swaps(),
        env: spec.env.clone(),
        prefix: spec.prefix.clone(),
        description: spec.description.clone(),
        owner: spec.owner.clone(),
        fingerprint: shape.fingerprint.clone(),
    };
    serde_json::to_vec(&document).expect("texts and lists of texts are always JSON")
}

/// The shape of a description; `None` if it is not one of ours.
pub(crate) fn read(bytes: &[u8], version: u32, expires: Option<Timestamp>) -> Option<Shape> {
    let document: Document = serde_json::from_slice(bytes).ok()?;
    let slot = |slot: SlotDocument| match slot {
        SlotDocument::Json(pointer) => BodySlot::Json(pointer),
        SlotDocument::Form(field) => BodySlot::Form(field),
    };
    let spec = CredentialSpec {
        kind: document.kind.kind()?,
        also: document.also.into_iter().map(KindDocument::kind).collect::<Option<_>>()?,
        audience: Audience::parse(&document.audience).ok()?,
        body: BodySlots::new(document.body.into_iter().map(slot).collect(), document.body_swaps).ok()?,
        env: document.env,
        prefix: document.prefix,
        expires,
        description: document.description,
        owner: document.owner,
    };
    Some(Shape { spec, fingerprint: document.fingerprint, version })
}
