//! The keys of `limits`, each with its unit, in one table.

use std::time::Duration;

use proxy::Limits;
use serde_saphyr::Spanned;

use super::problem::{Problem, Source};

/// The field that a key sets, and its unit.
enum Field {
    Bytes(fn(&mut Limits) -> &mut usize),
    Bytes32(fn(&mut Limits) -> &mut u32),
    Count(fn(&mut Limits) -> &mut usize),
    Count32(fn(&mut Limits) -> &mut u32),
    Time(fn(&mut Limits) -> &mut Duration),
}

const FIELDS: &[(&str, Field)] = &[
    ("max_head_bytes", Field::Bytes(|limits| &mut limits.max_head_bytes)),
    ("max_target_bytes", Field::Bytes(|limits| &mut limits.max_target_bytes)),
    ("max_fields", Field::Count(|limits| &mut limits.max_fields)),
    ("max_header_list_bytes", Field::Bytes32(|limits| &mut limits.max_header_list_bytes)),
    ("max_response_head_bytes", Field::Bytes32(|limits| &mut limits.max_response_head_bytes)),
    ("max_response_fields", Field::Count(|limits| &mut limits.max_response_fields)),
    ("max_streams", Field::Count32(|limits| &mut limits.max_streams)),
    ("max_connections", Field::Count(|limits| &mut limits.max_connections)),
    ("max_idle_upstreams", Field::Count(|limits| &mut limits.max_idle_upstreams)),
    ("head_timeout", Field::Time(|limits| &mut limits.head_timeout)),
    ("handshake_timeout", Field::Time(|limits| &mut limits.handshake_timeout)),
    ("keep_alive", Field::Time(|limits| &mut limits.keep_alive)),
    ("connect_timeout", Field::Time(|limits| &mut limits.connect_timeout)),
    ("resolve_timeout", Field::Time(|limits| &mut limits.resolve_timeout)),
    ("first_byte_timeout", Field::Time(|limits| &mut limits.first_byte_timeout)),
    ("idle_timeout", Field::Time(|limits| &mut limits.idle_timeout)),
    ("min_rate_bytes", Field::Bytes(|limits| &mut limits.min_rate_bytes)),
    ("min_rate_grace", Field::Time(|limits| &mut limits.min_rate_grace)),
    ("unread_timeout", Field::Time(|limits| &mut limits.unread_timeout)),
    ("max_lookups", Field::Count(|limits| &mut limits.max_lookups)),
    ("upstream_keep_alive", Field::Time(|limits| &mut limits.upstream_keep_alive)),
    ("max_slot_body_bytes", Field::Bytes(|limits| &mut limits.max_slot_body_bytes)),
    ("max_slot_bodies_bytes", Field::Bytes(|limits| &mut limits.max_slot_bodies_bytes)),
    ("max_session_slot_bodies_bytes", Field::Bytes(|limits| &mut limits.max_session_slot_bodies_bytes)),
    ("slot_body_timeout", Field::Time(|limits| &mut limits.slot_body_timeout)),
    ("audit_timeout", Field::Time(|limits| &mut limits.audit_timeout)),
    ("max_requests", Field::Count(|limits| &mut limits.max_requests)),
    ("max_session_requests", Field::Count(|limits| &mut limits.max_session_requests)),
    ("max_buffer_bytes", Field::Bytes(|limits| &mut limits.max_buffer_bytes)),
    ("max_session_buffer_bytes", Field::Bytes(|limits| &mut limits.max_session_buffer_bytes)),
    ("max_upstreams", Field::Count(|limits| &mut limits.max_upstreams)),
    ("max_session_upstreams", Field::Count(|limits| &mut limits.max_session_upstreams)),
    ("max_host_upstreams", Field::Count(|limits| &mut limits.max_host_upstreams)),
    ("max_names_per_minute", Field::Count(|limits| &mut limits.max_names_per_minute)),
    ("max_mints_per_minute", Field::Count(|limits| &mut limits.max_mints_per_minute)),
    ("max_control_frames", Field::Count32(|limits| &mut limits.max_control_frames)),
    ("reserved_descriptors", Field::Count(|limits| &mut limits.reserved_descriptors)),
    ("max_session_listeners", Field::Count(|limits| &mut limits.max_session_listeners)),
    ("max_session_connections", Field::Count(|limits| &mut limits.max_session_connections)),
    ("max_strangers", Field::Count(|limits| &mut limits.max_strangers)),
    ("max_source_strangers", Field::Count(|limits| &mut limits.max_source_strangers)),
    ("identify_timeout", Field::Time(|limits| &mut limits.identify_timeout)),
    ("max_failed_logins", Field::Count(|limits| &mut limits.max_failed_logins)),
    ("max_refusals", Field::Count(|limits| &mut limits.max_refusals)),
    ("max_refusal_records", Field::Count(|limits| &mut limits.max_refusal_records)),
    ("max_source_refusal_records", Field::Count(|limits| &mut limits.max_source_refusal_records)),
    ("max_stranger_refusal_records", Field::Count(|limits| &mut limits.max_stranger_refusal_records)),
    ("refusal_interval", Field::Time(|limits| &mut limits.refusal_interval)),
];

/// Sets one limit.
pub(super) fn set(limits: &mut Limits, source: &Source<'_>, name: &str, text: &Spanned<String>) -> Result<(), Problem> {
    let Some((_, field)) = FIELDS.iter().find(|(key, _)| *key == name) else {
        let known: Vec<_> = FIELDS.iter().map(|(key, _)| *key).collect();
        return Err(source.problem(
            text,
            format!("there is no limit `{name}`"),
            Some(&format!("the limits are {}", known.join(", "))),
        ));
    };
    let wrong =
        |expected: &str| source.problem(text, format!("`{}` is not a value for `{name}`", text.value), Some(expected));
    let bytes =
        || size(&text.value).ok_or_else(|| wrong("write a number of bytes from 1 on, such as 65536, 64KiB or 1MiB"));
    let count = || text.value.parse().ok().filter(|n| *n > 0).ok_or_else(|| wrong("write a number from 1 on"));
    match field {
        Field::Bytes(place) => *place(limits) = bytes()?,
        Field::Bytes32(place) => *place(limits) = bytes()?.try_into().map_err(|_| wrong("write less than 4GiB"))?,
        Field::Count(place) => *place(limits) = count()?,
        Field::Count32(place) => {
            *place(limits) = count()?.try_into().map_err(|_| wrong("write less than 4294967296"))?
        }
        Field::Time(place) => {
            *place(limits) =
                time(&text.value).ok_or_else(|| wrong("write a length of time from 1s to 1d, such as 10s or 5m"))?
        }
    }
    Ok(())
}

pub(super) fn size(text: &str) -> Option<usize> {
    let (digits, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let factor = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(factor).filter(|bytes| *bytes > 0)
}

fn time(text: &str) -> Option<Duration> {
    let span = Duration::try_from(control::parse_span(text).ok()?).ok()?;
    (Duration::from_secs(1)..=Duration::from_secs(86_400)).contains(&span).then_some(span)
}
