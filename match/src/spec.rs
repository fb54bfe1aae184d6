//! Reads a pair from outside and checks it once, so that the rest may trust it.

use std::io::{self, Read};

use ringrift_core::limits;
use ringrift_wire::pair::{Contestant, Limit, PairSpec};

/// A pair is rendered from a run's spec, and a payload of the queue is no longer than this.
const SPEC_BYTES_MAX: usize = limits::PAYLOAD_BYTES_MAX;
/// Options of one engine; the largest engines announce fewer.
const OPTIONS_MAX: usize = 64;
/// Bytes of an argument or of an option's value: paths have no more.
const WORD_BYTES_MAX: usize = 4 * 1024;
/// Nothing useful is shorter: an operating system's scheduling tick is up to 10 ms.
const REPLY_TIMEOUT_MS_MIN: u64 = 100;
/// A move that takes longer than an hour belongs to correspondence chess.
const THINKING_MS_MAX: u64 = 3_600_000;
/// Deeper searches do not end in a lifetime.
const DEPTH_MAX: u32 = 245;
/// The program name that stands for the runner's own engine.
pub const OWN: &str = "own";

/// Why a pair cannot be played as it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// Standard input failed.
    #[error("cannot read the pair from standard input: {0}")]
    Read(#[source] io::Error),
    /// More input than any pair has.
    #[error("the pair is longer than {SPEC_BYTES_MAX} bytes")]
    TooLong,
    /// The input is not a pair.
    #[error("pair field {path}: {reason}")]
    Shape {
        /// Where in the JSON.
        path: String,
        /// What the reader expected.
        reason: String,
    },
    /// A field has a value that cannot be played.
    #[error("pair field {path}: {value} is not allowed; {wanted}")]
    Value {
        /// Which field.
        path: String,
        /// Its value.
        value: String,
        /// What would be allowed.
        wanted: String,
    },
}

/// Reads a pair and checks every field.
///
/// # Errors
/// The input is not a pair that can be played; the error names the field.
pub fn read(input: impl Read) -> Result<PairSpec, SpecError> {
    let mut bytes = Vec::new();
    let bound = SPEC_BYTES_MAX as u64 + 1;
    input.take(bound).read_to_end(&mut bytes).map_err(SpecError::Read)?;
    if bytes.len() > SPEC_BYTES_MAX {
        return Err(SpecError::TooLong);
    }
    let mut json = serde_json::Deserializer::from_slice(&bytes);
    let spec: PairSpec = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        SpecError::Shape { path: error.path().to_string(), reason: error.inner().to_string() }
    })?;
    json.end()
        .map_err(|error| SpecError::Shape { path: ".".to_owned(), reason: error.to_string() })?;
    check(&spec)?;
    Ok(spec)
}

fn check(spec: &PairSpec) -> Result<(), SpecError> {
    // Seed and index may have any value.
    let PairSpec { contestants, seed: _, index: _, opening_plies, plies_max, reply_timeout_ms } =
        spec;
    for (place, contestant) in contestants.iter().enumerate() {
        check_contestant(&format!("contestants[{place}]"), contestant)?;
    }
    within("opening_plies", *opening_plies, 0, limits::OPENING_PLIES_MAX)?;
    within("plies_max", *plies_max, opening_plies.saturating_add(1), limits::PLIES_MAX)?;
    within("reply_timeout_ms", *reply_timeout_ms, REPLY_TIMEOUT_MS_MIN, THINKING_MS_MAX)
}

fn check_contestant(path: &str, contestant: &Contestant) -> Result<(), SpecError> {
    let Contestant { name, argv, options, limit } = contestant;
    text(&format!("{path}.name"), name, 1, limits::NAME_BYTES_MAX)?;

    within(&format!("{path}.argv"), argv.len(), 1, limits::TASK_WORDS_MAX)?;
    for (place, word) in argv.iter().enumerate() {
        let empty_ok = usize::from(place == 0);
        text(&format!("{path}.argv[{place}]"), word, empty_ok, WORD_BYTES_MAX)?;
    }
    if argv[0] == OWN && argv.len() > 1 {
        return Err(refusal(&format!("{path}.argv"), &argv[1], "the own engine has no arguments"));
    }

    within(&format!("{path}.options"), options.len(), 0, OPTIONS_MAX)?;
    for (option, value) in options {
        let path = format!("{path}.options");
        text(&path, option, 1, limits::NAME_BYTES_MAX)?;
        text(&format!("{path}.{option}"), value, 0, WORD_BYTES_MAX)?;
        // Such a name would be read as the end of the name.
        if option.split_whitespace().any(|word| word == "value") {
            return Err(refusal(&path, option, "an option's name must not hold the word 'value'"));
        }
    }

    let path = format!("{path}.limit");
    match *limit {
        Limit::Nodes(nodes) => within(&path, nodes, 1, u64::MAX),
        Limit::Depth(depth) => within(&path, depth, 1, DEPTH_MAX),
        Limit::MovetimeMs(time) => within(&path, time, 1, THINKING_MS_MAX),
    }
}

