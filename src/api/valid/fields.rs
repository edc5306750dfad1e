//! Readers of single fields: the value, or what would be right. They take what the CRD's schema takes.

use super::Invalid;
use crate::api::Amount;
use crate::units::{MilliGpus, parse_duration};
use std::time::Duration;

/// A duration of `least` to `most` seconds.
pub(super) fn span(field: &str, text: &str, least: u64, most: u64) -> Result<Duration, Invalid> {
    let duration = parse_duration(text).map_err(|err| Invalid::unit(field, err))?;
    if duration < Duration::from_secs(least) || duration > Duration::from_secs(most) {
        let expected = format!("a duration from {least}s to {most}s");
        return Err(Invalid::new(field, text, expected));
    }
    Ok(duration)
}

/// A duration of a second to a day.
pub(super) fn window(field: &str, text: &str) -> Result<Duration, Invalid> {
    span(field, text, 1, 86_400)
}

/// A number of GPUs, possibly none.
pub(super) fn gpus(field: &str, amount: &Amount) -> Result<MilliGpus, Invalid> {
    MilliGpus::parse(&amount.to_string()).map_err(|err| Invalid::unit(field, err))
}

/// A decimal number, in digits, for which `right` holds.
pub(super) fn number(
    field: &str,
    amount: &Amount,
    right: impl Fn(f64) -> bool,
    expected: &str,
) -> Result<f64, Invalid> {
    let text = amount.to_string();
    let in_digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let number = text.parse::<f64>().ok().filter(|&n| in_digits && right(n));
    number.ok_or_else(|| Invalid::new(field, &text, expected))
}

/// A number from 0 to 1.
pub(super) fn fraction(field: &str, amount: &Amount) -> Result<f64, Invalid> {
    number(
        field,
        amount,
        |n| (0.0..=1.0).contains(&n),
        "a fraction from \"0\" to \"1\"",
    )
}

/// An integer of at least `least` and at most `most`.
pub(super) fn between(field: &str, value: u32, least: u32, most: u32) -> Result<u32, Invalid> {
    if (least..=most).contains(&value) {
        Ok(value)
    } else {
        Err(Invalid::new(
            field,
            value,
            format!("an integer from {least} to {most}"),
        ))
    }
}

/// An integer of at most `most`.
pub(super) fn at_most(field: &str, value: u32, most: u32) -> Result<u32, Invalid> {
    between(field, value, 0, most)
}

/// A text that is none of what is looked for is refused with what would be right.
fn checked(field: &str, text: &str, right: bool, expected: &str) -> Result<(), Invalid> {
    if right {
        Ok(())
    } else {
        Err(Invalid::new(field, text, expected))
    }
}

/// At most `length` characters, all as `inside` says, of which the first and the last are as `outside` says.
fn shaped(text: &str, length: usize, outside: fn(u8) -> bool, inside: fn(u8) -> bool) -> bool {
    let ends = [text.bytes().next(), text.bytes().last()];
    text.len() <= length && text.bytes().all(inside) && ends.iter().all(|b| b.is_some_and(outside))
}

fn lower(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

/// A DNS label.
pub(super) fn label(field: &str, text: &str) -> Result<(), Invalid> {
    let right = shaped(text, 63, lower, |b| lower(b) || b == b'-');
    checked(
        field,
        text,
        right,
        "a DNS label: lower-case letters, digits and '-', such as coordinator",
    )
}

fn is_object_name(text: &str) -> bool {
    shaped(text, 253, lower, |b| lower(b) || b == b'-' || b == b'.')
}

/// The name of a Kubernetes object.
pub(super) fn object_name(field: &str, text: &str) -> Result<(), Invalid> {
    let expected = "the name of a workload: lower-case letters, digits, '-' and '.'";
    checked(field, text, is_object_name(text), expected)
}

fn is_label_value(text: &str) -> bool {
    shaped(
        text,
        63,
        |b| b.is_ascii_alphanumeric(),
        |b| b.is_ascii_alphanumeric() || b"-_.".contains(&b),
    )
}

/// A label of nodes.
pub(super) fn node_label(field: &str, key: &str, value: &str) -> Result<(), Invalid> {
    let (prefix, name) = key.split_once('/').unwrap_or(("x", key));
    let key_is_right = is_object_name(prefix) && is_label_value(name);
    checked(
        field,
        key,
        key_is_right,
        "label keys, such as nvidia.com/gpu.product",
    )?;
    let value_is_right = value.is_empty() || is_label_value(value);
    checked(
        field,
        value,
        value_is_right,
        "label values, such as NVIDIA-A100-SXM4-80GB",
    )
}

/// An absolute path.
pub(super) fn path(field: &str, text: &str) -> Result<(), Invalid> {
    let part = |b: u8| b.is_ascii_alphanumeric() || b"/_.~-".contains(&b);
    let right = text.starts_with('/') && text.len() <= 128 && text.bytes().all(part);
    checked(
        field,
        text,
        right,
        "an absolute path without query or escapes, such as /metrics",
    )
}

/// The name of a metric.
pub(super) fn metric_name(field: &str, text: &str) -> Result<(), Invalid> {
    let part = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b':';
    let starts_right = text
        .bytes()
        .next()
        .is_some_and(|b| part(b) && !b.is_ascii_digit());
    let right = starts_right && text.len() <= 128 && text.bytes().all(part);
    checked(
        field,
        text,
        right,
        "the name of a metric without labels, such as engine_requests_running",
    )
}

/// A port.
pub(super) fn port(field: &str, port: u16) -> Result<u16, Invalid> {
    checked(field, &port.to_string(), port > 0, "a port from 1 to 65535").map(|()| port)
}