fn within<T>(path: &str, value: T, min: T, max: T) -> Result<(), SpecError>
where
    T: PartialOrd + std::fmt::Display,
{
    if value >= min && value <= max {
        return Ok(());
    }
    Err(refusal(path, &value.to_string(), &format!("it must be {min} to {max}")))
}

/// A text goes into a line of the UCI protocol or of a PGN header: one with a line break would
/// smuggle in a command of its own.
fn text(path: &str, value: &str, bytes_min: usize, bytes_max: usize) -> Result<(), SpecError> {
    if (bytes_min..=bytes_max).contains(&value.len()) && !value.chars().any(char::is_control) {
        return Ok(());
    }
    let wanted = format!("it must be {bytes_min} to {bytes_max} bytes without control characters");
    Err(refusal(path, &format!("{value:?}"), &wanted))
}

/// Characters of a refused value that the error shows.
const VALUE_SHOWN: usize = 64;

fn refusal(path: &str, value: &str, wanted: &str) -> SpecError {
    SpecError::Value {
        path: path.to_owned(),
        value: value.chars().take(VALUE_SHOWN).collect(),
        wanted: wanted.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    type Change = fn(&mut Value);

    fn valid() -> Value {
        let contestant = |name: &str| json!({"name": name, "argv": ["own"], "options": {}, "limit": {"nodes": 100}});
        json!({"contestants": [contestant("a"), contestant("b")], "seed": 1, "index": 0})
    }

    fn refused(change: impl FnOnce(&mut Value)) -> String {
        let mut spec = valid();
        change(&mut spec);
        read(spec.to_string().as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_pair_with_its_defaults_is_read() {
        let spec = read(valid().to_string().as_bytes()).unwrap();
        assert_eq!((spec.opening_plies, spec.plies_max, spec.reply_timeout_ms), (8, 400, 10_000));
    }

    #[test]
    fn every_bad_field_is_named() {
        let cases: [(&str, Change); 12] = [
            ("contestants[0].name", |v| v["contestants"][0]["name"] = json!("")),
            ("contestants[1].name", |v| v["contestants"][1]["name"] = json!("a\nquit")),
            ("contestants[0].argv", |v| v["contestants"][0]["argv"] = json!([])),
            ("contestants[0].argv[0]", |v| v["contestants"][0]["argv"] = json!([""])),
            ("contestants[1].argv", |v| v["contestants"][1]["argv"] = json!(["own", "-x"])),
            ("contestants[0].options.Hash", |v| {
                v["contestants"][0]["options"] = json!({"Hash": "1\ngo infinite"});
            }),
            ("contestants[0].limit", |v| v["contestants"][0]["limit"] = json!({"nodes": 0})),
            ("contestants[0].limit", |v| v["contestants"][0]["limit"] = json!({"minutes": 1})),
            ("opening_plies", |v| v["opening_plies"] = json!(65)),
            ("plies_max", |v| v["plies_max"] = json!(8)),
            ("reply_timeout_ms", |v| v["reply_timeout_ms"] = json!(1)),
            ("replies", |v| v["replies"] = json!(1)),
        ];
        for (field, change) in cases {
            let error = refused(change);
            assert!(error.contains(field), "{field}: {error}");
        }
    }

    #[test]
    fn other_input_is_refused() {
        assert!(matches!(read(&b""[..]), Err(SpecError::Shape { .. })));
        assert!(matches!(read(&b"{} {}"[..]), Err(SpecError::Shape { .. })));
        assert!(matches!(read(io::repeat(b' ')), Err(SpecError::TooLong)));
        let trailing = format!("{} x", valid());
        assert!(matches!(read(trailing.as_bytes()), Err(SpecError::Shape { .. })));
    }
}
